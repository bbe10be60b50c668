/*
 * test_histogram_shared.c: the promised error, and sums over threads' histograms.
 */
#include "base/histogram_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static void reports_within_one_percent(void **state)
{
    (void)state;
    for (uint64_t value = 1; value < (UINT64_C(1) << 38); value = value * 5 / 4 + 1) {
        struct fg_histogram *one = calloc(1, sizeof(*one));
        fg_histogram_record(one, value);
        uint64_t got = fg_histogram_quantile(one, 5000);
        uint64_t off = got > value ? got - value : value - got;
        assert_true(off * 100 <= value);
        free(one);
    }
}

static void finds_quantiles(void **state)
{
    (void)state;
    struct fg_histogram *h = calloc(1, sizeof(*h));
    assert_int_equal(fg_histogram_quantile(h, 9900), 0);
    for (uint64_t i = 1; i <= 100; i++)
        fg_histogram_record(h, i);
    assert_int_equal(fg_histogram_quantile(h, 5000), 50);
    assert_int_equal(fg_histogram_quantile(h, 9900), 99);
    assert_int_equal(fg_histogram_quantile(h, 10000), 100);
    assert_int_equal(fg_histogram_quantile(h, 0), 1);
    assert_int_equal(fg_histogram_count_up_to(h, 10), 10);
    free(h);
}

static void merges(void **state)
{
    (void)state;
    struct fg_histogram *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    fg_histogram_record(a, 5);
    fg_histogram_record(b, 7);
    fg_histogram_record(b, UINT64_MAX); /* beyond the range: the last bucket */
    fg_histogram_merge(a, b);
    assert_int_equal(fg_counter_get(&a->count), 3);
    assert_int_equal(fg_histogram_quantile(a, 3000), 5);
    assert_int_equal(fg_histogram_count_up_to(a, UINT64_MAX), 3);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_within_one_percent),
        cmocka_unit_test(finds_quantiles),
        cmocka_unit_test(merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
