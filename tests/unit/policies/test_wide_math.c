/*
 * test_wide_math.c: sums and products at the ends of 64 bits.
 */
#include "policies/wide_math.h"
#include "policy_test.h"

static void saturates_and_never_wraps(void **state)
{
    (void)state;
    assert_true(fg_add_saturating(UINT64_MAX, 1) == UINT64_MAX);
    assert_true(fg_add_saturating(UINT64_MAX - 1, 1) == UINT64_MAX);
    assert_true(fg_add_saturating(2, 3) == 5);
    assert_true(fg_subtract_floor(2, 3) == 0);
    assert_true(fg_subtract_floor(3, 2) == 1);
    assert_true(fg_multiply_divide(UINT64_MAX, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(fg_multiply_divide(UINT64_MAX, 2, 1) == UINT64_MAX);
    assert_true(fg_multiply_divide(UINT64_MAX, 3, 6) == UINT64_MAX / 2);
    assert_true(fg_multiply_divide(7, 10, 3) == 23);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(saturates_and_never_wraps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
