/*
 * test_vtc.c: fair turns between users who ask for different amounts.
 */
#include "policy_test.h"
#include "policies/vtc.h"

static void the_one_who_had_less_goes_first(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[4];
    uint32_t index[64];
    fg_vtc_init(&vtc, users, index, 4);
    uint32_t a = fg_vtc_enter(&vtc, 1);
    uint32_t b = fg_vtc_enter(&vtc, 2);
    assert_int_not_equal(a, b);
    fg_vtc_charge(&vtc, a, 300);
    fg_vtc_charge(&vtc, b, 2);
    assert_true(fg_vtc_counter(&vtc, b) < fg_vtc_counter(&vtc, a));
    assert_int_equal(fg_vtc_enter(&vtc, 1), a); /* a second request counts for the same user */
    fg_vtc_leave(&vtc, a);
    fg_vtc_leave(&vtc, a);
    fg_vtc_leave(&vtc, b);
}

static void idle_time_is_not_saved_up(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[4];
    uint32_t index[64];
    fg_vtc_init(&vtc, users, index, 4);
    uint32_t a = fg_vtc_enter(&vtc, 1);
    fg_vtc_charge(&vtc, a, 1000);
    uint32_t late = fg_vtc_enter(&vtc, 2);
    assert_int_equal(fg_vtc_counter(&vtc, late), 1000);
    fg_vtc_charge(&vtc, late, 500);
    fg_vtc_leave(&vtc, late);
    /* Nor is what one had forgotten by leaving and coming back. */
    assert_int_equal(fg_vtc_counter(&vtc, fg_vtc_enter(&vtc, 2)), 1500);
    fg_vtc_leave(&vtc, a);
}

static void nobody_active_lifts_nobody(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[2];
    uint32_t index[64];
    fg_vtc_init(&vtc, users, index, 2);
    uint32_t a = fg_vtc_enter(&vtc, 1);
    fg_vtc_charge(&vtc, a, 1000);
    fg_vtc_leave(&vtc, a);
    assert_int_equal(fg_vtc_counter(&vtc, fg_vtc_enter(&vtc, 2)), 0);
    /* Both places are taken: the idle one makes room. */
    uint32_t third = fg_vtc_enter(&vtc, 3);
    assert_int_equal(third, a);
    assert_int_equal(fg_vtc_counter(&vtc, third), 0);
}

static void counters_do_not_wrap(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[1];
    uint32_t index[64];
    fg_vtc_init(&vtc, users, index, 1);
    uint32_t a = fg_vtc_enter(&vtc, 0);
    fg_vtc_charge(&vtc, a, UINT64_MAX);
    fg_vtc_charge(&vtc, a, 5);
    assert_true(fg_vtc_counter(&vtc, a) == UINT64_MAX);
}

/* Two users who always want more: one sends tiny requests, the other huge ones. */
static void the_difference_stays_bounded(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[4];
    uint32_t index[64];
    const uint64_t cost[2] = {10, 700};
    uint64_t served[2] = {0, 0};
    fg_vtc_init(&vtc, users, index, 4);
    uint32_t handles[2] = {fg_vtc_enter(&vtc, 1), fg_vtc_enter(&vtc, 2)};
    for (int i = 0; i < 10000; i++) {
        int next = fg_vtc_counter(&vtc, handles[0]) <= fg_vtc_counter(&vtc, handles[1]) ? 0 : 1;
        fg_vtc_charge(&vtc, handles[next], cost[next]);
        served[next] += cost[next];
        uint64_t ahead = served[0] > served[1] ? served[0] - served[1] : served[1] - served[0];
        assert_true(ahead <= 700);
    }
}

#define PLACES 9u

/* The same by looking at everybody: whose place `user` gets, and with which counter. */
static uint32_t expect_enter(const struct fg_vtc_user *users, uint64_t user, uint64_t *counter)
{
    uint32_t best = FG_VTC_NO_USER;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < PLACES; i++) {
        const struct fg_vtc_user *it = &users[i];
        if (it->active > 0 && it->counter < least)
            least = it->counter;
        if (it->active == 0 &&
            (best == FG_VTC_NO_USER || it->is_taken < users[best].is_taken ||
             (it->is_taken == users[best].is_taken && it->counter < users[best].counter)))
            best = i;
    }
    *counter = 0;
    for (uint32_t i = 0; i < PLACES; i++) {
        if (users[i].is_taken == 0 || users[i].user != user)
            continue;
        best = i;
        *counter = users[i].counter;
    }
    if (best != FG_VTC_NO_USER && users[best].active == 0 && least != UINT64_MAX &&
        *counter < least)
        *counter = least;
    return best;
}

static void the_index_finds_what_a_look_at_everybody_does(void **state)
{
    (void)state;
    struct fg_vtc vtc;
    struct fg_vtc_user users[PLACES];
    uint32_t index[64];
    uint64_t seed = test_seed(3);
    assert_in_range(fg_vtc_index_count(PLACES), 1, 64);
    fg_vtc_init(&vtc, users, index, PLACES);
    for (int i = 0; i < 20000; i++) {
        uint32_t handle = (uint32_t)test_below(&seed, PLACES);
        uint64_t user = test_below(&seed, 24) << (8 * test_below(&seed, 8));
        uint64_t counter;
        uint32_t expected;
        switch (test_below(&seed, 8)) {
        case 0: /* after a death: nothing of the index is to be believed */
            memset(index, 0xa5, sizeof(index));
            users[handle].active = (uint32_t)test_below(&seed, 2) & users[handle].is_taken;
            fg_vtc_rebuild(&vtc);
            break;
        case 1:
        case 2:
            expected = expect_enter(users, user, &counter);
            assert_int_equal(fg_vtc_enter(&vtc, user), expected);
            assert_true(expected == FG_VTC_NO_USER || fg_vtc_counter(&vtc, expected) == counter);
            break;
        case 3:
        case 4:
            if (users[handle].active > 0)
                fg_vtc_charge(&vtc, handle, test_below(&seed, 50));
            break;
        default:
            if (users[handle].active > 0)
                fg_vtc_leave(&vtc, handle);
            break;
        }
        assert_true(fg_vtc_is_sound(&vtc));
    }
    users[0].heap_at ^= 1;
    assert_false(fg_vtc_is_sound(&vtc));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_who_had_less_goes_first),
        cmocka_unit_test(idle_time_is_not_saved_up),
        cmocka_unit_test(nobody_active_lifts_nobody),
        cmocka_unit_test(counters_do_not_wrap),
        cmocka_unit_test(the_difference_stays_bounded),
        cmocka_unit_test(the_index_finds_what_a_look_at_everybody_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
