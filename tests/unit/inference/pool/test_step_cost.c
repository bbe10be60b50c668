/*
 * test_step_cost.c: what steps are learnt to cost, and what fits into one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/scheduler/step_cost.h"

#define MS UINT64_C(1000000)

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    assert_int_equal(fg_step_cost_decode_ns(&cost, 4), 0);
    assert_int_equal(fg_step_cost_budget(&cost, 4, 100 * MS, 16, 256), 256);
    assert_int_equal(fg_step_cost_budget(&cost, 4, 100 * MS, 16, 8), 8);
}

static void a_prompt_gets_what_decodes_leave(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    fg_step_cost_learn(&cost, 4, 0, 50 * MS);
    fg_step_cost_learn(&cost, 0, 64, 128 * MS); /* 2 ms a token */
    assert_int_equal(fg_step_cost_decode_ns(&cost, 4), 50 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 3), 50 * MS); /* the same class */
    assert_int_equal(fg_step_cost_budget(&cost, 4, 150 * MS, 16, 256), 50);
    assert_int_equal(fg_step_cost_budget(&cost, 0, 150 * MS, 16, 256), 75);
    assert_int_equal(fg_step_cost_budget(&cost, 4, 60 * MS, 16, 256), 16);
    assert_int_equal(fg_step_cost_budget(&cost, 4, 10 * MS, 16, 256), 16);
    assert_int_equal(fg_step_cost_budget(&cost, 4, 10000 * MS, 16, 256), 256);
}

static void an_unseen_number_of_decodes_is_judged_by_its_neighbours(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    fg_step_cost_learn(&cost, 4, 0, 40 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 8), 80 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 1), 40 * MS);
    assert_true(fg_step_cost_decode_ns(&cost, UINT32_MAX) > 0);
    fg_step_cost_learn(&cost, 32, 0, 96 * MS); /* between the two: 28 more cost 56 ms */
    assert_int_equal(fg_step_cost_decode_ns(&cost, 8), 48 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 16), 64 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 64), 192 * MS);
}

/* One decode reads all the weights, and so do eight: they are not eight times as dear. */
static void many_decodes_after_one_cost_what_tokens_do(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    fg_step_cost_learn(&cost, 1, 0, 40 * MS);
    fg_step_cost_learn(&cost, 0, 100, 100 * MS); /* 1 ms a token */
    assert_int_equal(fg_step_cost_decode_ns(&cost, 8), (40 + 2 * 7) * MS);
    fg_step_cost_learn(&cost, 0, 1,
                       100000 * MS); /* dear tokens make no more than as many decodes */
    for (int i = 0; i < 100; i++)
        fg_step_cost_learn(&cost, 0, 1, 1000 * MS);
    assert_int_equal(fg_step_cost_decode_ns(&cost, 8), 320 * MS);
}

static void a_mixed_step_teaches_what_prompts_cost(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    fg_step_cost_learn(&cost, 2, 0, 20 * MS);
    for (int i = 0; i < 100; i++)
        fg_step_cost_learn(&cost, 2, 40, 100 * MS);
    assert_in_range(cost.prefill_ns, 2 * MS - 1, 2 * MS + 1);
    /* A clock that says less than decodes alone take makes nothing free. */
    for (int i = 0; i < 100; i++)
        fg_step_cost_learn(&cost, 2, 40, 10 * MS);
    assert_true(cost.prefill_ns > 0);
}

static void one_slow_step_is_not_believed(void **state)
{
    (void)state;
    struct fg_step_cost cost = {0};
    fg_step_cost_learn(&cost, 1, 0, 10 * MS);
    fg_step_cost_learn(&cost, 1, 0, 60000 * MS);
    assert_true(fg_step_cost_decode_ns(&cost, 1) < 12 * MS);
    for (int i = 0; i < 200; i++)
        fg_step_cost_learn(&cost, 1, 0, 100 * MS);
    assert_in_range(fg_step_cost_decode_ns(&cost, 1), 99 * MS, 101 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(a_prompt_gets_what_decodes_leave),
        cmocka_unit_test(an_unseen_number_of_decodes_is_judged_by_its_neighbours),
        cmocka_unit_test(many_decodes_after_one_cost_what_tokens_do),
        cmocka_unit_test(a_mixed_step_teaches_what_prompts_cost),
        cmocka_unit_test(one_slow_step_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
