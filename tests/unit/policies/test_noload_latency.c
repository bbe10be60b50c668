/*
 * test_noload_latency.c: telling a queue from a slow backend by what cuts do to latency.
 */
#include "policies/noload_latency.h"
#include "policy_test.h"

static double learn(struct fg_noload_latency *noload, double in_flight, double latency_ms)
{
    struct fg_latency_window window = {.in_flight = in_flight,
                                       .latency_ns = latency_ms * 1e6,
                                       .has_demand = true,
                                       .was_full = true};
    return fg_noload_latency_learn(noload, &window) / 1e6;
}

static bool is_near(double value, double wanted)
{
    return value > wanted * 0.999 && value < wanted * 1.001;
}

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

static void a_faster_window_lowers_it_by_what_is_not_luck(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    assert_true(is_near(learn(&noload, 10, 40), 40));
    assert_true(noload.is_bound); /* there may have been a queue */
    assert_true(is_near(learn(&noload, 10, 20), 20));
    assert_true(noload.has_news);
    assert_true(is_near(learn_uneven(&noload, 10, 18, 0.1), 20));
    assert_true(is_near(learn_uneven(&noload, 10, 10, 0.1), 12));
}

static void a_queue_does_not_raise_it(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 8, 20);
    (void)learn(&noload, 80, 200);
    for (double n = 80; n > 8; n *= 0.7) /* latency follows each cut */
        assert_true(is_near(learn(&noload, n, 200 * n / 80), 20));
}

static void latency_that_does_not_follow_a_cut_is_the_backend(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 8, 20);
    (void)learn(&noload, 8, 60);
    assert_true(noload.has_news);
    assert_true(is_near(learn(&noload, 5, 60), 60));
    assert_false(noload.is_bound);
}

static void growth_without_more_latency_proves_it_too(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 4, 20);
    assert_true(noload.is_bound);
    assert_true(is_near(learn(&noload, 6, 20), 20));
    assert_false(noload.is_bound);
}

static void latency_that_follows_a_cut_is_a_bound_that_may_be_lower(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 12, 120);
    assert_true(is_near(learn(&noload, 6, 60), 60));
    assert_true(noload.is_bound);
    assert_true(is_near(learn(&noload, 3, 30), 30));
    assert_true(is_near(learn(&noload, 1, 20), 20)); /* alone: that is it */
    assert_false(noload.is_bound);
}

/* Two uneven windows that may as well be equal prove neither a queue nor its absence. */
static void what_may_be_chance_proves_nothing(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn_uneven(&noload, 4, 20, 0.15);
    (void)learn_uneven(&noload, 6, 22, 0.15);
    assert_true(noload.is_bound);
    assert_true(is_near(noload.latency_ns / 1e6, 20));
    (void)learn_uneven(&noload, 14, 22, 0.15); /* more than threefold: it does */
    assert_false(noload.is_bound);
}

static void what_agrees_is_averaged(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn_uneven(&noload, 1, 20, 0.1);
    double estimate = learn_uneven(&noload, 1, 22, 0.1);
    assert_true(estimate > 20.9 && estimate < 21.1);
    assert_true(noload.error < 0.075);
    assert_true(is_near(learn_uneven(&noload, 1, 44, 0.1), 44)); /* and what does not, replaces */
}

static void slow_cuts_add_up(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 100, 20);
    (void)learn(&noload, 100, 60);
    double estimate = 20;
    for (double n = 100; n > 50; n *= 0.92)
        estimate = learn(&noload, n, 60);
    assert_true(is_near(estimate, 60));
}

static void windows_at_the_same_n_are_taken_together(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn_uneven(&noload, 10, 20, 0.1);
    for (int i = 0; i < 3; i++)
        (void)learn_uneven(&noload, 10, i % 2 == 0 ? 22 : 18, 0.1);
    struct fg_latency_window window = {
        .in_flight = 10.5, .latency_ns = 20e6, .error = 0.1, .was_full = true};
    (void)fg_noload_latency_learn(&noload, &window);
    const struct fg_latency_window *here = fg_noload_latency_here(&noload, &window);
    assert_true(here->latency_ns > 20.3e6 && here->latency_ns < 20.5e6);
    assert_true(here->error < 0.046); /* of five */
    window.in_flight = 20;
    (void)fg_noload_latency_learn(&noload, &window);
    assert_true(is_near(fg_noload_latency_here(&noload, &window)->latency_ns, 20e6));
    window.was_full = false; /* n does not follow the limit */
    assert_ptr_equal(fg_noload_latency_here(&noload, &window), &window);
}

static void alone_nothing_can_wait(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 1, 20);
    for (int i = 0; i < 20; i++)
        (void)learn(&noload, 1, 80);
    assert_true(is_near(noload.latency_ns / 1e6, 80));
}

static void an_unloaded_backend_drifts(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    struct fg_latency_window window = {.in_flight = 5, .latency_ns = 20e6};
    (void)fg_noload_latency_learn(&noload, &window);
    window.latency_ns = 30e6;
    for (int i = 0; i < 500; i++)
        (void)fg_noload_latency_learn(&noload, &window);
    assert_true(noload.latency_ns > 29e6);
    window.latency_ns = 0;
    for (int i = 0; i < 100; i++)
        assert_true(fg_noload_latency_learn(&noload, &window) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_faster_window_lowers_it_by_what_is_not_luck),
        cmocka_unit_test(a_queue_does_not_raise_it),
        cmocka_unit_test(latency_that_does_not_follow_a_cut_is_the_backend),
        cmocka_unit_test(growth_without_more_latency_proves_it_too),
        cmocka_unit_test(latency_that_follows_a_cut_is_a_bound_that_may_be_lower),
        cmocka_unit_test(what_may_be_chance_proves_nothing),
        cmocka_unit_test(what_agrees_is_averaged),
        cmocka_unit_test(slow_cuts_add_up),
        cmocka_unit_test(windows_at_the_same_n_are_taken_together),
        cmocka_unit_test(alone_nothing_can_wait),
        cmocka_unit_test(an_unloaded_backend_drifts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
