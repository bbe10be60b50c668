/*
 * test_inference_metrics_shared.c: the rate over whole seconds, with time moved by hand; the list.
 */
#include "inference/api/inference_metrics_shared.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void tokens_at(struct fg_inference_metrics *metrics, uint64_t second, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fg_inference_metrics_token(metrics, second * FG_S + i);
}

static void rate_counts_whole_seconds(void **state)
{
    (void)state;
    struct fg_inference_metrics_list list = {NULL};
    struct fg_inference_metrics *metrics = fg_inference_metrics_add(&list);
    assert_non_null(metrics);
    assert_int_equal(fg_inference_metrics_recent(metrics, 0), 0);
    tokens_at(metrics, 100, 5);
    assert_int_equal(fg_inference_metrics_recent(metrics, 100 * FG_S + 999 * FG_MS), 0);
    assert_int_equal(fg_inference_metrics_recent(metrics, 101 * FG_S), 5);
    tokens_at(metrics, 101, 7);
    assert_int_equal(fg_inference_metrics_recent(metrics, 102 * FG_S), 12);
    assert_int_equal(fg_inference_metrics_recent(metrics, 103 * FG_S), 12);
    assert_int_equal(fg_inference_metrics_recent(metrics, 104 * FG_S), 7);
    assert_int_equal(fg_inference_metrics_recent(metrics, 105 * FG_S), 0);
    tokens_at(metrics, 100 + FG_INFERENCE_RATE_SLOTS, 1); /* the slot is used again */
    assert_int_equal(fg_inference_metrics_recent(metrics, (101 + FG_INFERENCE_RATE_SLOTS) * FG_S),
                     1);
    assert_int_equal(fg_counter_get(&metrics->completion_tokens), 13);
    fg_inference_metrics_fini(&list);
}

static void rate_survives_a_jump_of_the_clock(void **state)
{
    (void)state;
    struct fg_inference_metrics_list list = {NULL};
    struct fg_inference_metrics *metrics = fg_inference_metrics_add(&list);
    tokens_at(metrics, 1000000000, 3);
    assert_int_equal(fg_inference_metrics_recent(metrics, 5 * FG_S), 0);
    tokens_at(metrics, 5, 2);
    assert_int_equal(fg_inference_metrics_recent(metrics, 6 * FG_S), 2);
    fg_inference_metrics_fini(&list);
}

static void list_holds_every_block(void **state)
{
    (void)state;
    struct fg_inference_metrics_list list = {NULL};
    assert_null(fg_inference_metrics_first(&list));
    for (unsigned i = 0; i < 3; i++)
        fg_counter_set(&fg_inference_metrics_add(&list)->started, i + 1);
    uint64_t sum = 0;
    for (struct fg_inference_metrics *at = fg_inference_metrics_first(&list); at != NULL;
         at = at->next)
        sum += fg_counter_get(&at->started);
    assert_int_equal(sum, 6);
    fg_inference_metrics_fini(&list);
    fg_inference_metrics_fini(&list); /* empty */
}

#define TOKENS_PER_LOOP 20000u

static void *run_loop(void *arg)
{
    struct fg_inference_metrics *metrics = fg_inference_metrics_add(arg);
    if (metrics == NULL)
        return NULL;
    for (unsigned i = 0; i < TOKENS_PER_LOOP; i++) {
        fg_inference_metrics_token(metrics, i);
        fg_histogram_record(&metrics->tpot, i);
    }
    return metrics;
}

static uint64_t tokens_in(struct fg_inference_metrics_list *list)
{
    uint64_t tokens = 0;
    for (struct fg_inference_metrics *at = fg_inference_metrics_first(list); at != NULL;
         at = at->next)
        tokens += fg_counter_get(&at->completion_tokens);
    return tokens;
}

/* Loops join and count while somebody reads; the reader never sees a sum go back. */
static void loops_count_while_others_read(void **state)
{
    (void)state;
    enum { LOOPS = 4 };
    struct fg_inference_metrics_list list = {NULL};
    pthread_t threads[LOOPS];
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_loop, &list), 0);
    uint64_t before = 0;
    while (before < LOOPS * TOKENS_PER_LOOP) {
        uint64_t now = tokens_in(&list);
        assert_true(now >= before);
        before = now;
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        void *metrics;
        assert_int_equal(pthread_join(threads[i], &metrics), 0);
        assert_non_null(metrics);
    }
    fg_inference_metrics_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rate_counts_whole_seconds),
        cmocka_unit_test(rate_survives_a_jump_of_the_clock),
        cmocka_unit_test(list_holds_every_block),
        cmocka_unit_test(loops_count_while_others_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
