/*
 * vector_scalar.c: norms, rotations and the other operations over one vector, as plain loops.
 * Thread   any.
 * Source   RMSNorm: Zhang and Sennrich 2019; RoPE: Su et al. 2021; SwiGLU: Shazeer 2020.
 */
#include "scalar.h"

#include <math.h>

#include "float16.h"

/* Nearest integer within -127 to 127; NaN gives -127, as the vector instructions do. */
static int8_t round_to_int8(float value)
{
    if (!(value > -127.0f))
        value = -127.0f;
    if (value > 127.0f)
        value = 127.0f;
    return (int8_t)lrintf(value);
}

static void quantise_block(const float *x, struct fg_q8_block *block)
{
    float largest = 0;
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++) {
        float magnitude = fabsf(x[i]);
        if (magnitude > largest)
            largest = magnitude;
    }
    float scale = largest / 127.0f;
    float inverse = scale > 0 ? 1.0f / scale : 0;
    block->sums[0] = block->sums[1] = 0;
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++) {
        block->q[i] = round_to_int8(x[i] * inverse);
        block->sums[i / 16] += block->q[i];
    }
    block->scale = fg_f16_to_f32(fg_f32_to_f16_one(scale));
    block->scaled_sum = block->scale * (float)(block->sums[0] + block->sums[1]);
}

void fg_quantise_scalar(const float *x, size_t count, struct fg_q8_block *blocks)
{
    for (size_t b = 0; b < count / FG_QUANT_BLOCK; b++)
        quantise_block(x + b * FG_QUANT_BLOCK, &blocks[b]);
}

void fg_rmsnorm_scalar(float *out, const float *x, const float *weight, size_t count, float epsilon)
{
    if (count == 0)
        return;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = 1.0f / sqrtf((float)(sum / (double)count) + epsilon);
    for (size_t i = 0; i < count; i++)
        out[i] = x[i] * scale * weight[i];
}

static void rotate(float *a, float *b, float cosine, float sine)
{
    float first = *a, second = *b;
    *a = first * cosine - second * sine;
    *b = second * cosine + first * sine;
}

void fg_rope_halves_scalar(float *head, const float *cosines, const float *sines, size_t pair_count)
{
    for (size_t i = 0; i < pair_count; i++)
        rotate(&head[i], &head[i + pair_count], cosines[i], sines[i]);
}

void fg_rope_pairs_scalar(float *head, const float *cosines, const float *sines, size_t pair_count)
{
    for (size_t i = 0; i < pair_count; i++)
        rotate(&head[2 * i], &head[2 * i + 1], cosines[i], sines[i]);
}

void fg_swiglu_scalar(float *gate, const float *up, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void fg_add_scalar(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

void fg_f32_to_f16_scalar(uint16_t *out, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = fg_f32_to_f16_one(x[i]);
}

uint32_t fg_largest_scalar(const float *x, size_t count)
{
    size_t best = 0;
    bool has_best = false;
    for (size_t i = 0; i < count; i++) {
        if (isnan(x[i]) || (has_best && x[i] <= x[best]))
            continue;
        best = i;
        has_best = true;
    }
    return (uint32_t)best;
}

void fg_weigh_scalar(float *weights, const float *x, size_t count, float peak, float inverse,
                     float least)
{
    for (size_t i = 0; i < count; i++) {
        float power = (x[i] - peak) * inverse;
        weights[i] = power > least && power <= 0 ? expf(power) : 0;
    }
}
