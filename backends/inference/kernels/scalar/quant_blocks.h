/*
 * quant_blocks.h: the block-quantised weight types, taken apart 32 weights at a time.
 * Job      what the bytes of each block type mean, in plain arithmetic: the definition that the
 *          scalar products and the conversion of embedding rows share.
 * Thread   any; pure.
 * Source   the block structs of ggml (ggml-common.h) and its dequantize_row_* functions.
 *
 *    weight[i] = scale[i / 16] * q[i] - min
 */
#ifndef FG_INFERENCE_QUANT_BLOCKS_H
#define FG_INFERENCE_QUANT_BLOCKS_H

#include "inference/kernels/kernels.h"

struct fg_quant_part {
    int8_t q[FG_QUANT_BLOCK];
    float scale[2]; /* of the first and the last 16; equal but for Q6_K */
    float min;
};

/* Weights 32 * index .. 32 * index + 31 of a row. `type` is a block type. */
void fg_quant_part_read(enum fg_weight_type type, const unsigned char *row, size_t index,
                        struct fg_quant_part *part);

#endif
