/*
 * executor.c: buffers of an executor, and a step as a sequence of phases over a mixed batch.
 * Job      one row of the batch per token, whichever run it belongs to; each phase goes over all of
 *          them at once, so that weights are read once a step.
 * Thread   one owner; see executor_internal.h for the phases.
 * Memory   all buffers are made at create; a step allocates nothing.
 */
#include "inference/model/executor_internal.h"

#include <assert.h>
#include <stdlib.h>

#define BUFFER_ALIGNMENT 64

/* NULL when there is no memory; freed with the executor. */
static void *make_buffer(struct fg_executor *executor, size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes) ||
        __builtin_add_overflow(bytes, BUFFER_ALIGNMENT, &bytes))
        return NULL;
    bytes -= bytes % BUFFER_ALIGNMENT;
    assert(executor->buffer_count < FG_EXECUTOR_BUFFERS_MAX);
    void *buffer = aligned_alloc(BUFFER_ALIGNMENT, bytes);
    if (buffer != NULL)
        executor->buffers[executor->buffer_count++] = buffer;
    return buffer;
}

static bool make_rows(struct fg_executor *executor, struct fg_rows *rows, uint32_t cols)
{
    rows->cols = cols;
    rows->values = make_buffer(executor, (size_t)executor->batch_tokens_max * cols, sizeof(float));
    rows->rows = make_buffer(executor, executor->batch_tokens_max, sizeof(float *));
    if (rows->values == NULL || rows->rows == NULL)
        return false;
    for (uint32_t t = 0; t < executor->batch_tokens_max; t++)
        rows->rows[t] = rows->values + (size_t)t * cols;
    return true;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static bool make_buffers(struct fg_executor *executor)
{
    const struct fg_model_shape *shape = &executor->model->shape;
    uint32_t query_width = shape->head_count * shape->head_dim;
    uint32_t kv_width = shape->kv_head_count * shape->head_dim;
    uint32_t widest = larger(shape->width, larger(query_width, shape->ff_width));
    uint32_t tokens = executor->batch_tokens_max;
    executor->places = make_buffer(executor, tokens, sizeof(executor->places[0]));
    executor->logits_rows = make_buffer(executor, tokens, sizeof(float *));
    executor->blocks = make_buffer(executor, (size_t)tokens * (widest / FG_QUANT_BLOCK + 1),
                                   sizeof(executor->blocks[0]));
    return executor->places != NULL && executor->logits_rows != NULL && executor->blocks != NULL &&
           make_rows(executor, &executor->x, shape->width) &&
           make_rows(executor, &executor->normed, shape->width) &&
           make_rows(executor, &executor->delta, shape->width) &&
           make_rows(executor, &executor->q, query_width) &&
           make_rows(executor, &executor->k, kv_width) &&
           make_rows(executor, &executor->v, kv_width) &&
           make_rows(executor, &executor->attended, query_width) &&
           make_rows(executor, &executor->gate, shape->ff_width) &&
           make_rows(executor, &executor->up, shape->ff_width) &&
           make_rows(executor, &executor->cosines, shape->rope_dim / 2) &&
           make_rows(executor, &executor->sines, shape->rope_dim / 2);
}

enum fg_status fg_executor_create_with(struct fg_executor **out, const struct fg_model *model,
                                       const struct fg_kv_store *store, unsigned thread_count,
                                       uint32_t batch_tokens_max, const struct fg_kernels *kernels,
                                       struct fg_error *error)
{
    assert(thread_count >= 1);
    assert(batch_tokens_max >= 1);
    assert(store->shape.layer_count == model->shape.layer_count);
    assert(store->shape.kv_head_count == model->shape.kv_head_count);
    assert(store->shape.head_dim == model->shape.head_dim);
    assert(fg_kv_type_fits(store->shape.type, store->shape.head_dim));
    *out = NULL;
    struct fg_executor *executor = calloc(1, sizeof(*executor));
    if (executor == NULL)
        return fg_error_set(error, "no memory for an executor");
    executor->model = model;
    executor->kernels = kernels;
    executor->store = *store;
    executor->batch_tokens_max = batch_tokens_max;
    if (!make_buffers(executor)) {
        fg_executor_destroy(executor);
        return fg_error_set(error, "no memory for the buffers of a batch of %u tokens",
                            batch_tokens_max);
    }
    executor->pool = fg_pool_create(thread_count);
    if (executor->pool == NULL) {
        fg_executor_destroy(executor);
        return fg_error_set(error, "cannot start %u inference threads", thread_count);
    }
    *out = executor;
    return FG_OK;
}

enum fg_status fg_executor_create(struct fg_executor **out, const struct fg_model *model,
                                  const struct fg_kv_store *store, unsigned thread_count,
                                  uint32_t batch_tokens_max, struct fg_error *error)
{
    return fg_executor_create_with(out, model, store, thread_count, batch_tokens_max,
                                   fg_kernels_best(), error);
}

void fg_executor_destroy(struct fg_executor *executor)
{
    if (executor == NULL)
        return;
    fg_pool_destroy(executor->pool);
    for (size_t i = 0; i < executor->buffer_count; i++)
        free(executor->buffers[i]);
    free(executor);
}

static void place_run(struct fg_executor *executor, const struct fg_batch_run *run)
{
    assert(run->count >= 1);
    assert(run->count <= executor->batch_tokens_max - executor->token_count);
    uint32_t end = run->start_position + run->count;
    assert(end > run->start_position);
    for (uint32_t b = 0; b < (end + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS; b++)
        assert(run->block_table[b] < executor->store.block_count);
    for (uint32_t i = 0; i < run->count; i++) {
        assert(run->tokens[i] < executor->model->shape.vocab_count);
        executor->places[executor->token_count++] = (struct fg_token_place){
            .block_table = run->block_table,
            .position = run->start_position + i,
            .token = run->tokens[i],
            .logits = i + 1 == run->count ? run->logits : NULL,
            .pooled = run->pools_all || i + 1 == run->count ? run->pooled : NULL};
    }
}

void fg_executor_step(struct fg_executor *executor, const struct fg_batch_run *runs,
                      size_t run_count)
{
    executor->token_count = 0;
    for (size_t i = 0; i < run_count; i++)
        place_run(executor, &runs[i]);
    if (executor->token_count == 0)
        return;
    fg_executor_embed(executor);
    for (uint32_t layer = 0; layer < executor->model->shape.layer_count; layer++) {
        executor->layer_index = layer;
        fg_executor_attention_block(executor);
        if (executor->token_count == 0)
            return;
        fg_executor_ff_block(executor);
    }
    fg_executor_pool(executor);
    if (executor->token_count > 0)
        fg_executor_logits(executor);
}

void fg_executor_set_beats(struct fg_executor *executor, struct fg_counter *beats)
{
    fg_pool_set_beats(executor->pool, beats);
}

const char *fg_executor_kernels(const struct fg_executor *executor)
{
    return executor->kernels->name;
}
