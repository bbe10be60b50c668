/*
 * test_retry_budget.c: the share, the minimum, and nothing while shedding.
 */
#include "policies/retry_budget.h"
#include "policy_test.h"

static void allows_a_share_and_at_least_the_minimum(void **state)
{
    (void)state;
    struct fg_retry_budget rb;
    fg_retry_budget_init(&rb, 200, 3);
    assert_int_equal(fg_retry_budget_limit(&rb, 0, false), 3);
    assert_int_equal(fg_retry_budget_limit(&rb, 19, false), 3);
    assert_int_equal(fg_retry_budget_limit(&rb, 20, false), 4);
    for (int i = 0; i < 4; i++)
        assert_true(fg_retry_budget_try_acquire(&rb, 20, false));
    assert_false(fg_retry_budget_try_acquire(&rb, 20, false));
    assert_true(fg_retry_budget_try_acquire(&rb, 25, false));
    fg_retry_budget_release(&rb);
    fg_retry_budget_release(&rb);
    assert_false(fg_retry_budget_try_acquire(&rb, 15, false)); /* traffic fell: 3 still out */
    assert_int_equal(rb.granted_total, 5);
    assert_int_equal(rb.refused_total, 2);
}

static void forbids_retries_while_shedding(void **state)
{
    (void)state;
    struct fg_retry_budget rb;
    fg_retry_budget_init(&rb, 1000, UINT32_MAX);
    assert_false(fg_retry_budget_try_acquire(&rb, UINT64_MAX, true));
    assert_true(fg_retry_budget_try_acquire(&rb, 0, false));
    assert_int_equal(fg_retry_budget_limit(&rb, 5, true), 0);
}

static void what_was_refused_a_moment_ago_is_shedding(void **state)
{
    (void)state;
    assert_false(fg_retry_budget_is_shedding(0, 0));
    assert_true(fg_retry_budget_is_shedding(5 * S, 6 * S - 1));
    assert_false(fg_retry_budget_is_shedding(5 * S, 6 * S));
    assert_true(fg_retry_budget_is_shedding(5 * S, 4 * S)); /* the clock went back */
    assert_false(fg_retry_budget_is_shedding(1, UINT64_MAX));
}

static void extremes_do_not_overflow(void **state)
{
    (void)state;
    struct fg_retry_budget rb;
    fg_retry_budget_init(&rb, 1000, 0);
    assert_true(fg_retry_budget_limit(&rb, UINT64_MAX, false) == UINT64_MAX);
    assert_false(fg_retry_budget_try_acquire(&rb, 0, false));
    rb.in_flight = UINT32_MAX;
    assert_false(fg_retry_budget_try_acquire(&rb, UINT64_MAX, false));
    fg_retry_budget_init(&rb, 0, 0);
    assert_false(fg_retry_budget_try_acquire(&rb, UINT64_MAX, false));
}

static void never_exceeds_the_budget(void **state)
{
    (void)state;
    uint64_t seed = test_seed(10);
    struct fg_retry_budget rb;
    fg_retry_budget_init(&rb, 150, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t active = test_below(&seed, 200);
        if (test_below(&seed, 2) == 0) {
            uint64_t before = rb.in_flight;
            uint64_t limit = active * 15 / 100 > 2 ? active * 15 / 100 : 2;
            assert_int_equal(fg_retry_budget_try_acquire(&rb, active, false), before < limit);
        } else if (rb.in_flight > 0) {
            fg_retry_budget_release(&rb);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allows_a_share_and_at_least_the_minimum),
        cmocka_unit_test(forbids_retries_while_shedding),
        cmocka_unit_test(what_was_refused_a_moment_ago_is_shedding),
        cmocka_unit_test(extremes_do_not_overflow),
        cmocka_unit_test(never_exceeds_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
