/*
 * orders_metrics_shared.h: figures of the order path for /stats.
 * Protocol  each event loop writes its own struct fg_orders_metrics; the loop with index 0 also
 *           writes the campaign's figures, sampled from Redis; any thread reads. Relaxed order.
 * Memory    fixed at creation.
 */
#ifndef FG_ORDERS_ORDERS_METRICS_SHARED_H
#define FG_ORDERS_ORDERS_METRICS_SHARED_H

#include "base/counters_shared.h"
#include "base/status.h"
#include "orders/orders_conf.h"
#include "redis/redis_metrics_shared.h"

#include <jansson.h>

/* Of one event loop. */
struct fg_orders_metrics {
    struct fg_redis_metrics redis;
    struct fg_counter refused_unavailable;
    struct fg_counter event_streams; /* open now */
    struct fg_counter replayed;      /* orders answered from their idempotency record */
    struct fg_counter sold_out;
};

enum fg_orders_figure {
    FG_FIGURE_ACCEPTED, /* the first four: orders in that state now */
    FG_FIGURE_CONFIRMED,
    FG_FIGURE_COMPLETED,
    FG_FIGURE_CANCELLED,
    FG_FIGURE_PLACED, /* totals */
    FG_FIGURE_CLAIMS,
    FG_FIGURE_INVITES,
    FG_FIGURE_ACCEPTS,
    FG_FIGURE_COUNT,
};

/* Of the campaign, as scripts/stats.lua gives them. */
struct fg_orders_figures {
    struct fg_counter is_sampled;
    struct fg_counter values[FG_FIGURE_COUNT];
    struct fg_counter *stock; /* one for each of conf->skus */
};

#define FG_ORDERS_THREADS_MAX 256

struct fg_orders_shared {
    struct fg_orders_figures figures;
    struct fg_orders_metrics *threads[FG_ORDERS_THREADS_MAX]; /* set before opened is raised */
    struct fg_flag opened[FG_ORDERS_THREADS_MAX];
};

FG_MUST_USE enum fg_status fg_orders_shared_init(struct fg_orders_shared *shared, size_t sku_count);
void fg_orders_shared_fini(struct fg_orders_shared *shared);

/* On the loop's thread, once for each loop. NULL: no memory. Freed by shared_fini. */
struct fg_orders_metrics *fg_orders_shared_open(struct fg_orders_shared *shared, unsigned thread);

/* Totals over all loops, to tell what came between two looks. */
struct fg_orders_replies {
    uint64_t count;
    uint64_t latency_ns; /* sum */
};

/*
 * How long Redis takes at `now_ns`: the mean of the replies since *last, which becomes now's, or
 * the age of the oldest command that still waits, whichever is more. UINT64_MAX while a loop has
 * lost it; 0 when nobody asked. The owner of *last.
 */
uint64_t fg_orders_shared_latency(const struct fg_orders_shared *shared, uint64_t now_ns,
                                  struct fg_orders_replies *last);

/* Any thread. */
bool fg_orders_shared_is_connected(const struct fg_orders_shared *shared);
void fg_orders_shared_write(const struct fg_orders_shared *shared,
                            const struct fg_orders_conf *conf, json_t *into);

#endif
