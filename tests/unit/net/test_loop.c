/*
 * test_loop.c: the order of what is done at the end of a turn.
 */
#include "net/loop.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

struct job {
    struct fg_deferred deferred;
    struct fg_loop *loop;
    struct job *asks_for; /* NULL: nothing more */
    char name;
};

static char done[16];

static void run(struct fg_deferred *deferred)
{
    struct job *job = FG_CONTAINER_OF(deferred, struct job, deferred);
    done[strlen(done)] = job->name;
    if (job->asks_for != NULL)
        fg_loop_defer(job->loop, &job->asks_for->deferred);
}

static struct job made(struct fg_loop *loop, char name, struct job *asks_for)
{
    return (struct job){.deferred.run = run, .loop = loop, .asks_for = asks_for, .name = name};
}

static void run_late_again(struct fg_deferred *deferred)
{
    struct job *job = FG_CONTAINER_OF(deferred, struct job, deferred);
    done[strlen(done)] = job->name;
    fg_loop_defer_late(job->loop, deferred);
}

static void what_is_late_again_is_the_next_turns(void **state)
{
    (void)state;
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    struct job late = made(loop, 'a', NULL), behind = made(loop, 'b', NULL);
    late.deferred.run = run_late_again;
    memset(done, 0, sizeof(done));
    fg_loop_defer_late(loop, &late.deferred);
    fg_loop_defer_late(loop, &behind.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "ab");
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "aba");
    fg_loop_defer_cancel(loop, &late.deferred);
    fg_loop_destroy(loop);
}

static unsigned turns_left;

/* How what runs asks for the next turn. */
static void (*ask_again)(struct fg_loop *loop, struct fg_deferred *deferred);

static void run_in_turns(struct fg_deferred *deferred)
{
    struct job *job = FG_CONTAINER_OF(deferred, struct job, deferred);
    if (--turns_left > 0)
        ask_again(job->loop, deferred);
    else
        fg_loop_stop(job->loop);
}

/* Nothing else happens: the loop's own timer, ten times a second, would not get there. */
static void check_that_it_stays_awake(void (*ask)(struct fg_loop *, struct fg_deferred *))
{
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    struct job job = made(loop, 'a', NULL);
    job.deferred.run = run_in_turns;
    ask_again = ask;
    turns_left = 10000;
    ask(loop, &job.deferred);
    fg_loop_run(loop);
    assert_int_equal(turns_left, 0);
    assert_true(fg_loop_turn(loop) >= 9998);
    fg_loop_destroy(loop);
}

static void what_is_late_again_keeps_the_loop_awake(void **state)
{
    (void)state;
    check_that_it_stays_awake(fg_loop_defer_late);
}

static void what_is_put_off_keeps_the_loop_awake(void **state)
{
    (void)state;
    check_that_it_stays_awake(fg_loop_put_off);
}

/* Busy for some three fifths of a turn, whatever the machine does; one such turn is enough. */
static void work_for_a_while(struct fg_deferred *deferred)
{
    struct job *job = FG_CONTAINER_OF(deferred, struct job, deferred);
    const struct timespec idle = {.tv_nsec = 60 * FG_US};
    nanosleep(&idle, NULL);
    uint64_t until_ns = fg_loop_now_ns(job->loop) + 150 * FG_US;
    while (fg_clock_monotonic_ns() < until_ns)
        ;
    run_in_turns(deferred);
}

static uint64_t pauses_with(void (*ask)(struct fg_loop *, struct fg_deferred *), uint64_t most_ns)
{
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    fg_loop_set_gather_pause(loop, most_ns);
    struct job job = made(loop, 'a', NULL);
    job.deferred.run = work_for_a_while;
    ask_again = ask;
    turns_left = 200;
    ask(loop, &job.deferred);
    fg_loop_run(loop);
    uint64_t pauses = fg_loop_pauses(loop);
    fg_loop_destroy(loop);
    return pauses;
}

static void a_busy_loop_pauses_for_what_is_put_off_and_for_nothing_else(void **state)
{
    (void)state;
    assert_true(pauses_with(fg_loop_put_off, 20 * FG_US) > 0);
    assert_int_equal(pauses_with(fg_loop_put_off, 0), 0);
    assert_int_equal(pauses_with(fg_loop_defer_late, 20 * FG_US), 0);
}

static void what_is_late_comes_behind_all_others(void **state)
{
    (void)state;
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    struct job last = made(loop, 'd', NULL), late = made(loop, 'c', &last);
    struct job second = made(loop, 'b', NULL), first = made(loop, 'a', &second);
    memset(done, 0, sizeof(done));
    fg_loop_defer_late(loop, &late.deferred);
    fg_loop_defer_late(loop, &late.deferred); /* once, however often it is asked */
    fg_loop_defer(loop, &first.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "abcd");
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "abcd");
    fg_loop_defer_late(loop, &late.deferred);
    fg_loop_defer_cancel(loop, &late.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "abcd");
    fg_loop_destroy(loop);
}

static void what_is_put_off_is_done_in_the_next_turn(void **state)
{
    (void)state;
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    struct job first = made(loop, 'a', NULL), second = made(loop, 'b', NULL);
    memset(done, 0, sizeof(done));
    fg_loop_put_off(loop, &second.deferred);
    fg_loop_defer(loop, &first.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "ab");
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "ab");
    fg_loop_destroy(loop);
}

static void run_putting_off(struct fg_deferred *deferred)
{
    struct job *job = FG_CONTAINER_OF(deferred, struct job, deferred);
    done[strlen(done)] = job->name;
    if (--turns_left > 0)
        fg_loop_put_off(job->loop, deferred);
}

static void put_off_again_it_is_another_turn_s(void **state)
{
    (void)state;
    struct fg_loop *loop = fg_loop_create(0, 16);
    assert_non_null(loop);
    struct job job = made(loop, 'a', NULL);
    job.deferred.run = run_putting_off;
    memset(done, 0, sizeof(done));
    turns_left = 3;
    fg_loop_defer(loop, &job.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "a");
    assert_true(job.deferred.is_pending);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "aa");
    fg_loop_defer(loop, &job.deferred); /* asked for in between, it is done once */
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "aaa");
    assert_false(job.deferred.is_pending);
    fg_loop_put_off(loop, &job.deferred);
    fg_loop_defer_cancel(loop, &job.deferred);
    fg_loop_run_deferred(loop);
    assert_string_equal(done, "aaa");
    fg_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_late_comes_behind_all_others),
        cmocka_unit_test(what_is_late_again_is_the_next_turns),
        cmocka_unit_test(what_is_late_again_keeps_the_loop_awake),
        cmocka_unit_test(what_is_put_off_is_done_in_the_next_turn),
        cmocka_unit_test(put_off_again_it_is_another_turn_s),
        cmocka_unit_test(what_is_put_off_keeps_the_loop_awake),
        cmocka_unit_test(a_busy_loop_pauses_for_what_is_put_off_and_for_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
