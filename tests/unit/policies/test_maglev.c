/*
 * test_maglev.c: shares by weight, and how few keys move when a host leaves.
 */
#include "policies/maglev.h"
#include "policy_test.h"

#define HOSTS 20u

static void build(struct fg_maglev *maglev, uint16_t *slots, struct fg_maglev_host *hosts,
                  size_t count)
{
    fg_maglev_build(maglev, slots, fg_maglev_slot_count(count), hosts, count);
}

static void count_slots(const struct fg_maglev *maglev, uint32_t counts[HOSTS])
{
    memset(counts, 0, HOSTS * sizeof(*counts));
    for (uint32_t i = 0; i < maglev->slot_count; i++) {
        assert_true(maglev->slots[i] < HOSTS);
        counts[maglev->slots[i]]++;
    }
}

static void equal_hosts_get_equal_shares(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[HOSTS];
    static uint16_t slots[4099];
    struct fg_maglev maglev;
    uint32_t counts[HOSTS];
    for (size_t i = 0; i < HOSTS; i++)
        hosts[i] = (struct fg_maglev_host){.hash = i * 7919 + 1, .weight = 1};
    build(&maglev, slots, hosts, HOSTS);
    assert_int_equal(maglev.slot_count, 4099);
    count_slots(&maglev, counts);
    for (size_t i = 0; i < HOSTS; i++)
        assert_in_range(counts[i], 4099 / HOSTS, 4099 / HOSTS + 1);
}

static void weights_are_kept_and_everyone_has_a_slot(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[3] = {
        {.hash = 11, .weight = 1}, {.hash = 22, .weight = 3}, {.hash = 33, .weight = 1000}};
    static uint16_t slots[1021];
    struct fg_maglev maglev;
    uint32_t counts[HOSTS];
    build(&maglev, slots, hosts, 3);
    count_slots(&maglev, counts);
    assert_true(counts[0] >= 1 && counts[0] <= 3);
    assert_in_range(counts[1], 2, 5);
    assert_int_equal(counts[0] + counts[1] + counts[2], 1021);
}

static void the_order_of_the_list_does_not_matter(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[2][5];
    static uint16_t slots[2][1021];
    struct fg_maglev maglev[2];
    for (size_t i = 0; i < 5; i++) {
        hosts[0][i] = (struct fg_maglev_host){.hash = 1000 + i, .weight = 1};
        hosts[1][4 - i] = hosts[0][i];
    }
    build(&maglev[0], slots[0], hosts[0], 5);
    build(&maglev[1], slots[1], hosts[1], 5);
    uint32_t same = 0;
    for (uint32_t i = 0; i < 1021; i++)
        same += slots[0][i] == 4 - slots[1][i];
    assert_true(same > 900); /* who is asked first decides few slots */
}

static void few_keys_move_when_a_host_leaves(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[HOSTS];
    static uint16_t before[4099], after[4099];
    struct fg_maglev maglev;
    for (size_t i = 0; i < HOSTS; i++)
        hosts[i] = (struct fg_maglev_host){.hash = i * 104729 + 5, .weight = 1};
    build(&maglev, before, hosts, HOSTS);
    fg_maglev_build(&maglev, after, 4099, hosts, HOSTS - 1);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < 4099; i++)
        moved += before[i] != HOSTS - 1 && before[i] != after[i];
    assert_true(moved < 4099 / 10);
}

static void sizes_are_primes_that_fit(void **state)
{
    (void)state;
    assert_int_equal(fg_maglev_slot_count(1), 1021);
    assert_int_equal(fg_maglev_slot_count(10), 1021);
    assert_int_equal(fg_maglev_slot_count(11), 4099);
    assert_int_equal(fg_maglev_slot_count(FG_MAGLEV_HOSTS_MAX), 262147);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_hosts_get_equal_shares),
        cmocka_unit_test(weights_are_kept_and_everyone_has_a_slot),
        cmocka_unit_test(the_order_of_the_list_does_not_matter),
        cmocka_unit_test(few_keys_move_when_a_host_leaves),
        cmocka_unit_test(sizes_are_primes_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
