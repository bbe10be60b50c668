/*
 * kv_arena_shared.h: the one KV arena that all inference workers of a machine map.
 * Job      hand out KV blocks to sequences, count who holds what, and survive any worker's death.
 * Thread   any thread of any process that mapped it; what is the owner's alone says so.
 * Protocol one robust process-shared mutex guards block and sequence metadata. The truth is the
 *          live sequences' block tables and each block's own mark: reference counts, the list of
 *          what is free or cached, and the buckets of the prefix index follow from them, so whoever
 *          takes the mutex after its holder died (EOWNERDEAD) computes them anew and goes on.
 *          Gauges and worker records are relaxed atomics, read without the mutex. KV data and a
 *          sequence's tokens are written by the sequence's owner alone, unlocked.
 * Never    stores a pointer in the mapping, and never follows an index read from it unchecked.
 *          Sizes are read once, at attach, and kept in the process's own memory.
 * Memory   bounded by conf->kv_bytes plus tables; all of it is reserved when the arena is created,
 *          so that a later shortage is a refused sequence, not a SIGBUS.
 * Source   block hashes, one list of free and cached blocks, deepest out first: vLLM's automatic
 *          prefix caching. Salted by tenant, or timing tells one user what another has asked.
 *
 *    block      free --take--> used (1) --share--> used (n) --trim, close--> used (n-1) ..
 *                 ^             `-- last reference gone, committed --> cached --share--> used (1)
 *                 `-- last reference gone, not committed            `--least recently used--> taken
 *    sequence   free --open--> waiting --admit--> running --close, reclaim--> free
 *                                 ^------suspend----'  `--orphan, hand over--> orphan --adopt-->
 *                                                            running;  --time is up--> free
 */
#ifndef FG_INFERENCE_KV_ARENA_SHARED_H
#define FG_INFERENCE_KV_ARENA_SHARED_H

#include "base/counters_shared.h"
#include "base/status.h"
#include "inference/inference_conf.h"
#include "inference/kv/kv_layout.h"
#include "inference/scheduler/sampler.h"
#include "policies/blame.h"
#include "policies/siphash.h"
#include "policies/vtc.h"

#define FG_KV_WORKERS_MAX 64u
/* Threads of a worker that prepare requests at the same time: its helpers, and its loop. */
#define FG_KV_PREPARING_MAX 4u
#define FG_KV_REFUSAL_COUNT 16u /* reasons that a worker's record has room for */

struct fg_kv_arena; /* one process's view of the mapping */

/* Names a full block: its tokens, all before them, and who may share it. */
struct fg_kv_hash {
    uint64_t hi;
    uint64_t lo;
};

/* What one worker says about itself. It writes, anyone reads (fg_counter_get). */
struct fg_kv_worker_record {
    struct fg_counter pid;        /* 0: not serving: the heartbeat means nothing */
    struct fg_counter generation; /* counts starts of this worker, from 1 */
    struct fg_counter heartbeat_ns;
    struct fg_counter started_ns;
    struct fg_counter steps;
    struct fg_counter batch_sequences; /* summed over steps */
    struct fg_counter tokens_prefill;
    struct fg_counter tokens_decode;
    struct fg_counter tokens_prompt; /* of prompts that were admitted */
    struct fg_counter tokens_cached; /* of those, found in the cache or computed by another */
    struct fg_counter tokens_saved;  /* not generated, as their client left */
    struct fg_counter waiting;       /* gauge: sequences that hold no blocks yet */
    struct fg_counter running;       /* gauge */
    struct fg_counter preemptions;
    struct fg_counter predictions;         /* first tokens that came, of those with a prediction */
    struct fg_counter predicted_ns;        /* sums over them: what was said, */
    struct fg_counter predicted_actual_ns; /* how long it took, */
    struct fg_counter predicted_error_ns;  /* the difference either way */
    struct fg_counter refused[FG_KV_REFUSAL_COUNT]; /* by enum fg_refusal */
    struct fg_counter computing;   /* number of the step that is computed, from 1; 0: none */
    struct fg_counter beats;       /* portions of steps that are done, ever */
    struct fg_counter beat_cpu_ns; /* processor time for one, in such a step; 0: not known */
    struct fg_counter crashed;     /* the supervisor's: the process that is gone did it by itself */
};

struct fg_kv_gauges {
    uint64_t blocks_total;
    uint64_t blocks_free;
    uint64_t blocks_cached; /* held by nobody, found by their hash; taken when none is free */
    uint64_t blocks_used;
    uint64_t blocks_evicted; /* cached ones ever taken for something else */
    uint64_t sequences_max;
    uint64_t sequences;       /* open, waiting and running */
    uint64_t blocks_released; /* ever given back: the rate at which memory comes free */
    uint64_t repairs;         /* times that a dead holder's lock was taken over */
    uint64_t orphaned;        /* sequences that lost their worker, ever */
    uint64_t adopted;         /* of those, taken over by another */
    uint64_t orphans_expired; /* of those, wanted by nobody */
    uint64_t suspects;        /* sequences that were to be computed alone, ever */
};

/* Positions of tokens. */
struct fg_kv_slots {
    uint64_t held;   /* by sequences, shared ones counted for each */
    uint64_t wasted; /* of those, without a token */
};

/* A sequence in the arena; what was closed or reclaimed is never found again under its old id. */
struct fg_kv_sequence_id {
    uint32_t slot;
    uint32_t generation;
};

/* What is kept with a sequence for whoever may have to go on with it. */
struct fg_kv_sequence_info {
    uint64_t stream_key;   /* by which it is found again when its worker is gone; 0: it is not */
    bool is_resumable;     /* what is computed of it is of use to another worker */
    struct fg_blame blame; /* of the workers that died with it so far */
    struct fg_sampling sampling;
    uint32_t prompt_count; /* tokens of the prompt alone */
    uint32_t max_tokens;
    uint32_t priority_number; /* policies/priority.h */
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
/* Likewise, over all sequences: for diagnosis, not for every step. */
struct fg_kv_slots fg_kv_arena_slots(const struct fg_kv_arena *arena);
/* Borrowed, NULL beyond worker_count. Written by that worker only. */
struct fg_kv_worker_record *fg_kv_arena_worker(struct fg_kv_arena *arena, uint32_t worker_index);

/* The process that holds the mutex now, or died with it and nobody has had it since; 0: none. */
uint32_t fg_kv_arena_lock_holder(const struct fg_kv_arena *arena);

/*
 * A worker starts: gives up what its predecessor of the same index held, as orphan_worker, clears
 * the gauges of its record and counts a new generation.
 */
void fg_kv_arena_worker_begin(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t pid,
                              uint64_t now_ns, uint64_t keep_until_ns);

/*
 * Close every sequence of a worker and clear its pid and gauges; returns how many. Its process must
 * be gone (reaped): a living one would write on into blocks that others get.
 */
uint32_t fg_kv_arena_reclaim_worker(struct fg_kv_arena *arena, uint32_t worker_index);

/*
 * As reclaim, but sequences that run stay as orphans until `keep_until_ns`, for other workers to
 * adopt. Those that were in the worker's step are blamed for its death (policies/blame.h), and
 * stay in any case, so that it is known. Returns how many stay.
 */
uint32_t fg_kv_arena_orphan_worker(struct fg_kv_arena *arena, uint32_t worker_index,
                                   uint64_t keep_until_ns);

/*
 * As orphan_worker for who must not wait for the mutex (its holder may be stopped, and only the
 * caller would notice): false when it is taken, and nothing is done.
 */
FG_MUST_USE bool fg_kv_arena_try_orphan_worker(struct fg_kv_arena *arena, uint32_t worker_index,
                                               uint64_t keep_until_ns);

/* Close orphans whose time is up; returns how many. */
uint32_t fg_kv_arena_reclaim_orphans(struct fg_kv_arena *arena, uint64_t now_ns);

/* A new sequence without blocks. FG_ERR_LIMIT when all sequences_max are taken. */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_open(struct fg_kv_arena *arena,
                                                     uint32_t worker_index,
                                                     const struct fg_kv_sequence_info *info,
                                                     struct fg_kv_sequence_id *out);

/* The hash of a full block after `parent` (zeros: none). `salt` tells apart who may share it. */
struct fg_kv_hash fg_kv_arena_hash(const struct fg_kv_arena *arena, const struct fg_kv_hash *parent,
                                   uint64_t salt, const uint32_t tokens[FG_KV_BLOCK_TOKENS]);

/* A secret of the arena's for another use, the same in all processes; `label` tells uses apart. */
struct fg_siphash_key fg_kv_arena_derive_key(const struct fg_kv_arena *arena, const char *label);

/* How many of the first blocks of `tokens` could be shared now. */
uint32_t fg_kv_arena_count_cached(struct fg_kv_arena *arena, const struct fg_kv_hash *hashes,
                                  uint32_t hash_count, const uint32_t *tokens);

/* What a sequence asks for to begin, or to begin again. */
struct fg_kv_admission {
    const uint32_t *tokens; /* (token_count) all that is known: prompt, what was generated before */
    uint32_t token_count;
    const struct fg_kv_hash *hashes; /* (hash_count) of the first full blocks of `tokens` */
    uint32_t hash_count;             /* 0: share nothing */
    uint32_t block_count;            /* to hold at once */
    /*
     * Admit only if all that run could grow to their end (kv_peak.h). False: block_count is all
     * that it can need, as it is for all others, and only what is kept for siblings matters.
     */
    bool must_fit_at_peak;
    /*
     * (sibling_count) sequences that wait, with the same prompt: they must fit beside it, and
     * memory is kept for them from then on, until they are admitted or closed.
     */
    const struct fg_kv_sequence_id *siblings;
    uint32_t sibling_count;
};

/*
 * Fill the empty table of `id` with block_count blocks, cached ones first as far as their hashes
 * are found, and record the tokens. `blocks` (block_count) gets the ids, *computed how many
 * positions need no computing: at least the last of `tokens` always does; when all its block is
 * cached the sequence gets a copy of its own. All or none: FG_ERR_NO_MEMORY when it must wait,
 * FG_ERR_LIMIT beyond table_max, FG_ERR_NOT_FOUND when the sequence has gone.
 */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_admit(struct fg_kv_arena *arena,
                                                      struct fg_kv_sequence_id id,
                                                      const struct fg_kv_admission *admission,
                                                      uint32_t *blocks, uint32_t *computed);

/*
 * Add `count` blocks to the end of the sequence's table and copy their ids to `blocks` (count). All
 * or none: FG_ERR_NO_MEMORY when too few can be taken, FG_ERR_LIMIT beyond table_max,
 * FG_ERR_NOT_FOUND when the sequence has gone.
 */
FG_MUST_USE enum fg_status fg_kv_arena_sequence_reserve(struct fg_kv_arena *arena,
                                                        struct fg_kv_sequence_id id, uint32_t count,
                                                        uint32_t *blocks);

/* Copies the ids of the first blocks of its table to `blocks` (room); returns how many it has. */
uint32_t fg_kv_arena_sequence_table(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                    uint32_t *blocks, uint32_t room);

struct fg_kv_claimed {
    uint32_t shared;  /* leading blocks that others have computed; the sequence has theirs now */
    uint32_t claimed; /* after those, its own to compute: others wait for them */
    bool is_pending;  /* after those, another sequence computes the next one at this moment */
};

/*
 * Blocks first .. first+count-1 of the table are to be computed whole, and have these hashes: find
 * out which of them still need it. `blocks` (count) gets the ids of the shared ones.
 */
struct fg_kv_claimed fg_kv_arena_sequence_claim(struct fg_kv_arena *arena,
                                                struct fg_kv_sequence_id id, uint32_t first,
                                                uint32_t count, const struct fg_kv_hash *hashes,
                                                uint32_t *blocks);

/* Blocks first .. first+count-1 are full and computed: others may share them from now on. */
void fg_kv_arena_sequence_commit(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t first, uint32_t count, const struct fg_kv_hash *hashes);

/* Give back the sequence's blocks beyond the first `keep_count`. One that has gone is fine. */
void fg_kv_arena_sequence_trim(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                               uint32_t keep_count);

/* Give back all blocks and wait anew. A sequence that has gone is fine. */
void fg_kv_arena_sequence_suspend(struct fg_kv_arena *arena, struct fg_kv_sequence_id id);

/* Give back all blocks and the slot. A sequence that has gone is fine. */
void fg_kv_arena_sequence_close(struct fg_kv_arena *arena, struct fg_kv_sequence_id id);

/*
 * Record `token` as the next one, then `computed` positions as done, so that whoever takes over
 * goes on from there. The owner only; no lock. False when no block of the sequence covers it.
 */
bool fg_kv_arena_sequence_record(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t token, uint32_t computed);
/* Forget the tokens from `token_count` on; what is computed beyond them counts no more. */
void fg_kv_arena_sequence_rewind(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t token_count, uint32_t computed);
/* Only that `computed` positions are done. The owner only; no lock. */
void fg_kv_arena_sequence_computed(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                   uint32_t computed);

/*
 * Copy what is recorded of a sequence: up to `room` tokens to `tokens` (NULL with room 0), what
 * came with open to *info. Returns the number of tokens recorded; FG_ERR_NOT_FOUND is UINT32_MAX.
 */
uint32_t fg_kv_arena_sequence_read(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                   struct fg_kv_sequence_info *info, uint32_t *tokens,
                                   uint32_t room);

/* Let go of a sequence that another worker is to go on with: it becomes an orphan. */
void fg_kv_arena_sequence_hand_over(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                    uint64_t keep_until_ns);

/* A sequence as its last owner left it. */
struct fg_kv_adopted {
    struct fg_kv_sequence_id id;
    struct fg_kv_sequence_info info;
    uint32_t block_count;
    uint32_t token_count;
    uint32_t computed;
};

/* ---- steps: who is to blame when a worker dies in one ---- */

struct fg_kv_step_part {
    struct fg_kv_sequence_id id;
    uint32_t end; /* the position up to which the step computes it */
};

/* Before the worker's step: these are in it. The owner only; no lock. */
void fg_kv_arena_step_begin(struct fg_kv_arena *arena, const struct fg_kv_step_part *parts,
                            uint32_t count);
/*
 * What the step did for this sequence is recorded: it is computed up to `computed`. True when that
 * cleared it of what it was blamed for. The owner only; no lock. One that has gone is fine.
 */
bool fg_kv_arena_step_end(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                          uint32_t computed);
/* Whether a worker computes, or died computing, the stream's sequence. For tests and diagnosis. */
bool fg_kv_arena_is_in_step(struct fg_kv_arena *arena, uint64_t stream_key);

/* ---- before steps: who is to blame when a worker dies while it prepares a request ---- */

/*
 * Around what the worker does for a stream of which there is no sequence, or whose prompt is being
 * made. Any thread of the worker, one stream a thread; no lock. Returns what to end with. A stream
 * key of 0 is not kept.
 */
uint32_t fg_kv_arena_prepare_begin(struct fg_kv_arena *arena, uint32_t worker_index,
                                   uint64_t stream_key);
void fg_kv_arena_prepare_end(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t place);
/*
 * What the stream is blamed for, in this phase alone. FG_ERR_BUSY while another worker prepares
 * it, or is not known to be dead: ask again; *out then is as if that one had crashed just now.
 */
FG_MUST_USE enum fg_status fg_kv_arena_prepare_blame(struct fg_kv_arena *arena,
                                                     uint32_t worker_index, uint64_t stream_key,
                                                     struct fg_blame *out);
/* It was prepared, alone, and no worker died. */
void fg_kv_arena_prepare_forgive(struct fg_kv_arena *arena, uint64_t stream_key);
/* The streams that a worker prepares now, by place; 0: none. */
void fg_kv_arena_preparing(const struct fg_kv_arena *arena, uint32_t worker_index,
                           uint64_t keys[FG_KV_PREPARING_MAX]);
/* Whether a worker prepares the stream, or died doing so. For tests and diagnosis. */
bool fg_kv_arena_is_preparing(struct fg_kv_arena *arena, uint64_t stream_key);

/*
 * Make the orphan of `stream_key` this worker's own. `blocks` (table_max) gets its table, `tokens`
 * (room) what is recorded. FG_ERR_BUSY while its worker is not known to be dead: ask again.
 * FG_ERR_NOT_FOUND: there is none, or it does not fit the room, is of no use or is broken (and is
 * closed). out->info.blame is right in any case; while BUSY as if the worker had crashed just now.
 */
FG_MUST_USE enum fg_status fg_kv_arena_adopt(struct fg_kv_arena *arena, uint32_t worker_index,
                                             uint64_t stream_key, struct fg_kv_adopted *out,
                                             uint32_t *blocks, uint32_t *tokens, uint32_t room);

/* ---- users: what each has had, of all workers together (policies/vtc.h) ---- */

/*
 * A request of `user` is with this worker now. Returns the handle to leave with, or FG_VTC_NO_USER
 * when there is no room; *work is what the user has had.
 */
uint32_t fg_kv_arena_user_enter(struct fg_kv_arena *arena, uint32_t worker_index, uint64_t user,
                                uint64_t *work);
/* `charge`: work not yet told. FG_VTC_NO_USER is fine. */
void fg_kv_arena_user_leave(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t user,
                            uint64_t charge);

struct fg_kv_user_work {
    uint32_t user;   /* handle */
    uint64_t charge; /* in: work since the last time */
    uint64_t work;   /* out: all that the user has had */
};
/* Charges all of the list, then reads all. Once a step: a user may stand there several times. */
void fg_kv_arena_users_sync(struct fg_kv_arena *arena, uint32_t worker_index,
                            struct fg_kv_user_work *list, uint32_t count);

/*
 * Walk everything under the lock and prove it: each block is in exactly one state (free or cached
 * and in the list once, or used with as many references as tables name it), is in the index if and
 * only if it is marked, and lists are closed; gauges agree.
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
    FG_KV_POINT_BLOCK_EVICTED,  /* take: no longer marked, still in the index and the list */
    FG_KV_POINT_BLOCK_POPPED,   /* take: off the list, in no table */
    FG_KV_POINT_BLOCK_TABLED,   /* take: in the table, not yet counted */
    FG_KV_POINT_SHARED,         /* admit: in a second table, not yet counted */
    FG_KV_POINT_COPIED,         /* copy on write: data copied, the table names the old one */
    FG_KV_POINT_SWAPPED,        /* copy, claim: the table names another block, nothing counted */
    FG_KV_POINT_ADMITTED,       /* admit: blocks are held, tokens not recorded */
    FG_KV_POINT_CLAIMED,        /* claim: marked pending, not in the index */
    FG_KV_POINT_COMMITTED,      /* commit: some blocks are, some are not */
    FG_KV_POINT_ORPHANED,       /* orphan, hand over: some are nobody's, some are not yet */
    FG_KV_POINT_ADOPTING,       /* adopt: read, still nobody's */
    FG_KV_POINT_ADOPTED,        /* adopt: the new owner's, not yet counted */
    FG_KV_POINT_CLOSED,         /* close: the sequence is free, its blocks are not yet */
    FG_KV_POINT_BLOCK_RELEASED, /* trim, close: some blocks went back, some did not */
    FG_KV_POINT_USER_ENTERED,   /* counted as active, not yet in the worker's column */
    FG_KV_POINT_USER_LEFT,      /* out of the worker's column, still counted as active */
    FG_KV_POINT_REPAIR_COUNTED, /* repair: references known, lists not rebuilt */
    FG_KV_POINT_REPAIR_REBUILT, /* repair: done, mutex not yet consistent */
    FG_KV_POINT_COUNT,
    FG_KV_POINT_STEP_BEGUN, /* in no critical section: all that is in a step is marked */
    FG_KV_POINT_PREPARING,  /* in none either: what is prepared is marked */
};

/* Called at each point, with the mutex held but at the last two; tests die there. NULL, the
 * default: nothing. */
typedef void (*fg_kv_on_point_fn)(enum fg_kv_point point, void *owner);
void fg_kv_arena_set_on_point(struct fg_kv_arena *arena, fg_kv_on_point_fn on_point, void *owner);

#endif
