/*
 * overload.c: from what the process has in use to the steps it takes against running out.
 * Job      keep the process itself alive: give up comfort first, then the least important work,
 *          before a resource ends.
 * Thread   one owner at a time.
 * Never    measures anything (samples come in) or keeps a step for ever: a step is given up once
 *          pressure has been below its leave threshold for hold_ns, whatever the history.
 * Source   the actions are those of Envoy's overload manager (docs: configuration/operations/
 *          overload_manager) in spirit; its reports of shedding without recovery (envoyproxy/envoy
 *          #21923, #39006) are why each step has a leave threshold of its own.
 * Law      pressure = 1000 x mean(used) / limit for each resource by itself. At or above `enter` a
 *          step is taken at once. Steps of a resource that have the same leave threshold are a
 *          rung; the highest rung is given up after hold_ns below its threshold, then the next one
 *          after hold_ns more: what was refused does not come back all at once. Where it is time
 *          that is short, who asks for more than his part of all, or far more than others do
 *          (policies/askers), requests and new connections together, is refused, and nobody else as
 *          long as that is most of the work: a refusal counts 1, an answer SERVED_WORK.
 *
 *    pressure   0 ---- leave ======= enter ---- 1000       a step's band; inside it nothing changes
 */
#include "policies/overload.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define PRESSURE_MAX 1000
#define BIT(index) (UINT32_C(1) << (index))
#define USES_TIME (BIT(FG_OVERLOAD_LOOP_LAG) | BIT(FG_OVERLOAD_CPU_STALL)) /* of the process */
#define SERVED_WORK 4u /* an answer takes so many times what a refusal does, about */

/* Columns in the order of enum fg_overload_step; NEVER: does not help, or costs more than it saves.
 * docs/policies/overload.md says why for each. */
/* clang-format off */
#define NEVER {0, 0}
static const struct fg_overload_band
    default_ladder[FG_OVERLOAD_RESOURCE_COUNT][FG_OVERLOAD_STEP_COUNT] = {
        [FG_OVERLOAD_MEMORY] = {
            {650, 550}, {600, 500}, {700, 600}, {750, 650}, {750, 650}, {800, 700},
            NEVER,      {850, 750}, {850, 750}, {920, 840}, {970, 900}, {970, 900}},
        [FG_OVERLOAD_CGROUP_MEMORY] = {
            {650, 550}, {600, 500}, {700, 600}, {750, 650}, {750, 650}, {800, 700},
            NEVER,      {850, 750}, {850, 750}, {920, 840}, {970, 900}, {970, 900}},
        [FG_OVERLOAD_REQUEST_MEMORY] = {
            {650, 550}, NEVER,      NEVER,      {700, 600}, {750, 650}, NEVER,
            NEVER,      NEVER,      {850, 750}, {920, 840}, {970, 900}, NEVER},
        [FG_OVERLOAD_FDS] = {
            {600, 500}, NEVER,      {700, 600}, NEVER,      {750, 650}, {800, 700},
            NEVER,      NEVER,      {850, 750}, {920, 840}, {970, 900}, {950, 880}},
        [FG_OVERLOAD_CONNECTIONS] = {
            {600, 500}, NEVER,      {750, 650}, NEVER,      NEVER,      {920, 850},
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_LOOP_LAG] = {
            NEVER,      NEVER,      NEVER,      {750, 650}, {750, 650}, NEVER,
            NEVER,      {920, 840}, {850, 750}, {920, 840}, {970, 900}, {970, 900}},
        [FG_OVERLOAD_HANDSHAKES] = {
            {400, 250}, NEVER,      {500, 300}, NEVER,      NEVER,      NEVER,
            NEVER,      {800, 600}, NEVER,      NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_CPU_STALL] = {
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER,
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_MEMORY_STALL] = {
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER,
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_IO_STALL] = {
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER,
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_REDIS_LATENCY] = {
            NEVER,      NEVER,      NEVER,      NEVER,      {600, 400}, NEVER,
            NEVER,      NEVER,      {850, 600}, NEVER,      NEVER,      NEVER},
        [FG_OVERLOAD_KV_BLOCKS] = {
            NEVER,      NEVER,      NEVER,      NEVER,      NEVER,      NEVER,
            {900, 750}, NEVER,      {980, 900}, NEVER,      NEVER,      NEVER},
    };
/* clang-format on */

static uint32_t pressure_of(uint64_t used, uint64_t limit)
{
    if (limit == 0)
        return 0;
    uint64_t permille = fg_multiply_divide(used, PRESSURE_MAX, limit);
    return permille > PRESSURE_MAX ? PRESSURE_MAX : (uint32_t)permille;
}

/* Down it is rounded up, so that a mean of small numbers does not stick above its samples. */
static uint64_t mean_with(uint64_t mean, uint64_t sample, uint32_t weight_permille)
{
    if (sample >= mean)
        return mean + fg_multiply_divide(sample - mean, weight_permille, 1000);
    uint64_t part = fg_multiply_divide(mean - sample, weight_permille, 1000);
    return mean - (part < mean - sample ? part + 1 : part);
}

/* The steps that pressure asks for. */
static uint32_t steps_at(const struct fg_overload_band *bands, uint32_t pressure)
{
    uint32_t steps = 0;
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
        if (bands[i].enter_permille > 0 && pressure >= bands[i].enter_permille)
            steps |= BIT(i);
    }
    return steps;
}

/* Of the steps taken, those with the highest leave threshold, which is told too. */
static uint32_t highest_rung(const struct fg_overload_band *bands, uint32_t steps,
                             uint32_t *leave_permille)
{
    uint32_t rung = 0;
    *leave_permille = 0;
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
        if ((steps & BIT(i)) == 0 || bands[i].leave_permille < *leave_permille)
            continue;
        rung = bands[i].leave_permille > *leave_permille ? BIT(i) : rung | BIT(i);
        *leave_permille = bands[i].leave_permille;
    }
    return rung;
}

static void climb(struct fg_overload_state *state, const struct fg_overload_band *bands,
                  uint64_t hold_ns, uint64_t now_ns)
{
    uint32_t leave_permille;
    uint32_t entered = steps_at(bands, state->pressure_permille) & ~state->steps;
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++)
        state->entered_total[i] += (entered >> i) & 1;
    state->steps |= entered;
    uint32_t rung = highest_rung(bands, state->steps, &leave_permille);
    bool is_quiet = entered == 0 && state->pressure_permille < leave_permille;
    if (!is_quiet || now_ns < state->quiet_since_ns)
        state->quiet_since_ns = now_ns; /* also when the clock went back: hold from here */
    if (is_quiet && now_ns - state->quiet_since_ns >= hold_ns) {
        state->steps &= ~rung;
        state->quiet_since_ns = now_ns;
    }
}

struct fg_overload_config fg_overload_config_default(void)
{
    struct fg_overload_config config = {.hold_ns = 1 * FG_POLICY_S,
                                        .retry_after_ns = 1 * FG_POLICY_S};
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        config.weight_permille[r] = 1000;
        for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++)
            config.ladder[r][i] = default_ladder[r][i];
    }
    config.weight_permille[FG_OVERLOAD_LOOP_LAG] = 250; /* one slow turn is not an overload */
    config.weight_permille[FG_OVERLOAD_REDIS_LATENCY] = 250;
    return config;
}

void fg_overload_init(struct fg_overload *ov, const struct fg_overload_config *config)
{
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        assert(config->weight_permille[r] >= 1);
        assert(config->weight_permille[r] <= 1000);
        for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
            const struct fg_overload_band *band = &config->ladder[r][i];
            assert(band->enter_permille <= PRESSURE_MAX);
            assert(band->leave_permille <= band->enter_permille);
            assert(band->enter_permille == 0 || band->leave_permille >= 1);
        }
    }
    *ov = (struct fg_overload){.config = *config};
}

void fg_overload_update(struct fg_overload *ov, uint64_t now_ns,
                        const struct fg_overload_sample *sample)
{
    fg_askers_fade(&ov->askers);
    ov->flood_work = fg_askers_faded(ov->flood_work);
    ov->other_work = fg_askers_faded(ov->other_work);
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        struct fg_overload_state *state = &ov->resources[r];
        const struct fg_overload_use *use = &sample->of[r];
        uint64_t used = use->used < use->limit ? use->used : use->limit;
        state->mean_used = mean_with(state->mean_used, used, ov->config.weight_permille[r]);
        state->pressure_permille = pressure_of(state->mean_used, use->limit);
        climb(state, ov->config.ladder[r], ov->config.hold_ns, now_ns);
    }
}

/* The steps that refuse a class: its own, and those for more important ones. */
static uint32_t steps_against(enum fg_priority priority)
{
    switch (priority) {
    case FG_PRIORITY_LOW:
        return FG_OVERLOAD_SHED_STEPS;
    case FG_PRIORITY_NORMAL:
        return FG_OVERLOAD_SHED_STEPS & ~BIT(FG_OVERLOAD_SHED_LOW);
    case FG_PRIORITY_HIGH:
        return BIT(FG_OVERLOAD_SHED_HIGH);
    case FG_PRIORITY_CRITICAL:
        break;
    }
    return 0;
}

/* Of the resources used that have a step of `steps` taken, the one with the highest pressure; of
 * all of them, when `steps` is 0. COUNT: none has. */
static unsigned worst_of(const struct fg_overload *ov, uint32_t uses, uint32_t steps)
{
    unsigned worst = FG_OVERLOAD_RESOURCE_COUNT;
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        const struct fg_overload_state *state = &ov->resources[r];
        if ((uses & BIT(r)) == 0 || (steps != 0 && (state->steps & steps) == 0))
            continue;
        if (worst == FG_OVERLOAD_RESOURCE_COUNT ||
            state->pressure_permille > ov->resources[worst].pressure_permille)
            worst = r;
    }
    return worst;
}

/* Where this class would be refused: the lowest threshold of the steps against it; 0: nowhere. */
static uint32_t threshold_against(const struct fg_overload_band *bands, uint32_t against)
{
    uint32_t lowest = 0;
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
        uint32_t enter = (against & BIT(i)) != 0 ? bands[i].enter_permille : 0;
        if (enter != 0 && (lowest == 0 || enter < lowest))
            lowest = enter;
    }
    return lowest;
}

static struct fg_overload_decision admit(const struct fg_overload *ov, uint32_t uses,
                                         uint32_t against)
{
    unsigned worst = worst_of(ov, uses, 0);
    return (struct fg_overload_decision){
        .is_admitted = true,
        .reason = (enum fg_overload_resource)worst,
        .pressure_permille = ov->resources[worst].pressure_permille,
        .limit_permille = threshold_against(ov->config.ladder[worst], against),
    };
}

/* One more request of `owner`. False: he is of a flood, or there is none that matters. */
static bool is_spared(struct fg_overload *ov, uint64_t owner)
{
    bool is_flood =
        fg_askers_excess(&ov->askers, owner) > 0 || fg_askers_is_heavy(&ov->askers, owner);
    fg_askers_note(&ov->askers, owner);
    if (is_flood)
        ov->flood_work++;
    else
        ov->other_work += SERVED_WORK;
    return !is_flood && ov->flood_work > ov->other_work;
}

bool fg_overload_spares(struct fg_overload *ov, enum fg_overload_step step, uint64_t owner)
{
    return (fg_overload_steps_for(ov, USES_TIME) & BIT(step)) != 0 &&
           (fg_overload_steps_for(ov, ~USES_TIME) & BIT(step)) == 0 && is_spared(ov, owner);
}

struct fg_overload_decision fg_overload_decide_for(struct fg_overload *ov,
                                                   enum fg_priority priority, uint32_t uses,
                                                   uint64_t owner)
{
    uint32_t against = steps_against(priority);
    uint32_t others = uses & ~USES_TIME;
    bool is_late =
        against != 0 && worst_of(ov, uses & USES_TIME, against) != FG_OVERLOAD_RESOURCE_COUNT;
    if (is_late && worst_of(ov, others, against) == FG_OVERLOAD_RESOURCE_COUNT &&
        is_spared(ov, owner))
        return admit(ov, uses, against);
    return fg_overload_decide(ov, priority, uses);
}

struct fg_overload_decision fg_overload_decide(struct fg_overload *ov, enum fg_priority priority,
                                               uint32_t uses)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    assert((uses & FG_OVERLOAD_USES_PROCESS) == FG_OVERLOAD_USES_PROCESS);
    uint32_t against = steps_against(priority);
    unsigned worst = against == 0 ? FG_OVERLOAD_RESOURCE_COUNT : worst_of(ov, uses, against);
    if (worst == FG_OVERLOAD_RESOURCE_COUNT)
        return admit(ov, uses, against);
    struct fg_overload_state *state = &ov->resources[worst];
    uint32_t shed = state->steps & FG_OVERLOAD_SHED_STEPS;
    unsigned step = FG_OVERLOAD_SHED_LOW; /* the mildest that refuses this class */
    while ((shed & against & BIT(step)) == 0)
        step++;
    uint64_t factor = (shed & BIT(FG_OVERLOAD_SHED_HIGH)) != 0     ? 4
                      : (shed & BIT(FG_OVERLOAD_SHED_NORMAL)) != 0 ? 2
                                                                   : 1;
    state->refused_total++;
    return (struct fg_overload_decision){
        .reason = (enum fg_overload_resource)worst,
        .step = (enum fg_overload_step)step,
        .retry_after_ns = fg_multiply_divide(ov->config.retry_after_ns, factor, 1),
        .pressure_permille = state->pressure_permille,
        .limit_permille = ov->config.ladder[worst][step].enter_permille,
    };
}

uint32_t fg_overload_steps(const struct fg_overload *ov)
{
    return fg_overload_steps_for(ov, UINT32_MAX);
}

uint32_t fg_overload_steps_for(const struct fg_overload *ov, uint32_t uses)
{
    uint32_t steps = 0;
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++)
        steps |= (uses & BIT(r)) != 0 ? ov->resources[r].steps : 0;
    return steps;
}

bool fg_overload_sheds(uint32_t steps)
{
    return (steps & FG_OVERLOAD_SHED_STEPS) != 0;
}

enum fg_overload_level fg_overload_level_of(uint32_t steps)
{
    if ((steps & (BIT(FG_OVERLOAD_SHED_HIGH) | BIT(FG_OVERLOAD_REFUSE_CONNECTIONS))) != 0)
        return FG_OVERLOAD_CRITICAL;
    if ((steps & BIT(FG_OVERLOAD_SHED_NORMAL)) != 0)
        return FG_OVERLOAD_HIGH;
    return steps != 0 ? FG_OVERLOAD_ELEVATED : FG_OVERLOAD_NORMAL;
}

const char *fg_overload_level_name(enum fg_overload_level level)
{
    static const char *const names[] = {"normal", "elevated", "high", "critical"};
    assert((unsigned)level < FG_OVERLOAD_LEVEL_COUNT);
    return names[level];
}

/* One list, so that the two kinds of names cannot differ. */
static const char *const policy_names[] = {
    "overload.memory",     "overload.cgroup_memory", "overload.request_memory",
    "overload.fds",        "overload.connections",   "overload.loop_lag",
    "overload.handshakes", "overload.cpu_stall",     "overload.memory_stall",
    "overload.io_stall",   "overload.redis_latency", "overload.kv_blocks",
};

const char *fg_overload_policy_name(enum fg_overload_resource resource)
{
    assert((unsigned)resource < FG_OVERLOAD_RESOURCE_COUNT);
    return policy_names[resource];
}

const char *fg_overload_resource_name(enum fg_overload_resource resource)
{
    return fg_overload_policy_name(resource) + sizeof("overload.") - 1;
}

const char *fg_overload_step_name(enum fg_overload_step step)
{
    static const char *const names[] = {"address_share", "shrink_cache", "shorten_idle",
                                        "fewer_streams", "stale_cache",  "stop_keep_alive",
                                        "cap_tokens",    "resume_only",  "shed_low",
                                        "shed_normal",   "shed_high",    "refuse_connections"};
    assert((unsigned)step < FG_OVERLOAD_STEP_COUNT);
    return names[step];
}
