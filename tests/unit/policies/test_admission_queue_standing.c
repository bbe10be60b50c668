/*
 * test_admission_queue_standing.c: what a delay that stands is a sign of, and what it is not: slow
 * backends, waits that would be in vain, classes that starve, slots that are held.
 */
#include "queue_test.h"

/* A backend of 500 ms frees no slot within 5 ms: a wait of its service time is no overload. */
static void a_slow_backend_stretches_the_target(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(10);
    config.target_max_ns = 400 * MS;
    struct fg_admission_queue queue;
    struct fg_queue_entry e[6] = {0};
    struct fg_queue_entry *refused;
    fg_admission_queue_init(&queue, &config);
    fg_admission_queue_set_service(&queue, 20 * MS);
    assert_true(queue.target_ns == 5 * MS && queue.interval_ns == 100 * MS);
    fg_admission_queue_set_service(&queue, UINT64_MAX);
    assert_true(queue.target_ns == 400 * MS && queue.interval_ns == 800 * MS);
    fg_admission_queue_set_service(&queue, 315 * MS);
    assert_true(queue.target_ns == 300 * MS && queue.interval_ns == 600 * MS);
    for (uint64_t i = 0; i < 6; i++)
        push(&queue, &e[i], FG_PRIORITY_NORMAL, i);
    assert_ptr_equal(pop(&queue, 250 * MS), &e[0]); /* in order, and nobody is shed */
    assert_ptr_equal(pop(&queue, 650 * MS), &e[1]);
    assert_ptr_equal(pop(&queue, 1150 * MS), &e[2]); /* twice the target is borne */
    feed(&queue, 40);
    assert_ptr_equal(fg_admission_queue_pop(&queue, 2000 * MS, &refused), &e[5]);
    assert_ptr_equal(refused, &e[3]); /* stood for longer than that: now they are */
    assert_ptr_equal(refused->next, &e[4]);
    assert_int_equal(e[3].state, FG_QUEUE_ENTRY_SHED);

    config.target_ns = 0;
    fg_admission_queue_init(&queue, &config);
    fg_admission_queue_set_service(&queue, 300 * MS);
    assert_true(queue.target_ns == 0); /* off stays off */
}

static enum fg_queue_verdict try_push(struct fg_admission_queue *queue,
                                      struct fg_queue_entry *entry, enum fg_priority priority,
                                      uint64_t now_ns)
{
    struct fg_queue_entry *refused;
    enum fg_queue_verdict verdict =
        fg_admission_queue_push(queue, entry, priority, now_ns, now_ns + 10 * S, &refused);
    assert_null(refused);
    return verdict;
}

/* A target of 500 ms, and slots that come free every 100 ms: five who wait are enough. */
static void who_would_wait_in_vain_hears_it_at_once(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[32] = {0};
    config.target_ns = 500 * MS;
    config.interval_ns = 2 * S;
    fg_admission_queue_init(&queue, &config);
    fg_admission_queue_set_pace_least(&queue, 100 * MS); /* nobody has waited yet */
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(try_push(&queue, &e[i], FG_PRIORITY_NORMAL, i), FG_QUEUE_QUEUED);
    assert_int_equal(try_push(&queue, &e[6], FG_PRIORITY_NORMAL, 6), FG_QUEUE_FORESEEN);
    assert_true(queue.shed_total == 1 && e[6].state == FG_QUEUE_ENTRY_IDLE);
    /* Others of one's class or above are what one would wait for; and one of a class may wait. */
    assert_int_equal(try_push(&queue, &e[6], FG_PRIORITY_CRITICAL, 7), FG_QUEUE_QUEUED);
    assert_int_equal(try_push(&queue, &e[7], FG_PRIORITY_LOW, 8), FG_QUEUE_QUEUED);
    assert_int_equal(try_push(&queue, &e[8], FG_PRIORITY_LOW, 9), FG_QUEUE_FORESEEN);
    /* Slots come free twice as fast: ten may wait. All are served in the order of their coming. */
    for (uint64_t i = 1; i <= 8; i++) {
        struct fg_queue_entry *popped = pop(&queue, i * 50 * MS);
        assert_non_null(popped);
        assert_true(popped == &e[i == 1 ? 6 : i == 8 ? 7 : i - 2]);
    }
    for (uint64_t i = 0; i < 11; i++)
        assert_int_equal(try_push(&queue, &e[i], FG_PRIORITY_NORMAL, 400 * MS), FG_QUEUE_QUEUED);
    assert_int_equal(try_push(&queue, &e[11], FG_PRIORITY_NORMAL, 400 * MS), FG_QUEUE_FORESEEN);
    assert_string_equal(fg_queue_verdict_name(FG_QUEUE_FORESEEN), "foreseen");
}

static void a_short_target_or_a_shadow_foresees_nothing(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[32] = {0};
    for (int is_shadow = 0; is_shadow < 2; is_shadow++) {
        config.is_shadow = is_shadow == 1;
        config.target_ns = is_shadow ? S : 100 * MS;
        config.interval_ns = 2 * S;
        fg_admission_queue_init(&queue, &config);
        fg_admission_queue_set_pace_least(&queue, S);
        for (uint64_t i = 0; i < 16; i++) {
            e[i] = (struct fg_queue_entry){0};
            assert_int_equal(try_push(&queue, &e[i], FG_PRIORITY_NORMAL, i), FG_QUEUE_QUEUED);
        }
    }
}

#define STARVE_ENTRIES 64
#define STARVE_AGEING (100 * MS)
#define STARVE_POP (5 * MS)

struct starve {
    struct fg_admission_queue queue;
    struct fg_queue_entry entries[STARVE_ENTRIES];
    uint64_t waiting_since_ns[FG_PRIORITY_COUNT]; /* no pop of the class since; 0: nobody waits */
    uint64_t longest_ns;
};

static void note(struct starve *starve, uint64_t now_ns, const struct fg_queue_entry *popped)
{
    for (size_t i = 0; i < FG_PRIORITY_COUNT; i++) {
        uint64_t *since_ns = &starve->waiting_since_ns[i];
        if (*since_ns != 0 && now_ns - *since_ns > starve->longest_ns)
            starve->longest_ns = now_ns - *since_ns;
        bool is_waiting = starve->queue.classes[i].count > 0;
        if (popped != NULL && popped->priority == (enum fg_priority)i)
            *since_ns = is_waiting ? now_ns : 0;
        else if (*since_ns == 0 && is_waiting)
            *since_ns = now_ns;
    }
}

/* Somebody of a random class comes, the higher the oftener; a full queue displaces. */
static void come(struct starve *starve, uint64_t *seed, uint64_t now_ns)
{
    struct fg_queue_entry *refused;
    enum fg_priority priority = (enum fg_priority)test_below(seed, FG_PRIORITY_COUNT);
    if (test_below(seed, 4) != 0)
        priority = FG_PRIORITY_CRITICAL;
    for (size_t i = 0; i < STARVE_ENTRIES; i++) {
        if (starve->entries[i].state == FG_QUEUE_ENTRY_QUEUED)
            continue;
        (void)fg_admission_queue_push(&starve->queue, &starve->entries[i], priority, now_ns,
                                      FG_POLICY_NEVER, &refused);
        return;
    }
}

/*
 * Whatever comes, with or without shedding: who stands first of the lowest class counts as critical
 * after three times the ageing, and then only those who came before it can go first.
 */
static void with_ageing_no_class_starves(void **state)
{
    (void)state;
    uint64_t seed = test_seed(11);
    for (int round = 0; round < 40; round++) {
        bool is_on = round < 38;
        struct fg_queue_config config = {.capacity = 48,
                                         .ageing_ns = is_on ? STARVE_AGEING : 0,
                                         .target_ns = round % 2 == 0 ? 0 : 20 * MS,
                                         .interval_ns = 100 * MS};
        struct starve starve = {.longest_ns = 0};
        uint64_t pushes = 2 + test_below(&seed, 4); /* for each pop: up to fivefold overload */
        fg_admission_queue_init(&starve.queue, &config);
        for (uint64_t now_ns = S; now_ns < 20 * S; now_ns += STARVE_POP) {
            struct fg_queue_entry *refused;
            for (uint64_t i = 0; i < pushes; i++)
                come(&starve, &seed, now_ns);
            note(&starve, now_ns, NULL);
            note(&starve, now_ns, fg_admission_queue_pop(&starve.queue, now_ns, &refused));
        }
        uint64_t bound_ns = 3 * STARVE_AGEING + 48 * STARVE_POP;
        if (is_on != (starve.longest_ns <= bound_ns))
            print_message("round %d: %.0f ms\n", round, (double)starve.longest_ns / 1e6);
        assert_true(is_on == (starve.longest_ns <= bound_ns)); /* and without it, one does */
    }
}

/* No slot has come free: that says nothing about how many come. */
static void nobody_is_shed_while_slots_are_held(void **state)
{
    (void)state;
    for (int held = 0; held < 2; held++) {
        struct fg_admission_queue queue;
        struct fg_queue_config config = with_codel(1000);
        static struct fg_queue_entry e[100];
        memset(e, 0, sizeof(e));
        fg_admission_queue_init(&queue, &config);
        fg_admission_queue_set_held(&queue, held);
        for (size_t i = 0; i < 100; i++) {
            struct fg_queue_entry *refused = NULL;
            assert_int_equal(fg_admission_queue_push(&queue, &e[i], FG_PRIORITY_NORMAL, i * 5 * MS,
                                                     FG_POLICY_NEVER, &refused),
                             FG_QUEUE_QUEUED);
        }
        assert_true(queue.shed_total == 0 || !held);
        assert_true(queue.shed_total > 50 || held);
        assert_true(queue.classes[FG_PRIORITY_NORMAL].is_overloaded == !held);
    }
}

/* At the pace of those slots: there will be more, or it is not known. */
static void no_wait_is_foreseen_while_slots_are_held(void **state)
{
    (void)state;
    for (int held = 0; held < 2; held++) {
        struct fg_admission_queue queue;
        struct fg_queue_config config = plain(4);
        struct fg_queue_entry first = {0}, second = {0}, *refused;
        fg_admission_queue_init(&queue, &config);
        push(&queue, &first, FG_PRIORITY_NORMAL, 1); /* nobody is served for a second */
        fg_admission_queue_set_held(&queue, held);
        assert_int_equal(
            fg_admission_queue_push(&queue, &second, FG_PRIORITY_NORMAL, S, S + 500 * MS, &refused),
            held ? FG_QUEUE_QUEUED : FG_QUEUE_CANNOT_MEET_DEADLINE);
        assert_null(refused);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_shed_while_slots_are_held),
        cmocka_unit_test(no_wait_is_foreseen_while_slots_are_held),
        cmocka_unit_test(a_slow_backend_stretches_the_target),
        cmocka_unit_test(who_would_wait_in_vain_hears_it_at_once),
        cmocka_unit_test(a_short_target_or_a_shadow_foresees_nothing),
        cmocka_unit_test(with_ageing_no_class_starves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
