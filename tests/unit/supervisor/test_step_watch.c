/*
 * test_step_watch.c: a worker that hangs is told from one that has little of the machine, and
 * processes are seen for what they do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "supervisor/step_watch.h"

#include "base/clock.h"
#include "inference/kv/kv_arena_shared.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_NS (60 * FG_S)

/* In its 7th step since `began`, of which it needs 10 ms. */
static struct fg_step_look a_look(uint64_t began_ns, uint64_t used_ns)
{
    return (struct fg_step_look){
        .step = 7,
        .began_ns = began_ns,
        .began_cpu_ns = 40 * FG_S,
        .expected_ns = 10 * FG_MS,
        .cpu_ns = 40 * FG_S + used_ns,
    };
}

static void who_uses_far_more_than_the_step_needs_spins(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(0, 101 * FG_MS);
    assert_int_equal(fg_step_watch_judge(&watch, &look, 110 * FG_MS), FG_STEP_FINE); /* once */
    assert_int_equal(fg_step_watch_judge(&watch, &look, 135 * FG_MS), FG_STEP_SPINS);
    look = a_look(0, 100 * FG_MS); /* the least that is taken for a fault */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S), FG_STEP_FINE);
    look.cpu_ns += FG_S;
    look.expected_ns = 300 * FG_MS; /* a step that may take longer */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S), FG_STEP_FINE);
    look.cpu_ns += 101 * FG_MS;
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S), FG_STEP_SPINS);
    look.step = 8; /* it got on */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S), FG_STEP_FINE);
}

static void a_busy_machine_is_no_fault(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(0, 2 * FG_MS);
    /* It waits for a processor for half a minute: it wants to run, so it is not asleep. */
    for (uint64_t now_ns = 0; now_ns < 30 * FG_S; now_ns += 25 * FG_MS)
        assert_int_equal(fg_step_watch_judge(&watch, &look, now_ns), FG_STEP_FINE);
}

static void who_sleeps_in_a_step_is_blocked(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(FG_S, FG_MS);
    look.is_asleep = true;
    for (uint64_t now_ns = FG_S; now_ns <= FG_S + 100 * FG_MS; now_ns += 25 * FG_MS)
        assert_int_equal(fg_step_watch_judge(&watch, &look, now_ns), FG_STEP_FINE);
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S + 125 * FG_MS), FG_STEP_BLOCKED);
    look.cpu_ns++; /* it ran in between: it slept at both looks by chance */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S + 150 * FG_MS), FG_STEP_FINE);
    look.step = 8;
    assert_int_equal(fg_step_watch_judge(&watch, &look, 9 * FG_S), FG_STEP_FINE);
    look.step = 0; /* between steps it may sleep as long as it likes */
    for (int i = 0; i < 3; i++)
        assert_int_equal(fg_step_watch_judge(&watch, &look, 20 * FG_S), FG_STEP_FINE);
}

static void a_step_of_unknown_size_is_not_judged(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(0, 50 * FG_S);
    look.expected_ns = 0;
    look.is_asleep = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(fg_step_watch_judge(&watch, &look, 60 * FG_S), FG_STEP_FINE);
    look.expected_ns = UINT64_MAX; /* no overflow */
    look.is_asleep = false;
    assert_int_equal(fg_step_watch_judge(&watch, &look, 60 * FG_S), FG_STEP_FINE);
}

/* A child that sleeps, or one that turns in a circle. */
static pid_t fork_one(bool spins)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid != 0)
        return pid;
    alarm(120); /* whatever becomes of the test */
    for (;;) {
        if (!spins)
            pause();
    }
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void processes_are_seen_for_what_they_do(void **state)
{
    (void)state;
    struct fg_kv_worker_record record = {0};
    struct fg_step_look look;
    assert_true(fg_step_look(&look, &record, getpid()));
    assert_int_equal(look.step, 0);
    fg_counter_set(&record.computing, 3);
    fg_counter_set(&record.computing_since_ns, 11);
    fg_counter_set(&record.computing_cpu_ns, 12);
    fg_counter_set(&record.computing_expected_ns, 13);
    uint64_t ends_ns = fg_clock_monotonic_ns() + GUARD_NS;
    pid_t sleeper = fork_one(false);
    do {
        assert_true(fg_step_look(&look, &record, sleeper));
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    } while (!look.is_asleep);
    assert_int_equal(look.step, 3);
    assert_int_equal(look.began_ns, 11);
    assert_int_equal(look.began_cpu_ns, 12);
    assert_int_equal(look.expected_ns, 13);
    end(sleeper);
    pid_t spinner = fork_one(true);
    do {
        assert_true(fg_step_look(&look, &record, spinner));
        assert_false(look.is_asleep);
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    } while (look.cpu_ns < 30 * FG_MS);
    end(spinner);
    assert_false(fg_step_look(&look, &record, spinner));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_uses_far_more_than_the_step_needs_spins),
        cmocka_unit_test(a_busy_machine_is_no_fault),
        cmocka_unit_test(who_sleeps_in_a_step_is_blocked),
        cmocka_unit_test(a_step_of_unknown_size_is_not_judged),
        cmocka_unit_test(processes_are_seen_for_what_they_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
