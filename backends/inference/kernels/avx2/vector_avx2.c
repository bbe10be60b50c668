/*
 * vector_avx2.c: norms, rotations and other operations over one vector, eight floats at a time.
 * Thread   any.
 * Order    a last, partial vector goes through the same instructions under a mask, so that what
 *          an element becomes does not depend on where in the vector it stands.
 */
#include "avx2.h"

#include <cpuid.h>
#include <math.h>

#include "lanes.h"

bool fg_cpu_has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

/* The sum of 16 bytes: each pair's in 16 bits, then all. */
static int32_t sum_int8(__m128i bytes)
{
    __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), bytes);
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi16(1));
    fours = _mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0xb1)));
}

/* Four times eight floats, rounded and clamped, as 32 int8 in order, and their sums. */
static void store_int8(const __m256 v[4], struct fg_q8_block *block)
{
    __m256i n[4];
    for (int j = 0; j < 4; j++) {
        /* NaN gives the second operand: -127, as in the scalar kernel. */
        __m256 clamped = _mm256_max_ps(v[j], _mm256_set1_ps(-127.0f));
        n[j] = _mm256_cvtps_epi32(_mm256_min_ps(clamped, _mm256_set1_ps(127.0f)));
    }
    __m256i words_a = _mm256_packs_epi32(n[0], n[1]);
    __m256i words_b = _mm256_packs_epi32(n[2], n[3]);
    __m256i bytes = _mm256_packs_epi16(words_a, words_b);
    /* The packs work within 128-bit halves; put the groups of four back in order. */
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)block->q, bytes);
    block->sums[0] = sum_int8(_mm256_castsi256_si128(bytes));
    block->sums[1] = sum_int8(_mm256_extracti128_si256(bytes, 1));
}

void fg_quantise_avx2(const float *x, size_t count, struct fg_q8_block *blocks)
{
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (size_t b = 0; b < count / FG_QUANT_BLOCK; b++) {
        struct fg_q8_block *block = &blocks[b];
        __m256 v[4];
        __m256 largest = _mm256_setzero_ps();
        for (size_t j = 0; j < 4; j++) {
            v[j] = _mm256_loadu_ps(x + b * FG_QUANT_BLOCK + 8 * j);
            largest = _mm256_max_ps(_mm256_and_ps(v[j], no_sign), largest);
        }
        float scale = fg_max_lanes(largest) / 127.0f;
        __m256 inverse = _mm256_set1_ps(scale > 0 ? 1.0f / scale : 0);
        for (int j = 0; j < 4; j++)
            v[j] = _mm256_mul_ps(v[j], inverse);
        store_int8(v, block);
        block->scale = _cvtsh_ss(_cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT));
        block->scaled_sum = block->scale * (float)(block->sums[0] + block->sums[1]);
    }
}

void fg_rmsnorm_avx2(float *out, const float *x, const float *weight, size_t count, float epsilon)
{
    if (count == 0)
        return;
    size_t whole = count & ~(size_t)7;
    __m256i mask = fg_lane_mask(count - whole);
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < whole; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    if (whole < count) {
        __m256 v = _mm256_maskload_ps(x + whole, mask);
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(fg_sum_lanes(sum) / (float)count + epsilon));
    for (size_t i = 0; i < whole; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    if (whole < count) {
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + whole, mask), scale);
        v = _mm256_mul_ps(v, _mm256_maskload_ps(weight + whole, mask));
        _mm256_maskstore_ps(out + whole, mask, v);
    }
}

static void rotate(float *a, float *b, float cosine, float sine)
{
    float first = *a, second = *b;
    *a = fmaf(first, cosine, -(second * sine));
    *b = fmaf(second, cosine, first * sine);
}

void fg_rope_halves_avx2(float *head, const float *cosines, const float *sines, size_t pair_count)
{
    size_t i = 0;
    for (; i + 8 <= pair_count; i += 8) {
        __m256 a = _mm256_loadu_ps(head + i), b = _mm256_loadu_ps(head + pair_count + i);
        __m256 c = _mm256_loadu_ps(cosines + i), s = _mm256_loadu_ps(sines + i);
        _mm256_storeu_ps(head + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(head + pair_count + i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
    for (; i < pair_count; i++)
        rotate(&head[i], &head[i + pair_count], cosines[i], sines[i]);
}

void fg_rope_pairs_avx2(float *head, const float *cosines, const float *sines, size_t pair_count)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    size_t i = 0;
    for (; i + 4 <= pair_count; i += 4) {
        __m256 v = _mm256_loadu_ps(head + 2 * i);
        __m256 c = _mm256_castps128_ps256(_mm_loadu_ps(cosines + i));
        __m256 s = _mm256_castps128_ps256(_mm_loadu_ps(sines + i));
        c = _mm256_permutevar8x32_ps(c, twice);
        s = _mm256_permutevar8x32_ps(s, twice);
        __m256 swapped = _mm256_permute_ps(v, 0xb1);
        _mm256_storeu_ps(head + 2 * i, _mm256_fmaddsub_ps(v, c, _mm256_mul_ps(swapped, s)));
    }
    for (; i < pair_count; i++)
        rotate(&head[2 * i], &head[2 * i + 1], cosines[i], sines[i]);
}

FG_INLINE __m256 swiglu_lanes(__m256 gate, __m256 up)
{
    __m256 minus = _mm256_xor_ps(gate, _mm256_set1_ps(-0.0f));
    __m256 below = _mm256_add_ps(_mm256_set1_ps(1.0f), fg_exp_lanes(minus));
    /* Below -88 exp is clamped, and what is left is nothing; NaN passes. */
    __m256 counts = _mm256_cmp_ps(gate, _mm256_set1_ps(-88.0f), _CMP_NLT_UQ);
    return _mm256_mul_ps(_mm256_and_ps(_mm256_div_ps(gate, below), counts), up);
}

void fg_swiglu_avx2(float *gate, const float *up, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 v = swiglu_lanes(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i));
        _mm256_storeu_ps(gate + i, v);
    }
    if (i < count) {
        __m256i mask = fg_lane_mask(count - i);
        __m256 v =
            swiglu_lanes(_mm256_maskload_ps(gate + i, mask), _mm256_maskload_ps(up + i, mask));
        _mm256_maskstore_ps(gate + i, mask, v);
    }
}

void fg_add_avx2(float *x, const float *y, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < count; i++)
        x[i] += y[i];
}

void fg_f32_to_f16_avx2(uint16_t *out, const float *x, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(out + i), halves);
    }
    for (; i < count; i++)
        out[i] = (uint16_t)_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

/* The first of them that is `value`; `count` when none is. */
static size_t find_first(const float *x, size_t count, float value)
{
    const __m256 wanted = _mm256_set1_ps(value);
    for (size_t i = 0; i < count; i += 8) {
        __m256i mask = fg_lane_mask(count - i < 8 ? count - i : 8);
        __m256 v = i + 8 <= count ? _mm256_loadu_ps(x + i) : _mm256_maskload_ps(x + i, mask);
        __m256 equal =
            _mm256_and_ps(_mm256_cmp_ps(v, wanted, _CMP_EQ_OQ), _mm256_castsi256_ps(mask));
        int found = _mm256_movemask_ps(equal);
        if (found != 0)
            return i + (size_t)__builtin_ctz((unsigned)found);
    }
    return count;
}

uint32_t fg_largest_avx2(const float *x, size_t count)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 best = none;
    size_t i = 0;
    /* max returns its second operand when either is NaN: the best so far. */
    for (; i + 8 <= count; i += 8)
        best = _mm256_max_ps(_mm256_loadu_ps(x + i), best);
    if (i < count) {
        __m256i mask = fg_lane_mask(count - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        best = _mm256_max_ps(_mm256_blendv_ps(none, v, _mm256_castsi256_ps(mask)), best);
    }
    size_t at = find_first(x, count, fg_max_lanes(best));
    return at < count ? (uint32_t)at : 0;
}

FG_INLINE __m256 weigh_lanes(__m256 x, __m256 peak, __m256 inverse, __m256 least)
{
    __m256 power = _mm256_mul_ps(_mm256_sub_ps(x, peak), inverse);
    __m256 counts = _mm256_and_ps(_mm256_cmp_ps(power, least, _CMP_GT_OQ),
                                  _mm256_cmp_ps(power, _mm256_setzero_ps(), _CMP_LE_OQ));
    return _mm256_and_ps(fg_exp_lanes(power), counts);
}

void fg_weigh_avx2(float *weights, const float *x, size_t count, float peak, float inverse,
                   float least)
{
    const __m256 peaks = _mm256_set1_ps(peak);
    const __m256 inverses = _mm256_set1_ps(inverse);
    const __m256 leasts = _mm256_set1_ps(least);
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(weights + i, weigh_lanes(_mm256_loadu_ps(x + i), peaks, inverses, leasts));
    if (i < count) {
        __m256i mask = fg_lane_mask(count - i);
        _mm256_maskstore_ps(weights + i, mask,
                            weigh_lanes(_mm256_maskload_ps(x + i, mask), peaks, inverses, leasts));
    }
}
