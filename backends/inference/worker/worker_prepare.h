/*
 * worker_prepare.h: a request's text to prompt tokens, on a helper thread.
 * Job      keep a copy of the SUBMIT's bytes, encode them, bring the tokens back to the loop; or,
 *          when a dead worker left the request's tokens in the arena, do without.
 * Thread   create, adopt, submit and on_ready on the worker's loop; the encoding on a helper.
 * Never    stops the loop for a megabyte of text: running streams go on meanwhile.
 * Memory   the copy, and tokens up to the context; the owner bounds the sum of the copies.
 */
#ifndef FG_INFERENCE_WORKER_PREPARE_H
#define FG_INFERENCE_WORKER_PREPARE_H

#include "base/helper_pool_shared.h"
#include "base/list.h"
#include "inference/scheduler/scheduler.h"
#include "inference/worker/worker_model.h"

struct fg_kv_arena;
struct fg_worker_prepare;

/* On the loop, when the tokens are there or could not be made; takes the object back. */
typedef void (*fg_worker_prepare_fn)(struct fg_worker_prepare *prepare, void *owner);

struct fg_worker_prepare {
    struct fg_helper_job job; /* first: the helper hands back this pointer */
    struct fg_list link;      /* of the owner's, while the job is out */
    const struct fg_worker_model *model;
    struct fg_kv_arena *arena; /* where it is marked while a helper has it */
    uint32_t worker_index;
    uint64_t stream_key;
    struct fg_scheduler_ticket ticket;
    fg_worker_prepare_fn on_ready;
    void *owner;
    bool is_alone;           /* the owner's: to be run on the loop */
    uint64_t adopt_until_ns; /* the owner's: how long to ask for what its last worker left */

    /* results */
    bool is_refused;
    enum fg_refusal reason;
    const char *message;
    struct fg_token_list prompt;
    const unsigned char *resumed; /* into payload */
    uint32_t resumed_count;

    size_t payload_bytes;
    char payload[];
};

/*
 * Copies a payload that fg_channel_read_submit accepted. NULL when memory is short. The owner sets
 * arena, worker_index and stream_key.
 */
struct fg_worker_prepare *fg_worker_prepare_create(const struct fg_worker_model *model,
                                                   struct fg_scheduler_ticket ticket,
                                                   struct fg_span payload,
                                                   fg_worker_prepare_fn on_ready, void *owner);
/* Not while the job is out. */
void fg_worker_prepare_destroy(struct fg_worker_prepare *prepare);

/* As fg_scheduler_adopt, with what the SUBMIT says. On the loop, before submit. */
FG_MUST_USE enum fg_status fg_worker_prepare_adopt(const struct fg_worker_prepare *prepare,
                                                   struct fg_scheduler *scheduler);

/* What a helper does, here and now, without a mark; the results are there when it returns. */
void fg_worker_prepare_run(struct fg_worker_prepare *prepare);

/* FG_ERR_BUSY when the helpers have too much to do. */
FG_MUST_USE enum fg_status fg_worker_prepare_submit(struct fg_worker_prepare *prepare,
                                                    struct fg_helper_pool *helpers,
                                                    struct fg_mailbox *mailbox);

#endif
