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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_forgiven_with_time, set_up),
        cmocka_unit_test_setup(has_a_most, set_up),
        cmocka_unit_test_setup(two_share_two_places, set_up),
        cmocka_unit_test_setup(whoever_owes_less_gives_way, set_up),
        cmocka_unit_test_setup(follows_a_new_law, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
