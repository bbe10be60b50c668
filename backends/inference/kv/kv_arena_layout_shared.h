/*
 * kv_arena_layout_shared.h: the arena's mapping as its own sources see it; nobody else includes
 * this.
 *
 *    head | worker records | sequence slots | users | their index | presences | block tables |
 *    buckets | blocks | KV data (pages)
 *
 * Guarded by head.lock: everything that is not an _Atomic or a counter. Stores that a repair relies
 * on (slot.state, slot.table_count, block.mark) are atomic with release order, so that the compiler
 * keeps what was written before them before them: that is all the order that a death in between
 * needs.
 */
#ifndef FG_INFERENCE_KV_ARENA_LAYOUT_SHARED_H
#define FG_INFERENCE_KV_ARENA_LAYOUT_SHARED_H

#include "inference/kv/kv_arena_shared.h"
#include "inference/kv/kv_peak.h"
#include "policies/siphash.h"

#include <pthread.h>

#define FG_KV_ARENA_MAGIC UINT64_C(0x4147564b47464c46)
#define FG_KV_ARENA_VERSION 8u
#define FG_KV_NONE UINT32_MAX
/* Streams that are blamed without a sequence: as many as can crash workers before one is free of
 * blame or given up. */
#define FG_KV_PREPARE_BLAMES 512u

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
    uint64_t users;
    uint64_t user_index;
    uint64_t presences;
    uint64_t tables;
    uint64_t buckets;
    uint64_t blocks;
    uint64_t data;
    uint64_t total;
};

/* What a stream is blamed for of which there is no sequence yet. */
struct fg_kv_prepare_blame {
    uint64_t stream_key; /* 0: free */
    uint64_t order;      /* of its last death; the oldest one makes room */
    struct fg_blame blame;
};

struct fg_kv_head {
    uint64_t magic; /* written last by create */
    uint32_t version;
    uint32_t layout_bytes; /* sizes of the structs below: two builds that differ do not share */
    struct fg_kv_geometry geometry;
    pthread_mutex_t lock;
    _Atomic uint32_t lock_holder;   /* pid of who has it, or died with it; 0: nobody */
    struct fg_siphash_key hash_key; /* of the prefix index; random, made at create */
    uint32_t lru_first;             /* the next to be taken, or FG_KV_NONE */
    uint32_t lru_last;
    uint32_t free_slot;
    struct fg_counter blocks_free;
    struct fg_counter blocks_cached;
    struct fg_counter blocks_evicted;
    struct fg_counter sequences;
    struct fg_counter blocks_released;
    struct fg_counter repairs;
    struct fg_counter orphaned;
    struct fg_counter adopted;
    struct fg_counter orphans_expired;
    struct fg_counter suspects;
    uint64_t prepare_deaths;
    struct fg_kv_prepare_blame prepare_blames[FG_KV_PREPARE_BLAMES];
};

struct fg_kv_worker_slot {
    _Alignas(64) struct fg_kv_worker_record record;
    _Atomic uint64_t preparing[FG_KV_PREPARING_MAX]; /* stream keys; 0: nothing */
};

enum fg_kv_slot_state {
    FG_KV_SLOT_FREE,
    FG_KV_SLOT_WAITING, /* holds no blocks */
    FG_KV_SLOT_RUNNING,
    FG_KV_SLOT_ORPHAN, /* nobody's, with all that it holds, until lease_until_ns */
};

struct fg_kv_slot {
    _Atomic uint32_t state;       /* enum fg_kv_slot_state; the commit point of open and close */
    _Atomic uint32_t table_count; /* entries of the block table that count */
    _Atomic uint32_t generation;  /* of this slot */
    uint32_t next_free;
    uint32_t worker_index;
    uint64_t worker_generation;
    _Atomic uint32_t token_count; /* recorded; stored after the tokens */
    _Atomic uint32_t computed;    /* positions whose keys and values are there */
    _Atomic uint64_t lease_until_ns;
    struct fg_kv_sequence_info info;
    uint32_t promised_own; /* while waiting: blocks of its own to begin with; 0: none are kept */
    _Atomic uint32_t step_end; /* while in its worker's step: to where that computes it; 0: not */
};

/* What the prefix index knows of a block. */
enum fg_kv_mark {
    FG_KV_MARK_NONE,
    FG_KV_MARK_PENDING,   /* `slot` computes it in this step; one reference, not to be shared yet */
    FG_KV_MARK_COMMITTED, /* full; its keys and values are those of `hash` */
};

/*
 * Free: no reference, no mark. Cached: no reference, committed. Both are in the LRU list, and
 * nothing else is. Used: referenced by tables. Pending and committed ones are in the index.
 */
struct fg_kv_block {
    uint32_t references;
    _Atomic uint32_t mark; /* enum fg_kv_mark; stored after hash and tokens */
    uint32_t lru_previous; /* valid while nothing references it */
    uint32_t lru_next;
    uint32_t chain_next; /* in the bucket; valid while marked */
    uint32_t slot;       /* that took it */
    struct fg_kv_hash hash;
    uint32_t tokens[FG_KV_BLOCK_TOKENS]; /* of the positions it holds; the owner's, unlocked */
};

struct fg_kv_arena {
    unsigned char *base;
    struct fg_kv_geometry geometry; /* this process's own copy: what the mapping says may change */
    struct fg_kv_offsets at;
    struct fg_kv_head *head;
    struct fg_kv_slot *slots;
    struct fg_kv_block *blocks;
    struct fg_vtc users;
    uint32_t *presences;                  /* (worker_count, user_count); kv_users_shared.c */
    uint32_t *buckets;                    /* (bucket_count) first blocks of the index's chains */
    uint32_t bucket_count;                /* a power of two */
    uint32_t *scratch_references;         /* (block_count), for repair and check, under the lock */
    uint32_t *scratch_marks;              /* (block_count) */
    struct fg_kv_demand *scratch_demands; /* (sequence_count), for the peak test */
    fg_kv_on_point_fn on_point;
    void *on_point_owner;
};

static inline struct fg_kv_worker_slot *fg_kv_worker_slot(const struct fg_kv_arena *arena,
                                                          uint32_t worker_index)
{
    return (struct fg_kv_worker_slot *)(void *)(arena->base + arena->at.workers) + worker_index;
}

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

static inline uint32_t fg_kv_load(const _Atomic uint32_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire);
}

static inline void fg_kv_commit(_Atomic uint32_t *value, uint32_t next)
{
    atomic_store_explicit(value, next, memory_order_release);
}

/* A live sequence holds its slot; only a free one does not. */
static inline bool fg_kv_is_live(uint32_t state)
{
    return state == FG_KV_SLOT_WAITING || state == FG_KV_SLOT_RUNNING || state == FG_KV_SLOT_ORPHAN;
}

/* Entries of a table that may be used: never more than there is room for. */
static inline uint32_t fg_kv_table_count(const struct fg_kv_arena *arena,
                                         const struct fg_kv_slot *slot)
{
    uint32_t count = fg_kv_load(&slot->table_count);
    return count <= arena->geometry.table_max ? count : arena->geometry.table_max;
}

/* Takes the mutex, repairing first what a dead holder left. */
void fg_kv_lock(struct fg_kv_arena *arena);
/* False when it is taken. */
bool fg_kv_try_lock(struct fg_kv_arena *arena);
void fg_kv_unlock(struct fg_kv_arena *arena);

/* Recompute references, lists, index and gauges from the tables. Under the mutex; idempotent. */
void fg_kv_repair(struct fg_kv_arena *arena);

/* The live slot of `id`, or NULL. Under the mutex. */
struct fg_kv_slot *fg_kv_find_slot(struct fg_kv_arena *arena, struct fg_kv_sequence_id id);

/* Give back the blocks of `slot` from `keep` on; then the slot itself. Under the mutex. */
void fg_kv_trim_slot(struct fg_kv_arena *arena, uint32_t slot, uint32_t keep);
void fg_kv_close_slot(struct fg_kv_arena *arena, uint32_t slot);
/* All its blocks, and it waits again. Under the mutex. */
void fg_kv_suspend_slot(struct fg_kv_arena *arena, uint32_t slot);

/* Copies the recorded tokens of a slot, up to `room`; returns how many are recorded. */
uint32_t fg_kv_copy_tokens(const struct fg_kv_arena *arena, uint32_t slot, uint32_t *tokens,
                           uint32_t room);

/* --- kv_blame_shared.c; all under the mutex --- */

/* The worker is dead: what was in its step is blamed, and in no step any more. */
void fg_kv_blame_worker(struct fg_kv_arena *arena, uint32_t worker_index);

/* --- kv_users_shared.c; all under the mutex --- */

/* None of this worker's requests is there any more. */
void fg_kv_users_give_up(struct fg_kv_arena *arena, uint32_t worker_index);
/* Who is active, from the workers' columns. */
void fg_kv_users_repair(struct fg_kv_arena *arena);
/* What is wrong, or NULL. */
const char *fg_kv_users_check(const struct fg_kv_arena *arena);

/* --- kv_prefix_shared.c; all under the mutex --- */

/* The least recently used block, off its list and out of the index; FG_KV_NO_BLOCK: none. */
uint32_t fg_kv_pop_block(struct fg_kv_arena *arena);
/* One reference more; a cached block leaves the list. */
void fg_kv_reference_block(struct fg_kv_arena *arena, uint32_t id);
/* One reference less; the last one puts it into the list. */
void fg_kv_release_block(struct fg_kv_arena *arena, uint32_t id);
/* A committed block of these tokens (any, when NULL), or FG_KV_NO_BLOCK. */
uint32_t fg_kv_find_committed(struct fg_kv_arena *arena, const struct fg_kv_hash *hash,
                              const uint32_t *tokens);
/* Out of the index: nobody finds it any more. */
void fg_kv_unmark(struct fg_kv_arena *arena, uint32_t id);
/* Link a block at an end of the list; into its bucket. For the repair, which counts by itself. */
void fg_kv_lru_link(struct fg_kv_arena *arena, uint32_t id, bool at_front);
void fg_kv_index_link(struct fg_kv_arena *arena, uint32_t id);
/* Blocks that can be taken: free and cached. */
uint64_t fg_kv_available(const struct fg_kv_arena *arena);

#endif
