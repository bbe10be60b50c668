/*
 * test_retry_after.c: bounds of the times told to refused clients, and their spread.
 */
#include "policies/retry_after.h"

#include "policy_test.h"

static void a_queue_tells_its_wait_but_at_least_a_second(void **state)
{
    (void)state;
    assert_true(fg_retry_after_queue_ns(0) == S);
    assert_true(fg_retry_after_queue_ns(UINT64_MAX) == S);
    assert_true(fg_retry_after_queue_ns(S) == S);
    assert_true(fg_retry_after_queue_ns(7 * S) == 7 * S);
}

static void a_room_is_asked_every_20_seconds_at_least(void **state)
{
    (void)state;
    assert_true(fg_retry_after_room_ns(0, 300 * S, 0) == S);
    assert_true(fg_retry_after_room_ns(3 * S, 300 * S, 50) == 3 * S);
    assert_true(fg_retry_after_room_ns(600 * S, 300 * S, 0) == 20 * S);
    assert_true(fg_retry_after_room_ns(UINT64_MAX, 300 * S, 100) == 15 * S);
    assert_true(fg_retry_after_room_ns(UINT64_MAX, 30 * S, 0) == 10 * S); /* the place is kept */
    assert_true(fg_retry_after_room_ns(0, 3, 0) == 1);
}

static void the_spread_is_a_tenth_at_most_and_even(void **state)
{
    (void)state;
    uint64_t seed = test_seed(7);
    uint64_t sum_ns = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t spread_ns = fg_retry_after_spread_ns(10 * S, test_random(&seed));
        assert_in_range(spread_ns, 10 * S, 11 * S);
        sum_ns += spread_ns;
    }
    assert_in_range(sum_ns / 1000, 10400 * MS, 10600 * MS);
    assert_true(fg_retry_after_spread_ns(0, 50) == 0);
    assert_true(fg_retry_after_spread_ns(UINT64_MAX, 50) == 0);
    assert_true(fg_retry_after_spread_ns(UINT64_MAX - 1, 0) == UINT64_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_tells_its_wait_but_at_least_a_second),
        cmocka_unit_test(a_room_is_asked_every_20_seconds_at_least),
        cmocka_unit_test(the_spread_is_a_tenth_at_most_and_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
