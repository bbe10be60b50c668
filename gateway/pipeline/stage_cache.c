/*
 * stage_cache.c: answer from memory, or fetch once for everybody who asks at the same time.
 *
 *    fresh object                      -> answer (304, gzip or as it is)
 *    stale, somebody is fetching       -> answer with the stale one (within stale-while-revalidate)
 *    nothing, nobody is fetching       -> lead: the backend's answer passes through the fill
 *    nothing, somebody is fetching     -> wait for the leader; try again if it failed
 *
 * Thread   the request's loop; the store is shared.
 * Source   RFC 9111 (policies/cache/freshness), RFC 9110 sections 12.5.3 and 13.1.2.
 */
#include "flow.h"

#include "base/text.h"
#include "policies/cache/etag.h"
#include "policies/cache/http_date.h"

#include <stdlib.h>

#define ROUNDS_MAX 2 /* failed leaders that one request waits for before it goes by itself */
#define FIELDS_MAX 64

/* ---- keys and negotiation ---- */

/* authority \n path [? query] */
static struct fg_span make_key(const struct fg_exchange *ex)
{
    size_t room = ex->authority.len + ex->path.len + ex->query.len + 2;
    char *key = fg_arena_try_alloc(ex->arena, room);
    if (key == NULL)
        return (struct fg_span){NULL, 0};
    struct fg_text text = fg_text_over(key, room);
    fg_text_add(&text, ex->authority);
    fg_text_add(&text, FG_SPAN("\n"));
    fg_text_add(&text, ex->path);
    if (ex->query.data != NULL) {
        fg_text_add(&text, FG_SPAN("?"));
        fg_text_add(&text, ex->query);
    }
    return fg_text_span(&text);
}

/* Is gzip acceptable? Its own q if listed, else that of "*" (RFC 9110 section 12.5.3). */
static bool accepts_gzip(const struct fg_exchange *ex)
{
    struct fg_span rest = fg_exchange_field(ex, FG_SPAN("accept-encoding"));
    bool by_star = false;
    while (rest.data != NULL) {
        struct fg_span params = fg_span_split(&rest, ',');
        struct fg_span coding = fg_span_trim(fg_span_split(&params, ';'));
        struct fg_span weight = fg_span_trim(params);
        bool is_refused = weight.len >= 3 && weight.data[0] == 'q' && weight.data[2] == '0';
        for (size_t i = 3; i < weight.len && is_refused; i++)
            is_refused = weight.data[i] == '0' || weight.data[i] == '.';
        if (fg_span_equal_nocase(coding, FG_SPAN("gzip")))
            return !is_refused;
        if (fg_span_equal(coding, FG_SPAN("*")))
            by_star = !is_refused;
    }
    return by_star;
}

static struct fg_cache_request cache_request(const struct fg_exchange *ex)
{
    struct fg_cache_request request = {.method = ex->method == FG_METHOD_GET ? FG_CACHE_METHOD_GET
                                                 : ex->method == FG_METHOD_HEAD
                                                     ? FG_CACHE_METHOD_HEAD
                                                     : FG_CACHE_METHOD_OTHER};
    fg_cache_control_init(&request.control);
    for (size_t i = 0; i < ex->field_count; i++) {
        struct fg_span name = ex->fields[i].name, value = ex->fields[i].value;
        if (fg_span_equal(name, FG_SPAN("cache-control")))
            fg_cache_control_parse(&request.control, value.data, value.len);
        else if (fg_span_equal(name, FG_SPAN("authorization")))
            request.has_authorization = true;
    }
    return request;
}

/* A client cannot force a fetch (obeys_request is off): at a flood that would be a way around. */
static struct fg_cache_rules rules_of(const struct fg_flow *flow)
{
    const struct fg_cache_conf *conf = &flow->thread->pipeline->config->cache;
    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.obeys_request = false;
    rules.stale_while_revalidate_s = (uint32_t)(conf->stale_while_revalidate_ns / FG_S);
    rules.stale_if_error_s = (uint32_t)(conf->stale_if_error_ns / FG_S);
    if (flow->route->cache_ttl_ns > 0) {
        rules.has_lifetime_override = true;
        rules.lifetime_override_s = (uint32_t)(flow->route->cache_ttl_ns / FG_S);
    }
    return rules;
}

/* ---- serving ---- */

static bool is_not_modified(const struct fg_exchange *ex, const struct fg_cache_view *view)
{
    struct fg_span list = fg_exchange_field(ex, FG_SPAN("if-none-match"));
    if (list.data != NULL)
        return view->etag.data != NULL &&
               fg_etag_if_none_match(list.data, list.len, view->etag.data, view->etag.len);
    struct fg_span since = fg_exchange_field(ex, FG_SPAN("if-modified-since"));
    int64_t since_s;
    return since.data != NULL && view->response.has_last_modified &&
           fg_http_date_parse(since.data, since.len, (int64_t)(fg_clock_wall_ns() / FG_S),
                              &since_s) &&
           view->response.last_modified_s <= since_s;
}

/* The gzip variant is another representation: a strong tag must not name both, so it is weakened
 * (RFC 9110 section 8.8.1), which If-None-Match compares all the same. */
static struct fg_span tag_for(struct fg_arena *arena, struct fg_span etag, bool is_gzip)
{
    if (!is_gzip || fg_span_starts_with(etag, FG_SPAN("W/")))
        return etag;
    return fg_arena_try_printf(arena, "W/%.*s", FG_SPAN_ARGS(etag));
}

static struct fg_span number(struct fg_arena *arena, uint64_t value)
{
    char buffer[24];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    fg_text_add_u64(&text, value);
    return fg_arena_try_copy(arena, fg_text_span(&text));
}

static void serve(struct fg_flow *flow, const struct fg_cache_object *object)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_cache_view view = fg_cache_object_view(object);
    struct fg_field fields[FIELDS_MAX + 4];
    size_t count = 0;
    bool is_gzip = view.gzip.data != NULL && accepts_gzip(ex);
    struct fg_span body = is_gzip ? view.gzip : view.body;
    bool is_unchanged = is_not_modified(ex, &view);
    for (size_t i = 0; i < view.field_count && count < FIELDS_MAX; i++) {
        fields[count] = view.fields[i];
        if (fg_span_equal(view.fields[i].name, FG_SPAN("etag")))
            fields[count].value = tag_for(ex->arena, view.fields[i].value, is_gzip);
        count++;
    }
    uint64_t age_ns =
        fg_cache_current_age_ns(view.initial_age_ns, view.stored_ns, fg_clock_monotonic_ns());
    fields[count++] = (struct fg_field){FG_SPAN("age"), number(ex->arena, age_ns / FG_S)};
    if (is_gzip && !is_unchanged)
        fields[count++] = (struct fg_field){FG_SPAN("content-encoding"), FG_SPAN("gzip")};
    if (!is_unchanged)
        fields[count++] = (struct fg_field){FG_SPAN("content-length"), number(ex->arena, body.len)};
    if (is_unchanged || ex->method == FG_METHOD_HEAD)
        body = (struct fg_span){NULL, 0};
    fg_flow_respond(flow, is_unchanged ? 304 : view.status, fields, count, body);
}

bool fg_cache_serve_stale(struct fg_flow *flow)
{
    struct fg_cache_object *object = flow->cache_stale;
    if (object == NULL)
        return false;
    flow->cache_stale = NULL;
    flow->cache_result = FG_CACHE_RESULT_STALE;
    fg_flow_leave_backend(flow, FG_CONCURRENCY_IGNORED, FG_BREAKER_CANCELLED);
    fg_cache_fill_finish(flow, false);
    serve(flow, object);
    fg_cache_object_release(object);
    return true;
}

/* ---- the stage ---- */

static void on_ready(void *owner, struct fg_cache_object *object, bool is_uncacheable)
{
    struct fg_flow *flow = owner;
    flow->cache_waiter = NULL;
    fg_loop_refresh_now(flow->thread->loop);
    if (object != NULL) {
        uint64_t waited_ns = fg_clock_monotonic_ns() - flow->waited_since_ns;
        flow->hop_ns[FG_HOP_CACHE_WAIT] += waited_ns;
        fg_histogram_record(&flow->thread->metrics->hops[FG_HOP_CACHE_WAIT], waited_ns);
        serve(flow, object);
        fg_cache_object_release(object);
        return;
    }
    flow->cache_rounds = is_uncacheable ? ROUNDS_MAX + 1 : flow->cache_rounds + 1;
    fg_flow_retry_stage(flow, FG_HOP_CACHE_WAIT);
}

static enum fg_stage_verdict fetch(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    bool may_wait = flow->cache_stale == NULL;
    if (flow->cache_rounds > ROUNDS_MAX) {
        flow->cache_result = FG_CACHE_RESULT_BYPASS;
        return FG_STAGE_CONTINUE;
    }
    switch (fg_cache_store_lead_or_wait(thread->pipeline->cache, flow->cache_key,
                                        fg_flow_now_ns(flow), may_wait, &thread->cache_waiters,
                                        fg_loop_mailbox(thread->loop), on_ready, flow,
                                        &flow->fill.flight, &flow->cache_waiter)) {
    case FG_CACHE_LEAD:
        flow->cache_result = FG_CACHE_RESULT_MISS;
        return FG_STAGE_CONTINUE;
    case FG_CACHE_WAITING:
        flow->cache_result = FG_CACHE_RESULT_COALESCED;
        return FG_STAGE_WAIT;
    case FG_CACHE_TOO_MANY:
        if (fg_cache_serve_stale(flow))
            return FG_STAGE_RESPOND;
        fg_flow_refuse(flow, &(struct fg_refusal){
                                 .reason = FG_REFUSED_QUEUE_FULL,
                                 .status = 503,
                                 .type = "overloaded",
                                 .message = "too many requests wait for this object to be fetched",
                                 .retry_after_ns = FG_S,
                                 .policy = "cache",
                                 .position = UINT64_MAX,
                             });
        return FG_STAGE_RESPOND;
    case FG_CACHE_ALONE:
        break;
    }
    flow->cache_result = FG_CACHE_RESULT_BYPASS;
    return FG_STAGE_CONTINUE;
}

/* What the shared object must be made of: the whole body, unencoded. */
static void ask_for_plain(struct fg_exchange *ex)
{
    struct fg_field *fields =
        fg_arena_try_alloc(ex->arena, (ex->field_count + 1) * sizeof(*fields));
    if (fields == NULL)
        return;
    static const struct fg_span dropped[] = {FG_SPAN_LITERAL("accept-encoding"),
                                             FG_SPAN_LITERAL("if-none-match"),
                                             FG_SPAN_LITERAL("if-modified-since"),
                                             FG_SPAN_LITERAL("if-match"),
                                             FG_SPAN_LITERAL("if-unmodified-since"),
                                             FG_SPAN_LITERAL("if-range"),
                                             FG_SPAN_LITERAL("range")};
    size_t count = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        bool is_dropped = false;
        for (size_t d = 0; d < sizeof(dropped) / sizeof(dropped[0]) && !is_dropped; d++)
            is_dropped = fg_span_equal(ex->fields[i].name, dropped[d]);
        if (!is_dropped)
            fields[count++] = ex->fields[i];
    }
    ex->fields = fields;
    ex->field_count = count;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (!flow->route->cache || (ex->method != FG_METHOD_GET && ex->method != FG_METHOD_HEAD) ||
        ex->has_body)
        return FG_STAGE_CONTINUE;
    if (flow->cache_key.data == NULL)
        flow->cache_key = make_key(ex);
    if (flow->cache_key.data == NULL) {
        flow->cache_result = FG_CACHE_RESULT_BYPASS;
        return FG_STAGE_CONTINUE;
    }
    struct fg_cache_request request = cache_request(ex);
    struct fg_cache_rules rules = rules_of(flow);
    struct fg_cache_object *object =
        fg_cache_store_get(flow->thread->pipeline->cache, flow->cache_key);
    if (object != NULL) {
        struct fg_cache_view view = fg_cache_object_view(object);
        uint64_t age_ns =
            fg_cache_current_age_ns(view.initial_age_ns, view.stored_ns, fg_clock_monotonic_ns());
        enum fg_cache_verdict verdict =
            fg_cache_judge(&request, &view.response, &rules, view.lifetime_s, age_ns);
        if (verdict == FG_CACHE_FRESH) {
            flow->cache_result = FG_CACHE_RESULT_HIT;
            serve(flow, object);
            fg_cache_object_release(object);
            return FG_STAGE_RESPOND;
        }
        /* Kept while somebody fetches: for others in the meantime, or for an error. */
        fg_cache_object_release(flow->cache_stale);
        flow->cache_stale = verdict == FG_CACHE_STALE ? NULL : object;
        if (verdict == FG_CACHE_STALE)
            fg_cache_object_release(object);
    }
    if (ex->method == FG_METHOD_HEAD) {
        flow->cache_result = FG_CACHE_RESULT_BYPASS;
        return FG_STAGE_CONTINUE;
    }
    enum fg_stage_verdict verdict = fetch(flow);
    if (verdict == FG_STAGE_CONTINUE && flow->fill.flight != NULL)
        ask_for_plain(ex);
    return verdict;
}

static void cancel(struct fg_flow *flow)
{
    if (flow->cache_waiter != NULL)
        fg_cache_waiter_abandon(flow->cache_waiter);
    flow->cache_waiter = NULL;
}

const struct fg_stage fg_stage_cache = {.name = "cache", .run = run, .cancel = cancel};

/* ---- filling ---- */

static bool is_compressible(struct fg_span type)
{
    static const struct fg_span prefixes[] = {FG_SPAN_LITERAL("text/"),
                                              FG_SPAN_LITERAL("application/json"),
                                              FG_SPAN_LITERAL("application/javascript"),
                                              FG_SPAN_LITERAL("application/xml"),
                                              FG_SPAN_LITERAL("application/manifest+json"),
                                              FG_SPAN_LITERAL("image/svg+xml")};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (fg_span_starts_with(type, prefixes[i]))
            return true;
    }
    return false;
}

/* Reads the fields that matter; false when they make the answer not ours to share. */
static bool read_response(struct fg_cache_response *response, const struct fg_field *fields,
                          size_t field_count, int64_t now_s)
{
    for (size_t i = 0; i < field_count; i++) {
        struct fg_span name = fields[i].name, value = fields[i].value;
        uint64_t number;
        if (fg_span_equal(name, FG_SPAN("cache-control"))) {
            fg_cache_control_parse(&response->control, value.data, value.len);
        } else if (fg_span_equal(name, FG_SPAN("date"))) {
            response->has_date =
                fg_http_date_parse(value.data, value.len, now_s, &response->date_s);
        } else if (fg_span_equal(name, FG_SPAN("expires"))) {
            response->has_expires = true;
            if (!fg_http_date_parse(value.data, value.len, now_s, &response->expires_s))
                response->expires_s = 0;
        } else if (fg_span_equal(name, FG_SPAN("last-modified"))) {
            response->has_last_modified =
                fg_http_date_parse(value.data, value.len, now_s, &response->last_modified_s);
        } else if (fg_span_equal(name, FG_SPAN("age")) && fg_span_parse_u64(value, &number)) {
            response->age_s = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
        } else if (fg_span_equal(name, FG_SPAN("set-cookie"))) {
            response->has_set_cookie = true;
        } else if (fg_span_equal(name, FG_SPAN("vary"))) {
            /* We ask for the unencoded form and encode by ourselves; any other variance is the
             * backend's to decide each time. */
            if (!fg_span_equal_nocase(fg_span_trim(value), FG_SPAN("accept-encoding")))
                response->has_vary_star = true;
        } else if (fg_span_equal(name, FG_SPAN("content-encoding"))) {
            return false;
        }
    }
    return true;
}

/* The fields to keep, with `vary: accept-encoding` where we will encode. */
static bool keep_fields(struct fg_flow *flow, const struct fg_field *fields, size_t field_count)
{
    struct fg_cache_draft *draft = &flow->fill.draft;
    struct fg_field *kept =
        fg_arena_try_alloc(flow->req->ex.arena, (field_count + 1) * sizeof(*kept));
    if (kept == NULL || field_count > FIELDS_MAX - 1)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("content-length")) ||
            fg_span_equal(fields[i].name, FG_SPAN("date")) ||
            fg_span_equal(fields[i].name, FG_SPAN("age")) ||
            fg_span_equal(fields[i].name, FG_SPAN("vary")))
            continue;
        if (fg_span_equal(fields[i].name, FG_SPAN("content-type")))
            draft->is_compressible = is_compressible(fields[i].value);
        kept[count++] = fields[i];
    }
    if (draft->is_compressible)
        kept[count++] = (struct fg_field){FG_SPAN("vary"), FG_SPAN("accept-encoding")};
    draft->fields = kept;
    draft->field_count = count;
    return true;
}

void fg_cache_fill_head(struct fg_flow *flow, unsigned status, const struct fg_field *fields,
                        size_t field_count)
{
    struct fg_cache_fill *fill = &flow->fill;
    if (fill->flight == NULL)
        return;
    struct fg_cache_draft *draft = &fill->draft;
    struct fg_cache_request request = cache_request(&flow->req->ex);
    struct fg_cache_rules rules = rules_of(flow);
    int64_t now_s = (int64_t)(fg_clock_wall_ns() / FG_S);
    uint64_t now_ns = fg_clock_monotonic_ns();
    fg_cache_response_init(&draft->response);
    draft->response.status = status;
    fill->is_uncacheable = true;
    if (!read_response(&draft->response, fields, field_count, now_s) ||
        fg_cache_is_storable(&request, &draft->response, &rules) != FG_CACHE_STORABLE)
        return;
    draft->key = flow->cache_key;
    draft->status = status;
    draft->lifetime_s = fg_cache_lifetime_s(&draft->response, &rules, now_s);
    draft->initial_age_ns =
        fg_cache_initial_age_ns(&draft->response, fill->requested_ns, now_ns, now_s);
    draft->stored_ns = now_ns;
    fill->is_storing = keep_fields(flow, fields, field_count);
    fill->is_uncacheable = !fill->is_storing;
}

void fg_cache_fill_write(struct fg_flow *flow, const void *data, size_t len)
{
    struct fg_cache_fill *fill = &flow->fill;
    const struct fg_cache_conf *conf = &flow->thread->pipeline->config->cache;
    if (!fill->is_storing || len == 0)
        return;
    if (len > conf->object_bytes_max - fill->body_len) {
        fill->is_storing = false;
        fill->is_uncacheable = true;
        return;
    }
    if (len > fill->body_capacity - fill->body_len) {
        size_t capacity = fill->body_capacity == 0 ? 4096 : fill->body_capacity * 2;
        while (capacity < fill->body_len + len)
            capacity *= 2;
        char *grown = realloc(fill->body, capacity);
        if (grown == NULL) {
            fill->is_storing = false;
            return;
        }
        fill->body = grown;
        fill->body_capacity = capacity;
    }
    memcpy(fill->body + fill->body_len, data, len);
    fill->body_len += len;
}

void fg_cache_fill_finish(struct fg_flow *flow, bool is_complete)
{
    struct fg_cache_fill *fill = &flow->fill;
    struct fg_pipeline *pipeline = flow->thread->pipeline;
    if (fill->flight == NULL)
        return;
    struct fg_cache_flight *flight = fill->flight;
    fill->flight = NULL;
    fill->draft.body = fg_span_make(fill->body, fill->body_len);
    const struct fg_cache_conf *conf = &pipeline->config->cache;
    fill->draft.is_compressible =
        fill->draft.is_compressible && conf->gzip && fill->body_len >= conf->gzip_bytes_min;
    fg_cache_flight_finish(
        pipeline->cache, flight, is_complete && fill->is_storing ? &fill->draft : NULL,
        fill->is_uncacheable, fg_clock_monotonic_ns(), fg_loop_mailbox(flow->thread->loop));
    free(fill->body);
    fill->body = NULL;
}
