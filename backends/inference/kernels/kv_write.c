/*
 * kv_write.c: puts a token's key and value into its KV block (fg_kv_write of kernels.h).
 * Thread   any, for different positions or heads.
 * Source   the layout is kv/kv_layout.h's.
 */
#include "kernels.h"

#include <assert.h>
#include <string.h>

#include "inference/kernels/scalar/float16.h"

/* Elements converted at a time; a multiple of FG_KV_Q8_GROUP. */
#define CHUNK 64u
_Static_assert(FG_KV_Q8_GROUP == FG_QUANT_BLOCK, "a group of the cache is made as a quant block");

static void write_f16(const struct fg_kernels *kernels, const float *key, const float *value,
                      size_t head_dim, size_t position, uint16_t *keys, uint16_t *values)
{
    uint16_t halves[CHUNK];
    for (size_t first = 0; first < head_dim; first += CHUNK) {
        size_t count = head_dim - first < CHUNK ? head_dim - first : CHUNK;
        kernels->f32_to_f16(halves, key + first, count);
        for (size_t i = 0; i < count; i++)
            keys[(first + i) * FG_KV_BLOCK_TOKENS + position] = halves[i];
    }
    kernels->f32_to_f16(values + position * head_dim, value, head_dim);
}

static void write_q8_0(const struct fg_kernels *kernels, const float *key, const float *value,
                       size_t head_dim, size_t position, int8_t *keys, int8_t *values)
{
    size_t group_count = head_dim / FG_KV_Q8_GROUP;
    uint16_t *key_scales = (uint16_t *)(void *)(keys + FG_KV_BLOCK_TOKENS * head_dim);
    uint16_t *value_scales = (uint16_t *)(void *)(values + FG_KV_BLOCK_TOKENS * head_dim);
    struct fg_q8_block block;
    for (size_t group = 0; group < group_count; group++) {
        size_t first = group * FG_KV_Q8_GROUP;
        kernels->quantise(key + first, FG_KV_Q8_GROUP, &block);
        for (size_t i = 0; i < FG_KV_Q8_GROUP; i++)
            keys[(first + i) * FG_KV_BLOCK_TOKENS + position] = block.q[i];
        key_scales[group * FG_KV_BLOCK_TOKENS + position] = fg_f32_to_f16_one(block.scale);
        kernels->quantise(value + first, FG_KV_Q8_GROUP, &block);
        memcpy(values + position * head_dim + first, block.q, FG_KV_Q8_GROUP);
        value_scales[position * group_count + group] = fg_f32_to_f16_one(block.scale);
    }
}

void fg_kv_write(const struct fg_kernels *kernels, const struct fg_kv_store *store,
                 const struct fg_kv_place *place, const float *key, const float *value)
{
    size_t head_at = place->kv_head * fg_kv_head_bytes(&store->shape);
    unsigned char *keys = fg_kv_keys(store, place->block_id, place->layer);
    unsigned char *values = fg_kv_values(store, place->block_id, place->layer);
    assert(place->position < FG_KV_BLOCK_TOKENS);
    if (store->shape.type == FG_KV_F16)
        write_f16(kernels, key, value, store->shape.head_dim, place->position,
                  (uint16_t *)(void *)(keys + head_at), (uint16_t *)(void *)(values + head_at));
    else
        write_q8_0(kernels, key, value, store->shape.head_dim, place->position,
                   (int8_t *)(keys + head_at), (int8_t *)(values + head_at));
}
