/*
 * test_timeouts.c: order, re-arming, and what shorter idle times under pressure do to what waits.
 */
#include "net/timeouts.h"

#include "backends/pressure_shared.h"
#include "base/clock.h"
#include "config/config.h"
#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct fixture {
    struct fg_loop *loop;
    struct fg_timeouts timeouts;
    struct fg_pressure pressure;
    unsigned fired;
};

static struct fixture fixture;

static void on_due(struct fg_timeout *timeout)
{
    (void)timeout;
    fixture.fired++;
}

static int set_up(void **state)
{
    const struct fg_limits_conf limits = {.handshake_timeout_ns = 10 * FG_S,
                                          .header_timeout_ns = 20 * FG_S,
                                          .idle_timeout_ns = 60 * FG_S,
                                          .body_timeout_ns = 60 * FG_S,
                                          .write_timeout_ns = 60 * FG_S};
    (void)state;
    fixture = (struct fixture){.loop = fg_loop_create(0, 16), .pressure = {.idle_permille = 200}};
    assert_non_null(fixture.loop);
    assert_int_equal(fg_timeouts_init(&fixture.timeouts, fixture.loop, &limits), FG_OK);
    fixture.timeouts.pressure = &fixture.pressure;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_timeouts_fini(&fixture.timeouts);
    fg_loop_destroy(fixture.loop);
    return 0;
}

static void press(bool is_pressed)
{
    fg_counter_set(&fixture.pressure.steps, (uint64_t)is_pressed << FG_OVERLOAD_SHORTEN_IDLE);
}

/* Runs what is due `after_ns` from when the timeout was armed, which was `armed_ns`. */
static unsigned fired_after(uint64_t armed_ns, uint64_t after_ns)
{
    fixture.fired = 0;
    fg_timeouts_run(&fixture.timeouts, armed_ns + after_ns);
    return fixture.fired;
}

static void what_waits_idle_ends_sooner(void **state)
{
    (void)state;
    struct fg_timeout idle = {.on_due = on_due}, body = {.on_due = on_due};
    struct fg_timeout handshake = {.on_due = on_due};
    uint64_t armed_ns = fg_loop_now_ns(fixture.loop);
    fg_timeout_arm(&fixture.timeouts, &idle, FG_TIMEOUT_IDLE);
    fg_timeout_arm(&fixture.timeouts, &body, FG_TIMEOUT_BODY);
    fg_timeout_arm(&fixture.timeouts, &handshake, FG_TIMEOUT_HANDSHAKE);
    assert_int_equal(fired_after(armed_ns, 9 * FG_S), 0);
    press(true);
    assert_int_equal(fired_after(armed_ns, 2 * FG_S - 1), 0); /* a fifth of 10 s */
    assert_int_equal(fired_after(armed_ns, 2 * FG_S), 1);
    assert_int_equal(fired_after(armed_ns, 12 * FG_S - 1), 0);
    assert_int_equal(fired_after(armed_ns, 12 * FG_S), 1);
    assert_int_equal(fg_counter_get(&fixture.pressure.acted[FG_OVERLOAD_SHORTEN_IDLE]), 2);
    assert_int_equal(fired_after(armed_ns, 60 * FG_S - 1), 0); /* one at work is left alone */
    assert_int_equal(fired_after(armed_ns, 60 * FG_S), 1);
    assert_int_equal(fg_counter_get(&fixture.pressure.acted[FG_OVERLOAD_SHORTEN_IDLE]), 2);
}

static void once_pressure_is_over_the_whole_time_counts_again(void **state)
{
    (void)state;
    struct fg_timeout idle = {.on_due = on_due};
    press(true);
    uint64_t armed_ns = fg_loop_now_ns(fixture.loop);
    fg_timeout_arm(&fixture.timeouts, &idle, FG_TIMEOUT_IDLE);
    assert_int_equal(fired_after(armed_ns, 11 * FG_S), 0);
    press(false);
    assert_int_equal(fired_after(armed_ns, 60 * FG_S - 1), 0);
    assert_int_equal(fired_after(armed_ns, 60 * FG_S), 1);
    assert_int_equal(fg_counter_get(&fixture.pressure.acted[FG_OVERLOAD_SHORTEN_IDLE]), 0);
}

static void the_whole_may_be_left(void **state)
{
    (void)state;
    struct fg_timeout idle = {.on_due = on_due};
    fixture.pressure.idle_permille = 1000;
    press(true);
    uint64_t armed_ns = fg_loop_now_ns(fixture.loop);
    fg_timeout_arm(&fixture.timeouts, &idle, FG_TIMEOUT_IDLE);
    assert_int_equal(fired_after(armed_ns, 60 * FG_S - 1), 0);
    fg_timeouts_run(&fixture.timeouts, UINT64_MAX); /* a clock that jumps */
    assert_int_equal(fixture.fired, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* A crowd that came together does not hold the loop up for all. */
static void a_crowd_ends_by_parts(void **state)
{
    (void)state;
    static struct fg_timeout crowd[150];
    uint64_t armed_ns = fg_loop_now_ns(fixture.loop);
    fixture.fired = 0;
    for (size_t i = 0; i < 150; i++) {
        crowd[i] = (struct fg_timeout){.on_due = on_due};
        fg_timeout_arm(&fixture.timeouts, &crowd[i],
                       i % 2 == 0 ? FG_TIMEOUT_HANDSHAKE : FG_TIMEOUT_HEADER);
    }
    assert_false(fg_timeouts_run(&fixture.timeouts, armed_ns));
    assert_int_equal(fixture.fired, 0);
    assert_true(fg_timeouts_run(&fixture.timeouts, armed_ns + 20 * FG_S));
    assert_in_range(fixture.fired, 1, 8); /* fewer, where the processor was somebody else's */
    while (fg_timeouts_run(&fixture.timeouts, armed_ns + 20 * FG_S))
        assert_in_range(fixture.fired, 2, 149);
    assert_int_equal(fixture.fired, 150);
}

static void on_dear_due(struct fg_timeout *timeout)
{
    uint64_t started_ns = fg_clock_monotonic_ns();
    on_due(timeout);
    while (fg_clock_monotonic_ns() - started_ns < FG_MS)
        continue;
}

/* Where each one takes long, one is enough. */
static void a_dear_crowd_ends_by_small_parts(void **state)
{
    (void)state;
    static struct fg_timeout crowd[10];
    uint64_t armed_ns = fg_loop_now_ns(fixture.loop);
    fixture.fired = 0;
    for (size_t i = 0; i < 10; i++) {
        crowd[i] = (struct fg_timeout){.on_due = on_dear_due};
        fg_timeout_arm(&fixture.timeouts, &crowd[i], FG_TIMEOUT_HEADER);
    }
    for (unsigned run = 1; run <= 10; run++) {
        bool has_more = fg_timeouts_run(&fixture.timeouts, armed_ns + 20 * FG_S);
        assert_int_equal(has_more, run < 10);
        assert_int_equal(fixture.fired, run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_waits_idle_ends_sooner),
        TEST(once_pressure_is_over_the_whole_time_counts_again),
        TEST(the_whole_may_be_left),
        TEST(a_crowd_ends_by_parts),
        TEST(a_dear_crowd_ends_by_small_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
