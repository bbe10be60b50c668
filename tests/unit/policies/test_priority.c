/*
 * test_priority.c: classes before cohorts, cohorts that last an hour and spread evenly.
 */
#include "policies/priority.h"
#include "policy_test.h"

static const struct fg_siphash_key key = {1, 2};

static void class_decides_before_cohort(void **state)
{
    (void)state;
    assert_true(fg_priority_compound(FG_PRIORITY_CRITICAL, 127) <
                fg_priority_compound(FG_PRIORITY_HIGH, 0));
    assert_int_equal(fg_priority_compound(FG_PRIORITY_CRITICAL, 0), 0);
    assert_int_equal(fg_priority_compound(FG_PRIORITY_LOW, 127), FG_PRIORITY_COMPOUND_COUNT - 1);
    for (uint32_t i = 0; i < FG_PRIORITY_COMPOUND_COUNT; i++)
        assert_int_equal(fg_priority_class_of(i), i / 128);
    assert_string_equal(fg_priority_name(FG_PRIORITY_NORMAL), "normal");
}

static void a_cohort_lasts_exactly_its_hour(void **state)
{
    (void)state;
    uint64_t hour_ns = 500000 * FG_POLICY_HOUR;
    unsigned changed = 0;
    for (int user = 0; user < 1000; user++) {
        uint32_t first = fg_priority_cohort(&key, &user, sizeof(user), hour_ns);
        assert_true(first < FG_PRIORITY_COHORT_COUNT);
        assert_int_equal(
            fg_priority_cohort(&key, &user, sizeof(user), hour_ns + FG_POLICY_HOUR - 1), first);
        changed += fg_priority_cohort(&key, &user, sizeof(user), hour_ns + FG_POLICY_HOUR) != first;
    }
    assert_true(changed > 970); /* all but about 1 in 128 */
}

static void cohorts_are_even_and_depend_on_the_key(void **state)
{
    (void)state;
    static unsigned counts[FG_PRIORITY_COHORT_COUNT];
    struct fg_siphash_key other = {1, 3};
    unsigned same = 0;
    for (uint32_t user = 0; user < 128000; user++) {
        uint32_t cohort = fg_priority_cohort(&key, &user, sizeof(user), 0);
        counts[cohort]++;
        same += cohort == fg_priority_cohort(&other, &user, sizeof(user), 0);
    }
    for (size_t i = 0; i < FG_PRIORITY_COHORT_COUNT; i++)
        assert_in_range(counts[i], 840, 1160); /* 1000 expected, 5 standard deviations */
    assert_in_range(same, 840, 1160);
    assert_true(fg_priority_cohort(&key, NULL, 0, UINT64_MAX) < FG_PRIORITY_COHORT_COUNT);
}

static void a_wait_is_worth_classes_and_lots_but_never_critical(void **state)
{
    (void)state;
    const uint32_t low = fg_priority_compound(FG_PRIORITY_LOW, 127);
    assert_int_equal(fg_priority_aged(low, 0, 300), low);
    assert_int_equal(fg_priority_aged(low, 99, 300), low - 126);
    assert_int_equal(fg_priority_aged(low, 100, 300),
                     fg_priority_compound(FG_PRIORITY_NORMAL, 127));
    assert_int_equal(fg_priority_aged(low, 200, 300), fg_priority_compound(FG_PRIORITY_HIGH, 127));
    assert_int_equal(fg_priority_aged(low, 300, 300), fg_priority_compound(FG_PRIORITY_HIGH, 0));
    assert_int_equal(fg_priority_aged(low, UINT64_MAX, 300), FG_PRIORITY_COHORT_COUNT);
    assert_int_equal(fg_priority_aged(low, UINT64_MAX, 0), low); /* it is turned off */
    const uint32_t high = fg_priority_compound(FG_PRIORITY_HIGH, 100);
    assert_int_equal(fg_priority_aged(high, 50, 300), high - 64);
    assert_int_equal(fg_priority_aged(high, 100, 300), FG_PRIORITY_COHORT_COUNT);
    assert_int_equal(fg_priority_aged(3, UINT64_MAX, UINT64_MAX),
                     0); /* critical, by the lot alone */
}

static void who_waits_longer_never_counts_for_less(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < FG_PRIORITY_COMPOUND_COUNT; number++) {
        uint32_t before = number;
        for (uint64_t waited = 0; waited <= 1000; waited++) {
            uint32_t aged = fg_priority_aged(number, waited, 1000);
            assert_true(aged <= before);
            before = aged;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_decides_before_cohort),
        cmocka_unit_test(a_cohort_lasts_exactly_its_hour),
        cmocka_unit_test(cohorts_are_even_and_depend_on_the_key),
        cmocka_unit_test(a_wait_is_worth_classes_and_lots_but_never_critical),
        cmocka_unit_test(who_waits_longer_never_counts_for_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
