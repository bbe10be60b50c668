/*
 * test_circuit_breaker.c: what opens, how it probes, how long it stays open.
 */
#include "policies/circuit_breaker.h"
#include "policy_test.h"

#include <math.h>

static struct fg_breaker_config in_a_row(uint32_t failures, uint32_t probes)
{
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    config.consecutive_failures = failures;
    config.error_permille = 0;
    config.half_open_probes = probes;
    config.half_open_interval_ns = 0;
    return config; /* open 1 s to 30 s */
}

static void fail_once(struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    uint64_t retry_ns;
    enum fg_breaker_verdict verdict =
        fg_circuit_breaker_try_pass(cb, FG_PRIORITY_NORMAL, now_ns, &retry_ns);
    assert_int_not_equal(verdict, FG_BREAKER_REFUSE);
    fg_circuit_breaker_record(cb, now_ns, verdict == FG_BREAKER_PROBE, FG_BREAKER_FAILURE, 0);
}

static void opens_at_the_exact_count_in_a_row(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(3, 1);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns = 1;
    fg_circuit_breaker_init(&cb, &config, 0);
    fail_once(&cb, 0);
    fail_once(&cb, 0);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_CANCELLED, 0); /* says nothing */
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS, 0);   /* breaks the row */
    fail_once(&cb, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 0, &retry_ns),
                     FG_BREAKER_PASS);
    assert_int_equal(retry_ns, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, 0), FG_BREAKER_OPEN);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 1, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S - 1);
    assert_int_equal(cb.opened_total, 1);
    assert_int_equal(cb.refused_total, 1);
}

/* Eight calls of one connection, which breaks; and then again. */
static void failures_of_one_instant_are_one(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(3, 1);
    struct fg_circuit_breaker cb;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (unsigned n = 1; n <= 2; n++) {
        for (unsigned i = 0; i < 8; i++)
            fg_circuit_breaker_record(&cb, n * S + i * MS, false, FG_BREAKER_FAILURE, 50 * MS);
        assert_int_equal(cb.row.count, n);
    }
    assert_int_equal(cb.state, FG_BREAKER_CLOSED);
    fg_circuit_breaker_record(&cb, 3 * S, false, FG_BREAKER_FAILURE, 50 * MS);
    assert_int_equal(cb.state, FG_BREAKER_OPEN);
    assert_int_equal(cb.cause.rule, FG_BREAKER_BY_ROW);
    assert_int_equal(cb.cause.value, 3);
}

/* A hundred calls a second, none of which is answered within the 5 s that it has. */
static void what_hangs_opens_it_soon(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(5, 1);
    struct fg_circuit_breaker cb;
    uint64_t now_ns = 5 * S;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (; cb.state == FG_BREAKER_CLOSED; now_ns += 10 * MS)
        fg_circuit_breaker_record(&cb, now_ns, false, FG_BREAKER_FAILURE, 5 * S);
    assert_int_equal(now_ns, 5 * S + 410 * MS);
}

static void opens_by_share_once_there_are_enough(void **state)
{
    (void)state;
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    config.consecutive_failures = 0;
    struct fg_circuit_breaker cb;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 19; i++) /* 9 successes, 10 failures: over half, but of 19 */
        fg_circuit_breaker_record(&cb, 0, false, i % 2 ? FG_BREAKER_SUCCESS : FG_BREAKER_FAILURE,
                                  0);
    assert_int_equal(fg_circuit_breaker_state(&cb, 0), FG_BREAKER_CLOSED);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, 0), FG_BREAKER_OPEN);
}

static void old_results_leave_the_window(void **state)
{
    (void)state;
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    config.consecutive_failures = 0;
    struct fg_circuit_breaker cb;
    for (int late = 0; late < 2; late++) {
        fg_circuit_breaker_init(&cb, &config, 0);
        for (int i = 0; i < 19; i++)
            fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE, 0);
        /* the tenth bucket still sees the first, the eleventh does not */
        fg_circuit_breaker_record(&cb, late ? 10 * S : 10 * S - 1, false, FG_BREAKER_FAILURE, 0);
        assert_int_equal(cb.opened_total, late ? 0 : 1);
    }
}

static void probes_are_counted_and_close_it(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(1, 2);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    fg_circuit_breaker_init(&cb, &config, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S - 1, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, 1);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_CANCELLED, 0); /* gives the slot back */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    fg_circuit_breaker_record(&cb, S, false, FG_BREAKER_FAILURE, 0); /* sent before: not asked */
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_CLOSED);
    assert_int_equal(cb.probes_in_flight, 0);
}

static void a_late_probe_gives_its_slot_back_in_any_state(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(1, 2);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    fg_circuit_breaker_init(&cb, &config, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_FAILURE, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_OPEN);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS, 0); /* too late to matter */
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_OPEN);
    assert_int_equal(cb.probes_in_flight, 0);
}

static void relapses_double_up_to_the_maximum(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(1, 1);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    uint64_t now_ns = 0;
    fg_circuit_breaker_init(&cb, &config, now_ns);
    static const uint64_t lengths_s[] = {1, 2, 4, 8, 16, 30, 30};
    for (size_t i = 0; i < sizeof(lengths_s) / sizeof(lengths_s[0]); i++) {
        fail_once(&cb, now_ns);
        assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, now_ns, &retry_ns),
                         FG_BREAKER_REFUSE);
        assert_int_equal(retry_ns, lengths_s[i] * S);
        now_ns += retry_ns;
    }
    /* closed for less than the last opening: it flaps, and the length stays up */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, now_ns, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, now_ns, true, FG_BREAKER_SUCCESS, 0);
    fail_once(&cb, now_ns + 30 * S - 1);
    assert_int_equal(cb.open_now_ns, 30 * S);
    /* closed for longer: from the start again */
    now_ns += 60 * S;
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, now_ns, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, now_ns, true, FG_BREAKER_SUCCESS, 0);
    fail_once(&cb, now_ns + 30 * S);
    assert_int_equal(cb.open_now_ns, S);
}

static void clocks_that_go_wrong_do_not_lock_it(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(2, 1);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    fg_circuit_breaker_init(&cb, &config, 10 * YEAR);
    fail_once(&cb, 10 * YEAR);
    fail_once(&cb, 10 * YEAR);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 5 * YEAR, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S); /* back by years: open for its length from there, no longer */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 5 * YEAR + S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, 5 * YEAR + S, true, FG_BREAKER_SUCCESS, 0);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE, 0);
    fg_circuit_breaker_record(&cb, UINT64_MAX, false, FG_BREAKER_SUCCESS, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, UINT64_MAX), FG_BREAKER_CLOSED);
}

static void both_rules_off_never_opens_and_extremes_hold(void **state)
{
    (void)state;
    struct fg_breaker_config config = in_a_row(0, UINT32_MAX);
    config.window_ns = FG_BREAKER_BUCKET_COUNT;
    config.open_ns = UINT64_MAX;
    config.open_max_ns = UINT64_MAX;
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (uint64_t i = 0; i < 1000; i++)
        fail_once(&cb, i);
    assert_int_equal(cb.opened_total, 0);
    config.consecutive_failures = 1;
    fg_circuit_breaker_init(&cb, &config, 5);
    fail_once(&cb, 5);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 5, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_true(retry_ns == UINT64_MAX - 5);
    assert_string_equal(fg_breaker_state_name(FG_BREAKER_HALF_OPEN), "half_open");
}

static struct fg_breaker_config when_slow(uint64_t slow_ns, uint32_t permille)
{
    struct fg_breaker_config config = in_a_row(0, 1);
    config.slow_ns = slow_ns;
    config.slow_permille = permille;
    return config;
}

static void opens_when_too_many_are_slow(void **state)
{
    (void)state;
    struct fg_breaker_config config = when_slow(MS, 500);
    struct fg_circuit_breaker cb;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 10; i++)
        fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS, MS - 1);
    for (int i = 0; i < 9; i++)
        fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS, MS);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_CANCELLED, S);      /* says nothing */
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_CUT_SHORT, MS - 1); /* nor does this */
    assert_int_equal(cb.state, FG_BREAKER_CLOSED);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_CUT_SHORT, MS); /* late, and failed too */
    assert_int_equal(cb.state, FG_BREAKER_OPEN);
    assert_string_equal(fg_breaker_rule_name(cb.cause.rule), "slow_ratio");
    assert_int_equal(cb.cause.value, 50); /* per cent */
    assert_int_equal(cb.cause.limit, 50);
    assert_int_equal(cb.row.count, 0);
}

static void a_slow_probe_is_a_failed_one(void **state)
{
    (void)state;
    struct fg_breaker_config config = when_slow(MS, 1000);
    struct fg_circuit_breaker cb;
    uint64_t retry_ns;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 20; i++)
        fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS, UINT64_MAX);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS, MS);
    assert_int_equal(cb.state, FG_BREAKER_OPEN);
    assert_int_equal(cb.cause.rule, FG_BREAKER_BY_PROBE);
    assert_int_equal(cb.cause.value, 0);
    assert_int_equal(cb.cause.limit, config.half_open_probes);
    assert_int_equal(cb.open_now_ns, 2 * S);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, 3 * S, &retry_ns),
                     FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, 3 * S, true, FG_BREAKER_SUCCESS, MS - 1);
    assert_int_equal(cb.state, FG_BREAKER_CLOSED);
}

static void latency_means_nothing_while_its_rule_is_off(void **state)
{
    (void)state;
    for (int off = 0; off < 2; off++) {
        struct fg_breaker_config config = when_slow(off == 0 ? 0 : 1, off == 0 ? 1 : 0);
        struct fg_circuit_breaker cb;
        fg_circuit_breaker_init(&cb, &config, 0);
        for (int i = 0; i < 100; i++)
            fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS, UINT64_MAX);
        assert_int_equal(cb.state, FG_BREAKER_CLOSED);
    }
}

/* Opened at 0 with one failure, to be tried from 1 s on, one probe every 100 ms. */
static struct fg_circuit_breaker trickling(uint32_t probes)
{
    struct fg_breaker_config config = in_a_row(1, probes);
    config.half_open_interval_ns = 100 * MS;
    struct fg_circuit_breaker cb;
    fg_circuit_breaker_init(&cb, &config, 0);
    fail_once(&cb, 0);
    return cb;
}

static void probes_trickle(void **state)
{
    (void)state;
    struct fg_circuit_breaker cb = trickling(3);
    uint64_t retry_ns;
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t due_ns = S + i * 100 * MS;
        assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, due_ns, &retry_ns),
                         FG_BREAKER_PROBE);
        assert_int_equal(
            fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_CRITICAL, due_ns + MS, &retry_ns),
            FG_BREAKER_REFUSE);
        assert_int_equal(retry_ns, i < 2 ? 99 * MS : S);
        /* who asked in vain does not keep the next one from others for ever */
        cb.asked_ns[FG_PRIORITY_CRITICAL] = UINT64_MAX;
    }
    assert_int_equal(cb.probes_in_flight, 3);
}

static void the_most_important_who_ask_are_the_first_to_try(void **state)
{
    (void)state;
    struct fg_circuit_breaker cb = trickling(1);
    uint64_t retry_ns;
    assert_true(fg_circuit_breaker_is_shut(&cb, FG_PRIORITY_HIGH, S - 10 * MS, &retry_ns));
    assert_int_equal(retry_ns, 10 * MS);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_LOW, S, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, 100 * MS);
    assert_false(fg_circuit_breaker_is_shut(&cb, FG_PRIORITY_HIGH, S + MS, &retry_ns));
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_HIGH, S + MS, &retry_ns),
                     FG_BREAKER_PROBE);
    /* cancelled: from when its place came free on, again the more important first */
    fg_circuit_breaker_record(&cb, S + 300 * MS, true, FG_BREAKER_CANCELLED, 0);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_LOW, S + 300 * MS, &retry_ns),
                     FG_BREAKER_PROBE); /* nobody better has asked for long */
    fg_circuit_breaker_record(&cb, S + 500 * MS, true, FG_BREAKER_CANCELLED, 0);
    cb.asked_ns[FG_PRIORITY_CRITICAL] = S + 450 * MS;
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_LOW, S + 549 * MS, &retry_ns),
                     FG_BREAKER_REFUSE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_LOW, S + 550 * MS, &retry_ns),
                     FG_BREAKER_PROBE);
}

/* A stream of every class: all probes go to the best one, whichever of them comes first. */
static void a_flood_of_the_unimportant_does_not_take_the_probes(void **state)
{
    (void)state;
    uint64_t seed = test_seed(11);
    struct fg_circuit_breaker cb = trickling(3);
    uint64_t now_ns = S / 2;
    uint64_t critical_ns = now_ns;
    uint64_t retry_ns;
    unsigned probes[FG_PRIORITY_COUNT] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        now_ns += test_below(&seed, MS);
        enum fg_priority class = (enum fg_priority)(1 + test_below(&seed, 3));
        if (now_ns - critical_ns > 40 * MS) {
            class = FG_PRIORITY_CRITICAL;
            critical_ns = now_ns;
        }
        if (fg_circuit_breaker_try_pass(&cb, class, now_ns, &retry_ns) != FG_BREAKER_PROBE)
            continue;
        probes[class]++;
        fg_circuit_breaker_record(&cb, now_ns, true, FG_BREAKER_CANCELLED, 0);
    }
    assert_true(probes[FG_PRIORITY_CRITICAL] > 50);
    for (unsigned i = 1; i < FG_PRIORITY_COUNT; i++)
        assert_int_equal(probes[i], 0);
}

/* Whatever happens, recovering backends see at most half_open_probes calls. */
static void probes_never_exceed_the_limit(void **state)
{
    (void)state;
    uint64_t seed = test_seed(5);
    struct fg_breaker_config config = in_a_row(2, 3);
    config.half_open_interval_ns = 50 * MS;
    struct fg_circuit_breaker cb;
    uint64_t now_ns = 0;
    uint64_t probed_ns = UINT64_MAX;
    uint64_t retry_ns;
    uint32_t probes = 0;
    uint32_t passes = 0;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 50000; i++) {
        now_ns += test_below(&seed, 300 * MS);
        enum fg_breaker_outcome outcome = (enum fg_breaker_outcome)test_below(&seed, 3);
        switch (test_below(&seed, 3)) {
        case 0: {
            enum fg_breaker_verdict verdict =
                fg_circuit_breaker_try_pass(&cb, FG_PRIORITY_NORMAL, now_ns, &retry_ns);
            probes += verdict == FG_BREAKER_PROBE;
            if (verdict == FG_BREAKER_PROBE && probed_ns != UINT64_MAX)
                assert_true(now_ns - probed_ns >= 50 * MS);
            probed_ns = verdict == FG_BREAKER_PROBE ? now_ns : probed_ns;
            passes += verdict == FG_BREAKER_PASS;
            assert_true((verdict == FG_BREAKER_REFUSE) == (retry_ns > 0));
            break;
        }
        case 1:
            if (probes > 0) {
                probes--;
                fg_circuit_breaker_record(&cb, now_ns, true, outcome, 0);
            }
            break;
        default:
            if (passes > 0) {
                passes--;
                fg_circuit_breaker_record(&cb, now_ns, false, outcome, 0);
            }
        }
        assert_int_equal(cb.probes_in_flight, probes);
        assert_true(probes <= 3);
    }
    assert_true(cb.opened_total > 10);
}

/* Calls that begin by chance and take by chance; each fails by chance, and at `restart_ns` all. */
struct traffic {
    double per_s;
    uint64_t mean_ns;
    double fails;
    uint64_t restart_ns; /* 0: never */
};

static double exponential(uint64_t *seed, double mean)
{
    return -log(((double)test_below(seed, 1000000) + 1) / 1000001) * mean;
}

/* When the share of failures opens it within a minute; FG_POLICY_NEVER: not. */
static uint64_t opens_at(const struct traffic *traffic, uint64_t seed)
{
    enum { CALLS = 4000 };
    static uint64_t ends_ns[CALLS], begun_ns[CALLS];
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    struct fg_circuit_breaker cb;
    config.consecutive_failures = 0;
    fg_circuit_breaker_init(&cb, &config, 0);
    size_t count = 0;
    for (double at = 0; at < 60e9 && count < CALLS; count++) {
        at += exponential(&seed, 1e9 / traffic->per_s);
        begun_ns[count] = (uint64_t)at;
        ends_ns[count] = (uint64_t)(at + exponential(&seed, (double)traffic->mean_ns));
    }
    for (uint64_t now_ns = 0; now_ns < 60 * S; now_ns += MS) {
        for (size_t i = 0; i < count; i++) {
            bool is_cut = now_ns == traffic->restart_ns && begun_ns[i] < now_ns &&
                          ends_ns[i] > now_ns && now_ns > 0;
            if (!is_cut && (ends_ns[i] > now_ns || ends_ns[i] + MS <= now_ns))
                continue;
            ends_ns[i] = 0;
            bool fails = is_cut || (double)test_below(&seed, 1000) < traffic->fails * 1000;
            fg_circuit_breaker_record(&cb, now_ns, false,
                                      fails ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS,
                                      now_ns - begun_ns[i]);
        }
        if (cb.opened_total > 0)
            return now_ns;
    }
    return FG_POLICY_NEVER;
}

/* Of 20 seeds: how many open, and after how long in the mean. */
static unsigned openings(const struct traffic *traffic, double *mean_s)
{
    unsigned count = 0;
    uint64_t base = test_seed(40);
    *mean_s = 0;
    for (uint64_t seed = base; seed < base + 20; seed++) {
        uint64_t at_ns = opens_at(traffic, seed);
        count += at_ns != FG_POLICY_NEVER;
        *mean_s += at_ns == FG_POLICY_NEVER ? 0 : (double)at_ns / 1e9 / 20;
    }
    print_message("  %.0f/s of %.1f s, %.1f fail: %u of 20 open, after %.2f s\n", traffic->per_s,
                  (double)traffic->mean_ns / 1e9, traffic->fails, count, *mean_s);
    return count;
}

/* Long polls of 15 s, thirty of them open: a restart breaks more than ten seconds bring answers. */
static void a_restart_is_no_share_and_a_failing_backend_is(void **state)
{
    (void)state;
    double mean_s;
    struct traffic polls = {.per_s = 2, .mean_ns = 15 * S, .restart_ns = 30 * S};
    assert_int_equal(openings(&polls, &mean_s), 0);
    struct traffic half = {.per_s = 50, .mean_ns = 100 * MS, .fails = 0.6};
    assert_int_equal(openings(&half, &mean_s), 20);
    assert_true(mean_s < 1.5);
    struct traffic dead = {.per_s = 50, .mean_ns = 5 * S, .fails = 1};
    assert_int_equal(openings(&dead, &mean_s), 20);
    assert_true(mean_s < 2.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_at_the_exact_count_in_a_row),
        cmocka_unit_test(failures_of_one_instant_are_one),
        cmocka_unit_test(what_hangs_opens_it_soon),
        cmocka_unit_test(opens_by_share_once_there_are_enough),
        cmocka_unit_test(old_results_leave_the_window),
        cmocka_unit_test(probes_are_counted_and_close_it),
        cmocka_unit_test(a_late_probe_gives_its_slot_back_in_any_state),
        cmocka_unit_test(relapses_double_up_to_the_maximum),
        cmocka_unit_test(clocks_that_go_wrong_do_not_lock_it),
        cmocka_unit_test(both_rules_off_never_opens_and_extremes_hold),
        cmocka_unit_test(opens_when_too_many_are_slow),
        cmocka_unit_test(a_slow_probe_is_a_failed_one),
        cmocka_unit_test(latency_means_nothing_while_its_rule_is_off),
        cmocka_unit_test(probes_trickle),
        cmocka_unit_test(the_most_important_who_ask_are_the_first_to_try),
        cmocka_unit_test(a_flood_of_the_unimportant_does_not_take_the_probes),
        cmocka_unit_test(probes_never_exceed_the_limit),
        cmocka_unit_test(a_restart_is_no_share_and_a_failing_backend_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
