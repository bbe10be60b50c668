/*
 * test_address_share.c: shares at their edges, who may be named, and the order in which they go.
 */
#include "policies/address_share.h"
#include "policy_test.h"

static struct fg_address_share share_of(uint32_t connections, uint64_t grace_ns)
{
    return (struct fg_address_share){.connections = connections, .grace_ns = grace_ns};
}

static void a_share_is_a_part_of_all_and_never_tiny(void **state)
{
    (void)state;
    assert_int_equal(fg_address_share_make(10000, 100, 1, S).connections, 1000);
    assert_int_equal(fg_address_share_make(10000, 1000, 1, S).connections, 10000);
    assert_int_equal(fg_address_share_make(10, 100, 1, S).connections, FG_ADDRESS_SHARE_LEAST);
    assert_int_equal(fg_address_share_make(0, 1, 1, S).connections, FG_ADDRESS_SHARE_LEAST);
    assert_int_equal(fg_address_share_make(10001, 100, 3, S).connections, 334); /* rounded up */
    assert_int_equal(fg_address_share_make(8, 100, 100, S).connections, 1);
    assert_int_equal(fg_address_share_make(UINT64_MAX, 1000, 1, S).connections, UINT32_MAX);
    assert_int_equal(fg_address_share_make(1, 1, 1, 7).grace_ns, 7);
}

static void who_has_its_share_gets_no_more(void **state)
{
    (void)state;
    struct fg_address_share share = share_of(8, S);
    assert_true(fg_address_share_admits(&share, 0));
    assert_true(fg_address_share_admits(&share, 7));
    assert_false(fg_address_share_admits(&share, 8));
    assert_false(fg_address_share_admits(&share, UINT32_MAX));
    assert_false(fg_address_share_takes(&share, 8));
    assert_true(fg_address_share_takes(&share, 9));
}

static void only_what_stalls_above_the_share_is_named(void **state)
{
    (void)state;
    struct fg_address_share share = share_of(8, S);
    struct fg_address_share_picks picks = {0};
    assert_false(fg_address_share_offer(&share, &picks, 9 * S, 8, 1, NULL));         /* its share */
    assert_false(fg_address_share_offer(&share, &picks, 9 * S, 9, 0, NULL));         /* at work */
    assert_false(fg_address_share_offer(&share, &picks, 9 * S, 9, 8 * S + 1, NULL)); /* grace */
    assert_false(fg_address_share_offer(&share, &picks, 9 * S, 9, 10 * S, NULL)); /* clock back */
    assert_int_equal(picks.count, 0);
    assert_true(fg_address_share_offer(&share, &picks, 9 * S, 9, 8 * S, NULL)); /* the exact edge */
    assert_true(
        fg_address_share_offer(&share, &picks, UINT64_MAX, 9, 1, NULL)); /* a jump of ages */
    assert_int_equal(picks.count, 2);
    share.grace_ns = UINT64_MAX;
    assert_false(fg_address_share_offer(&share, &picks, UINT64_MAX, 9, 1, NULL));
}

/* The oldest of all, each once, in order, whatever order they came in. */
static void the_longest_without_progress_go_first(void **state)
{
    (void)state;
    static uint64_t since[1000];
    uint64_t seed = test_seed(11);
    struct fg_address_share share = share_of(1, 0);
    for (size_t count = 0; count <= 1000; count += count < 10 ? 1 : 99) {
        struct fg_address_share_picks picks = {0};
        for (size_t i = 0; i < count; i++)
            since[i] = i + 1;
        for (size_t i = 0; i < count; i++) {
            size_t other = i + test_below(&seed, count - i);
            uint64_t kept = since[i];
            since[i] = since[other];
            since[other] = kept;
            fg_address_share_offer(&share, &picks, YEAR, 2, since[i], &since[i]);
        }
        size_t kept = count < FG_ADDRESS_SHARE_PICKED_MAX ? count : FG_ADDRESS_SHARE_PICKED_MAX;
        fg_address_share_sort(&picks);
        assert_int_equal(picks.count, kept);
        for (size_t i = 0; i < kept; i++) {
            assert_int_equal(picks.by_age[i].since_ns, i + 1);
            assert_int_equal(*(const uint64_t *)picks.by_age[i].connection, i + 1);
        }
    }
}

static void equal_ages_are_all_kept(void **state)
{
    (void)state;
    struct fg_address_share share = share_of(1, 0);
    struct fg_address_share_picks picks = {0};
    for (size_t i = 0; i < FG_ADDRESS_SHARE_PICKED_MAX; i++)
        assert_true(fg_address_share_offer(&share, &picks, S, 2, 5, NULL));
    assert_false(fg_address_share_offer(&share, &picks, S, 2, 5, NULL));
    assert_true(fg_address_share_offer(&share, &picks, S, 2, 4, NULL));
    fg_address_share_sort(&picks);
    assert_int_equal(picks.count, FG_ADDRESS_SHARE_PICKED_MAX);
    assert_int_equal(picks.by_age[0].since_ns, 4);
}

static bool spares_after(uint64_t excess, uint64_t open)
{
    struct fg_address_share share = share_of(8, S);
    fg_address_share_note(&share, S, excess, open);
    return fg_address_share_spares(&share, S, 8);
}

static void others_are_spared_while_a_quarter_is_in_excess(void **state)
{
    (void)state;
    assert_false(spares_after(0, 0));
    assert_false(spares_after(0, 3));
    assert_false(spares_after(24, 100));
    assert_true(spares_after(25, 100));
    assert_true(spares_after(100, 100));
    assert_false(spares_after(1, UINT64_MAX));
}

static void others_are_spared_a_while_longer(void **state)
{
    (void)state;
    struct fg_address_share share = share_of(8, S);
    assert_false(fg_address_share_spares(&share, YEAR, 0));
    fg_address_share_note(&share, 100 * S, 50, 100);
    fg_address_share_note(&share, 101 * S, 0, 50); /* it has gone */
    assert_true(fg_address_share_spares(&share, 105 * S - 1, 8));
    assert_false(fg_address_share_spares(&share, 105 * S - 1, 9)); /* who was it? */
    assert_false(fg_address_share_spares(&share, 105 * S, 8));
    assert_false(fg_address_share_spares(&share, 99 * S, 8)); /* the clock went back */
    assert_false(fg_address_share_spares(&share, UINT64_MAX, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_a_part_of_all_and_never_tiny),
        cmocka_unit_test(who_has_its_share_gets_no_more),
        cmocka_unit_test(only_what_stalls_above_the_share_is_named),
        cmocka_unit_test(the_longest_without_progress_go_first),
        cmocka_unit_test(equal_ages_are_all_kept),
        cmocka_unit_test(others_are_spared_while_a_quarter_is_in_excess),
        cmocka_unit_test(others_are_spared_a_while_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
