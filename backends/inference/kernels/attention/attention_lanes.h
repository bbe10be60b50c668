/*
 * attention_lanes.h: softmax(q k) v over KV blocks, written once for any width of vector.
 * Job      query heads that share a KV head are taken up to ATTENTION_HEADS at a time, so that they
 *          share each conversion of its keys and values. Scores have positions as lanes, and what
 *          comes out has elements of a head as lanes: nothing is summed across lanes but the
 *          weights of a block.
 * Thread   any.
 * Order    as attention_scalar.c: block by block by absolute position; a head's sums are the same
 *          whichever heads it is tiled with.
 * Use      included once by avx2/ and once by avx512/, after their vec.h.
 */
#ifndef FG_INFERENCE_ATTENTION_LANES_H
#define FG_INFERENCE_ATTENTION_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "inference/kernels/kernels.h"

#define ATTENTION_HEADS 8
/* Vectors of the positions of a block. */
#define SCORE_VECTORS ((int)FG_KV_BLOCK_TOKENS / VEC_LANES)

struct head_tile {
    const float *queries; /* (heads, head_dim) */
    float *out;           /* (heads, head_dim) */
    size_t head_dim;
    float scale;
    float peak[ATTENTION_HEADS];                        /* running maximum of the scores */
    float total[ATTENTION_HEADS];                       /* running sum of the weights */
    float correction[ATTENTION_HEADS];                  /* what the past is scaled by */
    float weights[ATTENTION_HEADS][FG_KV_BLOCK_TOKENS]; /* exp(score - peak) */
};

/* Element i of the keys at positions VEC_LANES * v and on. */
FG_INLINE vec_float key_lanes(enum fg_kv_type type, const unsigned char *keys, size_t head_dim,
                              size_t i, int v)
{
    size_t at = i * FG_KV_BLOCK_TOKENS + (size_t)v * VEC_LANES;
    if (type == FG_KV_F16)
        return vec_load_f16(keys + sizeof(uint16_t) * at);
    size_t scale_at = i / FG_KV_Q8_GROUP * FG_KV_BLOCK_TOKENS + (size_t)v * VEC_LANES;
    vec_float scales = vec_load_f16(keys + FG_KV_BLOCK_TOKENS * head_dim + 2 * scale_at);
    return vec_multiply(vec_load_int8(keys + at), scales);
}

/* Elements i .. i + lanes - 1 of the value at a position. */
FG_INLINE vec_float value_lanes(enum fg_kv_type type, const unsigned char *values, size_t head_dim,
                                size_t position, size_t i, size_t lanes)
{
    size_t at = position * head_dim + i;
    if (type == FG_KV_F16)
        return lanes == VEC_LANES ? vec_load_f16(values + sizeof(uint16_t) * at)
                                  : vec_load_f16_part(values + sizeof(uint16_t) * at, lanes);
    const unsigned char *scales = values + FG_KV_BLOCK_TOKENS * head_dim;
    return vec_multiply(vec_load_int8(values + at),
                        vec_set_half(scales + 2 * (at / FG_KV_Q8_GROUP)));
}

FG_INLINE void score_block(const struct head_tile *tile, int heads, enum fg_kv_type type,
                           const unsigned char *keys, vec_float scores[][2])
{
    size_t head_dim = tile->head_dim;
    for (int h = 0; h < heads; h++) {
        for (int v = 0; v < SCORE_VECTORS; v++)
            scores[h][v] = vec_zero();
    }
    for (size_t i = 0; i < head_dim; i++) {
        for (int v = 0; v < SCORE_VECTORS; v++) {
            vec_float k = key_lanes(type, keys, head_dim, i, v);
            for (int h = 0; h < heads; h++) {
                vec_float q = vec_set_float(tile->queries[(size_t)h * head_dim + i]);
                scores[h][v] = vec_fma(k, q, scores[h][v]);
            }
        }
    }
}

/* Scores to weights; positions from `count` on weigh nothing, whatever was computed for them. */
FG_INLINE void weigh_block(struct head_tile *tile, int h, size_t count, const vec_float *scores)
{
    vec_float scaled[SCORE_VECTORS];
    float peak = tile->peak[h];
    for (int v = 0; v < SCORE_VECTORS; v++) {
        size_t before = (size_t)v * VEC_LANES, left = count > before ? count - before : 0;
        scaled[v] = vec_multiply(scores[v], vec_set_float(tile->scale));
        scaled[v] = vec_keep(scaled[v], left < VEC_LANES ? left : VEC_LANES, -INFINITY);
        float largest = vec_max_lanes(scaled[v]);
        peak = largest > peak ? largest : peak;
    }
    float sum = 0;
    for (int v = 0; v < SCORE_VECTORS; v++) {
        size_t before = (size_t)v * VEC_LANES, left = count > before ? count - before : 0;
        vec_float weights = vec_exp(vec_subtract(scaled[v], vec_set_float(peak)));
        weights = vec_keep(weights, left < VEC_LANES ? left : VEC_LANES, 0);
        vec_store(tile->weights[h] + before, weights);
        sum += vec_sum_lanes(weights);
    }
    tile->correction[h] = expf(tile->peak[h] - peak);
    tile->total[h] = tile->total[h] * tile->correction[h] + sum;
    tile->peak[h] = peak;
}

FG_INLINE void add_values_at(const struct head_tile *tile, int heads, enum fg_kv_type type,
                             const unsigned char *values, size_t count, size_t i, size_t lanes)
{
    size_t head_dim = tile->head_dim;
    vec_float acc[ATTENTION_HEADS];
    for (int h = 0; h < heads; h++) {
        const float *past = tile->out + (size_t)h * head_dim + i;
        acc[h] = vec_multiply(lanes == VEC_LANES ? vec_load(past) : vec_load_part(past, lanes),
                              vec_set_float(tile->correction[h]));
    }
    for (size_t p = 0; p < count; p++) {
        vec_float v = value_lanes(type, values, head_dim, p, i, lanes);
        for (int h = 0; h < heads; h++)
            acc[h] = vec_fma(v, vec_set_float(tile->weights[h][p]), acc[h]);
    }
    for (int h = 0; h < heads; h++) {
        float *to = tile->out + (size_t)h * head_dim + i;
        if (lanes == VEC_LANES)
            vec_store(to, acc[h]);
        else
            vec_store_part(to, acc[h], lanes);
    }
}

FG_INLINE void attend_block(struct head_tile *tile, int heads, enum fg_kv_type type,
                            const unsigned char *keys, const unsigned char *values, size_t count)
{
    vec_float scores[ATTENTION_HEADS][2];
    score_block(tile, heads, type, keys, scores);
    for (int h = 0; h < heads; h++)
        weigh_block(tile, h, count, scores[h]);
    size_t i = 0;
    for (; i + VEC_LANES <= tile->head_dim; i += VEC_LANES)
        add_values_at(tile, heads, type, values, count, i, VEC_LANES);
    if (i < tile->head_dim)
        add_values_at(tile, heads, type, values, count, i, tile->head_dim - i);
}

FG_INLINE void attend_tile(const struct fg_attention *a, size_t first_head, int heads,
                           enum fg_kv_type type)
{
    const struct fg_kv_shape *shape = &a->store->shape;
    size_t head_dim = shape->head_dim, head_offset = a->kv_head * fg_kv_head_bytes(shape);
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
        const unsigned char *keys = fg_kv_keys(a->store, block_id, a->layer);
        const unsigned char *values = fg_kv_values(a->store, block_id, a->layer);
        attend_block(&tile, heads, type, keys + head_offset, values + head_offset, count);
    }
    for (int h = 0; h < heads; h++) {
        float inverse = 1.0f / tile.total[h];
        for (size_t i = 0; i < head_dim; i++)
            tile.out[(size_t)h * head_dim + i] *= inverse;
    }
}

/* Constant counts keep the sums in registers. */
#define DEFINE_ATTENTION(name, type)                                                               \
    static void name(const struct fg_attention *a, size_t head, size_t heads)                      \
    {                                                                                              \
        switch (heads) {                                                                           \
        case 1:                                                                                    \
            attend_tile(a, head, 1, type);                                                         \
            break;                                                                                 \
        case 2:                                                                                    \
            attend_tile(a, head, 2, type);                                                         \
            break;                                                                                 \
        case 3:                                                                                    \
            attend_tile(a, head, 3, type);                                                         \
            break;                                                                                 \
        case 4:                                                                                    \
            attend_tile(a, head, 4, type);                                                         \
            break;                                                                                 \
        case 5:                                                                                    \
            attend_tile(a, head, 5, type);                                                         \
            break;                                                                                 \
        case 6:                                                                                    \
            attend_tile(a, head, 6, type);                                                         \
            break;                                                                                 \
        case 7:                                                                                    \
            attend_tile(a, head, 7, type);                                                         \
            break;                                                                                 \
        default:                                                                                   \
            attend_tile(a, head, ATTENTION_HEADS, type);                                           \
            break;                                                                                 \
        }                                                                                          \
    }

DEFINE_ATTENTION(attend_f16, FG_KV_F16)
DEFINE_ATTENTION(attend_q8_0, FG_KV_Q8_0)

FG_INLINE void attention_lanes(const struct fg_attention *a)
{
    for (size_t head = 0; head < a->query_count; head += ATTENTION_HEADS) {
        size_t left = a->query_count - head;
        left = left < ATTENTION_HEADS ? left : ATTENTION_HEADS;
        if (a->store->shape.type == FG_KV_F16)
            attend_f16(a, head, left);
        else
            attend_q8_0(a, head, left);
    }
}

#endif
