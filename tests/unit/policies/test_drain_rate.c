/*
 * test_drain_rate.c: what is expected, what is measured, and that the error covers the truth.
 */
#include "policies/drain_rate.h"
#include "policy_test.h"

static struct fg_drain_rate a_rate(double expected)
{
    struct fg_drain_rate rate;
    fg_drain_rate_init(&rate, expected, 5 * S, 0);
    return rate;
}

static void starts_with_what_is_expected(void **state)
{
    (void)state;
    struct fg_drain_rate rate = a_rate(50);
    assert_true(fg_drain_rate_per_s(&rate) == 10);
    assert_int_equal(fg_drain_rate_estimate(&rate, 100, 0).eta_ns, 10 * S);
    assert_int_equal(fg_drain_rate_estimate(&rate, 0, 0).eta_ns, 0);
    assert_int_equal(fg_drain_rate_estimate(&rate, 0, 10).error_ns, S);
    assert_true(fg_drain_rate_estimate(&rate, 1e30, 0).eta_ns == FG_POLICY_NEVER - 1);
    rate = a_rate(0);
    assert_true(fg_drain_rate_estimate(&rate, 1, 0).eta_ns == FG_POLICY_NEVER);
}

static void learns_the_rate_and_who_leaves(void **state)
{
    (void)state;
    struct fg_drain_rate rate = a_rate(50);
    uint64_t now_ns = 0, waiting = 100000;
    for (int i = 0; i < 100; i++, now_ns += 5 * S, waiting -= 20)
        fg_drain_rate_note(&rate, 20, 0, waiting, now_ns + 5 * S);
    assert_in_range((uint64_t)(fg_drain_rate_per_s(&rate) * 1000), 3999, 4001);
    struct fg_drain_estimate steady = fg_drain_rate_estimate(&rate, 4000, 0);
    assert_in_range(steady.eta_ns, 999 * S, 1001 * S);
    for (int i = 0; i < 100; i++, now_ns += 5 * S) /* one in a hundred gives up each time */
        fg_drain_rate_note(&rate, 20, waiting / 100, waiting - waiting / 100, now_ns + 5 * S);
    struct fg_drain_estimate leaving = fg_drain_rate_estimate(&rate, 4000, 0);
    /* 4000 people shrink by 1 % + 20 each 5 s: log(1 + 0.01 x 200) / 0.01 = 109.9 times */
    assert_in_range(leaving.eta_ns, 540 * S, 555 * S);
    assert_true(leaving.error_ns > steady.error_ns);
}

static void an_empty_line_teaches_nothing(void **state)
{
    (void)state;
    struct fg_drain_rate rate = a_rate(50);
    for (uint64_t i = 1; i < 50; i++) {
        fg_drain_rate_note(&rate, 1, 0, 1, i * 5 * S - S);
        fg_drain_rate_note(&rate, 0, 0, 0, i * 5 * S);
    }
    assert_true(fg_drain_rate_per_s(&rate) == 10);
    fg_drain_rate_note(&rate, 0, 0, 1, 0); /* a clock that went back */
    assert_true(fg_drain_rate_per_s(&rate) == 10);
}

/* Admissions at random: the true time lies within the error nearly always. */
static void the_error_covers_the_truth(void **state)
{
    (void)state;
    uint64_t seed = test_seed(3), covered = 0;
    for (int round = 0; round < 300; round++) {
        double true_mean = 20 + (double)test_below(&seed, 100);
        struct fg_drain_rate rate =
            a_rate(true_mean * (0.5 + (double)test_below(&seed, 100) / 100));
        uint64_t now_ns = 0, people = 2000, passed = 0;
        for (int i = 0; i < 60; i++, now_ns += 5 * S)
            fg_drain_rate_note(&rate, test_below(&seed, (uint64_t)(2 * true_mean) + 1), 0, 100000,
                               now_ns + 5 * S);
        struct fg_drain_estimate estimate = fg_drain_rate_estimate(&rate, (double)people, 0);
        uint64_t start_ns = now_ns;
        for (; passed < people; now_ns += 5 * S)
            passed += test_below(&seed, (uint64_t)(2 * true_mean) + 1);
        uint64_t took_ns = now_ns - start_ns;
        uint64_t apart_ns =
            took_ns > estimate.eta_ns ? took_ns - estimate.eta_ns : estimate.eta_ns - took_ns;
        covered += apart_ns <= estimate.error_ns + 5 * S;
    }
    assert_in_range(covered, 270, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_with_what_is_expected),
        cmocka_unit_test(learns_the_rate_and_who_leaves),
        cmocka_unit_test(an_empty_line_teaches_nothing),
        cmocka_unit_test(the_error_covers_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
