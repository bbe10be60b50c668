/*
 * test_loop.c: the order of what is done at the end of a turn.
 */
#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_late_comes_behind_all_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
