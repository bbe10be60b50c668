/*
 * sim_fixture.c: see sim_fixture.h.
 */
#include "sim_fixture.h"

static void tell_error(const struct fg_error *error, void *ctx)
{
    (void)ctx;
    char text[1024];
    fg_error_format(error, text, sizeof(text));
    print_message("%s\n", text);
}

static struct sim run(const char *name, const char *config, size_t buckets,
                      fg_simulation_progress_fn on_progress, void *ctx, const char *scenario)
{
    struct sim sim = {.name = name};
    size_t errors = 0;
    fg_config_parse(&sim.config, "config.yaml", fg_span_from_string(config), false, tell_error,
                    NULL, &errors);
    assert_non_null(sim.config);
    fg_scenario_parse(&sim.scenario, "scenario.yaml", fg_span_from_string(scenario), sim.config,
                      tell_error, NULL, &errors);
    assert_non_null(sim.scenario);
    const char *seed = getenv("FG_TEST_SEED");
    if (seed != NULL)
        sim.scenario->seed = strtoull(seed, NULL, 10);
    print_message("%s: seed %llu\n", name, (unsigned long long)sim.scenario->seed);
    sim.tally = fg_simulation_run(sim.scenario, sim.config, buckets, on_progress, ctx);
    assert_non_null(sim.tally);
    return sim;
}

static void format(char *text, size_t bytes, const char *scenario, va_list args) FG_PRINTF(3, 0);

static void format(char *text, size_t bytes, const char *scenario, va_list args)
{
    int len = vsnprintf(text, bytes, scenario, args);
    assert_true(len > 0 && (size_t)len < bytes);
}

struct sim sim_run(const char *name, const char *config, size_t buckets, const char *scenario, ...)
{
    char text[8192];
    va_list args;
    va_start(args, scenario);
    format(text, sizeof(text), scenario, args);
    va_end(args);
    return run(name, config, buckets, NULL, NULL, text);
}

struct sim sim_watch(const char *name, const char *config, size_t buckets,
                     fg_simulation_progress_fn on_progress, void *ctx, const char *scenario, ...)
{
    char text[8192];
    va_list args;
    va_start(args, scenario);
    format(text, sizeof(text), scenario, args);
    va_end(args);
    return run(name, config, buckets, on_progress, ctx, text);
}

void sim_free(struct sim *sim)
{
    fg_tally_destroy(sim->tally);
    fg_scenario_destroy(sim->scenario);
    fg_config_destroy(sim->config);
    *sim = (struct sim){0};
}

size_t sim_route(const struct sim *sim, const char *name)
{
    for (size_t i = 0; i < sim->config->route_count; i++) {
        if (strcmp(sim->config->routes[i].name, name) == 0)
            return i;
    }
    fail_msg("no route %s", name);
    return 0;
}

size_t sim_backend(const struct sim *sim, const char *name)
{
    for (size_t i = 0; i < sim->config->backend_count; i++) {
        if (strcmp(sim->config->backends[i].name, name) == 0)
            return i;
    }
    fail_msg("no backend %s", name);
    return 0;
}

const struct fg_tally_route *sim_route_tally(const struct sim *sim, const char *name)
{
    return &sim->tally->routes[sim_route(sim, name)];
}

double sim_good_per_s(const struct sim *sim, const char *route, uint64_t from_ns, uint64_t to_ns)
{
    size_t first = fg_tally_bucket(sim->tally, from_ns);
    size_t end = (size_t)(to_ns / sim->tally->bucket_ns);
    uint64_t good = 0;
    assert_true(end > first);
    for (size_t i = 0; i < sim->tally->route_count; i++) {
        if (route != NULL && i != sim_route(sim, route))
            continue;
        for (size_t at = first; at < end; at++)
            good += sim->tally->routes[i].points[at].outcomes[FG_OUTCOME_GOOD];
    }
    return (double)good * 1e9 / ((double)(end - first) * (double)sim->tally->bucket_ns);
}

double sim_good_share(const struct sim *sim, const char *route)
{
    uint64_t good = 0;
    uint64_t ended = 0;
    for (size_t i = 0; i < sim->tally->route_count; i++) {
        if (route != NULL && i != sim_route(sim, route))
            continue;
        good += sim->tally->routes[i].outcomes[FG_OUTCOME_GOOD];
        for (unsigned j = 0; j < FG_OUTCOME_IN_LINE; j++)
            ended += sim->tally->routes[i].outcomes[j];
    }
    return ended == 0 ? 1 : (double)good / (double)ended;
}

uint64_t sim_wait_mean_ns(const struct sim *sim, const char *backend, uint64_t from_ns,
                          uint64_t to_ns)
{
    const struct fg_tally_load *loads = sim->tally->backends[sim_backend(sim, backend)].loads;
    uint64_t sum_ns = 0;
    uint64_t count = 0;
    size_t end = (size_t)(to_ns / sim->tally->bucket_ns);
    for (size_t at = fg_tally_bucket(sim->tally, from_ns); at < end; at++) {
        sum_ns += loads[at].wait_sum_ns;
        count += loads[at].let_in;
    }
    return count == 0 ? 0 : sum_ns / count;
}
