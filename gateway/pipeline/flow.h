/*
 * flow.h: one request's way through the stages; internal to pipeline/.
 *
 *                 .------- a stage waits -------.
 *                 v                             |
 *    IN_STAGES ---+--> WAITING --resume--> IN_STAGES --> AT_BACKEND --> RESPONDING --> DONE
 *        |                 |                   `--- refused, cached, redirected ---^     ^
 *        `-----------------'--------------------------- the client has gone ------------'
 *
 * Thread   the request's loop.
 * Memory   the request's arena. What the arena cannot free (slot, ticket, reader, cached object) is
 *          let go in fg_flow_let_go, on every way a request can end.
 */
#ifndef FG_PIPELINE_FLOW_H
#define FG_PIPELINE_FLOW_H

#include "backends/client_owner.h"
#include "net/server_reads.h"
#include "pipeline/api_keys.h"
#include "pipeline/cache_near.h"
#include "pipeline/early_body.h"
#include "pipeline/jwt_verifier.h"
#include "pipeline/known_lots.h"
#include "pipeline/lease_client.h"
#include "pipeline/nonce_claim.h"
#include "pipeline/nonce_table_shared.h"
#include "pipeline/pipeline.h"
#include "pipeline/room_link.h"
#include "pipeline/router.h"
#include "policies/deadline_heap.h"
#include "policies/token_scan.h"

struct event;

enum fg_flow_state {
    FG_FLOW_IN_STAGES,
    FG_FLOW_WAITING,
    FG_FLOW_AT_BACKEND,
    FG_FLOW_RESPONDING,
    FG_FLOW_DONE,
    FG_FLOW_STATE_COUNT,
};

enum fg_stage_id {
    FG_STAGE_ROUTE,
    FG_STAGE_IDENTITY,
    FG_STAGE_OVERLOAD,
    FG_STAGE_WAITING_ROOM,
    FG_STAGE_RATE_LIMIT,
    FG_STAGE_BODY, /* the whole request body, where it is wanted */
    FG_STAGE_CACHE,
    FG_STAGE_ADMIT_ROUTE, /* concurrency limit and queue of the route */
    FG_STAGE_ADMIT,       /* the same of the backend */
    FG_STAGE_BREAKER,
    FG_STAGE_BACKEND,
    FG_STAGE_COUNT,
};

enum fg_stage_verdict {
    FG_STAGE_CONTINUE,
    FG_STAGE_RESPOND, /* the stage has answered, or handed over to whoever will */
    FG_STAGE_WAIT,    /* the stage will call fg_flow_resume, or answer, from its event */
};

struct fg_flow;

struct fg_stage {
    const char *name;
    enum fg_stage_verdict (*run)(struct fg_flow *flow);
    void (*cancel)(struct fg_flow *flow); /* while WAITING in it; NULL: it never waits */
};

extern const struct fg_stage fg_stage_route;
extern const struct fg_stage fg_stage_identity;
extern const struct fg_stage fg_stage_overload;
extern const struct fg_stage fg_stage_waiting_room;
extern const struct fg_stage fg_stage_rate_limit;
extern const struct fg_stage fg_stage_body;
extern const struct fg_stage fg_stage_cache;
extern const struct fg_stage fg_stage_admit_route;
extern const struct fg_stage fg_stage_admit;
extern const struct fg_stage fg_stage_breaker;
extern const struct fg_stage fg_stage_backend;

/* A hop that a backend told of, for Server-Timing. */
struct fg_backend_hop {
    const char *name;
    uint64_t duration_ns;
};
#define FG_BACKEND_HOPS_MAX 4
#define FG_FLOW_HERDS_MAX 3 /* fetches of others that one request may have waited for */
#define FG_FLOW_COPY_BYTES ((size_t)4096) /* of a body: less is cheaper copied than shared */

struct fg_cache_fetch;
struct fg_limit_charge;

/* A request has at most one slot of each, taken in this order. */
enum fg_slot_kind { FG_SLOT_ROUTE, FG_SLOT_BACKEND, FG_SLOT_COUNT };

struct fg_flow_slot {
    struct fg_gate *gate;          /* where it was asked for; NULL: not, or there is none */
    struct fg_gate_ticket *ticket; /* while it waits for it; or NULL */
    bool is_held;
    bool has_extra;    /* another one of the same gate, for a hedge */
    bool is_parked;    /* given up until the client has sent the rest of the request */
    uint64_t since_ns; /* valid while held */
};

struct fg_flow {
    /* links */
    struct fg_request *req;
    struct fg_pipeline_thread *thread;
    struct fg_deadline_node deadline;

    /* state */
    enum fg_flow_state state;
    enum fg_stage_id stage;
    bool has_deadline;
    bool is_deadline_clients; /* who asked for less time than the route gives */
    bool is_head_sent;
    bool is_answer_over;  /* ended or cut: the codec takes no more, whoever still writes */
    bool is_tunnel;       /* answered 101 */
    bool is_refused;      /* by us; `refused` says why */
    bool has_call_failed; /* the server says so of a call of gRPC, whose status is always 200 */
    enum fg_refused refused;
    enum fg_failed failed;
    const char *gone; /* why nobody could be told any more, a constant; NULL: somebody could */
    unsigned status;

    /* valid once routed */
    const struct fg_route_conf *route; /* NULL: none matched */
    struct fg_route_metrics *metrics;
    uint64_t waited_since_ns;
    enum fg_hop wait_hop; /* while WAITING: whose time that is; FG_HOP_COUNT: told already */

    /* request body before the backend */
    struct fg_early_body body;
    uint64_t body_bytes_max;    /* valid in the body stage: what its backend or the route takes */
    struct fg_list in_awaiting; /* while it waits there */
    size_t awaiting_chunks;     /* what it then adds to the thread's */
    bool is_body_complete;
    struct fg_token_scan body_scan;     /* of what came before the backend was called */
    size_t consumed_early;              /* of it, told to the codec before the backend has it */
    size_t upload_unused;               /* of what the backend got, not taken yet */
    bool is_body_accepted;              /* whole, and as it was signed */
    bool expects_digest;                /* a signature covers the body: */
    unsigned char body_digest[32];      /* its SHA-256 */
    struct fg_nonce_claim *nonce_claim; /* to be made before the request goes on; or NULL */

    struct fg_span tier; /* claim of the token; empty: none */

    /* rate limit: the tightest verdict, for the RateLimit fields */
    const struct fg_rate_table *limit_table;
    struct fg_limit_verdict limit_verdict;
    struct fg_limit_charge *limit_charges; /* what was taken, to be settled at the end */
    size_t limit_charge_count;

    /* waiting room */
    struct fg_room *room; /* came in with `room_entry`, and is not answered yet; or NULL */
    struct fg_room_entry room_entry;      /* valid with room */
    bool came_directly;                   /* without a place, as nobody waited */
    struct fg_room_inquiry *room_inquiry; /* while it is asked; or NULL */
    struct fg_span room_paper;            /* the ticket or pass to hand out; empty: none */
    struct fg_span room_cookie;           /* the same as a cookie */

    /* cache */
    enum fg_cache_result cache_result;
    enum fg_cache_forward cache_forward; /* why the origin is asked, when it is */
    struct fg_span client_path;          /* before a prefix was stripped; valid once routed */
    struct fg_span cache_key;
    struct fg_cache_reader *cache_reader; /* of the fetch that answers */
    struct fg_cache_object *cache_stored; /* to be revalidated */
    struct fg_cache_object
        *cache_stale; /* may serve when the fetch fails; a reference of its own */
    const struct fg_cache_object *cache_held; /* by a lease: stays as long as the request */
    const struct fg_cache_object *cache_sent; /* whose body the codec has; stays likewise */
    struct fg_cache_body *cache_shared;       /* of a fetch, that the codec has; or NULL */
    struct fg_list in_cache_unread;
    /* others wait in these for this one to be done, see stage_cache.c */
    struct fg_cache_stream *cache_herds[FG_FLOW_HERDS_MAX];
    size_t cache_herd_count;
    struct fg_cache_fetch *fetch; /* this flow is no client's: the cache's own */
    unsigned cache_rounds;
    bool cache_is_paused;
    uint64_t cache_skip; /* bytes before the range asked for */
    uint64_t cache_left; /* to send; UINT64_MAX: to the end */

    /* gate and backend */
    struct fg_flow_slot slots[FG_SLOT_COUNT];
    uint32_t level; /* of the last gate when this one came: the largest priority number let in */
    bool passed_breaker;
    bool was_probe;
    bool is_backend_open; /* the backend has the exchange */
    struct fg_backend_thread *backend;
    uint64_t backend_started_ns;
    uint64_t upload_ns; /* since then, until its client had sent the rest; 0: at once */
    uint64_t head_ns;
    uint64_t silence_max_ns; /* not 0: the deadline is so long after `moved_ns` */
    uint64_t moved_ns;       /* when a byte last went through the tunnel or the answer */

    /* time */
    uint64_t hop_ns[FG_HOP_COUNT];
    struct fg_backend_hop backend_hops[FG_BACKEND_HOPS_MAX];
    size_t backend_hop_count;
    struct fg_span traceparent;

    /* what the stages decided, for the log and the recorder; at the end, as most of it stays unused
     * and is not even zeroed */
    size_t decision_count;
    struct fg_decision decisions[FG_DECISIONS_MAX];
};

/* One loop's part of the pipeline. */
struct fg_pipeline_thread {
    struct fg_pipeline *pipeline;
    struct fg_loop *loop;
    struct fg_backend_env env;   /* as all see it */
    struct fg_backend_env *envs; /* by backend index; they keep a pointer to theirs */
    struct fg_thread_metrics *metrics;
    struct fg_backend_thread **backends; /* by backend index */
    size_t backend_count;
    struct fg_backend_thread *session;
    struct fg_backend_thread *room_desk;
    struct fg_lease_client *leases;     /* of global rate limits; NULL without shared_state */
    struct fg_redis_link *shared_state; /* NULL: none is configured */
    struct fg_recorder *recorder;       /* the pipeline's for this loop; NULL: off */
    struct fg_jwt_signer *signer;
    struct fg_jwt_verifier *verifier;
    struct fg_arena_account *accounts; /* by backend index: the pipeline's for this loop */
    struct fg_gate_tickets gate_tickets;
    struct fg_cache_near cache_near;
    struct fg_cache_readers cache_readers;
    struct fg_list fetches;      /* the cache's own that run on this loop */
    struct fg_list cache_unread; /* flows that are sent what the cache holds */
    struct event *cache_look;    /* at these */
    bool cache_look_is_due;
    struct fg_list awaiting_bodies; /* flows that wait in the body stage, the longest first */
    size_t awaiting_chunks;         /* of request memory that they hold, */
    size_t awaiting_chunks_max;     /* and may; a single one may in any case */
    struct fg_deadline_heap deadlines;
    struct event *deadline_timer;
    uint64_t deadline_armed_ns; /* UINT64_MAX: not armed */
    uint64_t random;
    struct fg_known_lots lots;
    char date[40]; /* of the second `date_s`, for the date field */
    size_t date_len;
    uint64_t date_s;
    struct fg_server_reads server_reads;
};

/* What all loops share. */
struct fg_pipeline {
    const struct fg_config *config;
    struct fg_router *router;
    struct fg_rate_table **rate_tables;
    struct fg_shared_state *shared_state; /* NULL: none is configured */
    unsigned lease_script;
    struct fg_rate_limit_conf session_limit_conf;
    struct fg_rate_table *session_limit; /* new sessions by address; NULL: not limited */
    struct fg_overload_shared *overload;
    struct fg_cache_store *cache;
    struct fg_pinned_pages *pages; /* NULL: none are kept beyond this process */
    bool has_cached_routes;
    struct fg_room **rooms; /* by route index, NULL where there is none */
    struct fg_backend **backends;
    struct fg_gate **gates;            /* by backend index */
    struct fg_gate **route_gates;      /* by route index, NULL where there is none */
    struct fg_arena_account *accounts; /* of request memory: backend_count for each loop */
    struct fg_backend *session;
    struct fg_backend *room_desk;
    struct fg_jwt_key jwt_key;
    struct fg_key_store *keys;           /* of other issuers and of signers */
    struct fg_flood_ledger *token_debts; /* of clients, for tokens that were no good */
    struct fg_api_keys *api_keys;
    struct fg_nonce_table *nonces;     /* NULL without signing keys */
    struct fg_nonce_table *own_nonces; /* NULL: those are the supervisor's */
    struct fg_siphash_key cohort_key;  /* draws the users' lots; from the JWT secret */
    struct fg_helper_pool *helper;
    unsigned thread_count;
    struct fg_thread_metrics **metrics; /* by loop index; made before the loops start */
    struct fg_recorder **recorders;     /* the same; of NULL when off */
};

static inline struct fg_flow *fg_flow_of(struct fg_request *req)
{
    return req->handler_state;
}

static inline struct fg_flow *fg_flow_of_exchange(struct fg_exchange *ex)
{
    return fg_request_of(ex)->handler_state;
}

/* Whose the request is: the user's, or where none is known the client's (of IPv6, the /64's). */
static inline uint64_t fg_flow_owner(const struct fg_flow *flow)
{
    const struct fg_siphash_key *key = &flow->thread->pipeline->cohort_key;
    const struct fg_exchange *ex = &flow->req->ex;
    return ex->user_id.len > 0 ? fg_siphash(key, ex->user_id.data, ex->user_id.len)
                               : fg_client_owner(key, ex->client_addr);
}

static inline uint64_t fg_flow_now_ns(const struct fg_flow *flow)
{
    return fg_loop_now_ns(flow->thread->loop);
}

/* Wall time, as old as that. */
static inline uint64_t fg_flow_wall_ns(const struct fg_flow *flow)
{
    return fg_loop_wall_of_ns(flow->thread->loop, fg_flow_now_ns(flow));
}

/* What the client asked for, as normalised. */
static inline struct fg_span fg_flow_asked_path(const struct fg_flow *flow)
{
    return flow->client_path.data != NULL ? flow->client_path : flow->req->ex.path;
}

static inline size_t fg_flow_route_index(const struct fg_flow *flow)
{
    return (size_t)(flow->route - flow->thread->pipeline->config->routes);
}

/* flow.c: the machine */
/* In the arena, zeroed but for the decisions; NULL without memory. */
struct fg_flow *fg_flow_alloc(struct fg_arena *arena);
const char *fg_stage_name(enum fg_stage_id stage);
void fg_flow_set_state(struct fg_flow *flow, enum fg_flow_state next);
/* What a stage returns that waits from here on; its time is that of `hop`, however it ends. */
enum fg_stage_verdict fg_flow_wait(struct fg_flow *flow, enum fg_hop hop);
/* The event that a stage waited for has come: go on behind it. */
void fg_flow_resume(struct fg_flow *flow);
/* Run the same stage again (the cache, when a leader failed). */
void fg_flow_retry_stage(struct fg_flow *flow);
/* The wait is over, if it is WAITING: count its time, once. */
void fg_flow_note_wait(struct fg_flow *flow);
/* Run the stages from flow->stage on; for a flow that no codec began. */
void fg_flow_run(struct fg_flow *flow);
/* Why nobody could be told any more, where an answer was cut for it; NULL: none was. */
const char *fg_flow_gone(const struct fg_flow *flow);
/* Whoever asked is gone: let go of everything, answer nothing. */
void fg_flow_abandon(struct fg_flow *flow);
/* (Re-)arm the flow's one timer; it fires in fg_flow_on_deadline. */
void fg_flow_arm_deadline(struct fg_flow *flow, uint64_t deadline_ns);
/* Answer 504: the deadline has passed before the answer began. */
void fg_flow_refuse_late(struct fg_flow *flow);
/* Break the answer off, unless it is over already. */
void fg_flow_cut(struct fg_flow *flow);
/* Its client does not read, and gives up what `holder` has for it: for figures and the log. */
void fg_flow_note_slow_client(struct fg_flow *flow, const char *holder);
/* The same for a reason that a gRPC call ends with, as others end with `status`: a status that is
 * not OK, by which nobody takes what there is of the answer for whole. `message` is copied. */
void fg_flow_break_off(struct fg_flow *flow, unsigned status, const char *message);
/* The backend has switched protocols: from now on only silence ends the exchange. */
void fg_flow_begin_tunnel(struct fg_flow *flow);
/* From now on only silence of so long ends the exchange, not its deadline. */
void fg_flow_end_by_silence(struct fg_flow *flow, uint64_t silence_max_ns);
/* The loop's deadline timer fired: everything that is due. */
void fg_flow_run_deadlines(struct fg_pipeline_thread *thread);
/* Nothing more comes of the backend. Where no head did, its time is told all the same. */
void fg_flow_close_backend(struct fg_flow *flow);
/* It has answered, or failed: whose time was it? */
void fg_flow_note_backend(struct fg_flow *flow, uint64_t now_ns);
/* Close the backend's side: give the slots back and teach gates and breaker. Harmless twice. */
void fg_flow_leave_backend(struct fg_flow *flow, enum fg_concurrency_outcome limit_outcome,
                           enum fg_breaker_outcome breaker_outcome);
/* Let go of whatever the arena cannot free. Harmless twice. */
void fg_flow_let_go(struct fg_flow *flow);
/* A further slot at each gate where the request has one, if nobody wants it; and back again. */
bool fg_flow_try_extra_slot(struct fg_flow *flow);
/* The backend has the request, but for the rest of its body: who is slow to send that keeps no slot
 * from others, and has it again once all is there. */
void fg_flow_watch_upload(struct fg_flow *flow);
void fg_flow_give_extra_slot(struct fg_flow *flow);
/* A piece of the body for the backend that has the exchange. */
void fg_flow_give_body(struct fg_flow *flow, const void *data, size_t len, bool is_last);

/* backend_answer.c: what the backend's calls do */
extern const struct fg_exchange_ops fg_answer_ops;
/* answer.c: the response */

struct fg_refusal {
    enum fg_refused reason;
    unsigned status;
    const char *type;        /* constant; "overloaded", "invalid_request", ... */
    const char *message;     /* copied */
    const char *param;       /* of the request, which it is about; copied; NULL: none */
    uint64_t retry_after_ns; /* 0: none */
    const char *policy;      /* name of the policy that decided, or NULL */
    /* what it compared with what; both 0: nothing */
    uint64_t value;
    uint64_t limit;
    /* place in line; position UINT64_MAX: none */
    uint64_t position;
    uint64_t position_error; /* two standard deviations; 0: counted */
    uint64_t wait_ns;        /* UINT64_MAX: not known */
    uint64_t wait_error_ns;  /* two standard deviations; 0: not known */
    struct fg_span ticket;
    const char *ticket_was; /* why the one that was brought did not count; NULL: it did */
    struct fg_span page;    /* HTML, instead of the JSON that apps get */
    struct fg_span allow;   /* of a 405 */
    bool is_token_bad;      /* of a 401: there was a token (RFC 6750 section 3.1) */
    struct fg_span lead;    /* fg_refusal_lead's, if it was made before; it is not copied */
};

/* decisions.c: */
/* Remember what the present stage has decided; `stage` and `after_ns` are filled in here. */
void fg_flow_decide(struct fg_flow *flow, const struct fg_decision *decision);
/* The same for one that lets pass. */
void fg_flow_pass(struct fg_flow *flow, const char *policy, uint64_t value, uint64_t limit);
/* In shadow: it would have refused, for `reason`. */
void fg_flow_would_refuse(struct fg_flow *flow, const char *policy, enum fg_refused reason,
                          uint64_t value, uint64_t limit);
/* What the recorder keeps next, with all that the exchange says; there is a recorder. */
struct fg_record *fg_flow_begin_record(struct fg_pipeline_thread *thread,
                                       const struct fg_exchange *ex, uint64_t now_ns);
/* The request is done: into the recorder. */
void fg_flow_record(const struct fg_flow *flow, uint64_t now_ns);

/* codec_answer.c: the codec has answered by itself (request.h). */
void fg_flow_on_codec_answer(void *handler, struct fg_request *req, unsigned status,
                             const char *code);
void fg_flow_mark_codec_answer(struct fg_request *req, const struct fg_field **fields,
                               size_t *count);
void fg_flow_on_listener_answer(void *handler, struct fg_request *req, unsigned status);

/* Answer with our own error, count it, and be done. From a stage or its event. */
void fg_flow_refuse(struct fg_flow *flow, const struct fg_refusal *refusal);
/* The same with 503, for `what`, a constant, that found no memory. */
void fg_flow_refuse_for_memory(struct fg_flow *flow, const char *what);
/* Which limit was in the way of an allocation of the request's: policy, value and limit. */
void fg_flow_tell_lack(const struct fg_flow *flow, struct fg_refusal *refusal);
/* Count, log and explain a refusal that goes out by another way. Harmless twice. */
void fg_flow_note_refusal(struct fg_flow *flow, const struct fg_refusal *refusal);
/* The same for an error that no stage decided on; `code` is a constant. */
void fg_flow_send_error(struct fg_flow *flow, const struct fg_refusal *refusal, const char *code);
/* The head of an answer whose body the caller sends; the state is RESPONDING already. False: cut.
 */
bool fg_flow_send_head(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                       size_t field_count, bool is_end);
/* What the route removes or sets in answers is not to come in another part of one, either. False:
 * no memory. */
bool fg_flow_take_off_edited(const struct fg_flow *flow, const struct fg_field **fields,
                             size_t *field_count);
/* Ahead of it. */
void fg_flow_send_interim(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                          size_t field_count);
void fg_flow_end_answer(struct fg_flow *flow);
/* A complete answer of our own (redirect, direct response, cached object). */
void fg_flow_respond(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                     size_t field_count, struct fg_span body);
/* The same with a body of the configuration, which is not copied for everybody who may not read
 * it for long. */
void fg_flow_respond_configured(struct fg_flow *flow, unsigned status,
                                const struct fg_field *fields, size_t field_count,
                                struct fg_span body);

/* stage_waiting_room.c: the request is sent away before a backend has done anything for it: who
 * came in with a ticket may come in with it once more. Harmless twice. */
void fg_flow_give_back_place(struct fg_flow *flow);
/* The same for who finds the backend full where a waiting room keeps the pace with it: true, and
 * answered, when it waits in line instead of being refused. */
bool fg_flow_send_back_to_line(struct fg_flow *flow, const char *policy, enum fg_refused reason,
                               uint64_t wait_ns);

/* stage_route.c: a redirect or an answer of the configuration's. */
void fg_route_answer(struct fg_flow *flow);

/* stage_rate_limit.c: the request has ended: what was taken is made what it has cost. Harmless
 * twice.
 */
void fg_limit_settle(struct fg_flow *flow);

/* stage_breaker.c: the backend is left alone: what is stale of the cache's, or 503. */
void fg_flow_refuse_broken(struct fg_flow *flow, uint64_t retry_after_ns);

/* stage_admit.c: the gate of the slot that the flow waits for. */
struct fg_gate *fg_flow_gate_waited_for(const struct fg_flow *flow);
/* A piece of body has come while it waits there; may answer. */
void fg_stage_admit_on_piece(struct fg_flow *flow);

/* stage_body.c: whether a further piece may be kept while the flow waits there; false: answered. */
bool fg_stage_body_takes(struct fg_flow *flow, size_t len);
/* It was; may answer, or go on. */
void fg_stage_body_on_piece(struct fg_flow *flow, size_t len);

/* stage_backend.c: who will answer, on this loop. The route has one. */
struct fg_backend_thread *fg_flow_backend(const struct fg_flow *flow);

/* stage_cache.c: */
/* The backend failed before its head: serve the stale object if there is one. True: answered. */
bool fg_cache_serve_stale(struct fg_flow *flow);
/* The head of any answer: an unsafe request's makes what is stored untrue. */
void fg_cache_note_answer(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                          size_t field_count);
/* References, reader, and the place in a herd. Harmless twice. */
void fg_cache_let_go(struct fg_flow *flow);

#endif
