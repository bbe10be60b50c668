/*
 * byte_range.h: the Range field of a GET: one run of bytes of an object whose size is known (RFC
 * 9110 section 14).
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_BYTE_RANGE_H
#define FG_POLICIES_CACHE_BYTE_RANGE_H

#include <stddef.h>
#include <stdint.h>

enum fg_byte_range {
    FG_BYTE_RANGE_IGNORED, /* several, another unit, or nonsense: the whole is always a right answer
                            */
    FG_BYTE_RANGE_TAKEN,
    FG_BYTE_RANGE_OUTSIDE, /* 416 */
};

/* On TAKEN, *first <= *last < size. */
enum fg_byte_range fg_byte_range_parse(const char *text, size_t len, uint64_t size, uint64_t *first,
                                       uint64_t *last);

#endif
