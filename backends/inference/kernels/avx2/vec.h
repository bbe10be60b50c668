/*
 * vec.h (AVX2): eight lanes, and dot products by multiply-add of bytes; see panel/panel.h.
 * Thread   any; pure functions, always inlined.
 * Never    touches memory past what is asked for: partial accesses are masked.
 */
#ifndef FG_INFERENCE_AVX2_VEC_H
#define FG_INFERENCE_AVX2_VEC_H

#include "inference/kernels/avx2/lanes.h"

typedef __m256i vec_int;
typedef __m256 vec_float;

/* One group of rows by four tokens: 4 integer and 4 float sums of the 16 registers. */
#define VEC_LANES 8
#define VEC_GROUPS 1
#define VEC_TOKENS 4
/* Rows are prefetched in the order of memory. */
#define VEC_READS_IN_ORDER 1

/* int8 weights stay signed: see vec_dots_signed. */
FG_INLINE vec_int vec_stored_int8(vec_int bytes)
{
    return bytes;
}

FG_INLINE vec_int vec_set_int(int32_t value)
{
    return _mm256_set1_epi32(value);
}

FG_INLINE vec_int vec_set_byte(int value)
{
    return _mm256_set1_epi8((char)value);
}

FG_INLINE vec_int vec_and(vec_int a, vec_int b)
{
    return _mm256_and_si256(a, b);
}

FG_INLINE vec_int vec_or(vec_int a, vec_int b)
{
    return _mm256_or_si256(a, b);
}

FG_INLINE vec_int vec_shift_left(vec_int a, int bits)
{
    return _mm256_slli_epi32(a, bits);
}

FG_INLINE vec_int vec_shift_right(vec_int a, int bits)
{
    return _mm256_srli_epi32(a, bits);
}

FG_INLINE vec_int vec_shift_right_signed(vec_int a, int bits)
{
    return _mm256_srai_epi32(a, bits);
}

/* Bits 4k .. 4k + 3 of each lane of `bits` as bit 4, which is clear, of the lane's four bytes. */
FG_INLINE vec_int vec_or_fifth_bits(vec_int q, vec_int bits, int k)
{
    /* The byte that holds them four times over, then one bit of it in each. */
    const __m128i in_order = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    __m128i byte = _mm_add_epi8(in_order, _mm_set1_epi8((char)(k / 2)));
    vec_int four = vec_set_int(k % 2 == 0 ? 0x08040201 : (int)0x80402010u);
    vec_int spread =
        _mm256_and_si256(_mm256_shuffle_epi8(bits, _mm256_broadcastsi128_si256(byte)), four);
    return vec_or(q, vec_and(_mm256_cmpeq_epi8(spread, four), vec_set_byte(16)));
}

FG_INLINE vec_float vec_zero(void)
{
    return _mm256_setzero_ps();
}

FG_INLINE vec_float vec_set_float(float value)
{
    return _mm256_set1_ps(value);
}

FG_INLINE vec_float vec_to_float(vec_int a)
{
    return _mm256_cvtepi32_ps(a);
}

FG_INLINE vec_float vec_multiply(vec_float a, vec_float b)
{
    return _mm256_mul_ps(a, b);
}

FG_INLINE vec_float vec_negate(vec_float a)
{
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}

/* a * b + c */
FG_INLINE vec_float vec_fma(vec_float a, vec_float b, vec_float c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
FG_INLINE vec_float vec_fma_negated(vec_float a, vec_float b, vec_float c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

/* The low 16 bits of each lane, as F16. */
FG_INLINE vec_float vec_low_halves(vec_int a)
{
    __m256i words = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    words = _mm256_packus_epi32(words, words); /* within the 128-bit halves */
    words = _mm256_permute4x64_epi64(words, 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(words));
}

/* The first `lanes` (1 to 8) floats, the rest zero. */
FG_INLINE vec_float vec_load_part(const float *from, size_t lanes)
{
    return _mm256_maskload_ps(from, fg_lane_mask(lanes));
}

FG_INLINE void vec_store_part(float *to, vec_float a, size_t lanes)
{
    _mm256_maskstore_ps(to, fg_lane_mask(lanes), a);
}

/* Any VEC_LANES floats. */
FG_INLINE vec_float vec_load(const float *from)
{
    return _mm256_loadu_ps(from);
}

FG_INLINE void vec_store(float *to, vec_float a)
{
    _mm256_storeu_ps(to, a);
}

FG_INLINE vec_float vec_subtract(vec_float a, vec_float b)
{
    return _mm256_sub_ps(a, b);
}

/* The first `lanes` of a, then `other`. */
FG_INLINE vec_float vec_keep(vec_float a, size_t lanes, float other)
{
    return _mm256_blendv_ps(_mm256_set1_ps(other), a, _mm256_castsi256_ps(fg_lane_mask(lanes)));
}

FG_INLINE float vec_max_lanes(vec_float a)
{
    return fg_max_lanes(a);
}

FG_INLINE float vec_sum_lanes(vec_float a)
{
    return fg_sum_lanes(a);
}

FG_INLINE vec_float vec_exp(vec_float a)
{
    return fg_exp_lanes(a);
}

/* A row of F16 as floats. */
FG_INLINE vec_float vec_load_f16(const unsigned char *from)
{
    return fg_load_f16(from);
}

FG_INLINE vec_float vec_load_f16_part(const unsigned char *from, size_t lanes)
{
    return fg_load_f16_partial(from, lanes);
}

/* A row of int8 as floats. */
FG_INLINE vec_float vec_load_int8(const unsigned char *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}

/* One F16 in every lane. */
FG_INLINE vec_float vec_set_half(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return _mm256_cvtph_ps(_mm_set1_epi16((short)half));
}

/* 16 bytes of rows 0 and 4. */
FG_INLINE __m256i vec_load_two_rows(const unsigned char *at, size_t stride)
{
    return _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(at + 4 * stride)),
                            _mm_loadu_si128((const __m128i *)at));
}

/* 16 bytes of each row, as four vectors of a dword a row: a 4 x 4 transposition in each half. */
FG_INLINE void vec_load_rows(vec_int out[4], const unsigned char *at, size_t stride)
{
    __m256i a = vec_load_two_rows(at, stride), b = vec_load_two_rows(at + stride, stride);
    __m256i c = vec_load_two_rows(at + 2 * stride, stride);
    __m256i d = vec_load_two_rows(at + 3 * stride, stride);
    __m256i ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
    __m256i cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
    out[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
    out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
    out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/* Four bytes of each row. */
FG_INLINE vec_int vec_load_dwords(const unsigned char *at, size_t stride)
{
    return _mm256_set_m128i(fg_load_four_dwords(at + 4 * stride, stride),
                            fg_load_four_dwords(at, stride));
}

/* An F16 of each row. */
FG_INLINE vec_float vec_load_halves(const unsigned char *at, size_t stride)
{
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(fg_load_four_words(at, stride),
                                              fg_load_four_words(at + 4 * stride, stride)));
}

/* Keeps the compiler from computing all steps of a block at once, for which it has no registers. */
#define VEC_IN_ORDER(a) __asm__("" : "+x"(a))

FG_INLINE __m256i vec_four_columns(const int8_t *x, int k)
{
    int32_t four;
    memcpy(&four, x + 4 * k, sizeof(four));
    return _mm256_set1_epi32(four);
}

/*
 * |w| and x with the sign of w give the same products; |w| <= 128 and |x| <= 127, so that the sum
 * of two fits 16 bits and maddubs never saturates.
 */
FG_INLINE void vec_dots_signed(const vec_int *q, const int8_t *const x[VEC_TOKENS], int tokens,
                               int steps, vec_int dots[VEC_TOKENS])
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (int k = 0; k < steps; k++) {
        __m256i magnitude = _mm256_abs_epi8(q[k]);
        for (int t = 0; t < tokens; t++) {
            __m256i columns = _mm256_sign_epi8(vec_four_columns(x[t], k), q[k]);
            __m256i pairs = _mm256_maddubs_epi16(magnitude, columns);
            dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(pairs, ones));
            VEC_IN_ORDER(dots[t]);
        }
    }
}

/* dots[g][t] += q[g] x[t] over `steps` times four columns. Weights of `bits` (up to 6) are unsigned
 * and small enough to sum several pairs in 16 bits: 2 * 127 * (2^bits - 1) each, up to 32767. */
FG_INLINE void vec_dots(const vec_int *const q[VEC_GROUPS], const int8_t *const x[VEC_TOKENS],
                        int groups, int tokens, int steps, int bits,
                        vec_int dots[VEC_GROUPS][VEC_TOKENS])
{
    const __m256i ones = _mm256_set1_epi16(1);
    int run = bits <= 4 ? 8 : bits == 5 ? 4 : 2;
    for (int g = 0; g < groups; g++) {
        if (bits == 8)
            vec_dots_signed(q[g], x, tokens, steps, dots[g]);
        for (int first = 0; bits != 8 && first < steps; first += run) {
            int end = first + run < steps ? first + run : steps;
            __m256i pairs[VEC_TOKENS];
            for (int t = 0; t < tokens; t++)
                pairs[t] = _mm256_maddubs_epi16(q[g][first], vec_four_columns(x[t], first));
            for (int k = first + 1; k < end; k++) {
                for (int t = 0; t < tokens; t++) {
                    pairs[t] = _mm256_add_epi16(
                        pairs[t], _mm256_maddubs_epi16(q[g][k], vec_four_columns(x[t], k)));
                    VEC_IN_ORDER(pairs[t]);
                }
            }
            for (int t = 0; t < tokens; t++)
                dots[g][t] = _mm256_add_epi32(dots[g][t], _mm256_madd_epi16(pairs[t], ones));
        }
    }
}

#endif
