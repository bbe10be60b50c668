/*
 * kv_layout.h: where a token's keys and values lie in a KV block. Fixed here, used by the arena
 * (which owns the memory), by attention (which reads it) and by every kernel.
 *
 *    block = FG_KV_BLOCK_TOKENS positions of one sequence, all layers:
 *      for each layer:  keys, then values; each [kv_head], and for a head
 *        F16    K: [head_dim][position in block]            V: [position in block][head_dim]
 *        Q8_0   K: [head_dim][position] int8,               V: [position][head_dim] int8,
 *                  then [head_dim / 32][position] F16          then [position][head_dim / 32] F16
 *
 * A key is a column, so that a score is a sum down the columns, sixteen positions abreast; a value
 * is a row, since what is made of them is a row. Q8_0 has one scale for 32 elements of a key or
 * value. What is outside this file and the kernels takes a block as so many bytes.
 *
 * A block id indexes the data area: data + id * block_bytes.
 * Source   PagedAttention (Kwon et al., SOSP 2023), block size 16.
 */
#ifndef FG_INFERENCE_KV_LAYOUT_H
#define FG_INFERENCE_KV_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_KV_BLOCK_TOKENS 16u
#define FG_KV_NO_BLOCK UINT32_MAX
#define FG_KV_Q8_GROUP 32u /* elements with one scale */

enum fg_kv_type { FG_KV_F16, FG_KV_Q8_0 };

/* Shape of the cached data of one model; two workers share an arena only when theirs are equal. */
struct fg_kv_shape {
    uint32_t layer_count;
    uint32_t kv_head_count;
    uint32_t head_dim;
    enum fg_kv_type type;
};

/* The data area as a kernel sees it. Borrowed from the arena. */
struct fg_kv_store {
    struct fg_kv_shape shape;
    unsigned char *data;
    uint32_t block_count;
};

/* Whether heads of this size can be kept as `type`. */
static inline bool fg_kv_type_fits(enum fg_kv_type type, uint32_t head_dim)
{
    return type == FG_KV_F16 || head_dim % FG_KV_Q8_GROUP == 0;
}

/* Bytes of the keys, or of the values, of one head in one block. */
static inline size_t fg_kv_head_bytes(const struct fg_kv_shape *shape)
{
    size_t elements = (size_t)FG_KV_BLOCK_TOKENS * shape->head_dim;
    return shape->type == FG_KV_F16 ? elements * sizeof(uint16_t)
                                    : elements + elements / FG_KV_Q8_GROUP * sizeof(uint16_t);
}

static inline size_t fg_kv_half_bytes(const struct fg_kv_shape *shape)
{
    return shape->kv_head_count * fg_kv_head_bytes(shape);
}

/* Bytes of one block over all layers. */
static inline size_t fg_kv_block_bytes(const struct fg_kv_shape *shape)
{
    return 2 * (size_t)shape->layer_count * fg_kv_half_bytes(shape);
}

/* Keys of (block, layer): kv_head_count heads of fg_kv_head_bytes. */
static inline void *fg_kv_keys(const struct fg_kv_store *store, uint32_t block_id, uint32_t layer)
{
    return store->data + block_id * fg_kv_block_bytes(&store->shape) +
           2 * (size_t)layer * fg_kv_half_bytes(&store->shape);
}

/* Values of (block, layer), likewise. */
static inline void *fg_kv_values(const struct fg_kv_store *store, uint32_t block_id, uint32_t layer)
{
    return (unsigned char *)fg_kv_keys(store, block_id, layer) + fg_kv_half_bytes(&store->shape);
}

#endif
