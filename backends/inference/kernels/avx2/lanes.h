/*
 * lanes.h: eight floats at a time: partial loads and stores, sums, exp.
 * Thread   any; pure functions, always inlined.
 * Never    touches memory past the given count: partial accesses are masked or copied.
 */
#ifndef FG_INFERENCE_LANES_H
#define FG_INFERENCE_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FG_INLINE static inline __attribute__((always_inline))

/* All bits set in the first `count` lanes (0 to 8). */
FG_INLINE __m256i fg_lane_mask(size_t count)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), index);
}

/* Eight halves as floats. */
FG_INLINE __m256 fg_load_f16(const void *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

/* The first `count` (under 8) halves as floats, the rest zero. */
FG_INLINE __m256 fg_load_f16_partial(const void *at, size_t count)
{
    uint16_t halves[8] = {0};
    memcpy(halves, at, count * sizeof(halves[0]));
    return fg_load_f16(halves);
}

/* Always in this order, whatever tile the lanes came from. */
FG_INLINE float fg_sum_lanes(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

FG_INLINE float fg_max_lanes(__m256 v)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/*
 * exp(x) within 2 units in the last place for -87.3 <= x <= 88.3; clamped to that range; NaN stays.
 * Source: Cody-Waite reduction by ln 2 and the degree 5 polynomial of Cephes expf.
 */
FG_INLINE __m256 fg_exp_lanes(__m256 x)
{
    /* min and max return their second operand when either is NaN. */
    x = _mm256_min_ps(_mm256_set1_ps(88.3762626647949f), x);
    x = _mm256_max_ps(_mm256_set1_ps(-87.3365478515625f), x);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 poly = _mm256_set1_ps(1.9875691500e-4f);
    poly = _mm256_fmadd_ps(poly, r, _mm256_set1_ps(1.3981999507e-3f));
    poly = _mm256_fmadd_ps(poly, r, _mm256_set1_ps(8.3334519073e-3f));
    poly = _mm256_fmadd_ps(poly, r, _mm256_set1_ps(4.1665795894e-2f));
    poly = _mm256_fmadd_ps(poly, r, _mm256_set1_ps(1.6666665459e-1f));
    poly = _mm256_fmadd_ps(poly, r, _mm256_set1_ps(5.0000001201e-1f));
    poly = _mm256_fmadd_ps(poly, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
    __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(poly), exponent));
}

FG_INLINE int fg_dword_at(const unsigned char *at)
{
    int32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

FG_INLINE int fg_word_at(const unsigned char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* A dword of each of four rows. */
FG_INLINE __m128i fg_load_four_dwords(const unsigned char *at, size_t stride)
{
    __m128i v = _mm_cvtsi32_si128(fg_dword_at(at));
    v = _mm_insert_epi32(v, fg_dword_at(at + stride), 1);
    v = _mm_insert_epi32(v, fg_dword_at(at + 2 * stride), 2);
    return _mm_insert_epi32(v, fg_dword_at(at + 3 * stride), 3);
}

/* A word of each of four rows, in the low half. */
FG_INLINE __m128i fg_load_four_words(const unsigned char *at, size_t stride)
{
    __m128i v = _mm_cvtsi32_si128(fg_word_at(at));
    v = _mm_insert_epi16(v, fg_word_at(at + stride), 1);
    v = _mm_insert_epi16(v, fg_word_at(at + 2 * stride), 2);
    return _mm_insert_epi16(v, fg_word_at(at + 3 * stride), 3);
}

#endif
