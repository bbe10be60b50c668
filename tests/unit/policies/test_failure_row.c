/*
 * test_failure_row.c: which failures are one, to the nanosecond.
 */
#include "policies/failure_row.h"

#include "policy_test.h"

#define INSTANT FG_FAILURE_INSTANT_NS

static void joins_what_had_begun_before(void **state)
{
    (void)state;
    assert_true(fg_failure_is_same(10 * S, 10 * S, 1));     /* begun 1 ns earlier */
    assert_false(fg_failure_is_same(10 * S, 10 * S, 0));    /* begun with its end */
    assert_true(fg_failure_is_same(10 * S, 10 * S + 5, 6)); /* the same, a moment later */
    assert_false(fg_failure_is_same(10 * S, 10 * S + 5, 5));
    assert_true(fg_failure_is_same(10 * S, 10 * S + INSTANT - 1, S));
    assert_false(fg_failure_is_same(10 * S, 10 * S + INSTANT, S)); /* too late to be that one */
}

static void clocks_that_go_wrong_do_no_harm(void **state)
{
    (void)state;
    assert_false(fg_failure_is_same(10 * S, 10 * S - 1, S)); /* it went back */
    assert_false(fg_failure_is_same(10 * S, 10 * YEAR, S));
    assert_true(fg_failure_is_same(10 * S, 10 * S, UINT64_MAX)); /* begun before all time */
    assert_false(fg_failure_is_same(0, 0, UINT64_MAX));          /* but not before its begin */
    assert_false(fg_failure_is_same(0, UINT64_MAX, 0));
}

static void a_row_counts_each_instant_once(void **state)
{
    (void)state;
    struct fg_failure_row row = {.count = 0};
    fg_failure_row_note(&row, 0, S); /* the first counts whatever lies in the row's place */
    assert_int_equal(row.count, 1);
    fg_failure_row_end(&row);
    for (unsigned i = 0; i < 10; i++)
        fg_failure_row_note(&row, S + i, S);
    assert_int_equal(row.count, 1);
    assert_int_equal(row.counted_ns, S); /* the instant does not grow by those who join */
    fg_failure_row_note(&row, S + INSTANT, S);
    assert_int_equal(row.count, 2);
    fg_failure_row_end(&row);
    assert_int_equal(row.count, 0);
    row.count = UINT32_MAX;
    fg_failure_row_note(&row, 9 * S, 0);
    assert_int_equal(row.count, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_what_had_begun_before),
        cmocka_unit_test(clocks_that_go_wrong_do_no_harm),
        cmocka_unit_test(a_row_counts_each_instant_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
