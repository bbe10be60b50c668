/*
 * cache_head.h: from header fields to what the cache decides by, and to what it keeps of them.
 * Thread   any; pure but for the arena.
 */
#ifndef FG_PIPELINE_CACHE_HEAD_H
#define FG_PIPELINE_CACHE_HEAD_H

#include "config/config.h"
#include "pipeline/cache_object_shared.h"

/* Method, directives and Authorization of a request. */
struct fg_cache_request fg_cache_read_request(const struct fg_exchange *ex);

/*
 * A draft of what to keep of a response: the fields, what they say of freshness (draft->response),
 * Vary with the request's values, tags. Key, route, times and lifetime are the caller's to fill in.
 * False: it cannot be kept whatever it says (an encoding of the backend's own, too many fields, no
 * memory); draft->response is good even then. `wall_s` is when it came.
 */
bool fg_cache_draft_make(struct fg_cache_draft *draft, const struct fg_exchange *ex,
                         const struct fg_cache_conf *conf, unsigned status,
                         const struct fg_field *fields, size_t field_count, int64_t wall_s);

/*
 * The fields of `stored` as a 304 with `fields` leaves them (RFC 9111 section 3.2); NULL without
 * memory or when the 304 is about another response (its ETag differs).
 */
const struct fg_field *fg_cache_merge_304(const struct fg_exchange *ex,
                                          const struct fg_cache_object *stored,
                                          const struct fg_field *fields, size_t field_count,
                                          size_t *merged_count);

#endif
