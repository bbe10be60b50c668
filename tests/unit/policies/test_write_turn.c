/*
 * test_write_turn.c: a turn's first writers share its budget, and who has much to be sent goes
 * last, until it has had little for a while.
 */
#include "policies/write_turn.h"
#include "policy_test.h"

#define US UINT64_C(1000)
#define RECORD ((size_t)16384)
#define PIECE ((size_t)131072)
#define BUDGET (250 * US) /* ns, and so many bytes */

static struct fg_write_turn made(void)
{
    struct fg_write_turn writes;
    fg_write_turn_init(&writes, BUDGET);
    return writes;
}

static size_t asked(const struct fg_write_turn *writes, uint64_t turn)
{
    return fg_write_turn_ask(writes, turn, RECORD, PIECE);
}

static void the_first_of_a_turn_have_large_pieces(void **state)
{
    (void)state;
    struct fg_write_turn writes = made();
    assert_int_equal(asked(&writes, 1), PIECE);
    fg_write_turn_note(&writes, 1, PIECE);
    assert_int_equal(asked(&writes, 1), BUDGET - PIECE);
    fg_write_turn_note(&writes, 1, BUDGET - PIECE - RECORD - 1);
    assert_int_equal(asked(&writes, 1), RECORD + 1);
    fg_write_turn_note(&writes, 1, 1);
    assert_int_equal(asked(&writes, 1), RECORD);
    fg_write_turn_note(&writes, 1, RECORD);
    assert_int_equal(asked(&writes, 1), RECORD); /* nobody is held up for want of a budget */
}

static void each_turn_has_a_budget_of_its_own(void **state)
{
    (void)state;
    struct fg_write_turn writes = made();
    fg_write_turn_note(&writes, 1, SIZE_MAX);
    fg_write_turn_note(&writes, 1, SIZE_MAX); /* saturates */
    assert_int_equal(asked(&writes, 1), RECORD);
    assert_int_equal(asked(&writes, 2), PIECE);
    fg_write_turn_note(&writes, 2, RECORD);
    assert_int_equal(asked(&writes, 2), PIECE);
    fg_write_turn_init(&writes, UINT64_MAX);
    assert_int_equal(asked(&writes, 2), PIECE);
}

static void who_left_something_goes_last(void **state)
{
    (void)state;
    struct fg_write_pace pace = {0};
    assert_false(fg_write_turn_goes_last(&pace));
    fg_write_turn_judge(&pace, PIECE, RECORD, true); /* much, and all of it */
    assert_false(fg_write_turn_goes_last(&pace));
    fg_write_turn_judge(&pace, RECORD - 1, RECORD, false); /* the socket took no more */
    assert_false(fg_write_turn_goes_last(&pace));
    fg_write_turn_judge(&pace, RECORD, RECORD, false);
    assert_true(fg_write_turn_goes_last(&pace));
}

static void small_answers_are_forgiven_after_eight(void **state)
{
    (void)state;
    struct fg_write_pace pace = {0};
    fg_write_turn_judge(&pace, PIECE, RECORD, false);
    for (unsigned i = 0; i < FG_WRITE_TURN_DOUBTS; i++) {
        assert_true(fg_write_turn_goes_last(&pace));
        fg_write_turn_judge(&pace, 1024, RECORD, true);
    }
    assert_false(fg_write_turn_goes_last(&pace));
    fg_write_turn_judge(&pace, 1024, RECORD, true);
    assert_false(fg_write_turn_goes_last(&pace));
}

static void a_small_answer_in_between_buys_nothing(void **state)
{
    (void)state;
    struct fg_write_pace pace = {0};
    for (unsigned i = 0; i < 100; i++) {
        fg_write_turn_judge(&pace, PIECE, RECORD, false);
        fg_write_turn_judge(&pace, RECORD, RECORD, true); /* the end of it is no small one */
        fg_write_turn_judge(&pace, 1024, RECORD, true);
        assert_true(fg_write_turn_goes_last(&pace));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_of_a_turn_have_large_pieces),
        cmocka_unit_test(each_turn_has_a_budget_of_its_own),
        cmocka_unit_test(who_left_something_goes_last),
        cmocka_unit_test(small_answers_are_forgiven_after_eight),
        cmocka_unit_test(a_small_answer_in_between_buys_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
