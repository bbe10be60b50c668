/*
 * test_overload.c: thresholds, hysteresis, holding, and who is refused at which level.
 */
#include "policies/overload.h"
#include "policy_test.h"

static enum fg_overload_level memory_at(struct fg_overload *ov, uint64_t now_ns, uint64_t permille)
{
    struct fg_overload_sample sample = {.memory_bytes = permille, .memory_limit_bytes = 1000};
    return fg_overload_update(ov, now_ns, &sample);
}

static void goes_up_at_the_exact_threshold(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    fg_overload_init(&ov, &config, 0);
    assert_int_equal(memory_at(&ov, 1, 799), FG_OVERLOAD_NORMAL);
    assert_int_equal(memory_at(&ov, 2, 800), FG_OVERLOAD_ELEVATED);
    assert_int_equal(memory_at(&ov, 3, 960), FG_OVERLOAD_CRITICAL); /* may skip a level */
    assert_int_equal(ov.reason, FG_OVERLOAD_MEMORY);
    assert_int_equal(ov.raised_total, 2);
    assert_int_equal(memory_at(&ov, 4, 5000), FG_OVERLOAD_CRITICAL);
    assert_int_equal(ov.pressure_permille[FG_OVERLOAD_MEMORY], 1000);
}

static void comes_down_a_step_at_a_time_after_holding(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    fg_overload_init(&ov, &config, 0);
    memory_at(&ov, 0, 1000);
    assert_int_equal(memory_at(&ov, 2 * S, 900), FG_OVERLOAD_CRITICAL); /* not below leave */
    assert_int_equal(memory_at(&ov, 2 * S, 899), FG_OVERLOAD_HIGH);
    assert_int_equal(memory_at(&ov, 3 * S - 1, 0), FG_OVERLOAD_HIGH); /* held */
    assert_int_equal(memory_at(&ov, 3 * S, 0), FG_OVERLOAD_ELEVATED);
    assert_int_equal(memory_at(&ov, 4 * S, 0), FG_OVERLOAD_NORMAL); /* always recovers */
}

static void refuses_by_class(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    static const uint64_t pressures[] = {0, 800, 900, 960};
    for (unsigned level = 0; level < FG_OVERLOAD_LEVEL_COUNT; level++) {
        fg_overload_init(&ov, &config, 0);
        assert_int_equal(memory_at(&ov, 0, pressures[level]), level);
        for (unsigned class = 0; class < FG_PRIORITY_COUNT; class ++) {
            struct fg_overload_decision decision =
                fg_overload_decide(&ov, (enum fg_priority) class);
            assert_int_equal(decision.is_admitted, class + level <= 3);
            if (!decision.is_admitted)
                assert_int_equal(decision.retry_after_ns, S << (level - 1));
        }
        assert_int_equal(ov.refused_total[FG_OVERLOAD_MEMORY], level);
        assert_int_equal(fg_overload_accepts_connections(&ov), level < 3);
        assert_int_equal(fg_overload_keeps_alive(&ov), level == 0);
    }
}

static void the_worst_resource_is_the_reason(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    struct fg_overload_sample sample = {
        .memory_bytes = 1, .memory_limit_bytes = 2, .fds = 91, .fds_limit = 100};
    fg_overload_init(&ov, &config, 0);
    assert_int_equal(fg_overload_update(&ov, 0, &sample), FG_OVERLOAD_HIGH);
    struct fg_overload_decision decision = fg_overload_decide(&ov, FG_PRIORITY_LOW);
    assert_int_equal(decision.reason, FG_OVERLOAD_FDS);
    sample.fds = 0; /* held: memory is now the higher of the two, but did not cause it */
    fg_overload_update(&ov, 1, &sample);
    decision = fg_overload_decide(&ov, FG_PRIORITY_LOW);
    assert_int_equal(decision.reason, FG_OVERLOAD_FDS);
}

static void loop_lag_is_smoothed(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default(); /* limit 200 ms, weight 1/4 */
    struct fg_overload ov;
    struct fg_overload_sample slow = {.loop_lag_ns = 200 * MS};
    struct fg_overload_sample quick = {.loop_lag_ns = 0};
    fg_overload_init(&ov, &config, 0);
    assert_int_equal(fg_overload_update(&ov, 0, &slow), FG_OVERLOAD_NORMAL);
    assert_int_equal(ov.loop_lag_mean_ns, 50 * MS);
    fg_overload_update(&ov, 0, &quick);
    assert_int_equal(ov.loop_lag_mean_ns, 37500 * FG_POLICY_US);
    for (uint64_t i = 0; i < 30; i++)
        fg_overload_update(&ov, i, &slow);
    assert_int_equal(ov.level, FG_OVERLOAD_CRITICAL);
    assert_int_equal(ov.reason, FG_OVERLOAD_LOOP_LAG);
}

static void odd_settings_and_clocks(void **state)
{
    (void)state;
    struct fg_overload_config config = fg_overload_config_default();
    config.loop_lag_limit_ns = 0;
    config.retry_after_ns = UINT64_MAX;
    config.loop_lag_weight_permille = 1000;
    struct fg_overload ov;
    struct fg_overload_sample blind = {.memory_bytes = UINT64_MAX, .loop_lag_ns = UINT64_MAX};
    fg_overload_init(&ov, &config, 100 * YEAR);
    assert_int_equal(fg_overload_update(&ov, 0, &blind), FG_OVERLOAD_NORMAL); /* not watched */
    struct fg_overload_sample most = {.memory_bytes = UINT64_MAX, .memory_limit_bytes = UINT64_MAX};
    assert_int_equal(fg_overload_update(&ov, 100 * YEAR, &most), FG_OVERLOAD_CRITICAL);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_HIGH).retry_after_ns == UINT64_MAX);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_CRITICAL).is_admitted);
    assert_int_equal(memory_at(&ov, 0, 0), FG_OVERLOAD_CRITICAL); /* back: hold from here */
    assert_int_equal(memory_at(&ov, S, 0), FG_OVERLOAD_HIGH);
    assert_string_equal(fg_overload_level_name(FG_OVERLOAD_ELEVATED), "elevated");
    assert_string_equal(fg_overload_resource_name(FG_OVERLOAD_LOOP_LAG), "loop_lag");
}

static void does_not_flap_between_thresholds(void **state)
{
    (void)state;
    uint64_t seed = test_seed(8);
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    fg_overload_init(&ov, &config, 0);
    memory_at(&ov, 0, 850);
    for (uint64_t i = 1; i < 10000; i++)
        assert_int_equal(memory_at(&ov, i * 100 * MS, 700 + test_below(&seed, 200)),
                         FG_OVERLOAD_ELEVATED);
    assert_int_equal(ov.raised_total, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_up_at_the_exact_threshold),
        cmocka_unit_test(comes_down_a_step_at_a_time_after_holding),
        cmocka_unit_test(refuses_by_class),
        cmocka_unit_test(the_worst_resource_is_the_reason),
        cmocka_unit_test(loop_lag_is_smoothed),
        cmocka_unit_test(odd_settings_and_clocks),
        cmocka_unit_test(does_not_flap_between_thresholds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
