/*
 * test_forecast.c: what was told is compared with what came, for near and far times apart.
 */
#include "policies/forecast.h"
#include "policy_test.h"

/* A line that moves one place a second: `count` people are told `told` times what comes. */
static void run(struct fg_forecast *forecast, uint64_t from_s, uint64_t count, uint64_t ahead,
                double told)
{
    for (uint64_t at_s = from_s; at_s < from_s + count + ahead + 2; at_s++) {
        if (at_s < from_s + count)
            fg_forecast_tell(forecast, at_s + ahead, (uint64_t)((double)(ahead * S) * told),
                             at_s * S);
        fg_forecast_settle(forecast, at_s, at_s * S);
    }
}

static void is_wide_until_something_came(void **state)
{
    (void)state;
    struct fg_forecast forecast = {.settled_ns = 0};
    assert_int_equal(fg_forecast_error_ns(&forecast, 100 * S), 30 * S);
    assert_int_equal(fg_forecast_error_ns(&forecast, 0), 0);
    fg_forecast_restart(&forecast, 0, true);
    assert_int_equal(fg_forecast_error_ns(&forecast, 100 * S), 100 * S);
    assert_true(fg_forecast_error_ns(&forecast, FG_POLICY_NEVER) > 1000 * YEAR);
    fg_forecast_restart(&forecast, 0, false);
    assert_int_equal(fg_forecast_error_ns(&forecast, 100 * S), 30 * S);
}

static void learns_for_each_range(void **state)
{
    (void)state;
    struct fg_forecast forecast = {.settled_ns = 0};
    fg_forecast_restart(&forecast, 0, true);
    run(&forecast, 1, 100, 20, 1.25); /* 25 s were told, 20 s (and one, as it is counted) came */
    assert_in_range(fg_forecast_error_ns(&forecast, 30 * S), 4 * S, 7 * S);
    /* of longer times no more is known than that the pace holds */
    assert_int_equal(fg_forecast_error_ns(&forecast, 1000 * S), 300 * S);
    run(&forecast, 1000, 4000, 400, 2);
    assert_in_range(fg_forecast_error_ns(&forecast, 1000 * S), 490 * S, 510 * S);
    assert_in_range(fg_forecast_error_ns(&forecast, 30 * S), 4 * S, 7 * S);
    /* and of longer ones yet that they are not better */
    assert_true(fg_forecast_error_ns(&forecast, 5000 * S) >= 2450 * S);
    run(&forecast, 10000, 4000, 800, 1);
    assert_in_range(fg_forecast_error_ns(&forecast, 1000 * S), 0,
                    10 * S); /* what was is forgotten */
}

static void is_not_sure_before_people_can_have_left(void **state)
{
    (void)state;
    struct fg_forecast forecast = {.settled_ns = 0};
    fg_forecast_restart(&forecast, 500 * S, true);
    assert_int_equal(fg_forecast_error_ns(&forecast, 20 * S), 20 * S);
    run(&forecast, 1, 200, 20, 1);
    assert_int_equal(fg_forecast_error_ns(&forecast, 20 * S), 6 * S); /* the pace is known */
    run(&forecast, 400, 200, 20, 1);
    assert_in_range(fg_forecast_error_ns(&forecast, 20 * S), 0, 3 * S);
}

static void what_is_overdue_counts(void **state)
{
    (void)state;
    struct fg_forecast forecast = {.settled_ns = 0};
    run(&forecast, 1, 200, 20, 1);
    assert_in_range(fg_forecast_error_ns(&forecast, 20 * S), 0, 3 * S);
    fg_forecast_tell(&forecast, 1000000, 20 * S, 300 * S);
    fg_forecast_settle(&forecast, 500, 320 * S);
    assert_in_range(fg_forecast_error_ns(&forecast, 20 * S), 0, 3 * S);
    fg_forecast_settle(&forecast, 500, 360 * S); /* three times as long by now, and not there */
    assert_int_equal(fg_forecast_error_ns(&forecast, 20 * S), 40 * S);
}

static void clocks_and_numbers_that_make_no_sense(void **state)
{
    (void)state;
    struct fg_forecast forecast = {.settled_ns = 0};
    fg_forecast_tell(&forecast, 7, FG_POLICY_NEVER, S);
    fg_forecast_tell(&forecast, 7, FG_POLICY_NEVER - 1, S);
    fg_forecast_tell(&forecast, 7, 9 * S, S); /* too near to matter */
    for (unsigned i = 0; i < FG_FORECAST_RANGES; i++)
        assert_int_equal(forecast.ranges[i].told_count, 0);
    for (uint64_t i = 0; i < 100; i++) /* more than there is room for, none of which comes */
        fg_forecast_tell(&forecast, i, 20 * S, (i + 1) * 100 * S);
    assert_int_equal(forecast.ranges[0].told_count, FG_FORECASTS);
    fg_forecast_settle(&forecast, 0, 2); /* back to the beginning: nobody is overdue */
    assert_true(forecast.ranges[0].share == 0);
    fg_forecast_settle(&forecast, UINT64_MAX, 100 * YEAR);
    assert_int_equal(forecast.ranges[0].told_count, 0);
    assert_true(fg_forecast_error_ns(&forecast, 20 * S) > YEAR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_wide_until_something_came),
        cmocka_unit_test(learns_for_each_range),
        cmocka_unit_test(is_not_sure_before_people_can_have_left),
        cmocka_unit_test(what_is_overdue_counts),
        cmocka_unit_test(clocks_and_numbers_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
