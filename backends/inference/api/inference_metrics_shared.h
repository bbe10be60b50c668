/*
 * inference_metrics_shared.h: what the event loops count about inference, and where others read it.
 * Protocol  a loop makes its own block, fills it, then publishes it with a release; readers walk
 *           the list with acquire. Blocks are never unlinked before destroy, so that totals survive
 *           a loop. In a block the loop that owns it writes, everyone reads (counters_shared.h).
 *           The gauges of a worker are written by all loops, with atomic adds.
 * Memory   one block a loop, one set of gauges a worker.
 */
#ifndef FG_INFERENCE_METRICS_SHARED_H
#define FG_INFERENCE_METRICS_SHARED_H

#include "base/counters_shared.h"
#include "base/histogram_shared.h"
#include "inference/worker/channel.h"

#define FG_INFERENCE_RATE_SLOTS 8u
#define FG_INFERENCE_RATE_SECONDS 3u

/* Why a request was not served: the worker's reasons, then the gateway's own. */
enum fg_inference_refused {
    FG_INFERENCE_REFUSED_INVALID = FG_REFUSAL_COUNT, /* 4xx: the request itself */
    FG_INFERENCE_REFUSED_BUSY,                       /* a limit of this gateway's */
    FG_INFERENCE_REFUSED_NO_WORKER,                  /* none was ready in time */
    FG_INFERENCE_REFUSED_COUNT,
};

/* Of one worker, over all loops. */
struct fg_inference_worker_gauges {
    struct fg_counter connections; /* loops that have it ready */
    struct fg_counter outstanding; /* requests it has */
    struct fg_counter lost;        /* connections lost while ready, one per loop and death */
    struct fg_counter pid;
    struct fg_counter context_max;
};

/* Of one loop. */
struct fg_inference_metrics {
    struct fg_inference_metrics *next;
    struct fg_counter started;
    struct fg_counter completed;
    struct fg_counter cancelled;
    struct fg_counter failed;
    struct fg_counter refused[FG_INFERENCE_REFUSED_COUNT];
    struct fg_counter resubmitted;
    struct fg_counter moved; /* from a prefill worker to one that decodes */
    struct fg_counter running;
    struct fg_counter waiting;   /* for a worker */
    struct fg_counter turns_cut; /* tokens waited, for the others' sake */
    struct fg_counter prompt_tokens;
    struct fg_counter completion_tokens;
    struct fg_histogram ttft;                        /* ns, submitted to first token */
    struct fg_histogram tpot;                        /* ns, from a token to the next */
    struct fg_counter rate[FG_INFERENCE_RATE_SLOTS]; /* second << 32 | tokens in it */
};

/* All loops' blocks; zeroed is empty. */
struct fg_inference_metrics_list {
    _Atomic(struct fg_inference_metrics *) first;
};

/* A block for the calling loop, in the list; NULL when there is no memory. Owned by the list. */
struct fg_inference_metrics *fg_inference_metrics_add(struct fg_inference_metrics_list *list);

/* The first block; go on with ->next. Any thread. */
struct fg_inference_metrics *fg_inference_metrics_first(struct fg_inference_metrics_list *list);

/* When no other thread uses it any more. */
void fg_inference_metrics_fini(struct fg_inference_metrics_list *list);

/* One token was generated at `now_ns`; only the loop that owns the block. */
void fg_inference_metrics_token(struct fg_inference_metrics *metrics, uint64_t now_ns);

/* Tokens in the last FG_INFERENCE_RATE_SECONDS whole seconds before `now_ns`. Any thread. */
uint64_t fg_inference_metrics_recent(const struct fg_inference_metrics *metrics, uint64_t now_ns);

#endif
