/*
 * kv_arena_shared.h: the one KV arena that all inference workers of a machine map.
 * Job      hand out KV blocks to sequences, count who holds what, and survive any worker's death.
 * Thread   any thread of any process that mapped it; what is the owner's alone says so.
 * Protocol one robust process-shared mutex guards block and sequence metadata. The truth is the
 * live sequences' block tables: refcounts and free lists follow from them, so whoever takes the
 * mutex after its holder died (EOWNERDEAD) computes them anew and goes on. Gauges and worker
 * records are relaxed atomics, read without the mutex. KV data and a sequence's tokens are written
 * by the sequence's owner alone, unlocked. Never    stores a pointer in the mapping, and never
 * follows an index read from it unchecked. Sizes are read once, at attach, and kept in the
 * process's own memory. Memory   bounded by conf->kv_bytes plus tables; all of it is reserved when
 * the arena is created, so that a later shortage is a refused sequence, not a SIGBUS.
 *
 *    block      free --reserve--> used (1) --share--> used (n) --trim, close--> used (n-1) .. free
 *    sequence   free --open--> waiting --reserve, share--> running --close, reclaim--> free
 */
#ifndef FG_INFERENCE_KV_ARENA_SHARED_H
#define FG_INFERENCE_KV_ARENA_SHARED_H

#include "base/counters_shared.h"
#include "base/status.h"
#include "inference/inference_conf.h"
#include "inference/kv/kv_layout.h"
#include "inference/scheduler/sampler.h"

#define FG_KV_WORKERS_MAX 64u
#define FG_KV_REFUSAL_COUNT 8u /* reasons that a worker's record has room for */

struct fg_kv_arena; /* one process's view of the mapping */

/* What one worker says about itself. It writes, anyone reads (fg_counter_get). */
struct fg_kv_worker_record {
    struct fg_counter pid;        /* 0: not serving: the heartbeat means nothing */
    struct fg_counter generation; /* counts starts of this worker, from 1 */
    struct fg_counter heartbeat_ns;
    struct fg_counter started_ns;
    struct fg_counter steps;
    struct fg_counter tokens_prefill;
    struct fg_counter tokens_decode;
    struct fg_counter waiting; /* gauge: sequences that hold no blocks yet */
    struct fg_counter running; /* gauge */
    struct fg_counter preemptions;
    struct fg_counter refused[FG_KV_REFUSAL_COUNT]; /* by enum fg_refusal */
};

struct fg_kv_gauges {
    uint64_t blocks_total;
    uint64_t blocks_free;
    uint64_t blocks_used;
    uint64_t sequences_max;
    uint64_t sequences;       /* open, waiting and running */
    uint64_t blocks_released; /* ever given back: the rate at which memory comes free */
    uint64_t repairs;         /* times that a dead holder's lock was taken over */
};

/* A sequence in the arena; what was closed or reclaimed is never found again under its old id. */
struct fg_kv_sequence_id {
    uint32_t slot;
    uint32_t generation;
};

/* What is kept with a sequence for whoever may have to go on with it. */
struct fg_kv_sequence_info {
    uint64_t connection_key;
    uint64_t request_id;
    struct fg_sampling sampling;
    uint32_t prompt_count; /* tokens of the prompt alone */
    uint32_t max_tokens;
    uint32_t priority;
};

/*
 * Bytes of the whole mapping; 0 when not one block fits into conf->kv_bytes, or a count is zero or
 * beyond reason. conf->context_max 0 makes tables that could hold every block.
 */
uint64_t fg_kv_arena_bytes(const struct fg_inference_conf *conf, const struct fg_kv_shape *shape);

/*
 * Size the memory file `fd` (memfd_create with MFD_ALLOW_SEALING), reserve its memory, seal its
 * size and lay the arena out. The fd stays the caller's. Start-up thread of the supervisor.
 */
enum fg_status fg_kv_arena_create(struct fg_kv_arena **out, int fd,
                                  const struct fg_inference_conf *conf,
                                  const struct fg_kv_shape *shape, struct fg_error *error);

/* Map an arena that was created; every number in its head is checked against the file's size. */
enum fg_status fg_kv_arena_attach(struct fg_kv_arena **out, int fd, struct fg_error *error);

/* Unmaps; the arena lives on in other processes. NULL is fine. */
void fg_kv_arena_detach(struct fg_kv_arena *arena);

/* The data area for the executor; borrowed. */
struct fg_kv_store fg_kv_arena_store(const struct fg_kv_arena *arena);
/* The most blocks that one sequence can hold. */
uint32_t fg_kv_arena_table_max(const struct fg_kv_arena *arena);
uint32_t fg_kv_arena_worker_count(const struct fg_kv_arena *arena);

/* Without the lock: a moment old, and each number on its own. */
void fg_kv_arena_gauges(const struct fg_kv_arena *arena, struct fg_kv_gauges *out);
/* Borrowed, NULL beyond worker_count. Written by that worker only. */
struct fg_kv_worker_record *fg_kv_arena_worker(struct fg_kv_arena *arena, uint32_t worker_index);

/*
 * A worker starts: frees what its predecessor of the same index held, clears the gauges of its
 * record and counts a new generation.
 */
void fg_kv_arena_worker_begin(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t pid,
                              uint64_t now_ns);

/*
 * Close every sequence of a worker and clear its pid and gauges; returns how many. Its process must
 * be gone (reaped): a living one would write on into blocks that others get.
 */
uint32_t fg_kv_arena_reclaim_worker(struct fg_kv_arena *arena, uint32_t worker_index);

/* A new sequence without blocks. FG_ERR_LIMIT when all sequences_max are taken. */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_open(struct fg_kv_arena *arena,
                                                     uint32_t worker_index,
                                                     const struct fg_kv_sequence_info *info,
                                                     struct fg_kv_sequence_id *out);

/*
 * Add `count` free blocks to the end of the sequence's table and copy their ids to `blocks`
 * (count). All or none: FG_ERR_NO_MEMORY when too few are free, FG_ERR_LIMIT beyond table_max,
 * FG_ERR_NOT_FOUND when the sequence has gone.
 */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_reserve(struct fg_kv_arena *arena,
                                                        struct fg_kv_sequence_id id, uint32_t count,
                                                        uint32_t *blocks);

/*
 * Take a further reference to the first `count` blocks of `from`; `id` must hold none yet. Their
 * ids are copied to `blocks`. A block goes back when its last reference does. FG_ERR_LIMIT when
 * `from` has fewer.
 */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_share(struct fg_kv_arena *arena,
                                                      struct fg_kv_sequence_id id,
                                                      struct fg_kv_sequence_id from, uint32_t count,
                                                      uint32_t *blocks);

/* Give back the sequence's blocks beyond the first `keep_count`. A sequence that has gone is fine.
 */
void fg_kv_arena_sequence_trim(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                               uint32_t keep_count);

/* Give back all blocks and the slot. A sequence that has gone is fine. */
void fg_kv_arena_sequence_close(struct fg_kv_arena *arena, struct fg_kv_sequence_id id);

/*
 * Record the next tokens (their keys and values are being or have been written) and move the lease.
 * The owner only; no lock. Tokens beyond the blocks held are not recorded.
 */
void fg_kv_arena_sequence_append(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 const uint32_t *tokens, uint32_t count, uint64_t lease_until_ns);

/*
 * Copy what is recorded of a sequence: up to `room` tokens to `tokens` (NULL with room 0), what
 * came with open to *info. Returns the number of tokens recorded; FG_ERR_NOT_FOUND is UINT32_MAX.
 */
uint32_t fg_kv_arena_sequence_read(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                   struct fg_kv_sequence_info *info, uint32_t *tokens,
                                   uint32_t room);

/*
 * Walk everything under the lock and prove it: each block is either free and on the free list
 * exactly once or used with as many references as tables name it; lists are closed; gauges agree.
 * False with *why (constant) when not. For tests and diagnosis.
 */
bool fg_kv_arena_check(struct fg_kv_arena *arena, const char **why);

/* How many references a block has, or UINT32_MAX for a bad id. For tests and diagnosis. */
uint32_t fg_kv_arena_block_references(struct fg_kv_arena *arena, uint32_t block_id);

/* The points of critical sections at which a death has been thought of; see on_point. */
enum fg_kv_point {
    FG_KV_POINT_LOCKED,         /* the mutex is held, nothing is changed */
    FG_KV_POINT_SLOT_POPPED,    /* open: off the free list, not yet in use */
    FG_KV_POINT_SLOT_OPENED,    /* open: in use, gauges not yet */
    FG_KV_POINT_BLOCK_POPPED,   /* reserve: off the free list, in no table */
    FG_KV_POINT_BLOCK_TABLED,   /* reserve: in the table, not yet counted */
    FG_KV_POINT_SHARED,         /* share: some references are counted, some are not */
    FG_KV_POINT_CLOSED,         /* close: the sequence is free, its blocks are not yet */
    FG_KV_POINT_BLOCK_RELEASED, /* trim, close: some blocks went back, some did not */
    FG_KV_POINT_REPAIR_COUNTED, /* repair: references known, lists not rebuilt */
    FG_KV_POINT_REPAIR_REBUILT, /* repair: done, mutex not yet consistent */
    FG_KV_POINT_COUNT,
};

/* Called with the mutex held at each point; tests die there. NULL, the default: nothing. */
typedef void (*fg_kv_on_point_fn)(enum fg_kv_point point, void *owner);
void fg_kv_arena_set_on_point(struct fg_kv_arena *arena, fg_kv_on_point_fn on_point, void *owner);

#endif
