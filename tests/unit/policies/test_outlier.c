/*
 * test_outlier.c: who is ejected, for how long, and who never is.
 */
#include "policies/outlier.h"
#include "policy_test.h"

#define HOSTS 5u

static const struct fg_outlier_conf conf = {
    .consecutive_errors = 5,
    .error_permille = 500,
    .latency_permille = 3000,
    .min_requests = 10,
    .ejected_max_permille = 400,
    .ejection_ns = 30 * S,
    .ejection_max_ns = 100 * S,
};

static bool eject(struct fg_outlier_host *hosts, size_t index, uint64_t now_ns)
{
    return fg_outlier_try_eject(&conf, hosts, HOSTS, index, FG_OUTLIER_CONSECUTIVE, now_ns);
}

static struct fg_outlier_change sweep(struct fg_outlier_host *hosts,
                                      struct fg_outlier_sample *samples, uint64_t now_ns)
{
    uint64_t scratch[FG_OUTLIER_SCRATCH * HOSTS];
    return fg_outlier_sweep(&conf, hosts, HOSTS, samples, scratch, now_ns);
}

static void the_cap_and_the_last_host_are_kept(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    assert_true(eject(hosts, 0, 0));
    assert_false(eject(hosts, 0, 0)); /* is out already */
    assert_true(eject(hosts, 1, 0));
    assert_false(eject(hosts, 2, 0)); /* 3 of 5 is more than 40 % */
    struct fg_outlier_host one = {0};
    assert_false(fg_outlier_try_eject(&conf, &one, 1, 0, FG_OUTLIER_RATIO, 0));
    struct fg_outlier_host two[2] = {{0}};
    assert_true(fg_outlier_try_eject(&conf, two, 2, 0, FG_OUTLIER_RATIO, 0)); /* one may always */
    assert_false(fg_outlier_try_eject(&conf, two, 2, 1, FG_OUTLIER_RATIO, 0));
}

static void ejections_grow_and_shrink(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample none[HOSTS] = {{0}};
    uint64_t now_ns = 0;
    for (unsigned i = 1; i <= 5; i++) {
        assert_true(eject(hosts, 0, now_ns));
        uint64_t time_ns = i * 30 * S < 100 * S ? i * 30 * S : 100 * S;
        assert_false(sweep(hosts, none, now_ns + time_ns - 1).changed);
        now_ns += time_ns;
        assert_true(sweep(hosts, none, now_ns).changed);
        assert_false(hosts[0].is_ejected);
    }
    for (unsigned i = 0; i < 5; i++)
        assert_false(sweep(hosts, none, now_ns).changed);
    assert_int_equal(hosts[0].ejections, 0);
    assert_true(eject(hosts, 0, UINT64_MAX - 1)); /* no overflow */
    assert_true(hosts[0].ejected_until_ns == UINT64_MAX);
}

static void a_verdict_is_carried_out_once(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    hosts[1].verdict = FG_OUTLIER_LATENCY;
    hosts[2].is_ejected = true; /* by errors in a row, since the judgement */
    hosts[2].ejected_until_ns = 20;
    hosts[2].verdict = FG_OUTLIER_RATIO;
    struct fg_outlier_change change = fg_outlier_apply(&conf, hosts, HOSTS, 10);
    assert_true(change.changed);
    assert_int_equal(change.ejected_count, 2);
    assert_int_equal(hosts[1].reason, FG_OUTLIER_LATENCY);
    assert_int_equal(hosts[2].reason, FG_OUTLIER_NONE);
    assert_true(fg_outlier_apply(&conf, hosts, HOSTS, 10 + 30 * S).changed);
    assert_false(fg_outlier_apply(&conf, hosts, HOSTS, 10 + 30 * S).changed);
    assert_false(hosts[1].is_ejected);
    assert_false(hosts[2].is_ejected);
}

static void the_error_ratio_needs_enough_requests(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample samples[HOSTS] = {
        {.answers = 9, .errors = 9, .error_instants = 9},
        {.answers = 10, .errors = 4, .error_instants = 4},
        {.answers = 10, .errors = 5, .error_instants = 3},
        {.answers = UINT64_MAX, .errors = 0},
        {.answers = 10, .errors = 10, .error_instants = 2}, /* a restart, and another */
    };
    struct fg_outlier_change change = sweep(hosts, samples, 0);
    assert_true(change.changed);
    assert_int_equal(change.ejected_count, 1);
    assert_true(hosts[2].is_ejected);
    assert_int_equal(hosts[2].reason, FG_OUTLIER_RATIO);
}

/* Answers of a host, in groups of one latency each. */
struct group {
    uint32_t count;
    uint64_t latency_ns;
};

static uint32_t latencies[HOSTS][FG_OUTLIER_BUCKETS];

static struct fg_outlier_sample sample_of(size_t host, struct group usual, struct group rest)
{
    memset(latencies[host], 0, sizeof(latencies[host]));
    latencies[host][fg_outlier_bucket(usual.latency_ns)] += usual.count;
    latencies[host][fg_outlier_bucket(rest.latency_ns)] += rest.count;
    return (struct fg_outlier_sample){.answers = usual.count + rest.count,
                                      .latencies = latencies[host]};
}

/* Is the last host ejected for its latency, with four beside it that take 10 ms? */
static bool is_slow(struct group usual, struct group rest)
{
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample samples[HOSTS];
    for (size_t i = 0; i + 1 < HOSTS; i++)
        samples[i] = sample_of(i, (struct group){100, 10 * MS}, (struct group){0});
    samples[HOSTS - 1] = sample_of(HOSTS - 1, usual, rest);
    bool has_changed = sweep(hosts, samples, 0).changed;
    assert_int_equal(hosts[HOSTS - 1].is_ejected, has_changed);
    if (has_changed)
        assert_int_equal(hosts[HOSTS - 1].reason, FG_OUTLIER_LATENCY);
    return has_changed;
}

static void latency_is_judged_against_the_siblings(void **state)
{
    (void)state;
    const struct group none = {0, 0};
    assert_false(is_slow((struct group){100, 10 * MS}, none));
    assert_false(is_slow((struct group){100, 27 * MS}, none));
    assert_true(is_slow((struct group){100, 34 * MS}, none));
    assert_true(is_slow((struct group){100, UINT64_MAX}, none));
    assert_false(is_slow((struct group){9, 34 * MS}, none)); /* too few to judge by */
    assert_true(is_slow((struct group){10, 34 * MS}, none));
    assert_false(is_slow((struct group){100, 0}, none));
}

static void one_slow_answer_is_none_and_a_tail_is(void **state)
{
    (void)state;
    assert_false(is_slow((struct group){99, 10 * MS}, (struct group){1, 120 * S}));
    assert_false(is_slow((struct group){8, 10 * MS}, (struct group){4, 120 * S}));
    assert_true(is_slow((struct group){8, 10 * MS}, (struct group){5, 120 * S}));
    assert_false(is_slow((struct group){95, 10 * MS}, (struct group){5, 40 * MS}));
    assert_true(is_slow((struct group){85, 10 * MS}, (struct group){15, 40 * MS}));
}

static void slow_together_is_not_an_outlier(void **state)
{
    (void)state;
    static const uint64_t times_ns[HOSTS] = {1000 * MS, 900 * MS, 1100 * MS, 950 * MS, 990 * MS};
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample samples[HOSTS];
    for (size_t i = 0; i < HOSTS; i++)
        samples[i] = sample_of(i, (struct group){100, times_ns[i]}, (struct group){0});
    assert_false(sweep(hosts, samples, 0).changed);
    /* Two hosts: nobody to compare with. */
    struct fg_outlier_sample two[HOSTS] = {{0}};
    two[0] = sample_of(0, (struct group){100, S}, (struct group){0});
    two[1] = sample_of(1, (struct group){100, MS}, (struct group){0});
    assert_false(sweep(hosts, two, 0).changed);
    /* Three, of which the others' median is the slower of two. */
    two[2] = sample_of(2, (struct group){100, MS}, (struct group){0});
    assert_true(sweep(hosts, two, 0).changed);
    assert_true(hosts[0].is_ejected);
    assert_int_equal(sweep(hosts, two, 0).ejected_count, 1);
}

static void each_latency_has_a_count_and_none_is_beyond(void **state)
{
    (void)state;
    size_t last = 0;
    assert_int_equal(fg_outlier_bucket(0), 0);
    for (uint64_t ns = 1; ns < UINT64_MAX / 2; ns += ns / 16 + 1) {
        size_t bucket = fg_outlier_bucket(ns);
        assert_in_range(bucket, last, last + 1);
        last = bucket;
    }
    assert_int_equal(last, FG_OUTLIER_BUCKETS - 1);
    assert_int_equal(fg_outlier_bucket(UINT64_MAX), FG_OUTLIER_BUCKETS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cap_and_the_last_host_are_kept),
        cmocka_unit_test(ejections_grow_and_shrink),
        cmocka_unit_test(a_verdict_is_carried_out_once),
        cmocka_unit_test(the_error_ratio_needs_enough_requests),
        cmocka_unit_test(latency_is_judged_against_the_siblings),
        cmocka_unit_test(one_slow_answer_is_none_and_a_tail_is),
        cmocka_unit_test(slow_together_is_not_an_outlier),
        cmocka_unit_test(each_latency_has_a_count_and_none_is_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
