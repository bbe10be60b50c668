/*
 * simulation.c: events in their order, until the time is up.
 */
#include "rehearse/sim/simulation.h"

#include <stdlib.h>

struct simulation {
    struct fg_event_heap heap;
    struct fg_tally *tally;
    struct fg_gateway_model *gateway;
    struct fg_users *users;
};

/* All events before `until_ns`, which begins the next stretch. */
static void run_until(struct simulation *sim, uint64_t until_ns)
{
    struct fg_event event;
    while (sim->heap.count > 0 && sim->heap.events[0].at_ns < until_ns) {
        (void)fg_event_heap_take(&sim->heap, &event);
        sim->tally->events++;
        if (fg_event_kind(&event) < FG_USERS_EVENT_END)
            fg_users_on_event(sim->users, &event);
        else
            fg_gateway_model_on_event(sim->gateway, &event);
    }
}

static bool run_buckets(struct simulation *sim, fg_simulation_progress_fn on_progress, void *ctx)
{
    struct fg_tally *tally = sim->tally;
    for (size_t i = 0; i < tally->bucket_count; i++) {
        uint64_t until_ns = (i + 1) * tally->bucket_ns;
        if (until_ns > tally->duration_ns)
            until_ns = tally->duration_ns;
        run_until(sim, until_ns);
        fg_gateway_model_sample(sim->gateway, i, until_ns);
        if (sim->heap.is_exhausted || !fg_users_are_complete(sim->users) ||
            !fg_gateway_model_is_complete(sim->gateway))
            return false;
        struct fg_simulation_progress progress = {.now_ns = until_ns,
                                                  .events = tally->events,
                                                  .users_active = fg_users_active(sim->users),
                                                  .gateway = sim->gateway};
        if (on_progress != NULL && !on_progress(ctx, &progress))
            return false;
    }
    tally->users_active = fg_users_active(sim->users);
    return true;
}

struct fg_tally *fg_simulation_run(const struct fg_scenario *scenario,
                                   const struct fg_config *config, size_t bucket_count,
                                   fg_simulation_progress_fn on_progress, void *ctx)
{
    struct simulation sim = {.tally = fg_tally_create(scenario, config, bucket_count)};
    bool is_done = false;
    if (sim.tally != NULL)
        sim.gateway = fg_gateway_model_create(scenario, config, &sim.heap, sim.tally);
    if (sim.gateway != NULL) {
        struct fg_users_port port = fg_gateway_model_port(sim.gateway);
        sim.users = fg_users_create(scenario, config, &sim.heap, sim.tally, &port);
    }
    if (sim.users != NULL) {
        fg_gateway_model_serve(sim.gateway, sim.users);
        is_done = run_buckets(&sim, on_progress, ctx);
    }
    fg_users_destroy(sim.users);
    fg_gateway_model_destroy(sim.gateway);
    fg_event_heap_fini(&sim.heap);
    if (!is_done) {
        fg_tally_destroy(sim.tally);
        return NULL;
    }
    return sim.tally;
}
