/*
 * test_cache_budget.c: a cache gives back memory while it is short, and gets it back slowly.
 */
#include "policies/cache/cache_budget.h"
#include "policy_test.h"

static void falls_from_what_is_held_and_keeps_a_sixteenth(void **state)
{
    (void)state;
    struct fg_cache_budget budget;
    fg_cache_budget_init(&budget, 0);
    assert_false(fg_cache_budget_step(&budget, S - 1, true, 1000));
    assert_true(fg_cache_budget_step(&budget, S, true, 500));
    assert_int_equal(budget.permille, 450);
    assert_false(fg_cache_budget_step(&budget, S, true, 450)); /* once a second */
    assert_false(fg_cache_budget_step(&budget, S / 2, true, 450));
    uint64_t now_ns = S;
    for (unsigned i = 0; i < 60; i++)
        (void)fg_cache_budget_step(&budget, now_ns += S, true, budget.permille);
    assert_int_equal(budget.permille, FG_CACHE_BUDGET_LEAST);
    assert_false(fg_cache_budget_step(&budget, now_ns + S, true, 0));
    assert_int_equal(budget.permille, FG_CACHE_BUDGET_LEAST);
}

static void rises_slowly_and_to_the_whole(void **state)
{
    (void)state;
    struct fg_cache_budget budget;
    fg_cache_budget_init(&budget, 0);
    assert_false(fg_cache_budget_step(&budget, S, false, 1000));
    assert_true(fg_cache_budget_step(&budget, 2 * S, true, 1000));
    assert_int_equal(budget.permille, 900);
    for (uint64_t i = 1; i <= 100; i++)
        assert_true(fg_cache_budget_step(&budget, (2 + i) * S, false, 0));
    assert_int_equal(budget.permille, FG_CACHE_BUDGET_ALL);
    assert_false(fg_cache_budget_step(&budget, 1000000 * S, false, 0));
    assert_int_equal(budget.permille, FG_CACHE_BUDGET_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(falls_from_what_is_held_and_keeps_a_sixteenth),
        cmocka_unit_test(rises_slowly_and_to_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
