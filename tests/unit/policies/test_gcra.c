/*
 * test_gcra.c: exact edges, odd rates, clocks that go wrong, the rate x time + burst bound, and the
 * same decisions as a token bucket.
 */
#include "policies/gcra.h"
#include "policies/token_bucket.h"
#include "policies/wide_math.h"
#include "policy_test.h"

static void passes_at_the_configured_rate(void **state)
{
    (void)state;
    struct fg_gcra gcra;
    uint64_t wait_ns = 1;
    fg_gcra_init(&gcra, 10, S, 5, 0);
    assert_int_equal(fg_gcra_level(&gcra, 0), 5);
    assert_true(fg_gcra_try_take(&gcra, 0, 5, &wait_ns));
    assert_int_equal(wait_ns, 0);
    assert_int_equal(fg_gcra_level(&gcra, 0), 0);
    assert_int_equal(fg_gcra_reset_after_ns(&gcra, 0), 500 * MS);
    assert_false(fg_gcra_try_take(&gcra, 0, 1, &wait_ns));
    assert_int_equal(wait_ns, 100 * MS);
    assert_false(fg_gcra_try_take(&gcra, 100 * MS - 1, 1, &wait_ns));
    assert_int_equal(wait_ns, 1);
    assert_true(fg_gcra_try_take(&gcra, 100 * MS, 1, &wait_ns));
    assert_int_equal(fg_gcra_level(&gcra, 10 * S), 5);
    assert_int_equal(fg_gcra_reset_after_ns(&gcra, 10 * S), 0);
}

static void what_never_can_pass_is_told_so(void **state)
{
    (void)state;
    struct fg_gcra gcra;
    uint64_t wait_ns = 0;
    fg_gcra_init(&gcra, 10, S, 5, 0);
    assert_false(fg_gcra_try_take(&gcra, YEAR, 6, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
    fg_gcra_init(&gcra, 10, S, 0, 0);
    assert_false(fg_gcra_try_take(&gcra, YEAR, 1, &wait_ns));
    assert_true(wait_ns == UINT64_MAX);
}

static void keeps_fractional_rates_exact(void **state)
{
    (void)state;
    struct fg_gcra gcra;
    uint64_t wait_ns = 0, taken = 0;
    uint64_t period_ns = 3 * 24 * FG_POLICY_HOUR + 1; /* shares no factor with 7 */
    fg_gcra_init(&gcra, 7, period_ns, 10, 0);
    assert_true(fg_gcra_try_take(&gcra, 0, 10, &wait_ns));
    for (uint64_t now_ns = 0; now_ns < period_ns; now_ns += 977 * S)
        taken += fg_gcra_try_take(&gcra, now_ns, 1, &wait_ns);
    taken += fg_gcra_try_take(&gcra, period_ns - 1, 1, &wait_ns);
    assert_int_equal(taken, 6);
    assert_int_equal(wait_ns, 1);
    assert_true(fg_gcra_try_take(&gcra, period_ns, 1, &wait_ns));
}

static void charges_and_what_is_given_back(void **state)
{
    (void)state;
    struct fg_gcra gcra;
    uint64_t wait_ns = 0;
    fg_gcra_init(&gcra, 10, S, 5, 0);
    fg_gcra_charge(&gcra, 0, 7);
    assert_int_equal(fg_gcra_level(&gcra, 0), 0);
    assert_false(fg_gcra_try_take(&gcra, 0, 1, &wait_ns));
    assert_int_equal(wait_ns, 300 * MS);
    fg_gcra_give_back(&gcra, 0, 3);
    assert_true(fg_gcra_try_take(&gcra, 0, 1, &wait_ns));
    fg_gcra_give_back(&gcra, 0, UINT64_MAX); /* never above the burst */
    assert_int_equal(fg_gcra_level(&gcra, 0), 5);
    assert_int_equal(gcra.due_ns, 0);
}

/* Whatever the costs, times and clock errors: never more than burst + rate x time. */
static void never_passes_more_than_rate_and_burst(void **state)
{
    (void)state;
    uint64_t seed = test_seed(17);
    for (int round = 0; round < 200; round++) {
        struct fg_gcra gcra;
        uint64_t amount = 1 + test_below(&seed, 5000), period_ns = 1 + test_below(&seed, 10 * S);
        uint64_t burst = 1 + test_below(&seed, 100);
        uint64_t start_ns = test_below(&seed, YEAR), latest_ns = start_ns, passed = 0, wait_ns;
        fg_gcra_init(&gcra, amount, period_ns, burst, start_ns);
        for (int i = 0; i < 500; i++) {
            uint64_t back_ns = test_below(&seed, 4) == 0 ? test_below(&seed, S) : 0;
            latest_ns += test_below(&seed, period_ns / amount * 3 + 3);
            uint64_t now_ns = fg_subtract_floor(latest_ns, back_ns);
            uint64_t cost = test_below(&seed, burst + 1);
            if (fg_gcra_try_take(&gcra, now_ns, cost, &wait_ns))
                passed += cost;
            assert_true(passed <=
                        burst + fg_multiply_divide(latest_ns - start_ns, amount, period_ns));
        }
    }
}

static void decides_as_a_token_bucket_does(void **state)
{
    (void)state;
    uint64_t seed = test_seed(19);
    for (int round = 0; round < 200; round++) {
        struct fg_gcra gcra;
        struct fg_token_bucket tb;
        uint64_t amount = 1 + test_below(&seed, 5000), period_ns = 1 + test_below(&seed, 10 * S);
        uint64_t burst = 1 + test_below(&seed, 100), now_ns = test_below(&seed, YEAR);
        fg_gcra_init(&gcra, amount, period_ns, burst, now_ns);
        fg_token_bucket_init(&tb, amount, period_ns, burst, now_ns);
        for (int i = 0; i < 300; i++) {
            uint64_t cost = test_below(&seed, burst + 2), wait_a, wait_b;
            now_ns += test_below(&seed, period_ns / amount * 3 + 3);
            assert_int_equal(fg_gcra_try_take(&gcra, now_ns, cost, &wait_a),
                             fg_token_bucket_try_take(&tb, now_ns, cost, &wait_b));
            assert_true(wait_a == wait_b);
            assert_int_equal(fg_gcra_level(&gcra, now_ns), fg_token_bucket_level(&tb, now_ns));
        }
    }
}

static void extremes(void **state)
{
    (void)state;
    struct fg_gcra gcra;
    uint64_t wait_ns = 0;
    fg_gcra_init(&gcra, UINT64_MAX, 1, UINT32_MAX, YEAR);
    assert_true(fg_gcra_try_take(&gcra, YEAR, UINT32_MAX, &wait_ns));
    assert_true(fg_gcra_try_take(&gcra, UINT64_MAX, UINT32_MAX, &wait_ns));
    assert_int_equal(fg_gcra_level(&gcra, 0), 0); /* back to the beginning: nothing is gained */
    fg_gcra_init(&gcra, 1, 24 * FG_POLICY_HOUR, 1, YEAR);
    fg_gcra_charge(&gcra, 0, UINT64_MAX); /* longer than time itself */
    assert_int_equal(fg_gcra_level(&gcra, UINT64_MAX - 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_at_the_configured_rate),
        cmocka_unit_test(what_never_can_pass_is_told_so),
        cmocka_unit_test(keeps_fractional_rates_exact),
        cmocka_unit_test(charges_and_what_is_given_back),
        cmocka_unit_test(never_passes_more_than_rate_and_burst),
        cmocka_unit_test(decides_as_a_token_bucket_does),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
