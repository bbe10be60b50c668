/*
 * sim_fixture.h: what the simulation tests share: a configuration and a scenario as text, run in
 * virtual time; sums over routes and stretches of time.
 * A run prints its seed; FG_TEST_SEED=N runs it with another.
 */
#ifndef FG_TEST_SIM_FIXTURE_H
#define FG_TEST_SIM_FIXTURE_H

#include "base/clock.h"
#include "rehearse/sim/simulation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sim {
    struct fg_config *config;
    struct fg_scenario *scenario;
    struct fg_tally *tally;
    const char *name;
};

/* Fails the test when a text has errors, which are printed. `scenario` is a printf format. */
struct sim sim_run(const char *name, const char *config, size_t buckets, const char *scenario, ...)
    FG_PRINTF(4, 5);
void sim_free(struct sim *sim);

/* With a look at the gateway after each stretch of time. */
struct sim sim_watch(const char *name, const char *config, size_t buckets,
                     fg_simulation_progress_fn on_progress, void *ctx, const char *scenario, ...)
    FG_PRINTF(6, 7);

size_t sim_route(const struct sim *sim, const char *name);
size_t sim_backend(const struct sim *sim, const char *name);
const struct fg_tally_route *sim_route_tally(const struct sim *sim, const char *name);

/* Good answers (of all routes: name NULL) a second between two times. */
double sim_good_per_s(const struct sim *sim, const char *route, uint64_t from_ns, uint64_t to_ns);

/* Of what was offered in all: good, as a share of 1. */
double sim_good_share(const struct sim *sim, const char *route);

/* Mean time in the queue of those let in between two times; 0 when nobody was. */
uint64_t sim_wait_mean_ns(const struct sim *sim, const char *backend, uint64_t from_ns,
                          uint64_t to_ns);

#endif
