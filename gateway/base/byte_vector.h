/*
 * byte_vector.h: sixteen bytes looked at together; the compiler makes a few instructions of it on
 * any machine with vectors.
 * Thread   any; plain values.
 */
#ifndef FG_BASE_BYTE_VECTOR_H
#define FG_BASE_BYTE_VECTOR_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

typedef unsigned char fg_byte_vector __attribute__((vector_size(16)));
typedef signed char fg_signed_vector __attribute__((vector_size(16)));

/* Of bytes that are 0 or 255: which is the first that is not 0? 16: none. */
static inline size_t fg_byte_vector_first(fg_byte_vector hits)
{
#if defined(__SSE2__)
    unsigned mask = (unsigned)_mm_movemask_epi8((__m128i)hits);
    return (size_t)__builtin_ctz(mask | 1u << 16);
#else
    uint64_t halves[2];
    memcpy(halves, &hits, sizeof(halves));
    if (halves[0] != 0)
        return (size_t)__builtin_ctzll(le64toh(halves[0])) / 8;
    return halves[1] != 0 ? 8 + (size_t)__builtin_ctzll(le64toh(halves[1])) / 8 : 16;
#endif
}

/* Are the sixteen bytes at `a` those at `b`? */
static inline bool fg_byte_vector_equal(const char *a, const char *b)
{
#if defined(__SSE2__)
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return _mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) == 0xffff;
#else
    return memcmp(a, b, sizeof(fg_byte_vector)) == 0;
#endif
}

#endif
