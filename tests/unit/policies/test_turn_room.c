/*
 * test_turn_room.c: who goes last has what is left of a turn, and a part of any.
 */
#include "policies/turn_room.h"
#include "policy_test.h"

#define US UINT64_C(1000)

static void who_goes_last_has_what_is_left(void **state)
{
    (void)state;
    assert_true(fg_turn_has_room(MS, 600 * US, 300 * US, 100 * US));
    assert_false(fg_turn_has_room(MS, 600 * US, 300 * US, 100 * US + 1));
    assert_true(fg_turn_has_room(MS, 0, 0, MS));
    assert_false(fg_turn_has_room(0, 0, 0, 1));
}

static void who_goes_last_has_a_part_of_any_turn(void **state)
{
    (void)state;
    assert_true(fg_turn_has_room(MS, 8 * MS, MS, MS)); /* a quarter of the others' */
    assert_false(fg_turn_has_room(MS, 8 * MS, MS, MS + 1));
    assert_true(fg_turn_has_room(MS, UINT64_MAX, UINT64_MAX / 8, UINT64_MAX / 8));
}

static void sums_saturate(void **state)
{
    (void)state;
    assert_false(fg_turn_has_room(MS, 0, UINT64_MAX, UINT64_MAX));
    assert_false(fg_turn_has_room(MS, UINT64_MAX, UINT64_MAX, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_goes_last_has_what_is_left),
        cmocka_unit_test(who_goes_last_has_a_part_of_any_turn),
        cmocka_unit_test(sums_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
