/*
 * test_life_watch.c: a worker that says nothing hangs when it had time to, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "supervisor/life_watch.h"

#include "base/clock.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_NS (10 * FG_S)
#define GUARD_NS (120 * FG_S)

/* Looks every 100 ms until `ends_ns`; in each the threads use so much. When they were found; 0. */
static uint64_t found_at(struct fg_life *life, uint64_t used_ns, bool is_asleep, uint64_t ends_ns)
{
    struct fg_life_look look = {.sign = 7, .is_asleep = is_asleep};
    for (uint64_t now_ns = 100 * FG_MS; now_ns <= ends_ns; now_ns += 100 * FG_MS) {
        if (fg_life_judge(life, &look, LIMIT_NS, now_ns))
            return now_ns;
        look.cpu_ns += used_ns;
    }
    return 0;
}

static void who_never_has_a_processor_is_not_judged(void **state)
{
    (void)state;
    struct fg_life life = {0};
    assert_int_equal(found_at(&life, 0, false, 3600 * FG_S), 0);
    /* With a hundredth of one it takes a hundred times as long. */
    life = (struct fg_life){0};
    assert_int_equal(found_at(&life, FG_MS, false, 1000 * FG_S), 0);
    life = (struct fg_life){0};
    assert_in_range(found_at(&life, FG_MS, false, 2000 * FG_S), 1000 * FG_S, 1001 * FG_S);
}

static void who_has_the_limit_and_makes_nothing_of_it_hangs(void **state)
{
    (void)state;
    struct fg_life life = {0};
    assert_in_range(found_at(&life, 100 * FG_MS, false, 60 * FG_S), LIMIT_NS, LIMIT_NS + FG_S);
    life = (struct fg_life){0};
    assert_in_range(found_at(&life, 0, true, 60 * FG_S), LIMIT_NS, LIMIT_NS + FG_S);
    /* Many threads use more, in no more time. */
    life = (struct fg_life){0};
    assert_in_range(found_at(&life, 1600 * FG_MS, false, 60 * FG_S), LIMIT_NS, LIMIT_NS + FG_S);
}

static void a_sign_begins_anew(void **state)
{
    (void)state;
    struct fg_life life = {0};
    struct fg_life_look look = {.sign = 1, .is_asleep = true};
    for (uint64_t i = 1; i <= 3600 * 10; i++) {
        look.sign += i % 90 == 0; /* every nine seconds */
        assert_false(fg_life_judge(&life, &look, LIMIT_NS, i * 100 * FG_MS));
    }
    /* The clock of another process may be a moment ahead. */
    assert_false(fg_life_judge(&life, &look, 0, 1));
}

static void a_machine_that_stops_is_no_fault(void **state)
{
    (void)state;
    struct fg_life life = {0};
    const struct fg_life_look look = {.sign = 1, .is_asleep = true};
    assert_false(fg_life_judge(&life, &look, LIMIT_NS, FG_S));
    assert_false(fg_life_judge(&life, &look, LIMIT_NS, 3600 * FG_S));
    assert_true(life.had_ns <= 250 * FG_MS);
}

/* ---- with real processes ---- */

struct fixture {
    struct fg_kv_arena *arena;
    struct fg_kv_worker_record *record;
    struct fg_life_watch watch;
};

static void set_up(struct fixture *f)
{
    const struct fg_inference_conf conf = {
        .kv_bytes = 1 << 16, .context_max = 64, .sequences_max = 2, .worker_count = 1};
    const struct fg_kv_shape shape = {1, 1, 8, FG_KV_F16};
    struct fg_error error;
    int fd = memfd_create("arena", 0);
    assert_int_not_equal(fd, -1);
    *f = (struct fixture){0};
    assert_int_equal(fg_kv_arena_create(&f->arena, fd, &conf, &shape, &error), FG_OK);
    close(fd);
    f->record = fg_kv_arena_worker(f->arena, 0);
}

/* A child of this policy that turns in a circle, or sleeps; it serves from `now` on. */
static pid_t fork_worker(struct fixture *f, int policy, bool spins)
{
    const struct sched_param param = {0};
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        cpu_set_t first;
        CPU_ZERO(&first);
        alarm(120); /* whatever becomes of the test */
        if (sched_getaffinity(0, sizeof(first), &first) != 0)
            _exit(1);
        for (size_t i = 0, kept = 0; i < CPU_SETSIZE; i++) /* the first that we may have, alone */
            if (CPU_ISSET(i, &first) && kept++ > 0)
                CPU_CLR(i, &first);
        if (sched_setaffinity(0, sizeof(first), &first) != 0 ||
            sched_setscheduler(0, policy, &param) != 0)
            _exit(1);
        for (;;) {
            if (!spins)
                pause();
        }
    }
    if (f != NULL) {
        fg_counter_set(&f->record->pid, (uint64_t)pid);
        fg_counter_set(&f->record->heartbeat_ns, fg_clock_monotonic_ns());
        f->watch = (struct fg_life_watch){0};
    }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void tear_down(struct fixture *f)
{
    fg_kv_arena_detach(f->arena);
}

/* Looks every 10 ms until the verdict or the time is there. */
static enum fg_life_verdict look_on(struct fixture *f, uint64_t limit_ns, uint64_t lasts_ns)
{
    enum fg_life_verdict verdict = FG_LIFE_FINE;
    uint64_t ends_ns = fg_clock_monotonic_ns() + lasts_ns;
    while (verdict == FG_LIFE_FINE && fg_clock_monotonic_ns() < ends_ns) {
        const struct timespec pause = {0, 10 * FG_MS};
        nanosleep(&pause, NULL);
        verdict = fg_life_watch_worker(&f->watch, f->arena, 0, limit_ns, fg_clock_monotonic_ns());
    }
    return verdict;
}

static void a_starved_one_is_left_alone_and_found_when_it_has_time(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    pid_t hog = fork_worker(NULL, SCHED_OTHER, true);
    pid_t worker = fork_worker(&f, SCHED_IDLE, true);
    /* Two seconds of nothing, with a limit of 300 ms; the hog leaves it a hundredth at most. */
    assert_int_equal(look_on(&f, 300 * FG_MS, 2 * FG_S), FG_LIFE_FINE);
    end(hog);
    assert_int_equal(look_on(&f, 300 * FG_MS, GUARD_NS), FG_LIFE_SILENT);
    end(worker);
    tear_down(&f);
}

static void sleep_when_locked(enum fg_kv_point point, void *owner)
{
    (void)owner;
    while (point == FG_KV_POINT_LOCKED)
        pause();
}

/* A child that sleeps with the arena's mutex. */
static pid_t fork_holder(struct fixture *f)
{
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        alarm(120);
        fg_kv_arena_set_on_point(f->arena, sleep_when_locked, NULL);
        fg_kv_arena_prepare_forgive(f->arena, 1);
        _exit(1);
    }
    uint64_t ends_ns = fg_clock_monotonic_ns() + GUARD_NS;
    while (fg_kv_arena_lock_holder(f->arena) != (uint32_t)pid)
        assert_true(fg_clock_monotonic_ns() < ends_ns);
    return pid;
}

static void one_that_sleeps_is_found_unless_another_has_the_lock(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    pid_t holder = fork_holder(&f);
    pid_t worker = fork_worker(&f, SCHED_OTHER, false);
    assert_int_equal(look_on(&f, 100 * FG_MS, 2 * FG_S), FG_LIFE_FINE);
    end(holder);
    assert_int_equal(fg_kv_arena_lock_holder(f.arena), holder); /* until somebody has had it */
    assert_true(fg_kv_arena_try_orphan_worker(f.arena, 0, 0));
    fg_counter_set(&f.record->pid, (uint64_t)worker);
    assert_int_equal(fg_kv_arena_lock_holder(f.arena), 0);
    assert_int_equal(look_on(&f, 100 * FG_MS, GUARD_NS), FG_LIFE_SILENT);
    end(worker);
    tear_down(&f);
}

static void a_prompt_that_takes_no_end_is_found(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    pid_t worker = fork_worker(&f, SCHED_OTHER, false);
    uint32_t place = fg_kv_arena_prepare_begin(f.arena, 0, 77);
    enum fg_life_verdict verdict = FG_LIFE_FINE;
    uint64_t ends_ns = fg_clock_monotonic_ns() + GUARD_NS;
    while (verdict == FG_LIFE_FINE && fg_clock_monotonic_ns() < ends_ns) {
        fg_counter_set(&f.record->heartbeat_ns, fg_clock_monotonic_ns());
        verdict = look_on(&f, 200 * FG_MS, 20 * FG_MS);
    }
    assert_int_equal(verdict, FG_LIFE_PREPARES);
    assert_string_equal(fg_life_verdict_name(verdict), "prepares");
    /* Another one at every look is no fault. */
    for (uint64_t key = 78; key < 178; key++) {
        fg_kv_arena_prepare_end(f.arena, 0, place);
        place = fg_kv_arena_prepare_begin(f.arena, 0, key);
        fg_counter_set(&f.record->heartbeat_ns, fg_clock_monotonic_ns());
        assert_int_equal(fg_life_watch_worker(&f.watch, f.arena, 0, 1, fg_clock_monotonic_ns()),
                         FG_LIFE_FINE);
    }
    end(worker);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_never_has_a_processor_is_not_judged),
        cmocka_unit_test(who_has_the_limit_and_makes_nothing_of_it_hangs),
        cmocka_unit_test(a_sign_begins_anew),
        cmocka_unit_test(a_machine_that_stops_is_no_fault),
        cmocka_unit_test(a_starved_one_is_left_alone_and_found_when_it_has_time),
        cmocka_unit_test(one_that_sleeps_is_found_unless_another_has_the_lock),
        cmocka_unit_test(a_prompt_that_takes_no_end_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
