/*
 * test_last_line.c: who goes last is served behind all others, by turns of owners, one at least a
 * turn; what is left is the next turn's.
 */
#include "net/last_line.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define AN_HOUR UINT64_C(3600000000000)

struct waiter {
    struct fg_last_place place;
    char name;
    uint64_t owner;   /* 0: the one of those who name none */
    unsigned again;   /* how often it asks for more */
    uint64_t work_ns; /* that it takes */
};

static struct fg_loop *loop;
static struct fg_last_line line;
static struct fg_last_share shared;
static char served[32];

static void join(struct waiter *waiter)
{
    fg_last_line_add(&line, &waiter->place, waiter->owner == 0 ? 1 : waiter->owner);
}

static void serve(struct fg_last_place *place)
{
    struct waiter *waiter = FG_CONTAINER_OF(place, struct waiter, place);
    assert_false(place->is_taken);
    served[strlen(served)] = waiter->name;
    uint64_t began_ns = fg_clock_thread_ns();
    while (fg_clock_thread_ns() - began_ns < waiter->work_ns)
        continue;
    if (waiter->again == 0)
        return;
    waiter->again--;
    join(waiter);
}

static int set_up(void **state)
{
    (void)state;
    memset(served, 0, sizeof(served));
    loop = fg_loop_create(0, 16);
    line = (struct fg_last_line){.budget_ns = AN_HOUR};
    shared = (struct fg_last_share){.taken_ns = 0};
    fg_last_line_init(&line, loop, &shared, serve);
    return loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    fg_last_line_fini(&line);
    fg_loop_destroy(loop);
    return 0;
}

static void owners_take_turns(void **state)
{
    (void)state;
    struct waiter a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, other = {.name = 'o'};
    fg_last_line_add(&line, &a.place, 1);
    fg_last_line_add(&line, &b.place, 1);
    fg_last_line_add(&line, &b.place, 1); /* once */
    fg_last_line_add(&line, &c.place, 1);
    fg_last_line_add(&line, &other.place, 2);
    fg_last_line_remove(&line, &c.place);
    fg_last_line_remove(&line, &c.place);
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "aob");
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "aob");
}

static void without_room_one_is_served_a_turn(void **state)
{
    (void)state;
    struct waiter a = {.name = 'a', .again = 1, .work_ns = 10 * FG_MS};
    struct waiter b = {.name = 'b', .work_ns = 10 * FG_MS}; /* more than is between two turns */
    line.budget_ns = 0;
    fg_last_line_add(&line, &a.place, 1);
    fg_last_line_add(&line, &b.place, 1);
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "a");
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "ab");
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "aba");
    assert_false(line.work.is_pending);
}

static void who_asks_for_more_has_it_while_there_is_room(void **state)
{
    (void)state;
    struct waiter a = {.name = 'a', .again = 2}, b = {.name = 'b'};
    fg_last_line_add(&line, &a.place, 1);
    fg_last_line_add(&line, &b.place, 1);
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "abaa");
    assert_false(line.work.is_pending);
}

/* Neither of an owner's two waits for ever beside others with one each, who come back at once. */
static void who_comes_back_has_had_the_round(void **state)
{
    (void)state;
    struct waiter a = {.name = 'a', .owner = 3, .again = 3};
    struct waiter b = {.name = 'b', .owner = 3, .again = 3};
    struct waiter c = {.name = 'c', .owner = 5, .again = 9};
    struct waiter d = {.name = 'd', .owner = 7, .again = 9};
    join(&a);
    join(&b);
    join(&c);
    join(&d);
    fg_loop_run_deferred(loop);
    assert_memory_equal(served, "acdbcdacdbcd", 12);
}

/* Rounds begin again with the line: who was served in a long one is not behind in a new one. */
static void an_empty_line_forgets_rounds(void **state)
{
    (void)state;
    struct waiter a = {.name = 'a', .owner = 3, .again = 5};
    struct waiter b = {.name = 'b', .owner = 5, .again = 5};
    join(&a);
    join(&b);
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "abababababab");
    struct waiter c = {.name = 'c', .owner = 7, .again = 1};
    join(&a);
    join(&c);
    fg_loop_run_deferred(loop);
    assert_string_equal(served + 12, "acc");
}

/* What the first one has had the second one has no more, but for one at least. */
static void two_lines_have_one_share(void **state)
{
    (void)state;
    struct fg_last_line second = {.budget_ns = 5 * FG_MS};
    struct waiter a = {.name = 'a', .work_ns = 10 * FG_MS};
    struct waiter b = {.name = 'b'}, c = {.name = 'c'};
    fg_last_line_init(&second, loop, &shared, serve);
    line.budget_ns = 5 * FG_MS;
    fg_last_line_add(&line, &a.place, 1);
    fg_last_line_add(&second, &b.place, 1);
    fg_last_line_add(&second, &c.place, 1);
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "ab");
    fg_loop_run_deferred(loop);
    assert_string_equal(served, "abc");
    fg_last_line_fini(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(owners_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_room_one_is_served_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_comes_back_has_had_the_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_line_forgets_rounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_lines_have_one_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_asks_for_more_has_it_while_there_is_room, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
