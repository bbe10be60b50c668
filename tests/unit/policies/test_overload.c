/*
 * test_overload.c: bands, hysteresis, holding, who is refused, and that it always ends.
 */
#include "policies/overload.h"
#include "policy_test.h"

#define BIT(step) (UINT32_C(1) << (step))
#define PROCESS FG_OVERLOAD_USES_PROCESS

static void memory_at(struct fg_overload *ov, uint64_t now_ns, uint64_t permille)
{
    struct fg_overload_sample sample = {.of = {[FG_OVERLOAD_MEMORY] = {permille, 1000}}};
    fg_overload_update(ov, now_ns, &sample);
}

static struct fg_overload made(void)
{
    struct fg_overload_config config = fg_overload_config_default();
    struct fg_overload ov;
    fg_overload_init(&ov, &config);
    return ov;
}

/* Of memory alone: low at 800/700, normal at 900/800, high and connections at 960/900. */
static struct fg_overload made_plain(void)
{
    struct fg_overload_config config = fg_overload_config_default();
    memset(config.ladder, 0, sizeof(config.ladder));
    struct fg_overload_band *bands = config.ladder[FG_OVERLOAD_MEMORY];
    bands[FG_OVERLOAD_SHED_LOW] = (struct fg_overload_band){800, 700};
    bands[FG_OVERLOAD_SHED_NORMAL] = (struct fg_overload_band){900, 800};
    bands[FG_OVERLOAD_SHED_HIGH] = (struct fg_overload_band){960, 900};
    bands[FG_OVERLOAD_REFUSE_CONNECTIONS] = (struct fg_overload_band){960, 900};
    struct fg_overload ov;
    fg_overload_init(&ov, &config);
    return ov;
}

#define LOW BIT(FG_OVERLOAD_SHED_LOW)
#define NORMAL (LOW | BIT(FG_OVERLOAD_SHED_NORMAL))
#define ALL (NORMAL | BIT(FG_OVERLOAD_SHED_HIGH) | BIT(FG_OVERLOAD_REFUSE_CONNECTIONS))

static void a_step_is_taken_at_the_exact_threshold(void **state)
{
    (void)state;
    struct fg_overload ov = made_plain();
    memory_at(&ov, 1, 799);
    assert_int_equal(fg_overload_steps(&ov), 0);
    memory_at(&ov, 2, 800);
    assert_int_equal(fg_overload_steps(&ov), LOW);
    memory_at(&ov, 3, 960); /* may skip some */
    assert_int_equal(fg_overload_steps(&ov), ALL);
    memory_at(&ov, 4, 5000);
    assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].pressure_permille, 1000);
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++)
        assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].entered_total[i], (ALL >> i) & 1);
}

static void rungs_are_given_up_one_by_one(void **state)
{
    (void)state;
    struct fg_overload ov = made_plain();
    memory_at(&ov, 0, 1000);
    memory_at(&ov, 2 * S, 900); /* not below its threshold */
    assert_int_equal(fg_overload_steps(&ov), ALL);
    memory_at(&ov, 3 * S - 1, 899); /* below it, but not for long enough */
    assert_int_equal(fg_overload_steps(&ov), ALL);
    memory_at(&ov, 3 * S, 899); /* both steps of the rung */
    assert_int_equal(fg_overload_steps(&ov), NORMAL);
    memory_at(&ov, 4 * S - 1, 0); /* the next one is held as long again */
    assert_int_equal(fg_overload_steps(&ov), NORMAL);
    memory_at(&ov, 4 * S, 0);
    assert_int_equal(fg_overload_steps(&ov), LOW);
    memory_at(&ov, 5 * S, 0);
    assert_int_equal(fg_overload_steps(&ov), 0);
}

static void a_peak_begins_the_hold_anew(void **state)
{
    (void)state;
    struct fg_overload ov = made_plain();
    memory_at(&ov, 0, 850);
    memory_at(&ov, S / 2, 100);
    memory_at(&ov, S, 700); /* at the threshold is not below */
    memory_at(&ov, S + S / 2, 100);
    assert_int_equal(fg_overload_steps(&ov), LOW);
    memory_at(&ov, 2 * S, 100);
    assert_int_equal(fg_overload_steps(&ov), 0);
}

static void without_hold_a_rung_goes_with_each_sample(void **state)
{
    (void)state;
    struct fg_overload_config config = made_plain().config;
    struct fg_overload ov;
    config.hold_ns = 0;
    fg_overload_init(&ov, &config);
    memory_at(&ov, 7, 1000);
    memory_at(&ov, 7, 0);
    assert_int_equal(fg_overload_steps(&ov), NORMAL);
    memory_at(&ov, 7, 0);
    memory_at(&ov, 7, 0);
    assert_int_equal(fg_overload_steps(&ov), 0);
}

static void a_band_may_be_a_point_and_a_step_may_be_off(void **state)
{
    (void)state;
    struct fg_overload_config config = made_plain().config;
    config.ladder[FG_OVERLOAD_MEMORY][FG_OVERLOAD_SHED_LOW] = (struct fg_overload_band){1, 1};
    config.ladder[FG_OVERLOAD_MEMORY][FG_OVERLOAD_SHED_NORMAL] = (struct fg_overload_band){0, 0};
    config.hold_ns = 0;
    struct fg_overload ov;
    fg_overload_init(&ov, &config);
    memory_at(&ov, 0, 1);
    assert_int_equal(fg_overload_steps(&ov), LOW);
    memory_at(&ov, 0, 0);
    assert_int_equal(fg_overload_steps(&ov), 0);
    memory_at(&ov, 0, 1000);
    assert_int_equal(fg_overload_steps(&ov) & BIT(FG_OVERLOAD_SHED_NORMAL), 0);
    assert_false(
        fg_overload_decide(&ov, FG_PRIORITY_NORMAL, PROCESS).is_admitted); /* high goes: so it */
}

static void refuses_by_class(void **state)
{
    (void)state;
    static const uint64_t pressures[] = {0, 800, 900, 960};
    for (unsigned level = 0; level < FG_OVERLOAD_LEVEL_COUNT; level++) {
        struct fg_overload ov = made_plain();
        memory_at(&ov, 0, pressures[level]);
        assert_int_equal(fg_overload_level_of(fg_overload_steps(&ov)), level);
        assert_int_equal(fg_overload_sheds(fg_overload_steps(&ov)), level > 0);
        for (unsigned class = 0; class < FG_PRIORITY_COUNT; class ++) {
            struct fg_overload_decision decision =
                fg_overload_decide(&ov, (enum fg_priority) class, PROCESS);
            assert_int_equal(decision.is_admitted, class + level <= 3);
            if (decision.is_admitted)
                continue;
            assert_int_equal(decision.retry_after_ns, S << (level - 1));
            assert_int_equal(decision.step, FG_OVERLOAD_SHED_LOW + FG_PRIORITY_LOW - class);
            assert_int_equal(decision.limit_permille, pressures[FG_PRIORITY_COUNT - class]);
        }
        assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].refused_total, level);
    }
}

static void the_worst_resource_that_refuses_is_the_reason(void **state)
{
    (void)state;
    struct fg_overload ov = made();
    struct fg_overload_sample sample = {
        .of = {[FG_OVERLOAD_MEMORY] = {1, 2}, [FG_OVERLOAD_FDS] = {93, 100}}};
    fg_overload_update(&ov, 0, &sample);
    struct fg_overload_decision decision = fg_overload_decide(&ov, FG_PRIORITY_LOW, PROCESS);
    assert_int_equal(decision.reason, FG_OVERLOAD_FDS);
    assert_int_equal(decision.pressure_permille, 930);
    sample.of[FG_OVERLOAD_FDS].used = 0; /* held: memory is now higher, but refuses nobody */
    fg_overload_update(&ov, 1, &sample);
    decision = fg_overload_decide(&ov, FG_PRIORITY_LOW, PROCESS);
    assert_int_equal(decision.reason, FG_OVERLOAD_FDS);
    sample.of[FG_OVERLOAD_MEMORY].used = 2;
    fg_overload_update(&ov, 2, &sample);
    assert_int_equal(fg_overload_decide(&ov, FG_PRIORITY_LOW, PROCESS).reason, FG_OVERLOAD_MEMORY);
}

static void resources_do_not_hold_each_other_up(void **state)
{
    (void)state;
    struct fg_overload ov = made();
    struct fg_overload_sample sample = {
        .of = {[FG_OVERLOAD_MEMORY] = {100, 100}, [FG_OVERLOAD_FDS] = {85, 100}}};
    fg_overload_update(&ov, 0, &sample);
    sample.of[FG_OVERLOAD_MEMORY].used = 0;
    for (uint64_t i = 1; i <= 10; i++)
        fg_overload_update(&ov, i * S, &sample);
    assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].steps, 0);
    assert_int_not_equal(ov.resources[FG_OVERLOAD_FDS].steps, 0);
}

static void loop_lag_is_smoothed(void **state)
{
    (void)state;
    struct fg_overload ov = made(); /* weight 1/4 */
    struct fg_overload_sample slow = {.of = {[FG_OVERLOAD_LOOP_LAG] = {200 * MS, 200 * MS}}};
    struct fg_overload_sample quick = {.of = {[FG_OVERLOAD_LOOP_LAG] = {0, 200 * MS}}};
    const struct fg_overload_state *lag = &ov.resources[FG_OVERLOAD_LOOP_LAG];
    fg_overload_update(&ov, 0, &slow);
    assert_int_equal(lag->mean_used, 50 * MS);
    assert_int_equal(lag->pressure_permille, 250);
    fg_overload_update(&ov, 0, &quick);
    assert_int_equal(lag->mean_used, 37500 * FG_POLICY_US - 1); /* down is rounded up */
    for (uint64_t i = 0; i < 30; i++)
        fg_overload_update(&ov, i, &slow);
    assert_int_equal(fg_overload_level_of(fg_overload_steps(&ov)), FG_OVERLOAD_CRITICAL);
    assert_int_equal(fg_overload_decide(&ov, FG_PRIORITY_LOW, PROCESS).reason,
                     FG_OVERLOAD_LOOP_LAG);
    /* Closing connections would bring handshakes upon a loop that is late already. */
    assert_int_equal(lag->steps & BIT(FG_OVERLOAD_STOP_KEEP_ALIVE), 0);
}

static void one_freak_sample_is_no_overload(void **state)
{
    (void)state;
    struct fg_overload ov = made();
    struct fg_overload_sample freak = {.of = {[FG_OVERLOAD_LOOP_LAG] = {UINT64_MAX, 200 * MS}}};
    fg_overload_update(&ov, 0, &freak);
    assert_int_equal(ov.resources[FG_OVERLOAD_LOOP_LAG].pressure_permille, 250);
    assert_int_equal(fg_overload_steps(&ov), 0);
}

static void nobody_is_shed_for_what_he_does_not_use(void **state)
{
    (void)state;
    struct fg_overload ov = made();
    struct fg_overload_sample sample = {.of = {[FG_OVERLOAD_KV_BLOCKS] = {100, 100}}};
    fg_overload_update(&ov, 0, &sample);
    uint32_t chat = PROCESS | FG_OVERLOAD_USES_KV;
    uint32_t order = PROCESS | FG_OVERLOAD_USES_REDIS;
    struct fg_overload_decision decision = fg_overload_decide(&ov, FG_PRIORITY_LOW, chat);
    assert_false(decision.is_admitted);
    assert_int_equal(decision.reason, FG_OVERLOAD_KV_BLOCKS);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_LOW, order).is_admitted);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_LOW, PROCESS).is_admitted);
    assert_int_equal(fg_overload_steps_for(&ov, PROCESS), 0);
    assert_int_equal(fg_overload_steps_for(&ov, chat), fg_overload_steps(&ov));
}

static void an_admitted_one_is_told_how_near_it_was(void **state)
{
    (void)state;
    struct fg_overload ov = made();
    struct fg_overload_sample sample = {
        .of = {[FG_OVERLOAD_FDS] = {60, 100}, [FG_OVERLOAD_MEMORY] = {80, 100}}};
    fg_overload_update(&ov, 0, &sample);
    struct fg_overload_decision decision = fg_overload_decide(&ov, FG_PRIORITY_NORMAL, PROCESS);
    assert_true(decision.is_admitted);
    assert_int_equal(decision.reason, FG_OVERLOAD_MEMORY);
    assert_int_equal(decision.pressure_permille, 800);
    assert_int_equal(decision.limit_permille, 920); /* shed_normal; shed_high would be later */
    decision = fg_overload_decide(&ov, FG_PRIORITY_CRITICAL, PROCESS);
    assert_int_equal(decision.limit_permille, 0);
    assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].refused_total, 0);
}

static void odd_settings_and_clocks(void **state)
{
    (void)state;
    struct fg_overload_config config = made_plain().config;
    config.retry_after_ns = UINT64_MAX;
    struct fg_overload ov;
    fg_overload_init(&ov, &config);
    struct fg_overload_sample blind = {
        .of = {[FG_OVERLOAD_MEMORY] = {UINT64_MAX, 0}, [FG_OVERLOAD_LOOP_LAG] = {UINT64_MAX, 0}}};
    fg_overload_update(&ov, 0, &blind);
    assert_int_equal(fg_overload_steps(&ov), 0); /* not watched */
    struct fg_overload_sample most = {.of = {[FG_OVERLOAD_MEMORY] = {UINT64_MAX, UINT64_MAX}}};
    fg_overload_update(&ov, 100 * YEAR, &most);
    assert_int_equal(fg_overload_steps(&ov), ALL);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_HIGH, PROCESS).retry_after_ns == UINT64_MAX);
    assert_true(fg_overload_decide(&ov, FG_PRIORITY_CRITICAL, PROCESS).is_admitted);
    memory_at(&ov, 0, 0); /* back by years: held from here */
    assert_int_equal(fg_overload_steps(&ov), ALL);
    memory_at(&ov, S, 0);
    assert_int_equal(fg_overload_steps(&ov), NORMAL);
    memory_at(&ov, 100 * YEAR, 0); /* forward by years: one rung all the same */
    assert_int_equal(fg_overload_steps(&ov), LOW);
    fg_overload_update(&ov, UINT64_MAX, &blind); /* no longer watched is no pressure */
    assert_int_equal(fg_overload_steps(&ov), 0);
}

static void does_not_flap_between_thresholds(void **state)
{
    (void)state;
    uint64_t seed = test_seed(8);
    struct fg_overload ov = made_plain();
    memory_at(&ov, 0, 850);
    for (uint64_t i = 1; i < 10000; i++) {
        memory_at(&ov, i * 100 * MS, 700 + test_below(&seed, 200));
        assert_int_equal(fg_overload_steps(&ov), LOW);
    }
    assert_int_equal(ov.resources[FG_OVERLOAD_MEMORY].entered_total[FG_OVERLOAD_SHED_LOW], 1);
}

/*
 * Any ladder, any samples, any clock: once pressure is gone, no step is left after as many holds as
 * there are steps, and until then none is given up before its time.
 */
static void pressure_always_ends_with_its_cause(void **state)
{
    (void)state;
    uint64_t seed = test_seed(21);
    for (unsigned round = 0; round < 200; round++) {
        struct fg_overload_config config = fg_overload_config_default();
        for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
            config.weight_permille[r] = 1 + (uint32_t)test_below(&seed, 1000);
            for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
                uint32_t enter = (uint32_t)test_below(&seed, 1001);
                uint32_t leave = enter == 0 ? 0 : 1 + (uint32_t)test_below(&seed, enter);
                config.ladder[r][i] = (struct fg_overload_band){enter, leave};
            }
        }
        config.hold_ns = test_below(&seed, 3 * S);
        struct fg_overload ov;
        fg_overload_init(&ov, &config);
        uint64_t now_ns = test_below(&seed, YEAR);
        struct fg_overload_sample sample;
        for (unsigned step = 0; step < 50; step++) {
            for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++)
                sample.of[r] =
                    (struct fg_overload_use){test_below(&seed, 1500), test_below(&seed, 1200)};
            now_ns = test_below(&seed, 20) == 0 ? now_ns / 2 : now_ns + test_below(&seed, S);
            fg_overload_update(&ov, now_ns, &sample);
        }
        for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++)
            sample.of[r].used = 0;
        /* A mean takes its time to forget: 1/1000 a sample at the slowest. */
        for (unsigned i = 0; i < 2000; i++)
            fg_overload_update(&ov, now_ns, &sample);
        for (unsigned i = 0; i <= FG_OVERLOAD_STEP_COUNT; i++) {
            now_ns += config.hold_ns;
            fg_overload_update(&ov, now_ns, &sample);
        }
        assert_int_equal(fg_overload_steps(&ov), 0);
    }
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++)
        assert_non_null(fg_overload_step_name((enum fg_overload_step)i));
    for (unsigned i = 0; i < FG_OVERLOAD_RESOURCE_COUNT; i++)
        assert_non_null(fg_overload_resource_name((enum fg_overload_resource)i));
    assert_string_equal(fg_overload_level_name(FG_OVERLOAD_ELEVATED), "elevated");
    assert_string_equal(fg_overload_resource_name(FG_OVERLOAD_LOOP_LAG), "loop_lag");
    assert_string_equal(fg_overload_policy_name(FG_OVERLOAD_KV_BLOCKS), "overload.kv_blocks");
    assert_string_equal(fg_overload_step_name(FG_OVERLOAD_REFUSE_CONNECTIONS),
                        "refuse_connections");
}

#define ONE UINT64_C(0x0000000100000002)
#define OTHER UINT64_C(0x0000000300000004)

/* A loop is late, or memory is short as well: normal requests are shed. */
static struct fg_overload made_late(uint64_t memory_permille)
{
    struct fg_overload_config config = fg_overload_config_default();
    config.weight_permille[FG_OVERLOAD_LOOP_LAG] = 1000;
    struct fg_overload ov;
    fg_overload_init(&ov, &config);
    struct fg_overload_sample sample = {
        .of = {
            [FG_OVERLOAD_LOOP_LAG] = {930, 1000}, [FG_OVERLOAD_MEMORY] = {memory_permille, 1000}}};
    fg_overload_update(&ov, 1, &sample);
    return ov;
}

static bool is_let_in(struct fg_overload *ov, uint64_t owner)
{
    return fg_overload_decide_for(ov, FG_PRIORITY_NORMAL, PROCESS, owner).is_admitted;
}

/* How many of `count` are let in, while ONE asks `rate` times for each of them. */
static unsigned let_in_beside(struct fg_overload *ov, unsigned count, unsigned rate)
{
    unsigned let_in = 0;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned n = 0; n < rate; n++)
            assert_false(is_let_in(ov, ONE));
        let_in += is_let_in(ov, OTHER + i);
    }
    return let_in;
}

static void who_floods_a_late_loop_is_shed_alone(void **state)
{
    (void)state;
    struct fg_overload ov = made_late(0);
    assert_int_equal(let_in_beside(&ov, 3, 100), 0); /* before it was known */
    assert_int_equal(let_in_beside(&ov, 200, 100), 200);
    assert_true(ov.resources[FG_OVERLOAD_LOOP_LAG].refused_total > 20000);
    assert_false(is_let_in(&ov, ONE));
}

static void a_flood_by_many_addresses_is_one(void **state)
{
    (void)state;
    struct fg_overload ov = made_late(0);
    unsigned let_in = 0;
    for (unsigned round = 0; round < 1000; round++) {
        for (uint64_t one = 1; one <= 64; one++)
            assert_false(is_let_in(&ov, one << 32 | one));
        if (round % 8 == 0)
            let_in += is_let_in(&ov, UINT64_C(200) << 32 | 200);
    }
    assert_true(let_in > 100); /* of 125: not before it is known who floods */
}

static void newcomers_beside_a_flood_are_spared(void **state)
{
    (void)state;
    const enum fg_overload_step step = FG_OVERLOAD_RESUME_ONLY;
    struct fg_overload ov = made_late(0);
    assert_false(fg_overload_spares(&ov, step, OTHER)); /* nobody floods */
    for (unsigned n = 0; n < 400; n++)
        assert_false(is_let_in(&ov, ONE)); /* by requests */
    assert_true(fg_overload_spares(&ov, step, OTHER));
    assert_false(fg_overload_spares(&ov, step, ONE));
    assert_false(fg_overload_spares(&ov, FG_OVERLOAD_REFUSE_CONNECTIONS, OTHER)); /* not taken */
    ov = made_late(0);
    for (unsigned n = 0; n < 400; n++)
        assert_false(fg_overload_spares(&ov, step, ONE)); /* by connections */
    assert_true(fg_overload_spares(&ov, step, OTHER));
    assert_true(is_let_in(&ov, OTHER));
    ov.resources[FG_OVERLOAD_MEMORY].steps = UINT32_C(1) << step; /* that is what they hold */
    assert_false(fg_overload_spares(&ov, step, OTHER));
}

static void those_who_are_the_load_are_shed_all(void **state)
{
    (void)state;
    struct fg_overload ov = made_late(0);
    for (unsigned i = 0; i < 1000; i++) /* many, none of whom floods */
        assert_false(is_let_in(&ov, OTHER + i));
    ov = made_late(0);
    assert_int_equal(let_in_beside(&ov, 1000, 1), 0); /* to serve them is four times as much */
    ov = made_late(0);
    for (unsigned i = 0; i < 1000; i++) /* nobody knows whose they are */
        assert_false(is_let_in(&ov, 0));
}

static void other_resources_are_shed_for_by_all(void **state)
{
    (void)state;
    struct fg_overload ov = made_late(930);
    assert_int_equal(let_in_beside(&ov, 200, 100), 0);
}

static void who_asked_is_forgotten(void **state)
{
    (void)state;
    struct fg_overload ov = made_late(0);
    assert_int_equal(let_in_beside(&ov, 200, 100), 197);
    struct fg_overload_sample sample = {.of = {[FG_OVERLOAD_LOOP_LAG] = {930, 1000}}};
    for (unsigned i = 0; i < 200; i++)
        fg_overload_update(&ov, 2 + i, &sample);
    assert_int_equal(ov.askers.asked, 0);
    assert_false(is_let_in(&ov, OTHER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_taken_at_the_exact_threshold),
        cmocka_unit_test(rungs_are_given_up_one_by_one),
        cmocka_unit_test(a_peak_begins_the_hold_anew),
        cmocka_unit_test(without_hold_a_rung_goes_with_each_sample),
        cmocka_unit_test(a_band_may_be_a_point_and_a_step_may_be_off),
        cmocka_unit_test(refuses_by_class),
        cmocka_unit_test(the_worst_resource_that_refuses_is_the_reason),
        cmocka_unit_test(resources_do_not_hold_each_other_up),
        cmocka_unit_test(loop_lag_is_smoothed),
        cmocka_unit_test(one_freak_sample_is_no_overload),
        cmocka_unit_test(nobody_is_shed_for_what_he_does_not_use),
        cmocka_unit_test(an_admitted_one_is_told_how_near_it_was),
        cmocka_unit_test(odd_settings_and_clocks),
        cmocka_unit_test(does_not_flap_between_thresholds),
        cmocka_unit_test(pressure_always_ends_with_its_cause),
        cmocka_unit_test(everything_has_a_name),
        cmocka_unit_test(who_floods_a_late_loop_is_shed_alone),
        cmocka_unit_test(a_flood_by_many_addresses_is_one),
        cmocka_unit_test(newcomers_beside_a_flood_are_spared),
        cmocka_unit_test(those_who_are_the_load_are_shed_all),
        cmocka_unit_test(other_resources_are_shed_for_by_all),
        cmocka_unit_test(who_asked_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
