/*
 * sticky_cookie.c: see sticky_cookie.h.
 * Never    in an answer that a cache may give to others (`public`, `s-maxage`, or a route that is
 *          cached here): they would all come to one server.
 * Source   RFC 6265 section 4.1; RFC 9111 section 5.2.2.
 */
#include "proxy/sticky_cookie.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct fg_span fg_sticky_cookie_make(const struct fg_exchange *ex, uint64_t random)
{
    return fg_arena_try_printf(ex->arena, "%016" PRIx64, random);
}

static bool is_for_all(struct fg_span cache_control)
{
    struct fg_span rest = cache_control;
    while (rest.data != NULL) {
        struct fg_span directive = fg_span_trim(fg_span_split(&rest, ','));
        struct fg_span name = fg_span_trim(fg_span_split(&directive, '='));
        if (fg_span_equal_nocase(name, FG_SPAN("public")) ||
            fg_span_equal_nocase(name, FG_SPAN("s-maxage")))
            return true;
    }
    return false;
}

static bool sets(struct fg_span set_cookie, struct fg_span name)
{
    return fg_span_equal(fg_span_trim(fg_span_split(&set_cookie, '=')), name);
}

static bool leaves_no_place(const struct fg_field *fields, size_t count, struct fg_span name)
{
    for (size_t i = 0; i < count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("cache-control")) && is_for_all(fields[i].value))
            return true;
        if (fg_span_equal(fields[i].name, FG_SPAN("set-cookie")) && sets(fields[i].value, name))
            return true;
    }
    return false;
}

static bool is_secure(const struct fg_hash_cookie_conf *conf, const struct fg_exchange *ex)
{
    return conf->secure == FG_COOKIE_SECURE_ON ||
           (conf->secure == FG_COOKIE_SECURE_AUTO && fg_span_equal(ex->scheme, FG_SPAN("https")));
}

static struct fg_span write_cookie(const struct fg_hash_cookie_conf *conf,
                                   const struct fg_exchange *ex, struct fg_span name,
                                   struct fg_span value)
{
    static const char *const same_site[] = {
        [FG_SAME_SITE_LAX] = "; SameSite=Lax",
        [FG_SAME_SITE_STRICT] = "; SameSite=Strict",
        [FG_SAME_SITE_NONE] = "; SameSite=None",
        [FG_SAME_SITE_UNSAID] = "",
    };
    char max_age[40] = "";
    if (conf->ttl_ns > 0)
        snprintf(max_age, sizeof(max_age), "; Max-Age=%" PRIu64, conf->ttl_ns / FG_S);
    return fg_arena_try_printf(ex->arena, "%.*s=%.*s; Path=%s%s%s%s%s", FG_SPAN_ARGS(name),
                               FG_SPAN_ARGS(value), conf->path, max_age,
                               conf->is_http_only ? "; HttpOnly" : "",
                               is_secure(conf, ex) ? "; Secure" : "", same_site[conf->same_site]);
}

void fg_sticky_cookie_add(const struct fg_hash_cookie_conf *conf, const struct fg_exchange *ex,
                          struct fg_span name, struct fg_span value, struct fg_field **fields,
                          size_t *count)
{
    if (ex->may_be_cached || leaves_no_place(*fields, *count, name))
        return;
    struct fg_span text = write_cookie(conf, ex, name, value);
    struct fg_field *all = fg_arena_try_alloc(ex->arena, (*count + 1) * sizeof(*all));
    if (text.data == NULL || all == NULL)
        return;
    if (*count > 0)
        memcpy(all, *fields, *count * sizeof(*all));
    all[*count] = (struct fg_field){FG_SPAN("set-cookie"), text};
    *fields = all;
    (*count)++;
}
