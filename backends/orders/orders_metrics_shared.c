/*
 * orders_metrics_shared.c: sums over the loops, written as JSON.
 */
#include "orders_metrics_shared.h"

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
        if (metrics != NULL && fg_counter_get(&metrics->redis.is_connected) != 0)
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

static void put_redis(json_t *into, const struct fg_orders_shared *shared)
{
    struct fg_redis_metrics *sum = calloc(1, sizeof(*sum));
    if (sum == NULL)
        return;
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++) {
        const struct fg_orders_metrics *metrics = metrics_of(shared, i);
        if (metrics != NULL)
            fg_redis_metrics_merge(sum, &metrics->redis);
    }
    fg_redis_metrics_write(sum, into);
    free(sum);
}

uint64_t fg_orders_shared_latency(const struct fg_orders_shared *shared, uint64_t now_ns,
                                  struct fg_orders_replies *last)
{
    struct fg_orders_replies now = {0};
    uint64_t latency_ns = 0;
    bool is_lost = false;
    for (size_t i = 0; i < FG_ORDERS_THREADS_MAX; i++) {
        const struct fg_orders_metrics *metrics = metrics_of(shared, i);
        if (metrics == NULL)
            continue;
        now.count += fg_counter_get(&metrics->redis.latency.count);
        now.latency_ns += fg_counter_get(&metrics->redis.latency.sum);
        uint64_t oldest_ns = fg_counter_get(&metrics->redis.oldest_ns);
        if (oldest_ns != 0 && oldest_ns < now_ns && now_ns - oldest_ns > latency_ns)
            latency_ns = now_ns - oldest_ns;
        is_lost = is_lost || (fg_counter_get(&metrics->redis.connects) > 0 &&
                              fg_counter_get(&metrics->redis.is_connected) == 0);
    }
    /* The two are not read at one moment: what does not fit counts at the next look. */
    if (now.count > last->count && now.latency_ns > last->latency_ns) {
        uint64_t mean_ns = (now.latency_ns - last->latency_ns) / (now.count - last->count);
        latency_ns = mean_ns > latency_ns ? mean_ns : latency_ns;
    }
    *last = now;
    return is_lost ? UINT64_MAX : latency_ns;
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
    put_redis(redis, shared);
    SUM(redis, "refused_unavailable", refused_unavailable);
#undef SUM
    json_object_set_new(into, "redis", redis);
}
