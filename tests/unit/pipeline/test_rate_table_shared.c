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

static const struct fg_limit_part by_user = {.kind = FG_LIMIT_BY_USER};

static struct fg_rate_limit_conf conf_of(enum fg_limit_algorithm algorithm, uint64_t per_s,
                                         uint64_t burst)
{
    return (struct fg_rate_limit_conf){.name = "t",
                                       .parts = &by_user,
                                       .part_count = 1,
                                       .algorithm = algorithm,
                                       .rate = {per_s, FG_S},
                                       .burst = burst,
                                       .keys_max = 1000};
}

static struct fg_limit_key key_of(uint64_t number)
{
    struct fg_limit_key key;
    fg_siphash_128(fg_rate_table_secret(table), &number, sizeof(number), &key.hi, &key.lo);
    return key;
}

static bool take(uint64_t number, uint64_t now_ns, uint64_t cost)
{
    struct fg_limit_verdict verdict;
    struct fg_lease_question question;
    bool allowed = fg_rate_table_try_take(table, key_of(number), now_ns, cost, &verdict, &question);
    if (question.is_due &&
        number % 2 == 1) /* of a global one: answered for one key, lost for others */
        fg_rate_table_granted(table, key_of(number), now_ns, question.wanted, 0);
    else if (question.is_due)
        fg_rate_table_lost(table, key_of(number), now_ns);
    return allowed;
}

static void *hammer(void *arg)
{
    const uint64_t *skew_ns = arg;
    for (unsigned i = 0; i < TRIES; i++) {
        /* each thread's clock is a little off; none is later than i us and the largest skew */
        if (take(1, (uint64_t)i * 1000 + *skew_ns, 1))
            fg_counter_add(&passed, 1);
    }
    return NULL;
}

static void hammer_from_threads(enum fg_limit_algorithm algorithm)
{
    static const uint64_t skews_ns[THREADS] = {0, 700, 100000, 999};
    const struct fg_rate_limit_conf conf = conf_of(algorithm, 1000, 50);
    pthread_t threads[THREADS];
    table = fg_rate_table_create(&conf);
    assert_non_null(table);
    fg_counter_set(&passed, 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)&skews_ns[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* 20.1 ms at 1000/s, and the burst; at least what one thread alone would have got */
    assert_true(fg_counter_get(&passed) <= 50 + 20);
    assert_true(fg_counter_get(&passed) >= 50);
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_int_equal(stats.allowed_total, fg_counter_get(&passed));
    assert_int_equal(stats.allowed_total + stats.refused_total, THREADS * TRIES);
    assert_int_equal(stats.entries, 1);
    fg_rate_table_destroy(table);
}

static void is_exact_over_threads(void **state)
{
    (void)state;
    hammer_from_threads(FG_LIMIT_TOKEN_BUCKET);
    hammer_from_threads(FG_LIMIT_GCRA);
}

/* Takes ten, uses more or less, and says so: what was used stays within what may be owed. */
static void *use_and_settle(void *arg)
{
    uint64_t number = *(const uint64_t *)arg;
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t now_ns = (uint64_t)i * 1000;
        uint64_t used = (i * 7 + number) % 20;
        if (!take(1, now_ns, 10))
            continue;
        fg_rate_table_settle(table, key_of(1), now_ns, 10, used);
        fg_counter_add(&passed, used);
    }
    return NULL;
}

static void settles_exactly_over_threads(void **state)
{
    (void)state;
    static const uint64_t numbers[THREADS] = {0, 1, 2, 3};
    const struct fg_rate_limit_conf conf = conf_of(FG_LIMIT_TOKEN_BUCKET, 100000, 200);
    pthread_t threads[THREADS];
    table = fg_rate_table_create(&conf);
    fg_counter_set(&passed, 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_and_settle, (void *)&numbers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* 20 ms at 100000/s, the burst, and what each thread may owe at its last one */
    assert_true(fg_counter_get(&passed) <= 2000 + 200 + THREADS * 10);
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_true(stats.given_back_total > 0 && stats.owed_total > 0);
    fg_rate_table_destroy(table);
}

static void *hammer_leases(void *arg)
{
    uint64_t number = *(const uint64_t *)arg;
    for (unsigned i = 0; i < TRIES; i++) {
        if (take(2, (uint64_t)i * 1000, 1)) /* nobody answers: the share alone */
            fg_counter_add(&passed, 1);
        (void)take(10 + i % 50 * 2 + number % 2, (uint64_t)i * 1000, 1);
    }
    return NULL;
}

static void a_share_is_exact_over_threads(void **state)
{
    (void)state;
    static const uint64_t numbers[THREADS] = {0, 1, 2, 3};
    struct fg_rate_limit_conf conf = conf_of(FG_LIMIT_GCRA, 1000, 50);
    pthread_t threads[THREADS];
    conf.scope = FG_LIMIT_GLOBAL;
    conf.lease = 20;
    conf.local_share_permille = 500;
    table = fg_rate_table_create(&conf);
    fg_counter_set(&passed, 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer_leases, (void *)&numbers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(fg_counter_get(&passed), 20, 20 + 10); /* 20 ms at half of 1000/s */
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_true(stats.leased_total > 0 && stats.lost_total > 0);
    assert_int_equal(stats.entries, 101);
    fg_rate_table_destroy(table);
}

static void says_whether_the_last_question_was_answered(void **state)
{
    (void)state;
    struct fg_rate_limit_conf conf = conf_of(FG_LIMIT_GCRA, 1000, 50);
    conf.scope = FG_LIMIT_GLOBAL;
    conf.lease = 20;
    conf.local_share_permille = 500;
    table = fg_rate_table_create(&conf);
    assert_false(fg_rate_table_stats(table).is_by_share);
    for (uint64_t key = 0; key < 100; key++) { /* of all shards; even keys get no answer */
        assert_true(take(key * 2, key, 1));
        assert_true(take(key * 2, key, 1));
    }
    assert_true(fg_rate_table_stats(table).is_by_share);
    assert_true(take(1, 200, 1));
    assert_true(take(1, 200, 1));
    assert_false(fg_rate_table_stats(table).is_by_share); /* whatever the shard of that key */
    fg_rate_table_destroy(table);
}

static void knows_what_is_leased_and_not_spent(void **state)
{
    (void)state;
    struct fg_rate_limit_conf conf = conf_of(FG_LIMIT_GCRA, 1000, 50);
    struct fg_limit_verdict verdict;
    struct fg_lease_question question;
    conf.scope = FG_LIMIT_GLOBAL;
    conf.lease = 20;
    conf.local_share_permille = 500;
    conf.keys_max = 64;
    table = fg_rate_table_create(&conf);
    assert_true(take(1, 0, 1));
    assert_true(take(1, 0, 1)); /* in advance, and the answer leases some */
    uint64_t held = fg_rate_table_stats(table).held;
    assert_true(held > 0 && held <= 20);
    assert_true(fg_rate_table_try_take(table, key_of(1), 1, 1, &verdict, &question));
    if (question.is_due)
        fg_rate_table_lost(table, key_of(1), 1);
    assert_int_equal(fg_rate_table_stats(table).held, held - 1);
    fg_rate_table_settle(table, key_of(1), 2, 1, 0); /* it was not used after all */
    assert_int_equal(fg_rate_table_stats(table).held, held);
    for (uint64_t key = 3; key < 4003; key++) /* those that have to go lose what they had */
        (void)(take(key, key, 1) && take(key, key, 1));
    struct fg_rate_table_stats stats = fg_rate_table_stats(table);
    assert_true(stats.evictions > 0 && stats.held > 0 && stats.held <= stats.entries * 20);
    fg_rate_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_exact_over_threads),
        cmocka_unit_test(settles_exactly_over_threads),
        cmocka_unit_test(a_share_is_exact_over_threads),
        cmocka_unit_test(says_whether_the_last_question_was_answered),
        cmocka_unit_test(knows_what_is_leased_and_not_spent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
