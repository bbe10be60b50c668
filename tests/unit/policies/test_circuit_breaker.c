/*
 * test_circuit_breaker.c: what opens, how it probes, how long it stays open.
 */
#include "policies/circuit_breaker.h"
#include "policy_test.h"

static struct fg_breaker_config in_a_row(uint32_t failures, uint32_t probes)
{
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    config.consecutive_failures = failures;
    config.error_permille = 0;
    config.half_open_probes = probes;
    return config; /* open 1 s to 30 s */
}

static void fail_once(struct fg_circuit_breaker *cb, uint64_t now_ns)
{
    uint64_t retry_ns;
    enum fg_breaker_verdict verdict = fg_circuit_breaker_try_pass(cb, now_ns, &retry_ns);
    assert_int_not_equal(verdict, FG_BREAKER_REFUSE);
    fg_circuit_breaker_record(cb, now_ns, verdict == FG_BREAKER_PROBE, FG_BREAKER_FAILURE);
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
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_CANCELLED); /* says nothing */
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_SUCCESS);   /* breaks the row */
    fail_once(&cb, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, 0, &retry_ns), FG_BREAKER_PASS);
    assert_int_equal(retry_ns, 0);
    fail_once(&cb, 0);
    assert_int_equal(fg_circuit_breaker_state(&cb, 0), FG_BREAKER_OPEN);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, 1, &retry_ns), FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S - 1);
    assert_int_equal(cb.opened_total, 1);
    assert_int_equal(cb.refused_total, 1);
}

static void opens_by_share_once_there_are_enough(void **state)
{
    (void)state;
    struct fg_breaker_config config = fg_circuit_breaker_config_default();
    config.consecutive_failures = 0;
    struct fg_circuit_breaker cb;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 19; i++) /* 9 successes, 10 failures: over half, but of 19 */
        fg_circuit_breaker_record(&cb, 0, false, i % 2 ? FG_BREAKER_SUCCESS : FG_BREAKER_FAILURE);
    assert_int_equal(fg_circuit_breaker_state(&cb, 0), FG_BREAKER_CLOSED);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE);
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
            fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE);
        /* the tenth bucket still sees the first, the eleventh does not */
        fg_circuit_breaker_record(&cb, late ? 10 * S : 10 * S - 1, false, FG_BREAKER_FAILURE);
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
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S - 1, &retry_ns), FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, 1);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_CANCELLED); /* gives the slot back */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    fg_circuit_breaker_record(&cb, S, false, FG_BREAKER_FAILURE); /* sent before: not asked */
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_HALF_OPEN);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS);
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
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_PROBE);
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, S, &retry_ns), FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_FAILURE);
    assert_int_equal(fg_circuit_breaker_state(&cb, S), FG_BREAKER_OPEN);
    fg_circuit_breaker_record(&cb, S, true, FG_BREAKER_SUCCESS); /* too late to matter */
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
        assert_int_equal(fg_circuit_breaker_try_pass(&cb, now_ns, &retry_ns), FG_BREAKER_REFUSE);
        assert_int_equal(retry_ns, lengths_s[i] * S);
        now_ns += retry_ns;
    }
    /* closed for less than the last opening: it flaps, and the length stays up */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, now_ns, &retry_ns), FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, now_ns, true, FG_BREAKER_SUCCESS);
    fail_once(&cb, now_ns + 30 * S - 1);
    assert_int_equal(cb.open_now_ns, 30 * S);
    /* closed for longer: from the start again */
    now_ns += 60 * S;
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, now_ns, &retry_ns), FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, now_ns, true, FG_BREAKER_SUCCESS);
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
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, 5 * YEAR, &retry_ns), FG_BREAKER_REFUSE);
    assert_int_equal(retry_ns, S); /* back by years: open for its length from there, no longer */
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, 5 * YEAR + S, &retry_ns), FG_BREAKER_PROBE);
    fg_circuit_breaker_record(&cb, 5 * YEAR + S, true, FG_BREAKER_SUCCESS);
    fg_circuit_breaker_record(&cb, 0, false, FG_BREAKER_FAILURE);
    fg_circuit_breaker_record(&cb, UINT64_MAX, false, FG_BREAKER_SUCCESS);
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
    assert_int_equal(fg_circuit_breaker_try_pass(&cb, 5, &retry_ns), FG_BREAKER_REFUSE);
    assert_true(retry_ns == UINT64_MAX - 5);
    assert_string_equal(fg_breaker_state_name(FG_BREAKER_HALF_OPEN), "half_open");
}

/* Whatever happens, recovering backends see at most half_open_probes calls. */
static void probes_never_exceed_the_limit(void **state)
{
    (void)state;
    uint64_t seed = test_seed(5);
    struct fg_breaker_config config = in_a_row(2, 3);
    struct fg_circuit_breaker cb;
    uint64_t now_ns = 0;
    uint64_t retry_ns;
    uint32_t probes = 0;
    uint32_t passes = 0;
    fg_circuit_breaker_init(&cb, &config, 0);
    for (int i = 0; i < 50000; i++) {
        now_ns += test_below(&seed, 300 * MS);
        enum fg_breaker_outcome outcome = (enum fg_breaker_outcome)test_below(&seed, 3);
        switch (test_below(&seed, 3)) {
        case 0: {
            enum fg_breaker_verdict verdict = fg_circuit_breaker_try_pass(&cb, now_ns, &retry_ns);
            probes += verdict == FG_BREAKER_PROBE;
            passes += verdict == FG_BREAKER_PASS;
            assert_true((verdict == FG_BREAKER_REFUSE) == (retry_ns > 0));
            break;
        }
        case 1:
            if (probes > 0) {
                probes--;
                fg_circuit_breaker_record(&cb, now_ns, true, outcome);
            }
            break;
        default:
            if (passes > 0) {
                passes--;
                fg_circuit_breaker_record(&cb, now_ns, false, outcome);
            }
        }
        assert_int_equal(cb.probes_in_flight, probes);
        assert_true(probes <= 3);
    }
    assert_true(cb.opened_total > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_at_the_exact_count_in_a_row),
        cmocka_unit_test(opens_by_share_once_there_are_enough),
        cmocka_unit_test(old_results_leave_the_window),
        cmocka_unit_test(probes_are_counted_and_close_it),
        cmocka_unit_test(a_late_probe_gives_its_slot_back_in_any_state),
        cmocka_unit_test(relapses_double_up_to_the_maximum),
        cmocka_unit_test(clocks_that_go_wrong_do_not_lock_it),
        cmocka_unit_test(both_rules_off_never_opens_and_extremes_hold),
        cmocka_unit_test(probes_never_exceed_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
