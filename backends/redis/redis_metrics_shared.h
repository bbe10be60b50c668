/*
 * redis_metrics_shared.h: what the links to one Redis count.
 * Protocol  the loop of a link writes its own; any thread reads and sums (counters_shared.h).
 */
#ifndef FG_REDIS_METRICS_SHARED_H
#define FG_REDIS_METRICS_SHARED_H

#include "base/counters_shared.h"
#include "base/histogram_shared.h"

#include <jansson.h>

/* Of one event loop. */
struct fg_redis_metrics {
    struct fg_counter is_connected;
    struct fg_counter connects;
    struct fg_counter commands;
    struct fg_counter errors;
    struct fg_counter timeouts;
    struct fg_counter refused_busy;
    struct fg_counter in_flight;
    struct fg_counter oldest_ns; /* when the oldest command without a reply was given; 0: none */
    struct fg_histogram latency; /* ns, from submit to reply */
};

/* Add what `from` holds now to `sum`, which the caller owns alone and has zeroed. */
void fg_redis_metrics_merge(struct fg_redis_metrics *sum, const struct fg_redis_metrics *from);

/* A sum over the loops, as members of `into`. */
void fg_redis_metrics_write(const struct fg_redis_metrics *sum, json_t *into);

#endif
