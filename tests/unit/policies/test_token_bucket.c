/*
 * test_token_bucket.c: exact edges, odd rates, clocks that go wrong, and the rate x time + burst
 * bound.
 */
#include "policies/token_bucket.h"
#include "policies/wide_math.h"
#include "policy_test.h"

static void refills_at_the_configured_rate(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 0);
    assert_true(fg_token_bucket_try_take(&tb, 0, 5, &wait_ns));
    assert_int_equal(wait_ns, 0);
    assert_false(fg_token_bucket_try_take(&tb, 0, 1, &wait_ns));
    assert_int_equal(wait_ns, 100 * MS);
    assert_false(fg_token_bucket_try_take(&tb, 100 * MS - 1, 1, &wait_ns));
    assert_int_equal(wait_ns, 1);
    assert_true(fg_token_bucket_try_take(&tb, 100 * MS, 1, &wait_ns));
}

static void keeps_fractional_rates_exact(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    uint64_t period_ns = 3 * 24 * FG_POLICY_HOUR + 1; /* shares no factor with 7 */
    uint64_t taken = 0;
    fg_token_bucket_init(&tb, 7, period_ns, 10, 0);
    assert_true(fg_token_bucket_try_take(&tb, 0, 10, &wait_ns));
    /* asking all the time must not round anything away */
    for (uint64_t now_ns = 0; now_ns < period_ns; now_ns += 977 * S)
        taken += fg_token_bucket_try_take(&tb, now_ns, 1, &wait_ns);
    taken += fg_token_bucket_try_take(&tb, period_ns - 1, 1, &wait_ns);
    assert_int_equal(taken, 6);
    assert_int_equal(wait_ns, 1);
    assert_true(fg_token_bucket_try_take(&tb, period_ns, 1, &wait_ns));
}

static void the_promised_wait_is_exact(void **state)
{
    (void)state;
    uint64_t seed = test_seed(11);
    for (int i = 0; i < 2000; i++) {
        struct fg_token_bucket tb;
        uint64_t wait_ns = 0;
        uint64_t burst = 1 + test_below(&seed, 100);
        uint64_t now_ns = test_below(&seed, YEAR);
        fg_token_bucket_init(&tb, 1 + test_below(&seed, 1000), 1 + test_below(&seed, 10 * S), burst,
                             now_ns);
        assert_true(fg_token_bucket_try_take(&tb, now_ns, burst, &wait_ns));
        uint64_t cost = 1 + test_below(&seed, burst);
        assert_false(fg_token_bucket_try_take(&tb, now_ns, cost, &wait_ns));
        assert_true(wait_ns > 0);
        struct fg_token_bucket early = tb;
        uint64_t more_ns = 0;
        assert_false(fg_token_bucket_try_take(&early, now_ns + wait_ns - 1, cost, &more_ns));
        assert_true(fg_token_bucket_try_take(&tb, now_ns + wait_ns, cost, &more_ns));
    }
}

static void never_is_said_when_it_is_never(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 0);
    assert_false(fg_token_bucket_try_take(&tb, 0, 6, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    assert_int_equal(fg_token_bucket_level(&tb, 0), 5);
    assert_true(fg_token_bucket_try_take(&tb, 0, 0, &wait_ns)); /* nothing costs nothing */

    fg_token_bucket_init(&tb, 0, S, 1, 0); /* no rate: the burst, once */
    assert_true(fg_token_bucket_try_take(&tb, 0, 1, &wait_ns));
    assert_false(fg_token_bucket_try_take(&tb, YEAR, 1, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    assert_true(fg_token_bucket_reset_after_ns(&tb, YEAR) == UINT64_MAX);

    fg_token_bucket_init(&tb, 10, S, 0, 0); /* no burst: nothing */
    assert_false(fg_token_bucket_try_take(&tb, YEAR, 1, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    assert_int_equal(fg_token_bucket_reset_after_ns(&tb, 0), 0);
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 100 * S);
    assert_true(fg_token_bucket_try_take(&tb, 100 * S, 5, &wait_ns));
    assert_false(fg_token_bucket_try_take(&tb, 0, 1, &wait_ns));
    assert_int_equal(wait_ns, 100 * S + 100 * MS);
    assert_false(fg_token_bucket_try_take(&tb, 100 * S, 1, &wait_ns)); /* nor twice for that time */
    assert_true(fg_token_bucket_try_take(&tb, 100 * S + 100 * MS, 1, &wait_ns));
}

static void jumps_and_extremes_do_not_overflow(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 0);
    assert_true(fg_token_bucket_try_take(&tb, 0, 5, &wait_ns));
    assert_int_equal(fg_token_bucket_level(&tb, 100 * YEAR), 5); /* years pay the burst, no more */
    assert_int_equal(fg_token_bucket_level(&tb, UINT64_MAX), 5);

    fg_token_bucket_init(&tb, UINT64_MAX, 1, UINT64_MAX, 0);
    assert_true(fg_token_bucket_try_take(&tb, 0, UINT64_MAX, &wait_ns));
    assert_false(fg_token_bucket_try_take(&tb, 0, UINT64_MAX, &wait_ns));
    assert_int_equal(wait_ns, 1);
    assert_true(fg_token_bucket_try_take(&tb, UINT64_MAX, UINT64_MAX, &wait_ns));

    fg_token_bucket_init(&tb, 1, UINT64_MAX, UINT64_MAX, 0); /* a token in 584 years */
    assert_true(fg_token_bucket_try_take(&tb, 0, UINT64_MAX, &wait_ns));
    assert_false(fg_token_bucket_try_take(&tb, 0, UINT64_MAX, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    assert_true(fg_token_bucket_try_take(&tb, UINT64_MAX, 1, &wait_ns));
}

static void reset_is_when_the_bucket_is_full(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 0);
    assert_int_equal(fg_token_bucket_reset_after_ns(&tb, 0), 0);
    assert_true(fg_token_bucket_try_take(&tb, 0, 3, &wait_ns));
    assert_int_equal(fg_token_bucket_reset_after_ns(&tb, 0), 300 * MS);
    assert_int_equal(fg_token_bucket_reset_after_ns(&tb, 50 * MS), 250 * MS);
    assert_int_equal(fg_token_bucket_level(&tb, 299 * MS), 4);
    assert_int_equal(fg_token_bucket_level(&tb, 300 * MS), 5);
}

static void never_passes_more_than_rate_times_time_plus_burst(void **state)
{
    (void)state;
    uint64_t seed = test_seed(7);
    for (int round = 0; round < 300; round++) {
        struct fg_token_bucket tb;
        uint64_t wait_ns = 0;
        uint64_t amount = 1 + test_below(&seed, 1000);
        uint64_t period_ns = 1 + test_below(&seed, 5 * S);
        uint64_t burst = 1 + test_below(&seed, 50);
        uint64_t now_ns = test_below(&seed, S);
        uint64_t start_ns = now_ns;
        uint64_t latest_ns = now_ns;
        uint64_t taken = 0;
        fg_token_bucket_init(&tb, amount, period_ns, burst, now_ns);
        for (int i = 0; i < 300; i++) {
            uint64_t step_ns = test_below(&seed, 1 + period_ns / 2);
            bool goes_back = test_below(&seed, 10) == 0;
            now_ns = goes_back ? now_ns - (step_ns > now_ns ? now_ns : step_ns) : now_ns + step_ns;
            latest_ns = now_ns > latest_ns ? now_ns : latest_ns;
            uint64_t cost = 1 + test_below(&seed, 5);
            if (fg_token_bucket_try_take(&tb, now_ns, cost, &wait_ns))
                taken += cost;
            fg_wide bound = (fg_wide)(latest_ns - start_ns) * amount / period_ns + burst;
            assert_true(taken <= bound);
        }
    }
}

static void what_is_owed_is_paid_before_anything_passes(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    uint64_t wait_ns = 0;
    fg_token_bucket_init(&tb, 10, S, 5, 0);
    fg_token_bucket_charge(&tb, 0, 3);
    assert_int_equal(fg_token_bucket_level(&tb, 0), 2);
    fg_token_bucket_charge(&tb, 0, 4); /* two more than there are */
    assert_int_equal(fg_token_bucket_level(&tb, 0), 0);
    assert_false(fg_token_bucket_try_take(&tb, 0, 1, &wait_ns));
    assert_int_equal(wait_ns, 300 * MS);
    assert_int_equal(fg_token_bucket_reset_after_ns(&tb, 0), 700 * MS);
    fg_token_bucket_give_back(&tb, 0, 1);
    assert_false(fg_token_bucket_try_take(&tb, 199 * MS, 1, &wait_ns));
    assert_true(fg_token_bucket_try_take(&tb, 200 * MS, 1, &wait_ns));
    fg_token_bucket_give_back(&tb, 200 * MS, 1000); /* never above the burst */
    assert_int_equal(fg_token_bucket_level(&tb, 200 * MS), 5);
}

static void without_a_rate_nothing_is_owed(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    fg_token_bucket_init(&tb, 0, S, 5, 0);
    fg_token_bucket_charge(&tb, 0, 50);
    assert_int_equal(fg_token_bucket_level(&tb, YEAR), 0);
    fg_token_bucket_give_back(&tb, YEAR, 2);
    assert_int_equal(fg_token_bucket_level(&tb, YEAR), 2);
}

/* What passes, settled afterwards up or down, keeps to rate x time + burst and what was owed. */
static void settled_costs_keep_to_the_rate(void **state)
{
    (void)state;
    uint64_t seed = test_seed(21);
    for (int round = 0; round < 50; round++) {
        struct fg_token_bucket tb;
        uint64_t amount = 1 + test_below(&seed, 1000), burst = 1 + test_below(&seed, 200);
        uint64_t now_ns = 0, wait_ns = 0, used = 0, owed_max = 0;
        fg_token_bucket_init(&tb, amount, S, burst, 0);
        for (int i = 0; i < 2000; i++) {
            uint64_t reserved = 1 + test_below(&seed, burst), actual = test_below(&seed, 2 * burst);
            now_ns += test_below(&seed, 100 * MS);
            if (!fg_token_bucket_try_take(&tb, now_ns, reserved, &wait_ns))
                continue;
            used += actual;
            if (actual > reserved)
                fg_token_bucket_charge(&tb, now_ns, actual - reserved);
            else
                fg_token_bucket_give_back(&tb, now_ns, reserved - actual);
            owed_max = actual > owed_max ? actual : owed_max;
            assert_true(used <= burst + fg_multiply_divide(now_ns, amount, S) + owed_max);
        }
    }
}

static void extremes_of_settling(void **state)
{
    (void)state;
    struct fg_token_bucket tb;
    fg_token_bucket_init(&tb, 1000000000, 1000000, UINT32_MAX, YEAR); /* more than one a ns */
    fg_token_bucket_charge(&tb, YEAR, UINT64_MAX);
    assert_int_equal(fg_token_bucket_level(&tb, YEAR), 0);
    fg_token_bucket_give_back(&tb, YEAR, UINT64_MAX);
    assert_true(fg_token_bucket_level(&tb, YEAR) >= UINT32_MAX - 1000); /* but for one ns */
    fg_token_bucket_init(&tb, 1, 24 * FG_POLICY_HOUR, 1, YEAR);
    fg_token_bucket_charge(&tb, 0, UINT64_MAX); /* longer than time itself */
    assert_int_equal(fg_token_bucket_level(&tb, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refills_at_the_configured_rate),
        cmocka_unit_test(keeps_fractional_rates_exact),
        cmocka_unit_test(the_promised_wait_is_exact),
        cmocka_unit_test(never_is_said_when_it_is_never),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
        cmocka_unit_test(jumps_and_extremes_do_not_overflow),
        cmocka_unit_test(reset_is_when_the_bucket_is_full),
        cmocka_unit_test(never_passes_more_than_rate_times_time_plus_burst),
        cmocka_unit_test(what_is_owed_is_paid_before_anything_passes),
        cmocka_unit_test(without_a_rate_nothing_is_owed),
        cmocka_unit_test(settled_costs_keep_to_the_rate),
        cmocka_unit_test(extremes_of_settling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
