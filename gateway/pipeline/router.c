/*
 * router.c: routes with an exact path are found by hash, the rest are tried in file order; of the
 * two the earlier in the file wins, so the index changes nothing but the time it takes.
 *
 *    slots[hash(path)] --> index of the first exact route with that hash --> next_same[] --> ...
 *    others[]          --> prefix routes, in file order
 */
#include "router.h"

#include "base/field_text.h"
#include "base/local_hash.h"
#include "http/fields.h"

#include <stdlib.h>

#define NONE UINT32_MAX

struct other {
    struct fg_span prefix;
    uint32_t index;
};

struct fg_router {
    const struct fg_route_conf *routes;
    size_t route_count;
    uint32_t *slots;
    uint32_t *next_same;
    struct other *others;
    size_t other_count;
    uint32_t slot_mask;
};

static uint32_t slot_of(const struct fg_router *router, struct fg_span path)
{
    return (uint32_t)fg_local_hash(path, 0) & router->slot_mask;
}

struct fg_router *fg_router_create(const struct fg_config *config)
{
    uint32_t slot_count = 16;
    while (slot_count < config->route_count * 2)
        slot_count *= 2;
    struct fg_router *router = calloc(1, sizeof(*router));
    if (router == NULL)
        return NULL;
    router->routes = config->routes;
    router->route_count = config->route_count;
    router->slot_mask = slot_count - 1;
    router->slots = malloc(slot_count * sizeof(uint32_t));
    router->next_same = calloc(config->route_count + 1, sizeof(uint32_t));
    router->others = calloc(config->route_count + 1, sizeof(*router->others));
    if (router->slots == NULL || router->next_same == NULL || router->others == NULL) {
        fg_router_destroy(router);
        return NULL;
    }
    for (uint32_t i = 0; i < slot_count; i++)
        router->slots[i] = NONE;
    for (uint32_t i = (uint32_t)config->route_count; i-- > 0;) {
        if (config->routes[i].path == NULL)
            continue;
        uint32_t slot = slot_of(router, fg_span_from_string(config->routes[i].path));
        router->next_same[i] = router->slots[slot];
        router->slots[slot] = i;
    }
    for (uint32_t i = 0; i < config->route_count; i++) {
        if (config->routes[i].path == NULL)
            router->others[router->other_count++] =
                (struct other){fg_span_from_string(config->routes[i].path_prefix), i};
    }
    return router;
}

void fg_router_destroy(struct fg_router *router)
{
    if (router == NULL)
        return;
    free(router->slots);
    free(router->next_same);
    free(router->others);
    free(router);
}

/* Whole segments: /promo matches /promo and /promo/x, not /promotion; /promo/ matches below it. */
static bool prefix_matches(struct fg_span prefix, struct fg_span path)
{
    if (!fg_span_starts_with(path, prefix))
        return false;
    return path.len == prefix.len || prefix.len == 0 || prefix.data[prefix.len - 1] == '/' ||
           path.data[prefix.len] == '/';
}

static bool host_matches(const char *pattern, struct fg_span authority)
{
    struct fg_span host = fg_authority_host(authority);
    if (host.len > 0 && host.data[host.len - 1] == '.')
        host.len--; /* the same name, said in full (RFC 3986 section 3.2.2) */
    struct fg_span wanted = fg_span_from_string(pattern);
    if (!fg_span_starts_with(wanted, FG_SPAN("*.")))
        return fg_span_equal_nocase(wanted, host);
    wanted.data++; /* ".example.org" */
    wanted.len--;
    return host.len > wanted.len &&
           fg_span_equal_nocase(wanted,
                                fg_span_make(host.data + host.len - wanted.len, wanted.len));
}

/*
 * In any line of the name: the server behind the next route may heed another one than the first.
 * And in either spelling: a rule about X-Admin that let x_admin by would be none to many servers.
 */
static bool has_field(const struct fg_exchange *ex, const struct fg_header_match *wanted)
{
    struct fg_span name = fg_span_from_string(wanted->name);
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_field_reads_as(ex->fields[i].name, name) &&
            (wanted->value == NULL ||
             fg_span_equal(ex->fields[i].value, fg_span_from_string(wanted->value))))
            return true;
    }
    return false;
}

static bool fields_match(const struct fg_route_conf *route, const struct fg_exchange *ex)
{
    for (size_t i = 0; i < route->header_count; i++) {
        if (!has_field(ex, &route->headers[i]))
            return false;
    }
    return true;
}

/* Is a parameter of that name and value in the query? Both are compared as they were sent. */
static bool has_parameter(struct fg_span query, const struct fg_header_match *wanted)
{
    while (query.data != NULL) {
        struct fg_span value = fg_span_split(&query, '&');
        struct fg_span name = fg_span_split(&value, '=');
        if (fg_span_equal(name, fg_span_from_string(wanted->name)) &&
            (wanted->value == NULL || fg_span_equal(value, fg_span_from_string(wanted->value))))
            return true;
    }
    return false;
}

static bool query_matches(const struct fg_route_conf *route, const struct fg_exchange *ex)
{
    for (size_t i = 0; i < route->parameter_count; i++) {
        if (!has_parameter(ex->query, &route->parameters[i]))
            return false;
    }
    return true;
}

static bool scheme_matches(const struct fg_route_conf *route, const struct fg_exchange *ex)
{
    return route->scheme == FG_SCHEME_ANY ||
           fg_span_equal(ex->scheme,
                         route->scheme == FG_SCHEME_HTTPS ? FG_SPAN("https") : FG_SPAN("http"));
}

/* All but path; a match in all but the method is remembered in *other_methods. */
static bool rest_matches(const struct fg_route_conf *route, const struct fg_exchange *ex,
                         uint32_t *other_methods)
{
    if (route->host != NULL && !host_matches(route->host, ex->authority))
        return false;
    if (!scheme_matches(route, ex) || !fields_match(route, ex) || !query_matches(route, ex))
        return false;
    uint32_t bit = UINT32_C(1) << ex->method;
    if (ex->method == FG_METHOD_HEAD)
        bit |= UINT32_C(1) << FG_METHOD_GET;
    if (route->methods != 0 && (route->methods & bit) == 0) {
        *other_methods |= route->methods;
        return false;
    }
    return true;
}

static uint32_t find_exact(const struct fg_router *router, const struct fg_exchange *ex,
                           uint32_t *other_methods)
{
    for (uint32_t i = router->slots[slot_of(router, ex->path)]; i != NONE;
         i = router->next_same[i]) {
        const struct fg_route_conf *route = &router->routes[i];
        if (fg_span_equal(fg_span_from_string(route->path), ex->path) &&
            rest_matches(route, ex, other_methods))
            return i;
    }
    return NONE;
}

const struct fg_route_conf *fg_router_find(const struct fg_router *router,
                                           const struct fg_exchange *ex, uint32_t *other_methods)
{
    *other_methods = 0;
    uint32_t exact = find_exact(router, ex, other_methods);
    for (size_t n = 0; n < router->other_count; n++) {
        const struct other *other = &router->others[n];
        if (other->index > exact)
            break;
        const struct fg_route_conf *route = &router->routes[other->index];
        if (prefix_matches(other->prefix, ex->path) && rest_matches(route, ex, other_methods))
            return route;
    }
    return exact == NONE ? NULL : &router->routes[exact];
}
