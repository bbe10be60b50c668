/*
 * etag.h: comparing entity tags, one by one and in If-None-Match lists (RFC 9110 section 8.8.3).
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_ETAG_H
#define FG_POLICIES_CACHE_ETAG_H

#include "policies/cache/accept_encoding.h"

#include <stdbool.h>
#include <stddef.h>

/* W/"..." or "..." with legal bytes inside. */
bool fg_etag_is_valid(const char *etag, size_t len);

/* Both strong and the same. */
bool fg_etag_equal_strong(const char *a, size_t a_len, const char *b, size_t b_len);

/* The same opaque part, weak or not. */
bool fg_etag_equal_weak(const char *a, size_t a_len, const char *b, size_t b_len);

/*
 * Does an If-None-Match value name `etag` (weak comparison) or `*`? True on a GET or HEAD means
 * 304. A malformed list matches nothing from the fault on: the full answer is always safe.
 */
bool fg_etag_if_none_match(const char *list, size_t list_len, const char *etag, size_t etag_len);

/* Does an If-Match value name `etag` (strong comparison) or `*`? False means 412. */
bool fg_etag_if_match(const char *list, size_t list_len, const char *etag, size_t etag_len);

/* What a tag has behind it, within its quotes, where a cache has encoded what it names: a strong
 * tag must not name two forms. Three bytes, or none for identity. */
#define FG_ETAG_SUFFIX_BYTES ((size_t)3)
const char *fg_etag_suffix(enum fg_coding coding);

/*
 * A list as an origin knows its tags: each that has such a suffix stands there once more without
 * it. `out` has room for 3 * list_len bytes. Returns the length, 0: there is nothing to add, or the
 * list is malformed.
 */
size_t fg_etag_widen(const char *list, size_t list_len, char *out);

#endif
