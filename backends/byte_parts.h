/*
 * byte_parts.h: several ranges of one representation as one body, multipart/byteranges: what stands
 * before, between and behind the runs of bytes, for whoever has the bytes.
 * Thread   the exchange's loop.
 * Memory   the exchange's arena.
 * Source   RFC 9110 sections 14.6 and 15.3.7.2; RFC 2046 section 5.1 for the form.
 */
#ifndef FG_BACKENDS_BYTE_PARTS_H
#define FG_BACKENDS_BYTE_PARTS_H

#include "backends/backend.h"
#include "policies/cache/byte_range.h"

struct fg_byte_parts {
    const struct fg_byte_run *runs;
    const struct fg_span *heads; /* what stands before each run */
    struct fg_span tail;
    size_t count;
    struct fg_span content_type;
    uint64_t len; /* of the whole body */
};

/* Bytes between two runs that cost no more than another part of this type would. */
uint64_t fg_byte_parts_gap(struct fg_span content_type);

/*
 * `content_type` is that of the representation, data NULL without one; `size` its size; `now_ns` is
 * what nobody outside knows exactly. NULL without memory.
 */
const struct fg_byte_parts *fg_byte_parts_make(const struct fg_exchange *ex,
                                               struct fg_span content_type,
                                               const struct fg_byte_run *runs, size_t count,
                                               uint64_t size, uint64_t now_ns);

#endif
