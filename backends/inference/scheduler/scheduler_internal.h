/*
 * scheduler_internal.h: the scheduler's state, shared by its files; nobody else includes this.
 *
 *    scheduler.c          how sequences come and go    scheduler_predict.c  how long one will take
 *    scheduler_admit.c    who runs, who makes room     scheduler_adopt.c    from and to others
 *    scheduler_batch.c    what a step computes       scheduler_step.c     what one step does
 */
#ifndef FG_INFERENCE_SCHEDULER_INTERNAL_H
#define FG_INFERENCE_SCHEDULER_INTERNAL_H

#include "base/list.h"
#include "inference/scheduler/scheduler.h"
#include "inference/scheduler/logprobs.h"
#include "inference/scheduler/step_bound.h"
#include "inference/scheduler/step_cost.h"
#include "inference/scheduler/stop_match.h"
#include "inference/scheduler/token_rules.h"
#include "policies/blame.h"
#include "policies/priority.h"
#include "policies/vtc.h"

enum fg_sequence_state {
    FG_SEQUENCE_FREE,
    FG_SEQUENCE_PREPARING, /* a helper makes its tokens, or its last owner is not yet gone */
    FG_SEQUENCE_WAITING,   /* for blocks and a place in the batch */
    FG_SEQUENCE_PREFILL,
    FG_SEQUENCE_DECODE,
    FG_SEQUENCE_STATE_COUNT,
};

struct fg_sequence {
    /* identity */
    struct fg_scheduler_key key;
    uint32_t slot;
    uint32_t generation;

    /* links */
    struct fg_list link; /* in free, preparing, waiting or running */
    struct fg_kv_sequence_id kv;
    bool has_kv;
    uint32_t batch_slot; /* of its table and logits; valid in prefill and decode */

    /* what was asked for */
    uint32_t number; /* class and lot (policies/priority.h); smaller goes first */
    uint32_t right;  /* the same, or better after a wait; frozen when its turn comes */
    bool is_resumed; /* has had a turn before: goes first within its priority */
    bool ignore_end;
    uint64_t arrival; /* counts up */
    uint64_t deadline_ns;
    uint64_t stream_key;
    uint64_t salt;         /* of its blocks' hashes: who may share them */
    uint64_t group;        /* the same for all choices of a request; 0: it is alone */
    bool is_promised;      /* one of its group has begun: memory is kept for it */
    struct fg_blame blame; /* of workers that died with it; a suspect is computed alone */
    uint32_t max_tokens;
    struct fg_sampling sampling;
    struct fg_token_rules *rules; /* NULL: none */
    enum fg_task task;
    uint32_t user;   /* handle of its user's counter */
    uint64_t work;   /* that the user has had, of all workers, when last looked at */
    uint64_t charge; /* work done since, not told yet */

    /* state */
    enum fg_sequence_state state;
    struct fg_token_list tokens; /* prompt, then what was generated; room for max_tokens */
    float *pooled;               /* (width) embeddings: the sum so far */
    struct fg_kv_hash *hashes;   /* of the first full blocks; room for all there can be */
    uint32_t hash_count;
    uint32_t prompt_count;  /* without what was generated */
    uint32_t blocks_needed; /* at its longest */
    uint32_t block_count;   /* held */
    uint32_t computed;      /* positions whose keys and values are in the arena */
    uint32_t cached;        /* of the prompt, that cost nothing */
    uint32_t generated;     /* tokens, counting resumed ones */
    uint32_t preemptions;
    struct fg_detokenizer detok;
    struct fg_stop_match stop;

    /* times, monotonic; 0: not yet */
    uint64_t submitted_ns;
    uint64_t scheduled_ns;
    uint64_t first_token_ns;
    uint64_t last_token_ns;
    uint64_t predicted_ns; /* from submitted to first token */
};

/* How fast something happens, as a moving average over windows; for Retry-After. */
struct fg_rate {
    uint64_t window_start_ns;
    uint64_t total_at_start;
    double per_s;
};

struct fg_scheduler {
    /* configuration */
    struct fg_scheduler_events events;
    struct fg_kv_arena *arena;
    struct fg_kv_worker_record *record;
    struct fg_executor *executor;
    const struct fg_tokenizer *tokenizer;
    uint64_t (*clock_ns)(void);
    uint32_t worker_index;
    uint32_t context_max;
    uint32_t vocab_count;
    uint32_t width;
    uint32_t table_max;
    uint32_t step_tokens_max;
    uint32_t thread_count; /* that compute a step */
    uint32_t prefill_chunk;
    uint32_t prefill_long; /* a prompt with more to compute gets its turn after others */
    uint64_t step_ns;      /* how long a step should take at most */
    uint32_t batch_max;
    uint32_t waiting_max;
    uint64_t wait_max_ns;
    uint64_t orphan_ns; /* how long a sequence that was handed over waits */
    bool shares_prefixes;
    bool reserves_all;
    bool hands_over_after_prefill;

    /* state */
    bool is_draining;
    bool is_stalled; /* all that run wait for what another computes */
    uint64_t arrivals;
    uint64_t finished;
    struct fg_list free;
    struct fg_list preparing;
    struct fg_list waiting; /* as they came; next_waiting() knows whose turn it is */
    struct fg_list running; /* in the order of service */
    uint32_t state_counts[FG_SEQUENCE_STATE_COUNT];
    uint64_t blocks_wanted; /* by all that wait */
    struct fg_step_cost cost;
    struct fg_step_bound bound; /* of processor time a beat: the supervisor knows a hang by it */
    double answer_tokens;       /* of an answer, on average; 0: none has ended */
    double pace_ns;             /* between two tokens of a stream, lately; 0: none runs */
    uint64_t paced_ns; /* when the last step with decodes ended; 0: none since nothing ran */
    struct fg_rate block_rate;
    struct fg_rate finish_rate;

    /* memory */
    struct fg_sequence *sequences; /* (sequence_count) */
    uint32_t sequence_count;
    uint32_t *batch_free; /* stack of free batch slots */
    uint32_t batch_free_count;
    uint32_t *tables;              /* (batch_max, table_max): what the executor reads */
    float *logits;                 /* (batch_max, vocab_count) */
    struct fg_batch_run *runs;     /* (batch_max) */
    struct fg_sequence **owner;    /* (batch_max), of each run */
    struct fg_kv_step_part *parts; /* (batch_max), used within one call */
    struct fg_kv_user_work *works; /* (sequence_count), used within one call */
    uint32_t *adopted_tokens;      /* (table_max * FG_KV_BLOCK_TOKENS), used within one call */
    uint32_t *adopted_blocks;      /* (table_max) */
    struct fg_sampler_scratch *sampler;
    struct fg_token_marks marks;
    float *raw_logits; /* (vocab_count) of the row being sampled, where logprobs are asked for */
    char *text;        /* detokenised piece */
    size_t text_bytes;
    char *out; /* piece after the stop strings */
};

/* Moves between states and keeps the counts and the worker's record. */
void fg_sequence_set_state(struct fg_scheduler *s, struct fg_sequence *seq,
                           enum fg_sequence_state next);

/* Everything the sequence holds goes back, and it is free. Calls nobody. */
void fg_sequence_release(struct fg_scheduler *s, struct fg_sequence *seq);

/* The last word about a request that has no sequence. retry_after_ms 0: no use, or to be worked out
 * from what came free lately. */
/* `refused` but for the time to come again, where that is computed. */
void fg_scheduler_say_refused(struct fg_scheduler *s, const struct fg_scheduler_key *key,
                              const struct fg_channel_refused *refused, uint64_t blocks_needed);
/* How many wait, and may. */
struct fg_scheduler_figures fg_scheduler_queue_figures(const struct fg_scheduler *s);

/* The last word, then release. */
void fg_sequence_refuse(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_refusal reason,
                        const char *message);
void fg_sequence_refuse_with(struct fg_scheduler *s, struct fg_sequence *seq,
                             enum fg_refusal reason, struct fg_scheduler_figures figures,
                             const char *message);
/* How much too late an answer would come. */
struct fg_lateness {
    uint64_t needed_ms;
    uint64_t left_ms;
    uint32_t retry_after_ms;
};
void fg_sequence_refuse_late(struct fg_scheduler *s, struct fg_sequence *seq,
                             const struct fg_lateness *lateness);
void fg_sequence_done(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_finish finish,
                      bool flush_held);

/* What becomes of `token` in the stream's text: *len bytes at s->out; true when a stop was found.
 */
bool fg_sequence_text(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t token, size_t *len);

/* After how long another try makes sense, from what came free lately. */
uint32_t fg_scheduler_retry_after_ms(struct fg_scheduler *s, uint64_t blocks_needed);

/* Tell what was done for each user here, and learn what others did. Once a step, or more. */
void fg_scheduler_sync_work(struct fg_scheduler *s);

/* Keep the rates moving, so that they hold when they are asked for. Once a step. */
void fg_scheduler_count_rates(struct fg_scheduler *s, uint64_t now_ns);

/* Into the list of those that run, by right, resumed before new, then deadline, arrival. */
void fg_sequence_enqueue(struct fg_list *list, struct fg_sequence *seq);

static inline uint32_t fg_sequence_count(const struct fg_sequence *seq)
{
    return (uint32_t)seq->tokens.count;
}

static inline uint32_t fg_blocks_for(uint64_t tokens)
{
    return (uint32_t)((tokens + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS);
}

/* Whether it has had a turn: then it was let in, and waits for as long as it takes. */
static inline bool fg_sequence_was_admitted(const struct fg_sequence *seq)
{
    return seq->scheduled_ns != 0 || seq->is_resumed || seq->is_promised;
}

static inline uint32_t fg_class_of_right(uint32_t right)
{
    return (uint32_t)fg_priority_class_of(right);
}

static inline uint64_t fg_sequence_deadline(const struct fg_sequence *seq)
{
    return seq->deadline_ns != 0 ? seq->deadline_ns : UINT64_MAX;
}

static inline uint64_t fg_saturating_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Half an embedding is of no use to another worker. */
static inline bool fg_sequence_is_resumable(const struct fg_sequence *seq)
{
    return seq->stream_key != 0 && seq->task == FG_TASK_GENERATE;
}

/* Little-endian, unaligned, as in a message. */
static inline uint32_t fg_read_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint32_t *fg_sequence_table(const struct fg_scheduler *s,
                                          const struct fg_sequence *seq)
{
    return s->tables + (size_t)seq->batch_slot * s->table_max;
}

/* The ticket's sequence while it is wanted, or NULL. */
struct fg_sequence *fg_scheduler_find(const struct fg_scheduler *s,
                                      struct fg_scheduler_ticket ticket);

/* That request's sequence, in whatever state, or NULL. */
struct fg_sequence *fg_scheduler_find_key(const struct fg_scheduler *s,
                                          const struct fg_scheduler_key *key);

/* Into the line of those that wait, with what the arena needs to know of it. */
void fg_sequence_wait(struct fg_scheduler *s, struct fg_sequence *seq);

/* Room for all tokens and hashes that the sequence can have; false when there is no memory. */
bool fg_sequence_make_room(struct fg_sequence *seq);
/*
 * Whether it may take over what others computed. An embedding may not: the states of positions that
 * are not computed are not there to be pooled.
 */
static inline bool fg_sequence_shares(const struct fg_scheduler *s, const struct fg_sequence *seq)
{
    return (s->shares_prefixes || seq->group != 0) && seq->task == FG_TASK_GENERATE;
}

/* Hash the full blocks among the tokens known now. */
void fg_sequence_hash(const struct fg_scheduler *s, struct fg_sequence *seq);

/* A generated token. */
struct fg_sequence_token {
    uint32_t id;
    bool is_recorded;                   /* the arena has it already */
    const struct fg_logprobs *logprobs; /* NULL: none */
    float logprob;                      /* its own, with logprobs */
};

/* Into the stream, unless it ends it. False when the sequence has ended. */
bool fg_sequence_take(struct fg_scheduler *s, struct fg_sequence *seq,
                      const struct fg_sequence_token *taken, uint64_t now_ns);

/* --- scheduler_admit.c --- */
/* Whether `a`, of two that wait, is to be served before `b`. */
bool fg_sequence_goes_before(const struct fg_sequence *a, const struct fg_sequence *b);
/* Of those that wait and never had a turn, the last in line; NULL: none. */
struct fg_sequence *fg_scheduler_last_waiting(struct fg_scheduler *s);
void fg_scheduler_admit(struct fg_scheduler *s, uint64_t now_ns);
/* `seq` has just begun to wait: whom it overtook, and who cannot be in time any more, is told. */
void fg_scheduler_refuse_overtaken(struct fg_scheduler *s, const struct fg_sequence *seq);
/* A block for the token that this step will make; false when the sequence had to make room. */
bool fg_sequence_grow(struct fg_scheduler *s, struct fg_sequence *seq);
/* Gives its blocks and its place back and waits, to be computed again. */
void fg_sequence_preempt(struct fg_scheduler *s, struct fg_sequence *seq);

/* --- scheduler_batch.c --- */
/* Fills runs and owner with what the next step computes; returns how many runs. */
size_t fg_scheduler_build_batch(struct fg_scheduler *s);

/* --- scheduler_predict.c --- */
/*
 * Whether it can be served before its deadline, as far as can be told from `prompt_count` tokens of
 * which `cached` cost nothing. On false *retry_after_ms says when it could.
 */
bool fg_scheduler_can_meet(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t prompt_count,
                           uint64_t cached, uint64_t now_ns, struct fg_lateness *lateness);
/* Time from now to the first token of such a request, 0 when nothing is known yet. */
uint64_t fg_scheduler_predict_ttft(const struct fg_scheduler *s, const struct fg_sequence *seq,
                                   uint64_t prompt_count, uint64_t cached);
/* The first token has come. */
void fg_scheduler_judge_prediction(struct fg_scheduler *s, const struct fg_sequence *seq);

/* --- scheduler_adopt.c --- */
/* Lets go of it for another worker to go on with; `reason` tells the gateway why. */
void fg_sequence_hand_over(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_refusal reason,
                           const char *message);

#define FG_SEQUENCE_OF(link_ptr) FG_CONTAINER_OF(link_ptr, struct fg_sequence, link)

#endif
