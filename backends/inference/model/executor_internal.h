/*
 * executor_internal.h: an executor's buffers, and the phases of a layer.
 * Thread   the owner of the executor; phases hand parts of their work to the pool and wait.
 *
 *    embed -> { normalise -> q k v -> rotate, store KV -> attend -> output -> x +=
 *               normalise -> gate, up -> swiglu -> down -> x += } for each layer -> logits
 */
#ifndef FG_INFERENCE_EXECUTOR_INTERNAL_H
#define FG_INFERENCE_EXECUTOR_INTERNAL_H

#include "inference/kernels/kernels.h"
#include "inference/kernels/pool_shared.h"
#include "inference/model/executor.h"
#include "inference/model/model_internal.h"

#define FG_EXECUTOR_BUFFERS_MAX 32

/* Where a token of the batch stands. */
struct fg_token_place {
    const uint32_t *block_table;
    uint32_t position;
    uint32_t token;
    float *logits; /* NULL: not wanted */
    float *pooled; /* NULL: not wanted */
};

/* A (token_count, cols) buffer and its rows, as matmul wants its output. */
struct fg_rows {
    float *values;
    float **rows; /* (batch_tokens_max) */
    uint32_t cols;
};

struct fg_executor {
    const struct fg_model *model;
    const struct fg_kernels *kernels;
    struct fg_kv_store store;
    struct fg_pool *pool;
    uint32_t batch_tokens_max;

    uint32_t token_count; /* of this step */
    uint32_t layer_index; /* of this phase */
    struct fg_token_place *places;

    struct fg_rows x;           /* residual stream: width */
    struct fg_rows normed;      /* width */
    struct fg_rows delta;       /* what is added to x: width */
    struct fg_rows q;           /* head_count * head_dim */
    struct fg_rows k;           /* kv_head_count * head_dim */
    struct fg_rows v;           /* kv_head_count * head_dim */
    struct fg_rows attended;    /* head_count * head_dim */
    struct fg_rows gate;        /* ff_width */
    struct fg_rows up;          /* ff_width */
    struct fg_rows cosines;     /* rope_dim / 2 */
    struct fg_rows sines;       /* rope_dim / 2 */
    float **logits_rows;        /* (batch_tokens_max), the callers' */
    struct fg_q8_block *blocks; /* (batch_tokens_max, cols / FG_QUANT_BLOCK) of the widest input */

    void *buffers[FG_EXECUTOR_BUFFERS_MAX];
    size_t buffer_count;
};

/* Token ids to x, positions to cosines and sines. */
void fg_executor_embed(struct fg_executor *executor);

/* x += attention(x) of layer_index. In the last layer only tokens of which something is wanted go
 * on: token_count shrinks, and may become 0. */
void fg_executor_attention_block(struct fg_executor *executor);

/* x += feed-forward(x) of layer_index. */
void fg_executor_ff_block(struct fg_executor *executor);

/* x to what is pooled of it; only tokens whose logits are wanted go on. */
void fg_executor_pool(struct fg_executor *executor);

/* x to the logits that are wanted; every token left wants them. */
void fg_executor_logits(struct fg_executor *executor);

#endif
