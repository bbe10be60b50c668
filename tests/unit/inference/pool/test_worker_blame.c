/*
 * test_worker_blame.c: real workers that die in their steps and while they prepare a request, from
 * outside and by themselves: who did nothing outlives any number of deaths, and who kills workers
 * is given up after few.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "worker_client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN_MODEL FG_SOURCE_ROOT "/tests/golden/models/tiny-llama.F32.gguf"
#define STREAMS 32u
#define DEATHS 20u
#define POISON 13u
#define POISON_KEY (1000u + POISON)
#define DEATHS_OF_POISON_MAX 3u
#define FIRST_ID 1u

/* When a worker dies in a step. */
struct fate {
    struct fg_kv_arena *arena;
    unsigned steps_left;   /* dies in the step after so many; 0: never for that */
    uint64_t deadly;       /* dies whenever this stream is in a step; 0: none is */
    uint64_t indigestible; /* dies while this stream is prepared; 0: none is */
    uint32_t worker;       /* that this is the fate of */
    bool by_helper;        /* of that: in a helper's part, if it gets to a helper */
    uint32_t spared; /* bit by stream: a worker has crashed with it alone, and it has not got on */
    int signal;
};

static struct client_stream undisturbed[STREAMS];
static struct client client;
static uint64_t salt; /* of this test: what an earlier one left in the cache is not found */

/* Bit by stream: a worker computes it, or died computing it. */
static uint32_t marked(struct fg_kv_arena *arena)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < STREAMS; i++)
        found |= (uint32_t)fg_kv_arena_is_in_step(arena, 1000 + i) << i;
    return found;
}

/* Whether this thread, which prepares something, is to die of it. */
static bool is_indigestible(struct fate *fate)
{
    if (fate->indigestible == 0 || !fg_kv_arena_is_preparing(fate->arena, fate->indigestible))
        return false;
    struct fg_blame blame;
    enum fg_status status =
        fg_kv_arena_prepare_blame(fate->arena, fate->worker, fate->indigestible, &blame);
    assert_int_equal(status, FG_OK);
    /* A suspect is prepared by the loop from its first part to its last. */
    return !fate->by_helper || gettid() != getpid() || fg_blame_is_suspect(&blame);
}

/* In this thread, which goes no further. Helpers block what is not of their own making. */
static void die_here(int signal)
{
    if (signal == SIGABRT)
        abort();
    kill(getpid(), signal);
}

static void meet_fate(enum fg_kv_point point, void *owner)
{
    struct fate *fate = owner;
    if (point == FG_KV_POINT_PREPARING && is_indigestible(fate))
        die_here(fate->signal);
    if (point != FG_KV_POINT_STEP_BEGUN)
        return;
    if (fate->deadly != 0 && fg_kv_arena_is_in_step(fate->arena, fate->deadly))
        kill(getpid(), fate->signal);
    if (fate->steps_left == 0)
        return;
    fate->steps_left--;
    if (fate->steps_left == 0 && (marked(fate->arena) & ~fate->spared) == 0)
        fate->steps_left++; /* in the next one */
    if (fate->steps_left == 0)
        kill(getpid(), fate->signal);
}

static struct fg_channel_submit *stream_of(uint32_t index)
{
    static char text[80];
    snprintf(text, sizeof(text), "Stream %u asks for a cup of milk tea", index);
    struct fg_channel_submit *submit = client_completion(fg_span_from_string(text), 90 + index % 7);
    if (index % 2 == 1)
        submit->sampling = (struct fg_sampling){.temperature = 1, .top_p = 0.95f, .seed = index};
    submit->ignore_end = true;
    submit->stream_key = 1000 + index;
    submit->cache_salt = salt;
    return submit;
}

static bool has_ended(uint32_t index)
{
    const struct client_stream *stream = &client.streams[FIRST_ID + index];
    return stream->is_done || stream->is_refused;
}

static bool all_ended(void)
{
    bool have = true;
    for (uint32_t i = 0; i < STREAMS; i++)
        have &= has_ended(i);
    return have;
}

/* What a gateway does: all that has not ended goes to this worker, until it is gone. */
static bool run_streams(struct test_pool *pool, uint32_t worker)
{
    static struct client_stream before[STREAMS];
    unsigned char tokens[CLIENT_TOKENS_MAX * 4];
    memcpy(before, &client.streams[FIRST_ID], sizeof(before));
    client_open(&client, pool, worker);
    memcpy(&client.streams[FIRST_ID], before, sizeof(before));
    for (uint32_t i = 0; i < STREAMS; i++) {
        if (has_ended(i))
            continue;
        struct fg_channel_submit *submit = stream_of(i);
        for (uint32_t t = 0; t < before[i].token_count * 4; t++)
            tokens[t] = (unsigned char)(before[i].tokens[t / 4] >> (8 * (t % 4)));
        submit->resumed = tokens;
        submit->resumed_count = before[i].token_count;
        submit->may_adopt = true;
        client_submit(&client, FIRST_ID + i, submit);
    }
    while (!all_ended() && client_receive(&client)) {
    }
    client_close(&client);
    return all_ended();
}

static void start_with(struct test_pool *pool, uint32_t worker, struct fate *fate)
{
    pool->on_point = fate != NULL ? meet_fate : NULL;
    if (fate != NULL)
        fate->worker = worker;
    pool->on_point_owner = fate;
    test_pool_start(pool, worker);
}

/* What a supervisor does. */
static void bury(struct test_pool *pool, uint32_t worker, int signal)
{
    const char *why = NULL;
    int status = test_pool_wait(pool, worker);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signal);
    fg_counter_set(&fg_kv_arena_worker(pool->arena, worker)->crashed, signal != SIGKILL);
    fg_kv_arena_orphan_worker(pool->arena, worker, UINT64_MAX);
    if (!fg_kv_arena_check(pool->arena, &why))
        fail_msg("%s", why);
}

static void assert_undisturbed(uint32_t index)
{
    const struct client_stream *got = &client.streams[FIRST_ID + index];
    const struct client_stream *want = &undisturbed[index];
    if (!got->is_done || got->token_count != want->token_count ||
        memcmp(got->tokens, want->tokens, want->token_count * sizeof(uint32_t)) != 0 ||
        strcmp(got->text, want->text) != 0)
        fail_msg("stream %u is another: %u of %u tokens, refused: %d", index, got->token_count,
                 want->token_count, got->is_refused);
}

static void open_pool(struct test_pool *pool)
{
    test_pool_init(pool, OWN_MODEL);
    pool->conf.batch_max = STREAMS;
    pool->conf.waiting_max = STREAMS;
    memset(&client.streams[FIRST_ID], 0, STREAMS * sizeof(client.streams[0]));
    salt = 1;
    start_with(pool, 0, NULL);
    assert_true(run_streams(pool, 0));
    memcpy(undisturbed, &client.streams[FIRST_ID], sizeof(undisturbed));
    test_pool_kill(pool, 0);
    memset(&client.streams[FIRST_ID], 0, STREAMS * sizeof(client.streams[0]));
    salt = 2;
}

/* A second crash with the same one would be its fault. */
static void spare(struct test_pool *pool, struct fate *fate)
{
    static uint32_t tokens[STREAMS];
    uint32_t died_with = marked(pool->arena);
    bool was_alone = (died_with & (died_with - 1)) == 0 && fate->signal != SIGKILL;
    for (uint32_t i = 0; i < STREAMS; i++) {
        uint32_t count = client.streams[FIRST_ID + i].token_count;
        if (count > tokens[i])
            fate->spared &= ~(UINT32_C(1) << i);
        tokens[i] = count;
    }
    if (was_alone)
        fate->spared |= died_with;
}

/* Workers one after the other, each with the fate of its number. Returns how many died. */
static unsigned outlive(struct test_pool *pool, struct fate *fate, const unsigned *steps,
                        unsigned count)
{
    for (unsigned deaths = 0;; deaths++) {
        uint32_t worker = deaths % 2;
        fate->arena = pool->arena;
        fate->steps_left = deaths < count ? steps[deaths] : 0;
        start_with(pool, worker, fate);
        if (run_streams(pool, worker)) {
            test_pool_kill(pool, worker);
            test_pool_wait_all_free(pool);
            return deaths;
        }
        spare(pool, fate);
        bury(pool, worker, fate->signal);
        assert_in_range(deaths, 0, DEATHS);
    }
}

static void streams_outlive_20_kills(void **state)
{
    (void)state;
    struct test_pool pool;
    struct fate fate = {.signal = SIGKILL};
    unsigned steps[DEATHS];
    open_pool(&pool);
    /* Twice in each worker's first step, then after some: a kill finds all kinds of batches. */
    for (unsigned i = 0; i < DEATHS; i++)
        steps[i] = i < 2 ? 1 : 2 + i * 7 % 5;
    assert_int_equal(outlive(&pool, &fate, steps, DEATHS), DEATHS);
    for (uint32_t i = 0; i < STREAMS; i++)
        assert_undisturbed(i);
    test_pool_fini(&pool);
}

static void streams_outlive_crashes_of_which_they_are_not_the_cause(void **state)
{
    (void)state;
    struct test_pool pool;
    struct fate fate = {.signal = SIGABRT};
    const unsigned steps[] = {3, 5, 2, 40, 9, 4, 60, 33, 7};
    const unsigned count = sizeof(steps) / sizeof(steps[0]);
    open_pool(&pool);
    assert_int_equal(outlive(&pool, &fate, steps, count), count);
    for (uint32_t i = 0; i < STREAMS; i++)
        assert_undisturbed(i);
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(pool.arena, &gauges);
    assert_true(gauges.suspects > 0);
    test_pool_fini(&pool);
}

static void a_poison_takes_few_workers_with_it(void **state)
{
    (void)state;
    struct test_pool pool;
    struct fate fate = {.signal = SIGABRT, .deadly = POISON_KEY};
    open_pool(&pool);
    assert_in_range(outlive(&pool, &fate, NULL, 0), 2, DEATHS_OF_POISON_MAX);
    for (uint32_t i = 0; i < STREAMS; i++) {
        const struct client_stream *stream = &client.streams[FIRST_ID + i];
        if (i != POISON)
            assert_undisturbed(i);
        else
            assert_true(stream->is_refused && stream->refused.reason == FG_REFUSAL_FATAL);
    }
    test_pool_fini(&pool);
}

static void check_indigestible(bool by_helper)
{
    struct test_pool pool;
    /* The first one is alone when it enters: what marks it besides is a helper. */
    uint32_t poison = by_helper ? 0 : POISON;
    struct fate fate = {.signal = SIGABRT, .indigestible = 1000 + poison, .by_helper = by_helper};
    open_pool(&pool);
    assert_in_range(outlive(&pool, &fate, NULL, 0), 2, DEATHS_OF_POISON_MAX);
    for (uint32_t i = 0; i < STREAMS; i++) {
        const struct client_stream *stream = &client.streams[FIRST_ID + i];
        if (i != poison)
            assert_undisturbed(i);
        else
            assert_true(stream->is_refused && stream->refused.reason == FG_REFUSAL_FATAL);
    }
    test_pool_fini(&pool);
}

static void what_cannot_be_entered_takes_few_workers_with_it(void **state)
{
    (void)state;
    check_indigestible(false);
}

static void what_cannot_be_encoded_takes_few_workers_with_it(void **state)
{
    (void)state;
    check_indigestible(true);
}

/* Kills from outside say nothing of what was being prepared: all of it gets through. */
static void requests_outlive_kills_while_they_are_prepared(void **state)
{
    (void)state;
    struct test_pool pool;
    struct fate fate = {.signal = SIGKILL, .indigestible = POISON_KEY};
    open_pool(&pool);
    for (unsigned deaths = 0; deaths < 4; deaths++) {
        fate.arena = pool.arena;
        start_with(&pool, deaths % 2, &fate);
        assert_false(run_streams(&pool, deaths % 2));
        bury(&pool, deaths % 2, SIGKILL);
    }
    start_with(&pool, 0, NULL);
    assert_true(run_streams(&pool, 0));
    for (uint32_t i = 0; i < STREAMS; i++)
        assert_undisturbed(i);
    test_pool_kill(&pool, 0);
    test_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_entered_takes_few_workers_with_it),
        cmocka_unit_test(what_cannot_be_encoded_takes_few_workers_with_it),
        cmocka_unit_test(requests_outlive_kills_while_they_are_prepared),
        cmocka_unit_test(streams_outlive_20_kills),
        cmocka_unit_test(streams_outlive_crashes_of_which_they_are_not_the_cause),
        cmocka_unit_test(a_poison_takes_few_workers_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
