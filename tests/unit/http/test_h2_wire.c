/*
 * test_h2_wire.c: the table of streams against a plain array, windows at their edges, and the order
 * in which streams have their turn.
 */
#include "http/h2_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define WIRES 200

struct fixture {
    struct fg_block_pool pool;
    struct fg_h2_wires wires;
    struct fg_h2_wire wire[WIRES];
};

static struct fixture fixture;

static int set_up(void **state)
{
    *state = &fixture;
    fg_block_pool_init(&fixture.pool, 4096);
    fg_h2_wires_init(&fixture.wires, &fixture.pool);
    for (size_t i = 0; i < WIRES; i++)
        fixture.wire[i] = (struct fg_h2_wire){.id = 0};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fg_h2_wires_fini(&f->wires);
    fg_block_pool_fini(&f->pool);
    return 0;
}

static struct fg_h2_wire *open_wire(struct fixture *f, size_t i, int32_t id)
{
    assert_true(fg_h2_wires_open(&f->wires, &f->wire[i], id, 1000, 2000));
    return &f->wire[i];
}

/* Ids that share a place, opened and closed in an order that is the same every time. */
static void finds_what_is_open_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    uint32_t seed = 1;
    unsigned open = 0;
    assert_null(fg_h2_wires_find(&f->wires, 1));
    for (unsigned step = 0; step < 20000; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % WIRES;
        int32_t id = (int32_t)(i % 3 == 0 ? 2 * i * 64 + 1 : 2 * i + 1);
        if (f->wire[i].is_open) {
            fg_h2_wires_close(&f->wires, &f->wire[i]);
            open--;
        } else if (fg_h2_wires_find(&f->wires, id) == NULL) {
            open_wire(f, i, id);
            open++;
        }
        assert_int_equal(f->wires.count, open);
        size_t other = (seed >> 16) % WIRES;
        if (f->wire[other].id != 0 && f->wire[other].is_open)
            assert_ptr_equal(fg_h2_wires_find(&f->wires, f->wire[other].id), &f->wire[other]);
    }
    for (size_t i = 0; i < WIRES; i++) {
        if (f->wire[i].is_open)
            fg_h2_wires_close(&f->wires, &f->wire[i]);
    }
    assert_int_equal(f->wires.count, 0);
    for (int32_t id = 1; id < 100; id += 2)
        assert_null(fg_h2_wires_find(&f->wires, id));
}

static void a_table_that_was_large_is_given_back(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < WIRES; i++)
        open_wire(f, i, (int32_t)(2 * i + 1));
    assert_true(f->wires.mask >= WIRES);
    for (size_t i = 0; i < WIRES; i++)
        fg_h2_wires_close(&f->wires, &f->wire[i]);
    assert_null(f->wires.slots);
    assert_ptr_equal(fg_h2_wires_find(&f->wires, open_wire(f, 0, 401)->id), &f->wire[0]);
}

static void one_wire_takes_the_place_of_another(void **state)
{
    struct fixture *f = *state;
    struct fg_h2_wire *from = open_wire(f, 0, 1);
    struct fg_h2_wire *to = &f->wire[1];
    open_wire(f, 2, 33); /* of the same place */
    from->returned = 7;
    fg_h2_wires_set_due(&f->wires, from);
    fg_h2_wires_move(&f->wires, from, to);
    assert_ptr_equal(fg_h2_wires_find(&f->wires, 1), to);
    assert_ptr_equal(fg_h2_wires_find(&f->wires, 33), &f->wire[2]);
    assert_false(from->is_open);
    assert_int_equal(to->returned, 7);
    assert_ptr_equal(f->wires.due.next, &to->due);
    assert_ptr_equal(f->wires.due.prev, &to->due);
    fg_h2_wires_close(&f->wires, to);
    assert_true(fg_list_is_empty(&f->wires.due));
    assert_null(fg_h2_wires_find(&f->wires, 1));
}

static void windows_stay_within_31_bits(void **state)
{
    struct fixture *f = *state;
    assert_true(fg_h2_wires_shift_windows(&f->wires, INT32_MAX)); /* of none */
    struct fg_h2_wire *wire = open_wire(f, 0, 1);
    assert_int_equal(wire->recv_left, 2000);
    assert_true(fg_h2_wires_shift_windows(&f->wires, INT32_MAX - 1000));
    assert_int_equal(wire->send_window, INT32_MAX);
    assert_false(fg_h2_wires_shift_windows(&f->wires, 1));
    assert_int_equal(wire->send_window, INT32_MAX);
    assert_true(fg_h2_wires_shift_windows(&f->wires, -INT32_MAX));
    assert_true(fg_h2_wires_shift_windows(&f->wires, -INT32_MAX));
    assert_int_equal(wire->send_window, -INT32_MAX);
    assert_false(fg_h2_wires_shift_windows(&f->wires, -2));
}

static void the_more_urgent_goes_first(void **state)
{
    struct fixture *f = *state;
    assert_null(fg_h2_wires_next(&f->wires));
    for (size_t i = 0; i < 3; i++)
        fg_h2_wires_set_ready(&f->wires, open_wire(f, i, (int32_t)(2 * i + 1)), true);
    fg_h2_wires_set_ready(&f->wires, &f->wire[0], true); /* twice is once */
    assert_ptr_equal(fg_h2_wires_next(&f->wires), &f->wire[0]);
    fg_h2_wires_prioritize(&f->wires, &f->wire[2], (struct fg_priority_field){0, false});
    assert_ptr_equal(fg_h2_wires_next(&f->wires), &f->wire[2]);
    fg_h2_wires_prioritize(&f->wires, &f->wire[0], (struct fg_priority_field){7, false});
    fg_h2_wires_set_ready(&f->wires, &f->wire[2], false);
    assert_ptr_equal(fg_h2_wires_next(&f->wires), &f->wire[1]);
    fg_h2_wires_close(&f->wires, &f->wire[1]);
    assert_ptr_equal(fg_h2_wires_next(&f->wires), &f->wire[0]);
    fg_h2_wires_close(&f->wires, &f->wire[0]);
    assert_null(fg_h2_wires_next(&f->wires));
    fg_h2_wires_prioritize(&f->wires, &f->wire[2], (struct fg_priority_field){1, true});
    assert_null(fg_h2_wires_next(&f->wires)); /* it has a rank, and nothing to send */
}

static void incremental_ones_take_turns(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 3; i++)
        fg_h2_wires_set_ready(&f->wires, open_wire(f, i, (int32_t)(2 * i + 1)), true);
    fg_h2_wires_rotate(&f->wires, &f->wire[0]);
    assert_ptr_equal(fg_h2_wires_next(&f->wires), &f->wire[0]); /* all of it, then the next */
    for (size_t i = 0; i < 3; i++)
        fg_h2_wires_prioritize(&f->wires, &f->wire[i], (struct fg_priority_field){3, true});
    for (size_t i = 0; i < 6; i++) {
        struct fg_h2_wire *next = fg_h2_wires_next(&f->wires);
        assert_ptr_equal(next, &f->wire[i % 3]);
        fg_h2_wires_rotate(&f->wires, next);
    }
}

/* 0: nobody has its turn. */
static int32_t next_id(struct fixture *f)
{
    struct fg_h2_wire *next = fg_h2_wires_next(&f->wires);
    return next == NULL ? 0 : next->id;
}

/* RFC 9218 section 10: of one urgency what was asked for first, whenever it can go. */
static void gives_turns_by_id_whoever_was_ready_first(void **state)
{
    struct fixture *f = *state;
    static const size_t order[] = {2, 4, 0, 3, 1};
    for (size_t i = 0; i < 5; i++)
        (void)open_wire(f, i, (int32_t)(2 * i + 1));
    fg_h2_wires_prioritize(&f->wires, &f->wire[3], (struct fg_priority_field){3, true});
    for (size_t i = 0; i < 5; i++)
        fg_h2_wires_set_ready(&f->wires, &f->wire[order[i]], true);
    /* One that shares stands where it came. */
    static const int32_t ids[] = {1, 3, 5, 9, 7};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(next_id(f), ids[i]);
        fg_h2_wires_set_ready(&f->wires, fg_h2_wires_next(&f->wires), false);
    }
    assert_int_equal(next_id(f), 0);
}

/* How many it goes by is bounded: it stands before those, behind others of later ids. */
static void looks_back_only_so_far(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < WIRES; i++)
        (void)open_wire(f, i, (int32_t)(2 * i + 1));
    for (size_t i = 1; i < WIRES; i++)
        fg_h2_wires_set_ready(&f->wires, &f->wire[i], true);
    fg_h2_wires_set_ready(&f->wires, &f->wire[0], true);
    size_t before = 0;
    while (next_id(f) != 1) {
        fg_h2_wires_set_ready(&f->wires, fg_h2_wires_next(&f->wires), false);
        before++;
    }
    assert_int_equal(before, WIRES - 1 - 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_what_is_open_and_nothing_else),
        TEST(a_table_that_was_large_is_given_back),
        TEST(one_wire_takes_the_place_of_another),
        TEST(windows_stay_within_31_bits),
        TEST(the_more_urgent_goes_first),
        TEST(incremental_ones_take_turns),
        TEST(gives_turns_by_id_whoever_was_ready_first),
        TEST(looks_back_only_so_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
