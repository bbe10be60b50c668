/*
 * test_concurrency_limit.c: slots, and how each mode moves the limit.
 */
#include "policies/concurrency_limit.h"
#include "policy_test.h"

static struct fg_concurrency_limit limit_of(enum fg_concurrency_mode mode, uint32_t initial)
{
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(mode);
    config.limit_initial = initial;
    config.limit_max = 200;
    config.probe_windows = 0;
    struct fg_concurrency_limit cl;
    fg_concurrency_limit_init(&cl, &config);
    return cl;
}

/* All slots in use, each given back and taken again by somebody who waits, until a window ends. */
static void run_window(struct fg_concurrency_limit *cl, uint64_t *now_ns, uint64_t latency_ns)
{
    uint64_t windows = cl->windows_total;
    while (cl->windows_total == windows) {
        while (fg_concurrency_limit_try_acquire(cl))
            continue;
        *now_ns += latency_ns / fg_concurrency_limit_in_flight(cl);
        fg_concurrency_limit_release(cl, *now_ns, latency_ns, FG_CONCURRENCY_SUCCESS);
    }
}

/* The results that the limit does not learn from, to begin with or after it moved. */
static void settle(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    while (cl->unsettled > 0) {
        assert_true(fg_concurrency_limit_try_acquire(cl));
        fg_concurrency_limit_release(cl, now_ns, MS, FG_CONCURRENCY_SUCCESS);
    }
}

static void fixed_is_fixed(void **state)
{
    (void)state;
    struct fg_concurrency_config config = fg_concurrency_limit_config_default(FG_CONCURRENCY_FIXED);
    config.limit_initial = 2;
    struct fg_concurrency_limit cl;
    fg_concurrency_limit_init(&cl, &config);
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_false(fg_concurrency_limit_try_acquire(&cl));
    fg_concurrency_limit_release(&cl, 0, YEAR, FG_CONCURRENCY_DROPPED);
    assert_int_equal(fg_concurrency_limit_current(&cl), 2);
    assert_int_equal(fg_concurrency_limit_in_flight(&cl), 1);
    assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_int_equal(cl.refused_total, 1);

    config.limit_initial = 0;
    fg_concurrency_limit_init(&cl, &config);
    assert_false(fg_concurrency_limit_try_acquire(&cl));
    config.limit_initial = UINT32_MAX;
    fg_concurrency_limit_init(&cl, &config);
    assert_true(fg_concurrency_limit_current(&cl) == UINT32_MAX);
}

static void it_grows_while_latency_is_flat(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 4);
        uint64_t now_ns = 1;
        run_window(&cl, &now_ns, 10 * MS);
        double before = cl.limit;
        run_window(&cl, &now_ns, 10 * MS);
        assert_true(cl.limit > before);
        for (int i = 0; i < 300; i++)
            run_window(&cl, &now_ns, 10 * MS);
        assert_int_equal(fg_concurrency_limit_current(&cl), 200); /* limit_max */
    }
}

/* A backend of `slots` that takes `service_ns`, all that is allowed in flight. */
static void run_backend(struct fg_concurrency_limit *cl, uint64_t *now_ns, uint32_t slots,
                        uint64_t service_ns, int windows)
{
    for (int i = 0; i < windows; i++) {
        uint64_t in_flight = fg_concurrency_limit_current(cl);
        uint64_t rounds_permille = in_flight > slots ? in_flight * 1000 / slots : 1000;
        run_window(cl, now_ns, service_ns * rounds_permille / 1000);
    }
}

static void it_starts_by_doubling_and_stops_at_the_slots_there_are(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 4);
        uint64_t now_ns = 1;
        for (uint32_t limit = 8; limit <= 64; limit *= 2) {
            run_backend(&cl, &now_ns, 50, 10 * MS, 1);
            assert_int_equal(fg_concurrency_limit_current(&cl), limit);
        }
        run_backend(&cl, &now_ns, 50, 10 * MS, 2); /* 64 is not far enough beyond 50, 128 is */
        assert_false(cl.is_starting);
        assert_in_range(fg_concurrency_limit_current(&cl), 45, 65);
    }
}

/* Half of the first full window was of an idle backend: it says nothing of the slots. */
static void the_window_in_which_a_crowd_comes_does_not_double_the_limit(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_VEGAS; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 12);
        uint64_t now_ns = 1;
        cl.unsettled = 0;
        for (int i = 0; i < 100; i++) { /* one at a time */
            assert_true(fg_concurrency_limit_try_acquire(&cl));
            now_ns += 20 * MS;
            fg_concurrency_limit_release(&cl, now_ns, 20 * MS, FG_CONCURRENCY_SUCCESS);
        }
        run_window(&cl, &now_ns, 24 * MS); /* 8 slots: would be 30 */
        assert_int_equal(fg_concurrency_limit_current(&cl), 12);
        run_window(&cl, &now_ns, 30 * MS);
        assert_false(cl.is_starting);
        assert_in_range(fg_concurrency_limit_current(&cl), 7, 10);
    }
}

static void gradient2_and_vegas_shrink_when_slots_are_lost(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_VEGAS; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 16);
        cl.config.probe_windows = 100;
        uint64_t now_ns = 1;
        run_backend(&cl, &now_ns, 16, 10 * MS, 20);
        assert_in_range(fg_concurrency_limit_current(&cl), 16, 24);
        run_backend(&cl, &now_ns, 4, 10 * MS, 40);
        assert_in_range(fg_concurrency_limit_current(&cl), 4, 8);
        assert_in_range(fg_concurrency_limit_noload_ns(&cl), 9 * MS, 12 * MS);
    }
}

static void a_backend_that_is_slower_keeps_its_slots(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_VEGAS; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 4);
        cl.config.probe_windows = 100;
        uint64_t now_ns = 1;
        run_backend(&cl, &now_ns, 16, 10 * MS, 20);
        run_backend(&cl, &now_ns, 16, 100 * MS, 40);
        assert_in_range(fg_concurrency_limit_current(&cl), 15, 26);
        assert_in_range(fg_concurrency_limit_noload_ns(&cl), 90 * MS, 115 * MS);
    }
}

static void an_uneven_backend_gets_a_longer_window(void **state)
{
    (void)state;
    uint32_t counts[2];
    for (int uneven = 0; uneven < 2; uneven++) {
        struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 4);
        uint32_t count = 0;
        settle(&cl, 0);
        while (cl.windows_total == 0) {
            assert_true(fg_concurrency_limit_try_acquire(&cl));
            count++;
            fg_concurrency_limit_release(&cl, count, uneven && count % 5 != 0 ? MS : 50 * MS,
                                         FG_CONCURRENCY_SUCCESS);
        }
        counts[uneven] = count;
    }
    assert_int_equal(counts[0], 10);
    assert_in_range(counts[1], 100, 200);
}

static void results_of_the_limit_before_are_not_counted(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 10);
    settle(&cl, 0);
    for (int i = 0; i < 10; i++)
        assert_true(fg_concurrency_limit_try_acquire(&cl));
    assert_false(fg_concurrency_limit_try_acquire(&cl));
    for (uint64_t i = 0; i < 10; i++) { /* each is replaced at once */
        fg_concurrency_limit_release(&cl, i, 10 * MS, FG_CONCURRENCY_SUCCESS);
        fg_concurrency_limit_try_acquire(&cl);
        fg_concurrency_limit_note_demand(&cl);
    }
    assert_int_equal(cl.windows_total, 1);
    assert_true(cl.limit > 10);
    uint32_t unsettled = cl.unsettled;
    assert_int_equal(unsettled, 2 * fg_concurrency_limit_current(&cl)); /* all of it, twice */
    for (uint32_t i = 0; i < unsettled; i++) {
        fg_concurrency_limit_release(&cl, 20 * MS, MS, FG_CONCURRENCY_SUCCESS);
        fg_concurrency_limit_try_acquire(&cl);
    }
    assert_int_equal(cl.window_samples, 0);
    fg_concurrency_limit_release(&cl, 20 * MS, MS, FG_CONCURRENCY_SUCCESS);
    assert_int_equal(cl.window_samples, 1);
}

static void drops_are_not_a_fast_backend(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 100);
        settle(&cl, 0);
        for (int i = 0; i < 100; i++)
            assert_true(fg_concurrency_limit_try_acquire(&cl));
        for (uint64_t i = 0; i < 10; i++)
            fg_concurrency_limit_release(&cl, i, MS,
                                         i == 0 ? FG_CONCURRENCY_DROPPED : FG_CONCURRENCY_SUCCESS);
        assert_int_equal(fg_concurrency_limit_current(&cl), 90);
    }
}

static void aimd_takes_a_time_out_for_a_drop(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_AIMD, 100);
    for (int i = 0; i < 300; i++) {
        assert_true(fg_concurrency_limit_try_acquire(&cl)); /* one always gets through */
        fg_concurrency_limit_release(&cl, (uint64_t)i, 5 * S + 1, FG_CONCURRENCY_SUCCESS);
    }
    assert_true(cl.limit < 100);
    double before = cl.limit;
    for (int i = 0; i < 10; i++) {
        assert_true(fg_concurrency_limit_try_acquire(&cl));
        fg_concurrency_limit_release(&cl, 400, 5 * S, FG_CONCURRENCY_SUCCESS); /* exactly: not */
    }
    assert_true(cl.limit == before); /* and no growth: nobody was kept waiting */
}

/* One answer in fifty is the tail of an uneven backend, one in ten is not. */
static void aimd_bears_a_heavy_tail(void **state)
{
    (void)state;
    for (unsigned every = 5; every <= 50; every += 45) {
        struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_AIMD, 100);
        for (unsigned i = 0; i < 3000; i++) {
            assert_true(fg_concurrency_limit_try_acquire(&cl));
            fg_concurrency_limit_note_demand(&cl);
            uint64_t latency_ns = i % every == 0 ? 6 * S : 500 * MS;
            fg_concurrency_limit_release(&cl, i, latency_ns, FG_CONCURRENCY_SUCCESS);
        }
        assert_true(every == 5 ? cl.limit < 100 : cl.limit >= 100);
    }
}

static void an_idle_backend_proves_nothing(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 20);
        for (uint64_t i = 1; i < 1000; i++) { /* a burst that reaches the limit, now and then */
            int burst = i % 20 == 0 ? 21 : 5;
            for (int k = 0; k < burst; k++)
                (void)fg_concurrency_limit_try_acquire(&cl);
            while (fg_concurrency_limit_in_flight(&cl) > 0)
                fg_concurrency_limit_release(&cl, i * S, MS, FG_CONCURRENCY_SUCCESS);
        }
        assert_in_range(fg_concurrency_limit_current(&cl), 20, 40);
    }
}

static void cancelled_calls_are_not_sampled(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_AIMD, 20);
    for (uint64_t i = 1; i < 100; i++) {
        while (fg_concurrency_limit_try_acquire(&cl))
            continue;
        while (fg_concurrency_limit_in_flight(&cl) > 0)
            fg_concurrency_limit_release(&cl, i * S, YEAR, FG_CONCURRENCY_IGNORED);
    }
    assert_int_equal(fg_concurrency_limit_current(&cl), 20);
    assert_int_equal(cl.windows_total, 0);
}

/* `cut_short` of ten clients leave after `patience_ns`; the others have their answer in 10 ms. */
static uint32_t limit_after_leavers(enum fg_concurrency_mode mode, int cut_short,
                                    uint64_t patience_ns)
{
    struct fg_concurrency_limit cl = limit_of(mode, 20);
    uint64_t now_ns = S;
    settle(&cl, 0);
    for (int i = 0; i < 400; i++) {
        bool is_left = i >= 100 && i % 10 < cut_short; /* the first windows are as usual */
        assert_true(fg_concurrency_limit_try_acquire(&cl));
        now_ns += MS;
        fg_concurrency_limit_release(&cl, now_ns, is_left ? patience_ns : 10 * MS,
                                     is_left ? FG_CONCURRENCY_CUT_SHORT : FG_CONCURRENCY_SUCCESS);
    }
    return fg_concurrency_limit_current(&cl);
}

static void clients_that_leave_move_it_only_if_most_waited_in_vain(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        enum fg_concurrency_mode law = (enum fg_concurrency_mode)mode;
        assert_in_range(limit_after_leavers(law, 10, MS), 20, 1000); /* impatience */
        assert_int_equal(limit_after_leavers(law, 10, 300 * MS), 1);
        assert_in_range(limit_after_leavers(law, 8, 300 * MS), 1, 12);
        if (law != FG_CONCURRENCY_AIMD)
            assert_in_range(limit_after_leavers(law, 3, 10 * MS), 20, 1000);
    }
}

static void a_clock_that_goes_wrong_does_not_stop_it(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 20);
    uint64_t now_ns = 10 * YEAR;
    run_window(&cl, &now_ns, MS);
    now_ns = 5;
    for (int i = 0; i < 3; i++)
        run_window(&cl, &now_ns, MS);
    assert_true(fg_concurrency_limit_current(&cl) > 20);
    now_ns = UINT64_MAX - 10 * S;
    for (int i = 0; i < 3; i++) {
        while (fg_concurrency_limit_try_acquire(&cl))
            continue;
        while (fg_concurrency_limit_in_flight(&cl) > 0)
            fg_concurrency_limit_release(&cl, now_ns, UINT64_MAX, FG_CONCURRENCY_SUCCESS);
    }
    for (int i = 0; i < 20; i++) { /* nothing takes no time at all */
        assert_true(fg_concurrency_limit_try_acquire(&cl));
        fg_concurrency_limit_release(&cl, now_ns, 0, FG_CONCURRENCY_SUCCESS);
    }
    assert_in_range(fg_concurrency_limit_current(&cl), 1, 200);
}

static void the_limit_is_never_exceeded(void **state)
{
    (void)state;
    uint64_t seed = test_seed(9);
    for (int mode = 0; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_config config =
            fg_concurrency_limit_config_default((enum fg_concurrency_mode)mode);
        struct fg_concurrency_limit cl;
        uint64_t now_ns = 0;
        uint32_t held = 0;
        fg_concurrency_limit_init(&cl, &config);
        for (int i = 0; i < 100000; i++) {
            now_ns += test_below(&seed, 10 * MS);
            uint32_t limit = fg_concurrency_limit_current(&cl);
            if (test_below(&seed, 2)) {
                bool acquired = fg_concurrency_limit_try_acquire(&cl);
                assert_int_equal(acquired, held < limit);
                held += acquired;
            } else if (held > 0) {
                fg_concurrency_limit_release(&cl, now_ns, test_below(&seed, 6 * S),
                                             (enum fg_concurrency_outcome)test_below(&seed, 3));
                held--;
            }
            assert_int_equal(fg_concurrency_limit_in_flight(&cl), held);
            assert_true(limit >= 1 && limit <= 1000);
        }
    }
}

/* All slots are held, as far as there are any. */
static void fill(struct fg_concurrency_limit *cl)
{
    while (fg_concurrency_limit_try_acquire(cl))
        continue;
}

static void while_nothing_is_known_slots_that_are_held_bring_more(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_AIMD; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 4);
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == FG_POLICY_NEVER);
        fill(&cl);
        assert_false(fg_concurrency_limit_note_wait(&cl, 10 * S)); /* from here on */
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == 10 * S + 100 * MS);
        assert_false(fg_concurrency_limit_note_wait(&cl, 10 * S + 100 * MS - 1));
        uint64_t now_ns = 10 * S;
        for (uint32_t limit = 8; limit <= 128; limit *= 2) {
            now_ns += 100 * MS;
            assert_true(fg_concurrency_limit_note_wait(&cl, now_ns));
            assert_int_equal(fg_concurrency_limit_current(&cl), limit);
            fill(&cl);
        }
        assert_true(fg_concurrency_limit_note_wait(&cl, now_ns + YEAR));
        assert_int_equal(fg_concurrency_limit_current(&cl), 200); /* limit_max */
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == FG_POLICY_NEVER);
        assert_false(fg_concurrency_limit_note_wait(&cl, now_ns + 2 * YEAR));
    }
    struct fg_concurrency_limit fixed = limit_of(FG_CONCURRENCY_FIXED, 4);
    assert_false(fg_concurrency_limit_note_wait(&fixed, 0));
    assert_false(fg_concurrency_limit_note_wait(&fixed, YEAR));
    assert_true(fg_concurrency_limit_held_until_ns(&fixed) == FG_POLICY_NEVER);
}

static void a_slot_that_is_given_back_starts_the_time_anew(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 4);
    fill(&cl);
    assert_false(fg_concurrency_limit_note_wait(&cl, S));
    fg_concurrency_limit_release(&cl, S + 90 * MS, 90 * MS, FG_CONCURRENCY_SUCCESS);
    fill(&cl);
    assert_false(fg_concurrency_limit_note_wait(&cl, S + 100 * MS));
    assert_false(fg_concurrency_limit_note_wait(&cl, S)); /* the clock went back */
    assert_false(fg_concurrency_limit_note_wait(&cl, S + 360 * MS - 1));
    assert_true(fg_concurrency_limit_note_wait(&cl, S + 360 * MS)); /* four usual latencies */
    assert_int_equal(fg_concurrency_limit_current(&cl), 8);
}

static void one_that_says_nothing_does_not(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 4);
    fill(&cl);
    assert_false(fg_concurrency_limit_note_wait(&cl, S));
    fg_concurrency_limit_release(&cl, S + 90 * MS, 90 * MS, FG_CONCURRENCY_IGNORED);
    fill(&cl);
    assert_true(fg_concurrency_limit_is_held(&cl, S + 90 * MS));
    assert_true(fg_concurrency_limit_note_wait(&cl, S + 100 * MS));
    assert_int_equal(fg_concurrency_limit_current(&cl), 8);
    fg_concurrency_limit_note_spare(&cl);
    assert_false(fg_concurrency_limit_is_held(&cl, 2 * S));
    assert_false(fg_concurrency_limit_note_wait(&cl, 2 * S));
}

/* 50 at once, whom a limit of 64 that nobody has found is enough for, and their answers. */
static struct fg_concurrency_limit after_a_crowd(enum fg_concurrency_mode mode, uint64_t latency_ns,
                                                 uint64_t now_ns)
{
    struct fg_concurrency_limit cl = limit_of(mode, 64);
    for (int i = 0; i < 50; i++)
        assert_true(fg_concurrency_limit_try_acquire(&cl));
    for (int i = 0; i < 50; i++)
        fg_concurrency_limit_release(&cl, now_ns, latency_ns, FG_CONCURRENCY_SUCCESS);
    fill(&cl);
    return cl;
}

static void a_crowd_that_doubles_before_a_slow_backend_brings_more(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_VEGAS; mode++) {
        struct fg_concurrency_limit cl =
            after_a_crowd((enum fg_concurrency_mode)mode, 5 * S, 10 * S);
        assert_false(fg_concurrency_limit_is_held(&cl, 10 * S)); /* nobody was seen to wait */
        assert_false(fg_concurrency_limit_note_wait(&cl, 10 * S));
        assert_true(fg_concurrency_limit_is_held(&cl, 10 * S));
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == 10 * S + 250 * MS);
        assert_false(fg_concurrency_limit_note_wait(&cl, 10 * S + 250 * MS - 1));
        assert_true(fg_concurrency_limit_note_wait(&cl, 10 * S + 250 * MS));
        assert_int_equal(fg_concurrency_limit_current(&cl), 128);
        fill(&cl);
        /* twice as many as were seen to be worked on are enough, until there are more */
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == 30 * S + 250 * MS);
        cl.shown_count = 65;
        /* once in the time that an answer takes: until then those who wait may be refused */
        assert_true(fg_concurrency_limit_held_until_ns(&cl) == 15 * S + 250 * MS);
        assert_false(fg_concurrency_limit_is_held(&cl, 11 * S));
        assert_false(fg_concurrency_limit_note_wait(&cl, 15 * S));
        assert_true(fg_concurrency_limit_note_wait(&cl, 15 * S + 250 * MS));
        assert_int_equal(fg_concurrency_limit_current(&cl), 200); /* limit_max */
    }
}

static void it_brings_none_where_that_would_be_a_guess(void **state)
{
    (void)state;
    struct fg_concurrency_limit limits[] = {
        after_a_crowd(FG_CONCURRENCY_AIMD, 5 * S, 10 * S),        /* latency tells it nothing */
        after_a_crowd(FG_CONCURRENCY_GRADIENT2, 99 * MS, 10 * S), /* windows are as quick */
        after_a_crowd(FG_CONCURRENCY_GRADIENT2, 5 * S, 10 * S),
        after_a_crowd(FG_CONCURRENCY_GRADIENT2, 5 * S, 10 * S),
        after_a_crowd(FG_CONCURRENCY_GRADIENT2, 5 * S, 10 * S),
    };
    limits[2].usual_ns = 10 * S + 1; /* twice as long as the first ones */
    limits[3].is_starting = false;   /* the slots were found */
    limits[4].limit = 100;           /* of which 50 were seen to be worked on */
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        assert_false(fg_concurrency_limit_note_wait(&limits[i], 10 * S));
        assert_false(fg_concurrency_limit_is_held(&limits[i], 10 * S));
        assert_false(fg_concurrency_limit_note_wait(&limits[i], 10 * S + 300 * MS));
    }
}

/* It may only be a pause of a backend whose slots are known. */
static void slots_that_were_found_bring_a_quarter_more(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 4);
    uint64_t now_ns = 1;
    run_backend(&cl, &now_ns, 50, 10 * MS, 7);
    assert_false(cl.is_starting);
    double found = cl.limit;
    fill(&cl);
    assert_false(fg_concurrency_limit_note_wait(&cl, now_ns));
    assert_false(fg_concurrency_limit_note_wait(&cl, now_ns + 250 * MS - 1));
    assert_true(fg_concurrency_limit_note_wait(&cl, now_ns + 250 * MS));
    assert_true(cl.limit == 1.25 * found);
}

/* A backend of so many slots, even, first come first served: all that may are in flight. */
static void run_slow_backend(struct fg_concurrency_limit *cl, uint32_t slots, uint64_t service_ns,
                             uint64_t for_ns)
{
    static uint64_t began_ns[4096];
    uint64_t began = 0, ended = 0;
    for (uint64_t now_ns = 1; now_ns < for_ns; now_ns += service_ns) {
        uint64_t done = began - ended < slots ? began : ended + slots;
        while (ended < done) {
            uint64_t latency_ns = now_ns - began_ns[ended++ % 4096];
            fg_concurrency_limit_release(cl, now_ns, latency_ns, FG_CONCURRENCY_SUCCESS);
            for (; fg_concurrency_limit_try_acquire(cl); began++)
                began_ns[began % 4096] = now_ns;
        }
        for (; fg_concurrency_limit_try_acquire(cl); began++)
            began_ns[began % 4096] = now_ns;
    }
}

static void each_slow_answer_brings_a_slot_until_they_wait(void **state)
{
    (void)state;
    for (int mode = FG_CONCURRENCY_GRADIENT2; mode <= FG_CONCURRENCY_VEGAS; mode++) {
        struct fg_concurrency_limit cl = limit_of((enum fg_concurrency_mode)mode, 4);
        run_slow_backend(&cl, 1000, S, 6 * S); /* 4, 8, 16, 32, 64, 128 */
        assert_int_equal(fg_concurrency_limit_current(&cl), 128);
        cl = limit_of((enum fg_concurrency_mode)mode, 4);
        run_slow_backend(&cl, 8, S, 12 * S);
        assert_false(cl.is_ramping);
        assert_in_range(fg_concurrency_limit_current(&cl), 6, 10);
    }
}

/* Quick ones pass through one slot, the others are held for good; then through all of them. */
static void quick_answers_between_held_slots_bring_more(void **state)
{
    (void)state;
    for (int held = 0; held < 2; held++) {
        struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 16);
        cl.is_starting = false;
        uint64_t now_ns = 1;
        for (int i = 0; i < 100; i++) {
            fill(&cl);
            now_ns += held ? 20 * MS : 20 * MS / 16;
            fg_concurrency_limit_release(&cl, now_ns, 20 * MS, FG_CONCURRENCY_SUCCESS);
        }
        assert_true(cl.is_much_held == held);
    }
}

static void it_is_held_when_nothing_comes_free_for_longer_than_answers_take(void **state)
{
    (void)state;
    struct fg_concurrency_limit cl = limit_of(FG_CONCURRENCY_GRADIENT2, 4);
    fill(&cl);
    assert_false(fg_concurrency_limit_is_held(&cl, YEAR)); /* nobody was seen to wait */
    fg_concurrency_limit_release(&cl, S, 40 * MS, FG_CONCURRENCY_SUCCESS);
    fill(&cl);
    assert_false(fg_concurrency_limit_note_wait(&cl, S));
    assert_false(fg_concurrency_limit_is_held(&cl, S + 80 * MS - 1));
    assert_true(fg_concurrency_limit_is_held(&cl, S + 80 * MS));
    assert_false(fg_concurrency_limit_is_held(&cl, 0)); /* the clock went back */
    fg_concurrency_limit_release(&cl, S + 90 * MS, 40 * MS, FG_CONCURRENCY_SUCCESS);
    assert_false(fg_concurrency_limit_is_held(&cl, S + 90 * MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_is_fixed),
        cmocka_unit_test(it_grows_while_latency_is_flat),
        cmocka_unit_test(it_starts_by_doubling_and_stops_at_the_slots_there_are),
        cmocka_unit_test(the_window_in_which_a_crowd_comes_does_not_double_the_limit),
        cmocka_unit_test(gradient2_and_vegas_shrink_when_slots_are_lost),
        cmocka_unit_test(a_backend_that_is_slower_keeps_its_slots),
        cmocka_unit_test(an_uneven_backend_gets_a_longer_window),
        cmocka_unit_test(results_of_the_limit_before_are_not_counted),
        cmocka_unit_test(drops_are_not_a_fast_backend),
        cmocka_unit_test(aimd_takes_a_time_out_for_a_drop),
        cmocka_unit_test(aimd_bears_a_heavy_tail),
        cmocka_unit_test(an_idle_backend_proves_nothing),
        cmocka_unit_test(cancelled_calls_are_not_sampled),
        cmocka_unit_test(clients_that_leave_move_it_only_if_most_waited_in_vain),
        cmocka_unit_test(a_clock_that_goes_wrong_does_not_stop_it),
        cmocka_unit_test(the_limit_is_never_exceeded),
        cmocka_unit_test(while_nothing_is_known_slots_that_are_held_bring_more),
        cmocka_unit_test(one_that_says_nothing_does_not),
        cmocka_unit_test(a_crowd_that_doubles_before_a_slow_backend_brings_more),
        cmocka_unit_test(it_brings_none_where_that_would_be_a_guess),
        cmocka_unit_test(a_slot_that_is_given_back_starts_the_time_anew),
        cmocka_unit_test(slots_that_were_found_bring_a_quarter_more),
        cmocka_unit_test(each_slow_answer_brings_a_slot_until_they_wait),
        cmocka_unit_test(quick_answers_between_held_slots_bring_more),
        cmocka_unit_test(it_is_held_when_nothing_comes_free_for_longer_than_answers_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
