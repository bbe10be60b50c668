/*
 * test_maglev.c: shares by weight, and how few keys move when a host leaves.
 */
#include "policies/maglev.h"
#include "policy_test.h"

#define HOSTS 20u
#define SLOTS 16381u

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
    static uint16_t slots[SLOTS];
    struct fg_maglev maglev;
    uint32_t counts[HOSTS];
    for (size_t i = 0; i < HOSTS; i++)
        hosts[i] = (struct fg_maglev_host){.hash = i * 7919 + 1, .weight = 1};
    build(&maglev, slots, hosts, HOSTS);
    assert_int_equal(maglev.slot_count, SLOTS);
    count_slots(&maglev, counts);
    for (size_t i = 0; i < HOSTS; i++)
        assert_in_range(counts[i], SLOTS / HOSTS, SLOTS / HOSTS + 1);
}

static void weights_are_kept_and_everyone_has_a_slot(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[3] = {
        {.hash = 11, .weight = 1}, {.hash = 22, .weight = 3}, {.hash = 33, .weight = 1000}};
    struct fg_maglev_host many[HOSTS];
    static uint16_t slots[SLOTS];
    struct fg_maglev maglev;
    uint32_t counts[HOSTS];
    build(&maglev, slots, hosts, 3);
    count_slots(&maglev, counts);
    assert_in_range(counts[0], SLOTS / 1004, SLOTS / 1004 + 2);
    assert_in_range(counts[1], 3 * SLOTS / 1004, 3 * SLOTS / 1004 + 2);
    assert_int_equal(counts[0] + counts[1] + counts[2], SLOTS);
    for (size_t i = 0; i < HOSTS; i++)
        many[i] = (struct fg_maglev_host){.hash = i, .weight = i == 0 ? 1 : 1000000};
    build(&maglev, slots, many, HOSTS);
    count_slots(&maglev, counts);
    assert_int_equal(counts[0], 1);
}

static void the_order_of_the_list_does_not_matter(void **state)
{
    (void)state;
    struct fg_maglev_host hosts[2][HOSTS];
    static uint16_t slots[2][SLOTS];
    struct fg_maglev maglev[2];
    for (size_t i = 0; i < HOSTS; i++) {
        hosts[0][i] = (struct fg_maglev_host){.hash = 1000 + i, .weight = 1 + (uint32_t)i % 3};
        hosts[1][HOSTS - 1 - i] = hosts[0][i];
    }
    build(&maglev[0], slots[0], hosts[0], HOSTS);
    build(&maglev[1], slots[1], hosts[1], HOSTS);
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(slots[0][i], HOSTS - 1 - slots[1][i]);
}

/* Of 10,000 keys, how many have another host with one host more, and it is not the new one. */
static unsigned moved_by_one_more(size_t count)
{
    static uint16_t slots[2][SLOTS];
    struct fg_maglev_host *hosts = calloc(count + 1, sizeof(*hosts));
    struct fg_maglev maglev[2];
    for (size_t with_more = 0; with_more < 2; with_more++) {
        for (size_t i = 0; i <= count; i++)
            hosts[i] = (struct fg_maglev_host){.hash = i * 104729 + 5, .weight = 1};
        build(&maglev[with_more], slots[with_more], hosts, count + with_more);
    }
    free(hosts);
    unsigned moved = 0;
    for (uint64_t key = 0; key < 10000; key++) {
        uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);
        uint16_t before = slots[0][fg_maglev_slot(&maglev[0], hash)];
        uint16_t after = slots[1][fg_maglev_slot(&maglev[1], hash)];
        moved += after != count && before != after;
    }
    return moved;
}

static void few_keys_move_when_a_host_comes_or_leaves(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 9, 10, 19, 40, 163, 164, 655};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        assert_in_range(moved_by_one_more(counts[i]), 0, 300);
}

static void sizes_are_primes_that_fit(void **state)
{
    (void)state;
    assert_int_equal(fg_maglev_slot_count(1), SLOTS);
    assert_int_equal(fg_maglev_slot_count(1638), SLOTS);
    assert_int_equal(fg_maglev_slot_count(1639), 262147);
    assert_int_equal(fg_maglev_slot_count(FG_MAGLEV_HOSTS_MAX), 262147);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_hosts_get_equal_shares),
        cmocka_unit_test(weights_are_kept_and_everyone_has_a_slot),
        cmocka_unit_test(the_order_of_the_list_does_not_matter),
        cmocka_unit_test(few_keys_move_when_a_host_comes_or_leaves),
        cmocka_unit_test(sizes_are_primes_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
