/*
 * cache_parts.h: several ranges of a stored response as one body, multipart/byteranges (RFC 9110
 * section 14.6).
 * Thread   the request's loop.
 * Memory   the plan is the request's arena's; the bytes stay the object's.
 */
#ifndef FG_PIPELINE_CACHE_PARTS_H
#define FG_PIPELINE_CACHE_PARTS_H

#include "flow.h"
#include "policies/cache/byte_range.h"

struct fg_cache_parts {
    const struct fg_byte_run *runs;
    const struct fg_span *heads; /* what stands before each run */
    struct fg_span tail;
    size_t count;
    struct fg_span content_type;
    uint64_t len; /* of the whole body */
};

/* Bytes between two runs that cost no more than another part of this type would. */
uint64_t fg_cache_parts_gap(struct fg_span content_type);

/* `content_type` is that of the object, data NULL without one. NULL without memory. */
const struct fg_cache_parts *fg_cache_parts_make(const struct fg_flow *flow,
                                                 struct fg_span content_type,
                                                 const struct fg_byte_run *runs, size_t count,
                                                 uint64_t size);

/* Writes the body; `body` is what the runs are of, and is held as long as the client needs. */
void fg_cache_parts_send(struct fg_flow *flow, const struct fg_cache_parts *parts,
                         struct fg_cache_body *body);

#endif
