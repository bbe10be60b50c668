/*
 * scheduler.h: continuous batching in one worker: which sequences the next step computes.
 * Job      admit by KV blocks, batch decodes before prompts, sample, and tell what came of each.
 * Thread   the worker's loop alone, callbacks included; the clock is passed in.
 * Never    kills an admitted sequence for memory: either all blocks that it can need are reserved
 *          before its first step, or, when it cannot grow, a sequence of less right gives its
 * blocks back and is computed again later. Never lets a prompt hold up the streams that run: a
 *          step's share of prompts is cut to what fits into step_time_max.
 * Memory   all slots, tables and logits are made at create; a prompt's tokens come with it and are
 *          bounded by the context.
 *
 *    enter --> preparing --submit--> waiting --blocks--> prefill --> decode --> done
 *                  |  `--adopt-->       ^  `-- refused       |         |
 *                  |                    `----- preempted ----+---------+--> handed over
 *                  `-- refused                                  cancel: gone, no word
 *
 * Order    adopted ones, then by class (waiting long counts as a higher one), resumed ones, the
 *          user who had clearly less (policies/vtc.h), the lot (policies/priority.h; it gets better
 *          with the share of its time that a request has waited), least work, deadline, arrival.
 *          Nobody overtakes the first in line when its blocks are not there: a large request is not
 *          starved by small ones. In a full queue a better number takes the last one's place.
 */
#ifndef FG_INFERENCE_SCHEDULER_H
#define FG_INFERENCE_SCHEDULER_H

#include "inference/inference_conf.h"
#include "inference/kv/kv_arena_shared.h"
#include "inference/model/executor.h"
#include "inference/tokenizer/tokenizer.h"
#include "inference/worker/channel.h"

struct fg_scheduler;

/* Whose request it is. Connection keys are never used again. */
struct fg_scheduler_key {
    uint64_t connection;
    uint64_t request_id;
};

/* A place taken by enter; stale once the sequence has ended. */
struct fg_scheduler_ticket {
    uint32_t slot;
    uint32_t generation;
};

/* What a refusal compared with what; both 0: nothing. */
struct fg_scheduler_figures {
    uint64_t value;
    uint64_t limit;
};

/* What happens to a request. Called from within the calls below; they must not call back in. */
struct fg_scheduler_events {
    void (*on_token)(const struct fg_scheduler_key *key, const struct fg_channel_token *token,
                     void *owner);
    void (*on_done)(const struct fg_scheduler_key *key, const struct fg_channel_done *done,
                    void *owner);
    void (*on_refused)(const struct fg_scheduler_key *key, const struct fg_channel_refused *refused,
                       void *owner);
    /* Its prompt is being computed from now on; once a worker. */
    void (*on_begun)(const struct fg_scheduler_key *key, uint32_t prompt_tokens, void *owner);
    void *owner;
};

struct fg_scheduler_options {
    const struct fg_inference_conf *conf; /* limits; read at create only */
    uint32_t context_max;                 /* prompt + max_tokens of one request */
    uint32_t vocab_count;
    uint32_t width; /* of the model's states, for embeddings */
    uint32_t worker_index;
    bool hands_over_after_prefill; /* the worker's role: others decode */
    struct fg_kv_arena *arena;     /* these three outlive the scheduler */
    struct fg_executor *executor;  /* its batch_tokens_max is at least conf->step_tokens_max */
    const struct fg_tokenizer *tokenizer;
    struct fg_scheduler_events events;
    uint64_t (*clock_ns)(void); /* NULL: fg_clock_monotonic_ns */
};

enum fg_status fg_scheduler_create(struct fg_scheduler **out,
                                   const struct fg_scheduler_options *options,
                                   struct fg_error *error);
/* Sequences that are still there end without a word; their blocks go back. NULL is fine. */
void fg_scheduler_destroy(struct fg_scheduler *scheduler);

/*
 * Take a place for a request whose prompt is still being made into tokens. Of `submit` only the
 * numbers and stops are read (stops are copied). FG_ERR_BUSY: on_refused has been called.
 * FG_ERR_INVALID: the key is in use; nothing was called.
 *
 * With choice_count above 1 so many requests enter, under the key and those that follow it; the
 * ticket is that of the first, and its prompt is the prompt of all. Those for which there is no
 * place are refused by themselves; when the first one is, all are.
 */
FG_MUST_USE enum fg_status fg_scheduler_enter(struct fg_scheduler *scheduler,
                                              const struct fg_scheduler_key *key,
                                              const struct fg_channel_submit *submit,
                                              struct fg_scheduler_ticket *out);

/* Whether the ticket's request is still wanted. */
bool fg_scheduler_is_wanted(const struct fg_scheduler *scheduler,
                            struct fg_scheduler_ticket ticket);

/*
 * Go on with what the request's last worker left in the arena, with the tokens that the gateway has
 * (resumed_count, unaligned little-endian u32); what it has not is sent again. FG_OK: it goes on,
 * no prompt is needed; or workers died with it, and it is refused. FG_ERR_BUSY: the last worker is
 * not known to be gone; ask again soon. FG_ERR_NOT_FOUND: nothing is left, make the prompt and
 * submit. A request that has gone is FG_OK.
 */
FG_MUST_USE enum fg_status fg_scheduler_adopt(struct fg_scheduler *scheduler,
                                              struct fg_scheduler_ticket ticket,
                                              const unsigned char *resumed, uint32_t resumed_count);

/*
 * The prompt is ready: takes the list's memory and leaves it empty. `resumed` (resumed_count,
 * unaligned little-endian u32) follows it as tokens that were generated before. A request that
 * has gone since is fine.
 */
void fg_scheduler_submit(struct fg_scheduler *scheduler, struct fg_scheduler_ticket ticket,
                         struct fg_token_list *prompt, const unsigned char *resumed,
                         uint32_t resumed_count);

/* The prompt could not be made; `message` is one sentence for the client. */
void fg_scheduler_reject(struct fg_scheduler *scheduler, struct fg_scheduler_ticket ticket,
                         enum fg_refusal reason, struct fg_scheduler_figures figures,
                         const char *message);

/* A request that has not entered is not to: says so to its owner. */
void fg_scheduler_turn_away(struct fg_scheduler *scheduler, const struct fg_scheduler_key *key,
                            enum fg_refusal reason, struct fg_scheduler_figures figures,
                            const char *message);

/* Whether there is something to be computed alone: for its step to tell anything, nothing else may
 * go on in the worker. */
bool fg_scheduler_has_suspects(const struct fg_scheduler *scheduler);

/* Blocks go back before it returns; nothing is called. Unknown keys are fine. */
void fg_scheduler_cancel(struct fg_scheduler *scheduler, const struct fg_scheduler_key *key);
void fg_scheduler_cancel_connection(struct fg_scheduler *scheduler, uint64_t connection);

/*
 * Refuse (DRAINING) what waits and whatever enters from now on. What runs is handed over to other
 * workers; only what nobody could find again goes on here.
 */
void fg_scheduler_drain(struct fg_scheduler *scheduler);
/* The end of a drain: refuse what still runs, too, for another worker to go on with. */
void fg_scheduler_evict(struct fg_scheduler *scheduler);

/*
 * Refuse what waited too long, admit, and run one batch if there is one. True when a batch ran and
 * the caller should call again after a look at its sockets.
 */
bool fg_scheduler_step(struct fg_scheduler *scheduler);

/* When step should be called next although nothing came in; UINT64_MAX: not before something does.
 */
uint64_t fg_scheduler_wake_ns(const struct fg_scheduler *scheduler);

uint32_t fg_scheduler_waiting(const struct fg_scheduler *scheduler); /* preparing ones included */
uint32_t fg_scheduler_running(const struct fg_scheduler *scheduler);

#endif
