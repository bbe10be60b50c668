/*
 * live.h: a scenario as real traffic against a running gateway: open loop, from one process.
 * Job      the virtual users of a simulation, on a real clock; their requests go over a bounded
 *          number of HTTP/2 connections.
 * Law      every request has a time at which it is due; it is sent then or as soon after as this
 *          process can, and its latency counts from that time. A slow answer never delays the
 *          next arrival (no coordinated omission). How far behind its schedule the generator ever
 *          was is part of the result.
 * Thread   the main thread; it blocks until the scenario is over.
 */
#ifndef FG_REHEARSE_LIVE_H
#define FG_REHEARSE_LIVE_H

#include "rehearse/tally.h"

struct fg_live_options {
    const char *target;   /* "https://host:port" or "http://host:port" */
    unsigned connections; /* at most so many */
    bool is_insecure;     /* any certificate will do */
    size_t buckets;
};

struct fg_live_progress {
    uint64_t now_ns; /* since the start */
    uint64_t users_active;
    uint64_t offered;
    uint64_t outcomes[FG_OUTCOME_COUNT];
    uint64_t behind_ns; /* worst delay of the generator itself since the last call */
};

/* Once a second. */
typedef void (*fg_live_progress_fn)(void *ctx, const struct fg_live_progress *progress);

/*
 * SIGINT ends it early, and what came of it so far is the result. NULL: *error says why (the target
 * is no URL, cannot be reached, memory).
 */
struct fg_tally *fg_live_run(const struct fg_scenario *scenario, const struct fg_config *config,
                             const struct fg_live_options *options, fg_live_progress_fn on_progress,
                             void *ctx, struct fg_error *error);

#endif
