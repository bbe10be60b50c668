/*
 * test_askers.c: whose part of all is too large, and for how long.
 */
#include "policies/askers.h"
#include "policy_test.h"

#define GREEDY UINT64_C(0x100000002)
#define OTHER UINT64_C(0x300000004)

static void ask(struct fg_askers *askers, uint64_t owner, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        fg_askers_note(askers, owner);
}

static void of_few_any_part_is_chance(void **state)
{
    (void)state;
    struct fg_askers askers = {0};
    ask(&askers, GREEDY, 63);
    assert_int_equal(fg_askers_excess(&askers, GREEDY), 0);
    ask(&askers, GREEDY, 1);
    assert_int_equal(fg_askers_excess(&askers, GREEDY), 60);
    assert_int_equal(fg_askers_excess(&askers, OTHER), 0);
}

static void a_sixteenth_is_nobodys_flood(void **state)
{
    (void)state;
    struct fg_askers askers = {0};
    ask(&askers, 0, 150); /* nobody known */
    ask(&askers, GREEDY, 10);
    assert_int_equal(fg_askers_excess(&askers, GREEDY), 0);
    ask(&askers, GREEDY, 5);
    assert_int_equal(fg_askers_excess(&askers, GREEDY), 15 - 165 / 16);
    assert_int_equal(fg_askers_excess(&askers, 0), 0);
}

static void what_was_asked_is_forgotten(void **state)
{
    (void)state;
    struct fg_askers askers = {0};
    ask(&askers, GREEDY, 1000);
    fg_askers_fade(&askers);
    assert_int_equal(askers.asked, 875);
    assert_int_equal(fg_askers_excess(&askers, GREEDY), 875 - 875 / 16);
    for (unsigned i = 0; i < 100; i++)
        fg_askers_fade(&askers);
    assert_int_equal(askers.asked, 0);
    assert_int_equal(fg_crowd_count(&askers.crowd, GREEDY), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_few_any_part_is_chance),
        cmocka_unit_test(a_sixteenth_is_nobodys_flood),
        cmocka_unit_test(what_was_asked_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
