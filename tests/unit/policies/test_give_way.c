/*
 * test_give_way.c: who goes, for whom, and how many at once; what one client may hold.
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

static void looks_are_as_frequent_as_the_patience_is_short(void **state)
{
    (void)state;
    struct fg_give_way gw = made(8 * S);
    assert_int_equal(fg_give_way_look_ns(&gw), 2 * S); /* without a share there is no grace */
    fg_give_way_set_share(&gw, 100, 100, 1, 2 * S);
    assert_int_equal(fg_give_way_look_ns(&gw), S);
    fg_give_way_set_share(&gw, 100, 100, 1, 20 * S);
    assert_int_equal(fg_give_way_look_ns(&gw), 2 * S);
    gw = made(0);
    assert_int_equal(fg_give_way_look_ns(&gw), 0);
    fg_give_way_set_share(&gw, 100, 100, 1, 2 * S);
    assert_int_equal(fg_give_way_look_ns(&gw), S);
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

/* A client's share is 8 of 64. */
static struct fg_give_way shared(uint64_t stalled_max_ns)
{
    struct fg_give_way gw = made(stalled_max_ns);
    fg_give_way_set_share(&gw, 64, 100, 1, 250 * MS);
    return gw;
}

static void above_the_share_patience_is_short(void **state)
{
    (void)state;
    struct fg_give_way gw = shared(S);
    const struct fg_give_way_need above = {.waiting = 1, .held = 9};
    const struct fg_give_way_need within = {.waiting = 1, .held = 8};
    assert_false(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS + 1, above));
    assert_false(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS, within));
    assert_true(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS, above));
    assert_false(fg_give_way_decide(&gw, 9 * S, 1, above)); /* no more than wait */
    assert_false(fg_give_way_decide(&gw, 19 * S, 0, above));
    assert_false(fg_give_way_decide(&gw, 19 * S, 1, (struct fg_give_way_need){.held = 9}));
}

static void a_process_that_is_short_waits_for_nobody(void **state)
{
    (void)state;
    struct fg_give_way gw = shared(S);
    const struct fg_give_way_need above = {.is_short = true, .held = 9};
    for (unsigned i = 0; i < 100; i++)
        assert_true(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS, above));
    assert_int_equal(gw.made, 0); /* for nobody's sake */
    assert_false(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS + 1, above));
    assert_false(fg_give_way_decide(&gw, 9 * S, 9 * S + 1, above)); /* the clock went back */
    assert_false(
        fg_give_way_decide(&gw, 9 * S, 1, (struct fg_give_way_need){.is_short = true, .held = 8}));
}

/* Whatever the patience with others, and if it is without end. */
static void the_share_holds_by_itself(void **state)
{
    (void)state;
    const struct fg_give_way_need above = {.waiting = 1, .held = 9};
    struct fg_give_way gw = shared(0);
    assert_false(fg_give_way_decide(&gw, UINT64_MAX, 1, waiting(1)));
    assert_true(fg_give_way_decide(&gw, 9 * S, 9 * S - 250 * MS, above));
    gw = shared(10 * MS); /* shorter than the grace */
    assert_true(fg_give_way_decide(&gw, 9 * S, 9 * S - 10 * MS, above));
}

static void shares_are_parts_of_the_whole(void **state)
{
    (void)state;
    static const struct {
        uint32_t connections, permille;
        unsigned loops;
        uint32_t share;
    } cases[] = {
        {256, 100, 1, 25},       {256, 100, 2, 13},
        {256, 1000, 1, 256},     {2, 100, 1, FG_GIVE_WAY_SHARE_LEAST},
        {2, 100, 16, 1},         {UINT32_MAX, 1000, 1, UINT32_MAX},
        {256, 0, 1, UINT32_MAX}, /* no bound */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_give_way gw = made(S);
        fg_give_way_set_share(&gw, cases[i].connections, cases[i].permille, cases[i].loops, S);
        assert_int_equal(gw.share, cases[i].share);
        assert_true(fg_give_way_admits(&gw, cases[i].share - 1));
        assert_false(fg_give_way_admits(&gw, cases[i].share));
    }
    struct fg_give_way gw = made(S);
    assert_true(fg_give_way_admits(&gw, UINT32_MAX - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_stalls_goes),
        cmocka_unit_test(nobody_goes_for_nobody),
        cmocka_unit_test(as_many_go_as_wait),
        cmocka_unit_test(a_lost_place_is_made_again),
        cmocka_unit_test(above_the_share_patience_is_short),
        cmocka_unit_test(a_process_that_is_short_waits_for_nobody),
        cmocka_unit_test(the_share_holds_by_itself),
        cmocka_unit_test(looks_are_as_frequent_as_the_patience_is_short),
        cmocka_unit_test(shares_are_parts_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
