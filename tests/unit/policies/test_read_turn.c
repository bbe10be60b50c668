/*
 * test_read_turn.c: dear reads become small and fewer, cheap ones large again, many share one
 * budget, and newcomers begin with what others' first reads have shown.
 */
#include "policies/read_turn.h"
#include "policy_test.h"

#define US UINT64_C(1000)
#define MOST ((size_t)65536)

static struct fg_read_turn made(uint64_t budget_ns)
{
    struct fg_read_turn reads;
    fg_read_turn_init(&reads, budget_ns);
    return reads;
}

/* How small the read after a full one is that took so long. */
static uint8_t after(struct fg_read_turn *reads, uint64_t turn, uint8_t halvings, uint64_t took_ns)
{
    struct fg_read_pace pace = {.halvings = halvings, .is_known = true};
    (void)fg_read_turn_note(reads, turn, &pace, MOST, fg_read_turn_bytes(&pace, MOST), took_ns);
    return pace.halvings;
}

static void sizes_are_halved(void **state)
{
    (void)state;
    struct fg_read_pace pace = {0};
    assert_int_equal(fg_read_turn_bytes(&pace, MOST), 65536);
    pace.halvings = 1;
    assert_int_equal(fg_read_turn_bytes(&pace, MOST), 32768);
    pace.halvings = FG_READ_TURN_HALVINGS_MAX;
    assert_int_equal(fg_read_turn_bytes(&pace, MOST), 1024);
}

/* One of ten shares of 2 ms: 200 us. */
static void a_dear_read_is_halved_until_it_fits(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    assert_int_equal(after(&reads, 1, 0, 200 * US), 0); /* the exact edge */
    assert_int_equal(after(&reads, 2, 0, 200 * US + 1), 1);
    assert_int_equal(after(&reads, 3, 0, 800 * US), 2);
    assert_int_equal(after(&reads, 4, 0, 6400 * US), 5);
    assert_int_equal(after(&reads, 5, 3, 400 * US), 4);
    assert_int_equal(after(&reads, 6, 0, UINT64_MAX), FG_READ_TURN_HALVINGS_MAX);
    assert_int_equal(after(&reads, 7, FG_READ_TURN_HALVINGS_MAX, UINT64_MAX),
                     FG_READ_TURN_HALVINGS_MAX);
}

static void a_cheap_one_is_doubled_once(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    assert_int_equal(after(&reads, 1, 4, 100 * US), 3);
    assert_int_equal(after(&reads, 2, 4, 100 * US + 1), 4); /* twice it would not fit */
    assert_int_equal(after(&reads, 3, 1, 0), 0);
    assert_int_equal(after(&reads, 4, 0, 0), 0);
}

static void many_share_one_budget(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    for (unsigned i = 0; i < 100; i++)
        (void)after(&reads, 1, 0, 10 * US);
    assert_int_equal(after(&reads, 2, 5, 20 * US), 5); /* a hundredth */
    assert_int_equal(after(&reads, 2, 5, 21 * US), 6);
    assert_int_equal(after(&reads, 3, 0, 200 * US), 0); /* few in the turn before */
    for (unsigned i = 0; i < 100; i++)
        (void)after(&reads, 4, 0, 10 * US);
    assert_int_equal(after(&reads, 6, 0, 200 * US), 0); /* a turn without any */
    assert_int_equal(after(&reads, 1, 0, 200 * US), 0); /* turns from the begin again */
}

/* Whoever sends a little less than a read can take is not cheaper for it. */
static void a_read_need_not_be_full_to_be_dear(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace pace = {.is_known = true};
    assert_false(fg_read_turn_measures(&pace, MOST, 4095));
    assert_true(fg_read_turn_measures(&pace, MOST, 4096));
    assert_true(fg_read_turn_note(&reads, 1, &pace, MOST, 8192, 400 * US));
    assert_int_equal(fg_read_turn_bytes(&pace, MOST), 4096);
    assert_true(fg_read_turn_measures(&pace, MOST, 4096));
    /* Cheap, but not full: it says nothing about a larger one. */
    assert_false(fg_read_turn_note(&reads, 9, &pace, MOST, 4095, 1));
    assert_int_equal(fg_read_turn_bytes(&pace, MOST), 4096);
    pace.halvings = FG_READ_TURN_HALVINGS_MAX;
    assert_true(fg_read_turn_measures(&pace, MOST, 1024));
    assert_false(fg_read_turn_measures(&pace, MOST, 1023));
}

static void what_was_taken_above_a_share_is_owed_in_turns(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace pace = {.is_known = true};
    (void)fg_read_turn_note(&reads, 10, &pace, MOST, MOST, 200 * US);
    assert_true(fg_read_turn_is_due(&reads, 11, &pace));
    assert_true(fg_read_turn_note(&reads, 11, &pace, MOST, MOST, 900 * US));
    assert_false(fg_read_turn_is_due(&reads, 14, &pace));
    assert_true(fg_read_turn_is_due(&reads, 15, &pace));
    (void)fg_read_turn_note(&reads, 20, &pace, MOST, MOST, UINT64_MAX);
    assert_false(fg_read_turn_is_due(&reads, 20 + FG_READ_TURN_PASSED_MAX - 1, &pace));
    assert_true(fg_read_turn_is_due(&reads, 20 + FG_READ_TURN_PASSED_MAX, &pace));
    pace.due_turn = UINT64_MAX; /* turns from the begin again */
    assert_true(fg_read_turn_is_due(&reads, 1, &pace));
}

/* Those who wait for their turn make the others' shares no larger. */
static void who_is_passed_over_counts(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    const struct fg_read_pace later = {.due_turn = 9};
    for (unsigned i = 0; i < 100; i++)
        assert_false(fg_read_turn_is_due(&reads, 8, &later));
    assert_int_equal(after(&reads, 9, 5, 20 * US), 5);
    assert_int_equal(after(&reads, 9, 5, 21 * US), 6);
}

/* However many there are: smaller reads would only make large pieces dearer. */
static void large_pieces_are_never_dear(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(MS);
    for (unsigned i = 0; i < 1000; i++)
        (void)after(&reads, 1, 0, 40 * US);
    assert_int_equal(after(&reads, 1, 0, 131072), 0); /* 2 ns a byte */
    assert_int_equal(after(&reads, 2, 3, 8192), 2);
    assert_int_equal(after(&reads, 2, 3, 16384), 3);
    assert_int_equal(after(&reads, 2, 0, 131073), FG_READ_TURN_HALVINGS_MAX);
}

static void newcomers_begin_with_what_others_have_shown(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    struct fg_read_pace pace;
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 0);
    (void)fg_read_turn_note(&reads, 1, &pace, MOST, MOST, 6400 * US);
    (void)fg_read_turn_note(&reads, 50, &pace, MOST, MOST, 6400 * US); /* no first read */
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 5);
    assert_int_equal(pace.due_turn, 0);
    (void)fg_read_turn_note(&reads, 60, &pace, MOST, 2048, 150 * US); /* neither dear nor cheap */
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 5);
    for (unsigned i = 5; i > 0; i--) { /* each that is cheap makes it larger */
        fg_read_turn_greet(&reads, &pace);
        assert_int_equal(pace.halvings, i);
        (void)fg_read_turn_note(&reads, 70, &pace, MOST, fg_read_turn_bytes(&pace, MOST), 1);
        assert_int_equal(pace.halvings, i - 1);
    }
    fg_read_turn_greet(&reads, &pace);
    assert_int_equal(pace.halvings, 0);
}

static void without_a_budget_all_reads_are_large(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(0);
    assert_int_equal(after(&reads, 1, 0, UINT64_MAX), 0);
    reads = made(UINT64_MAX);
    assert_int_equal(after(&reads, UINT64_MAX, 0, UINT64_MAX / 10), 0);
    reads = made(1); /* less than there are shares */
    assert_int_equal(after(&reads, 1, 0, MOST * FG_READ_TURN_PLAIN_NS), 0);
    assert_int_equal(after(&reads, 1, 0, MOST * FG_READ_TURN_PLAIN_NS + 1),
                     FG_READ_TURN_HALVINGS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_halved),
        cmocka_unit_test(a_dear_read_is_halved_until_it_fits),
        cmocka_unit_test(a_cheap_one_is_doubled_once),
        cmocka_unit_test(many_share_one_budget),
        cmocka_unit_test(a_read_need_not_be_full_to_be_dear),
        cmocka_unit_test(what_was_taken_above_a_share_is_owed_in_turns),
        cmocka_unit_test(who_is_passed_over_counts),
        cmocka_unit_test(large_pieces_are_never_dear),
        cmocka_unit_test(newcomers_begin_with_what_others_have_shown),
        cmocka_unit_test(without_a_budget_all_reads_are_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
