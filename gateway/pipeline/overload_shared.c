/*
 * overload_shared.c: samples in, steps out.
 */
#include "overload_shared.h"

#include "base/log.h"
#include "pipeline/policy_conf.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_OTHER 64 /* listeners, logs, event fds: what is not a connection */
#define LOG_LINES_A_SECOND 20

struct fg_overload_shared {
    pthread_mutex_t lock;
    struct fg_overload policy;      /* guarded by lock */
    struct fg_overload_sample last; /* guarded by lock */
    struct fg_pressure pressure;
    struct fg_counter decided; /* the policy's steps, also in shadow */
    bool is_shadow;            /* constant, as what follows */
    uint64_t memory_limit_bytes;
    uint64_t fds_limit;
    uint64_t loop_lag_limit_ns;
    int statm_fd;
};

/* A number in a file such as memory.max; 0 when there is none ("max", no such file). */
static uint64_t read_number(const char *path)
{
    unsigned long long value = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu", &value) != 1)
        value = 0;
    fclose(file);
    return value;
}

/* 80 % of what the cgroup or the machine has. */
static uint64_t default_memory_limit(void)
{
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t group = read_number("/sys/fs/cgroup/memory.max");
    if (group > 0 && group < limit)
        limit = group;
    return limit / 5 * 4;
}

struct fg_overload_shared *fg_overload_shared_create(const struct fg_overload_conf *conf)
{
    struct fg_overload_shared *overload = calloc(1, sizeof(*overload));
    if (overload == NULL)
        return NULL;
    pthread_mutex_init(&overload->lock, NULL);
    overload->is_shadow = conf->is_shadow;
    struct fg_overload_config policy = fg_overload_config_of(conf);
    fg_overload_init(&overload->policy, &policy);
    overload->memory_limit_bytes =
        conf->memory_bytes_max > 0 ? conf->memory_bytes_max : default_memory_limit();
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        overload->fds_limit = files.rlim_cur;
    overload->loop_lag_limit_ns = conf->loop_lag_max_ns;
    overload->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return overload;
}

void fg_overload_shared_destroy(struct fg_overload_shared *overload)
{
    if (overload == NULL)
        return;
    if (overload->statm_fd != -1)
        close(overload->statm_fd);
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

/* Linux 6.2 and later say how many are open; before, two a connection (client's and upstream's). */
static uint64_t open_fds(const struct fg_overload_probe *probe)
{
    struct stat folder;
    if (stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0)
        return (uint64_t)folder.st_size;
    return FDS_OTHER + 2 * probe->connections;
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

void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               const struct fg_overload_probe *probe)
{
    const struct fg_overload_sample sample = {
        .of = {
            [FG_OVERLOAD_MEMORY] = {resident_bytes(overload), overload->memory_limit_bytes},
            [FG_OVERLOAD_FDS] = {open_fds(probe), overload->fds_limit},
            [FG_OVERLOAD_LOOP_LAG] = {probe->loop_lag_ns, overload->loop_lag_limit_ns},
        }};
    pthread_mutex_lock(&overload->lock);
    struct fg_overload before = overload->policy;
    fg_overload_update(&overload->policy, now_ns, &sample);
    struct fg_overload after = overload->policy;
    overload->last = sample;
    pthread_mutex_unlock(&overload->lock);
    uint32_t steps = fg_overload_steps(&after);
    fg_counter_set(&overload->decided, steps);
    fg_counter_set(&overload->pressure.steps, overload->is_shadow ? 0 : steps);
    log_changes(&before, &after, overload->is_shadow);
}

struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority)
{
    if (!fg_overload_sheds((uint32_t)fg_counter_get(&overload->decided)))
        return (struct fg_overload_decision){.is_admitted = true};
    pthread_mutex_lock(&overload->lock);
    struct fg_overload_decision decision = fg_overload_decide(&overload->policy, priority);
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
    return resource == FG_OVERLOAD_LOOP_LAG ? (double)value / 1e9 : (double)value;
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
