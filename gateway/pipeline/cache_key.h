/*
 * cache_key.h: what tells one stored response from another.
 *
 *    key      scheme letter, authority (no default port), ['!', X-Forwarded-Host], '\n', path,
 *             ['?', query]
 *    selects  for each name in Vary: name, ':', the request's value in one form, '\n'
 *
 * Job      make keys of requests and of references in responses. All parts are as the codec has
 *          normalised them, so that routing, caching and forwarding see one and the same target.
 * Never    takes anything else into a key (no cookie), nor leaves out what the backend takes a host
 *          or path from: X-Forwarded-Host reaches it from trusted proxies alone, and is in the key
 *          then; a request with a body is never cached; other fields only vary by Vary.
 * Thread   any; pure but for the arena.
 */
#ifndef FG_PIPELINE_CACHE_KEY_H
#define FG_PIPELINE_CACHE_KEY_H

#include "backends/backend.h"

#define FG_CACHE_SELECTS_MAX ((size_t)2048)

/* `path` is the client's, before a prefix is stripped. data is NULL without memory. */
struct fg_span fg_cache_key_make(const struct fg_exchange *ex, struct fg_span path);

/*
 * The key of a Location or Content-Location in the answer to a request for `base`, a path as for
 * _make: any reference to the same origin (RFC 3986 section 4.1). data is NULL when it is of
 * another origin or malformed.
 */
struct fg_span fg_cache_key_of_reference(const struct fg_exchange *ex, struct fg_span base,
                                         struct fg_span reference);

/* path [? query] of a key. */
struct fg_span fg_cache_key_path(struct fg_span key);

/*
 * What `ex` has in the fields that `vary` names, written to `selects`; SIZE_MAX when it does not
 * fit, and then nothing stored answers it. Accept-Encoding is left out: the cache encodes by
 * itself.
 */
size_t fg_cache_key_selects(const struct fg_exchange *ex, struct fg_span vary,
                            char selects[FG_CACHE_SELECTS_MAX]);

#endif
