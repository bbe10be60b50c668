/*
 * test_worker_deaths.c: real workers that are killed, or stopped, at every marked point of the
 * arena's critical sections; their streams go on at the other worker as if nothing had happened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "worker_client.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN_MODEL FG_SOURCE_ROOT "/tests/golden/models/tiny-llama.F32.gguf"
#define STREAMS 4u
#define TOKENS 60u
#define FIRST_ID 1u

/* Where a worker dies: the `nth` time that it comes to `point`. */
struct death {
    enum fg_kv_point point;
    unsigned nth;
    int signal;
    unsigned met;
};

static struct client_stream undisturbed[STREAMS];
static struct client client;
static uint64_t salt; /* of this life: what an earlier one left in the cache is not found */

static void die(enum fg_kv_point point, void *owner)
{
    struct death *death = owner;
    /* The first lock is that of the start, before there is anybody to talk to. */
    unsigned skipped = point == FG_KV_POINT_LOCKED;
    if (point == death->point && ++death->met == death->nth + skipped)
        kill(getpid(), death->signal);
}

/* Greedy and seeded ones; the first three begin alike, one of them with whole blocks only. */
static struct fg_channel_submit *stream_of(uint32_t index)
{
    static const char *const texts[STREAMS] = {
        "The gateway takes a request, finds its route, and then the rest follows from there",
        "The gateway takes a request, finds its route, and then nothing follows from there",
        "The gateway takes a request, finds its route, and then the rest follows from there",
        "A cup of milk tea, please",
    };
    struct fg_channel_submit *submit =
        client_completion(fg_span_from_string(texts[index]), TOKENS + 7 * index);
    if (index % 2 == 1)
        submit->sampling = (struct fg_sampling){.temperature = 1, .top_p = 0.95f, .seed = index};
    submit->ignore_end = true;
    submit->stream_key = 1000 + index;
    submit->cache_salt = salt;
    return submit;
}

static bool all_done(void)
{
    for (uint32_t i = 0; i < STREAMS; i++) {
        if (!client.streams[FIRST_ID + i].is_done)
            return false;
    }
    return true;
}

static void submit_all(struct test_pool *pool, uint32_t worker, const struct client_stream *before)
{
    unsigned char tokens[CLIENT_TOKENS_MAX * 4];
    client_open(&client, pool, worker);
    for (uint32_t i = 0; i < STREAMS; i++) {
        client.streams[FIRST_ID + i] = before[i];
        if (before[i].is_done)
            continue;
        struct fg_channel_submit *submit = stream_of(i);
        for (uint32_t t = 0; t < before[i].token_count * 4; t++)
            tokens[t] = (unsigned char)(before[i].tokens[t / 4] >> (8 * (t % 4)));
        submit->resumed = tokens;
        submit->resumed_count = before[i].token_count;
        submit->may_adopt = true;
        client_submit(&client, FIRST_ID + i, submit);
    }
}

/* What a supervisor does with a worker that is stopped, wherever it is. */
static void kill_stopped(struct test_pool *pool, uint32_t worker)
{
    int status;
    pid_t pid = waitpid(pool->pids[worker], &status, WNOHANG | WUNTRACED);
    if (pid != pool->pids[worker] || !WIFSTOPPED(status))
        return;
    /* It holds the mutex: whoever waited for it would wait for ever. */
    assert_false(fg_kv_arena_try_orphan_worker(pool->arena, worker, UINT64_MAX));
    kill(pid, SIGKILL);
}

/* Submits, or goes on with, what is not done, until it is or the worker is dead or has given up. */
static bool run_streams(struct test_pool *pool, uint32_t worker, const struct death *death)
{
    static struct client_stream before[STREAMS];
    memcpy(before, &client.streams[FIRST_ID], sizeof(before));
    submit_all(pool, worker, before);
    while (!all_done()) {
        struct pollfd ready = {.fd = client.fd, .events = POLLIN};
        if (death != NULL && death->signal == SIGSTOP && poll(&ready, 1, 1) == 0)
            kill_stopped(pool, worker);
        else if (client.streams[FIRST_ID].is_refused)
            break;
        else if (!client_receive(&client))
            break;
        if (death != NULL && death->point == FG_KV_POINT_ORPHANED &&
            client.streams[FIRST_ID].token_count == 5)
            kill(pool->pids[worker], SIGTERM); /* it hands over */
    }
    client_close(&client);
    return all_done();
}

static void assert_undisturbed(const struct death *death)
{
    for (uint32_t i = 0; i < STREAMS; i++) {
        const struct client_stream *got = &client.streams[FIRST_ID + i];
        const struct client_stream *want = &undisturbed[i];
        if (!got->is_done || got->token_count != want->token_count ||
            memcmp(got->tokens, want->tokens, want->token_count * sizeof(uint32_t)) != 0 ||
            strcmp(got->text, want->text) != 0)
            fail_msg("stream %u is another after a death at point %u, time %u", i, death->point,
                     death->nth);
    }
}

static void bury(struct test_pool *pool, uint32_t worker)
{
    const char *why = NULL;
    int status = test_pool_wait(pool, worker);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    fg_kv_arena_orphan_worker(pool->arena, worker, UINT64_MAX);
    if (!fg_kv_arena_check(pool->arena, &why))
        fail_msg("%s", why);
}

static void start_with(struct test_pool *pool, uint32_t worker, struct death *death)
{
    pool->on_point = death != NULL ? die : NULL;
    pool->on_point_owner = death;
    test_pool_start(pool, worker);
}

static bool is_of_adoption(enum fg_kv_point point)
{
    return point == FG_KV_POINT_ADOPTING || point == FG_KV_POINT_ADOPTED;
}

/*
 * Worker 0 begins and dies; worker 1 goes on, and dies too if the point is one of adoption; worker
 * 0, started anew, does the rest. Returns whether the point was met.
 */
static bool live_through(struct test_pool *pool, struct death *death)
{
    struct death middle = {FG_KV_POINT_COMMITTED, 4, SIGKILL, 0};
    struct death *first = is_of_adoption(death->point) ? &middle : death;
    bool is_met = false;
    memset(&client.streams[FIRST_ID], 0, STREAMS * sizeof(client.streams[0]));
    /* To share what is cached there must be something. */
    static uint64_t lives;
    salt = death->point == FG_KV_POINT_SHARED ? 0 : ++lives;
    start_with(pool, 0, first);
    if (run_streams(pool, 0, first)) {
        test_pool_kill(pool, 0); /* it never came to the point */
    } else {
        bury(pool, 0);
        is_met = true;
        start_with(pool, 1, is_of_adoption(death->point) ? death : NULL);
        if (run_streams(pool, 1, NULL)) {
            is_met = !is_of_adoption(death->point);
            test_pool_kill(pool, 1);
        } else {
            bury(pool, 1);
            start_with(pool, 0, NULL);
            assert_true(run_streams(pool, 0, NULL));
            test_pool_kill(pool, 0);
        }
    }
    assert_undisturbed(death);
    test_pool_wait_all_free(pool);
    return is_met;
}

static void make_undisturbed(struct test_pool *pool)
{
    memset(&client.streams[FIRST_ID], 0, STREAMS * sizeof(client.streams[0]));
    start_with(pool, 0, NULL);
    assert_true(run_streams(pool, 0, NULL));
    memcpy(undisturbed, &client.streams[FIRST_ID], sizeof(undisturbed));
    test_pool_kill(pool, 0);
}

static void a_death_at_any_point_costs_no_stream(void **state)
{
    (void)state;
    struct test_pool pool;
    test_pool_init(&pool, OWN_MODEL);
    make_undisturbed(&pool);
    for (enum fg_kv_point point = 0; point < FG_KV_POINT_REPAIR_COUNTED; point++) {
        for (unsigned nth = 1; nth <= 2; nth++) {
            struct death death = {point, nth, SIGKILL, 0};
            /* These need a full arena, a prompt of whole blocks, or two prompts in the same step:
             * test_kv_arena.c comes to them for certain. */
            bool may_be_missed = nth > 1 || point == FG_KV_POINT_BLOCK_EVICTED ||
                                 point == FG_KV_POINT_COPIED || point == FG_KV_POINT_SWAPPED;
            if (!live_through(&pool, &death) && !may_be_missed)
                fail_msg("no worker came to point %u, time %u", point, nth);
        }
    }
    test_pool_fini(&pool);
}

static void a_worker_that_is_stopped_holding_the_mutex_costs_no_stream(void **state)
{
    (void)state;
    struct test_pool pool;
    test_pool_init(&pool, OWN_MODEL);
    make_undisturbed(&pool);
    const enum fg_kv_point points[] = {FG_KV_POINT_LOCKED, FG_KV_POINT_CLAIMED,
                                       FG_KV_POINT_COMMITTED};
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        struct death death = {points[i], 2, SIGSTOP, 0};
        assert_true(live_through(&pool, &death));
    }
    test_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_death_at_any_point_costs_no_stream),
        cmocka_unit_test(a_worker_that_is_stopped_holding_the_mutex_costs_no_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
