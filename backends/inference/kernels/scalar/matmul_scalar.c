/*
 * matmul_scalar.c: y = W x for each weight type, row by row, token by token.
 * Job      the definition that the fast products are tested against; plain loops, no intrinsics.
 * Thread   any; callers split the rows.
 */
#include "scalar.h"

#include "float16.h"
#include "quant_blocks.h"

static float weight_at(enum fg_weight_type type, const unsigned char *row, size_t i)
{
    uint16_t half;
    if (type == FG_WEIGHT_F32) {
        float value;
        memcpy(&value, row + sizeof(value) * i, sizeof(value));
        return value;
    }
    memcpy(&half, row + sizeof(half) * i, sizeof(half));
    return type == FG_WEIGHT_F16 ? fg_f16_to_f32(half) : fg_bf16_to_f32(half);
}

static float dot_float(const struct fg_matrix *matrix, const unsigned char *row,
                       const struct fg_activations *x, size_t token)
{
    const float *values = x->values + token * matrix->cols;
    float sum = 0;
    for (size_t i = 0; i < matrix->cols; i++)
        sum += weight_at(matrix->type, row, i) * values[i];
    return sum;
}

/* Sums of products of int8 are exact; each block is then scaled and added. */
static float dot_blocks(const struct fg_matrix *matrix, const unsigned char *row,
                        const struct fg_activations *x, size_t token)
{
    size_t block_count = matrix->cols / FG_QUANT_BLOCK;
    float sum = 0;
    for (size_t b = 0; b < block_count; b++) {
        const struct fg_q8_block *block = &x->blocks[token * block_count + b];
        struct fg_quant_part part;
        int32_t totals[2] = {0, 0};
        fg_quant_part_read(matrix->type, row, b, &part);
        for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
            totals[i / 16] += part.q[i] * block->q[i];
        if (matrix->type == FG_WEIGHT_Q6_K) {
            sum += (float)totals[0] * part.scale[0] * block->scale;
            sum += (float)totals[1] * part.scale[1] * block->scale;
        } else {
            sum += (float)(totals[0] + totals[1]) * part.scale[0] * block->scale;
            if (part.min != 0) /* most types have none */
                sum -= part.min * block->scaled_sum;
        }
    }
    return sum;
}

void fg_matmul_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                      const struct fg_activations *x, float *const *out)
{
    for (uint32_t row = row_first; row < row_first + row_count; row++) {
        const unsigned char *weights = matrix->data + row * matrix->row_bytes;
        for (uint32_t token = 0; token < x->token_count; token++)
            out[token][row] = fg_weight_wants_q8(matrix->type)
                                  ? dot_blocks(matrix, weights, x, token)
                                  : dot_float(matrix, weights, x, token);
    }
}

void fg_weight_row_to_f32(enum fg_weight_type type, const unsigned char *row, size_t count,
                          float *out)
{
    if (!fg_weight_wants_q8(type)) {
        for (size_t i = 0; i < count; i++)
            out[i] = weight_at(type, row, i);
        return;
    }
    for (size_t i = 0; i < count; i += FG_QUANT_BLOCK) {
        struct fg_quant_part part;
        fg_quant_part_read(type, row, i / FG_QUANT_BLOCK, &part);
        for (size_t k = 0; k < FG_QUANT_BLOCK; k++)
            out[i + k] = (float)part.q[k] * part.scale[k / 16] - part.min;
    }
}
