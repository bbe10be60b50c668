/*
 * overload_shared.c: samples in, steps out.
 */
#include "overload_shared.h"

#include "backends/client_owner.h"
#include "base/list.h"
#include "base/log.h"
#include "pipeline/cgroup_memory.h"
#include "pipeline/policy_conf.h"
#include "pipeline/pressure_stall.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINES_A_SECOND 20
#define MARK_ABOVE 25u /* permille: the sampler must see enough in use to take the step */

struct fg_overload_shared {
    pthread_mutex_t lock;
    struct fg_overload policy;      /* guarded by lock */
    struct fg_overload_sample last; /* guarded by lock */
    struct fg_pressure pressure;
    struct fg_counter decided;                   /* the policy's steps, also in shadow */
    bool is_shadow;                              /* constant, as what follows */
    struct fg_siphash_key key;                   /* of owners */
    uint64_t limits[FG_OVERLOAD_RESOURCE_COUNT]; /* 0: comes with the sample */
    struct fg_cgroup_memory group;
    struct fg_pressure_stall stall;
    int statm_fd;
};

/* 80 % of what the control group or the machine has. */
static uint64_t default_memory_limit(const struct fg_cgroup_memory *group)
{
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (group->limit_bytes > 0 && group->limit_bytes < limit)
        limit = group->limit_bytes;
    return limit / 5 * 4;
}

/* Watched where a step could come of it: else it is shown, and is never the fullest of all. */
static bool has_steps(const struct fg_overload_band bands[FG_OVERLOAD_STEP_COUNT])
{
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
        if (bands[i].enter_permille > 0)
            return true;
    }
    return false;
}

static enum fg_overload_resource resource_of(enum fg_stall kind)
{
    static const enum fg_overload_resource resources[FG_STALL_COUNT] = {
        [FG_STALL_CPU] = FG_OVERLOAD_CPU_STALL,
        [FG_STALL_MEMORY] = FG_OVERLOAD_MEMORY_STALL,
        [FG_STALL_IO] = FG_OVERLOAD_IO_STALL,
    };
    return resources[kind];
}

static void set_limits(struct fg_overload_shared *overload, const struct fg_config *config)
{
    const struct fg_overload_conf *conf = &config->overload;
    uint64_t *limits = overload->limits;
    struct rlimit files;
    limits[FG_OVERLOAD_MEMORY] = conf->memory_bytes_max > 0
                                     ? conf->memory_bytes_max
                                     : default_memory_limit(&overload->group);
    limits[FG_OVERLOAD_CGROUP_MEMORY] = overload->group.limit_bytes;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        limits[FG_OVERLOAD_FDS] = files.rlim_cur;
    limits[FG_OVERLOAD_LOOP_LAG] = conf->loop_lag_max_ns;
    limits[FG_OVERLOAD_HANDSHAKES] =
        conf->handshakes_max > 0 ? conf->handshakes_max : config->limits.connections_max / 4 + 1;
    for (unsigned i = 0; i < FG_STALL_COUNT; i++) {
        enum fg_overload_resource resource = resource_of((enum fg_stall)i);
        if (overload->stall.fds[i] != -1 && has_steps(conf->ladder[resource]))
            limits[resource] = FG_STALL_ALWAYS;
    }
    limits[FG_OVERLOAD_REDIS_LATENCY] = config->has_orders ? conf->redis_latency_max_ns : 0;
}

/* From where on an address keeps to its share before a sample can say so. */
static void set_marks(struct fg_overload_shared *overload, const struct fg_overload_conf *conf)
{
    uint32_t fds = conf->ladder[FG_OVERLOAD_FDS][FG_OVERLOAD_ADDRESS_SHARE].enter_permille;
    uint32_t connections =
        conf->ladder[FG_OVERLOAD_CONNECTIONS][FG_OVERLOAD_ADDRESS_SHARE].enter_permille;
    if (fds > 0 && !conf->is_shadow)
        overload->pressure.fds_mark = overload->limits[FG_OVERLOAD_FDS] * (fds + MARK_ABOVE) / 1000;
    if (connections > 0 && !conf->is_shadow)
        overload->pressure.connections_mark = connections + MARK_ABOVE;
}

static bool spares(struct fg_pressure *pressure, enum fg_overload_step step,
                   struct fg_span client_addr)
{
    struct fg_overload_shared *overload =
        FG_CONTAINER_OF(pressure, struct fg_overload_shared, pressure);
    uint64_t owner = fg_client_owner(&overload->key, client_addr);
    pthread_mutex_lock(&overload->lock);
    bool is_spared = fg_overload_spares(&overload->policy, step, owner);
    pthread_mutex_unlock(&overload->lock);
    return is_spared;
}

struct fg_overload_shared *fg_overload_shared_create(const struct fg_config *config,
                                                     const struct fg_siphash_key *key)
{
    struct fg_overload_shared *overload = calloc(1, sizeof(*overload));
    if (overload == NULL)
        return NULL;
    const struct fg_overload_conf *conf = &config->overload;
    struct fg_overload_config policy = fg_overload_config_of(conf);
    pthread_mutex_init(&overload->lock, NULL);
    fg_overload_init(&overload->policy, &policy);
    overload->is_shadow = conf->is_shadow;
    overload->key = *key;
    overload->pressure.spares = spares;
    overload->pressure.address_permille = conf->address_permille;
    overload->pressure.address_grace_ns = conf->address_grace_ns;
    overload->pressure.idle_permille = conf->idle_permille;
    overload->pressure.streams_max = conf->streams_max;
    overload->pressure.tokens_max = conf->tokens_max;
    fg_cgroup_memory_open_own(&overload->group, conf->cgroup_root);
    fg_pressure_stall_open_own(&overload->stall, conf->cgroup_root);
    overload->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    set_limits(overload, config);
    set_marks(overload, conf);
    return overload;
}

void fg_overload_shared_destroy(struct fg_overload_shared *overload)
{
    if (overload == NULL)
        return;
    if (overload->statm_fd != -1)
        close(overload->statm_fd);
    fg_cgroup_memory_close(&overload->group);
    fg_pressure_stall_close(&overload->stall);
    pthread_mutex_destroy(&overload->lock);
    free(overload);
}

static uint64_t resident_bytes(const struct fg_overload_shared *overload)
{
    char text[128];
    unsigned long long size, resident;
    ssize_t got = pread(overload->statm_fd, text, sizeof(text) - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    if (sscanf(text, "%llu %llu", &size, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Linux 6.2 and later say how many are open. */
static uint64_t open_fds(uint64_t estimate)
{
    struct stat folder;
    bool is_counted = stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0;
    return is_counted ? (uint64_t)folder.st_size : estimate;
}

/* One line for each step that `before` and `after` disagree about. */
static void log_changes(const struct fg_overload *before, const struct fg_overload *after,
                        bool is_shadow)
{
    static struct fg_log_limit limit;
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        const struct fg_overload_state *now = &after->resources[r];
        uint32_t changed = before->resources[r].steps ^ now->steps;
        for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
            bool is_taken = (now->steps >> i & 1) != 0;
            const struct fg_overload_band *band = &after->config.ladder[r][i];
            if ((changed >> i & 1) == 0)
                continue;
            fg_log_limited(&limit, LOG_LINES_A_SECOND, is_taken ? FG_LOG_WARN : FG_LOG_INFO,
                           is_taken ? "overload_step_taken" : "overload_step_given_up",
                           "step=%s resource=%s pressure=%.3f threshold=%.3f shadow=%s",
                           fg_overload_step_name((enum fg_overload_step)i),
                           fg_overload_resource_name((enum fg_overload_resource)r),
                           now->pressure_permille / 1000.0,
                           (is_taken ? band->enter_permille : band->leave_permille) / 1000.0,
                           is_shadow ? "true" : "false");
        }
    }
}

/* Steps that concern everybody: shedding for a backend's sake is left to the decision, which knows
 * who goes there. */
static uint32_t steps_for_all(const struct fg_overload *policy)
{
    uint32_t process = fg_overload_steps_for(policy, FG_OVERLOAD_USES_PROCESS);
    return process | (fg_overload_steps(policy) & ~FG_OVERLOAD_SHED_STEPS);
}

void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               struct fg_overload_sample *sample)
{
    struct fg_overload_use *of = sample->of;
    of[FG_OVERLOAD_MEMORY].used = resident_bytes(overload);
    of[FG_OVERLOAD_CGROUP_MEMORY].used = fg_cgroup_memory_used(&overload->group);
    for (unsigned i = 0; i < FG_STALL_COUNT; i++)
        of[resource_of((enum fg_stall)i)].used =
            fg_pressure_stall_read(&overload->stall, (enum fg_stall)i);
    of[FG_OVERLOAD_FDS].used = open_fds(of[FG_OVERLOAD_FDS].used);
    fg_counter_set(&overload->pressure.newest_fd, of[FG_OVERLOAD_FDS].used);
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        if (overload->limits[r] != 0)
            of[r].limit = overload->limits[r];
    }
    pthread_mutex_lock(&overload->lock);
    struct fg_overload before = overload->policy;
    fg_overload_update(&overload->policy, now_ns, sample);
    struct fg_overload after = overload->policy;
    overload->last = *sample;
    pthread_mutex_unlock(&overload->lock);
    fg_counter_set(&overload->decided, fg_overload_steps(&after));
    fg_counter_set(&overload->pressure.steps, overload->is_shadow ? 0 : steps_for_all(&after));
    log_changes(&before, &after, overload->is_shadow);
}

bool fg_overload_shared_is_calm(const struct fg_overload_shared *overload)
{
    return fg_counter_get(&overload->decided) == 0;
}

struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority, uint32_t uses,
                                                      uint64_t owner)
{
    if (fg_overload_shared_is_calm(overload))
        return (struct fg_overload_decision){.is_admitted = true};
    pthread_mutex_lock(&overload->lock);
    struct fg_overload_decision decision =
        fg_overload_decide_for(&overload->policy, priority, uses, owner);
    pthread_mutex_unlock(&overload->lock);
    if (!decision.is_admitted && !overload->is_shadow)
        fg_pressure_acted(&overload->pressure, decision.step);
    return decision;
}

struct fg_pressure *fg_overload_shared_pressure(struct fg_overload_shared *overload)
{
    return &overload->pressure;
}

/* ---- for /stats ---- */

/* Bytes, counts; times in seconds. */
static double in_base_units(unsigned resource, uint64_t value)
{
    bool is_share = resource >= FG_OVERLOAD_CPU_STALL && resource <= FG_OVERLOAD_IO_STALL;
    if (is_share)
        return (double)value / (double)FG_STALL_ALWAYS;
    bool is_time = resource == FG_OVERLOAD_LOOP_LAG || resource == FG_OVERLOAD_REDIS_LATENCY;
    return is_time ? (double)value / 1e9 : (double)value;
}

static json_t *steps_json(const struct fg_overload_shared *overload,
                          const struct fg_overload *policy)
{
    json_t *steps = json_object();
    for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
        json_t *by = json_array();
        uint64_t entered = 0;
        for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
            entered += policy->resources[r].entered_total[i];
            if ((policy->resources[r].steps >> i & 1) != 0)
                json_array_append_new(
                    by, json_string(fg_overload_resource_name((enum fg_overload_resource)r)));
        }
        json_object_set_new(steps, fg_overload_step_name((enum fg_overload_step)i),
                            json_pack("{s:b,s:I,s:I,s:o}", "taken", json_array_size(by) > 0,
                                      "taken_total", (json_int_t)entered, "acted_total",
                                      (json_int_t)fg_counter_get(&overload->pressure.acted[i]),
                                      "by", by));
    }
    return steps;
}

static json_t *resources_json(const struct fg_overload *policy,
                              const struct fg_overload_sample *sample)
{
    json_t *resources = json_object();
    for (unsigned r = 0; r < FG_OVERLOAD_RESOURCE_COUNT; r++) {
        const struct fg_overload_state *state = &policy->resources[r];
        json_t *steps = json_array();
        for (unsigned i = 0; i < FG_OVERLOAD_STEP_COUNT; i++) {
            if ((state->steps >> i & 1) != 0)
                json_array_append_new(steps,
                                      json_string(fg_overload_step_name((enum fg_overload_step)i)));
        }
        json_object_set_new(resources, fg_overload_resource_name((enum fg_overload_resource)r),
                            json_pack("{s:f,s:b,s:f,s:f,s:I,s:o}", "pressure",
                                      state->pressure_permille / 1000.0, "watched",
                                      sample->of[r].limit > 0, "used",
                                      in_base_units(r, sample->of[r].used), "limit",
                                      in_base_units(r, sample->of[r].limit), "refused_total",
                                      (json_int_t)state->refused_total, "steps", steps));
    }
    return resources;
}

json_t *fg_overload_shared_stats(struct fg_overload_shared *overload)
{
    pthread_mutex_lock(&overload->lock);
    struct fg_overload policy = overload->policy;
    struct fg_overload_sample sample = overload->last;
    pthread_mutex_unlock(&overload->lock);
    return json_pack("{s:s,s:b,s:o,s:o}", "level",
                     fg_overload_level_name(fg_overload_level_of(fg_overload_steps(&policy))),
                     "shadow", overload->is_shadow, "steps", steps_json(overload, &policy),
                     "resources", resources_json(&policy, &sample));
}
