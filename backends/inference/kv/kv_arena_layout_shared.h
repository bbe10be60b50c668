/*
 * kv_arena_layout_shared.h: the arena's mapping as its own sources see it; nobody else includes
 * this.
 *
 *    head | worker records | sequence slots | block tables | blocks | KV data (page-aligned)
 *
 * Guarded by head.lock: everything that is not an _Atomic or a counter. Stores that a repair relies
 * on (slot.state, slot.table_count) are atomic with release order, so that the compiler keeps what
 * was written before them before them: that is all the order that a death in between needs.
 */
#ifndef FG_INFERENCE_KV_ARENA_LAYOUT_SHARED_H
#define FG_INFERENCE_KV_ARENA_LAYOUT_SHARED_H

#include "inference/kv/kv_arena_shared.h"

#include <pthread.h>

#define FG_KV_ARENA_MAGIC UINT64_C(0x4147564b47464c46)
#define FG_KV_ARENA_VERSION 1u
#define FG_KV_NONE UINT32_MAX

/* What decides the layout; from the configuration at create, from the head at attach. */
struct fg_kv_geometry {
    struct fg_kv_shape shape;
    uint32_t block_count;
    uint32_t sequence_count;
    uint32_t worker_count;
    uint32_t table_max; /* blocks of one sequence */
};

/* Where the parts begin, in bytes from the head. */
struct fg_kv_offsets {
    uint64_t workers;
    uint64_t slots;
    uint64_t tables;
    uint64_t blocks;
    uint64_t data;
    uint64_t total;
};

struct fg_kv_head {
    uint64_t magic; /* written last by create */
    uint32_t version;
    uint32_t layout_bytes; /* sizes of the structs below: two builds that differ do not share */
    struct fg_kv_geometry geometry;
    pthread_mutex_t lock;
    uint32_t free_block; /* first of the list, or FG_KV_NONE */
    uint32_t free_slot;
    struct fg_counter blocks_free;
    struct fg_counter sequences;
    struct fg_counter blocks_released;
    struct fg_counter repairs;
};

struct fg_kv_worker_slot {
    _Alignas(64) struct fg_kv_worker_record record;
};

enum fg_kv_slot_state { FG_KV_SLOT_FREE, FG_KV_SLOT_WAITING, FG_KV_SLOT_RUNNING };

struct fg_kv_slot {
    _Atomic uint32_t state;       /* enum fg_kv_slot_state; the commit point of open and close */
    _Atomic uint32_t table_count; /* entries of the block table that count */
    _Atomic uint32_t generation;  /* of this slot */
    uint32_t next_free;
    uint32_t worker_index;
    uint64_t worker_generation;
    _Atomic uint32_t token_count; /* recorded; stored after the tokens */
    _Atomic uint64_t lease_until_ns;
    struct fg_kv_sequence_info info;
};

enum fg_kv_block_state { FG_KV_BLOCK_FREE, FG_KV_BLOCK_USED };

struct fg_kv_block {
    uint32_t references;
    uint32_t state;
    uint32_t next_free;
    uint32_t slot;                       /* that took it from the free list */
    uint32_t tokens[FG_KV_BLOCK_TOKENS]; /* of the positions it holds; the owner's, unlocked */
};

struct fg_kv_arena {
    unsigned char *base;
    struct fg_kv_geometry geometry; /* this process's own copy: what the mapping says may change */
    struct fg_kv_offsets at;
    struct fg_kv_head *head;
    struct fg_kv_slot *slots;
    struct fg_kv_block *blocks;
    uint32_t *scratch_references; /* (block_count), for repair and check, under the lock */
    uint32_t *scratch_marks;      /* (block_count) */
    fg_kv_on_point_fn on_point;
    void *on_point_owner;
};

static inline uint32_t *fg_kv_table(const struct fg_kv_arena *arena, uint32_t slot)
{
    return (uint32_t *)(void *)(arena->base + arena->at.tables) +
           (size_t)slot * arena->geometry.table_max;
}

static inline void fg_kv_point(const struct fg_kv_arena *arena, enum fg_kv_point point)
{
    /* A death here must find what is written so far in memory, not in registers. */
    atomic_signal_fence(memory_order_seq_cst);
    if (arena->on_point != NULL)
        arena->on_point(point, arena->on_point_owner);
}

/* Takes the mutex, repairing first what a dead holder left. */
void fg_kv_lock(struct fg_kv_arena *arena);
void fg_kv_unlock(struct fg_kv_arena *arena);

/* Recompute references, free lists and gauges from the tables. Under the mutex; idempotent. */
void fg_kv_repair(struct fg_kv_arena *arena);

/* The live slot of `id`, or NULL. Under the mutex. */
struct fg_kv_slot *fg_kv_find_slot(struct fg_kv_arena *arena, struct fg_kv_sequence_id id);

/* Give back the blocks of `slot` from `keep` on; then the slot itself. Under the mutex. */
void fg_kv_trim_slot(struct fg_kv_arena *arena, uint32_t slot, uint32_t keep);
void fg_kv_close_slot(struct fg_kv_arena *arena, uint32_t slot);

#endif
