/*
 * panel.h: the block-quantised product over panels, written once for any width of vector.
 * Job      take VEC_LANES rows of blocks of 32 columns, of any type, apart into bytes that lie as
 *          the dot instructions want them, one row a lane (panel_pack.h); then multiply them with
 *          the tokens, a few at a time (panel_tile.h). What a weight costs to unpack is paid once
 *          for all tokens of the batch, and no sum ever crosses lanes.
 * Thread   any; all scratch is on the stack (see PANEL_BLOCKS).
 * Order    an element is summed block by block from column 0 upwards, in an accumulator of its own:
 *          the same bits for every number of rows, tokens and lanes.
 * Use      included once by avx2/ and once by avx512/, after their vec.h, which defines:
 *          vec_int, vec_float and their operations, VEC_LANES, VEC_GROUPS, VEC_TOKENS and vec_dots.
 *
 *    rows of the matrix        panel (lanes are rows)              out (rows are contiguous)
 *    r0: b0 b1 b2 ...          b0: q[0] = 4 columns of r0..r15     token 0: r0 .. r15
 *    r1: b0 b1 b2 ...   pack       q[1] = the next 4 columns  tile token 1: r0 .. r15
 *    ..                 --->       ... q[7], scales, mins     ---> ..
 *    r15: b0 b1 b2 ..          b1: ...
 */
#ifndef FG_INFERENCE_PANEL_H
#define FG_INFERENCE_PANEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "inference/kernels/kernels.h"

/*
 * Blocks of 32 columns that a panel covers: a multiple of 8, which is a block of the K types. The
 * panels of 16 lanes and two groups of rows take 40 KiB, which is about the first-level cache.
 */
#define PANEL_BLOCKS 32u

/* Bytes of a row of a panel in the widest type. */
#define PANEL_ROW_BYTES_MAX (PANEL_BLOCKS * 34u)

/* How a block's integer sum becomes part of an element. */
enum panel_form {
    PANEL_PLAIN,  /* scale * sum of q x */
    PANEL_OFFSET, /* scale * sum of (q - offset) x */
    PANEL_MIN,    /* scale * sum of q x, less min * sum of x */
    PANEL_HALVES, /* the two halves of the block have scales of their own; with an offset */
};

/* 32 columns of VEC_LANES rows. */
struct panel_block {
    vec_int q[8]; /* four columns each; a lane is a row */
    vec_float scale;
    vec_float other; /* PANEL_MIN: the min; PANEL_HALVES: the scale of the second half */
};

/* VEC_LANES rows of a matrix, from some column on. */
struct panel_rows {
    const unsigned char *at; /* the first row */
    size_t stride;           /* from a row to the next */
    ptrdiff_t ahead;         /* from a byte of these to that of the next to be read */
    size_t block_count;      /* of 32 columns */
};

#endif
