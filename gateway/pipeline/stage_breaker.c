/*
 * stage_breaker.c: do not call what keeps failing.
 */
#include "flow.h"

static const char *const messages[] = {
    [FG_BREAKER_BY_NOTHING] = "the backend keeps failing and is being left alone",
    [FG_BREAKER_BY_ROW] = "the backend failed too often in a row and is being left alone",
    [FG_BREAKER_BY_ERRORS] = "too many per cent of the backend's answers are failures, so that it "
                             "is being left alone",
    [FG_BREAKER_BY_LATENCY] = "too many per cent of the backend's answers are slow, so that it is "
                              "being left alone",
    [FG_BREAKER_BY_PROBE] = "the backend failed again when it was tried, and is being left alone",
};

void fg_flow_refuse_broken(struct fg_flow *flow, uint64_t retry_after_ns)
{
    const struct fg_breaker_cause cause = fg_gate_breaker_cause(flow->slots[FG_SLOT_BACKEND].gate);
    fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    if (fg_cache_serve_stale(flow))
        return;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_BREAKER_OPEN,
                             .status = 503,
                             .type = "overloaded",
                             .message = messages[cause.rule],
                             .retry_after_ns = retry_after_ns,
                             .policy = "breaker",
                             .value = cause.value,
                             .limit = cause.limit,
                             .position = UINT64_MAX,
                         });
}

static void pass(struct fg_flow *flow, const char *policy)
{
    fg_flow_pass(flow, policy, FG_DECISION_NO_VALUE, FG_DECISION_NO_VALUE);
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    const struct fg_flow_slot *slot = &flow->slots[FG_SLOT_BACKEND];
    if (!slot->is_held)
        return FG_STAGE_CONTINUE;
    if (flow->passed_breaker) { /* when it was admitted */
        pass(flow, "breaker");
        return FG_STAGE_CONTINUE;
    }
    uint64_t retry_after_ns;
    enum fg_breaker_verdict verdict = fg_gate_breaker_try_pass(
        slot->gate, flow->req->ex.priority_number, fg_flow_now_ns(flow), &retry_after_ns);
    if (verdict == FG_BREAKER_REFUSE) {
        fg_flow_refuse_broken(flow, retry_after_ns);
        return FG_STAGE_RESPOND;
    }
    flow->passed_breaker = true;
    flow->was_probe = verdict == FG_BREAKER_PROBE;
    if (verdict == FG_BREAKER_WOULD_REFUSE) {
        const struct fg_breaker_cause cause = fg_gate_breaker_cause(slot->gate);
        fg_flow_would_refuse(flow, "breaker", FG_REFUSED_BREAKER_OPEN, cause.value, cause.limit);
    } else {
        pass(flow, flow->was_probe ? "breaker probe" : "breaker");
    }
    return FG_STAGE_CONTINUE;
}

const struct fg_stage fg_stage_breaker = {.name = "breaker", .run = run};
