/*
 * test_standing.c: a burst that drains is no flood, neither by itself nor for the queue that asks.
 */
#include "policies/admission_queue.h"
#include "policies/standing.h"
#include "policy_test.h"

/* A period in which so many came and were served. */
static bool fed(struct fg_standing *standing, uint64_t arrived, uint64_t served, bool has_stood)
{
    standing->arrived = arrived;
    standing->served = served;
    fg_standing_end_period(standing, has_stood, false, 0);
    return standing->is_fed;
}

static void what_came_before_it_stood_does_not_count(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    assert_false(fed(&standing, 1000, 5, false));
    for (int i = 0; i < 100; i++)
        assert_false(fed(&standing, 5, 5, true));
    assert_int_equal(standing.excess, 0);
}

static void the_limit_is_five_periods_and_eight(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    assert_false(fed(&standing, 5 + 33, 5, true)); /* 33 is the limit */
    assert_true(fed(&standing, 5 + 1, 5, true));
    assert_false(fed(&standing, 4, 5, true)); /* back at it */
    standing = (struct fg_standing){0};
    for (int i = 0; i < 58; i++)
        assert_false(fed(&standing, 11, 10, true)); /* 10 % too much is found out, too */
    assert_true(fed(&standing, 11, 10, true));
}

static void while_it_is_fed_every_period_counts_and_idleness_ends_it(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    assert_true(fed(&standing, 1000, 5, true));
    assert_int_equal(standing.excess, 66); /* twice the limit, or it would be remembered too long */
    assert_true(fed(&standing, 5, 5, false));
    assert_int_equal(standing.excess, 66);
    assert_false(fed(&standing, 0, 20, false));
    assert_false(fed(&standing, 5, 5, false));
    assert_int_equal(standing.excess, 23);
    assert_true(fed(&standing, 1000, 5, true));
    standing.arrived = 1000;
    fg_standing_end_period(&standing, false, true, 0);
    assert_true(standing.excess == 0 && !standing.is_fed);
}

static void what_stands_and_gets_as_much_as_it_gives_does_not_drain(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    for (int i = 0; i < 10; i++, assert_false(standing.does_not_drain))
        (void)fed(&standing, 18, 20, true); /* a burst does */
    (void)fed(&standing, 20, 20, false);
    (void)fed(&standing, 36, 20, true); /* it has become longer */
    (void)fed(&standing, 19, 20, true);
    assert_false(standing.does_not_drain);
    (void)fed(&standing, 19, 20, true);
    assert_true(standing.does_not_drain && !standing.is_fed && !standing.is_steady);
    (void)fed(&standing, 1, 20, true);
    assert_false(standing.does_not_drain); /* 75 of 80 */
    standing = (struct fg_standing){0};
    (void)fed(&standing, 26, 10, true);
    for (int i = 0; i < 2; i++)
        (void)fed(&standing, 10, 10, true);
    assert_false(standing.does_not_drain); /* so few are chance */
    (void)fed(&standing, 10, 10, true);
    assert_true(standing.does_not_drain);
    (void)fed(&standing, 10, 10, false);
    assert_false(standing.does_not_drain);
}

/* Chance would make it longer: those who wait come again when they have been answered. */
static void what_keeps_its_length_is_no_flood(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    for (int i = 0; i < 2; i++, assert_false(standing.is_steady))
        (void)fed(&standing, 20, 20, true);
    for (int i = 0; i < 100; i++, assert_true(standing.is_steady && !standing.does_not_drain))
        (void)fed(&standing, 20 + (unsigned)i % 2, 20 + (unsigned)i % 2, true);
    (void)fed(&standing, 35, 20, true); /* 8, and half the root of what ten serve */
    assert_true(standing.is_steady);
    (void)fed(&standing, 21, 20, true);
    assert_true(!standing.is_steady && standing.does_not_drain);
}

/* Fewer slots: who has left one waits again, and nobody is here who was not. */
static void who_waits_in_place_of_being_served_was_here(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    fg_standing_end_period(&standing, false, false, 60);
    for (uint64_t slots = 40; slots > 0; slots -= 20) {
        standing.arrived = 40;
        standing.served = 20;
        fg_standing_end_period(&standing, true, false, slots);
    }
    assert_int_equal(standing.stood_above, 0);
    standing.arrived = 40;
    standing.served = 20;
    fg_standing_end_period(&standing, true, false, 20);
    assert_int_equal(standing.stood_above, 20);
    assert_false(standing.is_steady);
}

static void the_largest_numbers_are_borne(void **state)
{
    (void)state;
    struct fg_standing standing = {0};
    assert_false(fed(&standing, UINT64_MAX, UINT64_MAX, true));
    standing.excess = UINT64_MAX;
    assert_true(fed(&standing, UINT64_MAX, 0, true));
    assert_int_equal(standing.excess, 16);
}

/* So many at once, of whom one is served each `pace_ns`, while `more` come with each. */
static uint64_t shed_of_burst(unsigned count, uint64_t pace_ns, unsigned more)
{
    static struct fg_queue_entry entries[4096];
    memset(entries, 0, sizeof(entries));
    struct fg_queue_config config = {
        .capacity = 1024, .ageing_ns = S, .target_ns = 20 * MS, .interval_ns = 100 * MS};
    struct fg_admission_queue queue;
    struct fg_queue_entry *refused;
    fg_admission_queue_init(&queue, &config);
    unsigned next = 0;
    uint64_t now_ns = S;
    while (next < count)
        (void)fg_admission_queue_push(&queue, &entries[next++], FG_PRIORITY_NORMAL, now_ns,
                                      now_ns + 2 * S, &refused);
    for (unsigned i = 0; i < count; i++) {
        now_ns += pace_ns;
        (void)fg_admission_queue_pop(&queue, now_ns, &refused);
        for (unsigned k = 0; k < more; k++)
            (void)fg_admission_queue_push(&queue, &entries[next++], FG_PRIORITY_NORMAL, now_ns,
                                          now_ns + 2 * S, &refused);
    }
    assert_true(more > 1 || queue.expired_total + queue.full_total == 0);
    return queue.shed_total;
}

static void the_queue_sheds_of_a_flood_and_not_of_a_burst(void **state)
{
    (void)state;
    assert_int_equal(shed_of_burst(99, 20 * MS, 0), 0);
    assert_int_equal(shed_of_burst(1000, MS, 0), 0);
    assert_int_equal(shed_of_burst(20, 20 * MS, 1), 0); /* as many as are served: no flood */
    assert_true(shed_of_burst(90, 20 * MS, 3) > 150);
}

/* 200 ms each of one slot, and so a target of 140 ms: a burst may wait, a flood hears at once. */
static void a_slow_backend_foresees_a_flood_and_not_a_burst(void **state)
{
    (void)state;
    static struct fg_queue_entry entries[256];
    memset(entries, 0, sizeof(entries));
    struct fg_queue_config config = {.capacity = 1024,
                                     .ageing_ns = S,
                                     .target_ns = 20 * MS,
                                     .interval_ns = 100 * MS,
                                     .target_max_ns = 500 * MS};
    struct fg_admission_queue queue;
    struct fg_queue_entry *refused;
    fg_admission_queue_init(&queue, &config);
    fg_admission_queue_set_service(&queue, 200 * MS);
    fg_admission_queue_set_pace_least(&queue, 200 * MS);
    unsigned next = 0;
    for (; next < 9; next++)
        assert_int_equal(
            fg_admission_queue_push(&queue, &entries[next], FG_PRIORITY_NORMAL, S, 3 * S, &refused),
            FG_QUEUE_QUEUED);
    uint64_t now_ns = S;
    for (int i = 0; i < 8; i++)
        assert_non_null(fg_admission_queue_pop(&queue, now_ns += 200 * MS, &refused));
    assert_int_equal(queue.shed_total, 0);
    unsigned foreseen = 0;
    for (unsigned i = 0; i < 100; i++) {
        now_ns += 20 * MS;
        foreseen += fg_admission_queue_push(&queue, &entries[next++], FG_PRIORITY_NORMAL, now_ns,
                                            now_ns + 2 * S, &refused) == FG_QUEUE_FORESEEN;
        if (i % 10 == 9)
            (void)fg_admission_queue_pop(&queue, now_ns, &refused);
    }
    print_message("  foreseen %u\n", foreseen);
    assert_in_range(foreseen, 40, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_before_it_stood_does_not_count),
        cmocka_unit_test(the_limit_is_five_periods_and_eight),
        cmocka_unit_test(while_it_is_fed_every_period_counts_and_idleness_ends_it),
        cmocka_unit_test(what_stands_and_gets_as_much_as_it_gives_does_not_drain),
        cmocka_unit_test(what_keeps_its_length_is_no_flood),
        cmocka_unit_test(who_waits_in_place_of_being_served_was_here),
        cmocka_unit_test(the_largest_numbers_are_borne),
        cmocka_unit_test(the_queue_sheds_of_a_flood_and_not_of_a_burst),
        cmocka_unit_test(a_slow_backend_foresees_a_flood_and_not_a_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
