/*
 * orders_metrics_shared.c: sums over the loops, written as JSON.
 */
#include "orders_metrics_shared.h"

#include "base/clock.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

enum fg_status fg_orders_shared_init(struct fg_orders_shared *shared, size_t sku_count)
{
    shared->figures.stock = calloc(sku_count == 0 ? 1 : sku_count, sizeof(*shared->figures.stock));
    return shared->figures.stock == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

void fg_orders_shared_fini(struct fg_orders_shared *shared)
{
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++)
        free(shared->threads[i]);
    free(shared->figures.stock);
}

struct fg_orders_metrics *fg_orders_shared_open(struct fg_orders_shared *shared, unsigned thread)
{
    assert(thread < FG_ORDERS_THREADS_MAX);
    assert(shared->threads[thread] == NULL);
    struct fg_orders_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL)
        return NULL;
    shared->threads[thread] = metrics;
    fg_flag_raise(&shared->opened[thread]);
    return metrics;
}

static const struct fg_orders_metrics *metrics_of(const struct fg_orders_shared *shared, size_t i)
{
    return fg_flag_is_raised(&shared->opened[i]) ? shared->threads[i] : NULL;
}

bool fg_orders_shared_is_connected(const struct fg_orders_shared *shared)
{
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++) {
        const struct fg_orders_metrics *metrics = metrics_of(shared, i);
        if (metrics != NULL && fg_counter_get(&metrics->is_connected) != 0)
            return true;
    }
    return false;
}

static void put(json_t *into, const char *name, uint64_t value)
{
    json_object_set_new(into, name, json_integer((json_int_t)value));
}

/* The sum over the loops of the counter at `offset`. */
static void put_sum(json_t *into, const char *name, const struct fg_orders_shared *shared,
                    size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++) {
        const struct fg_orders_metrics *metrics = metrics_of(shared, i);
        if (metrics != NULL)
            sum += fg_counter_get(
                (const struct fg_counter *)(const void *)((const char *)metrics + offset));
    }
    put(into, name, sum);
}

static void put_latency(json_t *into, const struct fg_orders_shared *shared)
{
    struct fg_histogram *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return;
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++) {
        const struct fg_orders_metrics *metrics = metrics_of(shared, i);
        if (metrics != NULL)
            fg_histogram_merge(all, &metrics->latency);
    }
    static const struct {
        const char *name;
        unsigned permyriad;
    } quantiles[] = {{"p50", 5000}, {"p99", 9900}, {"p999", 9990}};
    json_t *latency = json_object();
    put(latency, "count", fg_counter_get(&all->count));
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        json_object_set_new(
            latency, quantiles[i].name,
            json_real((double)fg_histogram_quantile(all, quantiles[i].permyriad) / (double)FG_S));
    json_object_set_new(into, "latency_seconds", latency);
    free(all);
}

void fg_orders_shared_write(const struct fg_orders_shared *shared,
                            const struct fg_orders_conf *conf, json_t *into)
{
    static const char *const states[] = {"accepted", "confirmed", "completed", "cancelled"};
    const struct fg_orders_figures *figures = &shared->figures;
    json_t *orders = json_object();
    for (size_t i = 0; i < 4; i++)
        put(orders, states[i], fg_counter_get(&figures->values[i]));
    json_object_set_new(into, "orders", orders);
    json_t *stock = json_object();
    for (size_t i = 0; i < conf->sku_count && fg_counter_get(&figures->is_sampled) != 0; i++)
        put(stock, conf->skus[i].sku, fg_counter_get(&figures->stock[i]));
    json_object_set_new(into, "stock", stock);
    put(into, "orders_placed", fg_counter_get(&figures->values[FG_FIGURE_PLACED]));
    put(into, "claims", fg_counter_get(&figures->values[FG_FIGURE_CLAIMS]));
    put(into, "invites", fg_counter_get(&figures->values[FG_FIGURE_INVITES]));
    put(into, "invites_accepted", fg_counter_get(&figures->values[FG_FIGURE_ACCEPTS]));
#define SUM(object, name, member)                                                                  \
    put_sum(object, name, shared, offsetof(struct fg_orders_metrics, member))
    SUM(into, "orders_replayed", replayed);
    SUM(into, "orders_sold_out", sold_out);
    SUM(into, "event_streams", event_streams);
    json_t *redis = json_object();
    SUM(redis, "connected_threads", is_connected);
    SUM(redis, "connects", connects);
    SUM(redis, "commands", commands);
    SUM(redis, "errors", errors);
    SUM(redis, "timeouts", timeouts);
    SUM(redis, "refused_busy", refused_busy);
    SUM(redis, "refused_unavailable", refused_unavailable);
    SUM(redis, "in_flight", in_flight);
#undef SUM
    put_latency(redis, shared);
    json_object_set_new(into, "redis", redis);
}
