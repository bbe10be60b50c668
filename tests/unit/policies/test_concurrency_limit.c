/*
 * test_concurrency_limit.c: slots, and how each mode moves the limit.
 */
#include "policies/concurrency_limit.h"
#include "policy_test.h"

/* One window of `results`, all slots in use at its start, then released at its end. */
static void run_window(struct fg_concurrency_limit *cl, uint64_t *now_ns, uint64_t latency_ns,
                       uint32_t results, uint32_t drops)
{
    uint32_t held = 0;
    while (held < results && fg_concurrency_limit_try_acquire(cl))
        held++;
    assert_true(held >= drops);
    *now_ns += cl->config.window_ns;
    for (uint32_t i = 0; i < held; i++)
        fg_concurrency_limit_release(cl, *now_ns, latency_ns,
                                     i < drops ? FG_CONCURRENCY_DROPPED : FG_CONCURRENCY_SUCCESS);
}

static void fixed_is_fixed(void **state)
{
    (void)state;
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(FG_CONCURRENCY_FIXED);
    config.limit_initial = 2;
    struct fg_concurrency_limit cl;
    fg_concurrency_limit_init(&cl, &config);
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_false(fg_concurrency_limit_try_acquire(&cl));
    fg_concurrency_limit_release(&cl, 0, YEAR, FG_CONCURRENCY_DROPPED);
    assert_int_equal(fg_concurrency_limit_current(&cl), 2);
    assert_int_equal(fg_concurrency_limit_in_flight(&cl), 1);
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_int_equal(cl.refused_total, 1);

    config.limit_initial = 0;
    fg_concurrency_limit_init(&cl, &config);
    assert_false(fg_concurrency_limit_try_acquire(&cl));
    config.limit_initial = UINT32_MAX;
    fg_concurrency_limit_init(&cl, &config);
    assert_true(fg_concurrency_limit_current(&cl) == UINT32_MAX);
}

static void gradient2_grows_by_the_formula(void **state)
{
    (void)state;
    struct fg_concurrency_config config =
        fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 1;
    fg_concurrency_limit_init(&cl, &config);
    run_window(&cl, &now_ns, 10 * MS, 20, 0); /* opens the window */
    for (int i = 0; i < 5; i++) {
        double before = cl.limit;
        run_window(&cl, &now_ns, 10 * MS, 1000, 0);
        /* flat latency: gradient 1, so a fifth of the queue size of 4 */
        assert_true(cl.limit > before + 0.799 && cl.limit < before + 0.801);
    }
    for (int i = 0; i < 2000; i++)
        run_window(&cl, &now_ns, 10 * MS, 1000, 0);
    assert_int_equal(fg_concurrency_limit_current(&cl), 200); /* limit_max */
}

static void gradient2_shrinks_when_latency_grows(void **state)
{
    (void)state;
    struct fg_concurrency_config config =
        fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    config.limit_initial = 100;
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 1;
    fg_concurrency_limit_init(&cl, &config);
    for (int i = 0; i < 20; i++)
        run_window(&cl, &now_ns, 10 * MS, 1000, 0);
    double before = cl.limit;
    run_window(&cl, &now_ns, 100 * MS, 1000, 0);
    run_window(&cl, &now_ns, 100 * MS, 1000, 0);
    assert_true(cl.limit < before * 0.95);
    for (int i = 0; i < 100; i++)
        run_window(&cl, &now_ns, 1000 * MS, 1000, 0);
    assert_true(fg_concurrency_limit_current(&cl) >= 20); /* limit_min */
}

static void gradient2_forgets_an_old_overload(void **state)
{
    (void)state;
    struct fg_concurrency_config config =
        fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 1;
    fg_concurrency_limit_init(&cl, &config);
    for (int i = 0; i < 12; i++)
        run_window(&cl, &now_ns, 500 * MS, 1000, 0);
    assert_true(cl.long_ns > 400.0 * (double)MS);
    for (int i = 0; i < 60; i++)
        run_window(&cl, &now_ns, 10 * MS, 1000, 0);
    assert_true(cl.long_ns < 30.0 * (double)MS);
}

static void gradient2_backs_off_when_one_in_ten_is_dropped(void **state)
{
    (void)state;
    struct fg_concurrency_config config =
        fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    config.limit_initial = 100;
    config.limit_min = 1;
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 1;
    fg_concurrency_limit_init(&cl, &config);
    run_window(&cl, &now_ns, MS, 100, 0);
    run_window(&cl, &now_ns, MS, 10, 10); /* its first result ends the good window */
    double before = cl.limit;
    run_window(&cl, &now_ns, MS, 10, 10);
    assert_true(cl.limit < before); /* quick refusals are not a fast backend */
}

static void aimd_adds_one_and_cuts_a_tenth(void **state)
{
    (void)state;
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(FG_CONCURRENCY_AIMD);
    config.window_samples_min = 1;
    config.window_ns = 1;
    config.limit_min = 1;
    config.limit_max = 30;
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 1;
    fg_concurrency_limit_init(&cl, &config);
    for (int i = 0; i < 50; i++)
        run_window(&cl, &now_ns, MS, 30, 0);
    assert_int_equal(fg_concurrency_limit_current(&cl), 30);
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    now_ns += 2;
    fg_concurrency_limit_release(&cl, now_ns, 0, FG_CONCURRENCY_DROPPED);
    assert_int_equal(fg_concurrency_limit_current(&cl), 27);
    for (int i = 0; i < 200; i++) { /* a time-out counts as a drop */
        assert_true(fg_concurrency_limit_try_acquire(&cl));
        now_ns += 2;
        fg_concurrency_limit_release(&cl, now_ns, 5 * S + 1, FG_CONCURRENCY_SUCCESS);
    }
    assert_int_equal(fg_concurrency_limit_current(&cl), 1);
    assert_true(fg_concurrency_limit_try_acquire(&cl)); /* one always gets through */
    now_ns += 2;
    fg_concurrency_limit_release(&cl, now_ns, 5 * S, FG_CONCURRENCY_SUCCESS); /* exactly: not */
    assert_int_equal(fg_concurrency_limit_current(&cl), 2);
}

static void an_idle_backend_proves_nothing(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_config config =
            fg_concurrency_limit_config_default((enum fg_concurrency_mode)mode);
        config.window_samples_min = 1;
        config.window_ns = 1;
        struct fg_concurrency_limit cl;
        fg_concurrency_limit_init(&cl, &config);
        for (uint64_t i = 1; i < 100; i++) { /* 9 of 20 in use: under half */
            for (int k = 0; k < 9; k++)
                assert_true(fg_concurrency_limit_try_acquire(&cl));
            for (int k = 0; k < 9; k++)
                fg_concurrency_limit_release(&cl, i * S, MS, FG_CONCURRENCY_SUCCESS);
        }
        assert_int_equal(fg_concurrency_limit_current(&cl), 20);
    }
}

static void noise_and_cancelled_calls_are_not_sampled(void **state)
{
    (void)state;
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(FG_CONCURRENCY_AIMD);
    config.window_samples_min = 1;
    config.window_ns = 1;
    struct fg_concurrency_limit cl;
    fg_concurrency_limit_init(&cl, &config);
    for (uint64_t i = 1; i < 100; i++) {
        while (fg_concurrency_limit_try_acquire(&cl))
            continue;
        while (fg_concurrency_limit_in_flight(&cl) > 0)
            fg_concurrency_limit_release(&cl, i * S, i % 2 ? 99 * FG_POLICY_US : YEAR,
                                         i % 2 ? FG_CONCURRENCY_SUCCESS : FG_CONCURRENCY_IGNORED);
    }
    assert_int_equal(fg_concurrency_limit_current(&cl), 20);
    assert_int_equal(cl.window_ends_ns, 0);
}

static void a_clock_that_goes_back_does_not_stop_it(void **state)
{
    (void)state;
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(FG_CONCURRENCY_AIMD);
    struct fg_concurrency_limit cl;
    uint64_t now_ns = 10 * YEAR;
    fg_concurrency_limit_init(&cl, &config);
    run_window(&cl, &now_ns, MS, 20, 0);
    now_ns = 5;
    for (int i = 0; i < 3; i++)
        run_window(&cl, &now_ns, MS, 100, 0);
    assert_true(fg_concurrency_limit_current(&cl) > 20);
    now_ns = UINT64_MAX - 10 * S;
    for (int i = 0; i < 3; i++)
        run_window(&cl, &now_ns, UINT64_MAX, 100, 0);
    assert_true(fg_concurrency_limit_current(&cl) >= 20);
}

static void the_limit_is_never_exceeded(void **state)
{
    (void)state;
    uint64_t seed = test_seed(9);
    for (int mode = 0; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_config config =
            fg_concurrency_limit_config_default((enum fg_concurrency_mode)mode);
        config.limit_min = 1;
        struct fg_concurrency_limit cl;
        uint64_t now_ns = 0;
        uint32_t held = 0;
        fg_concurrency_limit_init(&cl, &config);
        for (int i = 0; i < 50000; i++) {
            now_ns += test_below(&seed, 10 * MS);
            uint32_t limit = fg_concurrency_limit_current(&cl);
            if (test_below(&seed, 2)) {
                bool acquired = fg_concurrency_limit_try_acquire(&cl);
                assert_int_equal(acquired, held < limit);
                held += acquired;
            } else if (held > 0) {
                fg_concurrency_limit_release(&cl, now_ns, test_below(&seed, 6 * S),
                                             (enum fg_concurrency_outcome)test_below(&seed, 3));
                held--;
            }
            assert_int_equal(fg_concurrency_limit_in_flight(&cl), held);
            assert_true(limit >= 1 && limit <= 200);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_is_fixed),
        cmocka_unit_test(gradient2_grows_by_the_formula),
        cmocka_unit_test(gradient2_shrinks_when_latency_grows),
        cmocka_unit_test(gradient2_forgets_an_old_overload),
        cmocka_unit_test(gradient2_backs_off_when_one_in_ten_is_dropped),
        cmocka_unit_test(aimd_adds_one_and_cuts_a_tenth),
        cmocka_unit_test(an_idle_backend_proves_nothing),
        cmocka_unit_test(noise_and_cancelled_calls_are_not_sampled),
        cmocka_unit_test(a_clock_that_goes_back_does_not_stop_it),
        cmocka_unit_test(the_limit_is_never_exceeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
