/*
 * attention_scalar.c: softmax(q k) v over the KV blocks of one sequence.
 * Job      one pass over the blocks with a running maximum and sum, so that no row of scores as
 *          long as the context is ever kept. Blocks are cut by absolute position: the order of the
 *          sums is the same for a position however its prompt was chunked.
 * Thread   any.
 * Source   online softmax: Milakov and Gimelshein 2018; blocks: Kwon et al., SOSP 2023.
 *
 *    m' = max(m, scores of the block);  c = exp(m - m');  p = exp(score - m')
 *    l' = c l + sum p;                  o' = c o + sum p v;  at the end o / l
 */
#include "scalar.h"

#include <math.h>

#include "float16.h"

/* Element i of the key at `position` of a head's keys. */
static float key_at(const struct fg_kv_shape *shape, const void *keys, size_t position, size_t i)
{
    const uint16_t *halves = keys;
    const int8_t *q8 = keys;
    size_t at = i * FG_KV_BLOCK_TOKENS + position;
    if (shape->type == FG_KV_F16)
        return fg_f16_to_f32(halves[at]);
    halves = (const void *)(q8 + (size_t)FG_KV_BLOCK_TOKENS * shape->head_dim);
    return (float)q8[at] *
           fg_f16_to_f32(halves[i / FG_KV_Q8_GROUP * FG_KV_BLOCK_TOKENS + position]);
}

/* Element i of the value at `position` of a head's values. */
static float value_at(const struct fg_kv_shape *shape, const void *values, size_t position,
                      size_t i)
{
    const uint16_t *halves = values;
    const int8_t *q8 = values;
    size_t at = position * shape->head_dim + i;
    if (shape->type == FG_KV_F16)
        return fg_f16_to_f32(halves[at]);
    halves = (const void *)(q8 + (size_t)FG_KV_BLOCK_TOKENS * shape->head_dim);
    return (float)q8[at] * fg_f16_to_f32(halves[at / FG_KV_Q8_GROUP]);
}

static void attend_one(const struct fg_attention *a, const float *query, float *out)
{
    const struct fg_kv_shape *shape = &a->store->shape;
    size_t head_dim = shape->head_dim, head_offset = a->kv_head * fg_kv_head_bytes(shape);
    float peak = -INFINITY, total = 0;
    for (size_t i = 0; i < head_dim; i++)
        out[i] = 0;
    for (uint32_t first = 0; first < a->position_count; first += FG_KV_BLOCK_TOKENS) {
        uint32_t block_id = a->block_table[first / FG_KV_BLOCK_TOKENS];
        const unsigned char *keys = fg_kv_keys(a->store, block_id, a->layer);
        const unsigned char *values = fg_kv_values(a->store, block_id, a->layer);
        uint32_t count = a->position_count - first;
        if (count > FG_KV_BLOCK_TOKENS)
            count = FG_KV_BLOCK_TOKENS;
        float weights[FG_KV_BLOCK_TOKENS];
        float new_peak = peak;
        for (uint32_t p = 0; p < count; p++) {
            float dot = 0;
            for (size_t i = 0; i < head_dim; i++)
                dot += key_at(shape, keys + head_offset, p, i) * query[i];
            weights[p] = dot * a->scale;
            if (weights[p] > new_peak)
                new_peak = weights[p];
        }
        float correction = expf(peak - new_peak);
        total *= correction;
        for (size_t i = 0; i < head_dim; i++)
            out[i] *= correction;
        for (uint32_t p = 0; p < count; p++) {
            float weight = expf(weights[p] - new_peak);
            total += weight;
            for (size_t i = 0; i < head_dim; i++)
                out[i] += weight * value_at(shape, values + head_offset, p, i);
        }
        peak = new_peak;
    }
    for (size_t i = 0; i < head_dim; i++)
        out[i] /= total;
}

void fg_attention_scalar(const struct fg_attention *a)
{
    uint32_t head_dim = a->store->shape.head_dim;
    for (uint32_t q = 0; q < a->query_count; q++)
        attend_one(a, a->queries + (size_t)q * head_dim, a->out + (size_t)q * head_dim);
}
