/*
 * test_admission_queue.c: order, deadlines, classes, standing delay, and that no entry is ever
 * lost.
 */
#include "queue_test.h"

static void higher_classes_first_and_fifo_within(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(10);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[5] = {0};
    fg_admission_queue_init(&queue, &config);
    assert_null(pop(&queue, 0));
    push(&queue, &e[0], FG_PRIORITY_LOW, 0);
    push(&queue, &e[1], FG_PRIORITY_NORMAL, 1);
    push(&queue, &e[2], FG_PRIORITY_CRITICAL, 2);
    push(&queue, &e[3], FG_PRIORITY_NORMAL, 3);
    push(&queue, &e[4], FG_PRIORITY_HIGH, 4);
    assert_int_equal(fg_admission_queue_position(&queue, &e[2], 5), 0);
    assert_int_equal(fg_admission_queue_position(&queue, &e[3], 5), 3);
    assert_int_equal(fg_admission_queue_position(&queue, &e[0], 5), 4);
    assert_ptr_equal(pop(&queue, 5), &e[2]);
    assert_ptr_equal(pop(&queue, 5), &e[4]);
    assert_ptr_equal(pop(&queue, 5), &e[1]);
    assert_ptr_equal(pop(&queue, 5), &e[3]);
    assert_ptr_equal(pop(&queue, 5), &e[0]);
    assert_null(pop(&queue, 5));
    assert_int_equal(e[0].state, FG_QUEUE_ENTRY_POPPED);
    push(&queue, &e[0], FG_PRIORITY_LOW, 6); /* an entry can be used again */
    assert_ptr_equal(pop(&queue, 6), &e[0]);
}

static void waiting_raises_the_class(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(10);
    config.ageing_ns = 100;
    for (int aged = 0; aged < 2; aged++) {
        struct fg_admission_queue queue;
        struct fg_queue_entry old = {0};
        struct fg_queue_entry young = {0};
        fg_admission_queue_init(&queue, &config);
        push(&queue, &old, FG_PRIORITY_LOW, 0);
        push(&queue, &young, FG_PRIORITY_NORMAL, 50);
        /* at 99 low is still low; at 100 it equals normal and came first */
        assert_ptr_equal(pop(&queue, aged ? 100 : 99), aged ? &old : &young);
    }
    struct fg_admission_queue queue;
    struct fg_queue_entry old = {0};
    struct fg_queue_entry young = {0};
    fg_admission_queue_init(&queue, &config);
    push(&queue, &old, FG_PRIORITY_LOW, 0);
    push(&queue, &young, FG_PRIORITY_CRITICAL, YEAR);
    assert_ptr_equal(pop(&queue, YEAR), &old); /* as high as critical, no higher */
}

static void expires_at_the_exact_deadline(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(10);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[3] = {0};
    struct fg_queue_entry *out;
    fg_admission_queue_init(&queue, &config);
    assert_true(fg_admission_queue_next_expiry_ns(&queue) == FG_POLICY_NEVER);
    fg_admission_queue_push(&queue, &e[0], FG_PRIORITY_LOW, 0, 300, &out);
    fg_admission_queue_push(&queue, &e[1], FG_PRIORITY_LOW, 0, 100, &out);
    fg_admission_queue_push(&queue, &e[2], FG_PRIORITY_LOW, 0, 200, &out);
    assert_int_equal(fg_admission_queue_next_expiry_ns(&queue), 100);
    assert_int_equal(fg_admission_queue_expire(&queue, 99, &out), 0);
    assert_null(out);
    assert_int_equal(fg_admission_queue_expire(&queue, 100, &out), 1);
    assert_ptr_equal(out, &e[1]);
    assert_null(out->next);
    assert_int_equal(e[1].state, FG_QUEUE_ENTRY_EXPIRED);
    assert_ptr_equal(fg_admission_queue_pop(&queue, 200, &out), &e[0]);
    assert_ptr_equal(out, &e[2]); /* pop never hands out what is too late */
    assert_int_equal(queue.expired_total, 2);
    assert_int_equal(fg_admission_queue_push(&queue, &e[1], FG_PRIORITY_LOW, 300, 300, &out),
                     FG_QUEUE_CANNOT_MEET_DEADLINE);
    assert_int_equal(queue.count, 0);
}

static void removes_from_anywhere(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(10);
    for (size_t gone = 0; gone < 3; gone++) {
        struct fg_admission_queue queue;
        struct fg_queue_entry e[3] = {0};
        fg_admission_queue_init(&queue, &config);
        for (size_t i = 0; i < 3; i++)
            push(&queue, &e[i], FG_PRIORITY_HIGH, 0);
        fg_admission_queue_remove(&queue, &e[gone]);
        assert_int_equal(e[gone].state, FG_QUEUE_ENTRY_REMOVED);
        for (size_t i = 0; i < 3; i++) {
            if (i != gone)
                assert_ptr_equal(pop(&queue, 1), &e[i]);
        }
        assert_null(pop(&queue, 1));
    }
}

static void a_full_queue_gives_way_to_higher_classes_only(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(3);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[6] = {0};
    struct fg_queue_entry *out;
    fg_admission_queue_init(&queue, &config);
    push(&queue, &e[0], FG_PRIORITY_NORMAL, 0);
    push(&queue, &e[1], FG_PRIORITY_LOW, 0);
    push(&queue, &e[2], FG_PRIORITY_LOW, 0);
    assert_int_equal(fg_admission_queue_push(&queue, &e[3], FG_PRIORITY_LOW, 1, S, &out),
                     FG_QUEUE_FULL);
    assert_null(out);
    assert_int_equal(e[3].state, FG_QUEUE_ENTRY_IDLE);
    assert_int_equal(fg_admission_queue_push(&queue, &e[3], FG_PRIORITY_HIGH, 1, S, &out),
                     FG_QUEUE_QUEUED);
    assert_ptr_equal(out, &e[2]); /* the newest of the lowest */
    assert_int_equal(e[2].state, FG_QUEUE_ENTRY_DISPLACED);
    assert_int_equal(fg_admission_queue_push(&queue, &e[4], FG_PRIORITY_CRITICAL, 1, 2, &out),
                     FG_QUEUE_QUEUED);
    assert_ptr_equal(out, &e[1]);
    /* at 2 one is out of time: its place is free for anybody */
    assert_int_equal(fg_admission_queue_push(&queue, &e[5], FG_PRIORITY_LOW, 2, S, &out),
                     FG_QUEUE_QUEUED);
    assert_ptr_equal(out, &e[4]);
    assert_int_equal(e[4].state, FG_QUEUE_ENTRY_EXPIRED);
    assert_int_equal(queue.count, 3);

    config.capacity = 0;
    fg_admission_queue_init(&queue, &config);
    e[0] = (struct fg_queue_entry){0};
    assert_int_equal(fg_admission_queue_push(&queue, &e[0], FG_PRIORITY_CRITICAL, 0, S, &out),
                     FG_QUEUE_FULL);
}

static enum fg_queue_verdict push_weight(struct fg_admission_queue *queue,
                                         struct fg_queue_entry *entry, enum fg_priority priority,
                                         uint64_t bytes, uint64_t tokens,
                                         struct fg_queue_entry **refused)
{
    entry->weight = (struct fg_queue_weight){bytes, tokens};
    return fg_admission_queue_push(queue, entry, priority, 1, S, refused);
}

static void bytes_and_tokens_are_bounded_to_the_last(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[5] = {0};
    struct fg_queue_entry *out;
    const enum fg_priority normal = FG_PRIORITY_NORMAL;
    config.bytes_max = 10;
    config.tokens_max = 1000;
    fg_admission_queue_init(&queue, &config);
    assert_int_equal(push_weight(&queue, &e[0], normal, 6, 400, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[1], normal, 5, 1, &out), FG_QUEUE_FULL_BYTES);
    assert_int_equal(push_weight(&queue, &e[1], normal, 4, 600, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[2], normal, 0, 1, &out), FG_QUEUE_FULL_TOKENS);
    assert_int_equal(push_weight(&queue, &e[2], normal, 0, 0, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[3], normal, UINT64_MAX, UINT64_MAX, &out),
                     FG_QUEUE_FULL_BYTES);
    assert_int_equal(queue.full_bytes_total, 2);
    assert_int_equal(queue.full_tokens_total, 1);
    assert_int_equal(queue.full_total, 0);
    fg_admission_queue_remove(&queue, &e[0]);
    assert_true(queue.held.bytes == 4 && queue.held.tokens == 600);
    assert_int_equal(push_weight(&queue, &e[3], normal, 6, 400, &out), FG_QUEUE_QUEUED);
    while (pop(&queue, 2) != NULL)
        continue;
    assert_true(queue.held.bytes == 0 && queue.held.tokens == 0);
}

static void who_turns_out_heavier_is_told(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(2);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[2] = {0};
    struct fg_queue_entry *out;
    config.bytes_max = 10;
    fg_admission_queue_init(&queue, &config);
    assert_int_equal(push_weight(&queue, &e[0], FG_PRIORITY_LOW, 3, 5, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[1], FG_PRIORITY_LOW, 3, 0, &out), FG_QUEUE_QUEUED);
    /* full by count, which is not what it asks for */
    assert_int_equal(
        fg_admission_queue_reweigh(&queue, &e[0], (struct fg_queue_weight){7, UINT64_MAX}),
        FG_QUEUE_QUEUED);
    assert_true(queue.held.bytes == 10 && queue.held.tokens == UINT64_MAX);
    assert_int_equal(fg_admission_queue_reweigh(&queue, &e[1], (struct fg_queue_weight){4, 0}),
                     FG_QUEUE_FULL_BYTES);
    assert_int_equal(e[1].weight.bytes, 3);
    assert_int_equal(fg_admission_queue_reweigh(&queue, &e[0], (struct fg_queue_weight){1, 0}),
                     FG_QUEUE_QUEUED);
    assert_true(queue.held.bytes == 4 && queue.held.tokens == 0);
}

static void heavy_ones_give_way_and_light_ones_stay(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[6] = {0};
    struct fg_queue_entry *out;
    config.bytes_max = 100;
    fg_admission_queue_init(&queue, &config);
    assert_int_equal(push_weight(&queue, &e[0], FG_PRIORITY_NORMAL, 40, 0, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[1], FG_PRIORITY_LOW, 30, 0, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[2], FG_PRIORITY_LOW, 30, 0, &out), FG_QUEUE_QUEUED);
    assert_int_equal(push_weight(&queue, &e[3], FG_PRIORITY_LOW, 0, 0, &out), FG_QUEUE_QUEUED);
    /* all of the lower ones together would not be enough: nobody is sent away for nothing */
    assert_int_equal(push_weight(&queue, &e[4], FG_PRIORITY_NORMAL, 61, 0, &out),
                     FG_QUEUE_FULL_BYTES);
    assert_null(out);
    assert_int_equal(queue.count, 4);
    assert_int_equal(push_weight(&queue, &e[4], FG_PRIORITY_NORMAL, 60, 0, &out), FG_QUEUE_QUEUED);
    assert_ptr_equal(out, &e[2]); /* the newest that has any of it */
    assert_ptr_equal(out->next, &e[1]);
    assert_null(out->next->next);
    assert_int_equal(e[3].state, FG_QUEUE_ENTRY_QUEUED);
    assert_int_equal(queue.displaced_total, 2);
    assert_int_equal(queue.held.bytes, 100);
}

/* Pops every 10 ms while others wait, so that the pace is known. */
static uint64_t teach_pace(struct fg_admission_queue *queue, struct fg_queue_entry *e, size_t count)
{
    uint64_t now_ns = 0;
    for (size_t i = 0; i < count; i++)
        push(queue, &e[i], FG_PRIORITY_NORMAL, now_ns);
    for (size_t i = 0; i < count; i++) {
        now_ns += 10 * MS;
        assert_ptr_equal(pop(queue, now_ns), &e[i]);
    }
    return now_ns;
}

static void refuses_at_once_what_cannot_be_in_time(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[20] = {0};
    struct fg_queue_entry *out;
    fg_admission_queue_init(&queue, &config);
    uint64_t now_ns = teach_pace(&queue, e, 20);
    assert_int_equal(queue.drain_interval_ns, 10 * MS);
    for (size_t i = 0; i < 5; i++)
        push(&queue, &e[i], FG_PRIORITY_NORMAL, now_ns);
    assert_int_equal(fg_admission_queue_expected_wait_ns(&queue, FG_PRIORITY_NORMAL, now_ns),
                     50 * MS);
    assert_int_equal(fg_admission_queue_expected_wait_ns(&queue, FG_PRIORITY_HIGH, now_ns), 0);
    assert_int_equal(fg_admission_queue_estimated_wait_ns(&queue, &e[4], now_ns), 40 * MS);
    assert_int_equal(fg_admission_queue_push(&queue, &e[5], FG_PRIORITY_NORMAL, now_ns,
                                             now_ns + 50 * MS - 1, &out),
                     FG_QUEUE_CANNOT_MEET_DEADLINE);
    assert_int_equal(
        fg_admission_queue_push(&queue, &e[5], FG_PRIORITY_NORMAL, now_ns, now_ns + 50 * MS, &out),
        FG_QUEUE_QUEUED);
    assert_int_equal(queue.cannot_meet_total, 1);
}

static void a_stall_shows_in_the_estimate(void **state)
{
    (void)state;
    struct fg_queue_config config = plain(100);
    struct fg_admission_queue queue;
    struct fg_queue_entry e[20] = {0};
    fg_admission_queue_init(&queue, &config);
    struct fg_queue_entry lone[2] = {0};
    push(&queue, &lone[0], FG_PRIORITY_NORMAL, 0);
    push(&queue, &lone[1], FG_PRIORITY_NORMAL, 0);
    /* nothing known yet: no estimate, and so no refusal */
    assert_true(fg_admission_queue_estimated_wait_ns(&queue, &lone[1], 0) == FG_POLICY_NEVER);
    assert_int_equal(fg_admission_queue_estimated_wait_ns(&queue, &lone[1], 2 * S), 2 * S);
    fg_admission_queue_init(&queue, &config);
    uint64_t now_ns = teach_pace(&queue, e, 20);
    push(&queue, &e[0], FG_PRIORITY_NORMAL, now_ns);
    push(&queue, &e[1], FG_PRIORITY_NORMAL, now_ns);
    assert_int_equal(fg_admission_queue_estimated_wait_ns(&queue, &e[1], now_ns), 10 * MS);
    assert_int_equal(fg_admission_queue_estimated_wait_ns(&queue, &e[1], now_ns + 5 * S), 5 * S);
}

/* Standing delay: newest first, the slough is shed; and back to FIFO when the queue was empty. */
static void overload_turns_lifo_and_sheds(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(1000);
    struct fg_admission_queue queue;
    static struct fg_queue_entry e[400];
    struct fg_queue_entry *out;
    memset(e, 0, sizeof(e));
    fg_admission_queue_init(&queue, &config);
    for (size_t i = 0; i < 30; i++)
        push(&queue, &e[i], FG_PRIORITY_NORMAL, 0);
    assert_ptr_equal(pop(&queue, 10 * MS), &e[0]); /* 2 x target exactly: still FIFO */
    uint64_t now_ns = 20 * MS;
    for (size_t i = 0; i < 19; i++) { /* the oldest is late: newest first, but nobody is shed yet */
        assert_ptr_equal(pop(&queue, now_ns), &e[29 - i]);
        now_ns += 10 * MS;
    }
    assert_false(queue.classes[FG_PRIORITY_NORMAL].is_overloaded);
    assert_int_equal(queue.shed_total, 0);
    feed(&queue, 200);
    assert_int_equal(fg_admission_queue_push(&queue, &e[100], FG_PRIORITY_NORMAL, 211 * MS,
                                             FG_POLICY_NEVER, &out),
                     FG_QUEUE_QUEUED);
    for (; out != NULL; out = out->next) /* an interval with nobody under 5 ms */
        assert_int_equal(out->state, FG_QUEUE_ENTRY_SHED);
    assert_int_equal(fg_admission_queue_position(&queue, &e[100], 211 * MS), 0);
    assert_int_equal(fg_admission_queue_load_percent(&queue), 100);
    assert_ptr_equal(fg_admission_queue_pop(&queue, 212 * MS, &out), &e[100]);
    assert_non_null(out); /* the last of them, now that it is not alone any more */
    assert_null(out->next);
    assert_true(queue.classes[FG_PRIORITY_NORMAL].is_overloaded);
    assert_int_equal(queue.shed_total, 10);
    assert_null(pop(&queue, 213 * MS));
    /* served empty for an interval: FIFO again */
    now_ns = S;
    for (size_t i = 200; i < 204; i++) {
        push(&queue, &e[i], FG_PRIORITY_NORMAL, now_ns);
        assert_ptr_equal(pop(&queue, now_ns), &e[i]);
        now_ns += 101 * MS;
    }
    assert_false(queue.classes[FG_PRIORITY_NORMAL].is_overloaded);
    push(&queue, &e[300], FG_PRIORITY_NORMAL, now_ns);
    push(&queue, &e[301], FG_PRIORITY_NORMAL, now_ns);
    assert_ptr_equal(pop(&queue, now_ns), &e[300]);
}

/* Where newcomers are refused: newest first from the target on, and who was passed by leaves. */
static void under_pressure_nobody_is_kept_to_be_late(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(100);
    for (unsigned from = FG_PRIORITY_NORMAL; from <= FG_PRIORITY_LOW; from++) {
        struct fg_admission_queue queue;
        struct fg_queue_entry e[4] = {0};
        struct fg_queue_entry *out;
        fg_admission_queue_init(&queue, &config);
        fg_admission_queue_set_pressure(&queue, from);
        for (size_t i = 0; i < 4; i++)
            push(&queue, &e[i], FG_PRIORITY_NORMAL, i * MS);
        bool is_pressed = from == FG_PRIORITY_NORMAL;
        assert_ptr_equal(pop(&queue, 5 * MS), &e[0]); /* the target exactly */
        assert_ptr_equal(pop(&queue, 7 * MS), &e[is_pressed ? 3 : 1]);
        push(&queue, &e[0], FG_PRIORITY_NORMAL, 11 * MS);
        assert_ptr_equal(fg_admission_queue_pop(&queue, 12 * MS, &out), &e[is_pressed ? 0 : 2]);
        assert_ptr_equal(out, is_pressed ? &e[1] : NULL); /* e[2] has waited 2 x target exactly */
        assert_int_equal(queue.shed_total, is_pressed);
        assert_int_equal(queue.count, is_pressed ? 1 : 2);
    }
}

/* Pops the entries with these numbers, which came a millisecond after each other, at `now_ns`. */
static void check_order(const struct fg_queue_config *config, const uint32_t numbers[4],
                        uint64_t now_ns, const size_t order[4])
{
    struct fg_admission_queue queue;
    struct fg_queue_entry e[4] = {0};
    struct fg_queue_entry *refused;
    fg_admission_queue_init(&queue, config);
    fg_admission_queue_set_pressure(&queue, FG_PRIORITY_NORMAL);
    for (size_t i = 0; i < 4; i++) {
        e[i].number = numbers[i];
        push(&queue, &e[i], FG_PRIORITY_NORMAL, i * MS);
    }
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(fg_admission_queue_pop(&queue, now_ns, &refused), &e[order[i]]);
}

/* It is the same users who are passed by, not whoever came a moment too early. */
static void under_pressure_the_best_lot_goes_first(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(100);
    static const uint32_t numbers[] = {300, 257, 290, 257};
    check_order(&config, numbers, 5 * MS, (const size_t[]){0, 1, 2, 3}); /* no delay: in turn */
    check_order(&config, numbers, 6 * MS, (const size_t[]){3, 1, 2, 0}); /* on a tie the newest */
    /* What has waited 1.5 targets is nobody's choice: behind the others, whatever its number. */
    check_order(&config, (const uint32_t[]){256, 300, 290, 280}, 8 * MS,
                (const size_t[]){3, 2, 1, 0});
}

/* A push sheds too: who waits in vain is told so even if no slot ever comes free. */
static void a_stalled_backend_sheds_on_arrival(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(1000);
    config.ageing_ns = S;
    struct fg_admission_queue queue;
    static struct fg_queue_entry e[400];
    struct fg_queue_entry *out;
    memset(e, 0, sizeof(e));
    fg_admission_queue_init(&queue, &config);
    size_t shed = 0;
    for (size_t i = 0; i < 400; i++) {
        assert_int_equal(
            fg_admission_queue_push(&queue, &e[i], FG_PRIORITY_LOW, i * MS, FG_POLICY_NEVER, &out),
            FG_QUEUE_QUEUED);
        for (; out != NULL; out = out->next)
            shed++;
    }
    assert_int_equal(queue.count, 400 - shed);
    assert_true(queue.count <= 13); /* 10 ms of arrivals, the oldest, and the edges */
    assert_int_equal(e[0].state, FG_QUEUE_ENTRY_QUEUED);
}

/* Under a flood of its own and of higher classes, one of the lowest is served in each ageing. */
static void no_class_starves_with_ageing(void **state)
{
    (void)state;
    uint64_t seed = test_seed(5);
    struct fg_queue_config config = with_codel(500);
    config.ageing_ns = 200 * MS;
    struct fg_admission_queue queue;
    static struct fg_queue_entry e[8000];
    memset(e, 0, sizeof(e));
    fg_admission_queue_init(&queue, &config);
    uint64_t served[FG_PRIORITY_COUNT] = {0};
    for (size_t i = 0; i < 8000; i++) { /* 1000 a second come, 100 are served, for 8 s */
        struct fg_queue_entry *out;
        enum fg_priority priority = (enum fg_priority)test_below(&seed, FG_PRIORITY_COUNT);
        (void)fg_admission_queue_push(&queue, &e[i], priority, i * MS, i * MS + 10 * S, &out);
        if (i % 10 == 0) {
            struct fg_queue_entry *entry = fg_admission_queue_pop(&queue, i * MS, &out);
            if (entry != NULL)
                served[entry->priority]++;
        }
    }
    for (size_t i = 0; i < FG_PRIORITY_COUNT; i++)
        assert_true(served[i] >= 8);
    assert_true(served[FG_PRIORITY_CRITICAL] > 700);
}

static void in_shadow_it_stays_fifo_and_counts(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(1000);
    config.is_shadow = true;
    struct fg_admission_queue queue;
    static struct fg_queue_entry e[60];
    memset(e, 0, sizeof(e));
    fg_admission_queue_init(&queue, &config);
    for (size_t i = 0; i < 60; i++)
        push(&queue, &e[i], FG_PRIORITY_NORMAL, 0);
    for (size_t i = 0; i < 60; i++) {
        assert_ptr_equal(pop(&queue, (i + 2) * 10 * MS), &e[i]);
        feed(&queue, 30);
    }
    assert_true(queue.shed_total > 20);
    /* at 10 ms each the third one is late by what is known, and waits all the same */
    struct fg_queue_entry *refused = NULL;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            fg_admission_queue_push(&queue, &e[i], FG_PRIORITY_NORMAL, S, S + 15 * MS, &refused),
            FG_QUEUE_QUEUED);
    assert_int_equal(queue.cannot_meet_total, 1);
    assert_int_equal(fg_admission_queue_push(&queue, &e[3], FG_PRIORITY_NORMAL, S, S, &refused),
                     FG_QUEUE_CANNOT_MEET_DEADLINE); /* its time is over */
}

static void a_starving_low_class_does_not_shed_critical_ones(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(1000);
    config.ageing_ns = 0;
    struct fg_admission_queue queue;
    static struct fg_queue_entry e[400];
    memset(e, 0, sizeof(e));
    fg_admission_queue_init(&queue, &config);
    push(&queue, &e[0], FG_PRIORITY_LOW, 0);
    uint64_t now_ns = 0;
    for (size_t i = 1; i < 400; i++) {
        push(&queue, &e[i], FG_PRIORITY_CRITICAL, now_ns);
        now_ns += 11 * MS; /* over the slough, but each time served empty */
        assert_ptr_equal(pop(&queue, now_ns), &e[i]);
    }
    assert_int_equal(queue.shed_total, 0);
}

static void clocks_that_go_wrong(void **state)
{
    (void)state;
    struct fg_queue_config config = with_codel(10);
    config.ageing_ns = UINT64_MAX;
    struct fg_admission_queue queue;
    struct fg_queue_entry e[4] = {0};
    struct fg_queue_entry *out;
    fg_admission_queue_init(&queue, &config);
    push(&queue, &e[0], FG_PRIORITY_LOW, 10 * YEAR);
    push(&queue, &e[1], FG_PRIORITY_LOW, 0);
    assert_ptr_equal(pop(&queue, 5), &e[0]);
    assert_int_equal(
        fg_admission_queue_push(&queue, &e[2], FG_PRIORITY_LOW, UINT64_MAX, UINT64_MAX, &out),
        FG_QUEUE_CANNOT_MEET_DEADLINE);
    assert_null(fg_admission_queue_pop(&queue, UINT64_MAX, &out)); /* "never" does come */
    assert_ptr_equal(out, &e[1]);
}

#define MANY 300

/* Mostly light; one in sixteen is heavy in bytes, another in tokens. */
static struct fg_queue_weight random_weight(uint64_t *seed)
{
    uint64_t kind = test_below(seed, 16);
    return (struct fg_queue_weight){test_below(seed, kind == 0 ? 1500 : 16),
                                    test_below(seed, kind == 1 ? 300 : 4)};
}

/* A model beside the queue: every entry is in exactly one place, and bounds hold. */
static void never_loses_an_entry(void **state)
{
    (void)state;
    uint64_t seed = test_seed(1);
    static struct fg_queue_entry e[MANY];
    struct fg_queue_config config = with_codel(100);
    config.ageing_ns = 50 * MS;
    config.bytes_max = 2000;
    config.tokens_max = 400;
    struct fg_admission_queue queue;
    fg_admission_queue_init(&queue, &config);
    memset(e, 0, sizeof(e));
    uint64_t now_ns = 0;
    uint64_t pushed = 0;
    uint64_t left = 0;
    for (int step = 0; step < 100000; step++) {
        struct fg_queue_entry *out = NULL;
        struct fg_queue_entry *entry = &e[test_below(&seed, MANY)];
        bool is_flood = step % 20000 >= 10000; /* many come at once, few are served */
        now_ns += test_below(&seed, is_flood ? 20 * FG_POLICY_US : 4 * MS);
        uint64_t act = test_below(&seed, 10);
        if (is_flood && act < 9 && test_below(&seed, 10) > 0)
            act = 0;
        if (act < 5 && entry->state != FG_QUEUE_ENTRY_QUEUED) {
            uint64_t long_ns = test_below(&seed, 2) ? 60 * S : 500 * MS;
            enum fg_priority priority = (enum fg_priority)test_below(&seed, FG_PRIORITY_COUNT);
            entry->weight = random_weight(&seed);
            pushed += fg_admission_queue_push(&queue, entry, priority, now_ns,
                                              now_ns + test_below(&seed, long_ns),
                                              &out) == FG_QUEUE_QUEUED;
        } else if (act < 8) {
            entry = fg_admission_queue_pop(&queue, now_ns, &out);
            left += entry != NULL;
            assert_true(entry == NULL || entry->deadline.deadline_ns > now_ns);
        } else if (act == 8 && entry->state == FG_QUEUE_ENTRY_QUEUED && step % 2 == 0) {
            (void)fg_admission_queue_reweigh(&queue, entry, random_weight(&seed));
        } else if (act == 8 && entry->state == FG_QUEUE_ENTRY_QUEUED) {
            assert_true(fg_admission_queue_position(&queue, entry, now_ns) < queue.count);
            fg_admission_queue_remove(&queue, entry);
            left++;
        } else if (act == 9) {
            fg_admission_queue_expire(&queue, now_ns, &out);
            assert_true(fg_admission_queue_next_expiry_ns(&queue) > now_ns);
        }
        for (; out != NULL; out = out->next) {
            assert_true(out->state == FG_QUEUE_ENTRY_EXPIRED || out->state == FG_QUEUE_ENTRY_SHED ||
                        out->state == FG_QUEUE_ENTRY_DISPLACED);
            left++;
        }
        assert_true(queue.count <= 100 && queue.held.bytes <= 2000 && queue.held.tokens <= 400);
        assert_int_equal(pushed - left, queue.count);
    }
    size_t queued = 0;
    struct fg_queue_weight held = {0, 0};
    for (size_t i = 0; i < MANY; i++) {
        bool is_in = e[i].state == FG_QUEUE_ENTRY_QUEUED;
        queued += is_in;
        held.bytes += is_in ? e[i].weight.bytes : 0;
        held.tokens += is_in ? e[i].weight.tokens : 0;
    }
    assert_int_equal(queued, queue.count);
    assert_true(held.bytes == queue.held.bytes && held.tokens == queue.held.tokens);
    assert_true(queue.full_bytes_total > 0 && queue.full_tokens_total > 0);
    assert_true(queue.shed_total > 0 && queue.displaced_total > 0 && queue.expired_total > 0);
    assert_true(queue.full_total > 0 && queue.cannot_meet_total > 0);
}

static void names_are_constant(void **state)
{
    (void)state;
    assert_string_equal(fg_queue_verdict_name(FG_QUEUE_CANNOT_MEET_DEADLINE),
                        "cannot_meet_deadline");
    assert_string_equal(fg_queue_entry_state_name(FG_QUEUE_ENTRY_REMOVED), "removed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(higher_classes_first_and_fifo_within),
        cmocka_unit_test(waiting_raises_the_class),
        cmocka_unit_test(expires_at_the_exact_deadline),
        cmocka_unit_test(removes_from_anywhere),
        cmocka_unit_test(a_full_queue_gives_way_to_higher_classes_only),
        cmocka_unit_test(bytes_and_tokens_are_bounded_to_the_last),
        cmocka_unit_test(who_turns_out_heavier_is_told),
        cmocka_unit_test(heavy_ones_give_way_and_light_ones_stay),
        cmocka_unit_test(refuses_at_once_what_cannot_be_in_time),
        cmocka_unit_test(a_stall_shows_in_the_estimate),
        cmocka_unit_test(overload_turns_lifo_and_sheds),
        cmocka_unit_test(under_pressure_nobody_is_kept_to_be_late),
        cmocka_unit_test(under_pressure_the_best_lot_goes_first),
        cmocka_unit_test(a_stalled_backend_sheds_on_arrival),
        cmocka_unit_test(no_class_starves_with_ageing),
        cmocka_unit_test(in_shadow_it_stays_fifo_and_counts),
        cmocka_unit_test(a_starving_low_class_does_not_shed_critical_ones),
        cmocka_unit_test(clocks_that_go_wrong),
        cmocka_unit_test(never_loses_an_entry),
        cmocka_unit_test(names_are_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
