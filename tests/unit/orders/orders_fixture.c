/*
 * orders_fixture.c: every call of the backend is checked against what backends/backend.h promises.
 */
#include "orders_fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "orders/orders.h"
#include "orders/redis_embedded.h"
#include "orders/redis_sync.h"

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define BOUND_NS (30 * FG_S)

bool fixture_has_redis(void)
{
    if (system("command -v redis-server >/dev/null 2>&1") == 0)
        return true;
    fprintf(stderr, "SKIPPED: redis-server is not installed; the order path is NOT tested\n");
    return false;
}

/* ---- Redis ---- */

void fixture_start_redis(struct fixture *f)
{
    struct fg_error error = {.file = ""};
    if (fg_redis_embedded_prepare(&f->conf, &error) != FG_OK)
        fail_msg("prepare: %s", error.message);
    f->redis_pid = fork();
    assert_true(f->redis_pid >= 0);
    if (f->redis_pid == 0) {
        (void)fg_redis_embedded_exec(&f->conf, &error);
        fprintf(stderr, "%s\n", error.message);
        _exit(1);
    }
    if (fg_redis_wait_ready(&f->conf, BOUND_NS, &error) != FG_OK)
        fail_msg("wait: %s", error.message);
}

void fixture_kill_redis(struct fixture *f, int signal_number)
{
    int status;
    if (f->redis_pid == 0)
        return;
    kill(f->redis_pid, signal_number);
    kill(f->redis_pid, SIGCONT);
    assert_int_equal(waitpid(f->redis_pid, &status, 0), f->redis_pid);
    f->redis_pid = 0;
}

redisReply *fixture_redis(struct fixture *f, const char *format, ...)
{
    struct fg_error error = {.file = ""};
    redisContext *context = fg_redis_sync_connect(&f->conf.redis, &error);
    va_list args;
    if (context == NULL)
        fail_msg("%s", error.message);
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    redisFree(context);
    assert_non_null(reply);
    return reply;
}

long long fixture_number(struct fixture *f, const char *key)
{
    redisReply *reply = fixture_redis(f, "GET {fg:test}:%s", key);
    long long number = reply->type == REDIS_REPLY_STRING ? atoll(reply->str) : -1;
    freeReplyObject(reply);
    return number;
}

/* ---- the backend ---- */

void fixture_open_backend(struct fixture *f)
{
    struct fg_error error = {.file = ""};
    f->base = event_base_new();
    assert_non_null(f->base);
    f->backend = fg_orders_create("orders", &f->conf, &error);
    if (f->backend == NULL)
        fail_msg("create: %s", error.message);
    struct fg_backend_env env = {.base = f->base, .thread_count = 1};
    f->thread = f->backend->ops->thread_open(f->backend, &env, &error);
    assert_non_null(f->thread);
}

void fixture_close_backend(struct fixture *f)
{
    if (f->backend == NULL)
        return;
    f->backend->ops->thread_close(f->thread);
    f->backend->ops->destroy(f->backend);
    event_base_free(f->base);
    f->backend = NULL;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    fg_log_set_level(FG_LOG_ERROR);
    signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    snprintf(f->directory, sizeof(f->directory), "/tmp/fg-orders-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->skus[0] = (struct fg_sku_conf){"milk-tea", 100};
    f->skus[1] = (struct fg_sku_conf){"fruit-tea", 1};
    f->skus[2] = (struct fg_sku_conf){"black-tea", 1000000};
    f->conf = (struct fg_orders_conf){
        .redis = {.embedded = true,
                  .directory = f->directory,
                  .max_memory_bytes = 64 << 20,
                  .connect_timeout_ns = 500 * FG_MS,
                  .command_timeout_ns = 5 * FG_S,
                  .commands_in_flight_max = 4096},
        .durability = FG_DURABILITY_AOF,
        .campaign = "test",
        .skus = f->skus,
        .sku_count = 3,
        .quantity_max = 5,
        .idempotency_ttl_ns = 3600 * FG_S,
        .body_bytes_max = 1024,
        .body_values_max = 64,
        .event_streams_permille = 250,
        .orders_per_user_max = 3,
    };
    fg_arena_pool_init(&f->pool, 1 << 20);
    fixture_start_redis(f);
    fixture_open_backend(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    fixture_close_backend(f);
    fixture_kill_redis(f, SIGKILL);
    if (f->pool.chunks_in_use == 0) /* else the test has failed half way: its report matters more */
        fg_arena_pool_fini(&f->pool);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->directory);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* ---- running the loop ---- */

static void on_tick(evutil_socket_t fd, short what, void *object)
{
    (void)fd;
    (void)what;
    (void)object; /* wakes the loop, so that a condition outside of it is looked at */
}

void fixture_run_until(struct fixture *f, bool (*condition)(void *object), void *object)
{
    struct timeval period = {.tv_usec = 5000};
    struct event *tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);
    uint64_t deadline_ns = fg_clock_monotonic_ns() + BOUND_NS;
    event_add(tick, &period);
    while (!condition(object)) {
        if (fg_clock_monotonic_ns() > deadline_ns)
            fail_msg("the condition did not come within the bound");
        event_base_loop(f->base, EVLOOP_ONCE);
    }
    event_free(tick);
}

static bool is_ready(void *object)
{
    struct fixture *f = object;
    const char *why;
    return f->backend->ops->is_ready(f->backend, &why);
}

void fixture_run_until_ready(struct fixture *f)
{
    fixture_run_until(f, is_ready, f);
}

static bool is_all_answered(void *object)
{
    return ((struct fixture *)object)->open_count == 0;
}

void fixture_run_until_answered(struct fixture *f)
{
    fixture_run_until(f, is_all_answered, f);
}

/* ---- requests ---- */

static struct request *open_one(struct fg_exchange *ex)
{
    struct request *request = (struct request *)ex;
    assert_false(request->is_ended);
    return request;
}

static void mark_ended(struct request *request)
{
    assert_null(request->ex.backend_state);
    request->is_ended = true;
    request->fixture->open_count--;
}

static void head(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                 size_t field_count)
{
    struct request *request = open_one(ex);
    assert_int_equal(request->status, 0);
    request->status = status;
    for (size_t i = 0; i < field_count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("content-type")))
            snprintf(request->content_type, sizeof(request->content_type), "%.*s",
                     FG_SPAN_ARGS(fields[i].value));
        if (fg_span_equal(fields[i].name, FG_SPAN("idempotency-replayed")))
            request->is_replayed = true;
    }
}

static bool write_body(struct fg_exchange *ex, const void *data, size_t len)
{
    struct request *request = open_one(ex);
    assert_true(request->status != 0 && len > 0);
    request->body = realloc(request->body, request->body_len + len + 1);
    assert_non_null(request->body);
    memcpy(request->body + request->body_len, data, len);
    request->body_len += len;
    request->body[request->body_len] = '\0';
    return true;
}

static void end(struct fg_exchange *ex)
{
    assert_true(open_one(ex)->status != 0);
    mark_ended(open_one(ex));
}

static void refuse(struct fg_exchange *ex, const struct fg_backend_refusal *refusal)
{
    struct request *request = open_one(ex);
    assert_int_equal(request->status, 0);
    assert_non_null(refusal->type);
    assert_true(strlen(refusal->message) > 0);
    request->status = refusal->status;
    request->retry_after_ms = refusal->retry_after_ms;
    snprintf(request->code, sizeof(request->code), "%s", refusal->code);
    mark_ended(request);
}

static void fail_exchange(struct fg_exchange *ex, enum fg_failure failure, const char *detail)
{
    struct request *request = open_one(ex);
    (void)detail;
    request->failure = failure;
    request->is_failed = true;
    mark_ended(request);
}

static void consumed(struct fg_exchange *ex, size_t len)
{
    (void)open_one(ex);
    (void)len;
}

static void hop_time(struct fg_exchange *ex, const char *hop, uint64_t duration_ns)
{
    assert_int_equal(open_one(ex)->status, 0);
    assert_string_equal(hop, "redis");
    (void)duration_ns;
}

static void release_slot(struct fg_exchange *ex)
{
    assert_true(open_one(ex)->status != 0); /* after head */
    assert_false(open_one(ex)->is_slot_released);
    open_one(ex)->is_slot_released = true;
}

static const struct fg_exchange_ops ops = {
    .head = head,
    .write = write_body,
    .end = end,
    .refuse = refuse,
    .fail = fail_exchange,
    .consumed = consumed,
    .hop_time = hop_time,
    .release_slot = release_slot,
};

struct request *request_start(struct fixture *f, enum fg_method method, const char *path,
                              const char *user, const char *key, const char *body)
{
    struct request *request = calloc(1, sizeof(*request));
    struct fg_exchange *ex = &request->ex;
    assert_non_null(request);
    request->fixture = f;
    fg_arena_init(&request->arena, &f->pool, 1 << 16);
    snprintf(request->user, sizeof(request->user), "%s", user == NULL ? "" : user);
    snprintf(request->path, sizeof(request->path), "%s", path);
    ex->request_id = FG_SPAN("req-1");
    ex->user_id = fg_span_from_string(request->user);
    ex->method = method;
    ex->path = fg_span_from_string(request->path);
    ex->content_length = body == NULL ? 0 : (int64_t)strlen(body);
    ex->has_body = body != NULL;
    ex->arena = &request->arena;
    ex->ops = &ops;
    if (key != NULL) {
        snprintf(request->key, sizeof(request->key), "%s", key);
        request->field =
            (struct fg_field){FG_SPAN("idempotency-key"), fg_span_from_string(request->key)};
        ex->fields = &request->field;
        ex->field_count = 1;
    }
    f->open_count++;
    uint64_t bytes_max;
    bool is_wanted = body != NULL && f->backend->ops->wants_body(f->thread, ex, &bytes_max);
    f->backend->ops->start(f->thread, ex);
    if (is_wanted && !request->is_ended) {
        assert_true(strlen(body) <= bytes_max);
        f->backend->ops->on_body(ex, body, strlen(body), true);
    }
    return request;
}

static bool is_ended(void *object)
{
    return ((struct request *)object)->is_ended;
}

struct request *request_run(struct fixture *f, enum fg_method method, const char *path,
                            const char *user, const char *key, const char *body)
{
    struct request *request = request_start(f, method, path, user, key, body);
    fixture_run_until(f, is_ended, request);
    return request;
}

void request_free(struct request *request)
{
    if (!request->is_ended) {
        request->fixture->backend->ops->cancel(&request->ex);
        assert_null(request->ex.backend_state);
        request->fixture->open_count--;
    }
    fg_arena_fini(&request->arena);
    free(request->body);
    free(request);
}

/* "error" is looked into as well, so that a code is found in either form of a refusal. */
static json_t *member(json_t *root, const char *name)
{
    json_t *value = json_object_get(root, name);
    return value != NULL ? value : json_object_get(json_object_get(root, "error"), name);
}

const char *request_text(const struct request *request, const char *name)
{
    static char text[128];
    json_t *root = request->body == NULL ? NULL : json_loads(request->body, 0, NULL);
    const char *value = json_string_value(member(root, name));
    snprintf(text, sizeof(text), "%s", value == NULL ? "" : value);
    json_decref(root);
    return text;
}

long long request_number(const struct request *request, const char *name)
{
    json_t *root = request->body == NULL ? NULL : json_loads(request->body, 0, NULL);
    long long number = json_integer_value(member(root, name));
    json_decref(root);
    return number;
}
