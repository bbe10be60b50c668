/*
 * test_crowd.c: counts are never too low, and rarely too high.
 */
#include "policies/crowd.h"
#include "policies/siphash.h"
#include "policy_test.h"

static const struct fg_siphash_key key = {1, 2};

static uint64_t owner_of(uint32_t number)
{
    return fg_siphash(&key, &number, sizeof(number));
}

static void counts_each_owner(void **state)
{
    (void)state;
    struct fg_crowd crowd = {0};
    for (uint32_t i = 0; i < 50; i++)
        fg_crowd_add(&crowd, owner_of(1));
    fg_crowd_add(&crowd, owner_of(2));
    fg_crowd_add(&crowd, 0);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(1)), 50);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(2)), 1);
    assert_int_equal(fg_crowd_count(&crowd, 0), 0);
    fg_crowd_remove(&crowd, owner_of(1));
    fg_crowd_remove(&crowd, 0);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(1)), 49);
}

/* One hoard among many: of 10,000 others hardly any is taken for a part of it. */
static void few_are_mistaken_for_a_crowd(void **state)
{
    (void)state;
    struct fg_crowd crowd = {0};
    for (uint32_t i = 0; i < 1000; i++)
        fg_crowd_add(&crowd, owner_of(0));
    unsigned mistaken = 0;
    for (uint32_t i = 1; i <= 10000; i++)
        mistaken += fg_crowd_count(&crowd, owner_of(i)) > 0;
    assert_true(mistaken <= 3);
    for (uint32_t i = 1; i <= 300; i++)
        fg_crowd_add(&crowd, owner_of(i));
    for (uint32_t i = 1; i <= 300; i++)
        assert_true(fg_crowd_count(&crowd, owner_of(i)) >= 1);
    assert_true(fg_crowd_count(&crowd, owner_of(0)) >= 1000);
}

static void what_has_been_fades(void **state)
{
    (void)state;
    struct fg_crowd crowd = {0};
    for (uint32_t i = 0; i < 64; i++)
        fg_crowd_add(&crowd, owner_of(1));
    fg_crowd_add(&crowd, owner_of(2));
    fg_crowd_fade(&crowd);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(1)), 56);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(2)), 0);
    fg_crowd_add(&crowd, owner_of(1));
    fg_crowd_fade(&crowd);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(1)), 49); /* 57, less 7 and a part */
    for (uint32_t i = 0; i < 100; i++)
        fg_crowd_fade(&crowd);
    assert_int_equal(fg_crowd_count(&crowd, owner_of(1)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_each_owner),
        cmocka_unit_test(few_are_mistaken_for_a_crowd),
        cmocka_unit_test(what_has_been_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
