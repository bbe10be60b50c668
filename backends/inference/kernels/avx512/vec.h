/*
 * vec.h (AVX-512): sixteen lanes, and the dot products of VNNI; see panel/panel.h for the use.
 * Thread   any; pure functions, always inlined.
 * Never    touches memory past what is asked for: partial accesses are masked.
 */
#ifndef FG_INFERENCE_AVX512_VEC_H
#define FG_INFERENCE_AVX512_VEC_H

#include "inference/kernels/avx2/lanes.h"

typedef __m512i vec_int;
typedef __m512 vec_float;

/* Two groups of rows by six tokens: 12 integer and 12 float sums of the 32 registers. */
#define VEC_LANES 16
#define VEC_GROUPS 2
#define VEC_TOKENS 6
/* Rows are prefetched a line of each in turn. */
#define VEC_READS_IN_ORDER 0

/* The dot instruction wants unsigned weights. */
#define VEC_INT8_OFFSET 128

FG_INLINE vec_int vec_stored_int8(vec_int bytes)
{
    return _mm512_xor_si512(bytes, _mm512_set1_epi8((char)0x80));
}

FG_INLINE vec_int vec_set_int(int32_t value)
{
    return _mm512_set1_epi32(value);
}

FG_INLINE vec_int vec_set_byte(int value)
{
    return _mm512_set1_epi8((char)value);
}

FG_INLINE vec_int vec_and(vec_int a, vec_int b)
{
    return _mm512_and_si512(a, b);
}

FG_INLINE vec_int vec_or(vec_int a, vec_int b)
{
    return _mm512_or_si512(a, b);
}

FG_INLINE vec_int vec_shift_left(vec_int a, int bits)
{
    return _mm512_slli_epi32(a, (unsigned)bits);
}

FG_INLINE vec_int vec_shift_right(vec_int a, int bits)
{
    return _mm512_srli_epi32(a, (unsigned)bits);
}

FG_INLINE vec_int vec_shift_right_signed(vec_int a, int bits)
{
    return _mm512_srai_epi32(a, (unsigned)bits);
}

/* Bits 4k .. 4k + 3 of each lane of `bits` as bit 4, which is clear, of the lane's four bytes. */
FG_INLINE vec_int vec_or_fifth_bits(vec_int q, vec_int bits, int k)
{
    /* The byte that holds them four times over, then one bit of it in each. */
    const __m128i in_order = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    __m128i byte = _mm_add_epi8(in_order, _mm_set1_epi8((char)(k / 2)));
    vec_int four = vec_set_int(k % 2 == 0 ? 0x08040201 : (int)0x80402010u);
    vec_int spread = _mm512_shuffle_epi8(bits, _mm512_broadcast_i32x4(byte));
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(spread, four), q, vec_set_byte(16));
}

FG_INLINE vec_float vec_zero(void)
{
    return _mm512_setzero_ps();
}

FG_INLINE vec_float vec_set_float(float value)
{
    return _mm512_set1_ps(value);
}

FG_INLINE vec_float vec_to_float(vec_int a)
{
    return _mm512_cvtepi32_ps(a);
}

FG_INLINE vec_float vec_multiply(vec_float a, vec_float b)
{
    return _mm512_mul_ps(a, b);
}

FG_INLINE vec_float vec_negate(vec_float a)
{
    return _mm512_castsi512_ps(
        _mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
}

/* a * b + c */
FG_INLINE vec_float vec_fma(vec_float a, vec_float b, vec_float c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
FG_INLINE vec_float vec_fma_negated(vec_float a, vec_float b, vec_float c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* The low 16 bits of each lane, as F16. */
FG_INLINE vec_float vec_low_halves(vec_int a)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}

/* The first `lanes` (0 to 16). */
FG_INLINE __mmask16 vec_mask(size_t lanes)
{
    return (__mmask16)((1u << lanes) - 1);
}

/* The first `lanes` (1 to 16) floats, the rest zero. */
FG_INLINE vec_float vec_load_part(const float *from, size_t lanes)
{
    return _mm512_maskz_loadu_ps(vec_mask(lanes), from);
}

FG_INLINE void vec_store_part(float *to, vec_float a, size_t lanes)
{
    _mm512_mask_storeu_ps(to, vec_mask(lanes), a);
}

/* Any VEC_LANES floats. */
FG_INLINE vec_float vec_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

FG_INLINE void vec_store(float *to, vec_float a)
{
    _mm512_storeu_ps(to, a);
}

FG_INLINE vec_float vec_subtract(vec_float a, vec_float b)
{
    return _mm512_sub_ps(a, b);
}

/* The first `lanes` of a, then `other`. */
FG_INLINE vec_float vec_keep(vec_float a, size_t lanes, float other)
{
    return _mm512_mask_mov_ps(_mm512_set1_ps(other), vec_mask(lanes), a);
}

FG_INLINE float vec_max_lanes(vec_float a)
{
    return _mm512_reduce_max_ps(a);
}

FG_INLINE float vec_sum_lanes(vec_float a)
{
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    return fg_sum_lanes(_mm256_add_ps(_mm512_castps512_ps256(a), high));
}

/* fg_exp_lanes of both halves. */
FG_INLINE vec_float vec_exp(vec_float a)
{
    __m256 low = fg_exp_lanes(_mm512_castps512_ps256(a));
    __m256 high = fg_exp_lanes(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)));
    return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(low)),
                                               _mm256_castps_pd(high), 1));
}

/* A row of F16 as floats. */
FG_INLINE vec_float vec_load_f16(const unsigned char *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

FG_INLINE vec_float vec_load_f16_part(const unsigned char *from, size_t lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vec_mask(lanes), from));
}

/* A row of int8 as floats. */
FG_INLINE vec_float vec_load_int8(const unsigned char *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* One F16 in every lane. */
FG_INLINE vec_float vec_set_half(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)half));
}

/* 16 bytes of rows 0, 4, 8 and 12. */
FG_INLINE __m512i vec_load_four_rows(const unsigned char *at, size_t stride)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)at));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(at + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(at + 8 * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(at + 12 * stride)), 3);
}

/* 16 bytes of each row, as four vectors of a dword a row: a 4 x 4 transposition in each part. */
FG_INLINE void vec_load_rows(vec_int out[4], const unsigned char *at, size_t stride)
{
    __m512i a = vec_load_four_rows(at, stride), b = vec_load_four_rows(at + stride, stride);
    __m512i c = vec_load_four_rows(at + 2 * stride, stride);
    __m512i d = vec_load_four_rows(at + 3 * stride, stride);
    __m512i ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
    __m512i cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
    out[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
    out[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    out[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

/* Four bytes of each row. */
FG_INLINE vec_int vec_load_dwords(const unsigned char *at, size_t stride)
{
    __m512i v = _mm512_castsi128_si512(fg_load_four_dwords(at, stride));
    v = _mm512_inserti32x4(v, fg_load_four_dwords(at + 4 * stride, stride), 1);
    v = _mm512_inserti32x4(v, fg_load_four_dwords(at + 8 * stride, stride), 2);
    return _mm512_inserti32x4(v, fg_load_four_dwords(at + 12 * stride, stride), 3);
}

/* An F16 of each row. */
FG_INLINE vec_float vec_load_halves(const unsigned char *at, size_t stride)
{
    __m128i low = _mm_unpacklo_epi64(fg_load_four_words(at, stride),
                                     fg_load_four_words(at + 4 * stride, stride));
    __m128i high = _mm_unpacklo_epi64(fg_load_four_words(at + 8 * stride, stride),
                                      fg_load_four_words(at + 12 * stride, stride));
    return _mm512_cvtph_ps(_mm256_set_m128i(high, low));
}

/* dots[g][t] += q[g] x[t] over `steps` times four columns; the sums are exact whatever `bits` is.
 */
FG_INLINE void vec_dots(const vec_int *const q[VEC_GROUPS], const int8_t *const x[VEC_TOKENS],
                        int groups, int tokens, int steps, int bits,
                        vec_int dots[VEC_GROUPS][VEC_TOKENS])
{
    (void)bits;
    for (int k = 0; k < steps; k++) {
        for (int t = 0; t < tokens; t++) {
            int32_t four;
            memcpy(&four, x[t] + 4 * k, sizeof(four));
            __m512i columns = _mm512_set1_epi32(four);
            for (int g = 0; g < groups; g++)
                dots[g][t] = _mm512_dpbusd_epi32(dots[g][t], q[g][k], columns);
        }
    }
}

#endif
