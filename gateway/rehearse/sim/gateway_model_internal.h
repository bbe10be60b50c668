/*
 * gateway_model_internal.h: what the files of the modelled gateway share: a request, its route and
 * its backend under virtual time.
 * Thread   one owner.
 *
 *    request: HANDSHAKE | CACHE_WAIT | ROUTE_QUEUED | QUEUED | PENDING | AT_BACKEND, then
 *    answered once. At the backend after that it is an ORPHAN: its memory stays until the model
 *    gives the job back.
 */
#ifndef FG_REHEARSE_GATEWAY_MODEL_INTERNAL_H
#define FG_REHEARSE_GATEWAY_MODEL_INTERNAL_H

#include "base/arena.h"
#include "base/limit_shared.h"
#include "policies/admit_rate.h"
#include "policies/balance.h"
#include "policies/limit_table.h"
#include "policies/retry.h"
#include "policies/retry_budget.h"
#include "policies/siphash.h"
#include "policies/waiting_room.h"
#include "rehearse/sim/backend_model.h"
#include "rehearse/sim/gateway_model.h"

#define FG_SIM_NONE UINT32_MAX
#define FG_SIM_TRIED_MAX 4u /* as proxy's */

enum {
    FG_SIM_EVENT_SERVED = FG_USERS_EVENT_END, /* index: request */
    FG_SIM_EVENT_ANSWERED,                    /* index: request */
    FG_SIM_EVENT_TURN,                        /* index: host */
    FG_SIM_EVENT_FAULT,                       /* index: host */
    FG_SIM_EVENT_EXPIRE,                      /* index: backend */
    FG_SIM_EVENT_EXPIRE_ROUTE,                /* index: route */
    FG_SIM_EVENT_DEADLINE,                    /* index: route */
    FG_SIM_EVENT_PRESSURE,                    /* index: 0 */
    FG_SIM_EVENT_CHECK,                       /* index: host */
    FG_SIM_EVENT_SWEEP,                       /* index: backend */
    FG_SIM_EVENT_HANDSHAKE,                   /* index: 0 */
};

enum fg_sim_request_state {
    FG_SIM_REQUEST_FREE,
    FG_SIM_REQUEST_NEW,
    FG_SIM_HANDSHAKE,    /* of its connection, which waits for a turn of the loops */
    FG_SIM_CACHE_WAIT,   /* for another request's fetch */
    FG_SIM_CACHE_GONE,   /* the same, answered already: still in the list of those who wait */
    FG_SIM_ROUTE_QUEUED, /* for a slot of its route */
    FG_SIM_QUEUED,       /* for one of the backend */
    FG_SIM_PENDING,      /* for a connection to one of its hosts */
    FG_SIM_AT_BACKEND,
    FG_SIM_ORPHAN, /* answered, and the backend still has the job */
};

struct fg_sim_request {
    struct fg_gate_entry entry; /* first: a turn leads to its request */
    struct fg_gate_entry route_entry;
    struct fg_job job;
    struct fg_call call;
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
    uint32_t next_waiter;  /* for the same fetch */
    uint32_t pending_prev; /* HANDSHAKE, PENDING: in that line */
    uint32_t pending_next;
    uint32_t chunks; /* of request memory */
    enum fg_sim_request_state state;
    bool has_deadline; /* in the route's line */
    uint8_t retries;   /* made by the gateway; each holds a place of the budget until the end */
    bool holds_route;  /* a slot of it */
    bool passed_breaker;
    bool was_probe;
    bool is_fetching; /* its answer goes into the cache */
    bool resumes;     /* HANDSHAKE: a TLS session */
    /* at a backend */
    bool is_counted; /* of limits.requests */
    bool has_host;   /* `host`, until the attempt is over; ORPHAN: the job is still there */
    bool has_connection;
    bool is_host_probe; /* of the host's breaker */
    bool is_breaker_told;
    uint8_t reconnects;
    uint8_t tried_count;
    uint16_t host;
    uint16_t tried[FG_SIM_TRIED_MAX];
    uint64_t attempt_ns;
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

/* One endpoint of a cluster; any other backend is one. */
struct fg_sim_host {
    struct fg_backend_model model;
    struct fg_scenario_backend conf; /* its part of the backend's */
    uint32_t backend;
    struct fg_failure_row errors;         /* in a row */
    struct fg_failure_row error_instants; /* never ended */
    uint32_t connect_failures;
    struct fg_circuit_breaker breaker;
    struct fg_health health;
};

/* What a cluster may have at once, as proxy/cluster_limits_shared.h has it. */
enum fg_sim_cluster_limit {
    FG_SIM_LIMIT_CONNECTIONS,
    FG_SIM_LIMIT_PENDING,
    FG_SIM_LIMIT_REQUESTS,
    FG_SIM_LIMIT_RETRIES,
    FG_SIM_LIMIT_COUNT,
};

struct fg_sim_backend {
    struct fg_gate_policy gate;
    bool is_cluster;
    const struct fg_cluster_conf *cluster;      /* zeroed for others */
    struct fg_limit limits[FG_SIM_LIMIT_COUNT]; /* of a cluster */
    uint32_t pending_first;                     /* requests that wait for a connection */
    uint32_t pending_last;
    /* hosts, and what the policies keep of them: arrays of host_count */
    struct fg_sim_host *hosts;
    size_t host_count;
    struct fg_balance balance;
    struct fg_balance_host *balance_hosts;
    uint16_t *order;
    uint16_t *slots; /* of a hash; else NULL */
    struct fg_outlier_host *outliers;
    struct fg_outlier_sample *samples; /* since the last sweep */
    uint32_t *latencies;               /* of all samples */
    uint64_t *scratch;
    /* request memory, in chunks */
    uint64_t memory_used;
    uint64_t memory_guaranteed;
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

/* A user's connection, by the user's index. */
struct fg_sim_client {
    uint64_t user_id; /* and one; 0: nobody yet */
    uint64_t idle_since_ns;
    uint32_t request; /* that is out; FG_SIM_NONE: none */
    uint32_t older;   /* of the idle ones */
    uint32_t newer;
    bool is_open;
    bool is_idle;     /* and in that line */
    bool has_session; /* to resume */
};

struct fg_sim_line {
    uint32_t first;
    uint32_t last;
};

struct fg_sim_memory {
    uint64_t chunks_max;
    uint64_t standing; /* sum of max(used, guaranteed) */
    uint64_t used;
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
    struct fg_sim_host *hosts; /* of all backends, one after the other */
    struct fg_chance host_chance;
    uint64_t pending_count;      /* requests that wait for a connection, anywhere */
    struct fg_sim_limit *limits; /* as config->rate_limits; one more: new sessions by address */
    /* requests */
    struct fg_sim_request **chunks;
    size_t chunk_count;
    uint32_t free;
    uint64_t request_count;
    bool is_exhausted;
    struct fg_sim_memory memory;
    /* clients, by the user's index */
    struct fg_sim_client *clients;
    size_t client_capacity;
    bool has_connections; /* they are modelled */
    uint64_t open_count;
    uint32_t idle_first;
    uint32_t idle_last;
    struct fg_sim_line handshakes[2]; /* that wait; [1]: those that resume */
    uint64_t handshake_count;
    bool is_handshake_armed;
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

static inline struct fg_sim_backend *fg_sim_backend_of(struct fg_gateway_model *model,
                                                       const struct fg_sim_request *request)
{
    return &model->backends[model->routes[request->route].conf->backend_index];
}

/* The one that it was sent to. */
static inline struct fg_sim_host *fg_sim_host_of(struct fg_gateway_model *model,
                                                 const struct fg_sim_request *request)
{
    return &fg_sim_backend_of(model, request)->hosts[request->host];
}

/* gateway_requests.c */
struct fg_sim_request *fg_sim_request_at(const struct fg_gateway_model *model, uint32_t index);
/* A fresh one for the call; NULL without memory, and the model says so from then on. */
struct fg_sim_request *fg_sim_request_take(struct fg_gateway_model *model,
                                           const struct fg_call *call, uint64_t now_ns);
/* Of the user with that index. False without memory, and the model says so from then on. */
bool fg_sim_client_make(struct fg_gateway_model *model, uint32_t user);
void fg_sim_request_free(struct fg_gateway_model *model, struct fg_sim_request *request);
/* Into and out of its route's line of those whom the gateway's own deadline can meet. */
void fg_sim_request_line_up(struct fg_gateway_model *model, struct fg_sim_request *request);
void fg_sim_request_step_out(struct fg_gateway_model *model, struct fg_sim_request *request);

/* gateway_connections.c: is the user's connection open? It is not idle from here on. */
void fg_sim_connections_init(struct fg_gateway_model *model);
bool fg_sim_is_connected(struct fg_gateway_model *model, const struct fg_call *call);
/* With a new connection; the request is answered, goes on, or waits for its handshake. */
void fg_sim_connect(struct fg_gateway_model *model, struct fg_sim_request *request,
                    uint64_t now_ns);
/* The client leaves during its handshake. */
void fg_sim_connect_abandon(struct fg_gateway_model *model, struct fg_sim_request *request);
/* Nothing of the user is out any more. */
void fg_sim_connection_rests(struct fg_gateway_model *model, uint32_t user, uint64_t now_ns);
void fg_sim_handshakes_run(struct fg_gateway_model *model, uint64_t now_ns);
void fg_sim_sample_connections(const struct fg_gateway_model *model,
                               struct fg_overload_sample *sample);

/* gateway_memory.c: is there room that is not kept for others? What is taken is given back once. */
void fg_sim_memory_init(struct fg_gateway_model *model);
bool fg_sim_memory_has_room(const struct fg_gateway_model *model, const struct fg_call *call);
void fg_sim_memory_take(struct fg_gateway_model *model, struct fg_sim_request *request);
void fg_sim_memory_give(struct fg_gateway_model *model, struct fg_sim_request *request);

/* gateway_hosts.c. `hosts` has room for fg_sim_host_count; false without memory. */
size_t fg_sim_host_count(const struct fg_backend_conf *conf);
bool fg_sim_hosts_make(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                       struct fg_sim_host *hosts);
void fg_sim_hosts_free(struct fg_sim_backend *backend);
/* request->host is chosen. False: all of them are left alone, for *retry_after_ns. */
bool fg_sim_host_pick(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                      struct fg_sim_request *request, uint64_t now_ns, uint64_t *retry_after_ns);
/* How the attempt at it went, told once; then its end, told or not. */
void fg_sim_host_judge(struct fg_sim_backend *backend, struct fg_sim_request *request,
                       bool is_error, uint64_t latency_ns, uint64_t now_ns);
void fg_sim_host_ended(struct fg_sim_backend *backend, struct fg_sim_request *request,
                       uint64_t now_ns);
void fg_sim_host_connected(struct fg_sim_backend *backend, const struct fg_sim_request *request);
void fg_sim_host_unreachable(struct fg_sim_backend *backend, const struct fg_sim_request *request,
                             uint64_t now_ns);
void fg_sim_host_check(struct fg_gateway_model *model, uint32_t number, uint64_t now_ns);
void fg_sim_hosts_sweep(struct fg_gateway_model *model, uint32_t index, uint64_t now_ns);

/* gateway_cluster.c: past the gate and its breaker; answered, waiting, or at a host. */
void fg_sim_cluster_enter(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns);
/* A host has answered. False: the request goes once more. */
bool fg_sim_cluster_on_answer(struct fg_gateway_model *model, struct fg_sim_request *request,
                              uint64_t now_ns, uint64_t head_ns, unsigned status);
/* The request is over, or given up: what it holds of the cluster is given back. */
void fg_sim_cluster_leave(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns);
/* Gives one who waits a connection. False: nobody waits, or none is left. */
bool fg_sim_cluster_place(struct fg_gateway_model *model, uint64_t now_ns);

/* gateway_pressure.c: the backends' part of a sample, and what of it a route's requests use */
void fg_sim_sample_backends(struct fg_gateway_model *model, uint64_t now_ns,
                            struct fg_overload_sample *sample);
uint32_t fg_sim_overload_uses(const struct fg_gateway_model *model,
                              const struct fg_route_conf *route);
/* How long an answer becomes, drawn; not more than the KV cache's pressure lets it. */
uint32_t fg_sim_output_tokens(struct fg_gateway_model *model, const struct fg_scenario_step *step);

/* gateway_model.c: work of the loops, and how far they are behind. */
void fg_sim_pay(struct fg_gateway_model *model, uint64_t cpu_ns, uint64_t now_ns);
uint64_t fg_sim_lag_ns(const struct fg_gateway_model *model, uint64_t now_ns);
/* Before it has a request's state, or from one that is answered without a backend. */
void fg_sim_refuse_call(struct fg_gateway_model *model, uint32_t user, uint64_t now_ns,
                        unsigned reason, uint64_t retry_after_ns);
void fg_sim_answer_call(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns,
                        enum fg_outcome outcome);
/* Sent away before a backend has seen it: the place in line may be used once more. */
void fg_sim_give_back_place(struct fg_gateway_model *model, uint32_t route_index, bool has_ticket,
                            uint64_t ticket, uint64_t now_ns);
/* gateway_stages.c: before a backend's gate. False: the call is answered. */
bool fg_sim_pass_stages(struct fg_gateway_model *model, const struct fg_call *call,
                        uint64_t now_ns);
/* gateway_model.c: its connection is open: on to the stages. */
void fg_sim_go_on(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns);
/* It had a slot, but no server was asked, with a reason of the tally: that says nothing of them. */
void fg_sim_refuse_unasked(struct fg_gateway_model *model, struct fg_sim_request *request,
                           uint64_t now_ns, unsigned reason, uint64_t retry_after_ns);
/* No host could take it. */
void fg_sim_fail_at_backend(struct fg_gateway_model *model, struct fg_sim_request *request,
                            uint64_t now_ns);
/* The backend gives a job back. */
void fg_sim_on_job_done(void *object, struct fg_job *job, enum fg_job_outcome outcome,
                        uint64_t now_ns, uint64_t head_ns);

#endif
