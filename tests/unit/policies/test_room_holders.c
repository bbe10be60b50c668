/*
 * test_room_holders.c: everybody's place is remembered, nobody gets another's, nothing grows.
 */
#include "policies/room_holders.h"
#include "policy_test.h"

#define CAPACITY 4096u

static uint64_t memory[(CAPACITY / 8 + 1) * 16];

static struct fg_room_holders a_table(void)
{
    assert_int_equal(fg_room_holders_bytes(CAPACITY), sizeof(memory));
    memset(memory, 0, sizeof(memory));
    return fg_room_holders_over(memory, CAPACITY);
}

static struct fg_room_holder_id who(uint64_t hash)
{
    return (struct fg_room_holder_id){hash << 17, hash};
}

static void remembers_the_last_place(void **state)
{
    (void)state;
    struct fg_room_holders table = a_table();
    uint64_t number = 99;
    assert_false(fg_room_holders_find(&table, who(7), 1, &number));
    fg_room_holders_put(&table, who(7), 1, 0, 10);
    assert_true(fg_room_holders_find(&table, who(7), 1, &number));
    assert_int_equal(number, 0);
    fg_room_holders_put(&table, who(7), 1, FG_ROOM_HOLDERS_NUMBER_END - 1, 11);
    assert_true(fg_room_holders_find(&table, who(7), 1, &number));
    assert_int_equal(number, FG_ROOM_HOLDERS_NUMBER_END - 1);
    /* of another line it is nothing, and a number that does not fit is not remembered wrongly */
    assert_false(fg_room_holders_find(&table, who(7), 2, &number));
    fg_room_holders_put(&table, who(7), 1, FG_ROOM_HOLDERS_NUMBER_END, 12);
    assert_true(fg_room_holders_find(&table, who(7), 1, &number));
    assert_int_equal(number, FG_ROOM_HOLDERS_NUMBER_END - 1);
    /* the last line replaces it */
    fg_room_holders_put(&table, who(7), 2, 5, 13);
    assert_false(fg_room_holders_find(&table, who(7), 1, &number));
    assert_true(fg_room_holders_find(&table, who(7), 2, &number));
}

static void takes_nobody_for_another(void **state)
{
    (void)state;
    uint64_t seed = test_seed(3), lost = 0;
    struct fg_room_holders table = a_table();
    static struct fg_room_holder_id holders[CAPACITY];
    for (uint64_t i = 0; i < CAPACITY; i++) {
        holders[i] = (struct fg_room_holder_id){test_random(&seed), test_random(&seed)};
        fg_room_holders_put(&table, holders[i], 1, i, i / 100);
    }
    for (uint64_t i = 0; i < CAPACITY; i++) {
        uint64_t number;
        if (!fg_room_holders_find(&table, holders[i], 1, &number))
            lost++;
        else
            assert_int_equal(number, i);
        /* strangers, one of whom differs in one bit of the tag alone */
        struct fg_room_holder_id other = {test_random(&seed), holders[i].lo};
        assert_false(fg_room_holders_find(&table, other, 1, &number));
        other.hi = holders[i].hi ^ UINT64_C(1) << 17;
        assert_false(fg_room_holders_find(&table, other, 1, &number));
    }
    assert_true(lost < CAPACITY / 5); /* whose set was full */
}

static struct fg_room_holder_id one_of_set(uint64_t i)
{
    return (struct fg_room_holder_id){(i + 1) << 17, 3};
}

/* The clock of seconds comes round every half year. */
static void forgets_who_was_not_remembered_for_longest(void **state)
{
    (void)state;
    struct fg_room_holders table = a_table();
    const uint64_t now_s = (UINT64_C(1) << 24) - 3;
    uint64_t number;
    for (uint64_t i = 0; i < 8; i++) /* all of one set */
        fg_room_holders_put(&table, one_of_set(i), 1, i, now_s + (i + 5) % 8);
    fg_room_holders_put(&table, one_of_set(8), 1, 8, now_s + 8);
    for (uint64_t i = 0; i < 9; i++)
        assert_int_equal(fg_room_holders_find(&table, one_of_set(i), 1, &number), i != 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_the_last_place),
        cmocka_unit_test(takes_nobody_for_another),
        cmocka_unit_test(forgets_who_was_not_remembered_for_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
