/*
 * order_events.h: changes of orders as Redis publishes them, for whoever watches an order.
 * Job      one subscription for each watched order of this loop, however many watch it.
 * Thread   one event loop. The connection is its own and made at the first watch.
 * Memory   watchers are their owners'; a channel is kept while somebody watches it.
 *
 *    join --subscribed--> on_ready (read the state now) --> on_change ... --> leave
 *             ^ connection lost: on_ready again, since a change may have been missed
 */
#ifndef FG_ORDERS_ORDER_EVENTS_H
#define FG_ORDERS_ORDER_EVENTS_H

#include "base/list.h"
#include "redis/redis_connector.h"

#define FG_ORDER_CHANNEL_BUCKETS 1024
/* Of one order on a loop: all of them are told of a change in one turn. */
#define FG_ORDER_WATCHERS_MAX 32u

struct fg_order_channel;

struct fg_order_watcher {
    struct fg_list list; /* of its channel */
    struct fg_order_channel *channel;
    void (*on_ready)(struct fg_order_watcher *watcher);
    /* `status` lives for the call. The watcher may leave, and its memory go, inside. */
    void (*on_change)(struct fg_order_watcher *watcher, uint64_t version, struct fg_span status);
};

struct fg_order_events {
    struct fg_redis_connector connector; /* env, conf and address are set by the owner */
    const char *prefix;
    struct fg_list buckets[FG_ORDER_CHANNEL_BUCKETS]; /* channels by order id */
};

FG_MUST_USE enum fg_status fg_order_events_open(struct fg_order_events *events);
/* Nobody watches any more. */
void fg_order_events_close(struct fg_order_events *events);

/*
 * The callbacks are set by the caller. Does not call back before it returns; *is_ready: the channel
 * is subscribed already, so that on_ready does not come. FG_ERR_LIMIT: as many watch it as may.
 */
FG_MUST_USE enum fg_status fg_order_events_join(struct fg_order_events *events,
                                                struct fg_order_watcher *watcher,
                                                struct fg_span order_id, bool *is_ready);
/* Also of one that never joined (zeroed). */
void fg_order_events_leave(struct fg_order_events *events, struct fg_order_watcher *watcher);

#endif
