/*
 * backend_model.h: a backend that is only imagined: slots with a queue of its own, or a language
 * model whose sequences share a batch and a KV cache; slow, failing, shrunk or grown at times.
 * Thread   one owner, in virtual time.
 * Memory   jobs are embedded in the caller's requests; the model keeps an array as long as its
 *          batch.
 *
 *    start() -> pending (FIFO) -> served -> [latency] -> on_done(job, outcome)
 *    abandon(): an orphan; worked out all the same, or let go at once, as the scenario says
 */
#ifndef FG_REHEARSE_BACKEND_MODEL_H
#define FG_REHEARSE_BACKEND_MODEL_H

#include "rehearse/chance.h"
#include "rehearse/event_heap.h"
#include "rehearse/scenario.h"

enum fg_job_state {
    FG_JOB_IDLE,
    FG_JOB_PENDING,
    FG_JOB_SERVED,
    FG_JOB_ON_THE_WAY, /* served, its answer travels */
    FG_JOB_STOPPED,    /* let go while served; its event is still to come */
};

struct fg_job {
    struct fg_job *next; /* of the pending */
    struct fg_job *prev;
    uint32_t index; /* the caller's, for the events */
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    enum fg_job_state state;
    bool is_orphan;
    /* of a sequence, in the work that each of the batch has got so far */
    double begins_at;
    double ends_at;
    uint64_t served_ns; /* when it began */
};

enum fg_job_outcome {
    FG_JOB_ANSWERED,
    FG_JOB_ERROR,    /* the scenario's error_status */
    FG_JOB_DISOWNED, /* worked out, or let go, and nobody waits: only the memory is to be freed */
};

struct fg_backend_model;

/* `head_ns` is when the answer began. The job is the caller's again. */
typedef void (*fg_job_done_fn)(void *object, struct fg_job *job, enum fg_job_outcome outcome,
                               uint64_t now_ns, uint64_t head_ns);

/* Event kinds that the model adds, given by the caller. */
struct fg_backend_events {
    uint32_t served;   /* index: the job's */
    uint32_t answered; /* index: the job's */
    uint32_t turn;     /* index: the backend's; a batch moves on */
    uint32_t fault;    /* index: the backend's */
};

struct fg_backend_model {
    const struct fg_scenario_backend *conf;
    struct fg_event_heap *heap;
    struct fg_backend_events events;
    fg_job_done_fn on_done;
    void *object;
    struct fg_chance chance;
    /* as the faults of the moment leave it */
    uint32_t slots;
    double speed; /* 1 on a good day */
    uint32_t errors_permille;
    bool is_reachable;
    /* work */
    uint32_t busy; /* slots in use */
    struct fg_job *oldest;
    struct fg_job *newest;
    uint32_t pending;
    /* the batch of a language model */
    struct fg_job **batch;
    double work_each; /* tokens that each running sequence has got since the start */
    uint64_t work_ns; /* when that was */
    uint64_t turn_ns; /* the event that counts; others are stale */
    /* counters */
    uint64_t wasted_total;
    uint64_t preempted_total;
};

/* False without memory. `index` is the backend's, for its events. */
bool fg_backend_model_init(struct fg_backend_model *model, const struct fg_scenario_backend *conf,
                           struct fg_event_heap *heap, const struct fg_backend_events *events,
                           uint64_t seed, fg_job_done_fn on_done, void *object);
void fg_backend_model_fini(struct fg_backend_model *model);

enum fg_job_start { FG_JOB_TAKEN, FG_JOB_UNREACHABLE, FG_JOB_BUSY };

/* TAKEN: `job` (index and tokens set) belongs to the model until on_done, never inside the call. */
enum fg_job_start fg_backend_model_start(struct fg_backend_model *model, struct fg_job *job,
                                         uint64_t now_ns);

/* Nobody waits for the job any more; on_done(DISOWNED) follows, maybe inside the call. */
void fg_backend_model_abandon(struct fg_backend_model *model, struct fg_job *job, uint64_t now_ns);

/* Could it answer one more request now, and how long would that take? */
bool fg_backend_model_would_answer(const struct fg_backend_model *model, uint64_t *answer_ns);

/* Tokens of the KV cache that sequences hold, with what is kept for them. */
uint64_t fg_backend_model_kv_used(struct fg_backend_model *model, uint64_t now_ns);

/* The events of its kinds. */
void fg_backend_model_on_served(struct fg_backend_model *model, struct fg_job *job,
                                uint64_t now_ns);
void fg_backend_model_on_answered(struct fg_backend_model *model, struct fg_job *job,
                                  uint64_t now_ns);
void fg_backend_model_on_turn(struct fg_backend_model *model, uint64_t now_ns);
void fg_backend_model_on_fault(struct fg_backend_model *model, uint64_t now_ns);

#endif
