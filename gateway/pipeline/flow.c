/*
 * flow.c: the machine that carries a request through the stages.
 * Job      run the stages in their order, wait, resume, enforce the deadline, clean up once.
 * Thread   the request's loop.
 * Never    decides anything about a request: the stages do.
 */
#include "flow.h"

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/origin.h"
#include "base/text.h"
#include "cache_serve.h"
#include "field_edit.h"
#include "pipeline/trace_context.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <event2/event.h>

#define DEADLINES_NS (FG_MS / 10)  /* of a turn, for those that are due at once */
#define DEADLINES_BETWEEN_LOOKS 4u /* at the clock */
#define MOVE(state) (1u << (state))

static const struct fg_stage *const stages[FG_STAGE_COUNT] = {
    [FG_STAGE_ROUTE] = &fg_stage_route,           [FG_STAGE_IDENTITY] = &fg_stage_identity,
    [FG_STAGE_OVERLOAD] = &fg_stage_overload,     [FG_STAGE_WAITING_ROOM] = &fg_stage_waiting_room,
    [FG_STAGE_RATE_LIMIT] = &fg_stage_rate_limit, [FG_STAGE_BODY] = &fg_stage_body,
    [FG_STAGE_CACHE] = &fg_stage_cache,           [FG_STAGE_ADMIT_ROUTE] = &fg_stage_admit_route,
    [FG_STAGE_ADMIT] = &fg_stage_admit,           [FG_STAGE_BREAKER] = &fg_stage_breaker,
    [FG_STAGE_BACKEND] = &fg_stage_backend,
};

static const uint8_t legal_moves[FG_FLOW_STATE_COUNT] = {
    [FG_FLOW_IN_STAGES] = MOVE(FG_FLOW_WAITING) | MOVE(FG_FLOW_AT_BACKEND) |
                          MOVE(FG_FLOW_RESPONDING) | MOVE(FG_FLOW_DONE),
    [FG_FLOW_WAITING] = MOVE(FG_FLOW_IN_STAGES) | MOVE(FG_FLOW_RESPONDING) | MOVE(FG_FLOW_DONE),
    [FG_FLOW_AT_BACKEND] = MOVE(FG_FLOW_RESPONDING) | MOVE(FG_FLOW_DONE),
    [FG_FLOW_RESPONDING] = MOVE(FG_FLOW_DONE),
};

const char *fg_stage_name(enum fg_stage_id stage)
{
    return stage < FG_STAGE_COUNT ? stages[stage]->name : "backend";
}

void fg_flow_set_state(struct fg_flow *flow, enum fg_flow_state next)
{
    assert((legal_moves[flow->state] & MOVE(next)) != 0);
    flow->state = next;
}

/* ---- deadlines: one heap and one timer a loop ---- */

static void arm_timer(struct fg_pipeline_thread *thread)
{
    if (thread->deadlines.root == NULL)
        return;
    uint64_t due_ns = thread->deadlines.root->deadline_ns;
    if (thread->deadline_armed_ns <= due_ns)
        return; /* fires early and is armed again then: cheaper than moving it each time */
    uint64_t now_ns = fg_loop_now_ns(thread->loop);
    uint64_t wait_us = due_ns > now_ns ? (due_ns - now_ns) / 1000 + 1 : 1;
    struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                           .tv_usec = (suseconds_t)(wait_us % 1000000)};
    evtimer_add(thread->deadline_timer, &wait);
    thread->deadline_armed_ns = due_ns;
}

void fg_flow_arm_deadline(struct fg_flow *flow, uint64_t deadline_ns)
{
    struct fg_pipeline_thread *thread = flow->thread;
    if (flow->has_deadline)
        fg_deadline_heap_remove(&thread->deadlines, &flow->deadline);
    fg_deadline_heap_push(&thread->deadlines, &flow->deadline, deadline_ns);
    flow->has_deadline = true;
    arm_timer(thread);
}

static void disarm_deadline(struct fg_flow *flow)
{
    if (flow->has_deadline)
        fg_deadline_heap_remove(&flow->thread->deadlines, &flow->deadline);
    flow->has_deadline = false;
}

void fg_flow_begin_tunnel(struct fg_flow *flow)
{
    flow->is_tunnel = true;
    fg_flow_leave_backend(flow, FG_CONCURRENCY_SUCCESS, FG_BREAKER_SUCCESS);
    fg_flow_end_by_silence(flow, flow->route->websocket_idle_ns);
}

void fg_flow_end_by_silence(struct fg_flow *flow, uint64_t silence_max_ns)
{
    flow->silence_max_ns = silence_max_ns;
    flow->moved_ns = fg_flow_now_ns(flow);
    fg_flow_arm_deadline(flow, flow->moved_ns + silence_max_ns);
}

void fg_flow_refuse_late(struct fg_flow *flow)
{
    const uint64_t started_ns = flow->req->ex.started_ns, deadline_ns = flow->req->ex.deadline_ns;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_DEADLINE,
                             .status = 504,
                             .type = "timeout",
                             .message = "the request's deadline passed before it was answered",
                             .policy = "deadline",
                             .value = fg_subtract_floor(fg_flow_now_ns(flow), started_ns) / FG_MS,
                             .limit = fg_subtract_floor(deadline_ns, started_ns) / FG_MS,
                             .position = UINT64_MAX,
                         });
}

/* The backend has all that came of the body, and waits for the client to send the rest. */
static bool is_clients_turn(const struct fg_flow *flow)
{
    return !flow->is_body_complete && flow->upload_unused == 0 &&
           flow->req->ex.upgrade.data == NULL;
}

/* ---- uploads that take long ---- */

/*
 * The breaker hears nothing of the time in which a server waits for a client, and a probe gives its
 * place to others: slow clients would keep the backend shut. But it hears how the request ends once
 * it is whole, or a backend that all fail before would be called for ever where uploads are slow.
 */
static void park(struct fg_flow *flow)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    for (size_t i = 0; i < FG_SLOT_COUNT; i++) {
        struct fg_flow_slot *slot = &flow->slots[i];
        if (!slot->is_held)
            continue;
        bool passed_breaker = i == FG_SLOT_BACKEND && flow->passed_breaker;
        slot->is_held = false;
        slot->is_parked = true;
        fg_gate_leave(slot->gate, now_ns, 0, FG_CONCURRENCY_IGNORED, passed_breaker,
                      passed_breaker && flow->was_probe, FG_BREAKER_CANCELLED);
    }
    flow->was_probe = false;
    const struct fg_backend_ops *ops = flow->backend->backend->ops;
    if (ops->set_aside != NULL)
        ops->set_aside(&flow->req->ex);
}

static bool is_parked(const struct fg_flow *flow)
{
    return flow->slots[FG_SLOT_ROUTE].is_parked || flow->slots[FG_SLOT_BACKEND].is_parked;
}

/* It is work: since now, as the request is whole, or since before. */
static void unpark(struct fg_flow *flow, uint64_t since_ns)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    for (size_t i = 0; i < FG_SLOT_COUNT; i++) {
        struct fg_flow_slot *slot = &flow->slots[i];
        if (!slot->is_parked)
            continue;
        bool passed_breaker = i == FG_SLOT_BACKEND && flow->passed_breaker;
        if (fg_gate_retake(slot->gate, passed_breaker, now_ns))
            flow->was_probe = true;
        slot->is_parked = false;
        slot->is_held = true;
        slot->since_ns = since_ns;
    }
}

void fg_flow_watch_upload(struct fg_flow *flow)
{
    uint64_t look_ns = fg_flow_now_ns(flow) + FG_SLOW_UPLOAD_NS;
    if (look_ns < flow->req->ex.deadline_ns)
        fg_flow_arm_deadline(flow, look_ns);
}

static void look_at_upload(struct fg_flow *flow)
{
    fg_flow_arm_deadline(flow, flow->req->ex.deadline_ns);
    if (flow->is_body_complete || !flow->is_backend_open)
        return;
    if (is_clients_turn(flow))
        park(flow);
    else
        fg_flow_watch_upload(flow);
}

/* Before its answer began: only time that the route grants the backend says by itself that this
 * one fails. An upload that was the client's to go on with may be the server's to take since. */
static void leave_late(struct fg_flow *flow)
{
    if (is_clients_turn(flow)) {
        fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
        return;
    }
    unpark(flow, flow->backend_started_ns);
    if (flow->is_deadline_clients)
        fg_flow_leave_backend(flow, FG_CONCURRENCY_CUT_SHORT, FG_BREAKER_CUT_SHORT);
    else
        fg_flow_leave_backend(flow, FG_CONCURRENCY_DROPPED, FG_BREAKER_FAILURE);
}

/* In the middle of its answer. */
static void leave_unfinished(struct fg_flow *flow)
{
    bool is_clients_doing = fg_response_stalled_since(flow->req) != 0 || is_clients_turn(flow) ||
                            (flow->is_deadline_clients && flow->silence_max_ns == 0);
    if (is_clients_doing)
        fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    else
        fg_flow_leave_backend(flow, FG_CONCURRENCY_DROPPED, FG_BREAKER_FAILURE);
}

static void on_deadline(struct fg_flow *flow, uint64_t now_ns)
{
    if (flow->state == FG_FLOW_WAITING && now_ns < flow->req->ex.deadline_ns) {
        /* The queue's own limit for waiting: the gate refuses it, through on_turn. */
        struct fg_gate *gate = fg_flow_gate_waited_for(flow);
        fg_gate_expire(gate, now_ns);
        uint64_t next_ns = fg_gate_next_expiry_ns(gate);
        fg_flow_arm_deadline(flow, next_ns < flow->req->ex.deadline_ns ? next_ns
                                                                       : flow->req->ex.deadline_ns);
        return;
    }
    uint64_t silent_until_ns = flow->moved_ns + flow->silence_max_ns;
    if (flow->silence_max_ns > 0 && now_ns < silent_until_ns) {
        fg_flow_arm_deadline(flow, silent_until_ns);
        return;
    }
    if (flow->silence_max_ns == 0 && now_ns < flow->req->ex.deadline_ns) {
        look_at_upload(flow);
        return;
    }
    switch (flow->state) {
    case FG_FLOW_WAITING:
        fg_flow_note_wait(flow);
        stages[flow->stage]->cancel(flow);
        fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
        if (!fg_cache_serve_stale(flow))
            fg_flow_refuse_late(flow);
        break;
    case FG_FLOW_AT_BACKEND:
        flow->backend->backend->ops->cancel(&flow->req->ex);
        fg_flow_close_backend(flow);
        leave_late(flow);
        if (!fg_cache_serve_stale(flow))
            fg_flow_refuse_late(flow);
        break;
    case FG_FLOW_RESPONDING:
        if (flow->is_backend_open) {
            flow->backend->backend->ops->cancel(&flow->req->ex);
            fg_flow_close_backend(flow);
            leave_unfinished(flow);
        }
        flow->failed = flow->silence_max_ns > 0 ? FG_FAILED_ANSWER_SILENT : FG_FAILED_ANSWER_LATE;
        fg_flow_break_off(flow, 504, "the time for the answer is over");
        break;
    case FG_FLOW_IN_STAGES:
    case FG_FLOW_DONE:
    case FG_FLOW_STATE_COUNT:
        break;
    }
}

/* Those of requests that came together: others want their turn between. */
static bool is_enough(unsigned ended, uint64_t started_ns)
{
    return ended > 0 && (ended % DEADLINES_BETWEEN_LOOKS) == 0 &&
           fg_clock_monotonic_ns() - started_ns > DEADLINES_NS;
}

void fg_flow_run_deadlines(struct fg_pipeline_thread *thread)
{
    thread->deadline_armed_ns = UINT64_MAX;
    fg_loop_refresh_now(thread->loop);
    uint64_t now_ns = fg_loop_now_ns(thread->loop);
    for (unsigned ended = 0;
         thread->deadlines.root != NULL && thread->deadlines.root->deadline_ns <= now_ns; ended++) {
        if (is_enough(ended, now_ns))
            break; /* the timer fires at once for the others */
        struct fg_flow *flow = FG_CONTAINER_OF(thread->deadlines.root, struct fg_flow, deadline);
        disarm_deadline(flow);
        on_deadline(flow, now_ns);
    }
    arm_timer(thread);
}

/* ---- stages ---- */

void fg_flow_run(struct fg_flow *flow)
{
    while (flow->stage < FG_STAGE_COUNT) {
        switch (stages[flow->stage]->run(flow)) {
        case FG_STAGE_CONTINUE:
            flow->stage++;
            break;
        case FG_STAGE_RESPOND:
            return;
        case FG_STAGE_WAIT:
            flow->waited_since_ns = fg_flow_now_ns(flow);
            fg_flow_set_state(flow, FG_FLOW_WAITING);
            return;
        }
    }
}

enum fg_stage_verdict fg_flow_wait(struct fg_flow *flow, enum fg_hop hop)
{
    flow->wait_hop = hop;
    return FG_STAGE_WAIT;
}

void fg_flow_note_wait(struct fg_flow *flow)
{
    if (flow->state != FG_FLOW_WAITING || flow->wait_hop == FG_HOP_COUNT)
        return;
    fg_loop_refresh_now(flow->thread->loop);
    const uint64_t waited_ns = fg_subtract_floor(fg_flow_now_ns(flow), flow->waited_since_ns);
    flow->hop_ns[flow->wait_hop] += waited_ns;
    if (!flow->req->was_aborted) /* who left says nothing of how long it takes */
        fg_histogram_record(&flow->thread->metrics->hops[flow->wait_hop], waited_ns);
    flow->wait_hop = FG_HOP_COUNT;
}

void fg_flow_resume(struct fg_flow *flow)
{
    fg_flow_note_wait(flow);
    fg_flow_set_state(flow, FG_FLOW_IN_STAGES);
    flow->stage++;
    fg_flow_run(flow);
}

void fg_flow_retry_stage(struct fg_flow *flow)
{
    fg_flow_note_wait(flow);
    fg_flow_set_state(flow, FG_FLOW_IN_STAGES);
    fg_flow_run(flow);
}

/* ---- letting go ---- */

void fg_flow_give_extra_slot(struct fg_flow *flow)
{
    for (size_t i = 0; i < FG_SLOT_COUNT; i++) {
        struct fg_flow_slot *slot = &flow->slots[i];
        if (slot->has_extra)
            fg_gate_leave(slot->gate, fg_clock_monotonic_ns(), 0, FG_CONCURRENCY_IGNORED, false,
                          false, FG_BREAKER_CANCELLED);
        slot->has_extra = false;
    }
}

bool fg_flow_try_extra_slot(struct fg_flow *flow)
{
    for (size_t i = 0; i < FG_SLOT_COUNT; i++) {
        struct fg_flow_slot *slot = &flow->slots[i];
        if (!slot->is_held)
            continue;
        slot->has_extra = fg_gate_try_extra(slot->gate, fg_clock_monotonic_ns());
        if (!slot->has_extra) {
            fg_flow_give_extra_slot(flow);
            return false;
        }
    }
    return true;
}

void fg_flow_close_backend(struct fg_flow *flow)
{
    flow->is_backend_open = false;
    if (flow->head_ns != 0)
        return;
    fg_loop_refresh_now(flow->thread->loop);
    const uint64_t now_ns = fg_flow_now_ns(flow);
    if (is_parked(flow) && is_clients_turn(flow))
        flow->upload_ns = fg_subtract_floor(now_ns, flow->backend_started_ns);
    fg_flow_note_backend(flow, now_ns);
}

void fg_flow_note_backend(struct fg_flow *flow, uint64_t now_ns)
{
    struct fg_histogram *hops = flow->thread->metrics->hops;
    const uint64_t all_ns = fg_subtract_floor(now_ns, flow->backend_started_ns);
    flow->hop_ns[FG_HOP_BACKEND] = fg_subtract_floor(all_ns, flow->upload_ns);
    flow->hop_ns[FG_HOP_UPLOAD] += flow->upload_ns;
    if (flow->req->was_aborted) /* who left says nothing of how long it takes */
        return;
    fg_histogram_record(&hops[FG_HOP_BACKEND], flow->hop_ns[FG_HOP_BACKEND]);
    if (flow->upload_ns > 0)
        fg_histogram_record(&hops[FG_HOP_UPLOAD], flow->upload_ns);
}

void fg_flow_leave_backend(struct fg_flow *flow, enum fg_concurrency_outcome limit_outcome,
                           enum fg_breaker_outcome breaker_outcome)
{
    struct fg_flow_slot *route = &flow->slots[FG_SLOT_ROUTE];
    struct fg_flow_slot *backend = &flow->slots[FG_SLOT_BACKEND];
    route->is_parked = backend->is_parked = false; /* for good, whatever is uploaded yet */
    if (!route->is_held && !backend->is_held)
        return;
    fg_flow_give_extra_slot(flow);
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t head_ns = flow->head_ns != 0 ? flow->head_ns : now_ns;
    bool was_called = flow->backend_started_ns != 0;
    uint64_t started_ns =
        flow->backend_started_ns > backend->since_ns ? flow->backend_started_ns : backend->since_ns;
    if (backend->is_held)
        fg_gate_leave(backend->gate, now_ns,
                      was_called ? fg_subtract_floor(head_ns, started_ns) : 0, limit_outcome,
                      flow->passed_breaker, flow->was_probe, breaker_outcome);
    if (route->is_held) /* its requests are in flight while they wait for the backend, too */
        fg_gate_leave(route->gate, now_ns,
                      was_called ? fg_subtract_floor(head_ns, route->since_ns) : 0, limit_outcome,
                      false, false, FG_BREAKER_CANCELLED);
    route->is_held = backend->is_held = false;
    struct fg_room *room = flow->thread->pipeline->rooms[fg_flow_route_index(flow)];
    if (room != NULL && was_called && limit_outcome == FG_CONCURRENCY_SUCCESS)
        fg_room_note_done(room);
}

void fg_flow_let_go(struct fg_flow *flow)
{
    bool is_cut_short = flow->state == FG_FLOW_AT_BACKEND && !is_clients_turn(flow);
    if (flow->is_backend_open) {
        fg_flow_close_backend(flow);
        flow->backend->backend->ops->cancel(&flow->req->ex);
    }
    fg_flow_leave_backend(flow, is_cut_short ? FG_CONCURRENCY_CUT_SHORT : FG_CONCURRENCY_IGNORED,
                          FG_BREAKER_CANCELLED);
    if (flow->backend_started_ns == 0)
        fg_flow_give_back_place(flow);
    fg_cache_let_go(flow);
    disarm_deadline(flow);
}

void fg_flow_abandon(struct fg_flow *flow)
{
    if (flow->state == FG_FLOW_DONE)
        return;
    fg_flow_note_wait(flow);
    if (flow->state == FG_FLOW_WAITING)
        stages[flow->stage]->cancel(flow);
    fg_flow_let_go(flow);
    fg_flow_set_state(flow, FG_FLOW_DONE);
}

/* ---- the codec's calls ---- */

struct fg_flow *fg_flow_alloc(struct fg_arena *arena)
{
    struct fg_flow *flow = fg_arena_try_alloc(arena, sizeof(*flow));
    if (flow != NULL) {
        memset(flow, 0, offsetof(struct fg_flow, decisions));
        fg_list_init(&flow->in_cache_unread);
    }
    return flow;
}

static uint64_t next_random(struct fg_pipeline_thread *thread)
{
    thread->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = thread->random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/*
 * Keep the caller's trace id, or start one, of which its tracestate says nothing; the parent id is
 * ours (W3C Trace Context, section 3.2).
 */
static void start_trace(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_trace_context given;
    char *parent = fg_arena_try_alloc(ex->arena, FG_TRACEPARENT_BYTES);
    struct fg_field *fields =
        fg_arena_try_alloc(ex->arena, (ex->field_count + 1) * sizeof(*fields));
    if (parent == NULL || fields == NULL)
        return;
    struct fg_text text = fg_text_over(parent, FG_TRACEPARENT_BYTES);
    bool is_given = fg_trace_context_read(ex, &given);
    fg_text_add(&text, FG_SPAN("00-"));
    if (is_given) {
        fg_text_add(&text, given.trace_id);
    } else {
        fg_text_add_hex(&text, next_random(flow->thread));
        fg_text_add_hex(&text, next_random(flow->thread) | 1);
    }
    fg_text_add(&text, FG_SPAN("-"));
    fg_text_add_hex(&text, next_random(flow->thread) | 1);
    fg_text_add(&text, FG_SPAN("-0"));
    fg_text_add(&text, is_given ? fg_span_make(&given.flags, 1) : FG_SPAN("1"));
    flow->traceparent = fg_text_span(&text);
    size_t count = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_span name = ex->fields[i].name;
        if (!fg_span_equal(name, FG_SPAN("traceparent")) &&
            (is_given || !fg_span_equal(name, FG_SPAN("tracestate"))))
            fields[count++] = ex->fields[i];
    }
    fields[count++] = (struct fg_field){FG_SPAN("traceparent"), flow->traceparent};
    ex->fields = fields;
    ex->field_count = count;
}

/* Not even a few hundred bytes: the request's arena is configured too small, or used up. */
static void answer_without_flow(struct fg_pipeline_thread *thread, struct fg_request *req)
{
    static struct fg_log_limit limit;
    struct fg_route_metrics *metrics = &thread->metrics->routes[thread->metrics->route_count];
    fg_counter_add_owned(&metrics->requests, 1);
    fg_counter_add_owned(&metrics->by_class[5], 1);
    fg_counter_add_owned(&metrics->refused[FG_REFUSED_NO_MEMORY], 1);
    fg_log_limited(&limit, 10, FG_LOG_INFO, "request_without_memory",
                   "request_id=%.*s refused=no_memory value=%zu limit=%zu",
                   FG_SPAN_ARGS(req->ex.request_id), req->ex.arena->bytes_used,
                   req->ex.arena->bytes_max);
    fg_response_out_of_memory(req);
}

static void on_request(void *handler, struct fg_request *req)
{
    struct fg_pipeline_thread *thread = handler;
    struct fg_flow *flow = fg_flow_alloc(req->ex.arena);
    if (flow == NULL) {
        answer_without_flow(thread, req);
        return;
    }
    req->handler_state = flow;
    flow->req = req;
    flow->thread = thread;
    flow->metrics = &thread->metrics->routes[thread->metrics->route_count];
    flow->is_body_complete = !req->ex.has_body && req->ex.upgrade.data == NULL;
    req->ex.ops = &fg_answer_ops;
    fg_counter_add_owned(&thread->metrics->active, 1);
    if (!fg_origin_settle(req)) {
        fg_flow_refuse_for_memory(flow, "the request's head");
        return;
    }
    start_trace(flow);
    fg_flow_run(flow);
}

/* How much there is, and what it asks for where somebody counts that. */
static void scan_body(struct fg_flow *flow, const void *data, size_t len)
{
    const struct fg_config *config = flow->thread->pipeline->config;
    const struct fg_route_conf *route = flow->route;
    bool counts_tokens = route->action == FG_ROUTE_BACKEND &&
                         (config->backends[route->backend_index].queue.tokens_max > 0 ||
                          (route->has_concurrency && route->queue.tokens_max > 0));
    if (counts_tokens)
        fg_token_scan_feed(&flow->body_scan, data, len);
    else
        flow->body_scan.body_bytes += len;
}

/* False: no room, and answered. */
static bool keep_body_piece(struct fg_flow *flow, const void *data, size_t len)
{
    const struct fg_exchange *ex = &flow->req->ex;
    uint64_t bytes_max = flow->stage == FG_STAGE_BODY ? flow->body_bytes_max : ex->body_bytes_max;
    if (ex->content_length > 0 && (uint64_t)ex->content_length < bytes_max)
        bytes_max = (uint64_t)ex->content_length;
    if (len == 0)
        return true;
    if (!fg_early_body_try_add(&flow->body, ex->arena, data, len, bytes_max)) {
        stages[flow->stage]->cancel(flow);
        fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
        fg_flow_refuse_for_memory(flow, "the waiting body");
        return false;
    }
    scan_body(flow, data, len);
    return true;
}

static void take_waiting_piece(struct fg_flow *flow, const void *data, size_t len)
{
    if (flow->stage == FG_STAGE_BODY && !fg_stage_body_takes(flow, len))
        return;
    if (!keep_body_piece(flow, data, len))
        return;
    if (flow->stage == FG_STAGE_BODY)
        fg_stage_body_on_piece(flow, len);
    else if (flow->stage == FG_STAGE_ADMIT_ROUTE || flow->stage == FG_STAGE_ADMIT)
        fg_stage_admit_on_piece(flow);
}

void fg_flow_give_body(struct fg_flow *flow, const void *data, size_t len, bool is_last)
{
    flow->upload_unused += len;
    flow->backend->backend->ops->on_body(&flow->req->ex, data, len, is_last);
}

static void on_body(struct fg_request *req, const void *data, size_t len, bool is_last)
{
    struct fg_flow *flow = fg_flow_of(req);
    if (flow == NULL)
        return;
    flow->is_body_complete = is_last;
    if (req->ex.trailer_count > 0 && flow->route != NULL)
        req->ex.trailer_count = fg_field_edit_keep(&flow->route->request_edits, req->ex.trailers,
                                                   req->ex.trailer_count, req->ex.trailers);
    if (flow->silence_max_ns > 0)
        flow->moved_ns = fg_flow_now_ns(flow);
    if (flow->is_backend_open && is_last && is_parked(flow)) {
        const uint64_t now_ns = fg_clock_monotonic_ns();
        flow->upload_ns = fg_subtract_floor(now_ns, flow->backend_started_ns);
        unpark(flow, now_ns);
    }
    if (flow->is_backend_open)
        fg_flow_give_body(flow, data, len, is_last);
    else if (flow->state == FG_FLOW_WAITING)
        take_waiting_piece(flow, data, len);
    else
        fg_request_consumed(req, len); /* answered already: nobody wants it */
}

static void on_writable(struct fg_request *req)
{
    struct fg_flow *flow = fg_flow_of(req);
    if (flow == NULL)
        return;
    if (flow->is_backend_open) {
        flow->backend->backend->ops->on_writable(&req->ex);
    } else if (flow->cache_is_paused) {
        flow->cache_is_paused = false;
        if (flow->cache_reader != NULL)
            fg_cache_pump(flow);
    }
}

/* The codec answers by itself, for the body, whoever had the request. */
static void note_codecs_answer(struct fg_flow *flow, enum fg_gone_reason reason)
{
    const struct fg_exchange *ex = &flow->req->ex;
    const struct fg_request *req = flow->req;
    const uint64_t timeout_ms = flow->thread->pipeline->config->limits.body_timeout_ns / FG_MS;
    if (reason == FG_GONE_TOO_LARGE) {
        const uint64_t came =
            req->bytes_chunked > req->bytes_in ? req->bytes_chunked : req->bytes_in;
        const bool is_declared = ex->content_length > 0 && (uint64_t)ex->content_length > came;
        fg_flow_note_refusal(
            flow, &(struct fg_refusal){.reason = FG_REFUSED_BODY_TOO_LARGE,
                                       .policy = "body_max",
                                       .value = is_declared ? (uint64_t)ex->content_length : came,
                                       .limit = ex->body_bytes_max});
        flow->status = 413;
    } else {
        fg_flow_note_refusal(flow, &(struct fg_refusal){.reason = FG_REFUSED_BODY_TIMEOUT,
                                                        .policy = "body_timeout",
                                                        .value = timeout_ms,
                                                        .limit = timeout_ms});
        flow->status = 408;
    }
    flow->is_head_sent = true;
}

static void on_gone(struct fg_request *req, enum fg_gone_reason reason)
{
    static const char *const names[] = {
        [FG_GONE_CLIENT_CLOSED] = "client_closed",
        [FG_GONE_STREAM_RESET] = "stream_reset",
        [FG_GONE_TIMEOUT] = "timeout",
        [FG_GONE_PROTOCOL] = "protocol",
        [FG_GONE_TOO_LARGE] = "too_large",
        [FG_GONE_DRAIN] = "drain",
    };
    struct fg_flow *flow = fg_flow_of(req);
    if (flow == NULL)
        return;
    flow->gone = names[reason];
    if ((reason == FG_GONE_TOO_LARGE || reason == FG_GONE_TIMEOUT) && !flow->is_head_sent)
        note_codecs_answer(flow, reason);
    fg_flow_abandon(flow);
}

static void count(struct fg_flow *flow, uint64_t now_ns)
{
    struct fg_route_metrics *metrics = flow->metrics;
    const struct fg_request *req = flow->req;
    unsigned class = flow->is_head_sent && flow->status < 600 ? flow->status / 100 : 0;
    fg_counter_add_owned(&metrics->requests, 1);
    fg_counter_add_owned(&metrics->by_class[class], 1);
    if (req->was_aborted)
        fg_counter_add_owned(&metrics->aborted, 1);
    if (flow->is_refused)
        fg_counter_add_owned(&metrics->refused[flow->refused], 1);
    if (flow->failed != FG_FAILED_NOT)
        fg_counter_add_owned(&metrics->failed[flow->failed], 1);
    fg_counter_add_owned(&metrics->cache[flow->cache_result], 1);
    fg_counter_add_owned(&metrics->bytes_in, req->bytes_in);
    fg_counter_add_owned(&metrics->bytes_out, req->bytes_out);
    if (!req->was_aborted)
        fg_histogram_record(&metrics->latency_ns, now_ns - req->ex.started_ns);
    if (flow->head_ns != 0) {
        flow->hop_ns[FG_HOP_BODY] = now_ns - flow->head_ns;
        fg_histogram_record(&flow->thread->metrics->hops[FG_HOP_BODY], flow->hop_ns[FG_HOP_BODY]);
    }
}

/* The decision that ended the request, or one of nothing. */
static struct fg_decision refusal_of(const struct fg_flow *flow)
{
    for (size_t i = flow->decision_count; flow->is_refused && i > 0; i--) {
        if (flow->decisions[i - 1].decided == FG_DECIDED_REFUSE)
            return flow->decisions[i - 1];
    }
    return (struct fg_decision){.value = FG_DECISION_NO_VALUE, .limit = FG_DECISION_NO_VALUE};
}

/* " value=12 limit=10", or nothing where nothing was compared. */
static void write_figures(char *text, size_t bytes, const struct fg_decision *refusal)
{
    const bool has_figures =
        refusal->value != FG_DECISION_NO_VALUE && refusal->limit != FG_DECISION_NO_VALUE;
    text[0] = '\0';
    if (has_figures)
        snprintf(text, bytes, " value=%llu limit=%llu", (unsigned long long)refusal->value,
                 (unsigned long long)refusal->limit);
}

/* " upload_ms=0.000 cache_wait_ms=0.000 ...": where the time went. */
static void write_hops(char *buffer, size_t bytes, const struct fg_flow *flow)
{
    struct fg_text text = fg_text_over(buffer, bytes - 1);
    for (unsigned i = 0; i < FG_HOP_COUNT; i++) {
        fg_text_add(&text, FG_SPAN(" "));
        fg_text_add(&text, fg_span_from_string(fg_hop_name((enum fg_hop)i)));
        fg_text_add(&text, FG_SPAN("_ms="));
        fg_text_add_ms(&text, flow->hop_ns[i]);
    }
    buffer[fg_text_span(&text).len] = '\0';
}

const char *fg_flow_gone(const struct fg_flow *flow)
{
    return flow->req->was_aborted ? flow->gone : NULL;
}

static void write_log(const struct fg_flow *flow, uint64_t now_ns)
{
    const struct fg_observability_conf *conf = &flow->thread->pipeline->config->observability;
    uint64_t total_ns = now_ns - flow->req->ex.started_ns;
    bool is_slow = conf->slow_request_ns > 0 && total_ns >= conf->slow_request_ns;
    if (!conf->access_log && !is_slow)
        return;
    static struct fg_log_limit limit;
    const struct fg_exchange *ex = &flow->req->ex;
    char path[256], endpoint[96], figures[64], hops[320];
    const struct fg_decision refusal = refusal_of(flow);
    if (ex->answerer.endpoint.len > 0)
        fg_log_word(endpoint, sizeof(endpoint), ex->answerer.endpoint.data,
                    ex->answerer.endpoint.len);
    else
        memcpy(endpoint, "-", 2);
    write_figures(figures, sizeof(figures), &refusal);
    write_hops(hops, sizeof(hops), flow);
    const struct fg_span asked = fg_flow_asked_path(flow);
    fg_log_quote(path, sizeof(path), asked.data, asked.len);
    fg_log_limited(
        &limit, conf->access_log ? 100000 : 100, FG_LOG_INFO, is_slow ? "slow_request" : "request",
        "request_id=%.*s method=%.*s path=%s route=%s status=%u refused=%s policy=%s%s "
        "retry_after_ms=%llu cache=%s aborted=%d gone=%s failed=%s "
        "endpoint=%s attempts=%u client=%.*s bytes_in=%llu bytes_out=%llu total_ms=%.3f%s",
        FG_SPAN_ARGS(ex->request_id), FG_SPAN_ARGS(ex->method_text), path,
        flow->route == NULL ? "-" : flow->route->name, flow->status,
        refusal.reason == NULL ? "-" : refusal.reason,
        refusal.policy == NULL ? "-" : refusal.policy, figures,
        (unsigned long long)(refusal.wait_ns / FG_MS), fg_cache_result_name(flow->cache_result),
        flow->req->was_aborted, fg_flow_gone(flow) == NULL ? "-" : fg_flow_gone(flow),
        flow->failed == FG_FAILED_NOT ? "-" : fg_failed_name(flow->failed), endpoint,
        ex->answerer.attempts, FG_SPAN_ARGS(ex->client_addr),
        (unsigned long long)flow->req->bytes_in, (unsigned long long)flow->req->bytes_out,
        (double)total_ns / 1e6, hops);
}

static void on_done(struct fg_request *req)
{
    struct fg_flow *flow = fg_flow_of(req);
    if (flow == NULL)
        return;
    fg_flow_let_go(flow);
    if (flow->state != FG_FLOW_DONE)
        fg_flow_set_state(flow, FG_FLOW_DONE);
    fg_limit_settle(flow);
    uint64_t now_ns = req->done_ns != 0 ? req->done_ns : fg_clock_monotonic_ns();
    count(flow, now_ns);
    write_log(flow, now_ns);
    fg_flow_record(flow, now_ns);
    fg_counter_sub_owned(&flow->thread->metrics->active, 1);
    req->handler_state = NULL;
}

const struct fg_request_handler fg_pipeline_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_done = on_done,
    .on_codec_answer = fg_flow_on_codec_answer,
    .mark_codec_answer = fg_flow_mark_codec_answer,
    .on_listener_answer = fg_flow_on_listener_answer,
};
