/*
 * overload_shared.h: the process's pressure, sampled in one place, asked from every loop.
 * Protocol  one thread samples, updates policies/overload under the mutex and publishes the steps
 *           taken (backends/pressure_shared.h); a loop that acts on a step reads those alone, and
 *           asks the policy under the mutex only while requests are shed.
 */
#ifndef FG_PIPELINE_OVERLOAD_SHARED_H
#define FG_PIPELINE_OVERLOAD_SHARED_H

#include "backends/pressure_shared.h"
#include "config/config.h"

#include <jansson.h>

struct fg_overload_shared;

/* NULL without memory. */
struct fg_overload_shared *fg_overload_shared_create(const struct fg_overload_conf *conf);
void fg_overload_shared_destroy(struct fg_overload_shared *overload);

/* What the loops have in use; the rest is read from the system. */
struct fg_overload_probe {
    uint64_t connections; /* of clients, open; stands for descriptors where they are not counted */
    uint64_t loop_lag_ns; /* the largest of all loops */
};

/*
 * Look at the resources, take and give up steps, log each that changes. One thread, never a loop
 * that serves clients, every conf->interval_ns.
 */
void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               const struct fg_overload_probe *probe);

/* Any thread. */
struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority);
/* What is taken now; all zero for ever in shadow. Lives as long as `overload`. */
struct fg_pressure *fg_overload_shared_pressure(struct fg_overload_shared *overload);
json_t *fg_overload_shared_stats(struct fg_overload_shared *overload);

#endif
