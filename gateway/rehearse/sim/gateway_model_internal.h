/*
 * gateway_model_internal.h: what the files of the modelled gateway share: a request, its route and
 * its backend under virtual time.
 * Thread   one owner.
 *
 *    request: CACHE_WAIT | ROUTE_QUEUED | QUEUED | AT_BACKEND, then answered once. At the backend
 *    after that it is an ORPHAN: its memory stays until the model gives the job back.
 */
#ifndef FG_REHEARSE_GATEWAY_MODEL_INTERNAL_H
#define FG_REHEARSE_GATEWAY_MODEL_INTERNAL_H

#include "policies/admit_rate.h"
#include "policies/limit_table.h"
#include "policies/retry.h"
#include "policies/retry_budget.h"
#include "policies/siphash.h"
#include "policies/waiting_room.h"
#include "rehearse/sim/backend_model.h"
#include "rehearse/sim/gateway_model.h"

#define FG_SIM_NONE UINT32_MAX

enum {
    FG_SIM_EVENT_SERVED = FG_USERS_EVENT_END, /* index: request */
    FG_SIM_EVENT_ANSWERED,                    /* index: request */
    FG_SIM_EVENT_TURN,                        /* index: backend */
    FG_SIM_EVENT_FAULT,                       /* index: backend */
    FG_SIM_EVENT_EXPIRE,                      /* index: backend */
    FG_SIM_EVENT_EXPIRE_ROUTE,                /* index: route */
    FG_SIM_EVENT_DEADLINE,                    /* index: route */
    FG_SIM_EVENT_PRESSURE,                    /* index: 0 */
};

enum fg_sim_request_state {
    FG_SIM_REQUEST_FREE,
    FG_SIM_REQUEST_NEW,
    FG_SIM_CACHE_WAIT,   /* for another request's fetch */
    FG_SIM_CACHE_GONE,   /* the same, answered already: still in the list of those who wait */
    FG_SIM_ROUTE_QUEUED, /* for a slot of its route */
    FG_SIM_QUEUED,       /* for one of the backend */
    FG_SIM_AT_BACKEND,
    FG_SIM_ORPHAN, /* answered, and the backend still has the job */
};

struct fg_sim_request {
    struct fg_gate_entry entry; /* first: a turn leads to its request */
    struct fg_gate_entry route_entry;
    struct fg_job job;
    const struct fg_scenario_step *step;
    uint64_t deadline_ns;
    uint64_t route_since_ns; /* valid while holds_route */
    uint64_t entered_ns;     /* the backend's gate */
    uint64_t backend_ns;     /* handed to the backend */
    uint32_t index;
    uint32_t user;
    uint32_t priority_number;
    uint32_t route;
    bool has_ticket; /* of the waiting room, with which it came in */
    uint64_t ticket;
    uint32_t older; /* of its route, by deadline; free: the next free one */
    uint32_t newer;
    uint32_t next_waiter; /* for the same fetch */
    enum fg_sim_request_state state;
    bool has_deadline; /* in the route's line */
    uint8_t retries;   /* made by the gateway; each holds a place of the budget until the end */
    bool holds_route;  /* a slot of it */
    bool passed_breaker;
    bool was_probe;
    bool is_fetching; /* its answer goes into the cache */
};

struct fg_sim_route {
    const struct fg_route_conf *conf;
    uint32_t oldest; /* requests that the gateway's deadline can meet, in its order */
    uint32_t newest;
    bool is_deadline_armed;
    struct fg_gate_policy gate;  /* when conf->has_concurrency */
    uint64_t expiry_ns;          /* armed for; UINT64_MAX: not */
    struct fg_waiting_room room; /* when conf->waiting_room.enabled */
    struct fg_waiting_room_line *line;
    void *places;
    struct fg_admit_rate pace; /* where the room's is the backend's */
    uint64_t done;             /* since the last look */
    uint64_t came_seen;        /* in all, by then */
    uint64_t refused_seen;
    /* cache */
    uint64_t fresh_until_ns;
    bool is_filled;
    bool is_fetched; /* somebody is at it */
    uint32_t waiters;
    uint32_t waiter_count;
};

struct fg_sim_backend {
    struct fg_gate_policy gate;
    struct fg_backend_model model;
    struct fg_retry_conf retry_conf;
    struct fg_retry_budget budget;
    uint64_t shed_at_ns;      /* 0: never */
    uint64_t expiry_ns;       /* armed for; UINT64_MAX: not */
    struct fg_tally_load now; /* counts of this stretch of time */
    uint64_t wasted_before;
    uint64_t answered; /* since the last look at its latency */
    uint64_t answer_sum_ns;
};

struct fg_sim_limit {
    struct fg_limit_table table;
    const struct fg_limit_part *parts;
    size_t part_count;
    uint64_t cost; /* of a request: one, or what is reserved for it */
    void *memory;
};

struct fg_gateway_model {
    const struct fg_scenario *scenario;
    const struct fg_config *config;
    struct fg_event_heap *heap;
    struct fg_tally *tally;
    struct fg_users *users;
    struct fg_siphash_key key;
    struct fg_chance chance;
    struct fg_sim_route *routes;
    struct fg_sim_backend *backends;
    struct fg_sim_limit *limits; /* as config->rate_limits; one more: new sessions by address */
    /* requests */
    struct fg_sim_request **chunks;
    size_t chunk_count;
    uint32_t free;
    uint64_t request_count;
    bool is_exhausted;
    uint32_t *request_of_user; /* by user's index; FG_SIM_NONE: none is out */
    size_t user_capacity;
    /* turns that policies handed out and nobody has looked at yet */
    struct fg_gate_turns turns; /* of backends */
    struct fg_gate_turns route_turns;
    bool is_draining;
    /* the process */
    struct fg_overload overload;
    uint64_t lag_ns; /* work that the loops are behind */
    uint64_t lag_at_ns;
    uint64_t lag_max_ns; /* since the last sample */
};

/* gateway_requests.c */
struct fg_sim_request *fg_sim_request_at(const struct fg_gateway_model *model, uint32_t index);
/* A fresh one for the call; NULL without memory, and the model says so from then on. */
struct fg_sim_request *fg_sim_request_take(struct fg_gateway_model *model,
                                           const struct fg_call *call, uint64_t now_ns);
void fg_sim_request_free(struct fg_gateway_model *model, struct fg_sim_request *request);
/* Into and out of its route's line of those whom the gateway's own deadline can meet. */
void fg_sim_request_line_up(struct fg_gateway_model *model, struct fg_sim_request *request);
void fg_sim_request_step_out(struct fg_gateway_model *model, struct fg_sim_request *request);

/* gateway_pressure.c: the backends' part of a sample, and what of it a route's requests use */
void fg_sim_sample_backends(struct fg_gateway_model *model, uint64_t now_ns,
                            struct fg_overload_sample *sample);
uint32_t fg_sim_overload_uses(const struct fg_gateway_model *model,
                              const struct fg_route_conf *route);
/* How long an answer becomes, drawn; not more than the KV cache's pressure lets it. */
uint32_t fg_sim_output_tokens(struct fg_gateway_model *model, const struct fg_scenario_step *step);

/* gateway_model.c: the backend gives a job back. */
void fg_sim_on_job_done(void *object, struct fg_job *job, enum fg_job_outcome outcome,
                        uint64_t now_ns, uint64_t head_ns);

#endif
