/*
 * overload_shared.c: samples in, level out.
 */
#include "overload_shared.h"

#include "pipeline/policy_conf.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct fg_overload_shared {
    pthread_mutex_t lock;
    struct fg_overload policy;      /* guarded by lock */
    struct fg_overload_sample last; /* guarded by lock */
    struct fg_counter level;
    struct fg_counter decided; /* the level of the policy; `level` is it, or NORMAL in shadow */
    bool is_shadow;            /* constant */
    uint64_t memory_limit_bytes;
    uint64_t fds_limit;
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

struct fg_overload_shared *fg_overload_shared_create(const struct fg_overload_conf *conf,
                                                     uint64_t now_ns)
{
    struct fg_overload_shared *overload = calloc(1, sizeof(*overload));
    if (overload == NULL)
        return NULL;
    pthread_mutex_init(&overload->lock, NULL);
    overload->is_shadow = conf->is_shadow;
    struct fg_overload_config policy = fg_overload_config_of(conf);
    fg_overload_init(&overload->policy, &policy, now_ns);
    overload->memory_limit_bytes =
        conf->memory_bytes_max > 0 ? conf->memory_bytes_max : default_memory_limit();
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        overload->fds_limit = files.rlim_cur;
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

void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               uint64_t fds_open, uint64_t loop_lag_ns)
{
    struct fg_overload_sample sample = {
        .memory_bytes = resident_bytes(overload),
        .memory_limit_bytes = overload->memory_limit_bytes,
        .fds = fds_open,
        .fds_limit = overload->fds_limit,
        .loop_lag_ns = loop_lag_ns,
    };
    pthread_mutex_lock(&overload->lock);
    enum fg_overload_level level = fg_overload_update(&overload->policy, now_ns, &sample);
    overload->last = sample;
    pthread_mutex_unlock(&overload->lock);
    fg_counter_set(&overload->decided, level);
    fg_counter_set(&overload->level, overload->is_shadow ? FG_OVERLOAD_NORMAL : level);
}

struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority)
{
    if (fg_counter_get(&overload->decided) == FG_OVERLOAD_NORMAL)
        return (struct fg_overload_decision){.is_admitted = true};
    pthread_mutex_lock(&overload->lock);
    struct fg_overload_decision decision = fg_overload_decide(&overload->policy, priority);
    pthread_mutex_unlock(&overload->lock);
    return decision;
}

enum fg_overload_level fg_overload_shared_level(const struct fg_overload_shared *overload)
{
    return (enum fg_overload_level)fg_counter_get(&overload->level);
}

bool fg_overload_shared_accepts_connections(const struct fg_overload_shared *overload)
{
    return fg_counter_get(&overload->level) < FG_OVERLOAD_CRITICAL;
}

bool fg_overload_shared_keeps_alive(const struct fg_overload_shared *overload)
{
    return fg_counter_get(&overload->level) < FG_OVERLOAD_ELEVATED;
}

const struct fg_counter *fg_overload_shared_gauge(const struct fg_overload_shared *overload)
{
    return &overload->level;
}

json_t *fg_overload_shared_stats(struct fg_overload_shared *overload)
{
    pthread_mutex_lock(&overload->lock);
    struct fg_overload policy = overload->policy;
    struct fg_overload_sample sample = overload->last;
    pthread_mutex_unlock(&overload->lock);
    json_t *refused = json_object();
    json_t *pressure = json_object();
    for (unsigned i = 0; i < FG_OVERLOAD_RESOURCE_COUNT; i++) {
        const char *name = fg_overload_resource_name((enum fg_overload_resource)i);
        json_object_set_new(refused, name, json_integer((json_int_t)policy.refused_total[i]));
        json_object_set_new(pressure, name, json_real(policy.pressure_permille[i] / 1000.0));
    }
    return json_pack("{s:s,s:b,s:I,s:o,s:o,s:I,s:I,s:I,s:I,s:f}", "level",
                     fg_overload_level_name(policy.level), "shadow", overload->is_shadow,
                     "raised_total", (json_int_t)policy.raised_total, "refused_total", refused,
                     "pressure", pressure, "memory_bytes", (json_int_t)sample.memory_bytes,
                     "memory_limit_bytes", (json_int_t)sample.memory_limit_bytes, "fds",
                     (json_int_t)sample.fds, "fds_limit", (json_int_t)sample.fds_limit,
                     "loop_lag_s", (double)sample.loop_lag_ns / 1e9);
}
