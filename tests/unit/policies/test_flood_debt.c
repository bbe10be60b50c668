/*
 * test_flood_debt.c: what addresses owe, until it is forgiven or somebody who owes more comes.
 */
#include "policies/flood_debt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define S UINT64_C(1000000000)
#define FIRST 5u
#define SECOND (FIRST + 7 * FG_FLOOD_DEBTORS) /* the same two places */
#define THIRD (FIRST + 9 * FG_FLOOD_DEBTORS)

static struct fg_flood_debts debts;

static int set_up(void **state)
{
    (void)state;
    fg_flood_debts_init(&debts, 100, 6000);
    return 0;
}

static uint64_t owed(uint64_t key, uint64_t now_ns)
{
    return fg_flood_debts_owed(&debts, key, now_ns);
}

static void is_forgiven_with_time(void **state)
{
    (void)state;
    assert_int_equal(owed(FIRST, 0), 0);
    fg_flood_debts_add(&debts, FIRST, 1000, 10 * S);
    assert_int_equal(owed(FIRST, 10 * S), 1000);
    assert_int_equal(owed(FIRST, 9 * S), 1000); /* a clock that went back */
    assert_int_equal(owed(FIRST, 15 * S), 500);
    assert_int_equal(owed(FIRST, 15 * S + S / 100), 499);
    assert_int_equal(owed(FIRST, 20 * S), 0);
    assert_int_equal(owed(FIRST, UINT64_MAX), 0);
    fg_flood_debts_add(&debts, FIRST, 100, 15 * S);
    assert_int_equal(owed(FIRST, 15 * S), 600);
    assert_int_equal(owed(FIRST + 1, 15 * S), 0);
}

static void has_a_most(void **state)
{
    (void)state;
    fg_flood_debts_add(&debts, FIRST, 4000, 0);
    fg_flood_debts_add(&debts, FIRST, UINT64_MAX, 0);
    assert_int_equal(owed(FIRST, 0), 6000);
    assert_int_equal(owed(FIRST, 59 * S), 100);
    assert_int_equal(owed(FIRST, 60 * S), 0);
}

static void two_share_two_places(void **state)
{
    (void)state;
    fg_flood_debts_add(&debts, FIRST, 1000, 0);
    fg_flood_debts_add(&debts, SECOND, 500, 0);
    assert_int_equal(owed(FIRST, 0), 1000);
    assert_int_equal(owed(SECOND, 0), 500);
    fg_flood_debts_add(&debts, SECOND, 10, 0);
    assert_int_equal(owed(SECOND, 0), 510);
}

static void whoever_owes_less_gives_way(void **state)
{
    (void)state;
    fg_flood_debts_add(&debts, FIRST, 1000, 0);
    fg_flood_debts_add(&debts, SECOND, 500, 0);
    fg_flood_debts_add(&debts, THIRD, 400, 0);
    assert_int_equal(owed(THIRD, 0), 0);
    fg_flood_debts_add(&debts, THIRD, 500, 0);
    assert_int_equal(owed(THIRD, 0), 500);
    assert_int_equal(owed(SECOND, 0), 0);
    assert_int_equal(owed(FIRST, 0), 1000);
    fg_flood_debts_add(&debts, SECOND, 1, 20 * S); /* all is forgiven */
    assert_int_equal(owed(SECOND, 20 * S), 1);
}

static void follows_a_new_law(void **state)
{
    (void)state;
    fg_flood_debts_add(&debts, FIRST, 5000, 0);
    fg_flood_debts_set_law(&debts, 0, 3000);
    assert_int_equal(owed(FIRST, 60 * S), 5000); /* nothing is forgiven any more */
    fg_flood_debts_add(&debts, FIRST, 1, 60 * S);
    assert_int_equal(owed(FIRST, 60 * S), 3000);
}

#define TURNED_AWAY UINT64_MAX

/* How long it waits. */
static uint64_t comes(const struct fg_flood_pace *pace, uint64_t key, uint64_t now_ns)
{
    uint64_t wait_ns = TURNED_AWAY;
    return fg_flood_debts_admit(&debts, key, pace, now_ns, &wait_ns) ? wait_ns : TURNED_AWAY;
}

static void who_owes_much_comes_now_and_then(void **state)
{
    (void)state;
    const struct fg_flood_pace pace = {.free = 1000, .interval_ns = S / 10, .wait_max_ns = S / 10};
    assert_int_equal(comes(&pace, FIRST, 0), 0); /* nobody knows it */
    fg_flood_debts_add(&debts, FIRST, 1000, 10 * S);
    assert_int_equal(comes(&pace, FIRST, 10 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 10 * S), 0);
    fg_flood_debts_add(&debts, FIRST, 2000, 10 * S); /* half of all: twice as often */
    assert_int_equal(comes(&pace, FIRST, 10 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 10 * S), S / 20);
    assert_int_equal(comes(&pace, FIRST, 10 * S), S / 10);
    assert_int_equal(comes(&pace, FIRST, 10 * S), TURNED_AWAY);
    assert_int_equal(comes(&pace, SECOND, 10 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 10 * S + S / 20 - 1), TURNED_AWAY);
    assert_int_equal(comes(&pace, FIRST, 10 * S + S / 20), S / 10); /* as nobody came meanwhile */
    assert_int_equal(comes(&pace, FIRST, 10 * S + S / 2), 0);       /* what was not used is lost */
    fg_flood_debts_add(&debts, FIRST, UINT64_MAX, 11 * S);
    assert_int_equal(comes(&pace, FIRST, 11 * S), 0);
    fg_flood_debts_add(&debts, FIRST, 1, 11 * S); /* what it owes anew lets nobody in */
    assert_int_equal(comes(&pace, FIRST, 11 * S), S / 10);
    assert_int_equal(comes(&pace, FIRST, 61 * S), 0); /* down to a burst */
    assert_int_equal(comes(&pace, FIRST, 61 * S), 0);
    assert_int_equal(comes(&pace, FIRST, UINT64_MAX), 0);
}

static void some_at_once_need_not_wait(void **state)
{
    (void)state;
    const struct fg_flood_pace pace = {
        .free = 1000, .interval_ns = S / 10, .early_ns = S / 5, .wait_max_ns = S / 10};
    fg_flood_debts_add(&debts, FIRST, UINT64_MAX, 10 * S);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(comes(&pace, FIRST, 10 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 10 * S), S / 10);
    assert_int_equal(comes(&pace, FIRST, 10 * S), TURNED_AWAY);
    fg_flood_debts_add(&debts, FIRST, UINT64_MAX, 11 * S);
    assert_int_equal(comes(&pace, FIRST, 11 * S),
                     0); /* what was not used is there again, no more */
    assert_int_equal(comes(&pace, FIRST, 11 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 11 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 11 * S), S / 10);
    assert_int_equal(comes(&pace, FIRST, 5 * S), 0); /* the clock went back */
}

static void a_clock_that_went_back_keeps_nobody_out(void **state)
{
    (void)state;
    const struct fg_flood_pace pace = {.free = 0, .interval_ns = S, .wait_max_ns = 0};
    fg_flood_debts_add(&debts, FIRST, 6000, 100 * S);
    assert_int_equal(comes(&pace, FIRST, 100 * S), 0);
    assert_int_equal(comes(&pace, FIRST, 100 * S), TURNED_AWAY);
    assert_int_equal(comes(&pace, FIRST, 50 * S), 0);
}

static void comes_as_it_likes_without_a_pace(void **state)
{
    (void)state;
    const struct fg_flood_pace none = {.free = 0, .interval_ns = 0, .wait_max_ns = 0};
    const struct fg_flood_pace longest = {
        .free = 0, .interval_ns = UINT64_MAX, .wait_max_ns = UINT64_MAX};
    fg_flood_debts_add(&debts, FIRST, 6000, S);
    assert_int_equal(comes(&none, FIRST, S), 0);
    assert_int_equal(comes(&none, FIRST, S), 0);
    fg_flood_debts_set_law(&debts, 0, 0); /* what it owes is more than anybody may */
    assert_int_equal(comes(&longest, FIRST, S), 0);
    assert_int_equal(comes(&longest, FIRST, 2 * S), UINT64_MAX - 2 * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_forgiven_with_time, set_up),
        cmocka_unit_test_setup(has_a_most, set_up),
        cmocka_unit_test_setup(two_share_two_places, set_up),
        cmocka_unit_test_setup(whoever_owes_less_gives_way, set_up),
        cmocka_unit_test_setup(follows_a_new_law, set_up),
        cmocka_unit_test_setup(who_owes_much_comes_now_and_then, set_up),
        cmocka_unit_test_setup(some_at_once_need_not_wait, set_up),
        cmocka_unit_test_setup(a_clock_that_went_back_keeps_nobody_out, set_up),
        cmocka_unit_test_setup(comes_as_it_likes_without_a_pace, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
