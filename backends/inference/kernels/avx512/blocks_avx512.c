/*
 * blocks_avx512.c: y = W x for the block-quantised types over panels of sixteen rows.
 * Thread   any; callers split the rows, best in multiples of 32.
 */
#include "avx512.h"

#include "vec.h"

#include "inference/kernels/panel/panel_tile.h"

/* The dot instruction sums four products of any bytes without loss: the width does not matter. */
DEFINE_TILE(offset_1, 1, PANEL_OFFSET, 8)
DEFINE_TILE(offset_2, 2, PANEL_OFFSET, 8)
DEFINE_TILE(min_1, 1, PANEL_MIN, 8)
DEFINE_TILE(min_2, 2, PANEL_MIN, 8)
DEFINE_TILE(halves_1, 1, PANEL_HALVES, 8)
DEFINE_TILE(halves_2, 2, PANEL_HALVES, 8)

DEFINE_TYPE(q8_0, 34, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q4_0, 18, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q4_1, 20, 1, PANEL_MIN, 8)
DEFINE_TYPE(q5_0, 22, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q5_1, 24, 1, PANEL_MIN, 8)
DEFINE_TYPE(q4_k, 144, 8, PANEL_MIN, 8)
DEFINE_TYPE(q5_k, 176, 8, PANEL_MIN, 8)
DEFINE_TYPE(q6_k, 210, 8, PANEL_HALVES, 8)

static const struct panel_type types[FG_WEIGHT_TYPE_COUNT] = {
    [FG_WEIGHT_Q8_0] = {rows_pack_q8_0, rows_stream_q8_0, {offset_1, offset_2}, VEC_INT8_OFFSET},
    [FG_WEIGHT_Q4_0] = {rows_pack_q4_0, rows_stream_q4_0, {offset_1, offset_2}, 8},
    [FG_WEIGHT_Q4_1] = {rows_pack_q4_1, rows_stream_q4_1, {min_1, min_2}, 0},
    [FG_WEIGHT_Q5_0] = {rows_pack_q5_0, rows_stream_q5_0, {offset_1, offset_2}, 16},
    [FG_WEIGHT_Q5_1] = {rows_pack_q5_1, rows_stream_q5_1, {min_1, min_2}, 0},
    [FG_WEIGHT_Q4_K] = {rows_pack_q4_k, rows_stream_q4_k, {min_1, min_2}, 0},
    [FG_WEIGHT_Q5_K] = {rows_pack_q5_k, rows_stream_q5_k, {min_1, min_2}, 0},
    [FG_WEIGHT_Q6_K] = {rows_pack_q6_k, rows_stream_q6_k, {halves_1, halves_2}, 32},
};

void fg_matmul_blocks_avx512(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                             const struct fg_activations *x, float *const *out)
{
    panel_matmul(&types[matrix->type], matrix, row_first, row_count, x, out);
}
