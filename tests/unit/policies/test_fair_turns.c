/*
 * test_fair_turns.c: one of each owner a round, whatever each of them has waiting.
 */
#include "policies/fair_turns.h"

#include "policy_test.h"

#define TURNS 3000
#define OWNERS 12

static uint64_t owner_of(unsigned number)
{
    uint64_t state = number;
    return test_random(&state) | 1;
}

static unsigned pop(struct fg_fair_turns *turns, const struct fg_fair_turn *all)
{
    struct fg_fair_turn *first = fg_fair_turns_first(turns);
    assert_non_null(first);
    fg_fair_turns_remove(turns, first);
    return (unsigned)(first - all);
}

static void a_newcomer_waits_for_one_of_each(void **state)
{
    (void)state;
    struct fg_fair_turns turns = {0};
    struct fg_fair_turn all[110];
    for (unsigned i = 0; i < 100; i++)
        fg_fair_turns_add(&turns, &all[i], owner_of(1));
    assert_in_range(fg_fair_turns_ahead(&turns, owner_of(2)), 1, 1 + 100 / FG_FAIR_ROUNDS);
    assert_int_equal(fg_fair_turns_ahead(&turns, owner_of(1)), 100);
    fg_fair_turns_add(&turns, &all[100], owner_of(2));
    fg_fair_turns_add(&turns, &all[101], owner_of(3));
    fg_fair_turns_add(&turns, &all[102], owner_of(2));
    const unsigned order[] = {0, 100, 101, 1, 102, 2, 3};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        assert_int_equal(pop(&turns, all), order[i]);
}

static void without_owners_it_is_first_come_first_served(void **state)
{
    (void)state;
    struct fg_fair_turns turns = {0};
    struct fg_fair_turn all[20];
    for (unsigned i = 0; i < 20; i++)
        fg_fair_turns_add(&turns, &all[i], 0);
    assert_int_equal(fg_fair_turns_ahead(&turns, 0), 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(pop(&turns, all), i);
    assert_null(fg_fair_turns_first(&turns));
    assert_int_equal(fg_fair_turns_ahead(&turns, owner_of(1)), 0);
}

/* Two owners who always have something waiting are served alike, whatever each of them has. */
static void owners_get_the_same(void **state)
{
    (void)state;
    uint64_t seed = test_seed(1);
    struct fg_fair_turns turns = {0};
    struct fg_fair_turn *all = calloc(TURNS, sizeof(*all));
    unsigned owners[TURNS], served[OWNERS] = {0}, count = 0;
    assert_non_null(all);
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        unsigned many = 30 + (unsigned)test_below(&seed, 200);
        for (unsigned i = 0; i < many; i++) {
            owners[count] = owner;
            fg_fair_turns_add(&turns, &all[count++], owner_of(owner));
        }
    }
    unsigned last[OWNERS] = {0};
    for (unsigned i = 0; i < 30 * OWNERS; i++) {
        unsigned number = pop(&turns, all);
        unsigned owner = owners[number];
        assert_true(served[owner] == 0 || number > last[owner]); /* in the order of arrival */
        last[owner] = number;
        served[owner]++;
        for (unsigned other = 0; other < OWNERS; other++)
            assert_true(served[owner] <= served[other] + 1);
    }
    free(all);
}

/* However few they have waiting: who was served comes back behind the round that he had. */
static void who_comes_back_lets_others_pass(void **state)
{
    (void)state;
    static const unsigned owners[] = {1, 1, 1, 2, 3, 4, 4};
    struct fg_fair_turns turns = {0};
    struct fg_fair_turn all[7];
    unsigned served[5] = {0};
    for (unsigned i = 0; i < 7; i++)
        fg_fair_turns_add(&turns, &all[i], owner_of(owners[i]));
    for (unsigned i = 0; i < 400; i++) {
        unsigned number = pop(&turns, all);
        served[owners[number]]++;
        fg_fair_turns_add_again(&turns, &all[number], owner_of(owners[number]),
                                all[number].round + 1);
    }
    for (unsigned owner = 1; owner <= 4; owner++)
        assert_int_equal(served[owner], 100);
}

/* Random arrivals, turns and departures: nobody is lost, and `ahead` is never too low. */
static void what_is_ahead_is_a_bound(void **state)
{
    (void)state;
    uint64_t seed = test_seed(2);
    for (unsigned round = 0; round < 50; round++) {
        struct fg_fair_turns turns = {0};
        struct fg_fair_turn all[400];
        bool is_in[400] = {false};
        uint32_t count = 0;
        for (unsigned i = 0; i < 399; i++) {
            uint64_t skew = test_below(&seed, OWNERS * OWNERS);
            fg_fair_turns_add(&turns, &all[i], owner_of((unsigned)(skew % OWNERS * (skew % 3))));
            is_in[i] = true;
            count++;
            unsigned gone = (unsigned)test_below(&seed, 3 * i + 3);
            if (gone <= i && is_in[gone]) {
                fg_fair_turns_remove(&turns, &all[gone]);
                is_in[gone] = false;
                count--;
            }
            if (test_below(&seed, 3) == 0 && count > 0) {
                is_in[pop(&turns, all)] = false;
                count--;
            }
            assert_int_equal(turns.count, count);
        }
        uint64_t owner = owner_of((unsigned)test_below(&seed, OWNERS));
        uint32_t bound = fg_fair_turns_ahead(&turns, owner);
        fg_fair_turns_add(&turns, &all[399], owner);
        uint32_t before = 0;
        while (pop(&turns, all) != 399)
            before++;
        assert_in_range(before, 0, bound);
        assert_int_equal(turns.count, count - before);
        while (fg_fair_turns_first(&turns) != NULL)
            (void)pop(&turns, all);
    }
}

static void the_largest_round_is_the_last(void **state)
{
    (void)state;
    struct fg_fair_turns turns = {.next_number = UINT32_MAX};
    struct fg_fair_turn all[3];
    fg_fair_turns_add(&turns, &all[0], owner_of(1));
    turns.heap.root->deadline_ns = (uint64_t)UINT32_MAX << 32;
    turns.by_round[0]--;
    all[0].round = UINT32_MAX;
    turns.by_round[UINT32_MAX % FG_FAIR_ROUNDS]++;
    fg_fair_turns_add(&turns, &all[1], owner_of(1));
    assert_true(all[1].round == UINT32_MAX);
    assert_int_equal(pop(&turns, all), 0);
    assert_int_equal(pop(&turns, all), 1);
    fg_fair_turns_add(&turns, &all[2], owner_of(1)); /* empty: it begins anew */
    assert_int_equal(all[2].round, 0);
    assert_int_equal(turns.next_number, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newcomer_waits_for_one_of_each),
        cmocka_unit_test(without_owners_it_is_first_come_first_served),
        cmocka_unit_test(owners_get_the_same),
        cmocka_unit_test(who_comes_back_lets_others_pass),
        cmocka_unit_test(what_is_ahead_is_a_bound),
        cmocka_unit_test(the_largest_round_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
