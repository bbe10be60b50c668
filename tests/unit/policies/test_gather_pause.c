/*
 * test_gather_pause.c: a loop pauses while it is busy, but not too busy, and forgets soon what was.
 */
#include "policies/gather_pause.h"
#include "policy_test.h"

#define US UINT64_C(1000)
#define MOST (150 * US)

/* Turns of `busy_ns` in `period_ns` each, until nothing of older ones is left to be seen. */
static uint64_t run(struct fg_gather_pause *pause, uint64_t busy_ns, uint64_t period_ns)
{
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t ended_ns = pause->ended_ns + period_ns;
        fg_gather_pause_note(pause, ended_ns - busy_ns, ended_ns);
    }
    return fg_gather_pause_ask(pause);
}

static struct fg_gather_pause made(uint64_t most_ns)
{
    struct fg_gather_pause pause;
    fg_gather_pause_init(&pause, most_ns, 0);
    return pause;
}

static void it_is_as_long_as_the_load_wants_it(void **state)
{
    (void)state;
    const struct {
        uint64_t busy_permille, pause_ns;
    } cases[] = {{0, 0},          {399, 0},          {401, MOST}, {599, MOST}, {750, MOST / 2},
                 {840, MOST / 5}, {899, MOST / 300}, {900, 0},    {1000, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_gather_pause pause = made(MOST);
        assert_in_range(run(&pause, cases[i].busy_permille * US / 10, 100 * US), cases[i].pause_ns,
                        cases[i].pause_ns + MOST / 300);
    }
}

static void there_is_none_at_first_and_none_that_was_not_allowed(void **state)
{
    (void)state;
    struct fg_gather_pause pause = made(MOST);
    assert_int_equal(fg_gather_pause_ask(&pause), 0);
    pause = made(0);
    assert_int_equal(run(&pause, 50 * US, 100 * US), 0);
    pause = made(UINT64_MAX);
    assert_in_range(run(&pause, 50 * US, 100 * US), UINT64_MAX - 1000, UINT64_MAX);
}

/* Who cannot keep up any more has long turns, and no pause between them. */
static void no_capacity_is_lost_to_it(void **state)
{
    (void)state;
    struct fg_gather_pause pause = made(MOST);
    const uint64_t cost_ns = 10 * US, demand_ns = 9 * US, waiting_most = 128;
    uint64_t asked = 0, served = 0, now_ns = 0;
    while (served < 100000) {
        now_ns += fg_gather_pause_ask(&pause);
        uint64_t waiting = now_ns / demand_ns - asked;
        asked += waiting; /* of whom those that find no place go away */
        waiting = waiting < waiting_most ? waiting : waiting_most;
        uint64_t began_ns = now_ns;
        now_ns += waiting > 0 ? waiting * cost_ns : US;
        fg_gather_pause_note(&pause, waiting > 0 ? began_ns : now_ns, now_ns);
        served += waiting;
    }
    assert_in_range(served * cost_ns, now_ns / 100 * 99, now_ns);
}

static void an_idle_hour_is_forgotten_soon(void **state)
{
    (void)state;
    struct fg_gather_pause pause = made(MOST);
    assert_int_equal(run(&pause, 50 * US, 100 * US), MOST);
    uint64_t now_ns = pause.ended_ns + UINT64_C(3600) * 1000000 * US;
    for (unsigned i = 0; i < 32; i++) {
        fg_gather_pause_note(&pause, now_ns - 10 * US, now_ns);
        now_ns += 1000 * US;
    }
    assert_int_equal(fg_gather_pause_ask(&pause), 0);
    for (unsigned i = 0; i < 2 * 32 + 40; i++) {
        fg_gather_pause_note(&pause, now_ns - 60 * US, now_ns);
        now_ns += 100 * US;
    }
    assert_true(fg_gather_pause_ask(&pause) > 0);
}

static void a_clock_that_goes_back_or_jumps_is_little_load(void **state)
{
    (void)state;
    struct fg_gather_pause pause = made(MOST);
    fg_gather_pause_note(&pause, 500 * US, 400 * US);
    fg_gather_pause_note(&pause, 300 * US, 200 * US);
    assert_int_equal(fg_gather_pause_ask(&pause), 0);
    fg_gather_pause_note(&pause, 0, UINT64_MAX); /* a busy millisecond, like any longer one */
    assert_in_range(fg_gather_pause_ask(&pause), 0, MOST);
    assert_int_equal(run(&pause, 0, 100 * US), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_long_as_the_load_wants_it),
        cmocka_unit_test(there_is_none_at_first_and_none_that_was_not_allowed),
        cmocka_unit_test(no_capacity_is_lost_to_it),
        cmocka_unit_test(an_idle_hour_is_forgotten_soon),
        cmocka_unit_test(a_clock_that_goes_back_or_jumps_is_little_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
