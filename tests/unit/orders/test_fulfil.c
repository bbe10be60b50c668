/*
 * test_fulfil.c: orders are carried to completion exactly once, whatever is killed, and whoever
 * watches sees every state.
 */
#include "orders_fixture.h"

#include "base/clock.h"
#include "orders/fulfil.h"

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

#define BLACK_TEA "{\"sku\":\"black-tea\",\"quantity\":1}"
#define ORDER_COUNT 300

static pid_t start_fulfil(struct fixture *f, uint32_t index)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fg_fulfil_options options = {
            .conf = &f->conf, .consumer_index = index, .parent_pid = parent};
        _exit(fg_fulfil_run(&options));
    }
    return pid;
}

static int end_fulfil(pid_t pid, int signal_number)
{
    int status = 0;
    kill(pid, signal_number);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static long long figure(struct fixture *f, const char *name)
{
    redisReply *reply = fixture_redis(f, "HGET {fg:test}:counts %s", name);
    long long number = reply->type == REDIS_REPLY_STRING ? atoll(reply->str) : 0;
    freeReplyObject(reply);
    return number;
}

struct wanted {
    struct fixture *fixture;
    const char *name;
    long long at_least;
};

static bool has_reached(void *object)
{
    const struct wanted *wanted = object;
    return figure(wanted->fixture, wanted->name) >= wanted->at_least;
}

static void run_until_figure(struct fixture *f, const char *name, long long at_least)
{
    struct wanted wanted = {f, name, at_least};
    fixture_run_until(f, has_reached, &wanted);
}

static void place(struct fixture *f, int count, char ids[][40])
{
    char user[16];
    struct request **all = calloc((size_t)count, sizeof(struct request *));
    for (int i = 0; i < count; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        all[i] = request_start(f, FG_METHOD_POST, "/api/orders", user, "k", BLACK_TEA);
    }
    fixture_run_until_answered(f);
    for (int i = 0; i < count; i++) {
        assert_int_equal(all[i]->status, 201);
        snprintf(ids[i], 40, "%s", request_text(all[i], "order_id"));
        request_free(all[i]);
    }
    free(all);
}

static void a_killed_consumer_does_nothing_twice(void **state)
{
    static char ids[ORDER_COUNT][40];
    struct fixture *f = *state;
    f->conf.confirm_after_ns = 20 * FG_MS;
    f->conf.complete_after_ns = 20 * FG_MS;
    place(f, ORDER_COUNT, ids);
    pid_t other = start_fulfil(f, 1);
    for (int round = 1; round <= 8; round++) { /* dies at whatever it is doing */
        pid_t pid = start_fulfil(f, 0);
        run_until_figure(f, "completed", round * ORDER_COUNT / 16);
        end_fulfil(pid, SIGKILL);
    }
    end_fulfil(other, SIGKILL);
    pid_t last = start_fulfil(f, 0);
    /* One more, so that the last one is known to run when it is told to end. */
    request_free(request_run(f, FG_METHOD_POST, "/api/orders", "last", "k", BLACK_TEA));
    run_until_figure(f, "completed", ORDER_COUNT + 1);
    int status = end_fulfil(last, SIGTERM);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);

    assert_int_equal(figure(f, "completed"), ORDER_COUNT + 1);
    assert_int_equal(figure(f, "accepted"), 0);
    assert_int_equal(figure(f, "confirmed"), 0);
    for (int i = 0; i < ORDER_COUNT; i++) { /* two moves each: no more, no less */
        redisReply *reply = fixture_redis(f, "HMGET {fg:test}:o:%s status version", ids[i]);
        assert_string_equal(reply->element[0]->str, "completed");
        assert_string_equal(reply->element[1]->str, "3");
        freeReplyObject(reply);
    }
    redisReply *reply = fixture_redis(f, "XLEN {fg:test}:orders");
    assert_int_equal(reply->integer, 0);
    freeReplyObject(reply);
}

static void a_terminal_does_not_end_it(void **state)
{
    static char ids[1][40];
    struct fixture *f = *state;
    place(f, 1, ids);
    pid_t pid = start_fulfil(f, 0);
    run_until_figure(f, "completed", 1);
    kill(pid, SIGINT);
    struct request *r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", BLACK_TEA);
    assert_int_equal(r->status, 201);
    request_free(r);
    run_until_figure(f, "completed", 2);
    assert_true(WIFEXITED(end_fulfil(pid, SIGTERM)));
}

static void it_comes_back_with_redis(void **state)
{
    static char ids[10][40];
    struct fixture *f = *state;
    pid_t pid = start_fulfil(f, 0);
    place(f, 10, ids);
    fixture_kill_redis(f, SIGKILL);
    fixture_start_redis(f);
    run_until_figure(f, "completed", 10);
    assert_int_equal(figure(f, "completed"), 10);
    assert_true(WIFEXITED(end_fulfil(pid, SIGTERM)));
}

/* ---- server-sent events ---- */

static bool is_live(void *object)
{
    return ((const struct request *)object)->body_len > 0;
}

static bool is_ended(void *object)
{
    return ((const struct request *)object)->is_ended;
}

static unsigned occurrences(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        count++;
    return count;
}

static struct request *watch(struct fixture *f, const char *id)
{
    char path[96];
    snprintf(path, sizeof(path), "/api/orders/%s/events", id);
    return request_start(f, FG_METHOD_GET, path, "u0", NULL, NULL);
}

static void watchers_see_every_state(void **state)
{
    static char ids[1][40];
    struct fixture *f = *state;
    struct request *watchers[3];
    place(f, 1, ids);
    watchers[0] = watch(f, ids[0]);
    fixture_run_until(f, is_live, watchers[0]);
    assert_string_equal(watchers[0]->content_type, "text/event-stream");
    assert_true(watchers[0]->is_slot_released); /* it only waits from here on */
    assert_non_null(strstr(watchers[0]->body, "\"status\":\"accepted\""));
    watchers[1] = watch(f, ids[0]);
    fixture_run_until(f, is_live, watchers[1]);
    watchers[2] = watch(f, ids[0]);
    fixture_run_until(f, is_live, watchers[2]);
    request_free(watchers[2]); /* leaves early */
    pid_t pid = start_fulfil(f, 0);
    for (int i = 0; i < 2; i++) {
        fixture_run_until(f, is_ended, watchers[i]);
        assert_int_equal(occurrences(watchers[i]->body, "data: "), 3);
        assert_int_equal(occurrences(watchers[i]->body, "\"status\":\"confirmed\""), 1);
        assert_int_equal(occurrences(watchers[i]->body, "\"status\":\"completed\""), 1);
        request_free(watchers[i]);
    }
    struct request *late = watch(f, ids[0]);
    fixture_run_until(f, is_ended, late);
    assert_int_equal(occurrences(late->body, "data: "), 1);
    request_free(late);
    end_fulfil(pid, SIGTERM);
}

static void watchers_survive_a_restart_of_redis(void **state)
{
    static char ids[1][40];
    struct fixture *f = *state;
    place(f, 1, ids);
    struct request *watcher = watch(f, ids[0]);
    fixture_run_until(f, is_live, watcher);
    fixture_kill_redis(f, SIGKILL);
    fixture_start_redis(f);
    pid_t pid = start_fulfil(f, 0); /* may be done before the watcher is connected again */
    fixture_run_until(f, is_ended, watcher);
    assert_non_null(strstr(watcher->body, "\"status\":\"completed\""));
    request_free(watcher);
    end_fulfil(pid, SIGTERM);
}

static void a_watch_without_redis_is_refused(void **state)
{
    struct fixture *f = *state;
    f->conf.redis.command_timeout_ns = 100 * FG_MS;
    fixture_close_backend(f);
    fixture_open_backend(f);
    fixture_kill_redis(f, SIGKILL);
    struct request *watcher = watch(f, "ord_x");
    fixture_run_until(f, is_ended, watcher);
    assert_int_equal(watcher->status, 503);
    request_free(watcher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_consumer_does_nothing_twice),
        TEST(a_terminal_does_not_end_it),
        TEST(it_comes_back_with_redis),
        TEST(watchers_see_every_state),
        TEST(watchers_survive_a_restart_of_redis),
        TEST(a_watch_without_redis_is_refused),
    };
    if (!fixture_has_redis())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
