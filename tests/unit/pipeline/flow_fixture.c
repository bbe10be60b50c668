/*
 * flow_fixture.c: see flow_fixture.h.
 */
#include "flow_fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct flow_fixture flow;

/* ---- the backend ---- */

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
    *bytes_max = flow.body_wanted;
    return flow.body_wanted > 0;
}

static void backend_start(struct fg_backend_thread *thread, struct fg_exchange *ex)
{
    (void)thread;
    flow.started++;
    flow.open_exchanges[flow.open_count++] = ex;
}

void flow_forget(struct fg_exchange *ex)
{
    for (unsigned i = 0; i < flow.open_count; i++) {
        if (flow.open_exchanges[i] == ex)
            flow.open_exchanges[i] = flow.open_exchanges[--flow.open_count];
    }
}

static void backend_on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    if (len > 0)
        strncat(flow.body_seen, data, len);
    flow.body_ended = is_last;
    fg_exchange_consumed(ex, len);
}

static void backend_on_writable(struct fg_exchange *ex)
{
    (void)ex;
}

static void backend_cancel(struct fg_exchange *ex)
{
    flow.cancelled++;
    flow_forget(ex);
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

void flow_answer(struct fg_exchange *ex, unsigned status, const char *body,
                 const char *cache_control)
{
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), FG_SPAN("text/plain")},
        {FG_SPAN("cache-control"), fg_span_from_string(cache_control)},
    };
    flow_forget(ex);
    fg_exchange_head(ex, status, fields, 2);
    (void)fg_exchange_write(ex, body, strlen(body));
    fg_exchange_end(ex);
}

/* ---- the codec ---- */

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

static uint64_t on_stalled_since(const struct fg_request *req)
{
    (void)req;
    return 0;
}

static const struct fg_response_ops response_ops = {.head = on_head,
                                                    .write = on_write,
                                                    .write_shared = on_write_shared,
                                                    .end = on_end,
                                                    .abort = on_abort,
                                                    .stalled_since = on_stalled_since,
                                                    .out_of_memory = on_out_of_memory,
                                                    .consumed = on_consumed};

/* ---- the pipeline between them ---- */

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

int flow_setup(void **state)
{
    (void)state;
    config = (struct fg_config){
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .backends = backends_conf,
        .backend_count = 2,
        .identity = {.jwt = {.secret_file = secret}},
        .limits = {.request_memory_max = 65536, .awaiting_body_permille = 20},
        .cache = {.bytes_max = 8 << 20,
                  .object_bytes_max = 1 << 20,
                  .waiters_max = 10,
                  .unshared_at_once = 8},
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
    flow = (struct flow_fixture){0};
    flow.pipeline = fg_pipeline_create(&config, backends, NULL, 1, NULL, &error);
    assert_non_null(flow.pipeline);
    flow.loop = fg_loop_create(0, 1000);
    flow.thread = fg_pipeline_thread_open(flow.pipeline, flow.loop, &error);
    assert_non_null(flow.thread);
    return 0;
}

int flow_teardown(void **state)
{
    (void)state;
    assert_int_equal(fg_counter_get(&flow.thread->metrics->active), 0);
    assert_int_equal(fg_counter_get(&flow.thread->metrics->awaiting_body), 0);
    for (size_t i = 0; i < config.backend_count; i++)
        assert_int_equal(fg_gate_gauges(fg_pipeline_gate(flow.pipeline, i), 0).in_flight, 0);
    fg_mailbox_drain(fg_loop_mailbox(flow.loop));
    assert_int_equal(
        fg_gate_gauges(fg_pipeline_route_gate(flow.pipeline, FLOW_LIMITED), 0).in_flight, 0);
    fg_loop_run_deferred(flow.loop);
    fg_pipeline_thread_close(flow.thread);
    fg_loop_destroy(flow.loop);
    fg_pipeline_destroy(flow.pipeline);
    unlink(secret);
    rmdir(folder);
    return 0;
}

struct fake_request *flow_ask_with(enum fg_method method, const char *path, bool has_body,
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
        .loop = flow.loop,
        .response_ops = &response_ops,
        .handler = &fg_pipeline_handler,
        .handler_ctx = flow.thread,
    };
    fg_arena_init(&fake->req.arena_storage, fg_loop_arena_pool(flow.loop), memory_max);
    fake->req.ex.arena = &fake->req.arena_storage;
    fg_loop_refresh_now(flow.loop);
    fg_pipeline_handler.on_request(flow.thread, &fake->req);
    return fake;
}

struct fake_request *flow_ask(enum fg_method method, const char *path, bool has_body)
{
    return flow_ask_with(method, path, has_body, 65536);
}

void flow_finish(struct fake_request *fake)
{
    fg_pipeline_handler.on_done(&fake->req);
    fg_arena_fini(&fake->req.arena_storage);
    free(fake);
}

void flow_run_messages(void)
{
    fg_mailbox_drain(fg_loop_mailbox(flow.loop));
    fg_loop_run_deferred(flow.loop);
}
