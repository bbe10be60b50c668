/*
 * test_summary.c: what bit first, when a flood was there, and when it was over.
 */
#include "base/clock.h"
#include "rehearse/report.h"
#include "rehearse/summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BUCKETS 100

static const struct fg_backend_conf backend = {.name = "shop"};
static const struct fg_route_conf routes[] = {
    {.name = "order", .action = FG_ROUTE_BACKEND, .priority = FG_PRIORITY_CRITICAL},
    {.name = "hello", .action = FG_ROUTE_RESPOND, .priority = FG_PRIORITY_LOW},
};
static const struct fg_config config = {
    .backends = &backend, .backend_count = 1, .routes = routes, .route_count = 2};
static struct fg_scenario_crowd crowd = {.name = "all"};
static const struct fg_scenario scenario = {
    .name = "a & b", .duration_ns = 100 * FG_S, .crowds = &crowd, .crowd_count = 1};

static struct fg_tally *make_tally(void)
{
    struct fg_tally *tally = fg_tally_create(&scenario, &config, BUCKETS);
    assert_non_null(tally);
    return tally;
}

static void fill(struct fg_tally *tally, unsigned from, unsigned to, unsigned offered,
                 unsigned good)
{
    for (unsigned second = from; second < to; second++) {
        uint64_t at_ns = second * FG_S + FG_S / 2;
        for (unsigned i = 0; i < offered; i++) {
            fg_tally_offer(tally, 0, at_ns, false);
            fg_tally_outcome(tally, 0, at_ns, i < good ? FG_OUTCOME_GOOD : FG_OUTCOME_REFUSED,
                             FG_REFUSED_QUEUE_FULL, FG_MS);
        }
    }
}

static void a_quiet_time_is_no_flood(void **state)
{
    (void)state;
    struct fg_tally *tally = make_tally();
    fill(tally, 0, 100, 100, 100);
    struct fg_flood flood = fg_summary_flood(tally, &config, 0);
    assert_false(flood.is_there);
    assert_true(flood.is_normal);
    struct fg_bite bites[FG_BITES_MAX];
    assert_int_equal(fg_summary_bites(tally, bites), 0);
    fg_tally_destroy(tally);
}

static void a_flood_has_a_beginning_an_end_and_a_recovery(void **state)
{
    (void)state;
    struct fg_tally *tally = make_tally();
    fill(tally, 0, 20, 100, 100);
    fill(tally, 20, 50, 1000, 200);
    fill(tally, 50, 55, 150, 100); /* less than it can do, and still not well */
    fill(tally, 55, 100, 100, 100);
    struct fg_flood flood = fg_summary_flood(tally, &config, 0);
    assert_true(flood.is_there && flood.is_normal);
    assert_in_range(flood.begins_ns / FG_S, 20, 20);
    assert_in_range(flood.ends_ns / FG_S, 50, 50);
    assert_in_range(flood.normal_ns / FG_S, 55, 55);
    assert_true(flood.peak_done_per_s > 195 && flood.peak_done_per_s < 205);
    assert_true(flood.peak_demand_per_s > 950 && flood.peak_demand_per_s < 1050);
    struct fg_class_sum sum = fg_summary_class(tally, &config, FG_PRIORITY_CRITICAL);
    assert_true(sum.ended == 20 * 100 + 30 * 1000 + 5 * 150 + 45 * 100);
    fg_tally_destroy(tally);
}

static void trouble_is_told_in_the_order_in_which_it_began(void **state)
{
    (void)state;
    struct fg_tally *tally = make_tally();
    fg_tally_outcome(tally, 1, 9 * FG_S, FG_OUTCOME_REFUSED, FG_REFUSED_RATE_LIMIT, 0);
    fg_tally_outcome(tally, 0, 5 * FG_S, FG_OUTCOME_LATE, 0, 0);
    fg_tally_outcome(tally, 1, 10 * FG_S, FG_OUTCOME_REFUSED, FG_REFUSED_RATE_LIMIT, 0);
    struct fg_bite bites[FG_BITES_MAX];
    assert_int_equal(fg_summary_bites(tally, bites), 2);
    assert_string_equal(bites[0].what, "late");
    assert_false(bites[0].is_refusal);
    assert_string_equal(bites[1].what, "rate_limit");
    assert_int_equal(bites[1].count, 2);
    assert_true(bites[1].first_ns == 9 * FG_S);
    fg_tally_destroy(tally);
}

static void reports_are_written_and_escaped(void **state)
{
    (void)state;
    struct fg_tally *tally = make_tally();
    fill(tally, 0, 100, 1000, 200);
    struct fg_report report = {.config = &config, .scenario = &scenario, .tally = tally};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_true(fg_report_html(&report, out));
    fclose(out);
    assert_non_null(strstr(text, "<title>a &amp; b</title>"));
    assert_non_null(strstr(text, "queue_full"));
    assert_non_null(strstr(text, "<polyline"));
    assert_null(strstr(text, "nan"));
    free(text);
    fg_tally_destroy(tally);
}

static void times_and_counts_are_readable(void **state)
{
    (void)state;
    char text[FG_REPORT_TEXT_BYTES];
    assert_string_equal(fg_report_clock(text, 3723004 * FG_MS), "1:02:03.004");
    assert_string_equal(fg_report_span(text, 40 * FG_US), "0.04 ms");
    assert_string_equal(fg_report_span(text, 12 * FG_MS), "12 ms");
    assert_string_equal(fg_report_span(text, 4300 * FG_MS), "4.3 s");
    assert_string_equal(fg_report_span(text, 14400 * FG_S), "240.0 min");
    assert_string_equal(fg_report_count(text, 0), "0");
    assert_string_equal(fg_report_count(text, 1234567), "1,234,567");
    assert_string_equal(fg_report_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_time_is_no_flood),
        cmocka_unit_test(a_flood_has_a_beginning_an_end_and_a_recovery),
        cmocka_unit_test(trouble_is_told_in_the_order_in_which_it_began),
        cmocka_unit_test(reports_are_written_and_escaped),
        cmocka_unit_test(times_and_counts_are_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
