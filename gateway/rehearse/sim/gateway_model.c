/*
 * gateway_model.c: a request in virtual time from the cache on; what it holds, how it ends.
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"
#include "pipeline/policy_conf.h"
#include "policies/retry_after.h"
#include "policies/token_scan.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define CACHE_TTL_USUAL_NS (60 * FG_S) /* when the response itself says how long */

static void drain_turns(struct fg_gateway_model *model, uint64_t now_ns);
static void enter_cache(struct fg_gateway_model *model, struct fg_sim_request *request,
                        uint64_t now_ns);

/* ---- cost of the process ---- */

uint64_t fg_sim_lag_ns(const struct fg_gateway_model *model, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - model->lag_at_ns;
    return model->lag_ns > passed_ns ? model->lag_ns - passed_ns : 0;
}

void fg_sim_pay(struct fg_gateway_model *model, uint64_t cpu_ns, uint64_t now_ns)
{
    model->lag_ns = fg_sim_lag_ns(model, now_ns) + cpu_ns / model->scenario->gateway.threads;
    model->lag_at_ns = now_ns;
    if (model->lag_ns > model->lag_max_ns)
        model->lag_max_ns = model->lag_ns;
}

/* As admin/sampler.c does. */
static void follow_backend(struct fg_gateway_model *model, struct fg_sim_route *route,
                           uint64_t now_ns)
{
    if (now_ns < route->pace.updated_ns + FG_S)
        return;
    const struct fg_sim_backend *backend = &model->backends[route->conf->backend_index];
    const struct fg_gate_policy *gate = &backend->gate;
    const struct fg_waiting_room_line *line = route->line;
    uint64_t came = line->used_total + line->direct_total;
    uint64_t refused = fg_gate_policy_refused_total(gate);
    const struct fg_admit_sample sample = {
        .done = route->done,
        .came = came > route->came_seen ? came - route->came_seen : 0,
        .in_flight = fg_concurrency_limit_in_flight(&gate->limit),
        .limit = fg_concurrency_limit_current(&gate->limit),
        .queued = gate->queue.count,
        .refused = refused - route->refused_seen,
        .service_ns = gate->service_ns,
        .is_shut = gate->has_breaker &&
                   fg_circuit_breaker_state(&gate->breaker, now_ns) == FG_BREAKER_OPEN,
        .is_pressed = fg_overload_sheds(fg_overload_steps(&model->overload)),
        .has_line = fg_waiting_room_waiting(&route->room, now_ns) > 0};
    double per_s = fg_admit_rate_step(&route->pace, now_ns, &sample);
    route->done = 0;
    route->came_seen = came;
    route->refused_seen = refused;
    fg_waiting_room_set_pace(&route->room, fg_admit_rate_amount(per_s), FG_ADMIT_RATE_PERIOD_NS,
                             fg_admit_rate_burst(per_s), now_ns);
}

static void sample_pressure(struct fg_gateway_model *model, uint64_t now_ns)
{
    const struct fg_scenario_gateway *gateway = &model->scenario->gateway;
    const struct fg_overload_conf *conf = &model->config->overload;
    struct fg_overload_sample sample = {
        .of = {
            [FG_OVERLOAD_MEMORY] = {gateway->memory_bytes +
                                        model->request_count * gateway->request_bytes,
                                    conf->memory_bytes_max},
            [FG_OVERLOAD_LOOP_LAG] = {model->lag_max_ns, conf->loop_lag_max_ns},
            [FG_OVERLOAD_REQUEST_MEMORY] = {model->memory.used, model->memory.chunks_max},
        }};
    model->lag_max_ns = 0;
    fg_sim_sample_connections(model, &sample);
    fg_sim_sample_backends(model, now_ns, &sample);
    fg_overload_update(&model->overload, now_ns, &sample);
    for (size_t i = 0; i < model->config->route_count; i++) {
        const struct fg_waiting_room_conf *room = &model->routes[i].conf->waiting_room;
        if (room->enabled && room->admit.amount == 0)
            follow_backend(model, &model->routes[i], now_ns);
    }
    fg_event_heap_add(model->heap, now_ns + model->config->overload.interval_ns,
                      FG_SIM_EVENT_PRESSURE, 0);
}

/* ---- answers ---- */

/* Before it has a request's state, or from one that is answered without a backend. */
void fg_sim_refuse_call(struct fg_gateway_model *model, uint32_t user, uint64_t now_ns,
                        unsigned reason, uint64_t retry_after_ns)
{
    fg_sim_pay(model, model->scenario->gateway.refusal_cpu_ns, now_ns);
    fg_sim_connection_rests(model, user, now_ns);
    fg_users_answer(model->users, user, now_ns,
                    &(struct fg_answer){.outcome = FG_OUTCOME_REFUSED,
                                        .reason = reason,
                                        .retry_after_ns = fg_retry_after_spread_ns(
                                            retry_after_ns, fg_chance_bits(&model->chance))});
}

/* Answered, or given up by its client: it has no deadline, memory or client any more. */
static void forget(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns)
{
    fg_sim_request_step_out(model, request);
    fg_sim_memory_give(model, request);
    model->clients[request->user].request = FG_SIM_NONE;
    fg_sim_connection_rests(model, request->user, now_ns);
}

/* The user is told; what the request still holds is let go by the caller. */
static void answer(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns,
                   enum fg_outcome outcome)
{
    forget(model, request, now_ns);
    fg_users_answer(model->users, request->user, now_ns, &(struct fg_answer){.outcome = outcome});
}

/* Sent away before a backend has seen it: the place in line may be used once more. */
void fg_sim_give_back_place(struct fg_gateway_model *model, uint32_t route_index, bool has_ticket,
                            uint64_t ticket, uint64_t now_ns)
{
    struct fg_sim_route *route = &model->routes[route_index];
    if (has_ticket && route->conf->waiting_room.enabled)
        fg_waiting_room_give_back(&route->room, ticket, now_ns);
}

static void refuse(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns,
                   unsigned reason, uint64_t retry_after_ns)
{
    if (request->backend_ns == 0)
        fg_sim_give_back_place(model, request->route, request->has_ticket, request->ticket, now_ns);
    forget(model, request, now_ns);
    fg_sim_refuse_call(model, request->user, now_ns, reason, retry_after_ns);
}

static void leave_route(struct fg_gateway_model *model, struct fg_sim_request *request,
                        uint64_t now_ns, uint64_t head_ns, enum fg_concurrency_outcome limit)
{
    if (!request->holds_route)
        return;
    request->holds_route = false;
    fg_gate_policy_leave(
        &model->routes[request->route].gate, now_ns,
        &(struct fg_gate_result){
            .latency_ns = request->backend_ns == 0 ? 0 : head_ns - request->route_since_ns,
            .limit = limit,
            .breaker = FG_BREAKER_CANCELLED},
        &model->route_turns);
}

/* The slot of the backend, and the route's with it. */
static void leave_gate(struct fg_gateway_model *model, struct fg_sim_request *request,
                       uint64_t now_ns, uint64_t head_ns, enum fg_concurrency_outcome limit,
                       enum fg_breaker_outcome breaker)
{
    leave_route(model, request, now_ns, head_ns, limit);
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    fg_sim_cluster_leave(model, request, now_ns);
    fg_gate_policy_leave(&backend->gate, now_ns,
                         &(struct fg_gate_result){.latency_ns = request->backend_ns == 0
                                                                    ? 0
                                                                    : head_ns - request->backend_ns,
                                                  .limit = limit,
                                                  .breaker = breaker,
                                                  .passed_breaker = request->passed_breaker,
                                                  .was_probe = request->was_probe},
                         &model->turns);
}

/* ---- cache ---- */

/* The fetch is over: everyone who waited is served, or tries again. */
static void end_fetch(struct fg_gateway_model *model, struct fg_sim_request *request,
                      uint64_t now_ns, bool is_good)
{
    if (!request->is_fetching)
        return;
    struct fg_sim_route *route = &model->routes[request->route];
    request->is_fetching = false;
    route->is_fetched = false;
    if (is_good) {
        uint64_t ttl_ns = route->conf->cache_ttl_ns;
        route->is_filled = true;
        route->fresh_until_ns = now_ns + (ttl_ns == 0 ? CACHE_TTL_USUAL_NS : ttl_ns);
    }
    uint32_t next = route->waiters;
    route->waiters = FG_SIM_NONE;
    route->waiter_count = 0;
    while (next != FG_SIM_NONE) {
        struct fg_sim_request *waiter = fg_sim_request_at(model, next);
        next = waiter->next_waiter;
        bool is_gone = waiter->state == FG_SIM_CACHE_GONE;
        waiter->state = FG_SIM_REQUEST_NEW;
        if (!is_gone && !is_good) {
            enter_cache(model, waiter, now_ns);
            continue;
        }
        if (!is_gone)
            answer(model, waiter, now_ns, FG_OUTCOME_GOOD);
        fg_sim_request_free(model, waiter);
    }
}

static void wait_for_fetch(struct fg_gateway_model *model, struct fg_sim_request *request)
{
    struct fg_sim_route *route = &model->routes[request->route];
    request->state = FG_SIM_CACHE_WAIT;
    request->next_waiter = route->waiters;
    route->waiters = request->index;
    route->waiter_count++;
}

/* ---- backend ---- */

static bool serves_stale(struct fg_gateway_model *model, const struct fg_sim_request *request,
                         uint64_t now_ns)
{
    const struct fg_sim_route *route = &model->routes[request->route];
    return route->conf->cache && route->is_filled &&
           now_ns < route->fresh_until_ns + model->config->cache.stale_if_error_ns;
}

/* Answered by a backend's failure: with the old object if there is one. */
static void answer_failed(struct fg_gateway_model *model, struct fg_sim_request *request,
                          uint64_t now_ns, enum fg_outcome outcome)
{
    answer(model, request, now_ns,
           serves_stale(model, request, now_ns) ? FG_OUTCOME_GOOD : outcome);
    end_fetch(model, request, now_ns, false);
}

void fg_sim_fail_at_backend(struct fg_gateway_model *model, struct fg_sim_request *request,
                            uint64_t now_ns)
{
    leave_gate(model, request, now_ns, now_ns, FG_CONCURRENCY_DROPPED, FG_BREAKER_FAILURE);
    answer_failed(model, request, now_ns, FG_OUTCOME_FAILED);
    fg_sim_request_free(model, request);
}

void fg_sim_refuse_unasked(struct fg_gateway_model *model, struct fg_sim_request *request,
                           uint64_t now_ns, unsigned reason, uint64_t retry_after_ns)
{
    leave_gate(model, request, now_ns, now_ns, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    request->backend_ns = 0; /* a place in line may be used once more */
    if (serves_stale(model, request, now_ns))
        answer(model, request, now_ns, FG_OUTCOME_GOOD);
    else
        refuse(model, request, now_ns, reason, retry_after_ns);
    end_fetch(model, request, now_ns, false);
    fg_sim_request_free(model, request);
}

static void call_backend(struct fg_gateway_model *model, struct fg_sim_request *request,
                         uint64_t now_ns)
{
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    struct fg_tally_backend *tally = &model->tally->backends[backend - model->backends];
    uint64_t waited_ns = now_ns - request->entered_ns;
    uint64_t retry_after_ns = 0;
    fg_histogram_record(&tally->wait, waited_ns);
    backend->now.wait_sum_ns += waited_ns;
    backend->now.let_in++;
    if (waited_ns > backend->now.wait_max_ns)
        backend->now.wait_max_ns = waited_ns;
    enum fg_breaker_verdict verdict =
        fg_gate_policy_try_pass(&backend->gate, request->priority_number, now_ns, &retry_after_ns);
    if (verdict == FG_BREAKER_REFUSE) {
        fg_sim_refuse_unasked(model, request, now_ns, FG_REFUSED_BREAKER_OPEN, retry_after_ns);
        return;
    }
    request->passed_breaker = true;
    request->was_probe = verdict == FG_BREAKER_PROBE;
    request->backend_ns = now_ns;
    request->state = FG_SIM_AT_BACKEND;
    model->tally->routes[request->route].admitted++;
    request->job.prompt_tokens = request->step->prompt_tokens;
    if (backend->hosts->conf.tokens.is_on)
        request->job.output_tokens = fg_sim_output_tokens(model, request->step);
    fg_sim_cluster_enter(model, request, now_ns);
}

void fg_sim_on_job_done(void *object, struct fg_job *job, enum fg_job_outcome outcome,
                        uint64_t now_ns, uint64_t head_ns)
{
    struct fg_gateway_model *model = object;
    struct fg_sim_request *request = fg_sim_request_at(model, job->index);
    if (outcome == FG_JOB_DISOWNED) {
        assert(request->state == FG_SIM_ORPHAN);
        fg_sim_request_free(model, request);
        return;
    }
    assert(request->state == FG_SIM_AT_BACKEND);
    bool is_good = outcome == FG_JOB_ANSWERED;
    unsigned status = is_good ? 200 : fg_sim_backend_of(model, request)->hosts->conf.error_status;
    if (!fg_sim_cluster_on_answer(model, request, now_ns, head_ns, status)) {
        drain_turns(model, now_ns);
        return;
    }
    fg_sim_backend_of(model, request)->answered++;
    fg_sim_backend_of(model, request)->answer_sum_ns += now_ns - request->backend_ns;
    leave_gate(model, request, now_ns, head_ns,
               status == 503 || status == 504 ? FG_CONCURRENCY_DROPPED : FG_CONCURRENCY_SUCCESS,
               is_good ? FG_BREAKER_SUCCESS : FG_BREAKER_FAILURE);
    if (is_good) {
        model->routes[request->route].done++;
        fg_sim_backend_of(model, request)->now.done++;
        model->tally->routes[request->route].admitted_good++;
        answer(model, request, now_ns, FG_OUTCOME_GOOD);
        end_fetch(model, request, now_ns, true);
    } else {
        answer_failed(model, request, now_ns, FG_OUTCOME_FAILED);
    }
    fg_sim_request_free(model, request);
    drain_turns(model, now_ns);
}

/* ---- gate ---- */

static void refuse_at_gate(struct fg_gateway_model *model, struct fg_sim_request *request,
                           uint64_t now_ns, enum fg_gate_verdict verdict,
                           const struct fg_gate_place *place)
{
    bool is_route = request->state == FG_SIM_ROUTE_QUEUED;
    if (verdict != FG_GATE_BREAKER_OPEN && !is_route)
        fg_sim_backend_of(model, request)->shed_at_ns = now_ns;
    leave_route(model, request, now_ns, now_ns, FG_CONCURRENCY_IGNORED);
    refuse(model, request, now_ns, fg_refused_of_gate(verdict),
           fg_retry_after_queue_ns(place->wait_ns));
    end_fetch(model, request, now_ns, false);
    fg_sim_request_free(model, request);
}

static void arm_expiry(struct fg_gateway_model *model, struct fg_sim_backend *backend)
{
    uint64_t next_ns = fg_gate_policy_next_expiry_ns(&backend->gate);
    if (next_ns >= backend->expiry_ns)
        return;
    backend->expiry_ns = next_ns;
    fg_event_heap_add(model->heap, next_ns, FG_SIM_EVENT_EXPIRE,
                      (uint32_t)(backend - model->backends));
}

static struct fg_queue_weight weight_of(const struct fg_queue_conf *conf,
                                        const struct fg_scenario_step *step)
{
    struct fg_queue_weight weight = {.bytes = step->scan.body_bytes};
    if (conf->tokens_max > 0)
        weight.tokens =
            step->prompt_tokens + fg_token_scan_estimate(&step->scan, 0, conf->tokens_answer);
    return weight;
}

static uint64_t owner_of(const struct fg_gateway_model *model, const struct fg_sim_request *request)
{
    return fg_siphash(&model->key, &request->user, sizeof(request->user));
}

static void enter_gate(struct fg_gateway_model *model, struct fg_sim_request *request,
                       uint64_t now_ns)
{
    const struct fg_route_conf *route = model->routes[request->route].conf;
    struct fg_sim_backend *backend = &model->backends[route->backend_index];
    struct fg_gate_place place;
    request->entered_ns = now_ns;
    const struct fg_gate_arrival arrival = {
        .compound = request->priority_number,
        .owner = owner_of(model, request),
        .deadline_ns = request->deadline_ns,
        .weight = weight_of(&model->config->backends[route->backend_index].queue, request->step)};
    enum fg_gate_verdict verdict = fg_gate_policy_enter(&backend->gate, &request->entry, &arrival,
                                                        now_ns, &model->turns, &place);
    if (verdict == FG_GATE_ADMITTED) {
        call_backend(model, request, now_ns);
    } else if (verdict == FG_GATE_QUEUED) {
        request->state = FG_SIM_QUEUED;
        arm_expiry(model, backend);
    } else {
        refuse_at_gate(model, request, now_ns, verdict, &place);
    }
}

static void arm_route_expiry(struct fg_gateway_model *model, struct fg_sim_route *route)
{
    uint64_t next_ns = fg_gate_policy_next_expiry_ns(&route->gate);
    if (next_ns >= route->expiry_ns)
        return;
    route->expiry_ns = next_ns;
    fg_event_heap_add(model->heap, next_ns, FG_SIM_EVENT_EXPIRE_ROUTE,
                      (uint32_t)(route - model->routes));
}

static void hold_route(struct fg_gateway_model *model, struct fg_sim_request *request,
                       uint64_t now_ns)
{
    request->holds_route = true;
    request->state = FG_SIM_REQUEST_NEW;
    request->route_since_ns = now_ns;
    enter_gate(model, request, now_ns);
}

/* The route's own slot first, where it has a limit. */
static void enter_route(struct fg_gateway_model *model, struct fg_sim_request *request,
                        uint64_t now_ns)
{
    struct fg_sim_route *route = &model->routes[request->route];
    struct fg_gate_place place;
    if (!route->conf->has_concurrency) {
        enter_gate(model, request, now_ns);
        return;
    }
    const struct fg_gate_arrival arrival = {.compound = request->priority_number,
                                            .owner = owner_of(model, request),
                                            .deadline_ns = request->deadline_ns,
                                            .weight =
                                                weight_of(&route->conf->queue, request->step)};
    request->state = FG_SIM_ROUTE_QUEUED;
    enum fg_gate_verdict verdict = fg_gate_policy_enter(
        &route->gate, &request->route_entry, &arrival, now_ns, &model->route_turns, &place);
    if (verdict == FG_GATE_ADMITTED)
        hold_route(model, request, now_ns);
    else if (verdict == FG_GATE_QUEUED)
        arm_route_expiry(model, route);
    else
        refuse_at_gate(model, request, now_ns, verdict, &place);
}

static struct fg_gate_entry *next_turn(struct fg_gate_turns *turns)
{
    struct fg_gate_entry *entry = turns->first;
    if (entry == NULL)
        return NULL;
    turns->first = entry->next_turn;
    if (turns->first == NULL)
        turns->last = NULL;
    return entry;
}

static bool take_route_turn(struct fg_gateway_model *model, uint64_t now_ns)
{
    struct fg_gate_entry *entry = next_turn(&model->route_turns);
    if (entry == NULL)
        return false;
    struct fg_sim_request *request =
        (struct fg_sim_request *)(void *)((char *)entry -
                                          offsetof(struct fg_sim_request, route_entry));
    if (entry->verdict == FG_GATE_ADMITTED)
        hold_route(model, request, now_ns);
    else
        refuse_at_gate(model, request, now_ns, entry->verdict, &entry->place);
    return true;
}

static bool take_turn(struct fg_gateway_model *model, uint64_t now_ns)
{
    struct fg_gate_entry *entry = next_turn(&model->turns);
    struct fg_sim_request *request = (struct fg_sim_request *)(void *)entry;
    if (entry == NULL)
        return false;
    if (entry->verdict == FG_GATE_ADMITTED)
        call_backend(model, request, now_ns);
    else
        refuse_at_gate(model, request, now_ns, entry->verdict, &entry->place);
    return true;
}

/* Whoever was let in or refused by the calls so far; what they do may add more. */
static void drain_turns(struct fg_gateway_model *model, uint64_t now_ns)
{
    if (model->is_draining)
        return;
    model->is_draining = true;
    while (take_turn(model, now_ns) || take_route_turn(model, now_ns) ||
           fg_sim_cluster_place(model, now_ns))
        continue;
    model->is_draining = false;
}

/* ---- the stages before ---- */

static void enter_cache(struct fg_gateway_model *model, struct fg_sim_request *request,
                        uint64_t now_ns)
{
    struct fg_sim_route *route = &model->routes[request->route];
    if (!route->conf->cache) {
        enter_route(model, request, now_ns);
    } else if (route->is_filled && now_ns < route->fresh_until_ns) {
        fg_sim_pay(model, model->scenario->gateway.refusal_cpu_ns, now_ns);
        answer(model, request, now_ns, FG_OUTCOME_GOOD);
        fg_sim_request_free(model, request);
    } else if (!route->is_fetched) {
        route->is_fetched = true;
        request->is_fetching = true;
        enter_route(model, request, now_ns);
    } else if (route->waiter_count < model->config->cache.waiters_max) {
        wait_for_fetch(model, request);
    } else {
        refuse(model, request, now_ns, FG_REFUSED_QUEUE_FULL, FG_S);
        fg_sim_request_free(model, request);
    }
}

void fg_sim_answer_call(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns,
                        enum fg_outcome outcome)
{
    fg_sim_pay(model, model->scenario->gateway.refusal_cpu_ns, now_ns);
    fg_sim_connection_rests(model, call->user, now_ns);
    fg_users_answer(model->users, call->user, now_ns, &(struct fg_answer){.outcome = outcome});
}

/* From the route to the backend's gate; what is in use meanwhile is the request's. */
static void run_stages(struct fg_gateway_model *model, const struct fg_call *call, uint64_t now_ns)
{
    const struct fg_route_conf *route = call->step->route;
    if (route->action == FG_ROUTE_BACKEND && !fg_sim_memory_has_room(model, call)) {
        fg_sim_refuse_call(model, call->user, now_ns, FG_REFUSED_RESERVE, FG_S);
        return;
    }
    if (!fg_sim_pass_stages(model, call, now_ns))
        return;
    struct fg_sim_request *request = fg_sim_request_take(model, call, now_ns);
    if (request == NULL) {
        fg_sim_answer_call(model, call, now_ns, FG_OUTCOME_FAILED);
        return;
    }
    fg_sim_memory_take(model, request);
    fg_sim_pay(model, model->scenario->gateway.request_cpu_ns, now_ns);
    if (route->timeout_ns < call->crowd->patience_ns)
        fg_sim_request_line_up(model, request); /* else the client leaves first */
    enter_cache(model, request, now_ns);
}

void fg_sim_go_on(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns)
{
    const struct fg_call call = request->call;
    model->clients[call.user].request = FG_SIM_NONE;
    fg_sim_request_free(model, request);
    run_stages(model, &call, now_ns);
}

static void on_send(void *object, const struct fg_call *call, uint64_t now_ns)
{
    struct fg_gateway_model *model = object;
    struct fg_sim_request *request = NULL;
    if (!fg_sim_client_make(model, call->user)) {
        fg_users_answer(model->users, call->user, now_ns,
                        &(struct fg_answer){.outcome = FG_OUTCOME_FAILED});
        return;
    }
    if (fg_sim_is_connected(model, call))
        run_stages(model, call, now_ns);
    else if ((request = fg_sim_request_take(model, call, now_ns)) != NULL)
        fg_sim_connect(model, request, now_ns);
    else
        fg_sim_answer_call(model, call, now_ns, FG_OUTCOME_FAILED);
    drain_turns(model, now_ns);
}

/* ---- who leaves early ---- */

/* The request is answered by somebody else; what it holds is let go. */
static void let_go(struct fg_gateway_model *model, struct fg_sim_request *request, uint64_t now_ns,
                   enum fg_concurrency_outcome limit, enum fg_breaker_outcome breaker)
{
    forget(model, request, now_ns);
    if (request->state == FG_SIM_HANDSHAKE) {
        fg_sim_connect_abandon(model, request);
        fg_sim_request_free(model, request);
        return;
    }
    struct fg_sim_backend *backend = fg_sim_backend_of(model, request);
    if (request->state == FG_SIM_CACHE_WAIT) {
        request->state = FG_SIM_CACHE_GONE;
        return;
    }
    if (request->state == FG_SIM_QUEUED || request->state == FG_SIM_ROUTE_QUEUED) {
        bool was_waiting =
            request->state == FG_SIM_QUEUED
                ? fg_gate_policy_abandon(&backend->gate, &request->entry, now_ns, &model->turns)
                : fg_gate_policy_abandon(&model->routes[request->route].gate, &request->route_entry,
                                         now_ns, &model->route_turns);
        assert(was_waiting); /* turns are looked at before anything else happens */
        (void)was_waiting;
        leave_route(model, request, now_ns, now_ns, FG_CONCURRENCY_IGNORED);
        end_fetch(model, request, now_ns, false);
        fg_sim_request_free(model, request);
        return;
    }
    bool has_job = request->state == FG_SIM_AT_BACKEND;
    assert(has_job || request->state == FG_SIM_PENDING);
    struct fg_sim_host *host = &backend->hosts[request->host];
    leave_gate(model, request, now_ns, now_ns, limit, breaker);
    end_fetch(model, request, now_ns, false);
    if (!has_job) {
        fg_sim_request_free(model, request);
        return;
    }
    request->state = FG_SIM_ORPHAN;
    fg_backend_model_abandon(&host->model, &request->job, now_ns);
}

static void on_abandon(void *object, uint32_t user, uint64_t now_ns)
{
    struct fg_gateway_model *model = object;
    struct fg_sim_request *request = fg_sim_request_at(model, model->clients[user].request);
    let_go(model, request, now_ns, FG_CONCURRENCY_CUT_SHORT, FG_BREAKER_CANCELLED);
    drain_turns(model, now_ns);
}

static void meet_deadlines(struct fg_gateway_model *model, uint32_t route_index, uint64_t now_ns)
{
    struct fg_sim_route *route = &model->routes[route_index];
    route->is_deadline_armed = false;
    while (route->oldest != FG_SIM_NONE) {
        struct fg_sim_request *request = fg_sim_request_at(model, route->oldest);
        if (request->deadline_ns > now_ns) {
            route->is_deadline_armed = true;
            fg_event_heap_add(model->heap, request->deadline_ns, FG_SIM_EVENT_DEADLINE,
                              route_index);
            break;
        }
        uint32_t user = request->user;
        bool is_stale = request->state == FG_SIM_AT_BACKEND && serves_stale(model, request, now_ns);
        let_go(model, request, now_ns, FG_CONCURRENCY_DROPPED, FG_BREAKER_FAILURE);
        fg_users_answer(
            model->users, user, now_ns,
            &(struct fg_answer){.outcome = is_stale ? FG_OUTCOME_GOOD : FG_OUTCOME_LATE});
    }
    drain_turns(model, now_ns);
}

/* ---- events ---- */

static void expire_route(struct fg_gateway_model *model, struct fg_sim_route *route,
                         uint64_t now_ns)
{
    if (now_ns < route->expiry_ns)
        return; /* armed for an earlier one since */
    route->expiry_ns = UINT64_MAX;
    fg_gate_policy_expire(&route->gate, now_ns, &model->route_turns);
    drain_turns(model, now_ns);
    arm_route_expiry(model, route);
}

static void expire(struct fg_gateway_model *model, struct fg_sim_backend *backend, uint64_t now_ns)
{
    if (now_ns < backend->expiry_ns)
        return; /* armed for an earlier one since */
    backend->expiry_ns = UINT64_MAX;
    fg_gate_policy_expire(&backend->gate, now_ns, &model->turns);
    drain_turns(model, now_ns);
    arm_expiry(model, backend);
}

void fg_gateway_model_on_event(struct fg_gateway_model *model, const struct fg_event *event)
{
    uint32_t index = fg_event_index(event);
    uint64_t now_ns = event->at_ns;
    struct fg_sim_request *request;
    switch (fg_event_kind(event)) {
    case FG_SIM_EVENT_SERVED:
        request = fg_sim_request_at(model, index);
        fg_backend_model_on_served(&fg_sim_host_of(model, request)->model, &request->job, now_ns);
        return;
    case FG_SIM_EVENT_ANSWERED:
        request = fg_sim_request_at(model, index);
        fg_backend_model_on_answered(&fg_sim_host_of(model, request)->model, &request->job, now_ns);
        return;
    case FG_SIM_EVENT_TURN:
        fg_backend_model_on_turn(&model->hosts[index].model, now_ns);
        return;
    case FG_SIM_EVENT_FAULT:
        fg_backend_model_on_fault(&model->hosts[index].model, now_ns);
        return;
    case FG_SIM_EVENT_EXPIRE:
        expire(model, &model->backends[index], now_ns);
        return;
    case FG_SIM_EVENT_EXPIRE_ROUTE:
        expire_route(model, &model->routes[index], now_ns);
        return;
    case FG_SIM_EVENT_DEADLINE:
        meet_deadlines(model, index, now_ns);
        return;
    case FG_SIM_EVENT_CHECK:
        fg_sim_host_check(model, index, now_ns);
        return;
    case FG_SIM_EVENT_SWEEP:
        fg_sim_hosts_sweep(model, index, now_ns);
        return;
    case FG_SIM_EVENT_HANDSHAKE:
        fg_sim_handshakes_run(model, now_ns);
        drain_turns(model, now_ns);
        return;
    default:
        assert(fg_event_kind(event) == FG_SIM_EVENT_PRESSURE);
        sample_pressure(model, now_ns);
    }
}

void fg_gateway_model_sample(struct fg_gateway_model *model, size_t bucket, uint64_t now_ns)
{
    for (size_t i = 0; i < model->config->backend_count; i++) {
        struct fg_sim_backend *backend = &model->backends[i];
        struct fg_tally_backend *tally = &model->tally->backends[i];
        uint64_t wasted = 0, preempted = 0, pending = 0;
        for (size_t j = 0; j < backend->host_count; j++) {
            wasted += backend->hosts[j].model.wasted_total;
            preempted += backend->hosts[j].model.preempted_total;
            pending += backend->hosts[j].model.pending;
        }
        struct fg_tally_load *load = &tally->loads[bucket];
        *load = backend->now;
        load->wasted = (uint32_t)(wasted - backend->wasted_before);
        load->queued = backend->gate.queue.count;
        load->in_flight = fg_concurrency_limit_in_flight(&backend->gate.limit);
        load->limit = fg_concurrency_limit_current(&backend->gate.limit);
        load->breaker = fg_circuit_breaker_state(&backend->gate.breaker, now_ns);
        load->pending = (uint32_t)pending;
        tally->done += backend->now.done;
        tally->wasted = wasted;
        tally->preempted = preempted;
        backend->wasted_before = wasted;
        backend->now = (struct fg_tally_load){0};
    }
}

struct fg_users_port fg_gateway_model_port(struct fg_gateway_model *model)
{
    return (struct fg_users_port){.object = model, .send = on_send, .abandon = on_abandon};
}

void fg_gateway_model_serve(struct fg_gateway_model *model, struct fg_users *users)
{
    model->users = users;
}

const struct fg_gate_policy *fg_gateway_model_gate(const struct fg_gateway_model *model,
                                                   size_t backend)
{
    return &model->backends[backend].gate;
}

const struct fg_overload *fg_gateway_model_overload(const struct fg_gateway_model *model)
{
    return &model->overload;
}

bool fg_gateway_model_is_complete(const struct fg_gateway_model *model)
{
    return !model->is_exhausted;
}
