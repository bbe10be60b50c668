/*
 * wide_math.h: sums and products of two 64-bit numbers that cannot overflow, for exact rates.
 * Thread   any; plain values.
 * Why      a rate of "N per period" is exact only while elapsed x N is kept whole, and that product
 *          needs up to 128 bits. Both compilers we build with have the type.
 */
#ifndef FG_POLICIES_WIDE_MATH_H
#define FG_POLICIES_WIDE_MATH_H

#include <assert.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 fg_wide;

static inline uint64_t fg_wide_saturate(fg_wide value)
{
    return value > UINT64_MAX ? UINT64_MAX : (uint64_t)value;
}

static inline uint64_t fg_add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t fg_subtract_floor(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* floor(a x b / divisor), UINT64_MAX where it does not fit. */
static inline uint64_t fg_multiply_divide(uint64_t a, uint64_t b, uint64_t divisor)
{
    assert(divisor != 0);
    return fg_wide_saturate((fg_wide)a * b / divisor);
}

static inline uint64_t fg_greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#endif
