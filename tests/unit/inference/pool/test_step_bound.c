/*
 * test_step_bound.c: what a step of a size may take, from those that were seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/scheduler/step_bound.h"

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct fg_step_bound bound = {0};
    assert_int_equal(fg_step_bound_expect(&bound, 1, 1), 0);
    fg_step_bound_learn(&bound, 1, 100, 5000);
    assert_int_equal(fg_step_bound_expect(&bound, 1, 128), 5000);
}

static void a_larger_step_than_any_is_judged_by_smaller_ones(void **state)
{
    (void)state;
    struct fg_step_bound bound = {0};
    fg_step_bound_learn(&bound, 1, 100, 5000);
    assert_int_equal(fg_step_bound_expect(&bound, 2, 100), 10000); /* more tokens */
    assert_int_equal(fg_step_bound_expect(&bound, 1, 129), 10000); /* longer ones */
    assert_int_equal(fg_step_bound_expect(&bound, 16, 1000), 5000 * 16 * 8);
    fg_step_bound_learn(&bound, 8, 60, 12000); /* nearer, in one of the two */
    assert_int_equal(fg_step_bound_expect(&bound, 16, 1000), 12000 * 2 * 16);
    assert_in_range(fg_step_bound_expect(&bound, UINT64_MAX, UINT64_MAX), UINT64_C(1) << 50,
                    UINT64_C(1) << 61);
}

static void a_larger_step_bounds_a_smaller_one(void **state)
{
    (void)state;
    struct fg_step_bound bound = {0};
    fg_step_bound_learn(&bound, 64, 1000, 90000);
    fg_step_bound_learn(&bound, 8, 500, 20000);
    assert_int_equal(fg_step_bound_expect(&bound, 4, 100), 20000);
    assert_int_equal(fg_step_bound_expect(&bound, 16, 100), 90000);
    assert_int_equal(fg_step_bound_expect(&bound, 4, 513), 90000);
    fg_step_bound_learn(&bound, 4, 100, 7000); /* its own is better */
    assert_int_equal(fg_step_bound_expect(&bound, 3, 100), 7000);
}

static void a_maximum_is_forgotten_slowly(void **state)
{
    (void)state;
    struct fg_step_bound bound = {0};
    fg_step_bound_learn(&bound, 1, 1, 1000);
    fg_step_bound_learn(&bound, 1, 1, 16000);
    assert_int_equal(fg_step_bound_expect(&bound, 1, 1), 16000);
    fg_step_bound_learn(&bound, 1, 1, 1000);
    assert_in_range(fg_step_bound_expect(&bound, 1, 1), 15000, 15100);
    for (int i = 0; i < 200; i++)
        fg_step_bound_learn(&bound, 1, 1, 1000);
    assert_in_range(fg_step_bound_expect(&bound, 1, 1), 1000, 1010);
}

static void extremes_have_a_place(void **state)
{
    (void)state;
    struct fg_step_bound bound = {0};
    fg_step_bound_learn(&bound, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(fg_step_bound_expect(&bound, UINT64_MAX, UINT64_MAX), 1);
    fg_step_bound_learn(&bound, 0, 0, UINT64_MAX);
    assert_true(fg_step_bound_expect(&bound, 0, 0) == UINT64_C(1) << 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(a_larger_step_than_any_is_judged_by_smaller_ones),
        cmocka_unit_test(a_larger_step_bounds_a_smaller_one),
        cmocka_unit_test(a_maximum_is_forgotten_slowly),
        cmocka_unit_test(extremes_have_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
