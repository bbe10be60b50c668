/*
 * blocks_avx512.c: y = W x for the block-quantised types over panels of sixteen rows.
 * Thread   any; callers split the rows, best in multiples of 32.
 */
#include "avx512.h"

#include "vec.h"

#include "inference/kernels/panel/panel_tile.h"

/* The dot instruction sums four products of any bytes without loss: the width does not matter. */
DEFINE_TILE(tile_offset, PANEL_OFFSET, 8)
DEFINE_TILE(tile_min, PANEL_MIN, 8)
DEFINE_TILE(tile_halves, PANEL_HALVES, 8)

DEFINE_TYPE(q8_0, 34, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q4_0, 18, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q4_1, 20, 1, PANEL_MIN, 8)
DEFINE_TYPE(q5_0, 22, 1, PANEL_OFFSET, 8)
DEFINE_TYPE(q5_1, 24, 1, PANEL_MIN, 8)
DEFINE_TYPE(q4_k, 144, 8, PANEL_MIN, 8)
DEFINE_TYPE(q5_k, 176, 8, PANEL_MIN, 8)
DEFINE_TYPE(q6_k, 210, 8, PANEL_HALVES, 8)

static const struct panel_type types[FG_WEIGHT_TYPE_COUNT] = {
    [FG_WEIGHT_Q8_0] = {rows_pack_q8_0, rows_stream_q8_0, tile_offset, VEC_INT8_OFFSET},
    [FG_WEIGHT_Q4_0] = {rows_pack_q4_0, rows_stream_q4_0, tile_offset, 8},
    [FG_WEIGHT_Q4_1] = {rows_pack_q4_1, rows_stream_q4_1, tile_min, 0},
    [FG_WEIGHT_Q5_0] = {rows_pack_q5_0, rows_stream_q5_0, tile_offset, 16},
    [FG_WEIGHT_Q5_1] = {rows_pack_q5_1, rows_stream_q5_1, tile_min, 0},
    [FG_WEIGHT_Q4_K] = {rows_pack_q4_k, rows_stream_q4_k, tile_min, 0},
    [FG_WEIGHT_Q5_K] = {rows_pack_q5_k, rows_stream_q5_k, tile_min, 0},
    [FG_WEIGHT_Q6_K] = {rows_pack_q6_k, rows_stream_q6_k, tile_halves, 32},
};

void fg_matmul_blocks_avx512(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                             const struct fg_activations *x, float *const *out)
{
    panel_matmul(&types[matrix->type], matrix, row_first, row_count, x, out);
}
