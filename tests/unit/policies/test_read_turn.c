/*
 * test_read_turn.c: dear reads become small, cheap ones large again, and many share one budget.
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

static void sizes_are_halved(void **state)
{
    (void)state;
    assert_int_equal(fg_read_turn_bytes(MOST, 0), 65536);
    assert_int_equal(fg_read_turn_bytes(MOST, 1), 32768);
    assert_int_equal(fg_read_turn_bytes(MOST, FG_READ_TURN_HALVINGS_MAX), 1024);
}

/* One of ten shares of 2 ms: 200 us. */
static void a_dear_read_is_halved_until_it_fits(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    assert_int_equal(fg_read_turn_note(&reads, 1, 0, 200 * US), 0); /* the exact edge */
    assert_int_equal(fg_read_turn_note(&reads, 2, 0, 200 * US + 1), 1);
    assert_int_equal(fg_read_turn_note(&reads, 3, 0, 800 * US), 2);
    assert_int_equal(fg_read_turn_note(&reads, 4, 0, 6400 * US), 5);
    assert_int_equal(fg_read_turn_note(&reads, 5, 3, 400 * US), 4);
    assert_int_equal(fg_read_turn_note(&reads, 6, 0, UINT64_MAX), FG_READ_TURN_HALVINGS_MAX);
    assert_int_equal(fg_read_turn_note(&reads, 7, FG_READ_TURN_HALVINGS_MAX, UINT64_MAX),
                     FG_READ_TURN_HALVINGS_MAX);
}

static void a_cheap_one_is_doubled_once(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    assert_int_equal(fg_read_turn_note(&reads, 1, 4, 100 * US), 3);
    assert_int_equal(fg_read_turn_note(&reads, 2, 4, 100 * US + 1), 4); /* twice it would not fit */
    assert_int_equal(fg_read_turn_note(&reads, 3, 1, 0), 0);
    assert_int_equal(fg_read_turn_note(&reads, 4, 0, 0), 0);
}

static void many_share_one_budget(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(2 * MS);
    for (unsigned i = 0; i < 100; i++)
        (void)fg_read_turn_note(&reads, 1, 0, 10 * US);
    assert_int_equal(fg_read_turn_note(&reads, 2, 0, 20 * US), 0); /* a hundredth */
    assert_int_equal(fg_read_turn_note(&reads, 2, 0, 21 * US), 1);
    assert_int_equal(fg_read_turn_note(&reads, 3, 0, 200 * US), 0); /* few in the turn before */
    for (unsigned i = 0; i < 100; i++)
        (void)fg_read_turn_note(&reads, 4, 0, 10 * US);
    assert_int_equal(fg_read_turn_note(&reads, 6, 0, 200 * US), 0); /* a turn without any */
    assert_int_equal(fg_read_turn_note(&reads, 1, 0, 200 * US), 0); /* turns from the begin again */
}

static void without_a_budget_all_reads_are_large(void **state)
{
    (void)state;
    struct fg_read_turn reads = made(0);
    assert_int_equal(fg_read_turn_note(&reads, 1, 0, UINT64_MAX), 0);
    reads = made(UINT64_MAX);
    assert_int_equal(fg_read_turn_note(&reads, UINT64_MAX, 0, UINT64_MAX / 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_halved),
        cmocka_unit_test(a_dear_read_is_halved_until_it_fits),
        cmocka_unit_test(a_cheap_one_is_doubled_once),
        cmocka_unit_test(many_share_one_budget),
        cmocka_unit_test(without_a_budget_all_reads_are_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
