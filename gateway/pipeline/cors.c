/*
 * cors.c: see cors.h. `vary: origin` stands in every answer of such a route, whether the origin was
 * let in or not: a cache between us must not give one origin's answer to another.
 */
#include "cors.h"

#include "http/fields.h"
#include "pipeline/hop_methods.h"

static const struct fg_span origin_field = FG_SPAN_LITERAL("origin");

static bool is_any(const struct fg_cors_conf *cors)
{
    return cors->origin_count == 1 && strcmp(cors->origins[0], "*") == 0;
}

/* An origin, or one with "*." before its host for every name below it. */
static bool matches(struct fg_span pattern, struct fg_span origin)
{
    const char *star = memchr(pattern.data, '*', pattern.len);
    if (star == NULL)
        return fg_span_equal_nocase(pattern, origin);
    struct fg_span head = {pattern.data, (size_t)(star - pattern.data)};
    struct fg_span tail = {star + 1, pattern.len - head.len - 1};
    if (origin.len <= head.len + tail.len ||
        !fg_span_equal_nocase(head, fg_span_make(origin.data, head.len)) ||
        !fg_span_equal_nocase(tail, fg_span_make(origin.data + origin.len - tail.len, tail.len)))
        return false;
    struct fg_span label = {origin.data + head.len, origin.len - head.len - tail.len};
    return memchr(label.data, '/', label.len) == NULL && memchr(label.data, ':', label.len) == NULL;
}

static bool is_allowed(const struct fg_cors_conf *cors, struct fg_span origin)
{
    for (size_t i = 0; i < cors->origin_count; i++) {
        if (strcmp(cors->origins[i], "*") == 0 ||
            matches(fg_span_from_string(cors->origins[i]), origin))
            return origin.len > 0;
    }
    return false;
}

static void add(struct fg_field *fields, size_t *count, const char *name, struct fg_span value)
{
    if (value.len > 0)
        fields[(*count)++] = (struct fg_field){fg_span_from_string(name), value};
}

/* "a, b, c" in the arena; empty without any, or without memory. */
static struct fg_span join(struct fg_arena *arena, const char *const *words, size_t count)
{
    struct fg_span list = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        list = list.data == NULL
                   ? fg_span_from_string(words[i])
                   : fg_arena_try_printf(arena, "%.*s, %s", FG_SPAN_ARGS(list), words[i]);
        if (list.data == NULL)
            break;
    }
    return list;
}

static void add_permission(const struct fg_cors_conf *cors, struct fg_span origin,
                           struct fg_field *fields, size_t *count)
{
    /* With credentials a star would not be honoured: the origin is named then. */
    bool is_star = is_any(cors) && !cors->credentials;
    add(fields, count, "access-control-allow-origin", is_star ? FG_SPAN("*") : origin);
    if (cors->credentials)
        add(fields, count, "access-control-allow-credentials", FG_SPAN("true"));
}

struct fg_span fg_cors_preflight_method(const struct fg_exchange *ex)
{
    if (ex->method != FG_METHOD_OPTIONS || fg_exchange_field(ex, origin_field).data == NULL)
        return (struct fg_span){NULL, 0};
    return fg_exchange_field(ex, FG_SPAN("access-control-request-method"));
}

/*
 * All methods that this very route answers there, so that one preflight does for them. Another
 * route may have a method of the same path, with other permissions or none: that is not named.
 */
static struct fg_span allowed_methods(struct fg_flow *flow)
{
    static const enum fg_method known[] = {FG_METHOD_GET, FG_METHOD_HEAD,  FG_METHOD_POST,
                                           FG_METHOD_PUT, FG_METHOD_PATCH, FG_METHOD_DELETE};
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_span asked = fg_cors_preflight_method(ex);
    uint32_t methods = 0;
    uint32_t others;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        ex->method = known[i];
        if (fg_router_find(flow->thread->pipeline->router, ex, &others) == flow->route)
            methods |= UINT32_C(1) << known[i];
    }
    ex->method = FG_METHOD_OPTIONS;
    enum fg_method method = fg_method_of(asked);
    if (method != FG_METHOD_OTHER) /* it is what the route was found by */
        return fg_hop_allow(ex->arena, methods | UINT32_C(1) << method);
    if (!fg_is_token(asked))
        asked = FG_SPAN("");
    if (methods == 0)
        return asked;
    struct fg_span names = fg_hop_allow(ex->arena, methods);
    return fg_arena_try_printf(ex->arena, "%.*s%s%.*s", FG_SPAN_ARGS(names),
                               asked.len > 0 ? ", " : "", FG_SPAN_ARGS(asked));
}

void fg_cors_answer_preflight(struct fg_flow *flow)
{
    const struct fg_cors_conf *cors = &flow->route->cors;
    const struct fg_exchange *ex = &flow->req->ex;
    struct fg_field fields[8];
    size_t count = 0;
    struct fg_span origin = fg_exchange_field(ex, origin_field);
    add(fields, &count, "vary",
        FG_SPAN("origin, access-control-request-method, access-control-request-headers"));
    if (is_allowed(cors, origin)) {
        struct fg_span wanted = fg_exchange_field(ex, FG_SPAN("access-control-request-headers"));
        bool takes_any = cors->header_count == 1 && strcmp(cors->headers[0], "*") == 0;
        add(fields, &count, "access-control-allow-methods", allowed_methods(flow));
        add(fields, &count, "access-control-allow-headers",
            takes_any ? wanted : join(ex->arena, cors->headers, cors->header_count));
        add(fields, &count, "access-control-max-age",
            fg_arena_try_printf(ex->arena, "%llu",
                                (unsigned long long)(cors->max_age_ns / 1000000000)));
    }
    fg_flow_respond(flow, 204, fields, count, (struct fg_span){NULL, 0});
}

void fg_cors_mark(const struct fg_flow *flow, struct fg_field *fields, size_t *count)
{
    const struct fg_cors_conf *cors = &flow->route->cors;
    const struct fg_exchange *ex = &flow->req->ex;
    struct fg_span origin = fg_exchange_field(ex, origin_field);
    bool is_preflight = fg_cors_preflight_method(ex).data != NULL;
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        bool is_ours =
            !is_preflight && fg_span_starts_with(fields[i].name, FG_SPAN("access-control-"));
        if (!is_ours)
            fields[kept++] = fields[i];
    }
    *count = kept;
    if (!is_preflight)
        add(fields, count, "vary", origin_field);
    if (!is_allowed(cors, origin))
        return;
    add_permission(cors, origin, fields, count);
    if (!is_preflight)
        add(fields, count, "access-control-expose-headers",
            join(ex->arena, cors->expose, cors->expose_count));
}
