/*
 * byte_range.h: the Range field of a GET: one run of bytes, or several, of an object whose size is
 * known (RFC 9110 section 14).
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_BYTE_RANGE_H
#define FG_POLICIES_CACHE_BYTE_RANGE_H

#include <stddef.h>
#include <stdint.h>

/* Most ranges of one field that are ever looked at. */
#define FG_BYTE_RANGES_MAX ((size_t)64)

enum fg_byte_range {
    FG_BYTE_RANGE_IGNORED, /* another unit, nonsense, too many: the whole is always a right answer
                            */
    FG_BYTE_RANGE_TAKEN,
    FG_BYTE_RANGE_OUTSIDE, /* 416 */
};

struct fg_byte_run {
    uint64_t first;
    uint64_t last; /* of the run, below the object's size */
};

/*
 * Up to `most` (1 to FG_BYTE_RANGES_MAX) ranges; a field with more is ignored. On TAKEN runs[0] to
 * runs[*count - 1] are in the order in which they were asked for, but for those that overlap or
 * have less than `gap` bytes between them, which are one run in the place of the first of them.
 */
enum fg_byte_range fg_byte_ranges_parse(const char *text, size_t len, uint64_t size, uint64_t gap,
                                        size_t most, struct fg_byte_run runs[], size_t *count);

#endif
