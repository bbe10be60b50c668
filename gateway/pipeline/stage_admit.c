/*
 * stage_admit.c: a slot of the route, where it has a limit of its own, and one of the backend, each
 * now or after a wait in a bounded queue.
 * Order    always the route's first. Who waits for it holds nothing of the backend's that others
 *          could use; who waits for the backend keeps from it at most as many as the route may
 *          have there anyway. One order for all: nobody waits in a circle.
 * Thread   the request's loop.
 */
#include "flow.h"

#include "pipeline/policy_conf.h"
#include "policies/retry_after.h"
#include "policies/wide_math.h"

/* What is said of each of the two. */
struct gate_words {
    const char *concurrency, *queue, *priority; /* names of policies */
    enum fg_hop hop;
    const char *messages[FG_REFUSED_COUNT];
};

static const struct gate_words all_words[FG_SLOT_COUNT] = {
    [FG_SLOT_ROUTE] =
        {"route_concurrency",
         "route_queue",
         "route_priority",
         FG_HOP_ROUTE_QUEUE,
         {[FG_REFUSED_PRIORITY] =
              "the route is overloaded and serves more important requests first",
          [FG_REFUSED_QUEUE_FULL] = "the route's queue is full",
          [FG_REFUSED_QUEUE_BYTES] =
              "the bodies of the requests that wait for the route are as many bytes as may wait",
          [FG_REFUSED_QUEUE_TOKENS] =
              "the requests that wait for the route will take as many tokens as may wait",
          [FG_REFUSED_CANNOT_MEET_DEADLINE] =
              "the wait for the route would be longer than the request's deadline",
          [FG_REFUSED_QUEUE_SHED] = "the route's queue does not move fast enough",
          [FG_REFUSED_QUEUE_TIMEOUT] = "the wait for the route took too long"}},
    [FG_SLOT_BACKEND] =
        {"concurrency",
         "queue",
         "priority",
         FG_HOP_QUEUE,
         {[FG_REFUSED_PRIORITY] =
              "the backend is overloaded and serves more important requests first",
          [FG_REFUSED_QUEUE_FULL] = "the backend's queue is full",
          [FG_REFUSED_QUEUE_BYTES] =
              "the bodies of the requests that wait for the backend are as many bytes as may wait",
          [FG_REFUSED_QUEUE_TOKENS] =
              "the requests that wait for the backend will take as many tokens as may wait",
          [FG_REFUSED_CANNOT_MEET_DEADLINE] =
              "the wait for the backend would be longer than the request's deadline",
          [FG_REFUSED_QUEUE_SHED] = "the backend's queue does not move fast enough",
          [FG_REFUSED_QUEUE_TIMEOUT] = "the wait for the backend took too long"}},
};

/* Which of the two a flow in one of the stages below is about. */
static enum fg_slot_kind kind_of(const struct fg_flow *flow)
{
    return flow->stage == FG_STAGE_ADMIT_ROUTE ? FG_SLOT_ROUTE : FG_SLOT_BACKEND;
}

struct fg_gate *fg_flow_gate_waited_for(const struct fg_flow *flow)
{
    return flow->slots[kind_of(flow)].gate;
}

static const struct fg_queue_conf *queue_conf(const struct fg_flow *flow)
{
    if (kind_of(flow) == FG_SLOT_ROUTE)
        return &flow->route->queue;
    return &flow->thread->pipeline->config->backends[flow->route->backend_index].queue;
}

/* What the request holds while it waits, as far as is known by now. */
static struct fg_queue_weight weight_of(const struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    const struct fg_queue_conf *conf = queue_conf(flow);
    uint64_t declared = ex->content_length > 0 ? (uint64_t)ex->content_length : 0;
    uint64_t seen = flow->body_scan.body_bytes;
    struct fg_queue_weight weight = {.bytes = declared > seen ? declared : seen};
    if (conf->tokens_max > 0)
        weight.tokens = fg_token_scan_estimate(&flow->body_scan, declared, conf->tokens_answer);
    return weight;
}

struct figures {
    uint64_t value;
    uint64_t limit;
};

/* How long it may wait from `since_ns` on, in ms. */
static uint64_t may_wait_ms(const struct fg_flow *flow, uint64_t since_ns)
{
    uint64_t left_ns = fg_subtract_floor(flow->req->ex.deadline_ns, since_ns);
    uint64_t most_ns = queue_conf(flow)->wait_max_ns;
    return (left_ns < most_ns ? left_ns : most_ns) / FG_MS;
}

static uint64_t waited_ms(const struct fg_flow *flow)
{
    return (fg_subtract_floor(fg_flow_now_ns(flow), flow->waited_since_ns) + FG_MS - 1) / FG_MS;
}

/* How long it has waited, or would have to, and what a queue that stands bears. */
static struct figures shed_figures(const struct fg_flow *flow, const struct fg_gate_place *place)
{
    const uint64_t borne_ms = place->borne_ns / FG_MS;
    if (flow->state == FG_FLOW_WAITING)
        return (struct figures){waited_ms(flow), borne_ms};
    if (place->wait_ns == UINT64_MAX)
        return (struct figures){place->position, queue_conf(flow)->requests_max};
    return (struct figures){(place->wait_ns + FG_MS - 1) / FG_MS, borne_ms};
}

/* What was compared with what: times in ms. */
static struct figures figures_of(const struct fg_flow *flow, enum fg_refused reason,
                                 const struct fg_gate_place *place)
{
    const struct fg_queue_conf *conf = queue_conf(flow);
    uint64_t now_ns = fg_flow_now_ns(flow);
    switch (reason) {
    case FG_REFUSED_PRIORITY:
        return (struct figures){flow->req->ex.priority_number, place->level};
    case FG_REFUSED_QUEUE_BYTES:
        return (struct figures){place->held.bytes, conf->bytes_max};
    case FG_REFUSED_QUEUE_TOKENS:
        return (struct figures){place->held.tokens, conf->tokens_max};
    case FG_REFUSED_CANNOT_MEET_DEADLINE:
        return (struct figures){place->wait_ns / FG_MS, may_wait_ms(flow, now_ns)};
    case FG_REFUSED_QUEUE_TIMEOUT:
        return (struct figures){waited_ms(flow), may_wait_ms(flow, flow->waited_since_ns)};
    case FG_REFUSED_QUEUE_SHED:
        return shed_figures(flow, place);
    default:
        return (struct figures){place->position, conf->requests_max};
    }
}

static void refuse(struct fg_flow *flow, enum fg_gate_verdict verdict,
                   const struct fg_gate_place *place)
{
    const struct gate_words *words = &all_words[kind_of(flow)];
    enum fg_refused reason = fg_refused_of_gate(verdict);
    const struct figures figures = figures_of(flow, reason, place);
    flow->level = place->level;
    fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    uint64_t retry_after_ns = fg_retry_after_queue_ns(place->wait_ns);
    const char *policy = reason == FG_REFUSED_PRIORITY ? words->priority : words->queue;
    if (fg_flow_send_back_to_line(flow, policy, reason, retry_after_ns))
        return;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = reason,
                             .status = 503,
                             .type = "overloaded",
                             .message = words->messages[reason],
                             .retry_after_ns = retry_after_ns,
                             .policy = policy,
                             .value = figures.value,
                             .limit = figures.limit,
                             .position = place->position,
                             .wait_ns = place->wait_ns,
                         });
}

/* In shadow: what it would have been told. */
static void tell_spared(struct fg_flow *flow, const struct fg_gate_place *place)
{
    const struct gate_words *words = &all_words[kind_of(flow)];
    if (place->would_be == FG_GATE_ADMITTED)
        return;
    if (place->would_be == FG_GATE_QUEUED) {
        fg_flow_decide(flow, &(struct fg_decision){.policy = words->concurrency,
                                                   .decided = FG_DECIDED_WOULD_WAIT,
                                                   .value = place->in_flight,
                                                   .limit = place->limit});
        return;
    }
    const enum fg_refused reason = fg_refused_of_gate(place->would_be);
    const struct figures figures = figures_of(flow, reason, place);
    fg_flow_would_refuse(flow, reason == FG_REFUSED_PRIORITY ? words->priority : words->queue,
                         reason, figures.value, figures.limit);
}

static void take(struct fg_flow *flow, const char *policy)
{
    struct fg_flow_slot *slot = &flow->slots[kind_of(flow)];
    slot->is_held = true;
    slot->since_ns = fg_flow_now_ns(flow);
    fg_flow_pass(flow, policy, FG_DECISION_NO_VALUE, FG_DECISION_NO_VALUE);
}

static void on_turn(void *object, enum fg_gate_verdict verdict, const struct fg_gate_place *place)
{
    struct fg_flow *flow = object;
    const struct gate_words *words = &all_words[kind_of(flow)];
    flow->slots[kind_of(flow)].ticket = NULL;
    fg_loop_refresh_now(flow->thread->loop);
    if (verdict != FG_GATE_ADMITTED) {
        refuse(flow, verdict, place);
        return;
    }
    tell_spared(flow, place);
    take(flow, words->queue);
    fg_flow_arm_deadline(flow, flow->req->ex.deadline_ns);
    fg_flow_resume(flow);
}

static enum fg_stage_verdict wait_for(struct fg_flow *flow, const struct fg_gate_place *place)
{
    const struct fg_exchange *ex = &flow->req->ex;
    fg_flow_decide(flow, &(struct fg_decision){.policy = all_words[kind_of(flow)].queue,
                                               .decided = FG_DECIDED_WAIT,
                                               .value = place->position,
                                               .limit = FG_DECISION_NO_VALUE,
                                               .wait_ns = place->wait_ns});
    uint64_t wait_until_ns = fg_gate_next_expiry_ns(fg_flow_gate_waited_for(flow));
    if (wait_until_ns < ex->deadline_ns)
        fg_flow_arm_deadline(flow, wait_until_ns);
    return fg_flow_wait(flow, all_words[kind_of(flow)].hop);
}

static enum fg_stage_verdict enter(struct fg_flow *flow, struct fg_gate *gate)
{
    struct fg_pipeline_thread *thread = flow->thread;
    struct fg_flow_slot *slot = &flow->slots[kind_of(flow)];
    const struct fg_exchange *ex = &flow->req->ex;
    struct fg_gate_place place;
    uint64_t now_ns = fg_flow_now_ns(flow);
    bool has_passed;
    slot->gate = gate;
    bool is_admitted =
        fg_gate_try_enter(gate, ex->priority_number, now_ns, &flow->level, &has_passed);
    if (kind_of(flow) == FG_SLOT_BACKEND) {
        flow->passed_breaker = has_passed;
        flow->was_probe = false;
    }
    if (is_admitted) {
        take(flow, all_words[kind_of(flow)].concurrency);
        return FG_STAGE_CONTINUE;
    }
    const struct fg_gate_arrival arrival = {.compound = ex->priority_number,
                                            .owner = fg_flow_owner(flow),
                                            .deadline_ns = ex->deadline_ns,
                                            .weight = weight_of(flow)};
    enum fg_gate_verdict verdict =
        fg_gate_enter(gate, &thread->gate_tickets, fg_loop_mailbox(thread->loop), &arrival, now_ns,
                      on_turn, flow, &slot->ticket, &place);
    flow->level = place.level;
    if (verdict == FG_GATE_ADMITTED || verdict == FG_GATE_QUEUED)
        tell_spared(flow, &place);
    if (verdict == FG_GATE_ADMITTED) {
        take(flow, all_words[kind_of(flow)].concurrency);
        return FG_STAGE_CONTINUE;
    }
    if (verdict == FG_GATE_QUEUED)
        return wait_for(flow, &place);
    if (verdict == FG_GATE_BREAKER_OPEN)
        fg_flow_refuse_broken(flow, place.wait_ns);
    else
        refuse(flow, verdict, &place);
    return FG_STAGE_RESPOND;
}

static enum fg_stage_verdict run_route(struct fg_flow *flow)
{
    struct fg_gate *gate = flow->thread->pipeline->route_gates[fg_flow_route_index(flow)];
    return gate == NULL ? FG_STAGE_CONTINUE : enter(flow, gate);
}

static enum fg_stage_verdict run_backend(struct fg_flow *flow)
{
    if (flow->route->action != FG_ROUTE_BACKEND)
        return FG_STAGE_CONTINUE; /* the session endpoint is the gateway's own */
    return enter(flow, flow->thread->pipeline->gates[flow->route->backend_index]);
}

static void cancel(struct fg_flow *flow)
{
    struct fg_flow_slot *slot = &flow->slots[kind_of(flow)];
    if (slot->ticket != NULL)
        fg_gate_abandon(slot->ticket, fg_clock_monotonic_ns());
    slot->ticket = NULL;
}

void fg_stage_admit_on_piece(struct fg_flow *flow)
{
    struct fg_gate_place place;
    enum fg_gate_verdict verdict = fg_gate_reweigh(flow->slots[kind_of(flow)].ticket,
                                                   weight_of(flow), fg_flow_now_ns(flow), &place);
    if (verdict == FG_GATE_QUEUED)
        return;
    cancel(flow);
    refuse(flow, verdict, &place);
}

const struct fg_stage fg_stage_admit_route = {
    .name = "admit_route", .run = run_route, .cancel = cancel};
const struct fg_stage fg_stage_admit = {.name = "admit", .run = run_backend, .cancel = cancel};
