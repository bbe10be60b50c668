/*
 * test_overload_shared.c: one thread samples, others ask and act, and one looks at the figures.
 */
#include "pipeline/overload_shared.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define LOOKS 2000
#define ASKERS 3

static struct fg_overload_shared *overload;
static struct fg_flag is_over;
static const struct fg_siphash_key key; /* any will do */

static struct fg_config config_of(bool is_shadow)
{
    struct fg_config config = {.overload = {.memory_bytes_max = UINT64_C(1) << 50,
                                            .loop_lag_max_ns = 100 * FG_MS,
                                            .cgroup_root = "/nowhere",
                                            .idle_permille = 200,
                                            .streams_max = 10,
                                            .tokens_max = 100,
                                            .is_shadow = is_shadow},
                               .limits = {.connections_max = 400}};
    struct fg_overload_band *bands = config.overload.ladder[FG_OVERLOAD_HANDSHAKES];
    bands[FG_OVERLOAD_RESUME_ONLY] = (struct fg_overload_band){400, 300};
    bands[FG_OVERLOAD_SHED_LOW] = (struct fg_overload_band){500, 400};
    config.overload.ladder[FG_OVERLOAD_KV_BLOCKS][FG_OVERLOAD_SHED_LOW] =
        (struct fg_overload_band){900, 800};
    return config;
}

static void look(uint64_t handshakes, uint64_t blocks)
{
    struct fg_overload_sample sample = {
        .of = {
            [FG_OVERLOAD_HANDSHAKES] = {handshakes, 0}, [FG_OVERLOAD_KV_BLOCKS] = {blocks, 100}}};
    fg_overload_shared_sample(overload, fg_clock_monotonic_ns(), &sample);
}

static bool admits_low(uint32_t uses)
{
    return fg_overload_shared_decide(overload, FG_PRIORITY_LOW, uses, 0).is_admitted;
}

static void steps_are_published_but_for_those_of_one_backend(void **state)
{
    (void)state;
    struct fg_config config = config_of(false);
    overload = fg_overload_shared_create(&config, &key);
    assert_non_null(overload);
    struct fg_pressure *pressure = fg_overload_shared_pressure(overload);
    assert_int_equal(pressure->tokens_max, 100);
    look(0, 90);
    assert_false(fg_pressure_sheds(pressure)); /* whoever does not go there may even try again */
    assert_true(admits_low(FG_OVERLOAD_USES_PROCESS));
    assert_false(admits_low(FG_OVERLOAD_USES_PROCESS | FG_OVERLOAD_USES_KV));
    look(50, 0); /* of 101: a quarter of the connections and one more */
    assert_true(fg_pressure_asks(pressure, FG_OVERLOAD_RESUME_ONLY));
    assert_false(fg_pressure_asks(pressure, FG_OVERLOAD_SHED_LOW));
    look(51, 0);
    assert_true(fg_pressure_sheds(pressure));
    assert_false(admits_low(FG_OVERLOAD_USES_PROCESS));
    assert_int_equal(fg_counter_get(&pressure->acted[FG_OVERLOAD_SHED_LOW]), 2);
    look(0, 0); /* without hold each look gives a rung up */
    look(0, 0);
    assert_int_equal(fg_counter_get(&pressure->steps), 0);
    fg_overload_shared_destroy(overload);
}

static void in_shadow_nobody_hears_of_a_step(void **state)
{
    (void)state;
    struct fg_config config = config_of(true);
    overload = fg_overload_shared_create(&config, &key);
    look(101, 100);
    struct fg_pressure *pressure = fg_overload_shared_pressure(overload);
    assert_int_equal(fg_counter_get(&pressure->steps), 0);
    assert_false(admits_low(FG_OVERLOAD_USES_PROCESS)); /* for who asks: it would be refused */
    assert_int_equal(fg_counter_get(&pressure->acted[FG_OVERLOAD_SHED_LOW]), 0);
    json_t *stats = fg_overload_shared_stats(overload);
    assert_string_equal(json_string_value(json_object_get(stats, "level")), "elevated");
    json_decref(stats);
    fg_overload_shared_destroy(overload);
}

static void *ask(void *arg)
{
    struct fg_pressure *pressure = fg_overload_shared_pressure(overload);
    size_t *refused = arg;
    while (!fg_flag_is_raised(&is_over)) {
        if (!admits_low(FG_OVERLOAD_USES_PROCESS))
            (*refused)++;
        if (fg_pressure_asks(pressure, FG_OVERLOAD_RESUME_ONLY))
            fg_pressure_acted(pressure, FG_OVERLOAD_RESUME_ONLY);
    }
    return NULL;
}

static void *watch(void *arg)
{
    (void)arg;
    while (!fg_flag_is_raised(&is_over))
        json_decref(fg_overload_shared_stats(overload));
    return NULL;
}

static void threads_ask_while_one_samples(void **state)
{
    (void)state;
    struct fg_config config = config_of(false);
    pthread_t threads[ASKERS + 1];
    size_t refused[ASKERS] = {0}, sum = 0;
    overload = fg_overload_shared_create(&config, &key);
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &refused[i]), 0);
    assert_int_equal(pthread_create(&threads[ASKERS], NULL, watch, NULL), 0);
    for (unsigned i = 0; i < LOOKS; i++)
        look(i / 100 % 2 == 0 ? 101 : 0, 0);
    look(0, 0);
    look(0, 0);
    fg_flag_raise(&is_over);
    for (size_t i = 0; i <= ASKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    struct fg_pressure *pressure = fg_overload_shared_pressure(overload);
    for (size_t i = 0; i < ASKERS; i++)
        sum += refused[i];
    assert_int_equal(fg_counter_get(&pressure->acted[FG_OVERLOAD_SHED_LOW]), sum);
    assert_int_equal(fg_counter_get(&pressure->steps), 0);
    assert_true(admits_low(FG_OVERLOAD_USES_PROCESS));
    fg_overload_shared_destroy(overload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_published_but_for_those_of_one_backend),
        cmocka_unit_test(in_shadow_nobody_hears_of_a_step),
        cmocka_unit_test(threads_ask_while_one_samples),
    };
    fg_log_set_level(FG_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
