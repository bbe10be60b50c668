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
                                      const struct fg_outlier_sample *samples, uint64_t now_ns)
{
    uint64_t scratch[HOSTS];
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
    const struct fg_outlier_sample none[HOSTS] = {{0}};
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

static void latency_is_judged_against_the_siblings(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample samples[HOSTS];
    for (size_t i = 0; i < HOSTS; i++)
        samples[i] = (struct fg_outlier_sample){.answers = 100, .latency_sum_ns = 100 * 10 * MS};
    assert_false(sweep(hosts, samples, 0).changed);
    samples[4].latency_sum_ns = 100 * 29 * MS;
    assert_false(sweep(hosts, samples, 0).changed);
    samples[4].latency_sum_ns = 100 * 31 * MS;
    assert_true(sweep(hosts, samples, 0).changed);
    assert_true(hosts[4].is_ejected);
    assert_int_equal(hosts[4].reason, FG_OUTLIER_LATENCY);
}

static void slow_together_is_not_an_outlier(void **state)
{
    (void)state;
    struct fg_outlier_host hosts[HOSTS] = {{0}};
    struct fg_outlier_sample samples[HOSTS] = {{.answers = 100, .latency_sum_ns = 100 * S},
                                               {.answers = 100, .latency_sum_ns = 90 * S},
                                               {.answers = 100, .latency_sum_ns = 110 * S},
                                               {.answers = 100, .latency_sum_ns = 95 * S},
                                               {.answers = 100, .latency_sum_ns = 99 * S}};
    assert_false(sweep(hosts, samples, 0).changed);
    /* Two hosts: nobody to compare with. */
    struct fg_outlier_sample two[HOSTS] = {{.answers = 100, .latency_sum_ns = 100 * S},
                                           {.answers = 100, .latency_sum_ns = 1 * MS}};
    assert_false(sweep(hosts, two, 0).changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cap_and_the_last_host_are_kept),
        cmocka_unit_test(ejections_grow_and_shrink),
        cmocka_unit_test(the_error_ratio_needs_enough_requests),
        cmocka_unit_test(latency_is_judged_against_the_siblings),
        cmocka_unit_test(slow_together_is_not_an_outlier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
