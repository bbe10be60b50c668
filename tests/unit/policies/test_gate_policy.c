/*
 * test_gate_policy.c: in which order limit, queue and breaker are asked, and that no free slot
 * is kept from somebody who waits.
 */
#include "policies/gate_policy.h"

#include "policy_test.h"

static struct fg_gate_policy_config config_of(uint32_t limit, uint32_t queue)
{
    struct fg_concurrency_config fixed = fg_concurrency_limit_config_default(FG_CONCURRENCY_FIXED);
    fixed.limit_initial = limit;
    return (struct fg_gate_policy_config){
        .limit = fixed,
        .queue = {.capacity = queue},
        .breaker = {.consecutive_failures = 2,
                    .min_requests = 10,
                    .half_open_probes = 1,
                    .window_ns = 10 * S,
                    .open_ns = S,
                    .open_max_ns = 4 * S},
        .has_breaker = true,
        .wait_max_ns = 2 * S,
    };
}

static const uint32_t normal = FG_PRIORITY_NORMAL * FG_PRIORITY_COHORT_COUNT;
static const struct fg_gate_result fine = {.latency_ns = MS, .passed_breaker = true};

static enum fg_gate_verdict enter(struct fg_gate_policy *gate, struct fg_gate_entry *entry,
                                  uint64_t now_ns, struct fg_gate_turns *turns)
{
    struct fg_gate_place place;
    const struct fg_gate_arrival arrival = {.compound = fg_priority_compound(FG_PRIORITY_NORMAL, 0),
                                            .deadline_ns = now_ns + 10 * S};
    return fg_gate_policy_enter(gate, entry, &arrival, now_ns, turns, &place);
}

static void a_freed_slot_goes_to_who_waits(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_entry a = {0}, b = {0}, c = {0};
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, &a, 1, &turns), FG_GATE_QUEUED);
    assert_int_equal(enter(&gate, &b, 2, &turns), FG_GATE_QUEUED);
    assert_int_equal(enter(&gate, &c, 3, &turns), FG_GATE_FULL);
    assert_null(turns.first);
    fg_gate_policy_leave(&gate, MS, &fine, &turns);
    assert_ptr_equal(turns.first, &a);
    assert_int_equal(a.verdict, FG_GATE_ADMITTED);
    assert_null(a.next_turn);
    /* a newcomer does not pass b, though a's slot has just come free */
    turns = (struct fg_gate_turns){0};
    gate.limit.in_flight--;
    assert_int_equal(enter(&gate, &c, 2 * MS, &turns), FG_GATE_QUEUED);
    assert_ptr_equal(turns.first, &b);
}

/* With as good a lot as any, the one who has many waiting is refused first. */
static void a_crowd_is_below_the_level_first(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 1024);
    config.level = fg_admission_level_config_default();
    static struct fg_gate_entry hoard[200];
    memset(hoard, 0, sizeof(hoard));
    struct fg_gate_entry other = {0};
    struct fg_gate_turns turns = {0};
    struct fg_gate_place place;
    struct fg_gate_arrival arrival = {.compound = normal + 10, .owner = 7, .deadline_ns = 100 * S};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(fg_gate_policy_enter(&gate, &hoard[i], &arrival, 1, &turns, &place),
                         FG_GATE_QUEUED);
    gate.level.level = normal + 50; /* as after a standing delay */
    struct fg_gate_entry late = {0};
    assert_int_equal(fg_gate_policy_enter(&gate, &late, &arrival, 1, &turns, &place),
                     FG_GATE_BELOW_LEVEL);
    arrival.owner = 9ull << 32 | 9;
    assert_int_equal(fg_gate_policy_enter(&gate, &other, &arrival, 1, &turns, &place),
                     FG_GATE_QUEUED);
    arrival.compound = normal + 127; /* there is no worse one, and no other class */
    arrival.owner = 7;
    assert_int_equal(fg_gate_policy_enter(&gate, &late, &arrival, 1, &turns, &place),
                     FG_GATE_BELOW_LEVEL);
}

static void without_memory_nothing_waits(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_FULL);
}

static void waits_no_longer_than_it_may(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_entry a = {0};
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    assert_true(fg_gate_policy_next_expiry_ns(&gate) == FG_POLICY_NEVER);
    assert_int_equal(enter(&gate, &a, 0, &turns), FG_GATE_QUEUED);
    assert_true(fg_gate_policy_next_expiry_ns(&gate) == 2 * S);
    fg_gate_policy_expire(&gate, 2 * S - 1, &turns);
    assert_null(turns.first);
    fg_gate_policy_expire(&gate, 2 * S, &turns);
    assert_ptr_equal(turns.first, &a);
    assert_int_equal(a.verdict, FG_GATE_EXPIRED);
}

/* A backend of seconds has answered nobody when the first would have to be refused. */
static void a_crowd_before_a_slow_backend_gets_in_while_it_may_wait(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(4, 1024);
    config.limit = fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    static struct fg_gate_entry crowd[200];
    memset(crowd, 0, sizeof(crowd));
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(enter(&gate, &crowd[i], 1, &turns),
                         i < 4 ? FG_GATE_ADMITTED : FG_GATE_QUEUED);
    uint64_t now_ns = 1;
    while (gate.queue.count > 0) {
        now_ns = fg_gate_policy_next_expiry_ns(&gate);
        fg_gate_policy_expire(&gate, now_ns, &turns);
    }
    assert_true(now_ns < S);
    assert_true(fg_gate_policy_next_expiry_ns(&gate) == FG_POLICY_NEVER);
    uint32_t admitted = 0;
    for (struct fg_gate_entry *entry = turns.first; entry != NULL; entry = entry->next_turn)
        admitted += entry->verdict == FG_GATE_ADMITTED;
    assert_int_equal(admitted, 196);
}

/* Each has a slot for a tenth of a second, in which nobody learns anything of the backend. Nor is
 * the pace of those foreseen for others, who come at once or in `within_ns`. */
static void let_in_uploads(uint64_t within_ns)
{
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(4, 1024);
    config.limit = fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    config.queue.target_ns = 20 * MS;
    config.queue.interval_ns = 100 * MS;
    const struct fg_gate_result set_aside = {.limit = FG_CONCURRENCY_IGNORED};
    static struct fg_gate_entry crowd[300];
    static uint64_t since_ns[300];
    memset(crowd, 0, sizeof(crowd));
    struct fg_gate_turns turns = {0};
    size_t come = 0, in = 0, left = 0;
    fg_gate_policy_init(&gate, &config, 0);
    for (uint64_t now_ns = MS; left < 300; now_ns += MS) {
        turns = (struct fg_gate_turns){0};
        for (; come < 300 && now_ns >= MS + within_ns / 300 * come; come++) {
            enum fg_gate_verdict verdict = enter(&gate, &crowd[come], now_ns, &turns);
            assert_true(verdict == FG_GATE_ADMITTED || verdict == FG_GATE_QUEUED);
            if (verdict == FG_GATE_ADMITTED)
                since_ns[in++] = now_ns;
        }
        for (; left < in && now_ns - since_ns[left] >= 100 * MS; left++)
            fg_gate_policy_leave(&gate, now_ns, &set_aside, &turns);
        if (fg_gate_policy_next_expiry_ns(&gate) <= now_ns)
            fg_gate_policy_expire(&gate, now_ns, &turns);
        for (struct fg_gate_entry *entry = turns.first; entry != NULL; entry = entry->next_turn) {
            assert_int_equal(entry->verdict, FG_GATE_ADMITTED);
            since_ns[in++] = now_ns;
        }
        assert_true(now_ns < within_ns + S);
    }
    assert_int_equal(gate.limit.in_flight, 0);
}

static void uploads_that_take_long_are_all_let_in(void **state)
{
    (void)state;
    static const uint64_t within_ms[] = {0, 100, 250, 600, 1000};
    for (size_t i = 0; i < sizeof(within_ms) / sizeof(within_ms[0]); i++)
        let_in_uploads(within_ms[i] * MS);
}

/* Nobody waited then: the time begins with the next one that does. */
static void slots_that_were_free_meanwhile_were_not_held(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    config.limit = fg_concurrency_limit_config_default(FG_CONCURRENCY_GRADIENT2);
    config.limit.limit_initial = 1;
    const struct fg_gate_result set_aside = {.limit = FG_CONCURRENCY_IGNORED};
    struct fg_gate_entry a = {0}, b = {0};
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, MS, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, &a, MS, &turns), FG_GATE_QUEUED);
    fg_gate_policy_leave(&gate, 51 * MS, &set_aside, &turns);
    assert_ptr_equal(turns.first, &a);
    fg_gate_policy_leave(&gate, 61 * MS, &set_aside, &turns);
    assert_int_equal(enter(&gate, NULL, S, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, &b, S, &turns), FG_GATE_QUEUED);
    assert_int_equal(fg_concurrency_limit_current(&gate.limit), 1);
    assert_true(fg_gate_policy_next_expiry_ns(&gate) == S + 100 * MS);
}

static void who_leaves_the_line_is_gone_and_who_had_a_turn_is_not(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_entry a = {0}, b = {0};
    struct fg_gate_turns turns = {0};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, &a, 0, &turns), FG_GATE_QUEUED);
    assert_int_equal(enter(&gate, &b, 0, &turns), FG_GATE_QUEUED);
    assert_true(fg_gate_policy_abandon(&gate, &a, 1, &turns));
    fg_gate_policy_leave(&gate, MS, &fine, &turns);
    assert_ptr_equal(turns.first, &b);
    assert_false(fg_gate_policy_abandon(&gate, &b, MS, &turns));
}

static void the_breaker_learns_only_from_calls_that_it_let_pass(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(8, 0);
    struct fg_gate_turns turns = {0};
    struct fg_gate_result failed = {.limit = FG_CONCURRENCY_DROPPED, .breaker = FG_BREAKER_FAILURE};
    uint64_t retry_ns;
    fg_gate_policy_init(&gate, &config, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
        assert_int_equal(fg_gate_policy_try_pass(&gate, normal, 0, &retry_ns), FG_BREAKER_PASS);
        failed.passed_breaker = i >= 2;
        fg_gate_policy_leave(&gate, MS, &failed, &turns);
    }
    assert_int_equal(fg_gate_policy_try_pass(&gate, normal, MS, &retry_ns), FG_BREAKER_REFUSE);
    assert_true(retry_ns == S);
}

/* What became whole after it was set aside: its result counts, while half-open as a probe. */
static void the_breaker_learns_from_uploads_that_took_long(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(8, 0);
    struct fg_gate_turns turns = {0};
    struct fg_gate_result failed = {.breaker = FG_BREAKER_FAILURE, .passed_breaker = true};
    fg_gate_policy_init(&gate, &config, 0);
    for (uint64_t i = 0; i < 2; i++) {
        assert_false(fg_gate_policy_retake(&gate, true, i * S));
        fg_gate_policy_leave(&gate, i * S + MS, &failed, &turns);
    }
    assert_int_equal(gate.breaker.state, FG_BREAKER_OPEN);
    assert_false(fg_gate_policy_retake(&gate, true, S + 2 * MS));
    assert_false(fg_gate_policy_retake(&gate, false, 3 * S)); /* it was never asked */
    assert_true(fg_gate_policy_retake(&gate, true, 3 * S));
    assert_int_equal(gate.breaker.state, FG_BREAKER_HALF_OPEN);
    const struct fg_gate_result probe = {.passed_breaker = true, .was_probe = true};
    fg_gate_policy_leave(&gate, 3 * S, &probe, &turns);
    assert_int_equal(gate.breaker.state, FG_BREAKER_CLOSED);
    config.has_breaker = false;
    fg_gate_policy_init(&gate, &config, 0);
    assert_false(fg_gate_policy_retake(&gate, true, 0));
}

static void passing_without_doubt_is_for_a_closed_breaker(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(8, 0);
    struct fg_gate_turns turns = {0};
    struct fg_gate_result result = {.breaker = FG_BREAKER_FAILURE, .passed_breaker = true};
    uint64_t retry_ns;
    fg_gate_policy_init(&gate, &config, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
        assert_true(fg_gate_policy_try_pass_closed(&gate, normal, 0));
        fg_gate_policy_leave(&gate, MS, &result, &turns);
    }
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    assert_false(fg_gate_policy_try_pass_closed(&gate, normal, MS));
    assert_false(
        fg_gate_policy_try_pass_closed(&gate, normal, 2 * S)); /* half-open: no probe yet */
    assert_int_equal(gate.breaker.refused_total + gate.breaker.probes_total, 0);
    assert_int_equal(fg_gate_policy_try_pass(&gate, normal, 2 * S, &retry_ns), FG_BREAKER_PROBE);
    assert_false(fg_gate_policy_try_pass_closed(&gate, normal, 2 * S));
    result = (struct fg_gate_result){.passed_breaker = true, .was_probe = true};
    fg_gate_policy_leave(&gate, 2 * S, &result, &turns);
    assert_true(fg_gate_policy_try_pass_closed(&gate, normal, 2 * S));
    config.has_breaker = false;
    fg_gate_policy_init(&gate, &config, 0);
    assert_true(fg_gate_policy_try_pass_closed(&gate, normal, 0));
}

static void nobody_waits_for_a_backend_that_is_left_alone(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(2, 8);
    struct fg_gate_entry a = {0};
    struct fg_gate_turns turns = {0};
    struct fg_gate_place place;
    struct fg_gate_result failed = fine;
    failed.breaker = FG_BREAKER_FAILURE;
    failed.latency_ns = 0; /* each begun behind the one before */
    fg_gate_policy_init(&gate, &config, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
        fg_gate_policy_leave(&gate, 0, &failed, &turns);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    const struct fg_gate_arrival arrival = {.compound = normal, .deadline_ns = 9 * S};
    assert_int_equal(fg_gate_policy_enter(&gate, &a, &arrival, S / 4, &turns, &place),
                     FG_GATE_BREAKER_OPEN);
    assert_int_equal(place.wait_ns, 3 * S / 4);
    assert_int_equal(gate.queue.count, 0);
    assert_int_equal(gate.breaker.refused_total, 1);
    assert_int_equal(enter(&gate, &a, S, &turns), FG_GATE_QUEUED); /* half-open: may be a probe */
}

static void who_is_refused_is_told_no_time_that_nobody_knows(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 0);
    struct fg_gate_entry a = {0}, b = {0};
    struct fg_gate_turns turns = {0};
    struct fg_gate_place place;
    const struct fg_gate_arrival arrival = {.compound = normal, .deadline_ns = 9 * S};
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    assert_int_equal(fg_gate_policy_enter(&gate, &a, &arrival, 1, &turns, &place), FG_GATE_FULL);
    assert_true(place.position == 0 && place.wait_ns == UINT64_MAX); /* next, but when? */
    config = config_of(1, 1);
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    assert_int_equal(enter(&gate, &a, 0, &turns), FG_GATE_QUEUED);
    assert_int_equal(fg_gate_policy_enter(&gate, &b, &arrival, 1, &turns, &place), FG_GATE_FULL);
    assert_true(place.position == 1 && place.wait_ns == UINT64_MAX);
    /* it has not moved for so long: no time is less than that */
    assert_int_equal(fg_gate_policy_enter(&gate, &b, &arrival, S, &turns, &place), FG_GATE_FULL);
    assert_int_equal(place.wait_ns, S);
}

/* Each decides and counts, and nobody is refused or made to wait by it. */
static void in_shadow_nothing_is_acted_on(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_turns turns = {0};
    uint64_t retry_after_ns;
    config.limit.is_shadow = true;
    config.is_breaker_shadow = true;
    fg_gate_policy_init(&gate, &config, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
    struct fg_gate_place place;
    const struct fg_gate_arrival arrival = {.compound = normal, .deadline_ns = S};
    assert_int_equal(fg_gate_policy_enter(&gate, NULL, &arrival, 1, &turns, &place),
                     FG_GATE_ADMITTED);
    assert_int_equal(place.would_be, FG_GATE_QUEUED); /* for want of a slot */
    assert_int_equal(place.in_flight, 5);
    assert_int_equal(place.limit, 1);
    assert_int_equal(gate.limit.refused_total, 4);
    struct fg_gate_result failed = fine;
    failed.breaker = FG_BREAKER_FAILURE;
    failed.latency_ns = 0; /* each begun behind the one before */
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(fg_gate_policy_try_pass(&gate, normal, 2, &retry_after_ns),
                         i < 2 ? FG_BREAKER_PASS : FG_BREAKER_WOULD_REFUSE);
        fg_gate_policy_leave(&gate, 2, &failed, &turns);
    }
    assert_int_equal(gate.breaker.state, FG_BREAKER_OPEN);
    assert_int_equal(gate.breaker.refused_total, 3);
}

static void who_would_come_too_late_is_known_in_shadow(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 8);
    struct fg_gate_entry entries[6] = {0};
    struct fg_gate_turns turns = {0};
    struct fg_gate_place place;
    config.queue.is_shadow = true;
    fg_gate_policy_init(&gate, &config, 0);
    assert_int_equal(enter(&gate, NULL, 0, &turns), FG_GATE_ADMITTED);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(enter(&gate, &entries[i], 0, &turns), FG_GATE_QUEUED);
    for (unsigned i = 1; i < 4; i++)
        fg_gate_policy_leave(&gate, i * 300 * MS, &fine, &turns);
    struct fg_gate_arrival arrival = {.compound = normal, .deadline_ns = 901 * MS};
    assert_int_equal(fg_gate_policy_enter(&gate, &entries[5], &arrival, 900 * MS, &turns, &place),
                     FG_GATE_QUEUED);
    assert_int_equal(place.would_be, FG_GATE_CANNOT_MEET_DEADLINE);
    assert_true(place.wait_ns > MS);
}

static void the_queue_knows_how_slow_the_backend_is(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_turns turns = {0};
    config.queue.target_ns = 20 * MS;
    config.queue.interval_ns = 100 * MS;
    fg_gate_policy_init(&gate, &config, 0);
    struct fg_gate_result slow = {.latency_ns = 300 * MS, .passed_breaker = true};
    struct fg_gate_result failed = {.latency_ns = 9 * S, .limit = FG_CONCURRENCY_DROPPED};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
        fg_gate_policy_leave(&gate, 1, i % 2 == 0 ? &slow : &failed, &turns);
    }
    assert_true(gate.service_ns == 300 * MS); /* a failure is no measure */
    assert_true(gate.queue.target_ns == 240 * MS && gate.level.target_ns == 216 * MS);
    slow.latency_ns = 5 * S;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
        fg_gate_policy_leave(&gate, 1, &slow, &turns);
    }
    assert_true(gate.queue.target_ns == 500 * MS); /* a quarter of wait_max */
}

static void who_finds_a_free_slot_needs_no_entry(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(2, 2);
    struct fg_gate_entry waiting = {0};
    struct fg_gate_turns turns = {0};
    uint32_t level = 0;
    fg_gate_policy_init(&gate, &config, 0);
    assert_true(fg_gate_policy_try_enter(&gate, normal, 1, &level));
    assert_int_equal(level, FG_PRIORITY_COMPOUND_COUNT - 1);
    assert_true(fg_gate_policy_try_extra(&gate, 1));
    assert_int_equal(gate.limit.in_flight, 2);
    assert_false(fg_gate_policy_try_enter(&gate, normal, 1, &level));
    assert_false(fg_gate_policy_try_extra(&gate, 1));
    assert_int_equal(gate.limit.refused_total, 0); /* nothing has happened */
    assert_int_equal(enter(&gate, &waiting, 1, &turns), FG_GATE_QUEUED);
    gate.limit.in_flight--; /* as between a slot that came free and the turn for it */
    assert_false(fg_gate_policy_try_enter(&gate, normal, 1, &level));
    assert_false(fg_gate_policy_try_extra(&gate, 1));
    assert_true(fg_gate_policy_abandon(&gate, &waiting, 1, &turns));
    assert_null(turns.first);
    assert_true(fg_gate_policy_try_extra(&gate, 1));
}

/* More in flight than the limit, until enough have left: nobody is let in before. */
static void who_comes_back_is_counted_whatever_the_limit(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_turns turns = {0};
    const struct fg_gate_result nothing = {.limit = FG_CONCURRENCY_IGNORED};
    uint32_t level = 0;
    fg_gate_policy_init(&gate, &config, 0);
    assert_true(fg_gate_policy_try_enter(&gate, normal, 1, &level));
    fg_gate_policy_leave(&gate, 2, &nothing, &turns);
    assert_true(fg_gate_policy_try_enter(&gate, normal, 3, &level));
    assert_false(fg_gate_policy_retake(&gate, true, 4)); /* the breaker is closed */
    assert_int_equal(gate.limit.in_flight, 2);
    assert_false(fg_gate_policy_try_enter(&gate, normal, 5, &level));
    fg_gate_policy_leave(&gate, 6, &nothing, &turns);
    assert_false(fg_gate_policy_try_enter(&gate, normal, 7, &level));
    fg_gate_policy_leave(&gate, 8, &nothing, &turns);
    assert_true(fg_gate_policy_try_enter(&gate, normal, 9, &level));
}

/* A deadline of the client's own is a failure when no answer takes that long. */
static void impatience_is_no_failure(void **state)
{
    (void)state;
    struct fg_gate_policy gate;
    struct fg_gate_policy_config config = config_of(1, 2);
    struct fg_gate_turns turns = {0};
    const struct {
        uint64_t service_ns, latency_ns;
        bool is_failure;
    } cases[] = {{0, S - 1, false},
                 {0, S, true},
                 {10 * MS, S - 1, false},
                 {10 * MS, S, true},
                 {200 * MS, 2 * S - 1, false},
                 {200 * MS, 2 * S, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_gate_result late = {.latency_ns = cases[i].latency_ns,
                                      .limit = FG_CONCURRENCY_CUT_SHORT,
                                      .breaker = FG_BREAKER_CUT_SHORT,
                                      .passed_breaker = true};
        fg_gate_policy_init(&gate, &config, 0);
        gate.service_ns = cases[i].service_ns;
        for (int k = 0; k < 2; k++) {
            assert_int_equal(enter(&gate, NULL, 1, &turns), FG_GATE_ADMITTED);
            fg_gate_policy_leave(&gate, 1 + (uint64_t)k * S, &late, &turns);
        }
        assert_int_equal(gate.breaker.state,
                         cases[i].is_failure ? FG_BREAKER_OPEN : FG_BREAKER_CLOSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_is_below_the_level_first),
        cmocka_unit_test(a_freed_slot_goes_to_who_waits),
        cmocka_unit_test(who_finds_a_free_slot_needs_no_entry),
        cmocka_unit_test(who_comes_back_is_counted_whatever_the_limit),
        cmocka_unit_test(impatience_is_no_failure),
        cmocka_unit_test(without_memory_nothing_waits),
        cmocka_unit_test(waits_no_longer_than_it_may),
        cmocka_unit_test(a_crowd_before_a_slow_backend_gets_in_while_it_may_wait),
        cmocka_unit_test(uploads_that_take_long_are_all_let_in),
        cmocka_unit_test(slots_that_were_free_meanwhile_were_not_held),
        cmocka_unit_test(who_leaves_the_line_is_gone_and_who_had_a_turn_is_not),
        cmocka_unit_test(the_breaker_learns_only_from_calls_that_it_let_pass),
        cmocka_unit_test(the_breaker_learns_from_uploads_that_took_long),
        cmocka_unit_test(passing_without_doubt_is_for_a_closed_breaker),
        cmocka_unit_test(nobody_waits_for_a_backend_that_is_left_alone),
        cmocka_unit_test(who_is_refused_is_told_no_time_that_nobody_knows),
        cmocka_unit_test(in_shadow_nothing_is_acted_on),
        cmocka_unit_test(who_would_come_too_late_is_known_in_shadow),
        cmocka_unit_test(the_queue_knows_how_slow_the_backend_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
