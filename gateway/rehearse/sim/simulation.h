/*
 * simulation.h: a scenario run against a configuration in virtual time.
 * Thread   one owner; nothing else runs, no clock is read, no file opened.
 */
#ifndef FG_REHEARSE_SIMULATION_H
#define FG_REHEARSE_SIMULATION_H

#include "rehearse/sim/gateway_model.h"

struct fg_simulation_progress {
    uint64_t now_ns; /* virtual */
    uint64_t events;
    uint64_t users_active;
    const struct fg_gateway_model *gateway;
};

/* After each stretch of time; may be NULL. False: stop here. */
typedef bool (*fg_simulation_progress_fn)(void *ctx, const struct fg_simulation_progress *progress);

/*
 * Runs it to its end, `bucket_count` stretches of equal length; the last answers on their way count
 * as gone. NULL: memory was missing, or stopped. The same scenario, configuration and bucket count
 * give the same tally on every run.
 */
struct fg_tally *fg_simulation_run(const struct fg_scenario *scenario,
                                   const struct fg_config *config, size_t bucket_count,
                                   fg_simulation_progress_fn on_progress, void *ctx);

#endif
