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
#include "inference/kernels/pool_shared.h"
#include "inference/kv/kv_arena_shared.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUARD_NS (60 * FG_S)

/* In its 7th step, portions of which take a millisecond, after the 100th of them. */
static struct fg_step_look a_look(uint64_t used_ns)
{
    return (struct fg_step_look){
        .step = 7,
        .beats = 100,
        .expected_ns = FG_MS,
        .cpu_ns = 40 * FG_S + used_ns,
    };
}

/* One look every 25 ms, at which it has used so much; the verdict of the last. */
static enum fg_step_verdict look_at(struct fg_step_watch *watch, const uint64_t *used_ns,
                                    uint32_t count, uint64_t expected_ns)
{
    enum fg_step_verdict verdict = FG_STEP_FINE;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_step_look look = a_look(used_ns[i]);
        look.expected_ns = expected_ns;
        assert_int_equal(verdict, FG_STEP_FINE);
        verdict = fg_step_watch_judge(watch, &look, 25 * FG_MS * i);
    }
    return verdict;
}

static void who_uses_far_more_than_a_portion_needs_spins(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    const uint64_t spins[] = {0, 0, 8 * FG_MS, 16 * FG_MS + 1}; /* the first look only counts */
    assert_int_equal(look_at(&watch, spins, 4, FG_MS), FG_STEP_SPINS);
    assert_true(fg_step_watch_used_ns(&watch) == 16 * FG_MS + 1);
    struct fg_step_look look = a_look(17 * FG_MS);
    look.beats++; /* it got on */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S), FG_STEP_FINE);
    assert_true(fg_step_watch_used_ns(&watch) == 0);
    const uint64_t little[] = {0, 0, 8 * FG_MS, 16 * FG_MS};
    watch = (struct fg_step_watch){0};
    assert_int_equal(look_at(&watch, little, 4, FG_MS), FG_STEP_FINE);
    /* However small portions are, this much is no sign; nor is it where they are large. */
    const uint64_t floor[] = {0, 0, 3 * FG_MS, 6 * FG_MS, 6 * FG_MS + 1};
    watch = (struct fg_step_watch){0};
    assert_int_equal(look_at(&watch, floor, 4, 1), FG_STEP_FINE);
    watch = (struct fg_step_watch){0};
    assert_int_equal(look_at(&watch, floor, 5, 1), FG_STEP_SPINS);
    const uint64_t much[] = {0, 0, 100 * FG_MS, 200 * FG_MS, 300 * FG_MS};
    watch = (struct fg_step_watch){0};
    assert_int_equal(look_at(&watch, much, 5, 20 * FG_MS), FG_STEP_FINE);
}

static void a_machine_that_stops_for_a_moment_is_no_fault(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    const uint64_t at_a_stretch[] = {0, 0, 500 * FG_MS, 500 * FG_MS, 500 * FG_MS};
    assert_int_equal(look_at(&watch, at_a_stretch, 5, FG_MS), FG_STEP_FINE);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/*
 * A worker that shares its processor with `others` that never sleep, in turns of 3 ms (of 1 to 5,
 * where they are not all alike), is looked at every 25 ms or somewhat later. It spins from the
 * start, or gets on, a portion for each 200 us that it has. Returns when it was found; 0: never.
 */
static uint64_t found_after_ns(uint64_t others, bool spins, bool is_even, uint64_t seed,
                               uint64_t ends_ns)
{
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(0);
    look.expected_ns = 200 * FG_US;
    uint64_t turn_ends_ns = 0;
    bool has_turn = false;
    uint64_t look_ns = 0;
    uint64_t portion_ns = 0;
    for (uint64_t now_ns = 0; now_ns < ends_ns; now_ns += 100 * FG_US) {
        if (now_ns >= turn_ends_ns) {
            uint64_t turn_ns = is_even ? 3 * FG_MS : (1 + next_random(&seed) % 5) * FG_MS;
            has_turn = !has_turn;
            turn_ends_ns = now_ns + (has_turn ? turn_ns : others * turn_ns);
        }
        if (has_turn) {
            look.cpu_ns += 100 * FG_US;
            portion_ns += 100 * FG_US;
        }
        if (portion_ns >= 200 * FG_US && !spins) {
            portion_ns = 0;
            look.beats++;
            look.step += look.beats % 40 == 0;
        }
        if (now_ns < look_ns)
            continue;
        if (fg_step_watch_judge(&watch, &look, now_ns) != FG_STEP_FINE)
            return now_ns;
        look_ns = now_ns + 25 * FG_MS + (is_even ? 0 : next_random(&seed) % 50 * FG_MS);
    }
    return 0;
}

static void a_busy_machine_hides_no_hang_and_makes_none(void **state)
{
    (void)state;
    /* Two processors at a load of 20: nine others on ours. 60 ms are for what comes after. */
    for (uint64_t others = 0; others <= 9; others++)
        assert_in_range(found_after_ns(others, true, true, 1, 10 * FG_S), 1, 190 * FG_MS);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t others = 0; others <= 40; others += 10) {
            assert_int_equal(found_after_ns(others, false, false, seed, 60 * FG_S), 0);
            assert_int_not_equal(found_after_ns(others, true, false, seed, 60 * FG_S), 0);
        }
    }
}

static void who_waits_for_a_processor_is_not_blocked(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(2 * FG_MS);
    /* For half a minute: it wants to run, so it is not asleep. */
    for (uint64_t now_ns = 0; now_ns < 30 * FG_S; now_ns += 25 * FG_MS)
        assert_int_equal(fg_step_watch_judge(&watch, &look, now_ns), FG_STEP_FINE);
}

static void who_sleeps_in_a_step_is_blocked(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    struct fg_step_look look = a_look(FG_MS);
    look.is_asleep = true;
    for (uint64_t now_ns = FG_S; now_ns <= FG_S + 75 * FG_MS; now_ns += 25 * FG_MS)
        assert_int_equal(fg_step_watch_judge(&watch, &look, now_ns), FG_STEP_FINE);
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S + 100 * FG_MS), FG_STEP_BLOCKED);
    look.cpu_ns++; /* it ran in between: it slept at both looks by chance */
    assert_int_equal(fg_step_watch_judge(&watch, &look, FG_S + 125 * FG_MS), FG_STEP_FINE);
    look.beats++;
    assert_int_equal(fg_step_watch_judge(&watch, &look, 9 * FG_S), FG_STEP_FINE);
    look.step = 0; /* between steps it may sleep as long as it likes */
    for (int i = 0; i < 3; i++)
        assert_int_equal(fg_step_watch_judge(&watch, &look, 20 * FG_S), FG_STEP_FINE);
}

static void a_step_of_unknown_size_is_not_judged(void **state)
{
    (void)state;
    struct fg_step_watch watch = {0};
    const uint64_t used[] = {0, 10 * FG_S, 20 * FG_S, 30 * FG_S};
    assert_int_equal(look_at(&watch, used, 4, 0), FG_STEP_FINE);
    watch = (struct fg_step_watch){0};
    assert_int_equal(look_at(&watch, used, 4, UINT64_MAX), FG_STEP_FINE); /* no overflow */
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
    fg_counter_set(&record.beats, 11);
    fg_counter_set(&record.beat_cpu_ns, 13);
    uint64_t ends_ns = fg_clock_monotonic_ns() + GUARD_NS;
    pid_t sleeper = fork_one(false);
    do {
        assert_true(fg_step_look(&look, &record, sleeper));
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    } while (!look.is_asleep);
    assert_int_equal(look.step, 3);
    assert_int_equal(look.beats, 11);
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

static void *turn_for_ever(void *name)
{
    prctl(PR_SET_NAME, name);
    for (volatile uint64_t i = 0;; i++) {
    }
    return NULL;
}

/* A process whose first thread sleeps, and another one with that name does not. */
static pid_t fork_with_thread(char *name)
{
    pthread_t thread;
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid != 0)
        return pid;
    alarm(120);
    if (pthread_create(&thread, NULL, turn_for_ever, name) != 0)
        _exit(1);
    for (;;)
        pause();
}

static void helpers_of_a_step_count_and_others_do_not(void **state)
{
    (void)state;
    static char name[] = FG_POOL_THREAD_NAME;
    struct fg_kv_worker_record record = {0};
    struct fg_step_look look;
    fg_counter_set(&record.computing, 1);
    uint64_t ends_ns = fg_clock_monotonic_ns() + GUARD_NS;
    pid_t pid = fork_with_thread(name);
    do {
        assert_true(fg_step_look(&look, &record, pid));
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    } while (look.cpu_ns < 50 * FG_MS);
    end(pid);
    pid = fork_with_thread("tokenizer");
    uint64_t all_ns = 0;
    do { /* the process has used as much; its first thread has not */
        clockid_t clock;
        struct timespec used;
        assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
        assert_int_equal(clock_gettime(clock, &used), 0);
        all_ns = (uint64_t)used.tv_sec * FG_S + (uint64_t)used.tv_nsec;
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    } while (all_ns < 100 * FG_MS);
    assert_true(fg_step_look(&look, &record, pid));
    assert_false(look.is_asleep);
    assert_true(look.cpu_ns < 50 * FG_MS);
    end(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_uses_far_more_than_a_portion_needs_spins),
        cmocka_unit_test(a_machine_that_stops_for_a_moment_is_no_fault),
        cmocka_unit_test(a_busy_machine_hides_no_hang_and_makes_none),
        cmocka_unit_test(who_waits_for_a_processor_is_not_blocked),
        cmocka_unit_test(who_sleeps_in_a_step_is_blocked),
        cmocka_unit_test(a_step_of_unknown_size_is_not_judged),
        cmocka_unit_test(processes_are_seen_for_what_they_do),
        cmocka_unit_test(helpers_of_a_step_count_and_others_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
