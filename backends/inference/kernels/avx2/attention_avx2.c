/*
 * attention_avx2.c: softmax(q k) v over the F16 KV blocks, up to four query heads at a time.
 * Job      query heads that share a KV head share each conversion of its keys and values.
 * Thread   any.
 * Order    as attention_scalar.c: block by block by absolute position; a head's sums are the same
 *          whichever heads it is tiled with.
 */
#include "avx2.h"

#include <math.h>

#include "lanes.h"

#define TILE_HEADS 4

struct head_tile {
    const float *queries; /* (heads, head_dim) */
    float *out;           /* (heads, head_dim) */
    size_t head_dim;
    float scale;
    float peak[TILE_HEADS];                        /* running maximum of the scores */
    float total[TILE_HEADS];                       /* running sum of the weights */
    float weights[TILE_HEADS][FG_KV_BLOCK_TOKENS]; /* scores, then exp(score - peak) */
};

FG_INLINE void score_position(struct head_tile *tile, int heads, const uint16_t *key, size_t p)
{
    size_t head_dim = tile->head_dim, i = 0;
    __m256 acc[TILE_HEADS];
    for (int h = 0; h < heads; h++)
        acc[h] = _mm256_setzero_ps();
    for (; i + 8 <= head_dim; i += 8) {
        __m256 k = fg_load_f16(key + i);
        for (int h = 0; h < heads; h++) {
            __m256 q = _mm256_loadu_ps(tile->queries + (size_t)h * head_dim + i);
            acc[h] = _mm256_fmadd_ps(k, q, acc[h]);
        }
    }
    if (i < head_dim) {
        __m256i mask = fg_lane_mask(head_dim - i);
        __m256 k = fg_load_f16_partial(key + i, head_dim - i);
        for (int h = 0; h < heads; h++) {
            __m256 q = _mm256_maskload_ps(tile->queries + (size_t)h * head_dim + i, mask);
            acc[h] = _mm256_fmadd_ps(k, q, acc[h]);
        }
    }
    for (int h = 0; h < heads; h++)
        tile->weights[h][p] = fg_sum_lanes(acc[h]) * tile->scale;
}

/* Scores to weights; positions from `count` on weigh nothing. Returns what the past is scaled by.
 */
static float weigh_block(struct head_tile *tile, int h, size_t count)
{
    float *weights = tile->weights[h];
    for (size_t p = count; p < FG_KV_BLOCK_TOKENS; p++)
        weights[p] = -INFINITY;
    __m256 a = _mm256_loadu_ps(weights), b = _mm256_loadu_ps(weights + 8);
    float block_peak = fg_max_lanes(_mm256_max_ps(a, b));
    float peak = block_peak > tile->peak[h] ? block_peak : tile->peak[h];
    __m256 peaks = _mm256_set1_ps(peak);
    a = _mm256_and_ps(fg_exp_lanes(_mm256_sub_ps(a, peaks)),
                      _mm256_castsi256_ps(fg_lane_mask(count < 8 ? count : 8)));
    b = _mm256_and_ps(fg_exp_lanes(_mm256_sub_ps(b, peaks)),
                      _mm256_castsi256_ps(fg_lane_mask(count < 8 ? 0 : count - 8)));
    _mm256_storeu_ps(weights, a);
    _mm256_storeu_ps(weights + 8, b);
    float correction = expf(tile->peak[h] - peak);
    tile->total[h] = tile->total[h] * correction + fg_sum_lanes(_mm256_add_ps(a, b));
    tile->peak[h] = peak;
    return correction;
}

FG_INLINE void add_values_at(struct head_tile *tile, int heads, const uint16_t *values,
                             size_t count, const float *corrections, size_t i, size_t lanes)
{
    size_t head_dim = tile->head_dim;
    __m256i mask = fg_lane_mask(lanes);
    __m256 acc[TILE_HEADS];
    for (int h = 0; h < heads; h++) {
        __m256 past = _mm256_maskload_ps(tile->out + (size_t)h * head_dim + i, mask);
        acc[h] = _mm256_mul_ps(past, _mm256_set1_ps(corrections[h]));
    }
    for (size_t p = 0; p < count; p++) {
        const uint16_t *value = values + p * head_dim + i;
        __m256 v = lanes == 8 ? fg_load_f16(value) : fg_load_f16_partial(value, lanes);
        for (int h = 0; h < heads; h++)
            acc[h] = _mm256_fmadd_ps(v, _mm256_set1_ps(tile->weights[h][p]), acc[h]);
    }
    for (int h = 0; h < heads; h++)
        _mm256_maskstore_ps(tile->out + (size_t)h * head_dim + i, mask, acc[h]);
}

FG_INLINE void attend_block(struct head_tile *tile, int heads, const uint16_t *keys,
                            const uint16_t *values, size_t count)
{
    float corrections[TILE_HEADS];
    for (size_t p = 0; p < count; p++)
        score_position(tile, heads, keys + p * tile->head_dim, p);
    for (int h = 0; h < heads; h++)
        corrections[h] = weigh_block(tile, h, count);
    size_t i = 0;
    for (; i + 8 <= tile->head_dim; i += 8)
        add_values_at(tile, heads, values, count, corrections, i, 8);
    if (i < tile->head_dim)
        add_values_at(tile, heads, values, count, corrections, i, tile->head_dim - i);
}

FG_INLINE void attend_tile(const struct fg_attention *a, size_t first_head, int heads)
{
    size_t head_dim = a->store->shape.head_dim;
    size_t head_offset = (size_t)a->kv_head * FG_KV_BLOCK_TOKENS * head_dim;
    struct head_tile tile = {.queries = a->queries + first_head * head_dim,
                             .out = a->out + first_head * head_dim,
                             .head_dim = head_dim,
                             .scale = a->scale};
    memset(tile.out, 0, (size_t)heads * head_dim * sizeof(tile.out[0]));
    for (int h = 0; h < heads; h++)
        tile.peak[h] = -INFINITY;
    for (uint32_t first = 0; first < a->position_count; first += FG_KV_BLOCK_TOKENS) {
        uint32_t block_id = a->block_table[first / FG_KV_BLOCK_TOKENS];
        uint32_t count = a->position_count - first;
        if (count > FG_KV_BLOCK_TOKENS)
            count = FG_KV_BLOCK_TOKENS;
        attend_block(&tile, heads, fg_kv_keys(a->store, block_id, a->layer) + head_offset,
                     fg_kv_values(a->store, block_id, a->layer) + head_offset, count);
    }
    for (int h = 0; h < heads; h++) {
        float inverse = 1.0f / tile.total[h];
        for (size_t i = 0; i < head_dim; i++)
            tile.out[(size_t)h * head_dim + i] *= inverse;
    }
}

void fg_attention_avx2(const struct fg_attention *a)
{
    size_t head = 0;
    for (; head + 4 <= a->query_count; head += 4)
        attend_tile(a, head, 4);
    if (a->query_count - head >= 2) {
        attend_tile(a, head, 2);
        head += 2;
    }
    if (head < a->query_count)
        attend_tile(a, head, 1);
}
