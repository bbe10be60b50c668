/*
 * kv_layout.h: where a token's keys and values lie in a KV block. Fixed here, used by the arena
 * (which owns the memory), by attention (which reads it) and by every kernel.
 *
 *    block = FG_KV_BLOCK_TOKENS positions of one sequence, all layers:
 *      for each layer:  K: [kv_head][position in block][head_dim]   elements of F16
 *                       V: [kv_head][position in block][head_dim]   elements of F16
 *
 * A block id indexes the data area: data + id * block_bytes.
 * Source   PagedAttention (Kwon et al., SOSP 2023), block size 16.
 */
#ifndef FG_INFERENCE_KV_LAYOUT_H
#define FG_INFERENCE_KV_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define FG_KV_BLOCK_TOKENS 16u
#define FG_KV_NO_BLOCK UINT32_MAX

/* Shape of the cached data of one model; two workers share an arena only when theirs are equal. */
struct fg_kv_shape {
    uint32_t layer_count;
    uint32_t kv_head_count;
    uint32_t head_dim;
};

/* The data area as a kernel sees it. Borrowed from the arena. */
struct fg_kv_store {
    struct fg_kv_shape shape;
    unsigned char *data;
    uint32_t block_count;
};

static inline size_t fg_kv_half_bytes(const struct fg_kv_shape *shape)
{
    return (size_t)shape->kv_head_count * FG_KV_BLOCK_TOKENS * shape->head_dim * sizeof(uint16_t);
}

/* Bytes of one block over all layers. */
static inline size_t fg_kv_block_bytes(const struct fg_kv_shape *shape)
{
    return 2 * (size_t)shape->layer_count * fg_kv_half_bytes(shape);
}

/* F16 keys of (block, layer), as (kv_head_count, FG_KV_BLOCK_TOKENS, head_dim). */
static inline uint16_t *fg_kv_keys(const struct fg_kv_store *store, uint32_t block_id,
                                   uint32_t layer)
{
    return (uint16_t *)(void *)(store->data + block_id * fg_kv_block_bytes(&store->shape) +
                                2 * (size_t)layer * fg_kv_half_bytes(&store->shape));
}

/* F16 values of (block, layer), shaped as the keys. */
static inline uint16_t *fg_kv_values(const struct fg_kv_store *store, uint32_t block_id,
                                     uint32_t layer)
{
    return (uint16_t *)(void *)((unsigned char *)fg_kv_keys(store, block_id, layer) +
                                fg_kv_half_bytes(&store->shape));
}

#endif
