/*
 * cache_fetch.c: a request that the cache makes by itself.
 * Job      run a flow behind the cache stage whose codec is this file: its answer goes into a
 *          stream for whoever reads, and into the store when it may be kept.
 * Thread   the loop that started it.
 * Never    ends because a client leaves, unless the answer is for that client alone, or it is still
 *          in a queue and nobody else waits for it.
 *
 *    start --> [queue, breaker, backend] --> head --+-- may be shared: keep and stream
 *                       |                           +-- 304: the stored one is fresh again
 *                       `-- refused, failed         `-- for the leader alone: stream through a
 * window end | abort | failed --deferred--> finish
 */
#include "cache_fetch.h"

#include "base/field_text.h"
#include "cache_head.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define RESERVE_STEP ((uint64_t)65536)

struct fg_cache_fetch {
    struct fg_request req;
    struct fg_list link; /* in the thread's fetches */
    struct fg_deferred finish;
    struct fg_pipeline_thread *thread;
    const struct fg_route_conf *route;
    struct fg_span key; /* in the arena */
    uint32_t route_index;
    unsigned round;

    struct fg_cache_stream *stream;
    struct fg_cache_object *stale;  /* being revalidated, or NULL */
    struct fg_cache_object *object; /* the stream's, once there is a head */

    /* state */
    bool has_head;
    bool is_over;    /* the stream has been ended or failed */
    bool is_keeping; /* the bytes go into the store at the end */
    bool is_paused;
    uint64_t appended;
    uint64_t reserved;
};

static struct fg_cache_fetch *fetch_of(struct fg_request *req)
{
    return FG_CONTAINER_OF(req, struct fg_cache_fetch, req);
}

static struct fg_cache_store *store_of(const struct fg_cache_fetch *fetch)
{
    return fetch->thread->pipeline->cache;
}

struct fg_cache_rules fg_cache_rules_of(const struct fg_pipeline *pipeline,
                                        const struct fg_route_conf *route)
{
    const struct fg_cache_conf *conf = &pipeline->config->cache;
    bool is_pressed =
        fg_pressure_asks(fg_overload_shared_pressure(pipeline->overload), FG_OVERLOAD_STALE_CACHE);
    struct fg_cache_rules rules = fg_cache_rules_default();
    /* Under pressure a reload button is no way past the cache, and old is better than late. */
    rules.obeys_request = conf->obey_clients && !is_pressed;
    rules.pressure_stale_s = is_pressed ? (uint32_t)(conf->stale_under_pressure_ns / FG_S) : 0;
    rules.stale_while_revalidate_s = (uint32_t)(conf->stale_while_revalidate_ns / FG_S);
    rules.stale_if_error_s = (uint32_t)(conf->stale_if_error_ns / FG_S);
    rules.negative_lifetime_s = (uint32_t)(conf->negative_ttl_ns / FG_S);
    rules.is_pinned = route->cache_keep == FG_CACHE_KEEP_PINNED;
    if (route->cache_ttl_ns > 0) {
        rules.has_lifetime_override = true;
        rules.lifetime_override_s = (uint32_t)((route->cache_ttl_ns + FG_S - 1) / FG_S);
    }
    return rules;
}

/* ---- the end ---- */

static void destroy(struct fg_cache_fetch *fetch)
{
    struct fg_flow *flow = fetch->req.handler_state;
    fg_loop_defer_cancel(fetch->thread->loop, &fetch->finish);
    if (flow != NULL) {
        fg_flow_let_go(flow);
        if (flow->state != FG_FLOW_DONE)
            fg_flow_set_state(flow, FG_FLOW_DONE);
    }
    fg_cache_store_close(store_of(fetch), fetch->stream);
    fg_cache_stream_drop_writer(fetch->stream);
    fg_cache_object_release(fetch->stale);
    fg_list_remove(&fetch->link);
    fg_arena_fini(&fetch->req.arena_storage);
    free(fetch);
}

static void on_finish(struct fg_deferred *deferred)
{
    destroy(FG_CONTAINER_OF(deferred, struct fg_cache_fetch, finish));
}

static void finish(struct fg_cache_fetch *fetch)
{
    fetch->is_over = true;
    fg_loop_defer(fetch->thread->loop, &fetch->finish);
}

static struct fg_cache_hops hops_of(const struct fg_cache_fetch *fetch)
{
    const struct fg_flow *flow = fetch->req.handler_state;
    const struct fg_answerer *own = &fetch->req.ex.answerer;
    struct fg_cache_hops hops = {
        .answerer = {.attempts = own->attempts, .was_hedged = own->was_hedged},
        .queue_ns = flow->hop_ns[FG_HOP_QUEUE],
        .backend_ns = flow->hop_ns[FG_HOP_BACKEND],
        .own_count = flow->backend_hop_count,
    };
    snprintf(hops.answerer.endpoint, sizeof(hops.answerer.endpoint), "%.*s",
             FG_SPAN_ARGS(own->endpoint));
    for (size_t i = 0; i < flow->backend_hop_count; i++) {
        hops.own[i].name = flow->backend_hops[i].name;
        hops.own[i].duration_ns = flow->backend_hops[i].duration_ns;
    }
    return hops;
}

static const struct fg_cache_failure broken = {
    .status = 502,
    .type = "backend_error",
    .code = "backend_reset",
    .retry_after_ns = FG_S,
    .position = UINT64_MAX,
    .message = "the backend's answer broke off",
};

static const struct fg_cache_failure no_memory = {
    .status = 503,
    .type = "overloaded",
    .code = "no_memory",
    .retry_after_ns = FG_S,
    .position = UINT64_MAX,
    .message = "a memory limit of the gateway was reached",
};

/* By whoever asked, not by its backend: who comes next asks again. */
static const struct fg_cache_failure unread = {
    .status = 502,
    .type = "backend_error",
    .code = "backend_reset",
    .is_retryable = true,
    .position = UINT64_MAX,
    .message = "nobody read the backend's answer",
};

/* Of something else than what we hold: to be asked again, without our validators. */
static const struct fg_cache_failure mismatched = {
    .status = 502,
    .type = "backend_error",
    .code = "backend_reset",
    .is_retryable = true,
    .position = UINT64_MAX,
    .message = "the backend said that something else than what is stored has not changed",
};

/* To a request without conditions: there is nothing that the client could take for it. */
static const struct fg_cache_failure unasked = {
    .status = 502,
    .type = "backend_error",
    .code = "backend_reset",
    .retry_after_ns = FG_S,
    .position = UINT64_MAX,
    .message = "the backend said that nothing has changed, which nobody had asked",
};

/* The readers hear of it; what has come so far is of no use. */
static void fail(struct fg_cache_fetch *fetch, const struct fg_cache_failure *failure)
{
    if (fetch->is_over)
        return;
    fetch->is_keeping = false;
    if (failure->is_retryable)
        fg_cache_store_close(store_of(fetch), fetch->stream);
    else
        fg_cache_store_note_failure(store_of(fetch), fetch->stream, fg_clock_monotonic_ns());
    fg_cache_stream_fail(fetch->stream, failure);
    finish(fetch);
}

void fg_cache_fetch_failed(struct fg_cache_fetch *fetch, const struct fg_refusal *refusal,
                           const char *code)
{
    const struct fg_flow *flow = fetch->req.handler_state;
    struct fg_cache_failure failure = {
        .hops = hops_of(fetch),
        .status = refusal->status,
        .type = refusal->type,
        .code = code,
        .policy = refusal->policy,
        .is_refused = flow->is_refused,
        .reason = flow->refused,
        .retry_after_ns = refusal->retry_after_ns,
        .value = refusal->value,
        .limit = refusal->limit,
        .position = refusal->position,
        .wait_ns = refusal->wait_ns,
    };
    snprintf(failure.message, sizeof(failure.message), "%s", refusal->message);
    fail(fetch, &failure);
}

/* Nobody reads an answer that is nobody else's: the backend need not go on, and has not failed. */
static void cancel(struct fg_cache_fetch *fetch)
{
    fg_flow_abandon(fetch->req.handler_state);
    fail(fetch, &unread);
}

/*
 * What the backend is asked for already, and may be kept, is wanted by whoever comes next. What is
 * still in a queue would only take the place of what somebody waits for.
 */
static bool is_for_nobody(struct fg_cache_fetch *fetch)
{
    const struct fg_flow *flow = fetch->req.handler_state;
    if (fg_cache_stream_has_readers(fetch->stream))
        return false;
    if (fetch->has_head)
        return !fetch->is_keeping;
    if (flow->backend_started_ns != 0)
        return false;
    fg_cache_store_part(store_of(fetch), fetch->stream); /* nobody joins from here on */
    return !fg_cache_stream_has_readers(fetch->stream);
}

static void on_wake(void *owner)
{
    struct fg_cache_fetch *fetch = owner;
    if (fetch->is_over)
        return;
    if (is_for_nobody(fetch)) {
        cancel(fetch);
        return;
    }
    if (fetch->is_paused) {
        fetch->is_paused = false;
        fetch->req.handler->on_writable(&fetch->req);
    }
}

/* ---- the head ---- */

static bool reserve(struct fg_cache_fetch *fetch, uint64_t bytes)
{
    if (!fg_cache_store_reserve(store_of(fetch), fetch->stream, bytes))
        return false;
    fetch->reserved += bytes;
    return true;
}

static int64_t length_of(const struct fg_field *fields, size_t field_count)
{
    uint64_t length;
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("content-length")))
            return fg_span_parse_u64(fields[i].value, &length) && length < INT64_MAX
                       ? (int64_t)length
                       : -1;
    }
    return -1;
}

/* Lifetime and age, once draft->response is read. */
static void fill_draft(const struct fg_cache_fetch *fetch, struct fg_cache_draft *draft,
                       const struct fg_cache_rules *rules, int64_t wall_s)
{
    const struct fg_flow *flow = fetch->req.handler_state;
    draft->key = fetch->key;
    draft->route_index = fetch->route_index;
    draft->is_pinned = rules->is_pinned;
    draft->stored_ns = fg_clock_monotonic_ns();
    draft->lifetime_s = fg_cache_lifetime_s(&draft->response, rules, wall_s);
    draft->initial_age_ns = fg_cache_initial_age_ns(&draft->response, flow->backend_started_ns,
                                                    draft->stored_ns, wall_s);
}

static void set_head(struct fg_cache_fetch *fetch, enum fg_cache_outcome outcome,
                     struct fg_cache_object *object, int64_t length, bool keeps)
{
    const struct fg_cache_hops hops = hops_of(fetch);
    fetch->has_head = true;
    fetch->object = object;
    fg_cache_stream_set_head(fetch->stream, outcome, object, length, keeps, &hops);
}

/* Does the answer go by who asks? What somebody may not see is often said not to be there. */
static bool is_asked_by_user(const struct fg_cache_fetch *fetch, const struct fg_cache_draft *draft)
{
    if (fg_cache_is_open_to_all(&draft->response))
        return false;
    const struct fg_cache_request request = fg_cache_read_request(&fetch->req.ex);
    return request.has_authorization || (draft->status < 500 && request.has_cookie);
}

/* May an error be told to all who wait, though it cannot be stored? Only when another fetch has
 * failed before it: one client's odd request must not become everybody's error. And only one that
 * is about the backend or the page, not about who asks. */
static bool is_error_for_all(const struct fg_cache_fetch *fetch, const struct fg_cache_draft *draft)
{
    const struct fg_cache_response *response = &draft->response;
    bool is_impersonal =
        fg_cache_is_error_status(draft->status) || draft->status == 404 || draft->status == 410;
    return fetch->round > 0 && is_impersonal && !is_asked_by_user(fetch, draft) &&
           !response->has_set_cookie && !response->control.is_private &&
           !response->control.no_store;
}

/* Whoever has waited may have it too: it would be a hit now. */
static bool is_for_anybody(const struct fg_cache_draft *draft, const struct fg_cache_rules *rules)
{
    struct fg_cache_request anybody = {.method = FG_CACHE_METHOD_GET};
    fg_cache_control_init(&anybody.control);
    enum fg_cache_verdict verdict =
        fg_cache_judge(&anybody, &draft->response, rules, draft->lifetime_s, draft->initial_age_ns);
    return verdict == FG_CACHE_FRESH || verdict == FG_CACHE_STALE_WHILE_REVALIDATE;
}

static enum fg_cache_outcome decide(struct fg_cache_fetch *fetch, struct fg_cache_draft *draft,
                                    const struct fg_cache_rules *rules, bool is_readable,
                                    int64_t length)
{
    const struct fg_cache_conf *conf = &fetch->thread->pipeline->config->cache;
    struct fg_cache_request request = fg_cache_read_request(&fetch->req.ex);
    bool is_error = fg_cache_is_error_status(draft->status);
    bool is_storable =
        is_readable &&
        fg_cache_is_storable(&request, &draft->response, rules) == FG_CACHE_STORABLE &&
        fg_cache_is_useful(&draft->response, draft->lifetime_s, draft->initial_age_ns) &&
        (length < 0 || (uint64_t)length <= conf->object_bytes_max) &&
        !(is_error && fetch->stale != NULL);
    if (is_storable && reserve(fetch, length > 0 ? (uint64_t)length : 0)) {
        fetch->is_keeping = true;
        if (is_for_anybody(draft, rules))
            return FG_CACHE_OUTCOME_SHARED;
        fg_cache_store_part(store_of(fetch), fetch->stream);
        return FG_CACHE_OUTCOME_OWN;
    }
    if (is_error)
        fg_cache_store_note_failure(store_of(fetch), fetch->stream, fg_clock_monotonic_ns());
    if (draft->is_too_odd) { /* it is not the answer that cannot be kept: the next one tries */
        fg_cache_store_close(store_of(fetch), fetch->stream);
        return FG_CACHE_OUTCOME_ERROR;
    }
    if (draft->status >= 400) { /* says nothing of what the next one will be told: no mark */
        fg_cache_store_close(store_of(fetch), fetch->stream);
        return is_error_for_all(fetch, draft) ? FG_CACHE_OUTCOME_SHARED : FG_CACHE_OUTCOME_ERROR;
    }
    fg_cache_store_mark(store_of(fetch), fetch->stream, fg_clock_monotonic_ns());
    return FG_CACHE_OUTCOME_OWN;
}

/* As it came, but for its Age (how old it is, is said anew to each reader) and what it says of
 * trailers, which have no way through here. False without memory. */
static bool pass_fields(struct fg_cache_fetch *fetch, struct fg_cache_draft *draft,
                        const struct fg_field *fields, size_t field_count)
{
    struct fg_field *kept =
        fg_arena_try_alloc(fetch->req.ex.arena, field_count * sizeof(*kept) + 1);
    size_t count = 0;
    for (size_t i = 0; kept != NULL && i < field_count; i++) {
        if (!fg_span_equal(fields[i].name, FG_SPAN("age")) &&
            !fg_span_equal(fields[i].name, FG_SPAN("trailer")))
            kept[count++] = fields[i];
    }
    draft->fields = kept;
    draft->field_count = count;
    return kept != NULL;
}

static void take_answer(struct fg_cache_fetch *fetch, unsigned status,
                        const struct fg_field *fields, size_t field_count)
{
    const struct fg_pipeline *pipeline = fetch->thread->pipeline;
    int64_t wall_s = (int64_t)(fg_clock_wall_ns() / FG_S);
    int64_t length = length_of(fields, field_count);
    struct fg_cache_rules rules = fg_cache_rules_of(pipeline, fetch->route);
    struct fg_cache_draft draft;
    bool is_readable = fg_cache_draft_make(&draft, &fetch->req.ex, &pipeline->config->cache, status,
                                           fields, field_count, wall_s);
    fill_draft(fetch, &draft, &rules, wall_s);
    enum fg_cache_outcome outcome = decide(fetch, &draft, &rules, is_readable, length);
    bool is_fine = fetch->is_keeping || pass_fields(fetch, &draft, fields, field_count);
    struct fg_cache_object *object = is_fine ? fg_cache_object_create(&draft) : NULL;
    if (object == NULL) {
        fail(fetch, &no_memory);
        return;
    }
    set_head(fetch, outcome, object, length, fetch->is_keeping);
}

/*
 * The body is as it was, but what the 304 says of it may be for its leader alone. What is stored
 * goes then, unless it is only for who asked: others may still have it as it was.
 */
static enum fg_cache_outcome keep_refreshed(struct fg_cache_fetch *fetch,
                                            const struct fg_cache_draft *draft,
                                            const struct fg_cache_rules *rules,
                                            struct fg_cache_object *object)
{
    struct fg_cache_store *store = store_of(fetch);
    struct fg_cache_request request = fg_cache_read_request(&fetch->req.ex);
    enum fg_cache_storable storable = fg_cache_is_storable(&request, &draft->response, rules);
    if (storable != FG_CACHE_STORABLE) {
        if (storable != FG_CACHE_NOT_AUTHORIZATION)
            fg_cache_store_remove(store, fetch->stale);
        fg_cache_store_mark(store, fetch->stream, fg_clock_monotonic_ns());
        return FG_CACHE_OUTCOME_OWN;
    }
    if (!fg_span_equal(draft->vary, fetch->stale->head.vary))
        fg_cache_store_remove(store, fetch->stale); /* it would answer whom it is no more for */
    (void)fg_cache_store_publish(store, fetch->stream, object);
    return is_for_anybody(draft, rules) ? FG_CACHE_OUTCOME_SHARED : FG_CACHE_OUTCOME_OWN;
}

/* False: the 304 is not about what is stored, which is then of no use. */
static bool refresh(struct fg_cache_fetch *fetch, const struct fg_field *fields, size_t field_count)
{
    const struct fg_pipeline *pipeline = fetch->thread->pipeline;
    int64_t wall_s = (int64_t)(fg_clock_wall_ns() / FG_S);
    struct fg_cache_rules rules = fg_cache_rules_of(pipeline, fetch->route);
    const struct fg_cache_object *stale = fetch->stale;
    struct fg_cache_draft draft;
    size_t count;
    const struct fg_field *merged =
        fg_cache_merge_304(&fetch->req.ex, stale, fields, field_count, &count);
    if (merged == NULL || !fg_cache_draft_make(&draft, &fetch->req.ex, &pipeline->config->cache,
                                               stale->head.status, merged, count, wall_s))
        return false;
    if (draft.tags.len == 0)
        draft.tags = stale->head.tags;
    fill_draft(fetch, &draft, &rules, wall_s);
    struct fg_cache_object *object = fg_cache_object_create(&draft);
    if (object == NULL)
        return false;
    fg_cache_body_acquire(stale->body);
    fg_cache_object_set_body(object, stale->body);
    enum fg_cache_outcome outcome = keep_refreshed(fetch, &draft, &rules, object);
    fg_cache_store_count(store_of(fetch), FG_CACHE_EVENT_REVALIDATED, 1);
    int64_t length = (int64_t)fg_cache_body_span(stale->body).len;
    set_head(fetch, outcome, object, length, true);
    return true;
}

static void on_end(struct fg_request *req);

static void on_head(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count, bool is_end)
{
    struct fg_cache_fetch *fetch = fetch_of(req);
    if (status != 304) {
        take_answer(fetch, status, fields, field_count);
    } else if (fetch->stale == NULL) {
        fail(fetch, &unasked);
    } else if (!refresh(fetch, fields, field_count)) {
        fg_cache_store_remove(store_of(fetch), fetch->stale);
        fail(fetch, &mismatched);
    }
    if (is_end)
        on_end(req);
}

/* ---- the body ---- */

static void stop_keeping(struct fg_cache_fetch *fetch)
{
    fetch->is_keeping = false;
    fg_cache_store_mark(store_of(fetch), fetch->stream, fg_clock_monotonic_ns());
    fg_cache_stream_stop_keeping(fetch->stream);
}

static bool on_write(struct fg_request *req, const void *data, size_t len)
{
    struct fg_cache_fetch *fetch = fetch_of(req);
    const struct fg_cache_conf *conf = &fetch->thread->pipeline->config->cache;
    bool may_go_on = true;
    if (fetch->is_over || len == 0 || fetch->object->body != NULL)
        return true;
    fetch->appended += len;
    if (fetch->is_keeping && (fetch->appended > conf->object_bytes_max ||
                              (fetch->appended > fetch->reserved &&
                               !reserve(fetch, len > RESERVE_STEP ? (uint64_t)len : RESERVE_STEP))))
        stop_keeping(fetch);
    if (!fg_cache_stream_append(fetch->stream, data, len, &may_go_on)) {
        fail(fetch, &broken);
        return true;
    }
    fetch->is_paused = !may_go_on;
    return may_go_on;
}

static void store_it(struct fg_cache_fetch *fetch)
{
    struct fg_cache_body *body = fg_cache_stream_take_body(fetch->stream);
    if (body == NULL)
        return;
    fg_cache_object_set_body(fetch->object, body);
    if (fg_cache_store_publish(store_of(fetch), fetch->stream, fetch->object))
        fg_cache_stream_note_stored(fetch->stream, body);
}

static void on_end(struct fg_request *req)
{
    struct fg_cache_fetch *fetch = fetch_of(req);
    if (fetch->is_over)
        return;
    if (fetch->is_keeping)
        store_it(fetch);
    fg_cache_store_close(store_of(fetch), fetch->stream);
    fg_cache_stream_end(fetch->stream);
    finish(fetch);
}

static void on_abort(struct fg_request *req)
{
    req->was_aborted = true;
    fail(fetch_of(req), &broken);
}

static void on_consumed(struct fg_request *req, size_t len)
{
    (void)req; /* a fetch has no body */
    (void)len;
}

static bool on_write_shared(struct fg_request *req, const void *data, size_t len,
                            void (*release)(void *owner), void *owner)
{
    bool may_go_on = on_write(req, data, len);
    if (release != NULL)
        release(owner);
    return may_go_on;
}

static void on_interim(struct fg_request *req, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    const struct fg_cache_fetch *fetch = fetch_of(req);
    if (!fetch->is_over && !fetch->has_head)
        fg_cache_stream_add_hint(fetch->stream, fg_cache_hint_create(status, fields, field_count));
}

/* They may be dropped in storing (RFC 9111 section 3.1), and nobody was told that we want them. */
static void ignore_trailers(struct fg_request *req, const struct fg_field *fields,
                            size_t field_count)
{
    (void)req;
    (void)fields;
    (void)field_count;
}

/* Others may read along, and where nobody does its reader's own write time ends it. */
static uint64_t never_stalls(const struct fg_request *req)
{
    (void)req;
    return 0;
}

static const struct fg_response_ops fetch_ops = {
    .interim = on_interim,
    .trailers = ignore_trailers,
    .head = on_head,
    .write = on_write,
    .write_shared = on_write_shared,
    .end = on_end,
    .abort = on_abort,
    .out_of_memory = on_abort,
    .consumed = on_consumed,
    .stalled_since = never_stalls,
    .give_up = on_abort,
};

/* ---- the beginning ---- */

/*
 * What a shared answer must not depend on. It is fetched whole, plain (who encodes it all the same
 * does so for everybody, RFC 9110 section 12.5.3) and without conditions of the client; and
 * no field that frameworks are known to take another host, path or method from, in whichever
 * spelling, may change what is then given to everybody under this key. (X-Forwarded-Host, of
 * trusted proxies alone, is in the key.)
 */
static bool is_dropped(struct fg_span name)
{
    static const struct fg_span dropped[] = {
        FG_SPAN_LITERAL("base-url"),
        FG_SPAN_LITERAL("front-end-https"),
        FG_SPAN_LITERAL("x-envoy-original-path"),
        FG_SPAN_LITERAL("x-host"),
        FG_SPAN_LITERAL("x-http-destinationurl"),
        FG_SPAN_LITERAL("x-http-host-override"),
        FG_SPAN_LITERAL("x-http-method"),
        FG_SPAN_LITERAL("x-http-method-override"),
        FG_SPAN_LITERAL("x-matched-path"),
        FG_SPAN_LITERAL("x-method-override"),
        FG_SPAN_LITERAL("x-nextjs-data"),       /* CVE-2024-46982 */
        FG_SPAN_LITERAL("x-now-route-matches"), /* the same */
        FG_SPAN_LITERAL("x-original-host"),
        FG_SPAN_LITERAL("x-original-uri"),
        FG_SPAN_LITERAL("x-original-url"),
        FG_SPAN_LITERAL("x-override-url"),
        FG_SPAN_LITERAL("x-proxy-url"),
        FG_SPAN_LITERAL("x-rewrite-url"),
        FG_SPAN_LITERAL("x-url-scheme"),
        FG_SPAN_LITERAL("accept-encoding"),
        FG_SPAN_LITERAL("if-none-match"),
        FG_SPAN_LITERAL("if-modified-since"),
        FG_SPAN_LITERAL("if-match"),
        FG_SPAN_LITERAL("if-range"),
        FG_SPAN_LITERAL("if-unmodified-since"),
        FG_SPAN_LITERAL("range"),
    };
    static const struct fg_span families[] = {FG_SPAN_LITERAL("x-invoke-"),
                                              FG_SPAN_LITERAL("x-middleware-")};
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
        if (fg_field_reads_as(name, dropped[i]))
            return true;
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (fg_field_reads_as_prefix(name, families[i]))
            return true;
    }
    return false;
}

static bool copy_field(struct fg_arena *arena, struct fg_field *to, struct fg_span name,
                       struct fg_span value)
{
    to->name = fg_arena_try_copy(arena, name);
    to->value = fg_arena_try_copy(arena, value);
    return to->name.data != NULL && to->value.data != NULL;
}

static bool copy_fields(struct fg_cache_fetch *fetch, const struct fg_exchange *from)
{
    struct fg_exchange *ex = &fetch->req.ex;
    struct fg_field *fields =
        fg_arena_try_alloc(ex->arena, (from->field_count + 3) * sizeof(*fields));
    bool is_fine = fields != NULL;
    size_t count = 0;
    for (size_t i = 0; i < from->field_count && is_fine; i++) {
        if (!is_dropped(from->fields[i].name))
            is_fine = copy_field(ex->arena, &fields[count++], from->fields[i].name,
                                 from->fields[i].value);
    }
    if (is_fine)
        fields[count++] = (struct fg_field){FG_SPAN("accept-encoding"), FG_SPAN("identity")};
    const struct fg_cache_object *stale = fetch->stale;
    if (is_fine && stale != NULL && stale->etag.data != NULL)
        is_fine = copy_field(ex->arena, &fields[count++], FG_SPAN("if-none-match"), stale->etag);
    if (is_fine && stale != NULL && stale->last_modified.data != NULL)
        is_fine = copy_field(ex->arena, &fields[count++], FG_SPAN("if-modified-since"),
                             stale->last_modified);
    ex->fields = fields;
    ex->field_count = count;
    return is_fine;
}

static bool copy_marks(struct fg_exchange *ex)
{
    const struct fg_never_indexed *from = ex->never_indexed;
    bool is_fine = true;
    ex->never_indexed = NULL;
    for (size_t i = 0; from != NULL && i < from->count && is_fine; i++)
        is_fine = fg_never_indexed_add(&ex->never_indexed, ex->arena, from->names[i]);
    if (from != NULL && is_fine)
        ex->never_indexed->is_all = from->is_all;
    return is_fine;
}

/* The client may be gone before its fetch is done. */
static bool copy_link(struct fg_exchange *ex)
{
    if (ex->link == NULL)
        return true;
    struct fg_client_link *copy = fg_arena_try_alloc(ex->arena, sizeof(*copy));
    if (copy == NULL)
        return false;
    *copy = *ex->link;
    copy->server_name = fg_arena_try_copy(ex->arena, copy->server_name);
    copy->is_misdirected = NULL; /* it was asked before */
    ex->link = copy;
    return copy->server_name.data != NULL;
}

static bool copy_head(struct fg_cache_fetch *fetch, const struct fg_flow *by,
                      const struct fg_cache_ask *ask)
{
    const struct fg_exchange *from = &by->req->ex;
    struct fg_exchange *ex = &fetch->req.ex;
    struct fg_arena *arena = &fetch->req.arena_storage;
    *ex = *from;
    ex->answer_never_indexed = NULL;
    ex->arena = arena;
    ex->backend_state = NULL;
    ex->method = FG_METHOD_GET;
    ex->method_text = FG_SPAN("GET");
    ex->has_body = false;
    ex->content_length = 0;
    ex->accepts_trailers = false; /* who says so promises not to drop them (RFC 9110 10.1.4) */
    ex->ops = &fg_answer_ops;
    ex->started_ns = fg_flow_now_ns(by);
    ex->deadline_ns = ex->started_ns + by->route->timeout_ns;
    struct fg_span *const texts[] = {&ex->request_id, &ex->user_id, &ex->client_addr,
                                     &ex->peer_addr,  &ex->scheme,  &ex->authority,
                                     &ex->path};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        *texts[i] = fg_arena_try_copy(arena, *texts[i]);
        if (texts[i]->data == NULL)
            return false;
    }
    if (from->query.data != NULL) {
        ex->query = fg_arena_try_copy(arena, from->query);
        if (ex->query.data == NULL)
            return false;
    }
    fetch->key = fg_arena_try_copy(arena, ask->key);
    return fetch->key.data != NULL && copy_link(ex) && copy_marks(ex) && copy_fields(fetch, from);
}

static struct fg_flow *make_flow(struct fg_cache_fetch *fetch, const struct fg_flow *by)
{
    struct fg_flow *flow = fg_flow_alloc(&fetch->req.arena_storage);
    if (flow == NULL)
        return NULL;
    flow->req = &fetch->req;
    flow->thread = by->thread;
    flow->route = by->route;
    flow->metrics = by->metrics;
    flow->is_body_complete = true;
    flow->fetch = fetch;
    flow->stage = FG_STAGE_CACHE + 1;
    return flow;
}

void fg_cache_fetch_start(struct fg_flow *by, const struct fg_cache_ask *ask,
                          struct fg_cache_stream *stream, struct fg_cache_object *stale,
                          unsigned round)
{
    struct fg_pipeline_thread *thread = by->thread;
    struct fg_cache_fetch *fetch = calloc(1, sizeof(*fetch));
    if (fetch == NULL) {
        fg_cache_store_close(thread->pipeline->cache, stream);
        fg_cache_stream_fail(stream, &no_memory);
        fg_cache_stream_drop_writer(stream);
        return;
    }
    fetch->finish.run = on_finish;
    fetch->thread = thread;
    fetch->route = by->route;
    fetch->route_index = ask->route_index;
    fetch->round = round;
    fetch->stream = stream;
    fetch->stale = stale;
    if (stale != NULL)
        fg_cache_object_acquire(stale);
    fg_list_push_back(&thread->fetches, &fetch->link);
    fg_cache_stream_set_writer(stream, on_wake, fetch);
    struct fg_request *req = &fetch->req;
    req->loop = thread->loop;
    req->version = by->req->version;
    req->response_ops = &fetch_ops;
    req->handler = &fg_pipeline_handler;
    fg_arena_init(&req->arena_storage, fg_loop_arena_pool(thread->loop),
                  thread->pipeline->config->limits.request_memory_max);
    bool is_charged =
        fg_arena_charge(&req->arena_storage, &thread->accounts[by->route->backend_index]);
    struct fg_flow *flow = is_charged && copy_head(fetch, by, ask) ? make_flow(fetch, by) : NULL;
    if (flow == NULL) {
        fail(fetch, &no_memory);
        return;
    }
    req->handler_state = flow;
    fg_flow_arm_deadline(flow, req->ex.deadline_ns);
    fg_flow_run(flow);
}

void fg_cache_fetch_cancel_all(struct fg_pipeline_thread *thread)
{
    while (!fg_list_is_empty(&thread->fetches)) {
        struct fg_cache_fetch *fetch =
            FG_CONTAINER_OF(thread->fetches.next, struct fg_cache_fetch, link);
        if (!fetch->is_over && fetch->req.handler_state != NULL)
            fg_flow_abandon(fetch->req.handler_state);
        fail(fetch, &broken);
        destroy(fetch);
    }
}
