/*
 * test_room_draw.c: a draw is one-to-one, fair, and found back; windows close in order.
 */
#include "policies/room_draw.h"
#include "policy_test.h"

static void is_one_to_one(void **state)
{
    (void)state;
    static bool is_taken[5000];
    uint64_t seed = test_seed(5);
    for (int round = 0; round < 300; round++) {
        uint64_t count = round < 40 ? (uint64_t)round + 1 : 1 + test_below(&seed, 5000);
        uint64_t key = test_random(&seed);
        memset(is_taken, 0, sizeof(is_taken));
        for (uint64_t i = 0; i < count; i++) {
            uint64_t drawn = fg_room_draw(key, count, i);
            assert_true(drawn < count && !is_taken[drawn]);
            is_taken[drawn] = true;
            assert_int_equal(fg_room_draw_back(key, count, drawn), i);
        }
    }
    uint64_t last = fg_room_draw(1, UINT64_MAX, UINT64_MAX - 1);
    assert_true(fg_room_draw_back(1, UINT64_MAX, last) == UINT64_MAX - 1);
}

/* Over many draws each place is drawn first about as often: chi-square with 9 degrees of freedom
 * is below 33 but for one time in ten thousand. */
static void is_fair(void **state)
{
    (void)state;
    uint64_t seed = test_seed(8), first[10] = {0};
    for (int i = 0; i < 20000; i++)
        first[fg_room_draw(test_random(&seed), 10, 0)]++;
    double chi = 0;
    for (int i = 0; i < 10; i++)
        chi += ((double)first[i] - 2000) * ((double)first[i] - 2000) / 2000;
    assert_true(chi < 33);
}

static void windows_close_in_order_and_are_found(void **state)
{
    (void)state;
    struct fg_room_windows windows;
    fg_room_windows_reset(&windows, 10, 0);
    assert_false(fg_room_windows_close(&windows, 10, 1, 0)); /* nobody in it */
    for (uint64_t i = 1; i <= FG_ROOM_WINDOWS; i++)
        assert_true(fg_room_windows_close(&windows, 10 + 5 * i, 1, i));
    assert_false(fg_room_windows_close(&windows, 1000, 1, 99)); /* too many: it stays open */
    assert_true(fg_room_windows_are_consistent(&windows, 1000));
    assert_false(fg_room_windows_are_consistent(&windows, 20));
    assert_null(fg_room_windows_find(&windows, 9));
    assert_int_equal(fg_room_windows_find(&windows, 17)->first, 15);
    assert_null(fg_room_windows_find(&windows, windows.open_first));
    assert_null(fg_room_windows_front(&windows, 9));
    assert_int_equal(fg_room_windows_front(&windows, 14)->first, 10);
    assert_int_equal(fg_room_windows_first(&windows, 3), 10);
    fg_room_windows_pop(&windows);
    assert_true(fg_room_windows_close(&windows, 1000, 1, 99));
    windows.open_first = 400; /* its owner died while it closed a window */
    fg_room_windows_repair(&windows, 22);
    assert_int_equal(windows.open_first, 1000);
    assert_int_equal(fg_room_windows_front(&windows, 22)->first, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_one_to_one),
        cmocka_unit_test(is_fair),
        cmocka_unit_test(windows_close_in_order_and_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
