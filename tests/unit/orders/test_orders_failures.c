/*
 * test_orders_failures.c: Redis killed, stopped and brought back under load: nothing acknowledged
 * is lost, nothing is done twice, and nobody waits for longer than command_timeout.
 */
#include "orders_fixture.h"

#include "base/clock.h"
#include "orders/redis_embedded.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define BLACK_TEA "{\"sku\":\"black-tea\",\"quantity\":1}"
#define ORDER_COUNT 600

struct burst {
    struct fixture *fixture;
    struct request *requests[ORDER_COUNT];
    char ids[ORDER_COUNT][40]; /* acknowledged */
    size_t answered_wanted;
};

static size_t answered(const struct burst *burst)
{
    size_t count = 0;
    for (size_t i = 0; i < ORDER_COUNT; i++)
        count += burst->requests[i] != NULL && burst->requests[i]->is_ended;
    return count;
}

static bool is_answered_enough(void *object)
{
    const struct burst *burst = object;
    return answered(burst) >= burst->answered_wanted;
}

static struct request *place(struct fixture *f, size_t i)
{
    char user[16];
    snprintf(user, sizeof(user), "u%zu", i);
    return request_start(f, FG_METHOD_POST, "/api/orders", user, "k", BLACK_TEA);
}

/* Keeps what was acknowledged; an order that was acknowledged before must still be the same. */
static void collect(struct burst *burst)
{
    for (size_t i = 0; i < ORDER_COUNT; i++) {
        struct request *r = burst->requests[i];
        if (r != NULL && r->status == 201) {
            const char *id = request_text(r, "order_id");
            if (burst->ids[i][0] != '\0')
                assert_string_equal(id, burst->ids[i]);
            snprintf(burst->ids[i], sizeof(burst->ids[i]), "%s", id);
        } else if (r != NULL) {
            assert_int_equal(r->status, 503);
            assert_true(r->retry_after_ms > 0);
        }
        if (r != NULL)
            request_free(r);
        burst->requests[i] = NULL;
    }
}

static long long length(struct fixture *f, const char *command)
{
    redisReply *reply = fixture_redis(f, command);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}

static void redis_killed_in_a_burst_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct burst *burst = calloc(1, sizeof(*burst));
    burst->fixture = f;
    fixture_run_until_ready(f);
    for (size_t i = 0; i < ORDER_COUNT; i++) {
        burst->requests[i] = place(f, i);
        if (i % 50 == 49) { /* a few at a time, so that the end comes in the middle */
            burst->answered_wanted = i / 2;
            fixture_run_until(f, is_answered_enough, burst);
        }
        if (i == ORDER_COUNT / 2)
            fixture_kill_redis(f, SIGKILL);
        if (i == ORDER_COUNT / 2 + 20)
            fixture_start_redis(f);
    }
    fixture_run_until_answered(f);
    collect(burst);
    size_t acknowledged = 0;
    for (size_t i = 0; i < ORDER_COUNT; i++) { /* every one that was promised is there */
        acknowledged += burst->ids[i][0] != '\0';
        if (burst->ids[i][0] != '\0') {
            char command[128];
            snprintf(command, sizeof(command), "EXISTS {fg:test}:o:%s", burst->ids[i]);
            assert_int_equal(length(f, command), 1);
        }
    }
    assert_true(acknowledged > ORDER_COUNT / 3);
    fixture_run_until_ready(f);
    for (size_t i = 0; i < ORDER_COUNT; i++) /* all clients try again with their keys */
        burst->requests[i] = place(f, i);
    fixture_run_until_answered(f);
    collect(burst);
    for (size_t i = 0; i < ORDER_COUNT; i++)
        assert_true(burst->ids[i][0] != '\0');
    assert_int_equal(fixture_number(f, "stock:black-tea"), 1000000 - ORDER_COUNT);
    assert_int_equal(length(f, "XLEN {fg:test}:orders"), ORDER_COUNT);
    free(burst);
}

static void a_stopped_redis_is_answered_for_in_time(void **state)
{
    struct fixture *f = *state;
    struct burst *burst = calloc(1, sizeof(*burst));
    f->conf.redis.command_timeout_ns = 200 * FG_MS;
    fixture_run_until_ready(f);
    kill(f->redis_pid, SIGSTOP);
    for (size_t i = 0; i < 20; i++)
        burst->requests[i] = place(f, i);
    fixture_run_until_answered(f);
    for (size_t i = 0; i < 20; i++)
        assert_string_equal(burst->requests[i]->code, "orders_unavailable");
    collect(burst);
    const char *why;
    assert_false(f->backend->ops->is_ready(f->backend, &why));
    kill(f->redis_pid, SIGCONT);
    fixture_run_until_ready(f);
    for (size_t i = 0; i < 20; i++)
        burst->requests[i] = place(f, i);
    fixture_run_until_answered(f);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(burst->requests[i]->status, 201);
    collect(burst);
    assert_int_equal(fixture_number(f, "stock:black-tea"), 1000000 - 20);
    free(burst);
}

static bool is_refused_at_once(void *object)
{
    struct fixture *f = object;
    struct request *r = request_start(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
    bool is_refused = r->is_ended && r->status == 503;
    request_free(r);
    return is_refused;
}

static void an_absent_redis_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    f->conf.redis.command_timeout_ns = 50 * FG_MS;
    fixture_run_until_ready(f);
    fixture_kill_redis(f, SIGKILL);
    fixture_run_until(f, is_refused_at_once, f);
}

static void a_full_store_refuses_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    fixture_run_until_ready(f);
    freeReplyObject(fixture_redis(f, "CONFIG SET maxmemory 1"));
    struct request *r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", BLACK_TEA);
    assert_int_equal(r->status, 503);
    assert_string_equal(r->code, "orders_unavailable");
    request_free(r);
    freeReplyObject(fixture_redis(f, "CONFIG SET maxmemory 0"));
    assert_int_equal(fixture_number(f, "stock:black-tea"), 1000000);
    r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", BLACK_TEA);
    assert_int_equal(r->status, 201);
    request_free(r);
}

static void stock_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct request *r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", BLACK_TEA);
    request_free(r);
    fixture_kill_redis(f, SIGKILL);
    fixture_start_redis(f);
    fixture_run_until_ready(f);
    r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k2", BLACK_TEA);
    assert_int_equal(r->status, 201);
    request_free(r);
    assert_int_equal(fixture_number(f, "stock:black-tea"), 1000000 - 2);
}

/* ---- a Redis of somebody else's ---- */

static int free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t addr_bytes = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &addr_bytes), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static void an_external_redis_wants_its_password(void **state)
{
    struct fixture *f = *state;
    struct fg_redis_conf embedded = f->conf.redis;
    struct fg_error error = {.file = ""};
    char address[32];
    int port = free_port();
    fixture_close_backend(f);
    freeReplyObject(fixture_redis(f, "CONFIG SET bind 127.0.0.1"));
    freeReplyObject(fixture_redis(f, "CONFIG SET port %d", port));
    freeReplyObject(fixture_redis(f, "CONFIG SET requirepass secret"));
    snprintf(address, sizeof(address), "localhost:%d", port);
    f->conf.redis.embedded = false;
    f->conf.redis.address = address;
    f->conf.redis.command_timeout_ns = 200 * FG_MS;
    f->conf.redis.password = "wrong";
    assert_int_equal(fg_redis_wait_ready(&f->conf, 0, &error), FG_ERR_TIMEOUT);
    assert_non_null(strstr(error.message, "user or password"));
    assert_null(strstr(error.message, "wrong "));
    fixture_open_backend(f);
    struct request *r = request_run(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
    assert_int_equal(r->status, 503);
    request_free(r);
    fixture_close_backend(f);
    f->conf.redis.password = "secret";
    fixture_open_backend(f);
    fixture_run_until_ready(f);
    r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", BLACK_TEA);
    assert_int_equal(r->status, 201);
    request_free(r);
    fixture_close_backend(f);
    f->conf.redis = embedded;
}

/* ---- the embedded server ---- */

static void what_an_earlier_run_left_is_stopped(void **state)
{
    struct fixture *f = *state;
    struct fg_error error = {.file = ""};
    pid_t leftover = f->redis_pid; /* our own child: not another floodgate's */
    assert_int_equal(fg_redis_embedded_prepare(&f->conf, &error), FG_OK);
    fixture_kill_redis(f, SIGKILL); /* collects it: it has ended already */
    fixture_start_redis(f);
    assert_true(f->redis_pid != leftover);
}

static void a_foreign_server_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct fg_error error = {.file = ""};
    char path[96];
    snprintf(path, sizeof(path), "%s/redis.pid", f->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("1\n", file);
    fclose(file);
    assert_int_equal(fg_redis_embedded_prepare(&f->conf, &error), FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "no Redis of ours"));
    assert_int_equal(kill(f->redis_pid, 0), 0);
}

static void a_missing_redis_server_is_told(void **state)
{
    struct fixture *f = *state;
    struct fg_error error = {.file = ""};
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    enum fg_status status = fg_redis_embedded_prepare(&f->conf, &error);
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(status, FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "redis-server is not in PATH"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(redis_killed_in_a_burst_loses_nothing),
        TEST(a_stopped_redis_is_answered_for_in_time),
        TEST(an_absent_redis_is_refused_at_once),
        TEST(a_full_store_refuses_and_changes_nothing),
        TEST(stock_survives_a_restart),
        TEST(an_external_redis_wants_its_password),
        TEST(what_an_earlier_run_left_is_stopped),
        TEST(a_foreign_server_is_left_alone),
        TEST(a_missing_redis_server_is_told),
    };
    if (!fixture_has_redis())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
