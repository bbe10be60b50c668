/*
 * stage_cache.c: answer from memory, or fetch once for everybody who asks at the same time.
 *
 *    fresh                             -> answer (304, a range, a coding or as it is)
 *    stale, but may be given           -> answer with it, and have one fetch ask its origin beside
 *    not there, nobody is fetching     -> start a fetch and be its first reader (the leader)
 *    not there, somebody is fetching   -> read along, from the first byte on
 *    not to be shared                  -> go on behind this stage, as without a cache
 *
 * A HEAD is answered by what a GET brings: it asks its origin only where no GET is to be shared.
 *
 * Thread   the request's loop; the store and the streams are shared.
 * Source   RFC 9111 sections 4 and 5.2.1; the decisions are policies/cache/freshness.
 * A reader whose leader's answer was not for it goes on by itself; how many do at a time doubles
 * with each that is answered (slow start) and stays as it is while they fail, so that no herd meets
 * the backend.
 */
#include "cache_fetch.h"
#include "cache_head.h"
#include "cache_key.h"
#include "cache_serve.h"
#include "cache_unread.h"
#include "policies/cache/etag.h"

#include <assert.h>

#define ROUNDS_MAX 2 /* fetches that one request waits for before it goes by itself */
#define LET_ON 2     /* for each one that is answered; 1 for one that fails, or is given up */

static struct fg_cache_store *store_of(const struct fg_flow *flow)
{
    return flow->thread->pipeline->cache;
}

/* Unless it is registered as safe (RFC 9110 section 9.2.1 and the registry of methods). */
static bool is_unsafe(const struct fg_exchange *ex)
{
    static const struct fg_span safe[] = {FG_SPAN_LITERAL("PROPFIND"), FG_SPAN_LITERAL("QUERY"),
                                          FG_SPAN_LITERAL("REPORT"), FG_SPAN_LITERAL("SEARCH")};
    for (size_t i = 0; ex->method == FG_METHOD_OTHER && i < sizeof(safe) / sizeof(safe[0]); i++) {
        if (fg_span_equal(ex->method_text, safe[i]))
            return false;
    }
    return ex->method != FG_METHOD_GET && ex->method != FG_METHOD_HEAD &&
           ex->method != FG_METHOD_OPTIONS && ex->method != FG_METHOD_TRACE;
}

static uint64_t age_of(const struct fg_flow *flow, const struct fg_cache_object *object)
{
    return fg_cache_current_age_ns(object->head.initial_age_ns, object->head.stored_ns,
                                   fg_flow_now_ns(flow));
}

/* ---- serving ---- */

static void serve(struct fg_flow *flow, struct fg_cache_object *object, enum fg_cache_result result)
{
    flow->cache_result = result;
    fg_cache_serve(flow, object);
}

/* With the caller's use of the lease. */
static void serve_leased(struct fg_flow *flow, struct fg_cache_lease *lease,
                         enum fg_cache_result result)
{
    bool is_held = fg_cache_hold(flow, lease);
    serve(flow, lease->object, result);
    if (!is_held)
        fg_cache_lease_release(lease);
}

bool fg_cache_serve_stale(struct fg_flow *flow)
{
    struct fg_cache_object *object = flow->cache_stale;
    if (object == NULL)
        return false;
    flow->cache_stale = NULL;
    fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    serve(flow, object, FG_CACHE_RESULT_STALE);
    fg_cache_object_release(object);
    return true;
}

static void leave(struct fg_flow *flow)
{
    if (flow->cache_reader != NULL)
        fg_cache_reader_leave(flow->cache_reader);
    flow->cache_reader = NULL;
}

static void keep(struct fg_cache_object **at, struct fg_cache_object *object)
{
    if (object != NULL)
        fg_cache_object_acquire(object);
    fg_cache_object_release(*at);
    *at = object;
}

static void refuse_crowd(struct fg_flow *flow)
{
    const uint32_t most = flow->thread->pipeline->config->cache.waiters_max;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_QUEUE_FULL,
                             .status = 503,
                             .type = "overloaded",
                             .message = "too many requests wait for this object to be fetched",
                             .retry_after_ns = FG_S,
                             .policy = "cache",
                             .value = most,
                             .limit = most,
                             .position = UINT64_MAX,
                         });
}

static void refuse_uncached(struct fg_flow *flow)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_NOT_CACHED,
                             .status = 504,
                             .type = "invalid_request",
                             .message = "only-if-cached was asked for, and nothing is stored",
                             .position = UINT64_MAX,
                         });
}

/* ---- news of the fetch that is waited for ---- */

/* Whose answer, or failure, it is: the fetch's request is none that is logged. */
static void take_answerer(struct fg_flow *flow, const struct fg_cache_answerer *answerer)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (answerer->endpoint[0] == '\0')
        return;
    /* Without memory it goes unnamed. */
    ex->answerer.endpoint = fg_arena_try_copy(ex->arena, fg_span_from_string(answerer->endpoint));
    ex->answerer.attempts = answerer->attempts;
    ex->answerer.was_hedged = answerer->was_hedged;
}

/* The leader's time was spent where its fetch spent it. */
static void take_hops(struct fg_flow *flow, const struct fg_cache_hops *hops)
{
    _Static_assert(FG_CACHE_HOPS_MAX == FG_BACKEND_HOPS_MAX, "one is copied from the other");
    flow->wait_hop = FG_HOP_COUNT;
    flow->hop_ns[FG_HOP_QUEUE] = hops->queue_ns;
    flow->hop_ns[FG_HOP_BACKEND] = hops->backend_ns;
    for (size_t i = 0; i < hops->own_count; i++)
        flow->backend_hops[i] =
            (struct fg_backend_hop){hops->own[i].name, hops->own[i].duration_ns};
    flow->backend_hop_count = hops->own_count;
    take_answerer(flow, &hops->answerer);
}

static void take_head(struct fg_flow *flow, const struct fg_cache_hops *hops)
{
    take_hops(flow, hops);
    flow->head_ns = fg_clock_monotonic_ns();
}

static void retry(struct fg_flow *flow)
{
    leave(flow);
    fg_flow_retry_stage(flow);
}

/* The leader's answer is not for this one: on its own, and the next ones when it is done. It counts
 * among those that are let on of each fetch that it has waited for. */
static void go_on(struct fg_flow *flow, const struct fg_cache_news *news)
{
    _Static_assert(FG_FLOW_HERDS_MAX == ROUNDS_MAX + 1, "one for each fetch that is waited for");
    struct fg_cache_stream *herd = fg_cache_reader_stream(flow->cache_reader);
    assert(flow->cache_herd_count < FG_FLOW_HERDS_MAX);
    flow->cache_herds[flow->cache_herd_count++] = herd;
    fg_cache_stream_acquire(herd);
    if (news->is_error && fg_cache_serve_stale(flow)) {
        leave(flow);
        return;
    }
    flow->cache_rounds =
        news->outcome == FG_CACHE_OUTCOME_ERROR ? flow->cache_rounds + 1 : ROUNDS_MAX + 1;
    retry(flow);
}

static void let_herds_on(struct fg_flow *flow)
{
    bool is_answered = flow->status != 0 && flow->status < 500;
    while (flow->cache_herd_count > 0) {
        struct fg_cache_stream *herd = flow->cache_herds[--flow->cache_herd_count];
        fg_cache_stream_let_on(herd, flow->thread->loop, is_answered ? LET_ON : 1);
        fg_cache_stream_release(herd);
    }
}

static void refuse_failed(struct fg_flow *flow, const struct fg_cache_failure *failure)
{
    struct fg_refusal refusal = {
        .reason = (enum fg_refused)failure->reason,
        .status = failure->status,
        .type = failure->type,
        .message = failure->message,
        .retry_after_ns = failure->retry_after_ns,
        .policy = failure->policy,
        .value = failure->value,
        .limit = failure->limit,
        .position = failure->position,
        .wait_ns = failure->wait_ns,
    };
    if (fg_cache_reader_is_leader(flow->cache_reader))
        take_hops(flow, &failure->hops);
    else
        take_answerer(flow, &failure->hops.answerer);
    if (failure->is_refused) {
        fg_flow_refuse(flow, &refusal);
    } else {
        flow->failed = fg_failed_of_name(failure->code);
        fg_flow_send_error(flow, &refusal, failure->code);
    }
    leave(flow); /* only now: the failure is the stream's */
}

static void on_failed(struct fg_flow *flow, const struct fg_cache_news *news)
{
    const struct fg_cache_failure *failure = news->failure;
    bool is_leader = fg_cache_reader_is_leader(flow->cache_reader);
    bool may_retry =
        flow->cache_rounds == 0 && (failure->is_retryable || (!is_leader && !failure->is_refused));
    if (failure->is_retryable)
        keep(&flow->cache_stale, NULL); /* the origin has something else by now */
    if (fg_cache_serve_stale(flow)) {
        leave(flow);
    } else if (may_retry) {
        flow->cache_rounds++;
        retry(flow);
    } else {
        refuse_failed(flow, failure);
    }
}

/* Is it not there for this user alone, perhaps? Few answers need a closer look. */
static bool may_be_personal(const struct fg_flow *flow, const struct fg_cache_object *object)
{
    if (object->head.status < 400)
        return false;
    struct fg_cache_request request = fg_cache_read_request(&flow->req->ex);
    struct fg_cache_rules rules = fg_cache_rules_of(flow->thread->pipeline, flow->route);
    return fg_cache_may_be_personal(&request, &object->head.response, &rules);
}

/* Is what the leader's fetch brought an answer to this request too? */
static bool fits(const struct fg_flow *flow, const struct fg_cache_object *object)
{
    const struct fg_exchange *ex = &flow->req->ex;
    if (may_be_personal(flow, object))
        return false;
    char selects[FG_CACHE_SELECTS_MAX];
    size_t len = fg_cache_key_selects(ex, object->head.vary, selects);
    return len != SIZE_MAX && fg_span_equal(object->head.selects, fg_span_make(selects, len));
}

/* The origin said 304: the body is that of what was stored. */
static void serve_whole(struct fg_flow *flow, const struct fg_cache_news *news)
{
    if (fg_cache_reader_is_leader(flow->cache_reader))
        flow->cache_result = FG_CACHE_RESULT_REVALIDATED;
    fg_cache_serve(flow, news->object);
    leave(flow);
}

static void on_shared(struct fg_flow *flow, const struct fg_cache_news *news)
{
    bool is_leader = fg_cache_reader_is_leader(flow->cache_reader);
    if (news->is_error && fg_cache_serve_stale(flow)) {
        leave(flow);
        return;
    }
    if (!is_leader && !fits(flow, news->object)) {
        flow->cache_rounds++;
        retry(flow);
        return;
    }
    if (is_leader)
        take_head(flow, news->hops);
    else
        fg_flow_note_wait(flow);
    if (news->is_whole)
        serve_whole(flow, news);
    else
        fg_cache_serve_stream(flow, news);
}

static void on_own(struct fg_flow *flow, const struct fg_cache_news *news)
{
    if (!fg_cache_reader_is_leader(flow->cache_reader)) {
        if (news->is_released)
            go_on(flow, news);
        return;
    }
    if (news->is_error && fg_cache_serve_stale(flow)) {
        leave(flow);
        return;
    }
    /* Asked for whole and plain, which is of no use to others: the client's own way is better. */
    if (news->outcome == FG_CACHE_OUTCOME_OWN && !news->is_kept &&
        fg_cache_is_partial(&flow->req->ex)) {
        flow->cache_rounds = ROUNDS_MAX + 1;
        retry(flow);
        return;
    }
    take_head(flow, news->hops);
    if (news->is_whole)
        serve_whole(flow, news);
    else
        fg_cache_serve_stream(flow, news);
}

/* Nobody but the leader is given any: the answer may turn out to be nobody else's. */
static void pass_hints(struct fg_flow *flow)
{
    struct fg_cache_hint *hints = fg_cache_reader_take_hints(flow->cache_reader);
    for (const struct fg_cache_hint *it = hints; it != NULL; it = it->next)
        fg_flow_send_interim(flow, it->status, it->fields, it->field_count);
    fg_cache_hint_destroy_all(hints);
}

static void on_news(void *owner)
{
    struct fg_flow *flow = owner;
    fg_loop_refresh_now(flow->thread->loop);
    if (flow->state != FG_FLOW_WAITING) {
        fg_cache_pump(flow);
        return;
    }
    if (fg_cache_reader_is_leader(flow->cache_reader))
        pass_hints(flow);
    struct fg_cache_news news = fg_cache_reader_news(flow->cache_reader);
    switch (news.outcome) {
    case FG_CACHE_OUTCOME_PENDING:
        break;
    case FG_CACHE_OUTCOME_SHARED:
        on_shared(flow, &news);
        break;
    case FG_CACHE_OUTCOME_OWN:
    case FG_CACHE_OUTCOME_ERROR:
        on_own(flow, &news);
        break;
    case FG_CACHE_OUTCOME_FAILED:
        on_failed(flow, &news);
        break;
    }
}

/* ---- the stage ---- */

/*
 * A client that holds an encoded form names it by our tag for it, also to change what it read: the
 * origin hears its own tag beside it. Not in the If-None-Match of a read: a 304 would be about
 * another form than the client's. Without memory the origin hears what the client said.
 */
static void tell_own_tags(struct fg_flow *flow, bool is_read)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_field *fields = NULL;
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_field field = ex->fields[i];
        bool is_wanted = fg_span_equal(field.name, FG_SPAN("if-match")) ||
                         (!is_read && fg_span_equal(field.name, FG_SPAN("if-none-match")));
        if (!is_wanted)
            continue;
        char *text = fg_arena_try_alloc(ex->arena, 3 * field.value.len + 1);
        size_t len = text == NULL ? 0 : fg_etag_widen(field.value.data, field.value.len, text);
        if (len == 0)
            continue;
        if (fields == NULL) {
            fields = fg_arena_try_alloc(ex->arena, ex->field_count * sizeof(*fields));
            if (fields == NULL)
                return;
            memcpy(fields, ex->fields, ex->field_count * sizeof(*fields));
            ex->fields = fields;
        }
        fields[i].value = fg_span_make(text, len);
    }
}

static enum fg_stage_verdict bypass(struct fg_flow *flow)
{
    tell_own_tags(flow, true);
    flow->cache_result = FG_CACHE_RESULT_BYPASS;
    return FG_STAGE_CONTINUE;
}

static enum fg_stage_verdict fetch(struct fg_flow *flow, const struct fg_cache_ask *ask,
                                   bool is_solo)
{
    struct fg_pipeline_thread *thread = flow->thread;
    struct fg_cache_stream *stream = NULL;
    if (flow->cache_rounds > ROUNDS_MAX)
        return bypass(flow);
    struct fg_cache_reader *reader =
        fg_cache_reader_create(&thread->cache_readers, thread->loop, on_news, flow);
    if (reader == NULL)
        return bypass(flow);
    enum fg_cache_role role = fg_cache_store_lead_or_join(store_of(flow), ask, fg_flow_now_ns(flow),
                                                          thread->loop, is_solo, reader, &stream);
    if (role == FG_CACHE_LEAD || role == FG_CACHE_JOINED) {
        flow->cache_reader = reader;
        flow->cache_result =
            role == FG_CACHE_LEAD ? FG_CACHE_RESULT_MISS : FG_CACHE_RESULT_COALESCED;
        if (role == FG_CACHE_LEAD)
            fg_cache_fetch_start(flow, ask, stream, flow->cache_stored, flow->cache_rounds);
        return fg_flow_wait(flow, FG_HOP_CACHE_WAIT);
    }
    fg_cache_reader_leave(reader);
    if (role == FG_CACHE_ALONE)
        return bypass(flow);
    if (!fg_cache_serve_stale(flow)) /* TOO_MANY, or FAILING, which says that there is one */
        refuse_crowd(flow);
    return FG_STAGE_RESPOND;
}

/* One fetch beside, whoever asks how often. */
static void revalidate_beside(struct fg_flow *flow, struct fg_cache_ask ask,
                              struct fg_cache_object *stale)
{
    struct fg_cache_stream *stream = NULL;
    ask.has_stale = true;
    if (fg_cache_store_lead_or_join(store_of(flow), &ask, fg_flow_now_ns(flow), flow->thread->loop,
                                    false, NULL, &stream) == FG_CACHE_LEAD)
        fg_cache_fetch_start(flow, &ask, stream, stale, 0);
}

/* Counts it when it is only for the pressure that this verdict was given. */
static void note_pressure(struct fg_flow *flow, const struct fg_cache_request *request,
                          const struct fg_cache_object *object, struct fg_cache_rules rules)
{
    if (rules.pressure_stale_s == 0)
        return;
    rules.pressure_stale_s = 0;
    if (fg_cache_judge(request, &object->head.response, &rules, object->head.lifetime_s,
                       age_of(flow, object)) != FG_CACHE_STALE_WHILE_REVALIDATE)
        fg_pressure_acted(fg_overload_shared_pressure(flow->thread->pipeline->overload),
                          FG_OVERLOAD_STALE_CACHE);
}

/* True: it has been the answer. Otherwise it may still be one if the fetch fails. The use of the
 * lease that is the caller's is taken over. */
static bool serve_stored(struct fg_flow *flow, const struct fg_cache_ask *ask,
                         const struct fg_cache_request *request, struct fg_cache_lease *lease)
{
    struct fg_cache_object *object = lease->object;
    struct fg_cache_rules rules = fg_cache_rules_of(flow->thread->pipeline, flow->route);
    enum fg_cache_verdict verdict = fg_cache_judge(request, &object->head.response, &rules,
                                                   object->head.lifetime_s, age_of(flow, object));
    if (fg_cache_store_must_ask(flow->thread->pipeline->cache, object))
        verdict = FG_CACHE_STALE_IF_ERROR_ONLY;
    switch (verdict) {
    case FG_CACHE_FRESH:
        serve_leased(flow, lease, FG_CACHE_RESULT_HIT);
        return true;
    case FG_CACHE_STALE_WHILE_REVALIDATE:
        note_pressure(flow, request, object, rules);
        /* What who says no-store brings is kept for nobody: the next one brings it. */
        if (!request->control.only_if_cached && !request->control.no_store)
            revalidate_beside(flow, *ask, object);
        serve_leased(flow, lease, FG_CACHE_RESULT_STALE);
        return true;
    case FG_CACHE_STALE_IF_ERROR_ONLY:
        keep(&flow->cache_stale, object);
        break;
    case FG_CACHE_STALE:
        keep(&flow->cache_stale, NULL);
        break;
    }
    keep(&flow->cache_stored, object);
    /* What is fresh by itself, and was not taken back, is not good enough for this client alone. */
    bool is_fresh = !fg_cache_store_must_ask(flow->thread->pipeline->cache, object) &&
                    fg_cache_is_ever_fresh(&object->head.response, object->head.lifetime_s) &&
                    age_of(flow, object) < object->head.lifetime_s * FG_S;
    flow->cache_forward = is_fresh ? FG_CACHE_FORWARD_REQUEST : FG_CACHE_FORWARD_STALE;
    fg_cache_lease_release(lease);
    return false;
}

/* What is stored for this request, and may be an answer to it; NULL: nothing. */
static struct fg_cache_lease *look_up(const struct fg_flow *flow, const struct fg_cache_ask *ask)
{
    struct fg_cache_lease *lease = fg_cache_near_get(&flow->thread->cache_near, ask);
    if (lease == NULL || !may_be_personal(flow, lease->object))
        return lease;
    fg_cache_lease_release(lease);
    return NULL;
}

/* Is it the origin's to answer, whatever is stored (RFC 9111 section 4.3.2)? */
static bool is_for_origin(const struct fg_exchange *ex)
{
    return fg_exchange_field(ex, FG_SPAN("if-match")).data != NULL ||
           fg_exchange_field(ex, FG_SPAN("if-unmodified-since")).data != NULL;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    bool is_read = ex->method == FG_METHOD_GET || ex->method == FG_METHOD_HEAD;
    if (!is_read && flow->thread->pipeline->has_cached_routes)
        tell_own_tags(flow, false); /* it may have been read by way of another route */
    if (!flow->route->cache || ex->upgrade.data != NULL || !is_read)
        return FG_STAGE_CONTINUE;
    if (ex->has_body || is_for_origin(ex))
        return bypass(flow);
    if (flow->cache_key.data == NULL)
        flow->cache_key = fg_cache_key_make(ex, flow->client_path);
    if (flow->cache_key.data == NULL)
        return bypass(flow);
    struct fg_cache_request request = fg_cache_read_request(ex);
    struct fg_cache_ask ask = {.ex = ex,
                               .key = flow->cache_key,
                               .route_index = (uint32_t)fg_flow_route_index(flow),
                               .has_authorization = request.has_authorization};
    bool is_solo = false;
    flow->cache_forward = FG_CACHE_FORWARD_MISS;
    keep(&flow->cache_stored, NULL);
    struct fg_cache_lease *lease = look_up(flow, &ask);
    if (lease != NULL) {
        if (serve_stored(flow, &ask, &request, lease))
            return FG_STAGE_RESPOND;
        const struct fg_cache_object *stored = flow->cache_stored;
        is_solo = !fg_cache_is_ever_fresh(&stored->head.response, stored->head.lifetime_s);
    } else if (fg_cache_store_has_other(store_of(flow), &ask)) {
        flow->cache_forward = FG_CACHE_FORWARD_VARY;
    }
    ask.has_stale = flow->cache_stale != NULL;
    if (request.control.only_if_cached) {
        refuse_uncached(flow);
        return FG_STAGE_RESPOND;
    }
    if (request.control.no_store)
        return bypass(flow);
    return fetch(flow, &ask, is_solo);
}

static void cancel(struct fg_flow *flow)
{
    leave(flow);
}

const struct fg_stage fg_stage_cache = {.name = "cache", .run = run, .cancel = cancel};

/* ---- what goes by ---- */

void fg_cache_let_go(struct fg_flow *flow)
{
    fg_cache_unread_forget(flow);
    fg_cache_body_release(flow->cache_shared);
    flow->cache_shared = NULL;
    leave(flow);
    keep(&flow->cache_stale, NULL);
    keep(&flow->cache_stored, NULL);
    let_herds_on(flow);
}

void fg_cache_note_answer(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                          size_t field_count)
{
    const struct fg_exchange *ex = &flow->req->ex;
    if (!is_unsafe(ex) || !flow->thread->pipeline->has_cached_routes ||
        !fg_cache_is_invalidating(FG_CACHE_METHOD_UNSAFE, status))
        return;
    struct fg_span key = fg_cache_key_make(ex, flow->client_path);
    if (key.data != NULL)
        fg_cache_store_invalidate(store_of(flow), key);
    for (size_t i = 0; i < field_count; i++) {
        if (!fg_span_equal(fields[i].name, FG_SPAN("location")) &&
            !fg_span_equal(fields[i].name, FG_SPAN("content-location")))
            continue;
        key = fg_cache_key_of_reference(ex, flow->client_path, fields[i].value);
        if (key.data != NULL)
            fg_cache_store_invalidate(store_of(flow), key);
    }
}
