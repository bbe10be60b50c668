/*
 * scheduler_internal.h: the scheduler's state, shared by scheduler.c (how sequences come and go)
 * and scheduler_step.c (what one step does); nobody else includes this.
 */
#ifndef FG_INFERENCE_SCHEDULER_INTERNAL_H
#define FG_INFERENCE_SCHEDULER_INTERNAL_H

#include "base/list.h"
#include "inference/scheduler/scheduler.h"
#include "inference/scheduler/stop_match.h"

enum fg_sequence_state {
    FG_SEQUENCE_FREE,
    FG_SEQUENCE_PREPARING, /* a helper makes its tokens */
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
    uint32_t priority;
    bool is_resumed;
    bool ignore_end;
    uint64_t arrival; /* counts up */
    uint64_t deadline_ns;
    uint32_t max_tokens;
    struct fg_sampling sampling;

    /* state */
    enum fg_sequence_state state;
    struct fg_token_list prompt; /* with resumed tokens behind; freed after prefill */
    uint32_t prompt_count;       /* without resumed ones */
    uint32_t blocks_needed;
    uint32_t computed;  /* positions whose keys and values are in the arena */
    uint32_t generated; /* tokens, counting resumed ones */
    uint32_t last_token;
    struct fg_detokenizer detok;
    struct fg_stop_match stop;

    /* times, monotonic; 0: not yet */
    uint64_t submitted_ns;
    uint64_t scheduled_ns;
    uint64_t first_token_ns;
    uint64_t last_token_ns;
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
    uint32_t table_max;
    uint32_t step_tokens_max;
    uint32_t prefill_chunk;
    uint32_t batch_max;
    uint32_t waiting_max;
    uint64_t wait_max_ns;
    uint64_t lease_ns;

    /* state */
    bool is_draining;
    uint64_t arrivals;
    uint64_t finished;
    struct fg_list free;
    struct fg_list preparing;
    struct fg_list waiting; /* in the order of service */
    struct fg_list running; /* likewise */
    uint32_t state_counts[FG_SEQUENCE_STATE_COUNT];
    uint64_t blocks_wanted; /* by all that wait */
    struct fg_rate block_rate;
    struct fg_rate finish_rate;

    /* memory */
    struct fg_sequence *sequences; /* (sequence_count) */
    uint32_t sequence_count;
    uint32_t *batch_free; /* stack of free batch slots */
    uint32_t batch_free_count;
    uint32_t *tables;           /* (batch_max, table_max): what the executor reads */
    float *logits;              /* (batch_max, vocab_count) */
    struct fg_batch_run *runs;  /* (batch_max) */
    struct fg_sequence **owner; /* (batch_max), of each run */
    struct fg_sampler_scratch *sampler;
    char *text; /* detokenised piece */
    size_t text_bytes;
    char *out; /* piece after the stop strings */
};

/* Moves between states and keeps the counts and the worker's record. */
void fg_sequence_set_state(struct fg_scheduler *s, struct fg_sequence *seq,
                           enum fg_sequence_state next);

/* Everything the sequence holds goes back, and it is free. Calls nobody. */
void fg_sequence_release(struct fg_scheduler *s, struct fg_sequence *seq);

/* The last word, then release. */
void fg_sequence_refuse(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_refusal reason,
                        const char *message);
void fg_sequence_done(struct fg_scheduler *s, struct fg_sequence *seq, enum fg_finish finish,
                      bool flush_held);

/* What becomes of `token` in the stream's text: *len bytes at s->out; true when a stop was found.
 */
bool fg_sequence_text(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t token, size_t *len);

/* After how long another try makes sense, from what came free lately. */
uint32_t fg_scheduler_retry_after_ms(struct fg_scheduler *s, uint64_t blocks_needed);

/* Keep the rates moving, so that they hold when they are asked for. Once a step. */
void fg_scheduler_count_rates(struct fg_scheduler *s, uint64_t now_ns);

/* Insert by priority, resumed before new, then arrival. */
void fg_sequence_enqueue(struct fg_list *list, struct fg_sequence *seq);

#define FG_SEQUENCE_OF(link_ptr) FG_CONTAINER_OF(link_ptr, struct fg_sequence, link)

#endif
