/*
 * test_give_way.c: who goes, for whom, and how many at once.
 */
#include "policies/give_way.h"
#include "policy_test.h"

static struct fg_give_way made(uint64_t stalled_max_ns)
{
    struct fg_give_way gw;
    fg_give_way_init(&gw, stalled_max_ns, 100 * MS);
    return gw;
}

static void only_what_stalls_goes(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_false(fg_give_way_decide(&gw, 9 * S, 0, 5));         /* it gets on */
    assert_false(fg_give_way_decide(&gw, 9 * S, 8 * S + 1, 5)); /* not for long enough */
    assert_false(fg_give_way_decide(&gw, 9 * S, 10 * S, 5));    /* the clock went back */
    assert_true(fg_give_way_decide(&gw, 9 * S, 8 * S, 5));      /* the exact edge */
    assert_true(fg_give_way_decide(&gw, UINT64_MAX, 8 * S, 5)); /* a jump of ages */
    gw = made(0);
    assert_false(fg_give_way_decide(&gw, UINT64_MAX, 1, UINT32_MAX));
    gw = made(UINT64_MAX);
    assert_false(fg_give_way_decide(&gw, UINT64_MAX, 1, UINT32_MAX));
}

static void nobody_goes_for_nobody(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_false(fg_give_way_decide(&gw, 9 * S, 1, 0));
    assert_int_equal(gw.made, 0);
}

static void as_many_go_as_wait(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_true(fg_give_way_decide(&gw, 9 * S, 1, 2));
    assert_true(fg_give_way_decide(&gw, 9 * S + 1, 1, 2));
    assert_false(fg_give_way_decide(&gw, 9 * S + 2, 1, 2)); /* they are on their way in */
    fg_give_way_taken(&gw);
    assert_false(fg_give_way_decide(&gw, 9 * S + 3, 1, 1));
    fg_give_way_taken(&gw);
    fg_give_way_taken(&gw); /* one who needed nobody to go */
    assert_true(fg_give_way_decide(&gw, 9 * S + 4, 1, 1));
}

static void a_lost_place_is_made_again(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_true(fg_give_way_decide(&gw, 9 * S, 1, 1));
    assert_false(fg_give_way_decide(&gw, 9 * S + 100 * MS - 1, 1, 1));
    assert_true(fg_give_way_decide(&gw, 9 * S + 100 * MS, 1, 1));
    assert_true(fg_give_way_decide(&gw, 8 * S, 1, 1)); /* the clock went back: count anew */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_stalls_goes),
        cmocka_unit_test(nobody_goes_for_nobody),
        cmocka_unit_test(as_many_go_as_wait),
        cmocka_unit_test(a_lost_place_is_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
