/*
 * test_blame.c: who is computed alone, who is given up, and who is free again.
 */
#include "policies/blame.h"

#include "policy_test.h"

static void a_crash_makes_all_suspect_and_none_guilty(void **state)
{
    (void)state;
    struct fg_blame blame = {0};
    assert_false(fg_blame_is_suspect(&blame) || fg_blame_is_guilty(&blame));
    for (int i = 0; i < 1000; i++)
        fg_blame_on_death(&blame, FG_BLAME_CRASHED, false, 16);
    assert_true(fg_blame_is_suspect(&blame));
    assert_false(fg_blame_is_guilty(&blame));
}

static void two_crashes_alone_are_enough(void **state)
{
    (void)state;
    struct fg_blame blame = {0};
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, false, 16);
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, true, 16);
    assert_false(fg_blame_is_guilty(&blame));
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, true, 16);
    assert_true(fg_blame_is_guilty(&blame));
}

static void kills_say_little(void **state)
{
    (void)state;
    struct fg_blame blame = {0};
    for (int i = 0; i < 2; i++)
        fg_blame_on_death(&blame, FG_BLAME_KILLED, i == 0, 16);
    assert_false(fg_blame_is_suspect(&blame));
    fg_blame_on_death(&blame, FG_BLAME_KILLED, false, 16);
    assert_true(fg_blame_is_suspect(&blame));
    for (int i = 0; i < 6; i++)
        fg_blame_on_death(&blame, FG_BLAME_KILLED, true, 16);
    assert_false(fg_blame_is_guilty(&blame));
    fg_blame_on_death(&blame, FG_BLAME_KILLED, true, 16);
    assert_true(fg_blame_is_guilty(&blame));
}

static void getting_past_the_place_clears(void **state)
{
    (void)state;
    struct fg_blame blame = {0};
    assert_false(fg_blame_on_progress(&blame, 100)); /* of nothing */
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, true, 64);
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, false, 32); /* it had begun anew */
    assert_false(fg_blame_on_progress(&blame, 63));
    assert_true(fg_blame_is_suspect(&blame));
    assert_true(fg_blame_on_progress(&blame, 64));
    assert_false(fg_blame_is_suspect(&blame));
    /* What it was blamed for then is forgotten. */
    fg_blame_on_death(&blame, FG_BLAME_CRASHED, true, 1);
    assert_false(fg_blame_is_guilty(&blame));
    assert_true(fg_blame_on_progress(&blame, 1));
}

static void counts_do_not_wrap(void **state)
{
    (void)state;
    struct fg_blame blame = {UINT32_MAX - 1, UINT32_MAX - 5, UINT32_MAX};
    for (int i = 0; i < 3; i++)
        fg_blame_on_death(&blame, FG_BLAME_CRASHED, true, UINT32_MAX);
    assert_true(fg_blame_is_suspect(&blame) && fg_blame_is_guilty(&blame));
    assert_true(fg_blame_on_progress(&blame, UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_makes_all_suspect_and_none_guilty),
        cmocka_unit_test(two_crashes_alone_are_enough),
        cmocka_unit_test(kills_say_little),
        cmocka_unit_test(getting_past_the_place_clears),
        cmocka_unit_test(counts_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
