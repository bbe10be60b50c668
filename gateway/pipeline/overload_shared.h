/*
 * overload_shared.h: the process's pressure, sampled in one place, asked from every loop.
 * Protocol  one thread samples and updates policies/overload under the mutex and publishes the
 * level (relaxed: it is advice); a loop reads the level and, only when it is not NORMAL, asks the
 *           policy under the mutex.
 */
#ifndef FG_PIPELINE_OVERLOAD_SHARED_H
#define FG_PIPELINE_OVERLOAD_SHARED_H

#include "base/counters_shared.h"
#include "config/config.h"
#include "policies/overload.h"

#include <jansson.h>

struct fg_overload_shared;

/* NULL without memory. */
struct fg_overload_shared *fg_overload_shared_create(const struct fg_overload_conf *conf,
                                                     uint64_t now_ns);
void fg_overload_shared_destroy(struct fg_overload_shared *overload);

/*
 * Read the process's memory (/proc/self/statm) and take `fds_open` and the largest `loop_lag_ns` of
 * all loops. One thread, never a loop that serves clients, every conf->interval_ns.
 */
void fg_overload_shared_sample(struct fg_overload_shared *overload, uint64_t now_ns,
                               uint64_t fds_open, uint64_t loop_lag_ns);

/* Any thread. */
struct fg_overload_decision fg_overload_shared_decide(struct fg_overload_shared *overload,
                                                      enum fg_priority priority);
enum fg_overload_level fg_overload_shared_level(const struct fg_overload_shared *overload);
bool fg_overload_shared_accepts_connections(const struct fg_overload_shared *overload);
bool fg_overload_shared_keeps_alive(const struct fg_overload_shared *overload);
/* The level as a number, for who is not told of levels: 0 while nothing is refused for it. */
const struct fg_counter *fg_overload_shared_gauge(const struct fg_overload_shared *overload);
json_t *fg_overload_shared_stats(struct fg_overload_shared *overload);

#endif
