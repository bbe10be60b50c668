/*
 * test_pool_shared.c: every item is worked on exactly once, whatever the threads, sizes and pauses.
 */
#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inference/kernels/pool_shared.h"

#define ITEMS_MAX 1000

struct job {
    uint32_t seen[ITEMS_MAX]; /* plain: a race between helpers would show under a race detector */
    size_t item_count;
    size_t grain;
};

static void mark(void *arg, size_t first, size_t end)
{
    struct job *job = arg;
    assert(end <= job->item_count);
    for (size_t i = first; i < end; i++)
        job->seen[i]++;
}

static void run_and_check(struct fg_pool *pool, size_t item_count, size_t grain)
{
    struct job job = {.item_count = item_count, .grain = grain};
    fg_pool_run(pool, mark, &job, item_count, grain);
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(job.seen[i], i < item_count ? 1 : 0);
}

static void every_item_once(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 7, 64, 999, ITEMS_MAX};
    static const size_t grains[] = {1, 2, 5, 64, 2000};
    for (unsigned threads = 1; threads <= 5; threads++) {
        struct fg_pool *pool = fg_pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(fg_pool_thread_count(pool), threads);
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            for (size_t g = 0; g < sizeof(grains) / sizeof(grains[0]); g++)
                run_and_check(pool, counts[c], grains[g]);
        }
        fg_pool_destroy(pool);
    }
}

static void every_portion_is_a_beat(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct fg_counter beats = {0};
        struct fg_pool *pool = fg_pool_create(threads);
        assert_non_null(pool);
        run_and_check(pool, 10, 4); /* nobody counts them yet */
        fg_pool_set_beats(pool, &beats);
        run_and_check(pool, 10, 4);
        assert_int_equal(fg_counter_get(&beats), 3);
        run_and_check(pool, 10, 10);
        run_and_check(pool, 0, 1);
        assert_int_equal(fg_counter_get(&beats), 4);
        fg_pool_destroy(pool);
    }
}

static void many_runs_in_a_row(void **state)
{
    (void)state;
    struct fg_pool *pool = fg_pool_create(3);
    assert_non_null(pool);
    for (size_t run = 0; run < 3000; run++)
        run_and_check(pool, 1 + run % 17, 1);
    fg_pool_destroy(pool);
}

static void note_thread(void *arg, size_t first, size_t end)
{
    (void)first;
    (void)end;
    assert_true(pthread_equal(pthread_self(), *(pthread_t *)arg) != 0);
}

static void one_thread_is_the_caller(void **state)
{
    (void)state;
    pthread_t self = pthread_self();
    struct fg_pool *pool = fg_pool_create(1);
    assert_non_null(pool);
    fg_pool_run(pool, note_thread, &self, 100, 1);
    fg_pool_destroy(pool);
    /* What fits one portion never leaves the caller either. */
    pool = fg_pool_create(4);
    assert_non_null(pool);
    fg_pool_run(pool, note_thread, &self, 100, 100);
    fg_pool_destroy(pool);
}

static void stops_without_having_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < 50; i++) {
        struct fg_pool *pool = fg_pool_create(4);
        assert_non_null(pool);
        fg_pool_destroy(pool);
    }
    fg_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),          cmocka_unit_test(every_portion_is_a_beat),
        cmocka_unit_test(many_runs_in_a_row),       cmocka_unit_test(one_thread_is_the_caller),
        cmocka_unit_test(stops_without_having_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
