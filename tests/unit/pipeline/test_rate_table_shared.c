/*
 * test_rate_table_shared.c: exact across threads: never more than burst + rate x time for one key.
 */
#include "base/clock.h"
#include "base/counters_shared.h"
#include "pipeline/rate_table_shared.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define THREADS 4
#define TRIES 20000

static struct fg_rate_table *table;
static struct fg_counter passed;

static void *hammer(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < TRIES; i++) {
        struct fg_limit_verdict verdict;
        /* time stands at i microseconds for everybody: at most TRIES us pass */
        if (fg_rate_table_try_take(table, FG_SPAN("user"), (uint64_t)i * 1000, &verdict))
            fg_counter_add(&passed, 1);
    }
    return NULL;
}

static void is_exact_over_threads(void **state)
{
    (void)state;
    static const struct fg_rate_limit_conf conf = {
        .name = "t", .key = FG_LIMIT_BY_USER, .rate = {1000, FG_S}, .burst = 50, .keys_max = 1000};
    pthread_t threads[THREADS];
    table = fg_rate_table_create(&conf);
    assert_non_null(table);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* 20 ms at 1000/s, and the burst; at least what one thread alone would have got */
    assert_true(fg_counter_get(&passed) <= 50 + 20);
    assert_true(fg_counter_get(&passed) >= 50);
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_int_equal(stats.allowed_total, fg_counter_get(&passed));
    assert_int_equal(stats.allowed_total + stats.refused_total, THREADS * TRIES);
    assert_int_equal(stats.entries, 1);
    fg_rate_table_destroy(table);
}

static void a_flood_of_keys_neither_grows_it_nor_resets_the_attacker(void **state)
{
    (void)state;
    static const struct fg_rate_limit_conf conf = {
        .name = "t", .key = FG_LIMIT_BY_IP, .rate = {1, 3600 * FG_S}, .burst = 5, .keys_max = 1000};
    struct fg_limit_verdict verdict;
    table = fg_rate_table_create(&conf);
    for (int i = 0; i < 5; i++)
        assert_true(fg_rate_table_try_take(table, FG_SPAN("attacker"), 0, &verdict));
    for (int i = 0; i < 200000; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "device-%d", i);
        fg_rate_table_try_take(table, fg_span_make(text, (size_t)len), 0, &verdict);
    }
    assert_false(fg_rate_table_try_take(table, FG_SPAN("attacker"), 0, &verdict));
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_true(stats.entries <= 1000 + 16 * 8 * 2);
    assert_true(stats.evictions > 100000);
    fg_rate_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_exact_over_threads),
        cmocka_unit_test(a_flood_of_keys_neither_grows_it_nor_resets_the_attacker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
