/*
 * matmul_scalar.c: y = W x for each weight type, row by row, token by token.
 * Job      the definition that the fast products are tested against; plain loops, no intrinsics.
 * Thread   any; callers split the rows.
 * Source   block layouts: ggml's Q8_0 (d, 32 int8) and Q4_0 (d, 32 nibbles less 8).
 */
#include "scalar.h"

#include "float16.h"

typedef float (*dot_fn)(const unsigned char *row, const struct fg_activations *x, size_t token,
                        size_t cols);

static uint16_t load_u16(const unsigned char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static float load_f32(const unsigned char *at)
{
    float value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static float dot_f32(const unsigned char *row, const struct fg_activations *x, size_t token,
                     size_t cols)
{
    const float *values = x->values + token * cols;
    float sum = 0;
    for (size_t i = 0; i < cols; i++)
        sum += load_f32(row + 4 * i) * values[i];
    return sum;
}

static float dot_f16(const unsigned char *row, const struct fg_activations *x, size_t token,
                     size_t cols)
{
    const float *values = x->values + token * cols;
    float sum = 0;
    for (size_t i = 0; i < cols; i++)
        sum += fg_f16_to_f32(load_u16(row + 2 * i)) * values[i];
    return sum;
}

static float dot_bf16(const unsigned char *row, const struct fg_activations *x, size_t token,
                      size_t cols)
{
    const float *values = x->values + token * cols;
    float sum = 0;
    for (size_t i = 0; i < cols; i++)
        sum += fg_bf16_to_f32(load_u16(row + 2 * i)) * values[i];
    return sum;
}

static float dot_q8_0(const unsigned char *row, const struct fg_activations *x, size_t token,
                      size_t cols)
{
    size_t block_count = cols / FG_QUANT_BLOCK;
    float sum = 0;
    for (size_t b = 0; b < block_count; b++) {
        const unsigned char *block = row + b * FG_Q8_0_BLOCK_BYTES;
        const int8_t *q8 = x->q8 + token * cols + b * FG_QUANT_BLOCK;
        int32_t total = 0;
        for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
            total += (int8_t)block[2 + i] * q8[i];
        float scale = fg_f16_to_f32(load_u16(block)) * x->q8_scales[token * block_count + b];
        sum += (float)total * scale;
    }
    return sum;
}

static float dot_q4_0(const unsigned char *row, const struct fg_activations *x, size_t token,
                      size_t cols)
{
    size_t block_count = cols / FG_QUANT_BLOCK;
    float sum = 0;
    for (size_t b = 0; b < block_count; b++) {
        const unsigned char *block = row + b * FG_Q4_0_BLOCK_BYTES;
        const int8_t *q8 = x->q8 + token * cols + b * FG_QUANT_BLOCK;
        int32_t total = 0;
        for (size_t i = 0; i < 16; i++) {
            total += ((int)(block[2 + i] & 15) - 8) * q8[i];
            total += ((int)(block[2 + i] >> 4) - 8) * q8[i + 16];
        }
        float scale = fg_f16_to_f32(load_u16(block)) * x->q8_scales[token * block_count + b];
        sum += (float)total * scale;
    }
    return sum;
}

static void matmul(dot_fn dot, const struct fg_matrix *matrix, uint32_t row_first,
                   uint32_t row_count, const struct fg_activations *x, float *const *out)
{
    for (uint32_t row = row_first; row < row_first + row_count; row++) {
        const unsigned char *weights = matrix->data + row * matrix->row_bytes;
        for (uint32_t token = 0; token < x->token_count; token++)
            out[token][row] = dot(weights, x, token, matrix->cols);
    }
}

void fg_matmul_f32_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                          const struct fg_activations *x, float *const *out)
{
    matmul(dot_f32, matrix, row_first, row_count, x, out);
}

void fg_matmul_f16_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                          const struct fg_activations *x, float *const *out)
{
    matmul(dot_f16, matrix, row_first, row_count, x, out);
}

void fg_matmul_bf16_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                           const struct fg_activations *x, float *const *out)
{
    matmul(dot_bf16, matrix, row_first, row_count, x, out);
}

void fg_matmul_q8_0_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                           const struct fg_activations *x, float *const *out)
{
    matmul(dot_q8_0, matrix, row_first, row_count, x, out);
}

void fg_matmul_q4_0_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                           const struct fg_activations *x, float *const *out)
{
    matmul(dot_q4_0, matrix, row_first, row_count, x, out);
}

static void block_row_to_f32(enum fg_weight_type type, const unsigned char *row, size_t count,
                             float *out)
{
    size_t block_bytes = type == FG_WEIGHT_Q8_0 ? FG_Q8_0_BLOCK_BYTES : FG_Q4_0_BLOCK_BYTES;
    for (size_t b = 0; b < count / FG_QUANT_BLOCK; b++) {
        const unsigned char *block = row + b * block_bytes;
        float scale = fg_f16_to_f32(load_u16(block));
        float *to = out + b * FG_QUANT_BLOCK;
        for (size_t i = 0; i < FG_QUANT_BLOCK; i++) {
            if (type == FG_WEIGHT_Q8_0)
                to[i] = (float)(int8_t)block[2 + i] * scale;
            else
                to[i] = (float)((int)((block[2 + i % 16] >> (i < 16 ? 0 : 4)) & 15) - 8) * scale;
        }
    }
}

void fg_weight_row_to_f32(enum fg_weight_type type, const unsigned char *row, size_t count,
                          float *out)
{
    if (fg_weight_wants_q8(type)) {
        block_row_to_f32(type, row, count, out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (type == FG_WEIGHT_F32)
            out[i] = load_f32(row + 4 * i);
        else if (type == FG_WEIGHT_F16)
            out[i] = fg_f16_to_f32(load_u16(row + 2 * i));
        else
            out[i] = fg_bf16_to_f32(load_u16(row + 2 * i));
    }
}
