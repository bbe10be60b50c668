/*
 * inference_internal.h: what the files of this folder share: the backend, its part on one event
 * loop, and one request in it.
 *
 *    inference_backend.c  create, open, route by path       generation.c       one request's life
 *    generation_parse.c   body to request, maybe elsewhere  placement.c        which worker, and
 * when channel_link.c        frames to and from a worker       inference_stats.c  numbers for
 * others
 */
#ifndef FG_INFERENCE_INTERNAL_H
#define FG_INFERENCE_INTERNAL_H

#include "backends/backend.h"
#include "completion_answer.h"
#include "completion_request.h"
#include "inference/inference_conf.h"
#include "inference_metrics_shared.h"
#include "request_table.h"
#include "channel_link.h"
#include "policies/siphash.h"

struct fg_kv_arena;

struct fg_inference {
    struct fg_backend base;        /* first */
    struct fg_inference_conf conf; /* its strings are not used; see below */
    struct fg_completion_limits limits;
    char *name;
    char *model_name;
    char **worker_paths;       /* (conf.worker_count) */
    struct fg_kv_arena *arena; /* may be NULL */
    uint64_t created_s;
    uint64_t worker_wait_ns;                    /* longest wait of a request for a worker */
    uint64_t hash_seed;                         /* of answer ids */
    struct fg_siphash_key tenant_key;           /* the arena's, so that all gateways agree */
    struct fg_inference_worker_gauges *workers; /* (conf.worker_count) */
    struct fg_inference_metrics_list metrics;
};

/* Outlives the loop's state while a helper still works for it. Only the loop touches it. */
struct fg_inference_anchor {
    struct fg_inference_thread *thread; /* NULL once closed */
    uint32_t references;
};

struct fg_inference_thread {
    struct fg_backend_thread base; /* first */
    struct fg_inference *backend;
    const struct fg_backend_env *env;
    struct fg_inference_metrics *metrics;
    struct fg_inference_anchor *anchor;
    struct fg_request_table *table;
    struct fg_channel_link *links; /* (conf.worker_count) */
    uint32_t next_worker;          /* where the search for the least loaded begins */
    uint64_t ids_used;

    /* requests that no worker could take yet */
    struct fg_list waiting;
    struct event *wait_timer;
    uint64_t wait_timer_ns; /* when it fires; UINT64_MAX: not set */

    /* scratch, used within one call */
    struct fg_channel_submit submit;
    char *chunk;
    size_t chunk_bytes;
};

enum fg_generation_state {
    FG_GENERATION_READING,  /* the body */
    FG_GENERATION_PARSING,  /* on a helper thread */
    FG_GENERATION_OPEN,     /* its choices are with workers, or wait for one */
    FG_GENERATION_FLUSHING, /* the workers are done, the client has not taken everything */
    FG_GENERATION_ENDED,
    FG_GENERATION_STATE_COUNT,
};

enum fg_choice_state {
    FG_CHOICE_IDLE,    /* not yet, or no more */
    FG_CHOICE_WAITING, /* for a worker */
    FG_CHOICE_RUNNING, /* a worker has it */
};

/*
 * One sequence of a request: several at the same time where it asks for several choices, or for
 * the embeddings of several texts, of which it has one after the other. It may change workers
 * without the others.
 */
struct fg_choice {
    struct fg_generation *gen;
    uint32_t index;
    uint32_t text_index; /* of an embedding: the text that it has now */
    bool has_begun;      /* a worker has begun to read its prompt, or that text */
    uint64_t id;         /* of the current submission; a further one gets a new id; 0: none */

    /* links */
    struct fg_list in_list;       /* of the worker's link, or thread->waiting */
    struct fg_channel_link *link; /* while running */

    /* state */
    enum fg_choice_state state;
    uint32_t submissions;   /* to workers; a further one may find what the last one left */
    uint64_t last_token_ns; /* valid once token_count > 0 */
    uint64_t wait_until_ns; /* while waiting: give up then */
    uint64_t not_before_ns; /* while waiting: a worker asked for a pause */

    /* what was generated: (request.max_tokens) little-endian u32, token_count valid */
    unsigned char *tokens;
    uint32_t token_count;
};

/* One request. In the exchange's arena, so `ended` is the last thing done before the exchange is.
 */
struct fg_generation {
    /* identity */
    struct fg_exchange *ex;
    struct fg_inference_thread *thread;

    /* the request */
    enum fg_completion_kind kind;
    struct fg_span body;
    struct fg_completion_request request;

    /* state */
    enum fg_generation_state state;
    bool is_head_sent;
    bool is_blocked;     /* until on_writable */
    bool is_capped;      /* overload allows it fewer tokens than it asked for */
    uint64_t stream_key; /* by which its choices are found in the arena, two apart; random */
    uint64_t admitted_ns;

    struct fg_choice first;
    struct fg_choice *others; /* (choice_count - 1) */
    uint32_t choice_count;    /* that run at the same time */
    uint32_t next_text;       /* of embeddings: the first that nobody has yet */
    struct fg_completion_answer answer;
};

static inline struct fg_choice *fg_generation_choice(struct fg_generation *gen, uint32_t index)
{
    return index == 0 ? &gen->first : &gen->others[index - 1];
}

/* --- generation.c; `gen` or `ex` may be gone after any of these --- */
void fg_generation_start(struct fg_inference_thread *thread, struct fg_exchange *ex,
                         enum fg_completion_kind kind);
void fg_generation_on_body(struct fg_generation *gen, struct fg_span body); /* the whole one */
/* How long a body may be that is still to come. */
uint64_t fg_generation_body_max(const struct fg_inference *backend, const struct fg_exchange *ex);
void fg_generation_on_writable(struct fg_generation *gen);
void fg_generation_cancel(struct fg_generation *gen);
/* gen->request is filled in. */
void fg_generation_admit(struct fg_generation *gen);
/* A message of the worker that has the choice. False: the worker broke the protocol. */
bool fg_generation_on_frame(struct fg_choice *choice, const struct fg_channel_header *header,
                            struct fg_span payload);
/* Moves the state by a table. */
void fg_generation_set_state(struct fg_generation *gen, enum fg_generation_state next);
uint64_t fg_generation_next_id(struct fg_inference_thread *thread);

/* Ways to end with an error; `message` may be cut. Once the head is out, refuse becomes fail. */
struct fg_generation_refusal {
    unsigned reason;                /* enum fg_refusal or enum fg_inference_refused */
    struct fg_backend_refusal says; /* but for the message */
};
void fg_generation_refuse(struct fg_generation *gen, const struct fg_generation_refusal *refusal,
                          const char *message);
void fg_generation_fail(struct fg_generation *gen, enum fg_failure failure, const char *detail);

/* --- generation_parse.c --- */
/* Parse the collected body, here or on a helper, and admit or refuse. */
void fg_generation_parse(struct fg_generation *gen);
void fg_inference_anchor_release(struct fg_inference_anchor *anchor);

/* --- placement.c --- */
extern const struct fg_channel_link_events fg_placement_events;
/*
 * Give it to a worker now, or let it wait for one until choice->wait_until_ns. The first submission
 * of a request's first choice takes all the others along, to one worker, which shares their prompt;
 * embeddings go each by itself.
 */
void fg_placement_place(struct fg_choice *choice);
/* Take it off its worker or out of the waiting list; it is idle then. */
void fg_placement_remove(struct fg_choice *choice);
/* Try all that wait again; end those whose time is up. */
void fg_placement_retry(struct fg_inference_thread *thread);
/* How long a request may wait for a worker, from now. */
uint64_t fg_placement_wait_until(const struct fg_inference_thread *thread, uint64_t now_ns);
/* Whether its SUBMIT, with all tokens it may have, goes through the channel and a link's buffer. */
bool fg_placement_fits(struct fg_generation *gen);

/* --- inference_stats.c --- */
void fg_inference_stats(struct fg_backend *backend, json_t *into);

#endif
