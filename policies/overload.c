/*
 * overload.c: from memory, file descriptors and loop lag to one level, and who is refused at it.
 * Job      keep the process itself alive: refuse the least important work before a resource ends.
 * Thread   one owner at a time.
 * Never    measures anything (samples come in) or stays up for ever: a level is left as soon as
 *          pressure is below its leave threshold and hold_ns has passed, whatever the history.
 * Source   the levels are those of Envoy's overload manager in spirit; its reports of shedding
 * without recovery are why each level has a leave threshold of its own. Law      pressure = 1000 x
 * used / limit, worst resource; up to the highest level whose enter threshold is reached, at once;
 * down one level after hold_ns below its leave threshold. Loop lag is an exponential mean, so that
 * one slow turn is not an overload.
 *
 *    NORMAL <--> ELEVATED <--> HIGH <--> CRITICAL      (up may skip levels)
 *    refused     low           + normal  + high, and new connections
 */
#include "policies/overload.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define PRESSURE_MAX 1000

static uint32_t pressure_of(uint64_t used, uint64_t limit)
{
    if (limit == 0)
        return 0;
    uint64_t permille = fg_multiply_divide(used, PRESSURE_MAX, limit);
    return permille > PRESSURE_MAX ? PRESSURE_MAX : (uint32_t)permille;
}

static void learn_loop_lag(struct fg_overload *ov, uint64_t lag_ns)
{
    uint64_t mean_ns = ov->loop_lag_mean_ns;
    uint32_t weight = ov->config.loop_lag_weight_permille;
    if (lag_ns >= mean_ns)
        ov->loop_lag_mean_ns = mean_ns + fg_multiply_divide(lag_ns - mean_ns, weight, 1000);
    else
        ov->loop_lag_mean_ns = mean_ns - fg_multiply_divide(mean_ns - lag_ns, weight, 1000);
}

static enum fg_overload_resource worst_resource(const struct fg_overload *ov)
{
    unsigned worst = 0;
    for (unsigned i = 1; i < FG_OVERLOAD_RESOURCE_COUNT; i++) {
        if (ov->pressure_permille[i] > ov->pressure_permille[worst])
            worst = i;
    }
    return (enum fg_overload_resource)worst;
}

static enum fg_overload_level level_for(const struct fg_overload_config *config, uint32_t pressure)
{
    unsigned level = 0;
    while (level < FG_OVERLOAD_LEVEL_COUNT - 1 && pressure >= config->enter_permille[level])
        level++;
    return (enum fg_overload_level)level;
}

struct fg_overload_config fg_overload_config_default(void)
{
    return (struct fg_overload_config){
        .enter_permille = {800, 900, 960},
        .leave_permille = {700, 800, 900},
        .hold_ns = 1 * FG_POLICY_S,
        .loop_lag_limit_ns = 200 * FG_POLICY_MS,
        .loop_lag_weight_permille = 250,
        .retry_after_ns = 1 * FG_POLICY_S,
    };
}

void fg_overload_init(struct fg_overload *ov, const struct fg_overload_config *config,
                      uint64_t now_ns)
{
    for (unsigned i = 0; i < FG_OVERLOAD_LEVEL_COUNT - 1; i++) {
        assert(config->enter_permille[i] >= 1);
        assert(config->enter_permille[i] <= PRESSURE_MAX);
        assert(config->leave_permille[i] < config->enter_permille[i]);
        assert(i == 0 || config->enter_permille[i] >= config->enter_permille[i - 1]);
    }
    assert(config->loop_lag_weight_permille >= 1);
    assert(config->loop_lag_weight_permille <= 1000);
    *ov = (struct fg_overload){.config = *config, .level_since_ns = now_ns};
}

enum fg_overload_level fg_overload_update(struct fg_overload *ov, uint64_t now_ns,
                                          const struct fg_overload_sample *sample)
{
    learn_loop_lag(ov, sample->loop_lag_ns);
    uint32_t *pressure = ov->pressure_permille;
    pressure[FG_OVERLOAD_MEMORY] = pressure_of(sample->memory_bytes, sample->memory_limit_bytes);
    pressure[FG_OVERLOAD_FDS] = pressure_of(sample->fds, sample->fds_limit);
    pressure[FG_OVERLOAD_LOOP_LAG] =
        pressure_of(ov->loop_lag_mean_ns, ov->config.loop_lag_limit_ns);

    enum fg_overload_resource worst_at = worst_resource(ov);
    uint32_t worst = pressure[worst_at];
    enum fg_overload_level wanted = level_for(&ov->config, worst);
    bool is_over =
        ov->level == FG_OVERLOAD_NORMAL || worst >= ov->config.leave_permille[ov->level - 1];
    if (is_over)
        ov->reason = worst_at; /* while the level is only held, what caused it stays the reason */
    if (now_ns < ov->level_since_ns)
        ov->level_since_ns = now_ns; /* the clock went back: hold from here */
    if (wanted > ov->level) {
        ov->level = wanted;
        ov->level_since_ns = now_ns;
        ov->raised_total++;
    } else if (!is_over && now_ns - ov->level_since_ns >= ov->config.hold_ns) {
        ov->level = (enum fg_overload_level)(ov->level - 1);
        ov->level_since_ns = now_ns;
    }
    return ov->level;
}

struct fg_overload_decision fg_overload_decide(struct fg_overload *ov, enum fg_priority priority)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    /* level 0 lets all four classes pass, each level one fewer */
    if ((unsigned)priority + (unsigned)ov->level < FG_PRIORITY_COUNT)
        return (struct fg_overload_decision){.is_admitted = true};
    ov->refused_total[ov->reason]++;
    uint64_t factor = UINT64_C(1) << (ov->level - 1);
    return (struct fg_overload_decision){
        .reason = ov->reason,
        .retry_after_ns = fg_multiply_divide(ov->config.retry_after_ns, factor, 1),
        .pressure_permille = ov->pressure_permille[ov->reason],
        .limit_permille = ov->config.enter_permille[FG_PRIORITY_COUNT - 1 - (unsigned)priority],
    };
}

bool fg_overload_accepts_connections(const struct fg_overload *ov)
{
    return ov->level < FG_OVERLOAD_CRITICAL;
}

bool fg_overload_keeps_alive(const struct fg_overload *ov)
{
    return ov->level < FG_OVERLOAD_ELEVATED;
}

const char *fg_overload_level_name(enum fg_overload_level level)
{
    static const char *const names[] = {"normal", "elevated", "high", "critical"};
    assert((unsigned)level < FG_OVERLOAD_LEVEL_COUNT);
    return names[level];
}

const char *fg_overload_resource_name(enum fg_overload_resource resource)
{
    static const char *const names[] = {"memory", "fds", "loop_lag"};
    assert((unsigned)resource < FG_OVERLOAD_RESOURCE_COUNT);
    return names[resource];
}
