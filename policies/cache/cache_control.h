/*
 * cache_control.h: the Cache-Control field, of requests and of responses, as a struct.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_CACHE_CONTROL_H
#define FG_POLICIES_CACHE_CACHE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_CACHE_CONTROL_ABSENT UINT32_MAX                /* the directive was not there */
#define FG_CACHE_CONTROL_SECONDS_MAX UINT32_C(2147483648) /* as RFC 9111 section 1.2.2 asks */

/* Seconds are 0 to FG_CACHE_CONTROL_SECONDS_MAX, or FG_CACHE_CONTROL_ABSENT. */
struct fg_cache_control {
    bool no_store;
    bool no_cache; /* also with a field list: the stricter reading is allowed */
    bool no_transform;
    bool only_if_cached;
    bool must_revalidate;
    bool proxy_revalidate;
    bool must_understand;
    bool is_public;
    bool is_private; /* also with a field list */
    bool is_immutable;
    uint32_t max_age_s;
    uint32_t s_maxage_s;
    uint32_t max_stale_s; /* without a value: FG_CACHE_CONTROL_SECONDS_MAX */
    uint32_t min_fresh_s;
    uint32_t stale_while_revalidate_s;
    uint32_t stale_if_error_s;
};

/* No directive present. */
void fg_cache_control_init(struct fg_cache_control *control);

/*
 * Add one field line's value; call it for each line. Of a directive that comes twice the smaller
 * number holds; a number that is none counts as 0, which means stale. Unknown ones are skipped.
 */
void fg_cache_control_parse(struct fg_cache_control *control, const char *text, size_t len);

/*
 * Add one line of a field of the same directives for some caches alone (RFC 9213): a dictionary of
 * structured fields, in which the last of two counts and a value of the wrong type says nothing.
 * False: the field is malformed or says nothing at all, and is to be ignored with all its lines.
 */
bool fg_cache_control_parse_targeted(struct fg_cache_control *control, const char *text,
                                     size_t len);

#endif
