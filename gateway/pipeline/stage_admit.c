/*
 * stage_admit.c: a slot of the backend, now or after a wait in its bounded queue.
 */
#include "flow.h"

#include "pipeline/policy_conf.h"
#include "policies/retry_after.h"

static const struct fg_queue_conf *queue_conf(const struct fg_flow *flow)
{
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

/* What was compared with what. */
static struct figures figures_of(const struct fg_flow *flow, enum fg_refused reason,
                                 const struct fg_gate_place *place)
{
    const struct fg_queue_conf *conf = queue_conf(flow);
    switch (reason) {
    case FG_REFUSED_PRIORITY:
        return (struct figures){flow->req->ex.priority_number, place->level};
    case FG_REFUSED_QUEUE_BYTES:
        return (struct figures){place->held.bytes, conf->bytes_max};
    case FG_REFUSED_QUEUE_TOKENS:
        return (struct figures){place->held.tokens, conf->tokens_max};
    default:
        return (struct figures){place->position, conf->requests_max};
    }
}

static void refuse(struct fg_flow *flow, enum fg_gate_verdict verdict,
                   const struct fg_gate_place *place)
{
    static const char *const messages[FG_REFUSED_COUNT] = {
        [FG_REFUSED_PRIORITY] =
            "the backend is overloaded and serves more important requests first",
        [FG_REFUSED_QUEUE_FULL] = "the backend's queue is full",
        [FG_REFUSED_QUEUE_BYTES] =
            "the bodies of the requests that wait for the backend are as many bytes as may wait",
        [FG_REFUSED_QUEUE_TOKENS] =
            "the requests that wait for the backend will take as many tokens as may wait",
        [FG_REFUSED_CANNOT_MEET_DEADLINE] =
            "the wait for the backend would be longer than the request's deadline",
        [FG_REFUSED_QUEUE_SHED] = "the backend's queue does not move fast enough",
        [FG_REFUSED_QUEUE_TIMEOUT] = "the wait for the backend took too long",
    };
    enum fg_refused reason = fg_refused_of_gate(verdict);
    const struct figures figures = figures_of(flow, reason, place);
    flow->level = place->level;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = reason,
                             .status = 503,
                             .type = "overloaded",
                             .message = messages[reason],
                             .retry_after_ns = fg_retry_after_queue_ns(place->wait_ns),
                             .policy = reason == FG_REFUSED_PRIORITY ? "priority" : "queue",
                             .value = figures.value,
                             .limit = figures.limit,
                             .position = place->position,
                             .wait_ns = place->wait_ns,
                         });
}

static void on_turn(void *object, enum fg_gate_verdict verdict, const struct fg_gate_place *place)
{
    struct fg_flow *flow = object;
    flow->ticket = NULL;
    fg_loop_refresh_now(flow->thread->loop);
    if (verdict != FG_GATE_ADMITTED) {
        refuse(flow, verdict, place);
        return;
    }
    flow->holds_slot = true;
    fg_flow_pass(flow, "queue", FG_DECISION_NO_VALUE, FG_DECISION_NO_VALUE);
    fg_flow_arm_deadline(flow, flow->req->ex.deadline_ns);
    fg_flow_resume(flow, FG_HOP_QUEUE);
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    if (flow->route->action != FG_ROUTE_BACKEND)
        return FG_STAGE_CONTINUE; /* the session endpoint is the gateway's own */
    const struct fg_exchange *ex = &flow->req->ex;
    flow->gate = thread->pipeline->gates[flow->route->backend_index];
    uint64_t now_ns = fg_flow_now_ns(flow);
    struct fg_gate_place place;
    const struct fg_gate_arrival arrival = {
        .compound = ex->priority_number, .deadline_ns = ex->deadline_ns, .weight = weight_of(flow)};
    enum fg_gate_verdict verdict =
        fg_gate_enter(flow->gate, &thread->gate_tickets, fg_loop_mailbox(thread->loop), &arrival,
                      now_ns, on_turn, flow, &flow->ticket, &place);
    flow->level = place.level;
    if (verdict == FG_GATE_ADMITTED) {
        flow->holds_slot = true;
        fg_flow_pass(flow, "concurrency", FG_DECISION_NO_VALUE, FG_DECISION_NO_VALUE);
        return FG_STAGE_CONTINUE;
    }
    if (verdict == FG_GATE_QUEUED) {
        fg_flow_decide(flow, &(struct fg_decision){.policy = "queue",
                                                   .decided = FG_DECIDED_WAIT,
                                                   .value = place.position,
                                                   .limit = FG_DECISION_NO_VALUE,
                                                   .wait_ns = place.wait_ns});
        uint64_t wait_until_ns = fg_gate_next_expiry_ns(flow->gate);
        if (wait_until_ns < ex->deadline_ns)
            fg_flow_arm_deadline(flow, wait_until_ns);
        return FG_STAGE_WAIT;
    }
    if (verdict == FG_GATE_BREAKER_OPEN)
        fg_flow_refuse_broken(flow, place.wait_ns);
    else
        refuse(flow, verdict, &place);
    return FG_STAGE_RESPOND;
}

static void cancel(struct fg_flow *flow)
{
    if (flow->ticket != NULL)
        fg_gate_abandon(flow->ticket, fg_clock_monotonic_ns());
    flow->ticket = NULL;
}

void fg_stage_admit_on_piece(struct fg_flow *flow)
{
    struct fg_gate_place place;
    enum fg_gate_verdict verdict =
        fg_gate_reweigh(flow->ticket, weight_of(flow), fg_flow_now_ns(flow), &place);
    if (verdict == FG_GATE_QUEUED)
        return;
    cancel(flow);
    refuse(flow, verdict, &place);
}

const struct fg_stage fg_stage_admit = {.name = "admit", .run = run, .cancel = cancel};
