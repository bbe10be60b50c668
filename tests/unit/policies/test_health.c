/*
 * test_health.c: rise, fall, and the time between checks.
 */
#include "policies/health.h"
#include "policy_test.h"

static const struct fg_health_conf conf = {
    .interval_ns = 1000, .jitter_permille = 100, .healthy_after = 2, .unhealthy_after = 3};

static void the_first_check_decides(void **state)
{
    (void)state;
    struct fg_health health = {0};
    assert_true(fg_health_note(&health, &conf, false));
    assert_int_equal(health.state, FG_HEALTH_UNHEALTHY);
    health = (struct fg_health){0};
    assert_true(fg_health_note(&health, &conf, true));
    assert_int_equal(health.state, FG_HEALTH_HEALTHY);
}

static void a_change_takes_checks_in_a_row(void **state)
{
    (void)state;
    struct fg_health health = {.state = FG_HEALTH_HEALTHY};
    assert_false(fg_health_note(&health, &conf, false));
    assert_false(fg_health_note(&health, &conf, false));
    assert_false(fg_health_note(&health, &conf, true)); /* the row is broken */
    assert_false(fg_health_note(&health, &conf, false));
    assert_false(fg_health_note(&health, &conf, false));
    assert_true(fg_health_note(&health, &conf, false));
    assert_int_equal(health.state, FG_HEALTH_UNHEALTHY);
    assert_false(fg_health_note(&health, &conf, true));
    assert_true(fg_health_note(&health, &conf, true));
    assert_int_equal(health.state, FG_HEALTH_HEALTHY);
    assert_int_equal(health.good_total + health.bad_total, 8);
}

static void the_pause_is_the_interval_and_some_jitter(void **state)
{
    (void)state;
    uint64_t seed = test_seed(7);
    for (unsigned i = 0; i < 1000; i++)
        assert_in_range(fg_health_pause_ns(&conf, test_random(&seed)), 1000, 1100);
    const struct fg_health_conf longest = {.interval_ns = UINT64_MAX, .jitter_permille = 1000};
    assert_true(fg_health_pause_ns(&longest, 12345) == UINT64_MAX);
    const struct fg_health_conf steady = {.interval_ns = 5};
    assert_int_equal(fg_health_pause_ns(&steady, 99), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_check_decides),
        cmocka_unit_test(a_change_takes_checks_in_a_row),
        cmocka_unit_test(the_pause_is_the_interval_and_some_jitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
