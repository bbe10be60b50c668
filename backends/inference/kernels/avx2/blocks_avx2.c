/*
 * blocks_avx2.c: y = W x for the block-quantised types over panels of eight rows.
 * Thread   any; callers split the rows, best in multiples of 8.
 */
#include "avx2.h"

#include "vec.h"

#include "inference/kernels/panel/panel_tile.h"

DEFINE_TILE(plain_8_bits, PANEL_PLAIN, 8)
DEFINE_TILE(offset_5_bits, PANEL_OFFSET, 5)
DEFINE_TILE(offset_4_bits, PANEL_OFFSET, 4)
DEFINE_TILE(min_5_bits, PANEL_MIN, 5)
DEFINE_TILE(min_4_bits, PANEL_MIN, 4)
DEFINE_TILE(halves_6_bits, PANEL_HALVES, 6)

DEFINE_TYPE(q8_0, 34, 1, PANEL_PLAIN, 8)
DEFINE_TYPE(q4_0, 18, 1, PANEL_OFFSET, 4)
DEFINE_TYPE(q4_1, 20, 1, PANEL_MIN, 4)
DEFINE_TYPE(q5_0, 22, 1, PANEL_OFFSET, 5)
DEFINE_TYPE(q5_1, 24, 1, PANEL_MIN, 5)
DEFINE_TYPE(q4_k, 144, 8, PANEL_MIN, 4)
DEFINE_TYPE(q5_k, 176, 8, PANEL_MIN, 5)
DEFINE_TYPE(q6_k, 210, 8, PANEL_HALVES, 6)

static const struct panel_type types[FG_WEIGHT_TYPE_COUNT] = {
    [FG_WEIGHT_Q8_0] = {rows_pack_q8_0, rows_stream_q8_0, plain_8_bits, 0},
    [FG_WEIGHT_Q4_0] = {rows_pack_q4_0, rows_stream_q4_0, offset_4_bits, 8},
    [FG_WEIGHT_Q4_1] = {rows_pack_q4_1, rows_stream_q4_1, min_4_bits, 0},
    [FG_WEIGHT_Q5_0] = {rows_pack_q5_0, rows_stream_q5_0, offset_5_bits, 16},
    [FG_WEIGHT_Q5_1] = {rows_pack_q5_1, rows_stream_q5_1, min_5_bits, 0},
    [FG_WEIGHT_Q4_K] = {rows_pack_q4_k, rows_stream_q4_k, min_4_bits, 0},
    [FG_WEIGHT_Q5_K] = {rows_pack_q5_k, rows_stream_q5_k, min_5_bits, 0},
    [FG_WEIGHT_Q6_K] = {rows_pack_q6_k, rows_stream_q6_k, halves_6_bits, 32},
};

void fg_matmul_blocks_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                           const struct fg_activations *x, float *const *out)
{
    panel_matmul(&types[matrix->type], matrix, row_first, row_count, x, out);
}
