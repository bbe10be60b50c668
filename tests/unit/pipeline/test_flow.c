/*
 * test_flow.c: the whole pipeline between a codec and a backend that the test plays itself.
 */
#include "base/clock.h"
#include "pipeline/cache_fetch.h"
#include "pipeline/flow.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- the backend ---- */

#define OPEN_MAX 8

static struct fg_exchange *open_exchanges[OPEN_MAX];
static unsigned open_count, started, cancelled;
static char body_seen[256];
static bool body_ended;
static uint64_t body_wanted; /* so much at most, whole; 0: as it comes */

static struct fg_backend_thread *backend_thread_open(struct fg_backend *backend,
                                                     const struct fg_backend_env *env,
                                                     struct fg_error *error)
{
    (void)env;
    (void)error;
    struct fg_backend_thread *thread = calloc(1, sizeof(*thread));
    thread->backend = backend;
    return thread;
}

static void backend_thread_close(struct fg_backend_thread *thread)
{
    free(thread);
}

static bool backend_wants_body(const struct fg_backend_thread *thread, const struct fg_exchange *ex,
                               uint64_t *bytes_max)
{
    (void)thread;
    assert_true(ex->has_body);
    *bytes_max = body_wanted;
    return body_wanted > 0;
}

static void backend_start(struct fg_backend_thread *thread, struct fg_exchange *ex)
{
    (void)thread;
    started++;
    open_exchanges[open_count++] = ex;
}

static void forget(struct fg_exchange *ex)
{
    for (unsigned i = 0; i < open_count; i++) {
        if (open_exchanges[i] == ex)
            open_exchanges[i] = open_exchanges[--open_count];
    }
}

static void backend_on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    if (len > 0)
        strncat(body_seen, data, len);
    body_ended = is_last;
    fg_exchange_consumed(ex, len);
}

static void backend_on_writable(struct fg_exchange *ex)
{
    (void)ex;
}

static void backend_cancel(struct fg_exchange *ex)
{
    cancelled++;
    forget(ex);
}

static bool backend_is_ready(struct fg_backend *backend, const char **why)
{
    (void)backend;
    *why = "test";
    return true;
}

static void backend_stats(struct fg_backend *backend, json_t *into)
{
    (void)backend;
    (void)into;
}

static void backend_destroy(struct fg_backend *backend)
{
    free(backend);
}

static const struct fg_backend_ops backend_ops = {
    .kind = "test",
    .thread_open = backend_thread_open,
    .thread_close = backend_thread_close,
    .wants_body = backend_wants_body,
    .start = backend_start,
    .on_body = backend_on_body,
    .on_writable = backend_on_writable,
    .cancel = backend_cancel,
    .is_ready = backend_is_ready,
    .stats = backend_stats,
    .destroy = backend_destroy,
};

static void answer(struct fg_exchange *ex, unsigned status, const char *body,
                   const char *cache_control)
{
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), FG_SPAN("text/plain")},
        {FG_SPAN("cache-control"), fg_span_from_string(cache_control)},
    };
    forget(ex);
    fg_exchange_head(ex, status, fields, 2);
    (void)fg_exchange_write(ex, body, strlen(body));
    fg_exchange_end(ex);
}

/* ---- the codec ---- */

struct fake_request {
    struct fg_request req;
    unsigned status;
    char body[2048];
    char retry_after[16];
    bool has_ended;
    bool has_aborted;
    size_t consumed;
};

static struct fake_request *fake_of(struct fg_request *req)
{
    return FG_CONTAINER_OF(req, struct fake_request, req);
}

static void on_head(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count, bool is_end)
{
    struct fake_request *fake = fake_of(req);
    assert_int_equal(fake->status, 0);
    fake->status = status;
    fake->has_ended = is_end;
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("retry-after")))
            snprintf(fake->retry_after, sizeof(fake->retry_after), "%.*s",
                     FG_SPAN_ARGS(fields[i].value));
    }
}

static bool on_write(struct fg_request *req, const void *data, size_t len)
{
    strncat(fake_of(req)->body, data, len);
    return true;
}

static bool on_write_shared(struct fg_request *req, const void *data, size_t len,
                            void (*release)(void *owner), void *owner)
{
    bool may_go_on = on_write(req, data, len);
    if (release != NULL)
        release(owner);
    return may_go_on;
}

static void on_end(struct fg_request *req)
{
    assert_false(fake_of(req)->has_ended);
    fake_of(req)->has_ended = true;
}

static void on_abort(struct fg_request *req)
{
    fake_of(req)->has_aborted = true;
    req->was_aborted = true;
}

static void on_out_of_memory(struct fg_request *req)
{
    struct fake_request *fake = fake_of(req);
    assert_int_equal(fake->status, 0);
    fake->status = 503;
    fake->has_ended = true;
}

static void on_consumed(struct fg_request *req, size_t len)
{
    fake_of(req)->consumed += len;
}

static const struct fg_response_ops response_ops = {.head = on_head,
                                                    .write = on_write,
                                                    .write_shared = on_write_shared,
                                                    .end = on_end,
                                                    .abort = on_abort,
                                                    .out_of_memory = on_out_of_memory,
                                                    .consumed = on_consumed};

/* ---- the fixture ---- */

static const struct fg_route_conf routes[] = {
    {.name = "plain",
     .path = "/plain",
     .methods = 1u << FG_METHOD_GET | 1u << FG_METHOD_POST,
     .timeout_ns = 50 * FG_MS,
     .body_bytes_max = 1000,
     .priority = FG_PRIORITY_NORMAL},
    {.name = "slow",
     .path = "/slow",
     .timeout_ns = 60 * FG_S,
     .body_bytes_max = 1000,
     .priority = FG_PRIORITY_NORMAL},
    {.name = "limited",
     .path = "/limited",
     .timeout_ns = 60 * FG_S,
     .body_bytes_max = 40000,
     .priority = FG_PRIORITY_NORMAL,
     .has_concurrency = true,
     .concurrency = {.kind = FG_CONCURRENCY_FIXED, .limit = 2},
     .queue = {.requests_max = 2, .wait_max_ns = 30 * FG_S}},
    {.name = "cached",
     .path = "/cached",
     .timeout_ns = 60 * FG_S,
     .backend_index = 1,
     .cache = true,
     .priority = FG_PRIORITY_NORMAL},
    {.name = "mine",
     .path = "/mine",
     .timeout_ns = 60 * FG_S,
     .identity = FG_IDENTITY_REQUIRED,
     .priority = FG_PRIORITY_NORMAL},
};

#define LIMITED 2 /* index of the route that has a limit of its own */

#define GATE(limit_value, queue_max)                                                               \
    .concurrency = {.kind = FG_CONCURRENCY_FIXED, .limit = (limit_value)},                         \
    .queue = {.requests_max = (queue_max), .bytes_max = 100, .wait_max_ns = 30 * FG_S},            \
    .breaker = {.enabled = true,                                                                   \
                .consecutive_failures = 2,                                                         \
                .half_open_probes = 1,                                                             \
                .window_ns = 10 * FG_S,                                                            \
                .open_ns = 60 * FG_S,                                                              \
                .open_max_ns = 60 * FG_S}

static const struct fg_backend_conf backends_conf[] = {
    {.name = "narrow", GATE(1, 1)},
    {.name = "wide", GATE(8, 0)},
};

static struct fg_config config;
static char folder[] = "/tmp/fg-flow-XXXXXX";
static char secret[64];
static struct fg_loop *loop;
static struct fg_pipeline *pipeline;
static struct fg_pipeline_thread *thread;

static int open_all(void **state)
{
    (void)state;
    config = (struct fg_config){
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .backends = backends_conf,
        .backend_count = 2,
        .identity = {.jwt = {.secret_file = secret}},
        .limits = {.request_memory_max = 65536, .awaiting_body_permille = 20},
        .cache = {.bytes_max = 8 << 20, .object_bytes_max = 1 << 20, .waiters_max = 10},
        .overload = {.loop_lag_max_ns = FG_S, .cgroup_root = "/nowhere", .idle_permille = 1000},
        .orders = {.session_ttl_ns = FG_S, .body_bytes_max = 1000},
    };
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6); /* mkdtemp filled them in */
    assert_non_null(mkdtemp(folder));
    snprintf(secret, sizeof(secret), "%s/key", folder);
    struct fg_error error = {.file = ""};
    struct fg_backend *backends[2];
    for (unsigned i = 0; i < 2; i++) {
        backends[i] = calloc(1, sizeof(struct fg_backend));
        *backends[i] = (struct fg_backend){.ops = &backend_ops, .name = backends_conf[i].name};
    }
    pipeline = fg_pipeline_create(&config, backends, NULL, 1, NULL, &error);
    assert_non_null(pipeline);
    loop = fg_loop_create(0, 1000);
    thread = fg_pipeline_thread_open(pipeline, loop, &error);
    assert_non_null(thread);
    open_count = started = cancelled = 0;
    body_seen[0] = '\0';
    body_ended = false;
    body_wanted = 0;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    assert_int_equal(fg_counter_get(&thread->metrics->active), 0);
    assert_int_equal(fg_counter_get(&thread->metrics->awaiting_body), 0);
    for (size_t i = 0; i < config.backend_count; i++)
        assert_int_equal(fg_gate_gauges(fg_pipeline_gate(pipeline, i), 0).in_flight, 0);
    fg_mailbox_drain(fg_loop_mailbox(loop));
    assert_int_equal(fg_gate_gauges(fg_pipeline_route_gate(pipeline, LIMITED), 0).in_flight, 0);
    fg_loop_run_deferred(loop);
    fg_pipeline_thread_close(thread);
    fg_loop_destroy(loop);
    fg_pipeline_destroy(pipeline);
    unlink(secret);
    rmdir(folder);
    return 0;
}

static struct fake_request *ask_with(enum fg_method method, const char *path, bool has_body,
                                     size_t memory_max)
{
    struct fake_request *fake = calloc(1, sizeof(*fake));
    fake->req = (struct fg_request){
        .ex = {.request_id = FG_SPAN("id"),
               .client_addr = FG_SPAN("192.0.2.1"),
               .method = method,
               .method_text = FG_SPAN("X"),
               .authority = FG_SPAN("h"),
               .path = fg_span_from_string(path),
               .content_length = has_body ? -1 : 0,
               .has_body = has_body,
               .started_ns = fg_clock_monotonic_ns()},
        .loop = loop,
        .response_ops = &response_ops,
        .handler = &fg_pipeline_handler,
        .handler_ctx = thread,
    };
    fg_arena_init(&fake->req.arena_storage, fg_loop_arena_pool(loop), memory_max);
    fake->req.ex.arena = &fake->req.arena_storage;
    fg_loop_refresh_now(loop);
    fg_pipeline_handler.on_request(thread, &fake->req);
    return fake;
}

static struct fake_request *ask(enum fg_method method, const char *path, bool has_body)
{
    return ask_with(method, path, has_body, 65536);
}

/* What a codec does at the very end. */
static void finish(struct fake_request *fake)
{
    fg_pipeline_handler.on_done(&fake->req);
    fg_arena_fini(&fake->req.arena_storage);
    free(fake);
}

static void run_messages(void)
{
    fg_mailbox_drain(fg_loop_mailbox(loop));
    fg_loop_run_deferred(loop);
}

/* ---- tests ---- */

/* However little there is, and wherever it ends: never a cut without a word. */
static void answers_whom_there_is_no_memory_for(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (size_t memory = 0; memory <= 8192; memory += 64) {
        struct fake_request *fake = ask_with(FG_METHOD_GET, "/mine", false, memory);
        run_messages();
        assert_true(fake->has_ended && !fake->has_aborted);
        assert_true(fake->status == 401 || fake->status == 503);
        refused += fake->status == 503;
        finish(fake);
    }
    assert_in_range(refused, 1,
                    128); /* and with a few KiB the answer is the one that it should be */
}

static void passes_an_answer_through(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/plain", false);
    assert_int_equal(started, 1);
    answer(open_exchanges[0], 200, "hello", "no-store");
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "hello");
    assert_true(a->has_ended);
    finish(a);
}

static void refuses_what_has_no_route_method_or_token(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/nowhere", false);
    assert_int_equal(a->status, 404);
    assert_non_null(strstr(a->body, "\"code\":\"no_route\""));
    struct fake_request *b = ask(FG_METHOD_DELETE, "/plain", false);
    assert_int_equal(b->status, 405);
    struct fake_request *c = ask(FG_METHOD_GET, "/mine", false);
    assert_int_equal(c->status, 401);
    assert_int_equal(started, 0);
    finish(a);
    finish(b);
    finish(c);
}

static void answers_what_is_about_the_way(void **state)
{
    (void)state;
    static const struct {
        enum fg_method method;
        const char *path;
        unsigned status;
    } cases[] = {
        {FG_METHOD_OPTIONS, "*", 200},
        {FG_METHOD_TRACE, "/slow", 405},
        {FG_METHOD_TRACE, "/nowhere", 405},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_request *a = ask(cases[i].method, cases[i].path, false);
        assert_int_equal(a->status, cases[i].status);
        finish(a);
    }
    assert_int_equal(started, 0);
    struct fake_request *b = ask(FG_METHOD_OPTIONS, "/slow", false);
    assert_int_equal(started, 1);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED);
    finish(b);
}

static void queues_then_refuses_with_a_place(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *c = ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(started, 1);
    assert_int_equal(b->status, 0);
    assert_int_equal(c->status, 503);
    assert_non_null(strstr(c->body, "\"code\":\"queue_full\""));
    assert_non_null(strstr(c->body, "\"position\":1"));
    assert_true(c->retry_after[0] != '\0');
    answer(open_exchanges[0], 200, "a", "no-store");
    run_messages();
    assert_int_equal(started, 2);
    answer(open_exchanges[0], 200, "b", "no-store");
    assert_int_equal(b->status, 200);
    finish(a);
    finish(b);
    finish(c);
}

static void keeps_the_body_while_it_waits(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_POST, "/slow", true);
    fg_pipeline_handler.on_body(&b->req, "one ", 4, false);
    fg_pipeline_handler.on_body(&b->req, "two", 3, false);
    assert_int_equal(b->consumed, 0);
    answer(open_exchanges[0], 200, "a", "no-store");
    run_messages();
    assert_string_equal(body_seen, "one two");
    assert_false(body_ended);
    fg_pipeline_handler.on_body(&b->req, NULL, 0, true);
    assert_true(body_ended);
    assert_int_equal(b->consumed, 7);
    answer(open_exchanges[0], 200, "b", "no-store");
    finish(a);
    finish(b);
}

static void a_wanted_body_is_whole_before_a_place_is_taken(void **state)
{
    (void)state;
    body_wanted = 100;
    struct fake_request *a = ask(FG_METHOD_POST, "/slow", true);
    struct fake_request *b = ask(FG_METHOD_POST, "/slow", true);
    for (const char *at = "byte by byte"; *at != '\0'; at++)
        fg_pipeline_handler.on_body(&b->req, at, 1, false);
    assert_int_equal(b->consumed, 12); /* so that more may come */
    assert_int_equal(fg_counter_get(&thread->metrics->awaiting_body), 2);
    assert_int_equal(fg_gate_gauges(fg_pipeline_gate(pipeline, 0), 0).in_flight, 0);
    assert_int_equal(started, 0);
    fg_pipeline_handler.on_body(&b->req, NULL, 0, true);
    assert_int_equal(started, 1);
    assert_true(body_ended);
    assert_string_equal(body_seen, "byte by byte");
    assert_int_equal(b->consumed, 12);
    assert_int_equal(b->req.ex.content_length, 12);
    assert_true(fg_flow_of(&b->req)->hop_ns[FG_HOP_UPLOAD] > 0);
    answer(open_exchanges[0], 200, "b", "no-store");
    finish(b);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    finish(a);
    assert_int_equal(started, 1);
}

static void a_body_longer_than_wanted_is_refused(void **state)
{
    (void)state;
    body_wanted = 10;
    struct fake_request *fake = ask(FG_METHOD_POST, "/slow", true);
    fg_pipeline_handler.on_body(&fake->req, "0123456789", 10, false);
    assert_int_equal(fake->status, 0);
    fg_pipeline_handler.on_body(&fake->req, "x", 1, false);
    assert_int_equal(fake->status, 413);
    assert_non_null(strstr(fake->body, "\"code\":\"body_too_large\""));
    assert_non_null(strstr(fake->body, "\"value\":11,\"limit\":10"));
    finish(fake);
    body_wanted = 5000; /* the route takes less */
    fake = ask(FG_METHOD_POST, "/slow", true);
    char more[1001] = {0};
    fg_pipeline_handler.on_body(&fake->req, more, sizeof(more), true);
    assert_int_equal(fake->status, 413);
    finish(fake);
    assert_int_equal(started, 0);
}

static void a_wanted_body_without_memory_is_refused(void **state)
{
    (void)state;
    body_wanted = 1000;
    struct fake_request *fake = ask(FG_METHOD_POST, "/slow", true);
    char some[600] = {0};
    fg_pipeline_handler.on_body(&fake->req, some, 400, false);
    struct fg_arena *arena = fake->req.ex.arena;
    arena->bytes_max = arena->bytes_used;
    fg_pipeline_handler.on_body(&fake->req, some, 600, false); /* has room already */
    assert_int_equal(fake->status, 0);
    fg_pipeline_handler.on_gone(&fake->req, FG_GONE_TIMEOUT);
    finish(fake);
    fake = ask(FG_METHOD_POST, "/slow", true);
    fake->req.ex.arena->bytes_max = fake->req.ex.arena->bytes_used + 500;
    fg_pipeline_handler.on_body(&fake->req, some, 600, false);
    assert_int_equal(fake->status, 503);
    finish(fake);
    assert_int_equal(started, 0);
}

/* Two hundredths of a thousand chunks. */
static void those_who_wait_longest_for_a_body_give_way(void **state)
{
    (void)state;
    enum { COUNT = 30 };
    struct fake_request *fakes[COUNT];
    const char some[2000] = {0};
    unsigned refused = 0, waiting = 0;
    body_wanted = 60000;
    for (unsigned i = 0; i < COUNT; i++) {
        fakes[i] = ask(FG_METHOD_POST, "/limited", true);
        assert_int_equal(fakes[i]->status, 0);
        assert_true(thread->awaiting_chunks <= 20);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(fakes[i]->status == 0 || waiting == 0); /* from the front */
        waiting += fakes[i]->status == 0;
        refused += fakes[i]->status == 503;
    }
    assert_true(refused > 0 && waiting > 2 && refused + waiting == COUNT);
    assert_non_null(strstr(fakes[0]->body, "\"policy\":\"awaiting_body_share\""));
    assert_int_equal(fg_counter_get(&thread->metrics->awaiting_body), waiting);
    /* The longest may be the one that grows; the newest makes the others leave, and stays alone. */
    for (unsigned i = 0; i < 18 && fakes[refused]->status == 0; i++)
        fg_pipeline_handler.on_body(&fakes[refused]->req, some, sizeof(some), false);
    assert_int_equal(fakes[refused]->status, 503);
    for (unsigned i = 0; i < 18; i++)
        fg_pipeline_handler.on_body(&fakes[COUNT - 1]->req, some, sizeof(some), false);
    assert_int_equal(fakes[COUNT - 1]->status, 0);
    assert_int_equal(fakes[refused + 1]->status, 503);
    assert_true(thread->awaiting_chunks <= 20);
    fg_pipeline_handler.on_body(&fakes[COUNT - 1]->req, NULL, 0, true);
    assert_int_equal(started, 1);
    answer(open_exchanges[0], 200, "it", "no-store");
    for (unsigned i = 0; i < COUNT; i++) {
        if (fakes[i]->status == 0)
            fg_pipeline_handler.on_gone(&fakes[i]->req, FG_GONE_CLIENT_CLOSED);
        finish(fakes[i]);
    }
    assert_int_equal(thread->awaiting_chunks, 0);
    assert_true(fg_list_is_empty(&thread->awaiting_bodies));
}

static void the_wait_for_a_body_ends_at_the_deadline(void **state)
{
    (void)state;
    body_wanted = 1000;
    struct fake_request *fake = ask(FG_METHOD_POST, "/plain", true);
    for (int i = 0; i < 1000 && fake->status == 0; i++)
        event_base_loop(fg_loop_base(loop), EVLOOP_ONCE);
    assert_int_equal(fake->status, 504);
    finish(fake);
    assert_int_equal(started, 0);
}

static void a_body_too_long_to_wait_is_refused_when_it_comes(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_POST, "/slow", true); /* of no length that is known */
    char piece[60] = {0};
    fg_pipeline_handler.on_body(&b->req, piece, 60, false);
    assert_int_equal(b->status, 0);
    fg_pipeline_handler.on_body(&b->req, piece, 40, false);
    assert_int_equal(b->status, 0);
    fg_pipeline_handler.on_body(&b->req, piece, 1, false);
    assert_int_equal(b->status, 503);
    assert_non_null(strstr(b->body, "\"code\":\"queue_bytes\""));
    assert_non_null(strstr(b->body, "\"value\":100,\"limit\":100"));
    finish(b);
    assert_int_equal(fg_gate_gauges(fg_pipeline_gate(pipeline, 0), 0).queued, 0);
    answer(open_exchanges[0], 200, "a", "no-store");
    run_messages();
    assert_int_equal(started, 1);
    finish(a);
}

static struct fg_gate_gauges gauges_of_route(void)
{
    return fg_gate_gauges(fg_pipeline_route_gate(pipeline, LIMITED), 0);
}

static struct fg_gate_gauges gauges_of_backend(void)
{
    return fg_gate_gauges(fg_pipeline_gate(pipeline, 0), 0);
}

/* Two slots of the route; one slot and one place of the backend; two places of the route. */
static void the_routes_slot_comes_first(void **state)
{
    (void)state;
    struct fake_request *asked[5];
    for (unsigned i = 0; i < 5; i++)
        asked[i] = ask(FG_METHOD_GET, "/limited", false);
    assert_int_equal(started, 1);
    assert_true(gauges_of_route().in_flight == 2 && gauges_of_route().queued == 2);
    assert_true(gauges_of_backend().in_flight == 1 && gauges_of_backend().queued == 1);
    assert_int_equal(asked[4]->status, 503);
    assert_non_null(strstr(asked[4]->body, "\"policy\":\"route_queue\""));
    assert_non_null(strstr(asked[4]->body, "the route's queue is full"));
    /* others find the backend's queue full, and keep nothing of the route's by that */
    struct fake_request *other = ask(FG_METHOD_GET, "/slow", false);
    assert_non_null(strstr(other->body, "\"policy\":\"queue\""));
    for (unsigned i = 0; i < 4; i++) {
        answer(open_exchanges[0], 200, "x", "no-store");
        assert_int_equal(asked[i]->status, 200);
        run_messages();
        run_messages();
        assert_int_equal(started, i < 3 ? i + 2 : 4);
    }
    for (unsigned i = 0; i < 5; i++)
        finish(asked[i]);
    finish(other);
}

/* The backend has no place: the route's slot is given back at once, before the client has read. */
static void who_gets_no_slot_of_the_backend_keeps_none_of_the_route(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *c = ask(FG_METHOD_GET, "/limited", false);
    assert_int_equal(c->status, 503);
    assert_int_equal(gauges_of_route().in_flight, 0);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED);
    struct fake_request *d = ask(FG_METHOD_GET, "/limited", false); /* waits for the backend */
    assert_int_equal(gauges_of_route().in_flight, 1);
    fg_pipeline_handler.on_gone(&d->req, FG_GONE_CLIENT_CLOSED);
    assert_int_equal(gauges_of_route().in_flight, 0);
    answer(open_exchanges[0], 200, "a", "no-store");
    finish(a);
    finish(b);
    finish(c);
    finish(d);
}

#define CROWD 12

/* Whatever comes in which order: bounds hold, and at the end nothing is held. */
static void no_slot_is_lost_or_handed_out_twice(void **state)
{
    (void)state;
    struct fake_request *crowd[CROWD] = {NULL};
    uint32_t random = 4711;
    unsigned served = 0;
    for (unsigned step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        struct fake_request **one = &crowd[(random >> 8) % CROWD];
        unsigned act = random >> 28;
        if (*one == NULL) {
            *one = ask(FG_METHOD_GET, act % 4 == 0 ? "/slow" : "/limited", false);
        } else if ((*one)->status != 0 || act < 2) {
            served += (*one)->status == 200;
            if ((*one)->status == 0)
                fg_pipeline_handler.on_gone(&(*one)->req, FG_GONE_CLIENT_CLOSED);
            finish(*one);
            *one = NULL;
        } else if (act < 6 && open_count > 0) {
            answer(open_exchanges[random % open_count], 200, "x", "no-store");
        } else if (act > 12) {
            run_messages();
        }
        assert_true(open_count <= 1 && gauges_of_backend().in_flight <= 1);
        assert_true(gauges_of_route().in_flight <= 2 && gauges_of_route().queued <= 2);
    }
    assert_true(served > 300);
    for (unsigned i = 0; i < CROWD; i++) {
        if (crowd[i] == NULL)
            continue;
        fg_pipeline_handler.on_gone(&crowd[i]->req, FG_GONE_CLIENT_CLOSED);
        finish(crowd[i]);
    }
    run_messages();
    assert_true(gauges_of_backend().in_flight == 0 && gauges_of_backend().queued == 0);
    assert_true(gauges_of_route().in_flight == 0 && gauges_of_route().queued == 0);
}

static void lets_go_when_the_client_leaves(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/slow", false);
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_CLIENT_CLOSED); /* while it waits */
    finish(b);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED); /* at the backend */
    assert_int_equal(cancelled, 1);
    finish(a);
    run_messages();
    assert_int_equal(started, 1);
    struct fake_request *c = ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(started, 2); /* the slot is free again */
    answer(open_exchanges[0], 200, "c", "no-store");
    finish(c);
}

static void a_turn_that_comes_too_late_finds_nobody(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/slow", false);
    answer(open_exchanges[0], 200, "a", "no-store"); /* b's turn is in the mailbox */
    fg_pipeline_handler.on_gone(&b->req, FG_GONE_STREAM_RESET);
    finish(b);
    finish(a);
    run_messages();
    assert_int_equal(started, 1);
}

static void answers_504_at_the_deadline(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/plain", false);
    for (int i = 0; i < 1000 && a->status == 0; i++)
        event_base_loop(fg_loop_base(loop), EVLOOP_ONCE);
    assert_int_equal(a->status, 504);
    assert_int_equal(cancelled, 1);
    assert_non_null(strstr(a->body, "deadline_exceeded"));
    finish(a);
}

static void tells_a_failed_backend_from_a_cut_answer(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/slow", false);
    struct fg_exchange *ex = open_exchanges[0];
    forget(ex);
    fg_exchange_fail(ex, FG_FAILURE_CONNECT, "refused");
    assert_int_equal(a->status, 502);
    finish(a);
    struct fake_request *b = ask(FG_METHOD_GET, "/slow", false);
    ex = open_exchanges[0];
    forget(ex);
    fg_exchange_head(ex, 200, NULL, 0);
    fg_exchange_fail(ex, FG_FAILURE_RESET, "cut");
    assert_int_equal(b->status, 200);
    assert_true(b->has_aborted);
    assert_false(b->has_ended);
    finish(b);
    /* two failures in a row: the breaker is open */
    struct fake_request *c = ask(FG_METHOD_GET, "/slow", false);
    assert_int_equal(c->status, 503);
    assert_non_null(strstr(c->body, "breaker_open"));
    assert_int_equal(started, 2);
    finish(c);
}

static void fetches_once_for_all(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *c = ask(FG_METHOD_GET, "/cached", false);
    assert_int_equal(started, 1);
    fg_pipeline_handler.on_gone(&c->req, FG_GONE_CLIENT_CLOSED);
    finish(c);
    answer(open_exchanges[0], 200, "page", "max-age=60");
    run_messages();
    assert_string_equal(a->body, "page");
    assert_string_equal(b->body, "page");
    struct fake_request *d = ask(FG_METHOD_GET, "/cached", false);
    assert_string_equal(d->body, "page");
    assert_int_equal(started, 1);
    finish(a);
    finish(b);
    finish(d);
}

static void a_leader_that_leaves_ends_no_fetch(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/cached", false);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    finish(a);
    run_messages();
    assert_int_equal(started, 1);
    assert_int_equal(cancelled, 0);
    answer(open_exchanges[0], 200, "page", "max-age=60");
    run_messages();
    assert_string_equal(b->body, "page");
    finish(b);
}

static void begin(struct fg_exchange *ex, unsigned status, const char *cache_control,
                  const char *body)
{
    const struct fg_field fields[] = {
        {FG_SPAN("cache-control"), fg_span_from_string(cache_control)}};
    fg_exchange_head(ex, status, fields, 1);
    (void)fg_exchange_write(ex, body, strlen(body));
    run_messages();
}

static void those_who_wait_read_as_it_comes(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/cached", false);
    struct fg_exchange *ex = open_exchanges[0];
    begin(ex, 200, "max-age=60", "first ");
    assert_string_equal(a->body, "first ");
    assert_string_equal(b->body, "first ");
    struct fake_request *c = ask(FG_METHOD_GET, "/cached", false);
    run_messages();
    assert_string_equal(c->body, "first ");
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    finish(a);
    (void)fg_exchange_write(ex, "last", 4);
    forget(ex);
    fg_exchange_end(ex);
    run_messages();
    assert_string_equal(b->body, "first last");
    assert_string_equal(c->body, "first last");
    assert_true(b->has_ended && c->has_ended);
    finish(b);
    finish(c);
}

static void a_fetch_that_breaks_off_is_no_success(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/cached", false);
    struct fg_exchange *ex = open_exchanges[0];
    begin(ex, 200, "max-age=60", "half");
    forget(ex);
    fg_exchange_fail(ex, FG_FAILURE_RESET, "test");
    run_messages();
    assert_true(a->has_aborted && b->has_aborted);
    assert_false(a->has_ended || b->has_ended);
    finish(a);
    finish(b);
    struct fake_request *c = ask(FG_METHOD_GET, "/cached", false); /* nothing was kept */
    assert_int_equal(started, 2);
    answer(open_exchanges[0], 200, "whole", "max-age=60");
    run_messages();
    assert_string_equal(c->body, "whole");
    finish(c);
}

static void only_one_more_tries_after_a_failure(void **state)
{
    (void)state;
    struct fake_request *asked[6];
    for (unsigned i = 0; i < 6; i++)
        asked[i] = ask(FG_METHOD_GET, "/cached", false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(started, i + 1);
        struct fg_exchange *ex = open_exchanges[0];
        forget(ex);
        fg_exchange_fail(ex, FG_FAILURE_CONNECT, "test");
        run_messages();
    }
    assert_int_equal(started, 2);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(asked[i]->status, 502);
        assert_non_null(strstr(asked[i]->body, "backend_unreachable"));
        finish(asked[i]);
    }
}

static void nobodys_private_answer_is_cancelled(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    begin(open_exchanges[0], 200, "private", "for a");
    assert_string_equal(a->body, "for a");
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    finish(a);
    run_messages();
    assert_int_equal(cancelled, 1);
    assert_int_equal(open_count, 0);
}

static void the_loops_end_ends_its_fetches(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    fg_pipeline_handler.on_gone(&a->req, FG_GONE_CLIENT_CLOSED);
    finish(a);
    assert_int_equal(open_count, 1);
    fg_cache_fetch_cancel_all(thread);
    assert_int_equal(cancelled, 1);
}

static void does_not_share_what_is_private(void **state)
{
    (void)state;
    struct fake_request *a = ask(FG_METHOD_GET, "/cached", false);
    struct fake_request *b = ask(FG_METHOD_GET, "/cached", false);
    answer(open_exchanges[0], 200, "for a", "private");
    run_messages();
    assert_string_equal(a->body, "for a");
    assert_int_equal(started, 2);
    answer(open_exchanges[0], 200, "for b", "private");
    run_messages();
    assert_string_equal(b->body, "for b");
    finish(a);
    finish(b);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        CASE(passes_an_answer_through),
        CASE(answers_whom_there_is_no_memory_for),
        CASE(refuses_what_has_no_route_method_or_token),
        CASE(answers_what_is_about_the_way),
        CASE(queues_then_refuses_with_a_place),
        CASE(keeps_the_body_while_it_waits),
        CASE(a_body_too_long_to_wait_is_refused_when_it_comes),
        CASE(a_wanted_body_is_whole_before_a_place_is_taken),
        CASE(a_body_longer_than_wanted_is_refused),
        CASE(a_wanted_body_without_memory_is_refused),
        CASE(the_wait_for_a_body_ends_at_the_deadline),
        CASE(those_who_wait_longest_for_a_body_give_way),
        CASE(the_routes_slot_comes_first),
        CASE(who_gets_no_slot_of_the_backend_keeps_none_of_the_route),
        CASE(no_slot_is_lost_or_handed_out_twice),
        CASE(lets_go_when_the_client_leaves),
        CASE(a_turn_that_comes_too_late_finds_nobody),
        CASE(answers_504_at_the_deadline),
        CASE(tells_a_failed_backend_from_a_cut_answer),
        CASE(fetches_once_for_all),
        CASE(a_leader_that_leaves_ends_no_fetch),
        CASE(those_who_wait_read_as_it_comes),
        CASE(a_fetch_that_breaks_off_is_no_success),
        CASE(only_one_more_tries_after_a_failure),
        CASE(nobodys_private_answer_is_cancelled),
        CASE(the_loops_end_ends_its_fetches),
        CASE(does_not_share_what_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
