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

static struct fg_give_way_need waiting(uint32_t count)
{
    return (struct fg_give_way_need){.waiting = count};
}

static void only_what_stalls_goes(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_false(fg_give_way_decide(&gw, 9 * S, 0, waiting(5)));         /* it gets on */
    assert_false(fg_give_way_decide(&gw, 9 * S, 8 * S + 1, waiting(5))); /* not for long enough */
    assert_false(fg_give_way_decide(&gw, 9 * S, 10 * S, waiting(5)));    /* the clock went back */
    assert_true(fg_give_way_decide(&gw, 9 * S, 8 * S, waiting(5)));      /* the exact edge */
    assert_true(fg_give_way_decide(&gw, UINT64_MAX, 8 * S, waiting(5))); /* a jump of ages */
    gw = made(0);
    assert_false(fg_give_way_decide(&gw, UINT64_MAX, 1, waiting(UINT32_MAX)));
    gw = made(UINT64_MAX);
    assert_false(fg_give_way_decide(&gw, UINT64_MAX, 1, waiting(UINT32_MAX)));
}

static void nobody_goes_for_nobody(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_false(fg_give_way_decide(&gw, 9 * S, 1, waiting(0)));
    assert_int_equal(gw.made, 0);
}

static void as_many_go_as_wait(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_true(fg_give_way_decide(&gw, 9 * S, 1, waiting(2)));
    assert_true(fg_give_way_decide(&gw, 9 * S + 1, 1, waiting(2)));
    assert_false(fg_give_way_decide(&gw, 9 * S + 2, 1, waiting(2))); /* they are on their way in */
    fg_give_way_taken(&gw);
    assert_false(fg_give_way_decide(&gw, 9 * S + 3, 1, waiting(1)));
    fg_give_way_taken(&gw);
    fg_give_way_taken(&gw); /* one who needed nobody to go */
    assert_true(fg_give_way_decide(&gw, 9 * S + 4, 1, waiting(1)));
}

static void a_lost_place_is_made_again(void **state)
{
    (void)state;
    struct fg_give_way gw = made(S);
    assert_true(fg_give_way_decide(&gw, 9 * S, 1, waiting(1)));
    assert_false(fg_give_way_decide(&gw, 9 * S + 100 * MS - 1, 1, waiting(1)));
    assert_true(fg_give_way_decide(&gw, 9 * S + 100 * MS, 1, waiting(1)));
    assert_true(
        fg_give_way_decide(&gw, 8 * S, 1, waiting(1))); /* the clock went back: count anew */
}

static void the_short_of_means_have_less_patience(void **state)
{
    (void)state;
    const struct fg_give_way_need shortage = {.is_short = true};
    struct fg_give_way gw = made(S);
    assert_false(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS + 1, shortage));
    assert_true(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS, shortage));
    assert_int_equal(gw.made, 0); /* for nobody's sake */
    assert_false(fg_give_way_decide(&gw, 9 * S, 0, shortage));
    gw = made(0);
    assert_false(fg_give_way_decide(&gw, 9 * S, 1, shortage));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_stalls_goes),
        cmocka_unit_test(nobody_goes_for_nobody),
        cmocka_unit_test(as_many_go_as_wait),
        cmocka_unit_test(a_lost_place_is_made_again),
        cmocka_unit_test(the_short_of_means_have_less_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
