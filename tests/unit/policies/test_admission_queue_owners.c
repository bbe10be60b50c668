/*
 * test_admission_queue_owners.c: who has many entries waiting, or asks for much, gives way to those
 * who do not.
 */
#include "queue_test.h"

/* A hoard has all places of its class: who has none gets one of them, and the hoarder no more. */
static void a_crowd_gives_way_to_the_few(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    static struct fg_queue_entry hoard[101], few[60];
    memset(hoard, 0, sizeof(hoard));
    memset(few, 0, sizeof(few));
    fg_admission_queue_init(&queue, &config);
    for (size_t i = 0; i < 100; i++) {
        hoard[i].owner = 7;
        push(&queue, &hoard[i], FG_PRIORITY_NORMAL, i);
    }
    struct fg_queue_entry *refused;
    hoard[100].owner = 7;
    assert_int_equal(fg_admission_queue_push(&queue, &hoard[100], FG_PRIORITY_NORMAL, 100,
                                             FG_POLICY_NEVER, &refused),
                     FG_QUEUE_FULL);
    for (size_t i = 0; i < 60; i++) {
        few[i].owner = (i / 2 + 1) << 32 | (i / 2 + 1); /* two each */
        assert_int_equal(fg_admission_queue_push(&queue, &few[i], FG_PRIORITY_NORMAL, 101 + i,
                                                 FG_POLICY_NEVER, &refused),
                         FG_QUEUE_QUEUED);
        assert_ptr_equal(refused, &hoard[99 - i]); /* the newest of the crowd */
        assert_null(refused->next);
        assert_int_equal(refused->state, FG_QUEUE_ENTRY_DISPLACED);
    }
    assert_int_equal(queue.displaced_total, 60);
    assert_int_equal(queue.count, 100);
    /* Nobody's are never a crowd, and give way to nobody of their class. */
    struct fg_queue_entry nobody = {0};
    while (pop(&queue, 200) != NULL)
        ;
    memset(hoard, 0, sizeof(hoard));
    for (size_t i = 0; i < 100; i++)
        push(&queue, &hoard[i], FG_PRIORITY_NORMAL, 300);
    assert_int_equal(fg_admission_queue_push(&queue, &nobody, FG_PRIORITY_NORMAL, 300,
                                             FG_POLICY_NEVER, &refused),
                     FG_QUEUE_FULL);
    while (pop(&queue, 400) != NULL)
        ;
    for (size_t row = 0; row < FG_CROWD_ROWS; row++) {
        for (size_t column = 0; column < FG_CROWD_COLUMNS; column++)
            assert_int_equal(queue.crowd.counts[row][column], 0);
    }
}

/*
 * One client has a thousand waiting, and asks for more all the time; five others ask now and then.
 * A slot comes free every 2.5 ms. With the law of standing delay, or (target 0) without.
 */
static void check_neighbours(uint64_t target_ns)
{
    struct fg_queue_config config = {
        .capacity = 1024, .ageing_ns = S, .target_ns = target_ns, .interval_ns = 100 * MS};
    static struct fg_queue_entry hoard[2000], few[250];
    static struct fg_admission_queue queue;
    struct fg_queue_entry *refused;
    size_t hoarded = 0, asked = 0;
    memset(hoard, 0, sizeof(hoard));
    memset(few, 0, sizeof(few));
    fg_admission_queue_init(&queue, &config);
    for (uint64_t now_ns = 0; now_ns < S; now_ns += 2500 * (MS / 1000)) {
        size_t wanted = now_ns == 0 ? 1000 : hoarded + 2;
        for (; hoarded < wanted; hoarded++) {
            hoard[hoarded].owner = 7;
            (void)fg_admission_queue_push(&queue, &hoard[hoarded], FG_PRIORITY_NORMAL, now_ns,
                                          now_ns + 2 * S, &refused);
        }
        if (now_ns % (4 * MS) < 2500 * (MS / 1000) && asked < 250) {
            few[asked].owner = (asked % 5 + 1) << 32 | (asked % 5 + 1);
            assert_int_equal(fg_admission_queue_push(&queue, &few[asked], FG_PRIORITY_NORMAL,
                                                     now_ns, now_ns + 50 * MS, &refused),
                             FG_QUEUE_QUEUED);
            asked++;
        }
        assert_non_null(fg_admission_queue_pop(&queue, now_ns, &refused));
    }
    for (size_t i = 0; i + 10 < asked; i++)
        assert_int_equal(few[i].state, FG_QUEUE_ENTRY_POPPED);
    while (fg_admission_queue_pop(&queue, S, &refused) != NULL)
        continue;
    assert_int_equal(fg_fair_turns_ahead(&queue.classes[FG_PRIORITY_NORMAL].turns, 7), 0);
}

static void who_asks_for_a_thousand_waits_for_himself(void **state)
{
    (void)state;
    check_neighbours(20 * MS);
    check_neighbours(0);
}

/* Several who have as many as each other do not push one another out. */
static void equals_do_not_displace_each_other(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    static struct fg_queue_entry entries[102];
    memset(entries, 0, sizeof(entries));
    fg_admission_queue_init(&queue, &config);
    struct fg_queue_entry *refused;
    for (size_t i = 0; i < 102; i++) {
        entries[i].owner = i % 2 == 0 ? 0x500000005 : 0x900000009;
        enum fg_queue_verdict verdict = fg_admission_queue_push(
            &queue, &entries[i], FG_PRIORITY_LOW, i, FG_POLICY_NEVER, &refused);
        assert_int_equal(verdict, i < 100 ? FG_QUEUE_QUEUED : FG_QUEUE_FULL);
        assert_null(refused);
    }
    while (pop(&queue, 200) != NULL)
        ;
}

/* However few each of them has waiting. */
static void who_asks_for_much_gives_way_in_a_full_queue(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(20);
    struct fg_admission_queue queue;
    struct fg_queue_entry waiting[20] = {0}, heavy = {.owner = 99, .is_heavy = true};
    struct fg_queue_entry light = {.owner = 98}, *refused;
    fg_admission_queue_init(&queue, &config);
    for (size_t i = 0; i < 20; i++) {
        waiting[i].owner = i + 1;
        waiting[i].is_heavy = i == 10;
        push(&queue, &waiting[i], FG_PRIORITY_NORMAL, i);
    }
    assert_int_equal(
        fg_admission_queue_push(&queue, &heavy, FG_PRIORITY_NORMAL, 30, FG_POLICY_NEVER, &refused),
        FG_QUEUE_FULL);
    assert_int_equal(
        fg_admission_queue_push(&queue, &light, FG_PRIORITY_NORMAL, 30, FG_POLICY_NEVER, &refused),
        FG_QUEUE_QUEUED);
    assert_ptr_equal(refused, &waiting[10]);
    assert_null(refused->next);
    while (pop(&queue, 40) != NULL)
        ;
}

static void crowding_grows_beyond_what_is_free(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(1024);
    struct fg_admission_queue queue;
    static struct fg_queue_entry entries[400];
    memset(entries, 0, sizeof(entries));
    fg_admission_queue_init(&queue, &config);
    for (size_t i = 0; i < 400; i++) {
        uint32_t crowding = fg_admission_queue_crowding(&queue, 3);
        assert_int_equal(crowding, i <= 16 ? 0 : i - 16);
        assert_int_equal(fg_admission_queue_crowding(&queue, 0), 0);
        assert_int_equal(fg_admission_queue_crowding(&queue, 4ull << 32 | 4), 0);
        entries[i].owner = 3;
        push(&queue, &entries[i], FG_PRIORITY_LOW, i);
    }
    while (pop(&queue, 400) != NULL)
        ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_gives_way_to_the_few),
        cmocka_unit_test(who_asks_for_a_thousand_waits_for_himself),
        cmocka_unit_test(equals_do_not_displace_each_other),
        cmocka_unit_test(who_asks_for_much_gives_way_in_a_full_queue),
        cmocka_unit_test(crowding_grows_beyond_what_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
