/*
 * backend_answer.c: what a backend says of a request, on its way to the client.
 * Job      hand heads, bodies and trailers on, turn refusals and failures into answers of our own
 *          (answer.c), tell gate and breaker how it went.
 * Thread   the request's loop.
 */
#include "flow.h"

#include "backends/grpc.h"
#include "base/log.h"

static void note_head(struct fg_flow *flow)
{
    flow->head_ns = fg_clock_monotonic_ns();
    fg_flow_note_backend(flow, flow->head_ns);
}

static void on_interim(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    if (!flow->is_answer_over && !flow->is_head_sent)
        fg_flow_send_interim(flow, status, fields, field_count);
}

static bool is_backend_fault(unsigned status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

/* By what it has answered. */
static void leave_answered(struct fg_flow *flow)
{
    bool is_fault = is_backend_fault(flow->status) || flow->has_call_failed;
    fg_flow_leave_backend(flow,
                          flow->status == 503 || flow->status == 504 ? FG_CONCURRENCY_DROPPED
                                                                     : FG_CONCURRENCY_SUCCESS,
                          is_fault ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS);
}

static bool is_at_cluster(const struct fg_flow *flow)
{
    const struct fg_config *config = flow->thread->pipeline->config;
    return flow->route->action == FG_ROUTE_BACKEND &&
           config->backends[flow->route->backend_index].kind == FG_BACKEND_CLUSTER;
}

/* It goes on for as long as something comes, which may be hours: what has begun is no work. */
static void begin_stream(struct fg_flow *flow)
{
    if (is_at_cluster(flow) && flow->req->ex.is_lasting)
        leave_answered(flow);
    fg_flow_end_by_silence(flow, flow->route->stream_idle_ns);
}

static void on_head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                    size_t field_count)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    note_head(flow);
    fg_cache_note_answer(flow, status, fields, field_count);
    fg_flow_set_state(flow, FG_FLOW_RESPONDING);
    flow->req->has_lasting_fields = true; /* backend.h asks for it, and ours are in the arena */
    if (!fg_flow_send_head(flow, status, fields, field_count, false))
        return;
    if (status == 101)
        fg_flow_begin_tunnel(flow);
    else if (flow->route->stream_idle_ns > 0 && !flow->is_answer_over)
        begin_stream(flow);
}

/*
 * The client does not keep up with a server that has done its work: the place goes to others, or a
 * few slow readers would hold them all. The connection to the server stays bounded by the cluster.
 */
static void leave_for_slow_client(struct fg_flow *flow)
{
    if (!is_at_cluster(flow))
        return;
    fg_flow_leave_backend(flow, FG_CONCURRENCY_SUCCESS,
                          is_backend_fault(flow->status) ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS);
}

static bool on_write(struct fg_exchange *ex, const void *data, size_t len)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    if (flow->is_answer_over)
        return true; /* cut: what the backend still gives is nobody's, until on_done cancels it */
    if (flow->silence_max_ns > 0)
        flow->moved_ns = fg_flow_now_ns(flow);
    bool may_go_on = fg_response_write(flow->req, data, len);
    if (!may_go_on && flow->slots[FG_SLOT_BACKEND].is_held)
        leave_for_slow_client(flow);
    return may_go_on;
}

static void note_call(struct fg_flow *flow, const struct fg_field *fields, size_t field_count)
{
    flow->has_call_failed =
        fg_grpc_is_fault(fields, field_count) && fg_grpc_is_call(&flow->req->ex);
}

static void on_trailers(struct fg_exchange *ex, const struct fg_field *fields, size_t field_count)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    note_call(flow, fields, field_count);
    if (flow->is_answer_over)
        return;
    if (fg_flow_take_off_edited(flow, &fields, &field_count))
        fg_response_trailers(flow->req, fields, field_count);
    else
        fg_flow_cut(flow); /* without them it would look whole */
}

/* The backend is done with the exchange, and well. */
static void finish_backend(struct fg_flow *flow)
{
    fg_flow_close_backend(flow);
    leave_answered(flow);
}

static void on_end(struct fg_exchange *ex)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    finish_backend(flow);
    fg_flow_end_answer(flow);
}

static void on_head_end(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                        size_t field_count)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    note_head(flow);
    note_call(flow, fields, field_count);
    fg_cache_note_answer(flow, status, fields, field_count);
    fg_flow_set_state(flow, FG_FLOW_RESPONDING);
    (void)fg_flow_send_head(flow, status, fields, field_count, true);
    finish_backend(flow);
}

/* The backend works and said no: an answer like any other, but for the limit when it is a "busy".
 */
static void on_refuse(struct fg_exchange *ex, const struct fg_backend_refusal *says)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    bool is_busy = says->status == 429 || says->status == 503;
    const enum fg_refused reason = fg_refused_of_name(says->code);
    const struct fg_refusal refusal = {
        .reason = reason,
        .status = says->status,
        .type = says->type,
        .message = says->message,
        .param = says->param,
        .retry_after_ns = says->retry_after_ms * FG_MS,
        .policy = says->policy,
        .value = says->value,
        .limit = says->limit,
        .position = UINT64_MAX,
        .allow = says->allow,
    };
    note_head(flow);
    fg_flow_close_backend(flow);
    fg_flow_leave_backend(flow,
                          says->was_not_asked ? FG_CONCURRENCY_IGNORED
                          : is_busy           ? FG_CONCURRENCY_DROPPED
                                              : FG_CONCURRENCY_SUCCESS,
                          is_busy                          ? FG_BREAKER_CANCELLED
                          : is_backend_fault(says->status) ? FG_BREAKER_FAILURE
                                                           : FG_BREAKER_SUCCESS);
    if (flow->is_answer_over || (is_busy && fg_cache_serve_stale(flow)))
        return;
    if (is_busy)
        fg_flow_give_back_place(flow);
    if (says->policy != NULL && reason != FG_REFUSED_COUNT)
        fg_flow_note_refusal(flow, &refusal);
    fg_flow_send_error(flow, &refusal, says->code);
}

static void on_would_refuse(struct fg_exchange *ex, const struct fg_backend_refusal *says)
{
    fg_flow_would_refuse(fg_flow_of_exchange(ex), says->policy, fg_refused_of_name(says->code),
                         says->value, says->limit);
}

static const struct {
    unsigned status;
    enum fg_failed failed; /* FG_FAILED_NOT: it is a refusal, for lack of memory */
    const char *type;
    const char *message;
} failures[FG_FAILURE_COUNT] = {
    [FG_FAILURE_CONNECT] = {502, FG_FAILED_UNREACHABLE, "backend_error",
                            "the backend could not be reached"},
    [FG_FAILURE_RESET] = {502, FG_FAILED_RESET, "backend_error",
                          "the backend's answer broke off or was malformed"},
    [FG_FAILURE_TIMEOUT] = {504, FG_FAILED_TIMEOUT, "timeout",
                            "the backend did not answer in time"},
    [FG_FAILURE_BUSY] = {503, FG_FAILED_BUSY, "backend_error",
                         "the backend has no room for the request now"},
    [FG_FAILURE_NO_MEMORY] = {503, FG_FAILED_NOT, "overloaded",
                              "a memory limit of the gateway was reached"},
    [FG_FAILURE_NO_TUNNEL] = {502, FG_FAILED_NO_TUNNEL, "backend_error",
                              "the backend took no WebSocket the way it was asked for one"},
    [FG_FAILURE_SLOW_CLIENT] = {503, FG_FAILED_SLOW_READER, "overloaded",
                                "the request body did not come while connections were short"},
    [FG_FAILURE_INTERNAL] = {500, FG_FAILED_INTERNAL, "backend_error",
                             "the gateway failed to handle the request"},
};

static const char *code_of(enum fg_failure failure)
{
    return failures[failure].failed == FG_FAILED_NOT ? fg_refused_name(FG_REFUSED_NO_MEMORY)
                                                     : fg_failed_name(failures[failure].failed);
}

void fg_flow_note_slow_client(struct fg_flow *flow, const char *holder)
{
    static struct fg_log_limit limit;
    const struct fg_exchange *ex = &flow->req->ex;
    flow->failed = FG_FAILED_SLOW_READER;
    fg_flow_decide(flow, &(struct fg_decision){.policy = "slow_reader_max",
                                               .reason = code_of(FG_FAILURE_SLOW_CLIENT),
                                               .decided = FG_DECIDED_REFUSE,
                                               .value = FG_DECISION_NO_VALUE,
                                               .limit = FG_DECISION_NO_VALUE});
    fg_log_limited(&limit, 10, FG_LOG_INFO, "slow_reader_cut",
                   "backend=%s client=%.*s request_id=%.*s", holder, FG_SPAN_ARGS(ex->client_addr),
                   FG_SPAN_ARGS(ex->request_id));
}

/* The server did its work, and there is nobody to whom a word would get through. */
static void give_up(struct fg_flow *flow)
{
    fg_flow_note_slow_client(flow, flow->backend->backend->name);
    fg_flow_close_backend(flow);
    fg_flow_leave_backend(flow, FG_CONCURRENCY_SUCCESS, FG_BREAKER_CANCELLED);
    if (flow->is_answer_over)
        return;
    flow->is_answer_over = true;
    fg_response_give_up(flow->req);
}

static void note_failure(struct fg_flow *flow, enum fg_failure failure, const char *detail)
{
    static struct fg_log_limit limit;
    if (failure == FG_FAILURE_SLOW_CLIENT) {
        fg_flow_note_slow_client(flow, flow->backend->backend->name);
        return;
    }
    flow->failed = failures[failure].failed;
    fg_log_limited(&limit, 10, FG_LOG_WARN, "backend_failed",
                   "backend=%s code=%s detail=\"%s\" request_id=%.*s", flow->backend->backend->name,
                   code_of(failure), detail, FG_SPAN_ARGS(flow->req->ex.request_id));
}

static void on_fail(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    if (failure == FG_FAILURE_SLOW_CLIENT && flow->is_head_sent) {
        give_up(flow);
        return;
    }
    bool is_ours = failure == FG_FAILURE_BUSY || failure == FG_FAILURE_NO_MEMORY ||
                   failure == FG_FAILURE_NO_TUNNEL || failure == FG_FAILURE_SLOW_CLIENT;
    bool may_pass = failure != FG_FAILURE_INTERNAL && failure != FG_FAILURE_NO_TUNNEL;
    fg_flow_close_backend(flow);
    fg_flow_leave_backend(flow,
                          is_ours && failure != FG_FAILURE_BUSY ? FG_CONCURRENCY_IGNORED
                                                                : FG_CONCURRENCY_DROPPED,
                          is_ours ? FG_BREAKER_CANCELLED : FG_BREAKER_FAILURE);
    note_failure(flow, failure, detail);
    if (flow->is_head_sent || flow->is_answer_over) {
        fg_flow_break_off(flow, failures[failure].status, failures[failure].message);
        return;
    }
    if (fg_cache_serve_stale(flow))
        return;
    if (is_ours)
        fg_flow_give_back_place(flow);
    struct fg_refusal refusal = {
        .reason = FG_REFUSED_NO_MEMORY,
        .status = failures[failure].status,
        .type = failures[failure].type,
        .message = failures[failure].message,
        .retry_after_ns = may_pass ? FG_S : 0,
        .position = UINT64_MAX,
    };
    if (failure == FG_FAILURE_NO_MEMORY) {
        fg_flow_tell_lack(flow, &refusal);
        fg_flow_note_refusal(flow, &refusal);
    }
    fg_flow_send_error(flow, &refusal, code_of(failure));
}

static void on_consumed(struct fg_exchange *ex, size_t len)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    flow->upload_unused -= len < flow->upload_unused ? len : flow->upload_unused;
    size_t told = len < flow->consumed_early ? len : flow->consumed_early;
    flow->consumed_early -= told;
    if (len > told)
        fg_request_consumed(fg_request_of(ex), len - told);
}

static void on_hop_time(struct fg_exchange *ex, const char *hop, uint64_t duration_ns)
{
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    if (flow->backend_hop_count < FG_BACKEND_HOPS_MAX)
        flow->backend_hops[flow->backend_hop_count++] = (struct fg_backend_hop){hop, duration_ns};
}

static void on_release_slot(struct fg_exchange *ex)
{
    fg_flow_leave_backend(fg_flow_of_exchange(ex), FG_CONCURRENCY_SUCCESS, FG_BREAKER_SUCCESS);
}

static bool on_try_extra_slot(struct fg_exchange *ex)
{
    return fg_flow_try_extra_slot(fg_flow_of_exchange(ex));
}

static void on_give_extra_slot(struct fg_exchange *ex)
{
    fg_flow_give_extra_slot(fg_flow_of_exchange(ex));
}

static uint64_t on_stalled_since(const struct fg_exchange *ex)
{
    return fg_response_stalled_since((const struct fg_request *)ex); /* its first member */
}

const struct fg_exchange_ops fg_answer_ops = {
    .interim = on_interim,
    .head = on_head,
    .head_end = on_head_end,
    .write = on_write,
    .trailers = on_trailers,
    .end = on_end,
    .refuse = on_refuse,
    .fail = on_fail,
    .would_refuse = on_would_refuse,
    .consumed = on_consumed,
    .hop_time = on_hop_time,
    .release_slot = on_release_slot,
    .try_extra_slot = on_try_extra_slot,
    .give_extra_slot = on_give_extra_slot,
    .stalled_since = on_stalled_since,
};
