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

/* As many as that ask for `times`, each. */
static void ask_by_many(struct fg_askers *askers, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        for (uint64_t one = 1; one <= 64; one++)
            fg_askers_note(askers, one << 32 | one);
    }
}

static void of_a_flood_by_many_each_is_heavy(void **state)
{
    (void)state;
    const uint64_t one_of_many = UINT64_C(5) << 32 | 5, neighbour = UINT64_C(200) << 32 | 200;
    struct fg_askers askers = {0};
    ask_by_many(&askers, 15);
    assert_false(fg_askers_is_heavy(&askers, one_of_many)); /* that is little */
    ask_by_many(&askers, 85);
    assert_int_equal(fg_askers_excess(&askers, one_of_many), 0);
    assert_true(fg_askers_is_heavy(&askers, one_of_many));
    ask(&askers, neighbour, 24);
    assert_false(fg_askers_is_heavy(&askers, neighbour));
    ask(&askers, neighbour, 1); /* a half of what the others had when they asked, on average */
    assert_true(fg_askers_is_heavy(&askers, neighbour));
    assert_false(fg_askers_is_heavy(&askers, 0));
    fg_askers_fade(&askers);
    assert_true(fg_askers_is_heavy(&askers, one_of_many));
    for (unsigned i = 0; i < 100; i++)
        fg_askers_fade(&askers);
    assert_int_equal(askers.own, 0);
    assert_false(fg_askers_is_heavy(&askers, one_of_many));
}

static void beside_one_who_floods_others_are_not_heavy(void **state)
{
    (void)state;
    struct fg_askers askers = {0};
    ask(&askers, GREEDY, 1000);
    ask(&askers, OTHER, 200);
    assert_true(fg_askers_is_heavy(&askers, GREEDY));
    assert_false(fg_askers_is_heavy(&askers, OTHER));
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
        cmocka_unit_test(of_a_flood_by_many_each_is_heavy),
        cmocka_unit_test(beside_one_who_floods_others_are_not_heavy),
        cmocka_unit_test(what_was_asked_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
