/*
 * attention_scalar.c: softmax(q k) v over the F16 KV blocks of one sequence.
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

static float key_dot(const uint16_t *key, const float *query, uint32_t head_dim)
{
    float sum = 0;
    for (uint32_t i = 0; i < head_dim; i++)
        sum += fg_f16_to_f32(key[i]) * query[i];
    return sum;
}

static void attend_one(const struct fg_attention *a, const float *query, float *out)
{
    uint32_t head_dim = a->store->shape.head_dim;
    size_t head_offset = (size_t)a->kv_head * FG_KV_BLOCK_TOKENS * head_dim;
    float peak = -INFINITY, total = 0;
    for (uint32_t i = 0; i < head_dim; i++)
        out[i] = 0;
    for (uint32_t first = 0; first < a->position_count; first += FG_KV_BLOCK_TOKENS) {
        uint32_t block_id = a->block_table[first / FG_KV_BLOCK_TOKENS];
        const uint16_t *keys = fg_kv_keys(a->store, block_id, a->layer) + head_offset;
        const uint16_t *values = fg_kv_values(a->store, block_id, a->layer) + head_offset;
        uint32_t count = a->position_count - first;
        if (count > FG_KV_BLOCK_TOKENS)
            count = FG_KV_BLOCK_TOKENS;
        float weights[FG_KV_BLOCK_TOKENS];
        float new_peak = peak;
        for (uint32_t p = 0; p < count; p++) {
            weights[p] = key_dot(keys + (size_t)p * head_dim, query, head_dim) * a->scale;
            if (weights[p] > new_peak)
                new_peak = weights[p];
        }
        float correction = expf(peak - new_peak);
        total *= correction;
        for (uint32_t i = 0; i < head_dim; i++)
            out[i] *= correction;
        for (uint32_t p = 0; p < count; p++) {
            float weight = expf(weights[p] - new_peak);
            total += weight;
            for (uint32_t i = 0; i < head_dim; i++)
                out[i] += weight * fg_f16_to_f32(values[(size_t)p * head_dim + i]);
        }
        peak = new_peak;
    }
    for (uint32_t i = 0; i < head_dim; i++)
        out[i] /= total;
}

void fg_attention_scalar(const struct fg_attention *a)
{
    uint32_t head_dim = a->store->shape.head_dim;
    for (uint32_t q = 0; q < a->query_count; q++)
        attend_one(a, a->queries + (size_t)q * head_dim, a->out + (size_t)q * head_dim);
}
