/*
 * answer.c: every answer leaves through here, whether a backend's, the cache's or a refusal.
 * Job      add the fields that each response carries (date, request id, trace, timing, limits),
 *          and make error bodies; what a backend says comes from backend_answer.c.
 * Thread   the request's loop.
 * Cost     a refusal is one pass of formatting into the request's arena; no JSON library.
 */
#include "flow.h"

#include "backends/grpc.h"
#include "base/text.h"
#include "cache_fetch.h"
#include "cors.h"
#include "field_edit.h"
#include "refusal_body.h"
#include "policies/cache/http_date.h"
#include "policies/retry_after.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define OWN_FIELDS_MAX 14
#define FIELDS_ON_STACK ((size_t)48)
/* What a client takes in this time was on its way to it. No key: it decides only whether a call of
 * gRPC that is cut hears a last word, and who does not read does not hear it anyway. */
#define STALLED_NS FG_S

/* ---- common fields ---- */

static struct fg_span date_of(const struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    uint64_t now_s = fg_flow_wall_ns(flow) / FG_S;
    if (now_s != thread->date_s) {
        thread->date_s = now_s;
        fg_http_date_format((int64_t)now_s, thread->date);
        thread->date_len = strlen(thread->date);
    }
    return fg_span_make(thread->date, thread->date_len);
}

static void add(struct fg_field *fields, size_t *count, struct fg_span name, struct fg_span value)
{
    if (value.data != NULL)
        fields[(*count)++] = (struct fg_field){name, value};
}

static void add_hop(struct fg_text *text, const char *name, uint64_t duration_ns)
{
    fg_text_add(text, fg_span_from_string(name));
    fg_text_add(text, FG_SPAN(";dur="));
    fg_text_add_ms(text, duration_ns);
}

/* Whether there is more to tell than that we answered by ourselves, at once. */
static bool is_worth_timing(const struct fg_flow *flow, uint64_t total_ns)
{
    const struct fg_observability_conf *conf = &flow->thread->pipeline->config->observability;
    if (flow->backend_hop_count > 0 ||
        (conf->slow_request_ns > 0 && total_ns >= conf->slow_request_ns))
        return true;
    for (unsigned i = 0; i < FG_HOP_BODY; i++) {
        if (flow->hop_ns[i] > 0)
            return true;
    }
    return false;
}

/* "queue;dur=1.204, backend;dur=3.100, total;dur=4.502", in milliseconds. */
static struct fg_span server_timing(const struct fg_flow *flow, uint64_t now_ns)
{
    uint64_t total_ns = now_ns - flow->req->ex.started_ns;
    if (!is_worth_timing(flow, total_ns))
        return (struct fg_span){NULL, 0};
    char buffer[320];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    for (unsigned i = 0; i < FG_HOP_BODY; i++) {
        if (flow->hop_ns[i] == 0)
            continue;
        add_hop(&text, fg_hop_name((enum fg_hop)i), flow->hop_ns[i]);
        fg_text_add(&text, FG_SPAN(", "));
    }
    for (size_t i = 0; i < flow->backend_hop_count; i++) {
        add_hop(&text, flow->backend_hops[i].name, flow->backend_hops[i].duration_ns);
        fg_text_add(&text, FG_SPAN(", "));
    }
    add_hop(&text, "total", total_ns);
    if (text.is_cut)
        return (struct fg_span){NULL, 0};
    return fg_arena_try_copy(flow->req->ex.arena, fg_text_span(&text));
}

/* RateLimit fields of draft-ietf-httpapi-ratelimit-headers-10. */
static void add_rate_limit(const struct fg_flow *flow, struct fg_field *fields, size_t *count)
{
    if (flow->limit_table == NULL)
        return;
    const struct fg_limit_verdict *verdict = &flow->limit_verdict;
    uint64_t reset_ns = verdict->allowed ? verdict->reset_ns : verdict->wait_ns;
    char buffer[128];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    const char *name = fg_rate_table_conf(flow->limit_table)->name;
    fg_text_add(&text, FG_SPAN("\""));
    fg_text_add(&text, fg_span_make(name, strnlen(name, 64)));
    fg_text_add(&text, FG_SPAN("\";r="));
    fg_text_add_u64(&text, verdict->remaining);
    if (reset_ns != UINT64_MAX) { /* else it is never restored */
        fg_text_add(&text, FG_SPAN(";t="));
        fg_text_add_u64(&text, fg_clock_round_up_s(reset_ns));
    }
    add(fields, count, FG_SPAN("ratelimit-policy"),
        fg_span_from_string(fg_rate_table_texts(flow->limit_table)->policy));
    add(fields, count, FG_SPAN("ratelimit"),
        fg_arena_try_copy(flow->req->ex.arena, fg_text_span(&text)));
}

/* While a backend is overloaded: how important this request is, and down to what others are let
 * in, so that the app can hold back by itself what would be refused. Smaller is more important. In
 * shadow nothing is, and an app that held back would be acted on. */
static void add_priority(const struct fg_flow *flow, struct fg_field *fields, size_t *count)
{
    if (flow->slots[FG_SLOT_BACKEND].gate == NULL || flow->level >= FG_PRIORITY_COMPOUND_COUNT - 1)
        return;
    if (flow->thread->pipeline->config->backends[flow->route->backend_index].queue.is_shadow)
        return;
    add(fields, count, FG_SPAN("x-floodgate-priority"),
        fg_arena_try_printf(flow->req->ex.arena, "own=%" PRIu32 ", admitted=%" PRIu32,
                            flow->req->ex.priority_number, flow->level));
}

enum { SAYS_DATE = 1, SAYS_TRANSPORT = 2 };

/* Which fields are there that stand in an answer once: a stored answer and a backend's have their
 * own Date (RFC 9110 section 6.6.1), and may have the other (RFC 6797 section 7.1). */
static unsigned says_already(const struct fg_field *fields, size_t field_count)
{
    static const struct fg_span transport = FG_SPAN_LITERAL("strict-transport-security");
    unsigned says = 0;
    for (size_t i = 0; i < field_count; i++) {
        if (fields[i].name.len == 4 && memcmp(fields[i].name.data, "date", 4) == 0)
            says |= SAYS_DATE;
        else if (fields[i].name.len == transport.len && fg_span_equal(fields[i].name, transport))
            says |= SAYS_TRANSPORT;
    }
    return says;
}

/* RFC 9211; without numbers, so that HTTP/2 sends each of them as one byte. */
static struct fg_span cache_status(const struct fg_flow *flow)
{
    static const struct fg_span texts[FG_CACHE_RESULT_COUNT] = {
        [FG_CACHE_RESULT_HIT] = FG_SPAN_LITERAL("floodgate; hit"),
        [FG_CACHE_RESULT_STALE] = FG_SPAN_LITERAL("floodgate; hit; detail=stale"),
        [FG_CACHE_RESULT_BYPASS] = FG_SPAN_LITERAL("floodgate; fwd=bypass"),
    };
    static const struct fg_span missed[FG_CACHE_FORWARD_COUNT] = {
        FG_SPAN_LITERAL("floodgate; fwd=uri-miss"),
        FG_SPAN_LITERAL("floodgate; fwd=vary-miss"),
        FG_SPAN_LITERAL("floodgate; fwd=stale"),
        FG_SPAN_LITERAL("floodgate; fwd=request"),
    };
    static const struct fg_span shared[FG_CACHE_FORWARD_COUNT] = {
        FG_SPAN_LITERAL("floodgate; fwd=uri-miss; collapsed"),
        FG_SPAN_LITERAL("floodgate; fwd=vary-miss; collapsed"),
        FG_SPAN_LITERAL("floodgate; fwd=stale; collapsed"),
        FG_SPAN_LITERAL("floodgate; fwd=request; collapsed"),
    };
    static const struct fg_span unchanged[FG_CACHE_FORWARD_COUNT] = {
        FG_SPAN_LITERAL("floodgate; fwd=stale; fwd-status=304"), /* stored while it was asked */
        FG_SPAN_LITERAL("floodgate; fwd=stale; fwd-status=304"), /* likewise */
        FG_SPAN_LITERAL("floodgate; fwd=stale; fwd-status=304"),
        FG_SPAN_LITERAL("floodgate; fwd=request; fwd-status=304"),
    };
    switch (flow->cache_result) {
    case FG_CACHE_RESULT_MISS:
        return missed[flow->cache_forward];
    case FG_CACHE_RESULT_COALESCED:
        return shared[flow->cache_forward];
    case FG_CACHE_RESULT_REVALIDATED:
        return unchanged[flow->cache_forward];
    default:
        return texts[flow->cache_result];
    }
}

void fg_flow_tell_lack(const struct fg_flow *flow, struct fg_refusal *refusal)
{
    struct fg_arena_lack lack;
    if (!fg_arena_lack(flow->req->ex.arena, &lack)) {
        refusal->policy = "system_memory";
        return;
    }
    refusal->policy = lack.is_own ? "request_memory" : "request_memory_total";
    refusal->value = lack.value;
    refusal->limit = lack.limit;
}

/* There is no room for the fields of the answer: the codec's own words take none. */
static void end_without_memory(struct fg_flow *flow)
{
    struct fg_refusal refusal = {.reason = FG_REFUSED_NO_MEMORY};
    fg_flow_tell_lack(flow, &refusal);
    fg_flow_note_refusal(flow, &refusal);
    flow->status = 503;
    flow->is_answer_over = true;
    fg_response_out_of_memory(flow->req);
}

bool fg_flow_send_head(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                       size_t field_count, bool is_end)
{
    flow->status = status;
    flow->is_head_sent = true;
    flow->room = NULL;         /* the place in line is used */
    if (flow->fetch != NULL) { /* what the backend said, and nothing of ours */
        flow->is_answer_over = is_end;
        fg_response_head(flow->req, status, fields, field_count, is_end);
        return true;
    }
    size_t most = field_count + OWN_FIELDS_MAX + FG_CORS_FIELDS_MAX;
    struct fg_field on_stack[FIELDS_ON_STACK]; /* warm, unlike the arena; no codec keeps the list */
    struct fg_field *all = on_stack;
    if (most > FIELDS_ON_STACK)
        all = fg_arena_try_alloc(flow->req->ex.arena, most * sizeof(*all));
    if (all == NULL) {
        end_without_memory(flow);
        return false;
    }
    size_t count = field_count;
    if (field_count > 0)
        memcpy(all, fields, field_count * sizeof(*all));
    const unsigned says = says_already(fields, field_count);
    if ((says & SAYS_DATE) == 0)
        add(all, &count, FG_SPAN("date"), date_of(flow));
    add(all, &count, FG_SPAN("cache-status"), cache_status(flow));
    add(all, &count, FG_SPAN("x-request-id"), flow->req->ex.request_id);
    add(all, &count, FG_SPAN("traceparent"), flow->traceparent);
    /* A backend's head is passed on in the moment in which it comes. */
    uint64_t now_ns = flow->head_ns != 0 ? flow->head_ns : fg_flow_now_ns(flow);
    add(all, &count, FG_SPAN("server-timing"), server_timing(flow, now_ns));
    add_rate_limit(flow, all, &count);
    add_priority(flow, all, &count);
    add(all, &count, FG_SPAN("x-floodgate-ticket"), flow->room_paper);
    add(all, &count, FG_SPAN("set-cookie"), flow->room_cookie);
    if (flow->req->is_tls && (says & SAYS_TRANSPORT) == 0)
        add(all, &count, FG_SPAN("strict-transport-security"), FG_SPAN("max-age=31536000"));
    if (flow->route != NULL && flow->route->cors.enabled)
        fg_cors_mark(flow, all, &count);
    assert(count <= most);
    const struct fg_field *edited = all;
    if (flow->route != NULL &&
        !fg_field_edit(flow, &flow->route->response_edits, &edited, &count)) {
        end_without_memory(flow);
        return false;
    }
    flow->is_answer_over = is_end;
    fg_response_head(flow->req, status, edited, count, is_end);
    return true;
}

bool fg_flow_take_off_edited(const struct fg_flow *flow, const struct fg_field **fields,
                             size_t *field_count)
{
    const struct fg_route_conf *route = flow->fetch == NULL ? flow->route : NULL;
    if (route == NULL || *field_count == 0 ||
        route->response_edits.remove_count + route->response_edits.set_count == 0)
        return true;
    struct fg_field *kept =
        fg_arena_try_alloc(flow->req->ex.arena, *field_count * sizeof(**fields));
    if (kept == NULL)
        return false;
    *field_count = fg_field_edit_keep(&route->response_edits, *fields, *field_count, kept);
    *fields = kept;
    return true;
}

void fg_flow_send_interim(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                          size_t field_count)
{
    if (fg_flow_take_off_edited(flow, &fields,
                                &field_count)) /* or it is not said: it need not be */
        fg_response_interim(flow->req, status, fields, field_count);
}

void fg_flow_cut(struct fg_flow *flow)
{
    if (flow->is_answer_over)
        return;
    flow->is_answer_over = true;
    fg_response_abort(flow->req);
}

/*
 * Has a call a last word, behind its head and what there is of its answer? Not to a client that
 * has taken nothing for a while: it would wait behind the rest.
 */
static bool has_last_word(const struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    uint64_t stalled_since_ns = fg_response_stalled_since(flow->req);
    bool is_stalled = stalled_since_ns != 0 && fg_flow_now_ns(flow) > stalled_since_ns + STALLED_NS;
    return !flow->is_answer_over && flow->is_head_sent && flow->fetch == NULL &&
           flow->status == 200 && ex->protocol == FG_SPOKEN_2 && fg_grpc_is_call(ex) && !is_stalled;
}

void fg_flow_break_off(struct fg_flow *flow, unsigned status, const char *message)
{
    struct fg_arena *arena = flow->req->ex.arena;
    struct fg_field *last = NULL;
    struct fg_span text = {NULL, 0};
    if (has_last_word(flow)) {
        last = fg_arena_try_alloc(arena, 2 * sizeof(*last));
        text = fg_grpc_message(arena, message);
    }
    if (last == NULL || text.data == NULL) {
        fg_flow_cut(flow);
        return;
    }
    last[0] = (struct fg_field){FG_SPAN("grpc-status"), fg_grpc_status_of(status)};
    last[1] = (struct fg_field){FG_SPAN("grpc-message"), text};
    fg_response_trailers(flow->req, last, 2);
    flow->status = status;
    fg_flow_end_answer(flow);
}

void fg_flow_end_answer(struct fg_flow *flow)
{
    if (flow->is_answer_over)
        return;
    flow->is_answer_over = true;
    fg_response_end(flow->req);
}

/* ---- answers of our own ---- */

/* False: there is no body, or nobody to send it to. */
static bool begin_own_answer(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                             size_t field_count, bool has_body)
{
    fg_flow_set_state(flow, FG_FLOW_RESPONDING);
    return fg_flow_send_head(flow, status, fields, field_count, !has_body) && has_body;
}

void fg_flow_respond(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                     size_t field_count, struct fg_span body)
{
    if (!begin_own_answer(flow, status, fields, field_count, body.len > 0))
        return;
    (void)fg_response_write(flow->req, body.data, body.len);
    fg_flow_end_answer(flow);
}

static void keep_it(void *owner)
{
    (void)owner; /* the configuration's, as long as there are connections */
}

void fg_flow_respond_configured(struct fg_flow *flow, unsigned status,
                                const struct fg_field *fields, size_t field_count,
                                struct fg_span body)
{
    if (!begin_own_answer(flow, status, fields, field_count, body.len > 0))
        return;
    if (body.len < FG_FLOW_COPY_BYTES)
        (void)fg_response_write(flow->req, body.data, body.len);
    else
        (void)fg_response_write_shared(flow->req, body.data, body.len, keep_it, NULL);
    fg_flow_end_answer(flow);
}

/*
 * A gRPC client reads a status behind a head that says 200 and is all of the answer. The count of
 * statuses is told the one that others would have got.
 */
static void send_grpc_error(struct fg_flow *flow, const struct fg_refusal *refusal,
                            uint64_t retry_after_ns)
{
    struct fg_field fields[4];
    size_t count = 0;
    add(fields, &count, FG_SPAN("content-type"), FG_SPAN("application/grpc"));
    add(fields, &count, FG_SPAN("grpc-status"), fg_grpc_status_of(refusal->status));
    add(fields, &count, FG_SPAN("grpc-message"),
        fg_grpc_message(flow->req->ex.arena, refusal->message));
    if (retry_after_ns > 0)
        add(fields, &count, FG_SPAN("grpc-retry-pushback-ms"),
            fg_arena_try_u64(flow->req->ex.arena, retry_after_ns / FG_MS));
    fg_flow_respond(flow, 200, fields, count, (struct fg_span){NULL, 0});
    flow->status = refusal->status;
}

/* A number that differs from one client to the next: an id that we made differs at its end, too. */
static uint64_t lot_of(struct fg_span request_id)
{
    size_t len = request_id.len < 8 ? request_id.len : 8;
    return fg_span_hash(fg_span_make(request_id.data + request_id.len - len, len), 0);
}

/* What this client is told, in whole milliseconds: in the body, the field and the log alike. */
static uint64_t spread_of(const struct fg_flow *flow, const struct fg_refusal *refusal)
{
    uint64_t spread_ns =
        fg_retry_after_spread_ns(refusal->retry_after_ns, lot_of(flow->req->ex.request_id));
    return spread_ns == 0 ? 0 : (spread_ns / FG_MS + 1) * FG_MS;
}

void fg_flow_send_error(struct fg_flow *flow, const struct fg_refusal *refusal, const char *code)
{
    fg_flow_note_wait(flow);
    if (flow->fetch != NULL) { /* each who waits for it is told by himself */
        fg_flow_set_state(flow, FG_FLOW_RESPONDING);
        flow->is_answer_over = true;
        fg_cache_fetch_failed(flow->fetch, refusal, code);
        return;
    }
    struct fg_arena *arena = flow->req->ex.arena;
    uint64_t retry_after_ns = spread_of(flow, refusal);
    if (refusal->reason == FG_REFUSED_RATE_LIMIT && retry_after_ns > 0)
        flow->limit_verdict.wait_ns = retry_after_ns; /* RateLimit and Retry-After mean one time */
    if (fg_grpc_is_call(&flow->req->ex)) {
        send_grpc_error(flow, refusal, retry_after_ns);
        return;
    }
    bool is_page = refusal->page.data != NULL;
    struct fg_span body =
        is_page ? refusal->page
                : fg_refusal_body(arena, refusal, code, retry_after_ns, flow->req->ex.request_id);
    const bool may_retry = retry_after_ns > 0;
    struct fg_span retry = {NULL, 0};
    if (may_retry)
        retry = fg_arena_try_u64(arena, fg_clock_round_up_s(retry_after_ns));
    if (body.data == NULL || (may_retry && retry.data == NULL)) {
        fg_flow_set_state(flow, FG_FLOW_RESPONDING);
        end_without_memory(flow);
        return;
    }
    struct fg_field fields[7];
    size_t count = 0;
    add(fields, &count, FG_SPAN("content-type"),
        is_page ? FG_SPAN("text/html; charset=utf-8") : FG_SPAN("application/json"));
    add(fields, &count, FG_SPAN("content-length"), fg_arena_try_u64(arena, body.len));
    add(fields, &count, FG_SPAN("cache-control"), FG_SPAN("no-store"));
    add(fields, &count, FG_SPAN("retry-after"), retry);
    add(fields, &count, FG_SPAN("allow"), refusal->allow);
    if (refusal->status == 401)
        add(fields, &count, FG_SPAN("www-authenticate"),
            refusal->is_token_bad ? FG_SPAN("Bearer error=\"invalid_token\"") : FG_SPAN("Bearer"));
    flow->req->has_lasting_fields = true; /* constants, the configuration's, or in the arena */
    fg_flow_respond(flow, refusal->status, fields, count, body);
}

/* For the count, the log line and the recorder: what is told first. */
void fg_flow_note_refusal(struct fg_flow *flow, const struct fg_refusal *refusal)
{
    if (flow->is_refused)
        return;
    flow->is_refused = true;
    flow->refused = refusal->reason;
    bool has_value = refusal->value != 0 || refusal->limit != 0;
    fg_flow_decide(flow,
                   &(struct fg_decision){.policy = refusal->policy,
                                         .reason = fg_refused_name(refusal->reason),
                                         .decided = FG_DECIDED_REFUSE,
                                         .value = has_value ? refusal->value : FG_DECISION_NO_VALUE,
                                         .limit = has_value ? refusal->limit : FG_DECISION_NO_VALUE,
                                         .wait_ns = spread_of(flow, refusal)});
}

void fg_flow_refuse(struct fg_flow *flow, const struct fg_refusal *refusal)
{
    fg_flow_note_refusal(flow, refusal);
    fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    if (flow->backend_started_ns == 0)
        fg_flow_give_back_place(flow);
    fg_flow_send_error(flow, refusal, fg_refused_name(refusal->reason));
}

void fg_flow_refuse_for_memory(struct fg_flow *flow, const char *what)
{
    char message[160];
    struct fg_refusal refusal = {
        .reason = FG_REFUSED_NO_MEMORY,
        .status = 503,
        .type = "overloaded",
        .message = message,
        .retry_after_ns = FG_S,
        .position = UINT64_MAX,
    };
    fg_flow_tell_lack(flow, &refusal);
    if (refusal.limit == 0)
        snprintf(message, sizeof(message), "the system has no memory for %s", what);
    else
        snprintf(message, sizeof(message), "limits.%s_max leaves no room for %s", refusal.policy,
                 what);
    fg_arena_borrow(flow->req->ex.arena);
    fg_flow_refuse(flow, &refusal);
}
