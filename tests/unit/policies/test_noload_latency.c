/*
 * test_noload_latency.c: telling a queue from a slow backend by what other numbers in flight do to
 * latency.
 */
#include "policies/noload_latency.h"
#include "policy_test.h"

static double learn_uneven(struct fg_noload_latency *noload, double in_flight, double latency_ms,
                           double error)
{
    struct fg_latency_window window = {.in_flight = in_flight,
                                       .latency_ns = latency_ms * 1e6,
                                       .error = error,
                                       .has_demand = true,
                                       .was_full = true};
    return fg_noload_latency_learn(noload, &window) / 1e6;
}

static double learn(struct fg_noload_latency *noload, double in_flight, double latency_ms)
{
    return learn_uneven(noload, in_flight, latency_ms, 0);
}

static double learn_idle(struct fg_noload_latency *noload, double in_flight, double latency_ms)
{
    struct fg_latency_window window = {.in_flight = in_flight, .latency_ns = latency_ms * 1e6};
    return fg_noload_latency_learn(noload, &window) / 1e6;
}

/* 8 slots of 20 ms. */
static double law(double in_flight)
{
    return in_flight > 8 ? 20 * in_flight / 8 : 20;
}

static bool is_near(double value, double wanted)
{
    return value > wanted * 0.97 && value < wanted * 1.03;
}

static void one_window_is_a_bound(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    assert_true(is_near(learn(&noload, 10, 40), 40));
    assert_true(noload.is_bound); /* there may have been a queue */
    assert_false(noload.has_waited);
}

static void growth_without_more_latency_proves_it(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 4, 20);
    assert_true(is_near(learn(&noload, 6, 20), 20));
    assert_false(noload.is_bound);
    assert_false(noload.has_waited);
}

static void slots_and_latency_are_found_together(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    for (double n = 2; n <= 32; n *= 2)
        (void)learn(&noload, n, law(n));
    assert_true(is_near(noload.latency_ns / 1e6, 20));
    assert_true(noload.slots > 7.4 && noload.slots < 8.6);
    assert_true(noload.has_waited);
    (void)learn(&noload, 4, 20);
    assert_false(noload.has_waited); /* not at 4 */
}

static void latency_that_follows_all_the_way_is_a_bound(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    for (double n = 64; n >= 12; n *= 0.7)
        (void)learn(&noload, n, law(n));
    assert_true(noload.is_bound);
    assert_true(noload.latency_ns < 40e6);
    (void)learn(&noload, 32, law(32));
    assert_true(noload.is_bound);
    assert_true(noload.has_waited);
    assert_true(is_near(learn(&noload, 1, 20), 20)); /* alone: that is it */
    assert_false(noload.is_bound);
}

static void two_uneven_windows_that_may_be_equal_prove_nothing(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn_uneven(&noload, 4, 20, 0.3);
    (void)learn_uneven(&noload, 6, 22, 0.3);
    assert_true(noload.is_bound);
    (void)learn_uneven(&noload, 24, 24, 0.3); /* sixfold: it does */
    assert_false(noload.is_bound);
}

/* The first window is the luckiest of its kind: the others outweigh it. */
static void one_lucky_window_is_outweighed(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn_uneven(&noload, 4, 10, 0.25);
    (void)learn_uneven(&noload, 8, 21, 0.15);
    (void)learn_uneven(&noload, 16, 19, 0.1);
    (void)learn_uneven(&noload, 32, 20, 0.08);
    assert_true(noload.latency_ns > 17e6);
    assert_false(noload.is_bound);
    assert_false(noload.has_waited);
}

static void what_is_far_is_believed_the_second_time(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct fg_noload_latency noload;
        fg_noload_latency_init(&noload);
        for (double n = 4; n <= 16; n *= 2)
            (void)learn(&noload, n, law(n));
        double other = way == 0 ? 80 : 8;
        assert_true(is_near(learn(&noload, 8, other), 20));
        assert_false(noload.has_news);
        assert_true(is_near(learn(&noload, 8, other), other));
        assert_true(noload.has_news);
    }
}

static void what_is_far_once_is_luck(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 8, 20);
    for (int i = 0; i < 100; i++) {
        (void)learn(&noload, 8, 70);
        assert_true(is_near(learn(&noload, 8, 20), 20));
        assert_false(noload.has_news);
    }
}

static void windows_at_the_same_n_are_taken_together(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    struct fg_latency_window window = {
        .in_flight = 10, .error = 0.1, .has_demand = true, .was_full = true};
    const double latencies_ms[] = {20, 22, 19, 21, 20};
    for (size_t i = 0; i < 5; i++) {
        window.latency_ns = latencies_ms[i] * 1e6;
        (void)fg_noload_latency_learn(&noload, &window);
    }
    const struct fg_latency_window *here = fg_noload_latency_here(&noload, &window);
    assert_true(here->latency_ns > 20e6 && here->latency_ns < 21e6);
    assert_true(here->error < 0.055); /* of five */
    window.was_full = false;          /* n does not follow the limit */
    assert_ptr_equal(fg_noload_latency_here(&noload, &window), &window);
}

static void an_unloaded_backend_drifts(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    assert_true(is_near(learn_idle(&noload, 5, 20), 20));
    assert_false(noload.is_bound);
    for (int i = 0; i < 100; i++)
        (void)learn_idle(&noload, 5, 24);
    assert_true(is_near(noload.latency_ns / 1e6, 24));
    for (int i = 0; i < 2; i++)
        (void)learn_idle(&noload, 5, 100);
    assert_true(is_near(noload.latency_ns / 1e6, 100));
    for (int i = 0; i < 100; i++)
        assert_true(learn_idle(&noload, 5, 0.000001) > 0);
}

/* What was learned idle is the yardstick of the first window in which somebody waited. */
static void a_flood_after_a_quiet_time_is_known_at_once(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    for (int i = 0; i < 10; i++)
        (void)learn_idle(&noload, 3, 20);
    (void)learn(&noload, 32, law(32));
    assert_true(is_near(noload.latency_ns / 1e6, 20));
    assert_true(noload.has_waited);
    assert_true(noload.slots > 7 && noload.slots < 9);
}

static void extremes_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = test_seed(5);
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    for (int i = 0; i < 20000; i++) {
        struct fg_latency_window window = {
            .in_flight = (double)test_below(&seed, 3) * 1e9,
            .latency_ns = 1 + (double)test_random(&seed),
            .error = (double)test_below(&seed, 3) * 100,
            .has_demand = test_below(&seed, 2) == 1,
            .was_full = test_below(&seed, 2) == 1,
        };
        double latency_ns = fg_noload_latency_learn(&noload, &window);
        assert_true(latency_ns >= 1000 && latency_ns < 1e21);
        assert_true(noload.error >= 0 && noload.slots >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_window_is_a_bound),
        cmocka_unit_test(growth_without_more_latency_proves_it),
        cmocka_unit_test(slots_and_latency_are_found_together),
        cmocka_unit_test(latency_that_follows_all_the_way_is_a_bound),
        cmocka_unit_test(two_uneven_windows_that_may_be_equal_prove_nothing),
        cmocka_unit_test(one_lucky_window_is_outweighed),
        cmocka_unit_test(what_is_far_is_believed_the_second_time),
        cmocka_unit_test(what_is_far_once_is_luck),
        cmocka_unit_test(windows_at_the_same_n_are_taken_together),
        cmocka_unit_test(an_unloaded_backend_drifts),
        cmocka_unit_test(a_flood_after_a_quiet_time_is_known_at_once),
        cmocka_unit_test(extremes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
