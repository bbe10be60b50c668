/*
 * kernels.h: the arithmetic of a transformer as one table of functions, chosen once at start.
 * Job      matrix products, norms, rotations, attention over KV blocks; nothing that decides.
 * Thread   any: kernels keep no state. Callers split work by rows, tokens or heads.
 * Never    allocates, and never reads past the lengths it was given.
 * Order    every output element is summed in an order that depends on its own row and token alone:
 *          the same element is bit-identical in any batch and under any split of the work. Kernels
 *          are compiled with -ffp-contract=off so that the compiler cannot undo that.
 */
#ifndef FG_INFERENCE_KERNELS_H
#define FG_INFERENCE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/kv/kv_layout.h"

/* Activations are rounded in blocks of this many; the columns of block types are a multiple. */
#define FG_QUANT_BLOCK 32u

enum fg_weight_type {
    FG_WEIGHT_F32,
    FG_WEIGHT_F16,
    FG_WEIGHT_BF16,
    FG_WEIGHT_Q8_0,
    FG_WEIGHT_Q4_0,
    FG_WEIGHT_Q4_1,
    FG_WEIGHT_Q5_0,
    FG_WEIGHT_Q5_1,
    FG_WEIGHT_Q4_K,
    FG_WEIGHT_Q5_K,
    FG_WEIGHT_Q6_K,
    FG_WEIGHT_TYPE_COUNT
};

/* A weight matrix in a mapping, row-major, any alignment. Borrowed. */
struct fg_matrix {
    const unsigned char *data;
    size_t row_bytes;
    uint32_t rows;
    uint32_t cols; /* a multiple of fg_weight_block_cols(type) */
    enum fg_weight_type type;
};

/* 32 activations rounded to int8 with one scale (as F16 would hold it), and what products with
 * weights that have an offset need besides. */
struct fg_q8_block {
    int8_t q[FG_QUANT_BLOCK]; /* -127 to 127 */
    float scale;
    float scaled_sum; /* scale times the sum of q */
    int32_t sums[2];  /* of q[0 .. 15] and q[16 .. 31] */
};

/* What a product is taken with: float types read `values`; block types read the same numbers as
 * fg_kernels.quantise made them. */
struct fg_activations {
    const float *values;              /* (token_count, cols) */
    const struct fg_q8_block *blocks; /* (token_count, cols / FG_QUANT_BLOCK) */
    uint32_t token_count;
};

/* Attention of the query heads that share one KV head, for one token. */
struct fg_attention {
    const struct fg_kv_store *store;
    const uint32_t *block_table; /* covers positions 0 .. position_count - 1 */
    uint32_t position_count;     /* at least 1 */
    uint32_t layer;
    uint32_t kv_head;
    uint32_t query_count;
    float scale;          /* of a dot product, before the softmax */
    const float *queries; /* (query_count, head_dim), rotated */
    float *out;           /* (query_count, head_dim) */
};

/* out[token][row] for rows row_first .. row_first + row_count - 1; `out` has token_count rows. */
typedef void (*fg_matmul_fn)(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                             const struct fg_activations *x, float *const *out);

struct fg_kernels {
    const char *name; /* "scalar", "avx2", ... */
    fg_matmul_fn matmul[FG_WEIGHT_TYPE_COUNT];

    /* blocks (count / 32); count is a multiple of 32. */
    void (*quantise)(const float *x, size_t count, struct fg_q8_block *blocks);
    /* out = x / sqrt(mean(x^2) + epsilon) * weight; all (count); out may be x. */
    void (*rmsnorm)(float *out, const float *x, const float *weight, size_t count, float epsilon);
    /* Rotate pairs (i, i + pair_count) of `head`; cosines and sines are (pair_count). */
    void (*rope_halves)(float *head, const float *cosines, const float *sines, size_t pair_count);
    /* The same over neighbours (2i, 2i + 1). */
    void (*rope_pairs)(float *head, const float *cosines, const float *sines, size_t pair_count);
    /* gate = gate / (1 + exp(-gate)) * up */
    void (*swiglu)(float *gate, const float *up, size_t count);
    /* x += y */
    void (*add)(float *x, const float *y, size_t count);
    /* Round to nearest even; too large becomes infinity. */
    void (*f32_to_f16)(uint16_t *out, const float *x, size_t count);
    /* The lowest index of the largest; NaN never wins; 0 when there is nothing else. */
    uint32_t (*largest)(const float *x, size_t count);
    /*
     * weights = exp((x - peak) * inverse) where that power is above `least` (at least -87) and at
     * most 0, within 2 units in the last place; 0 for the others and for NaN. All (count).
     */
    void (*weigh)(float *weights, const float *x, size_t count, float peak, float inverse,
                  float least);
    /* Softmax(q k) v block by block with a running maximum (online softmax). */
    void (*attention)(const struct fg_attention *a);
};

/* The definition of every operation. */
const struct fg_kernels *fg_kernels_scalar(void);

/* NULL where the build or the processor has no AVX2, FMA and F16C. */
const struct fg_kernels *fg_kernels_avx2(void);

/* NULL where the build or the processor has no AVX-512 with BW, VL and VNNI. */
const struct fg_kernels *fg_kernels_avx512(void);

/* The fastest that this processor runs; never NULL. */
const struct fg_kernels *fg_kernels_best(void);

/* Where a key and a value go. */
struct fg_kv_place {
    uint32_t block_id;
    uint32_t layer;
    uint32_t kv_head;
    uint32_t position; /* in the block */
};

/* Round a key and a value (head_dim each) to the store's type and put them there. */
void fg_kv_write(const struct fg_kernels *kernels, const struct fg_kv_store *store,
                 const struct fg_kv_place *place, const float *key, const float *value);

/* True when products with this type read fg_activations.blocks. */
bool fg_weight_wants_q8(enum fg_weight_type type);

/* Columns and bytes of one block of the type: 1 column for the float types. */
uint32_t fg_weight_block_cols(enum fg_weight_type type);
uint32_t fg_weight_block_bytes(enum fg_weight_type type);

/* One row of `count` weights as floats (embedding rows, norm weights). */
void fg_weight_row_to_f32(enum fg_weight_type type, const unsigned char *row, size_t count,
                          float *out);

#endif
