/*
 * executor_layer.c: the phases of a transformer layer, each shared out to the pool by rows of a
 * weight matrix, by tokens, or by (token, KV head).
 * Thread   the tasks (task_*) run on any thread of the pool, over parts that do not overlap.
 * Never    lets the way that work is cut change a number: a task computes whole elements only.
 * Source   Touvron et al. 2023 (llama), Qwen2 and Qwen3 technical reports.
 */
#include "inference/model/executor_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Portions smaller than this many multiply-adds cost more to hand over than to do. */
#define PORTION_WORK 65536u
/* And larger ones take more than a millisecond or so: too long for a beat. */
#define PORTION_WORK_MAX (UINT32_C(1) << 22)
/* Portions a thread, so that a slow thread does not hold up the others. */
#define PORTIONS_PER_THREAD 4u

/* Rows that the fast kernels take at a time. */
#define ROW_STEP 32u

/* Items of a portion, when each item is `work` multiply-adds; a multiple of `step`. */
static size_t portion(const struct fg_executor *executor, size_t item_count, size_t work,
                      size_t step)
{
    size_t portions = (size_t)fg_pool_thread_count(executor->pool) * PORTIONS_PER_THREAD;
    size_t grain = item_count / portions;
    size_t least = PORTION_WORK / (work + 1);
    size_t most = PORTION_WORK_MAX / (work + 1);
    if (grain > most)
        grain = most;
    if (grain < least)
        grain = least;
    return (grain / step + 1) * step;
}

static void run_over_tokens(struct fg_executor *executor, fg_pool_task_fn task, size_t work)
{
    fg_pool_run(executor->pool, task, executor, executor->token_count,
                portion(executor, executor->token_count, work, 1));
}

static void run_over_rows(struct fg_executor *executor, fg_pool_task_fn task, size_t row_count,
                          size_t cols)
{
    fg_pool_run(executor->pool, task, executor, row_count,
                portion(executor, row_count, cols * executor->token_count, ROW_STEP));
}

static const struct fg_layer *current_layer(const struct fg_executor *executor)
{
    return &executor->model->layers[executor->layer_index];
}

static void quantise(struct fg_executor *executor, const struct fg_rows *from, size_t token)
{
    size_t cols = from->cols;
    executor->kernels->quantise(from->rows[token], cols,
                                executor->blocks + token * (cols / FG_QUANT_BLOCK));
}

static void multiply(const struct fg_executor *executor, const struct fg_matrix *matrix,
                     const struct fg_rows *from, float *const *to, size_t first, size_t end)
{
    assert(matrix->cols == from->cols);
    struct fg_activations x = {
        .values = from->values, .blocks = executor->blocks, .token_count = executor->token_count};
    executor->kernels->matmul[matrix->type](matrix, (uint32_t)first, (uint32_t)(end - first), &x,
                                            to);
}

/* to[token][first .. end - 1] += bias, for every token; nothing when there is no bias. */
static void add_bias(const struct fg_executor *executor, const struct fg_rows *to,
                     const float *bias, size_t first, size_t end)
{
    if (bias == NULL)
        return;
    for (uint32_t t = 0; t < executor->token_count; t++)
        executor->kernels->add(to->rows[t] + first, bias + first, end - first);
}

static void add_delta(const struct fg_executor *executor, size_t first, size_t end)
{
    for (uint32_t t = 0; t < executor->token_count; t++)
        executor->kernels->add(executor->x.rows[t] + first, executor->delta.rows[t] + first,
                               end - first);
}

/* ---- embedding ---- */

static void task_embed(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_matrix *embedding = &executor->model->embedding;
    const double *frequencies = executor->model->rope_frequencies;
    for (size_t t = first; t < end; t++) {
        const struct fg_token_place *place = &executor->places[t];
        fg_weight_row_to_f32(embedding->type, embedding->data + place->token * embedding->row_bytes,
                             embedding->cols, executor->x.rows[t]);
        for (uint32_t i = 0; i < executor->cosines.cols; i++) {
            double angle = (double)place->position * frequencies[i];
            executor->cosines.rows[t][i] = (float)cos(angle);
            executor->sines.rows[t][i] = (float)sin(angle);
        }
    }
}

void fg_executor_embed(struct fg_executor *executor)
{
    run_over_tokens(executor, task_embed, executor->x.cols + 32 * (size_t)executor->cosines.cols);
}

/* ---- attention ---- */

static void task_attn_norm(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    bool wants_q8 = fg_weight_wants_q8(layer->q.type) || fg_weight_wants_q8(layer->k.type) ||
                    fg_weight_wants_q8(layer->v.type);
    for (size_t t = first; t < end; t++) {
        executor->kernels->rmsnorm(executor->normed.rows[t], executor->x.rows[t], layer->attn_norm,
                                   executor->x.cols, executor->model->shape.norm_epsilon);
        if (wants_q8)
            quantise(executor, &executor->normed, t);
    }
}

/* The part of rows first .. end - 1 that lies in a matrix whose rows start at *base; *base moves
 * on. */
static void project(const struct fg_executor *executor, const struct fg_matrix *matrix,
                    const float *bias, const struct fg_rows *to, size_t first, size_t end,
                    size_t *base)
{
    size_t low = first > *base ? first - *base : 0;
    size_t high = end > *base ? end - *base : 0;
    *base += matrix->rows;
    if (high > matrix->rows)
        high = matrix->rows;
    if (low >= high)
        return;
    multiply(executor, matrix, &executor->normed, to->rows, low, high);
    add_bias(executor, to, bias, low, high);
}

/* Rows of q, k and v, numbered one after the other. */
static void task_qkv(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    size_t base = 0;
    project(executor, &layer->q, layer->q_bias, &executor->q, first, end, &base);
    project(executor, &layer->k, layer->k_bias, &executor->k, first, end, &base);
    project(executor, &layer->v, layer->v_bias, &executor->v, first, end, &base);
}

static void rotate_heads(const struct fg_executor *executor, float *heads, uint32_t head_count,
                         const float *norm, size_t token)
{
    const struct fg_kernels *kernels = executor->kernels;
    const struct fg_model_shape *shape = &executor->model->shape;
    const float *cosines = executor->cosines.rows[token], *sines = executor->sines.rows[token];
    for (uint32_t h = 0; h < head_count; h++) {
        float *head = heads + (size_t)h * shape->head_dim;
        if (norm != NULL)
            kernels->rmsnorm(head, head, norm, shape->head_dim, shape->norm_epsilon);
        if (executor->model->rotates_pairs)
            kernels->rope_pairs(head, cosines, sines, shape->rope_dim / 2);
        else
            kernels->rope_halves(head, cosines, sines, shape->rope_dim / 2);
    }
}

static void store_kv(const struct fg_executor *executor, size_t token)
{
    const struct fg_token_place *place = &executor->places[token];
    const struct fg_model_shape *shape = &executor->model->shape;
    struct fg_kv_place at = {.block_id = place->block_table[place->position / FG_KV_BLOCK_TOKENS],
                             .layer = executor->layer_index,
                             .position = place->position % FG_KV_BLOCK_TOKENS};
    for (; at.kv_head < shape->kv_head_count; at.kv_head++) {
        size_t from = (size_t)at.kv_head * shape->head_dim;
        fg_kv_write(executor->kernels, &executor->store, &at, executor->k.rows[token] + from,
                    executor->v.rows[token] + from);
    }
}

static void task_rotate(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    const struct fg_model_shape *shape = &executor->model->shape;
    for (size_t t = first; t < end; t++) {
        rotate_heads(executor, executor->q.rows[t], shape->head_count, layer->q_norm, t);
        rotate_heads(executor, executor->k.rows[t], shape->kv_head_count, layer->k_norm, t);
        store_kv(executor, t);
    }
}

/* Items are (token, KV head). */
static void task_attend(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_model_shape *shape = &executor->model->shape;
    uint32_t group = shape->head_count / shape->kv_head_count;
    for (size_t item = first; item < end; item++) {
        size_t token = item / shape->kv_head_count;
        uint32_t kv_head = (uint32_t)(item % shape->kv_head_count);
        size_t at = (size_t)kv_head * group * shape->head_dim;
        struct fg_attention a = {.store = &executor->store,
                                 .block_table = executor->places[token].block_table,
                                 .position_count = executor->places[token].position + 1,
                                 .layer = executor->layer_index,
                                 .kv_head = kv_head,
                                 .query_count = group,
                                 .scale = 1.0f / sqrtf((float)shape->head_dim),
                                 .queries = executor->q.rows[token] + at,
                                 .out = executor->attended.rows[token] + at};
        executor->kernels->attention(&a);
    }
}

static void attend(struct fg_executor *executor)
{
    const struct fg_model_shape *shape = &executor->model->shape;
    size_t item_count = (size_t)executor->token_count * shape->kv_head_count;
    size_t positions = 0;
    for (uint32_t t = 0; t < executor->token_count; t++)
        positions += executor->places[t].position + 1;
    size_t query_width = (size_t)shape->head_count / shape->kv_head_count * shape->head_dim;
    size_t work = 2 * query_width * (positions / executor->token_count);
    fg_pool_run(executor->pool, task_attend, executor, item_count,
                portion(executor, item_count, work, 1));
}

static void task_quantise_attended(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    for (size_t t = first; t < end; t++)
        quantise(executor, &executor->attended, t);
}

static void task_attn_output(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    multiply(executor, &layer->attn_output, &executor->attended, executor->delta.rows, first, end);
    add_bias(executor, &executor->delta, layer->output_bias, first, end);
    add_delta(executor, first, end);
}

/* Tokens of which nothing more is wanted leave; the others move to the front. */
static void keep_tokens(struct fg_executor *executor,
                        bool (*is_wanted)(const struct fg_token_place *))
{
    uint32_t kept = 0;
    for (uint32_t t = 0; t < executor->token_count; t++) {
        if (!is_wanted(&executor->places[t]))
            continue;
        if (kept != t) {
            executor->places[kept] = executor->places[t];
            memcpy(executor->x.rows[kept], executor->x.rows[t], executor->x.cols * sizeof(float));
            memcpy(executor->q.rows[kept], executor->q.rows[t], executor->q.cols * sizeof(float));
        }
        kept++;
    }
    executor->token_count = kept;
}

static bool wants_logits(const struct fg_token_place *place)
{
    return place->logits != NULL;
}

static bool wants_state(const struct fg_token_place *place)
{
    return place->logits != NULL || place->pooled != NULL;
}

void fg_executor_attention_block(struct fg_executor *executor)
{
    const struct fg_layer *layer = current_layer(executor);
    run_over_tokens(executor, task_attn_norm, 4 * (size_t)executor->x.cols);
    run_over_rows(executor, task_qkv, (size_t)layer->q.rows + layer->k.rows + layer->v.rows,
                  executor->x.cols);
    run_over_tokens(executor, task_rotate, 4 * (size_t)(executor->q.cols + executor->k.cols));
    /* Past the last layer's keys and values only some tokens matter. */
    if (executor->layer_index + 1 == executor->model->shape.layer_count)
        keep_tokens(executor, wants_state);
    if (executor->token_count == 0)
        return;
    attend(executor);
    if (fg_weight_wants_q8(layer->attn_output.type))
        run_over_tokens(executor, task_quantise_attended, executor->attended.cols);
    run_over_rows(executor, task_attn_output, executor->x.cols, executor->attended.cols);
}

/* ---- feed-forward ---- */

static void task_ff_norm(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    bool wants_q8 = fg_weight_wants_q8(layer->gate.type) || fg_weight_wants_q8(layer->up.type);
    for (size_t t = first; t < end; t++) {
        executor->kernels->rmsnorm(executor->normed.rows[t], executor->x.rows[t], layer->ff_norm,
                                   executor->x.cols, executor->model->shape.norm_epsilon);
        if (wants_q8)
            quantise(executor, &executor->normed, t);
    }
}

static void task_gate_up(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_layer *layer = current_layer(executor);
    multiply(executor, &layer->gate, &executor->normed, executor->gate.rows, first, end);
    multiply(executor, &layer->up, &executor->normed, executor->up.rows, first, end);
    for (uint32_t t = 0; t < executor->token_count; t++)
        executor->kernels->swiglu(executor->gate.rows[t] + first, executor->up.rows[t] + first,
                                  end - first);
}

static void task_quantise_gate(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    for (size_t t = first; t < end; t++)
        quantise(executor, &executor->gate, t);
}

static void task_down(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    multiply(executor, &current_layer(executor)->down, &executor->gate, executor->delta.rows, first,
             end);
    add_delta(executor, first, end);
}

void fg_executor_ff_block(struct fg_executor *executor)
{
    run_over_tokens(executor, task_ff_norm, 4 * (size_t)executor->x.cols);
    run_over_rows(executor, task_gate_up, executor->gate.cols, 2 * (size_t)executor->x.cols);
    if (fg_weight_wants_q8(current_layer(executor)->down.type))
        run_over_tokens(executor, task_quantise_gate, executor->gate.cols);
    run_over_rows(executor, task_down, executor->x.cols, executor->gate.cols);
}

/* ---- logits ---- */

static void task_output_norm(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    const struct fg_model *model = executor->model;
    for (size_t t = first; t < end; t++) {
        executor->kernels->rmsnorm(executor->normed.rows[t], executor->x.rows[t],
                                   model->output_norm, executor->x.cols, model->shape.norm_epsilon);
        if (fg_weight_wants_q8(model->output.type))
            quantise(executor, &executor->normed, t);
    }
}

/* One after the other: tokens of a run add to the same place, and always in the same order. */
void fg_executor_pool(struct fg_executor *executor)
{
    bool is_wanted = false;
    for (uint32_t t = 0; t < executor->token_count; t++)
        is_wanted |= executor->places[t].pooled != NULL;
    if (!is_wanted)
        return;
    run_over_tokens(executor, task_output_norm, 4 * (size_t)executor->x.cols);
    for (uint32_t t = 0; t < executor->token_count; t++) {
        float *pooled = executor->places[t].pooled;
        for (uint32_t i = 0; pooled != NULL && i < executor->x.cols; i++)
            pooled[i] += executor->normed.rows[t][i];
    }
    keep_tokens(executor, wants_logits);
}

static void task_logits(void *arg, size_t first, size_t end)
{
    struct fg_executor *executor = arg;
    multiply(executor, &executor->model->output, &executor->normed, executor->logits_rows, first,
             end);
}

void fg_executor_logits(struct fg_executor *executor)
{
    for (uint32_t t = 0; t < executor->token_count; t++)
        executor->logits_rows[t] = executor->places[t].logits;
    run_over_tokens(executor, task_output_norm, 4 * (size_t)executor->x.cols);
    run_over_rows(executor, task_logits, executor->model->output.rows, executor->x.cols);
}
