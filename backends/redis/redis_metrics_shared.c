/*
 * redis_metrics_shared.c: sums over the loops, written as JSON.
 */
#include "redis_metrics_shared.h"

#include "base/clock.h"

#include <stddef.h>

static const struct {
    const char *name;
    size_t offset;
} counters[] = {
    {"connected_threads", offsetof(struct fg_redis_metrics, is_connected)},
    {"connects", offsetof(struct fg_redis_metrics, connects)},
    {"commands", offsetof(struct fg_redis_metrics, commands)},
    {"errors", offsetof(struct fg_redis_metrics, errors)},
    {"timeouts", offsetof(struct fg_redis_metrics, timeouts)},
    {"refused_busy", offsetof(struct fg_redis_metrics, refused_busy)},
    {"in_flight", offsetof(struct fg_redis_metrics, in_flight)},
};

#define COUNTER_COUNT (sizeof(counters) / sizeof(counters[0]))

static const struct fg_counter *counter_of(const struct fg_redis_metrics *metrics, size_t i)
{
    return (const struct fg_counter *)(const void *)((const char *)metrics + counters[i].offset);
}

void fg_redis_metrics_merge(struct fg_redis_metrics *sum, const struct fg_redis_metrics *from)
{
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        struct fg_counter *into = (struct fg_counter *)(void *)((char *)sum + counters[i].offset);
        fg_counter_add_owned(into, fg_counter_get(counter_of(from, i)));
    }
    fg_histogram_merge(&sum->latency, &from->latency);
}

void fg_redis_metrics_write(const struct fg_redis_metrics *sum, json_t *into)
{
    static const struct {
        const char *name;
        unsigned permyriad;
    } quantiles[] = {{"p50", 5000}, {"p99", 9900}, {"p999", 9990}};
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        json_object_set_new(into, counters[i].name,
                            json_integer((json_int_t)fg_counter_get(counter_of(sum, i))));
    json_t *latency = json_object();
    json_object_set_new(latency, "count",
                        json_integer((json_int_t)fg_counter_get(&sum->latency.count)));
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        uint64_t ns = fg_histogram_quantile(&sum->latency, quantiles[i].permyriad);
        json_object_set_new(latency, quantiles[i].name, json_real((double)ns / (double)FG_S));
    }
    json_object_set_new(into, "latency_seconds", latency);
}
