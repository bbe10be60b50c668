/*
 * test_admission_level.c: the level goes to what is served, opens step by step, and never shuts out
 * everybody.
 */
#include "policies/admission_level.h"
#include "policy_test.h"

static struct fg_admission_level al; /* 12 KiB: kept off the stack */

static void start(void)
{
    struct fg_admission_level_config config = fg_admission_level_config_default();
    fg_admission_level_init(&al, &config, 0);
}

/* As if the window before had been one of waits: what comes from now on feeds them. */
static void start_late(void)
{
    start();
    al.was_late = true;
}

/* A window in which each of `numbers` numbers comes once a ms, and `served` get a slot. */
static void run_window(uint64_t *now_ns, uint32_t numbers, uint32_t served, uint64_t wait_ns)
{
    for (uint32_t ms = 0; ms < 10; ms++) {
        for (uint32_t number = 0; number < numbers; number++)
            (void)fg_admission_level_arrive(&al, *now_ns, number);
        *now_ns += 10 * MS;
    }
    for (uint32_t i = 0; i < served; i++)
        fg_admission_level_note_served(&al);
    for (uint32_t i = 0; i < 100; i++)
        fg_admission_level_note_wait(&al, wait_ns);
}

static void lowers_to_what_is_served(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 18 * MS + 1); /* 1000 come, 100 are served */
    assert_int_equal(fg_admission_level_current(&al), FG_PRIORITY_COMPOUND_COUNT - 1);
    assert_true(fg_admission_level_arrive(&al, now_ns, 0));
    /* 10 of each number, and 106 may come: 6 of the 11th number are the last */
    assert_int_equal(fg_admission_level_current(&al), 10);
    uint32_t passed = 0;
    for (int i = 0; i < 100; i++)
        passed += fg_admission_level_arrive(&al, now_ns, 10);
    assert_in_range(passed, 59, 61);
    assert_true(fg_admission_level_arrive(&al, now_ns, 9));
    assert_false(fg_admission_level_arrive(&al, now_ns, 11));
    assert_int_equal(al.lowered_total, 1);
}

/* Served in the 20 ms that all wait too long: 20 of the 100. They are let in less. */
static void those_who_wait_too_long_take_the_places_of_newcomers(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 38 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_int_equal(fg_admission_level_current(&al), 8); /* 105 - 20 + 1 = 86 */
    assert_true(al.share > 0.55 && al.share < 0.65);
    start_late();
    now_ns = 0;
    run_window(&now_ns, 100, 100, 10 * S); /* whatever one window shows, half of it comes */
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_int_equal(fg_admission_level_current(&al), 5);
}

/*
 * A crowd: with so many of it waiting each further request has the worst number, so that there
 * are as many of the better one as it takes to keep the queue that long, whatever share is let in.
 */
static void a_crowd_does_not_keep_the_queue_long(void **state)
{
    (void)state;
    enum { CROWD = 17, SERVED_EACH = 10, STEPS = 400 * 30 };
    uint64_t enqueued_ns[CROWD], now_ns = 0, waiting_sum = 0;
    uint32_t first = 0, waiting = 0;
    start();
    for (uint32_t step = 0; step < STEPS; step++) {
        now_ns += 250 * FG_POLICY_US;
        bool is_crowd = waiting == CROWD;
        if (fg_admission_level_arrive(&al, now_ns, is_crowd ? 127 : 20) && !is_crowd)
            enqueued_ns[(first + waiting++) % CROWD] = now_ns;
        if (step % SERVED_EACH == 0 && waiting > 0) {
            fg_admission_level_note_served(&al);
            fg_admission_level_note_wait(&al, now_ns - enqueued_ns[first]);
            first = (first + 1) % CROWD;
            waiting--;
        }
        waiting_sum += step >= STEPS / 2 ? waiting : 0;
    }
    print_message("  %.1f wait\n", (double)waiting_sum / (STEPS / 2));
    assert_in_range(waiting_sum / (STEPS / 2), 3, 10); /* the target is 7.2 */
}

static void the_target_itself_is_no_overload(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 18 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_int_equal(fg_admission_level_current(&al), FG_PRIORITY_COMPOUND_COUNT - 1);
}

/* A thousand at once, and then a few: they wait for long, and all that come later may wait, too. */
static void a_burst_that_drains_lowers_nothing(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start();
    run_window(&now_ns, 100, 100, 40 * MS);
    for (uint64_t i = 1; i < 10; i++)
        run_window(&now_ns, 9, 100, i * 100 * MS); /* 90 come, 100 are served */
    assert_int_equal(al.lowered_total, 0);
    run_window(&now_ns, 100, 100, S);
    run_window(&now_ns, 100, 100, S); /* now it is fed */
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_true(al.lowered_total > 0);
}

/* The window before it was late, but who came first did not have to wait: the backend was idle. */
static void a_burst_soon_after_another_lowers_nothing(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    fg_admission_level_note_served(&al);
    fg_admission_level_note_wait(&al, 0);
    run_window(&now_ns, 100, 100, 40 * MS);
    for (uint64_t i = 1; i < 10; i++)
        run_window(&now_ns, 10, 100, i * 100 * MS);
    assert_int_equal(al.lowered_total, 0);
}

static void opens_step_by_step_and_when_the_flood_ends(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 21 * MS);
    run_window(&now_ns, 100, 100, 0);
    uint32_t before = fg_admission_level_current(&al);
    run_window(&now_ns, 100, 100, 0);
    run_window(&now_ns, 100, 100, 0);
    assert_in_range(fg_admission_level_current(&al), before + 1, before + 2); /* 1 % of all */
    run_window(&now_ns, 5, 50, 0); /* hardly anybody comes any more */
    run_window(&now_ns, 5, 50, 0);
    assert_int_equal(fg_admission_level_current(&al), FG_PRIORITY_COMPOUND_COUNT - 1);
}

/* All have one address and no name: a share of them may wait, and some even if none is served. */
static void one_group_alone_is_never_shut_out(void **state)
{
    (void)state;
    start();
    uint32_t passed = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        passed += fg_admission_level_arrive(&al, i * MS, 300);
        fg_admission_level_note_wait(&al, S);
    }
    assert_in_range(passed, 105, 300); /* all of the first window, then one in each eight */
}

/* Four are served in each window of forty: chance moves the level little. */
static void few_requests_a_window_leave_it_steady(void **state)
{
    (void)state;
    uint64_t seed = test_seed(3), now_ns = 0;
    uint32_t least = FG_PRIORITY_COMPOUND_COUNT, most = 0;
    start();
    for (uint32_t window = 0; window < 1000; window++) {
        uint32_t allowed = 0;
        for (uint32_t i = 0; i < 40; i++) {
            now_ns += 2500 * FG_POLICY_US;
            allowed += fg_admission_level_arrive(
                &al, now_ns, (uint32_t)test_below(&seed, FG_PRIORITY_COHORT_COUNT));
        }
        for (uint32_t i = 0; i < 4; i++)
            fg_admission_level_note_served(&al);
        fg_admission_level_note_wait(&al, allowed > 4 ? 30 * MS : 10 * MS);
        uint32_t level = fg_admission_level_current(&al);
        least = window > 50 && level < least ? level : least;
        most = window > 50 && level > most ? level : most;
    }
    print_message("  level %u to %u\n", least, most); /* 12.8 is a tenth of the lots */
    assert_in_range(least, 7, 13);
    assert_in_range(most, 12, 26);
}

static void an_old_overload_is_forgotten(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 21 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_true(fg_admission_level_arrive(&al, now_ns + 2 * S, 511));
}

static void odd_clocks_and_off(void **state)
{
    (void)state;
    start();
    assert_true(fg_admission_level_arrive(&al, YEAR, 511));
    assert_true(fg_admission_level_arrive(&al, 0, 511));
    assert_true(fg_admission_level_arrive(&al, UINT64_MAX, 511));
    struct fg_admission_level_config config = {.window_ns = 0};
    fg_admission_level_init(&al, &config, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(fg_admission_level_arrive(&al, i * S, 511));
        fg_admission_level_note_wait(&al, S);
    }
}

static void a_slow_backend_is_judged_over_a_longer_window(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start();
    fg_admission_level_stretch(&al, 5 * MS, 5 * MS, 50 * MS); /* not below what is configured */
    assert_true(al.target_ns == 18 * MS && al.window_ns == 100 * MS);
    fg_admission_level_stretch(&al, 500 * MS, 500 * MS, S);
    run_window(&now_ns, 100, 100, 400 * MS);
    assert_true(fg_admission_level_arrive(&al, now_ns, 0)); /* 100 ms are no window any more */
    assert_int_equal(al.arrived, 1001);
    now_ns = S;
    assert_true(fg_admission_level_arrive(&al, now_ns, 0));
    assert_int_equal(al.lowered_total, 0); /* and 400 ms no overload */
    assert_int_equal(al.arrived, 1);
    for (uint32_t i = 0; i < 5000; i++) /* many arrivals: not before a slot can have come free */
        (void)fg_admission_level_arrive(&al, now_ns + 499 * MS, i % 100);
    assert_int_equal(al.arrived, 5001);
    (void)fg_admission_level_arrive(&al, now_ns + 500 * MS, 0);
    assert_int_equal(al.arrived, 1);
}

#define ONE UINT64_C(0x0000000100000002)
#define OTHER UINT64_C(0x0000000300000004)

static uint32_t ask(uint64_t owner, uint32_t compound)
{
    bool is_heavy;
    return fg_admission_level_ask(&al, owner, compound, &is_heavy);
}

/* `his` of so many arrivals; how much worse his next one is. */
static uint32_t worse_of(uint32_t his, uint32_t all)
{
    start();
    for (uint32_t i = 0; i < all; i++)
        (void)ask(i < his ? ONE : OTHER, 0);
    return ask(ONE, 0);
}

static void who_asks_for_much_of_all_has_a_worse_number(void **state)
{
    (void)state;
    assert_int_equal(worse_of(63, 63), 0); /* so few are chance */
    assert_int_equal(worse_of(64, 64), FG_PRIORITY_COHORT_COUNT - 1);
    assert_int_equal(worse_of(100, 1600), 0);
    assert_int_equal(worse_of(250, 1600), 64);
    assert_int_equal(worse_of(400, 1600), FG_PRIORITY_COHORT_COUNT - 1);
    assert_int_equal(worse_of(1600, 1600), FG_PRIORITY_COHORT_COUNT - 1);
    assert_int_equal(ask(OTHER, 0), 0);
    assert_int_equal(ask(0, 0), 0);
}

#define CLASS ((uint32_t)FG_PRIORITY_NORMAL * FG_PRIORITY_COHORT_COUNT)
#define FLOODERS 64u

/* Somebody of many, of whom nobody has a sixteenth. */
static uint64_t flooder(uint32_t number)
{
    return (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void many_ask(uint32_t times)
{
    for (uint32_t i = 0; i < FLOODERS * times; i++)
        (void)ask(flooder(i % FLOODERS), CLASS);
}

static void many_who_ask_for_much_are_behind_all_others_by_their_lots(void **state)
{
    (void)state;
    start();
    many_ask(16); /* not yet */
    assert_int_equal(ask(flooder(0), CLASS), CLASS);
    assert_int_equal(ask(OTHER, CLASS + 127), CLASS + 127);
    many_ask(24);
    assert_int_equal(ask(flooder(0), CLASS), CLASS + 124);
    assert_int_equal(ask(flooder(1), CLASS + 40), CLASS + 125);
    assert_int_equal(ask(flooder(2), CLASS + 127), CLASS + 127);
    assert_int_equal(ask(OTHER, CLASS), CLASS);
    assert_int_equal(ask(OTHER, CLASS + 100), CLASS + 100);
    assert_int_equal(ask(OTHER, CLASS + 127), CLASS + 123);
}

/* Their old numbers say nothing of what is to come, and are not waited for. */
static void the_level_begins_anew_once_they_are_known(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    start_late();
    run_window(&now_ns, 100, 100, 50 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_true(fg_admission_level_current(&al) < FG_PRIORITY_COHORT_COUNT);
    many_ask(40);
    run_window(&now_ns, 100, 100, 50 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_int_equal(fg_admission_level_current(&al), FG_PRIORITY_COMPOUND_COUNT - 1);
    many_ask(40); /* it is about them from now on, and not anew each time */
    run_window(&now_ns, 100, 100, 50 * MS);
    (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_true(fg_admission_level_current(&al) < FG_PRIORITY_COHORT_COUNT);
}

static void what_was_asked_for_fades(void **state)
{
    (void)state;
    uint64_t now_ns = 0;
    assert_int_equal(worse_of(1600, 1600), FG_PRIORITY_COHORT_COUNT - 1);
    for (uint32_t i = 0; i < 400; i++, now_ns += 100 * MS)
        (void)fg_admission_level_arrive(&al, now_ns, 0);
    assert_int_equal(al.askers.asked, 0);
    assert_int_equal(ask(ONE, 0), 0);
    (void)worse_of(1600, 1600);
    (void)fg_admission_level_arrive(&al, 2 * S, 0); /* nobody came for so long */
    assert_int_equal(al.askers.asked, 0);
    struct fg_admission_level_config config = {.window_ns = 0};
    fg_admission_level_init(&al, &config, 0);
    for (uint32_t i = 0; i < 1000; i++) /* it never refuses, and keeps nothing in mind */
        assert_int_equal(ask(ONE, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowers_to_what_is_served),
        cmocka_unit_test(those_who_wait_too_long_take_the_places_of_newcomers),
        cmocka_unit_test(a_crowd_does_not_keep_the_queue_long),
        cmocka_unit_test(the_target_itself_is_no_overload),
        cmocka_unit_test(a_burst_that_drains_lowers_nothing),
        cmocka_unit_test(a_burst_soon_after_another_lowers_nothing),
        cmocka_unit_test(opens_step_by_step_and_when_the_flood_ends),
        cmocka_unit_test(one_group_alone_is_never_shut_out),
        cmocka_unit_test(few_requests_a_window_leave_it_steady),
        cmocka_unit_test(an_old_overload_is_forgotten),
        cmocka_unit_test(odd_clocks_and_off),
        cmocka_unit_test(a_slow_backend_is_judged_over_a_longer_window),
        cmocka_unit_test(who_asks_for_much_of_all_has_a_worse_number),
        cmocka_unit_test(many_who_ask_for_much_are_behind_all_others_by_their_lots),
        cmocka_unit_test(the_level_begins_anew_once_they_are_known),
        cmocka_unit_test(what_was_asked_for_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
