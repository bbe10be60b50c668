/*
 * test_timeout_list.c: waits that are over, in their order and once each, in a turn of the loop too
 * that has taken longer than they do.
 */
#include "proxy/timeout_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define WAITS 3

struct fixture {
    struct event_base *base;
    uint64_t turn;
    struct fg_turn_clock clock;
    struct fg_timeout_list list;
    struct fg_timeout_entry waits[WAITS];
    size_t expired[16]; /* which, in their order */
    size_t count;
    bool sets_again;
    bool clears_next;
};

static struct fixture fixture;

static void on_expired(struct fg_timeout_entry *wait)
{
    struct fixture *f = &fixture;
    size_t index = (size_t)(wait - f->waits);
    f->expired[f->count++] = index;
    if (f->clears_next && index + 1 < WAITS)
        fg_timeout_list_clear(&f->waits[index + 1]);
    if (f->sets_again && f->count < 10) /* a test that fails is to end */
        fg_timeout_list_set(&f->list, wait);
}

static int set_up(void **state)
{
    (void)state;
    struct fixture *f = &fixture;
    *f = (struct fixture){.base = event_base_new()};
    assert_non_null(f->base);
    /* The clock of this turn is long behind. */
    f->clock = (struct fg_turn_clock){.turn = &f->turn, .now_ns = 1};
    fg_timeout_list_init(&f->list, f->base, &f->clock, FG_MS, on_expired);
    for (size_t i = 0; i < WAITS; i++) {
        fg_timeout_entry_init(&f->waits[i]);
        fg_timeout_list_set(&f->list, &f->waits[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAITS; i++)
        fg_timeout_list_clear(&fixture.waits[i]);
    fg_timeout_list_fini(&fixture.list);
    event_base_free(fixture.base);
    return 0;
}

static void run_until(size_t count)
{
    while (fixture.count < count)
        assert_int_equal(event_base_loop(fixture.base, EVLOOP_ONCE), 0);
}

static void ends_all_that_are_over(void **state)
{
    (void)state;
    run_until(WAITS);
    for (size_t i = 0; i < WAITS; i++)
        assert_int_equal(fixture.expired[i], i);
    assert_int_equal(event_base_loop(fixture.base, EVLOOP_ONCE), 1); /* nothing is armed */
}

static void ends_what_is_set_again_once_a_turn(void **state)
{
    (void)state;
    fixture.sets_again = true;
    run_until(1);
    assert_int_equal(fixture.count, WAITS);
    run_until(WAITS + 1);
    assert_int_equal(fixture.count, 2 * WAITS);
    fixture.turn++; /* the clock is right again */
    fixture.sets_again = false;
    run_until(3 * WAITS);
    for (size_t i = 0; i < 3 * WAITS; i++)
        assert_int_equal(fixture.expired[i], i % WAITS);
}

static void forgets_one_that_another_has_cleared(void **state)
{
    (void)state;
    fixture.clears_next = true;
    run_until(2);
    assert_int_equal(fixture.count, 2);
    assert_int_equal(fixture.expired[0], 0);
    assert_int_equal(fixture.expired[1], 2);
    assert_int_equal(event_base_loop(fixture.base, EVLOOP_ONCE), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ends_all_that_are_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends_what_is_set_again_once_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgets_one_that_another_has_cleared, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
