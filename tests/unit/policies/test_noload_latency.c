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

static void goes_down_at_once(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    assert_true(is_near(learn(&noload, 10, 40), 40));
    assert_true(is_near(learn(&noload, 10, 20), 30));
    assert_true(is_near(learn(&noload, 10, 20), 25));
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

static void latency_that_does_not_follow_two_cuts_is_the_backend(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 8, 20);
    (void)learn(&noload, 8, 60);
    assert_true(is_near(learn(&noload, 5, 60), 20));
    assert_true(is_near(learn(&noload, 3, 60), 60));
}

static void slow_cuts_add_up(void **state)
{
    (void)state;
    struct fg_noload_latency noload;
    fg_noload_latency_init(&noload);
    (void)learn(&noload, 100, 20);
    (void)learn(&noload, 100, 60);
    double estimate = 20;
    for (double n = 100; n > 50; n *= 0.96)
        estimate = learn(&noload, n, 60);
    assert_true(is_near(estimate, 60));
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
        cmocka_unit_test(goes_down_at_once),
        cmocka_unit_test(a_queue_does_not_raise_it),
        cmocka_unit_test(latency_that_does_not_follow_two_cuts_is_the_backend),
        cmocka_unit_test(slow_cuts_add_up),
        cmocka_unit_test(alone_nothing_can_wait),
        cmocka_unit_test(an_unloaded_backend_drifts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
