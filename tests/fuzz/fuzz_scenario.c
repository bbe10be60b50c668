/*
 * fuzz_scenario.c: any bytes as a scenario against a fixed configuration: errors or a scenario,
 * never a crash; what is accepted is simulated for a moment.
 */
#include "config/config.h"
#include "rehearse/sim/simulation.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static const char config_text[] =
    "listeners: [{address: '127.0.0.1:8443', kind: plain}]\n"
    "clusters: {shop: {endpoints: ['127.0.0.1:3000']}}\n"
    "routes:\n"
    "  - {name: order, match: {path: /order}, to: cluster:shop, priority: critical}\n"
    "  - {name: browse, match: {prefix: /}, to: cluster:shop, cache: true}\n";

#define EVENTS_MOST 20000

static bool go_on(void *ctx, const struct fg_simulation_progress *progress)
{
    (void)ctx;
    return progress->events < EVENTS_MOST;
}

/* Small enough to be run for each input: rates and lengths may be anything. */
static bool is_small(const struct fg_scenario *scenario)
{
    double users = 0;
    for (size_t i = 0; i < scenario->crowd_count; i++) {
        const struct fg_scenario_crowd *crowd = &scenario->crowds[i];
        users += fg_scenario_expected_users(crowd, scenario->duration_ns);
        if (crowd->invites.is_on || crowd->retry.attempts > 10)
            return false;
        for (size_t j = 0; j < crowd->step_count; j++)
            users += crowd->steps[j].times;
    }
    for (size_t i = 0; i < scenario->backend_count; i++) {
        if (scenario->backends[i].slots > 10000)
            return false;
    }
    return users < 1000 && scenario->duration_ns < UINT64_C(600000000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fg_config *config;
    size_t errors = 0;
    struct fg_scenario *scenario = NULL;
    if (config == NULL)
        fg_config_parse(&config, "c.yaml", fg_span_from_string(config_text), false, NULL, NULL,
                        &errors);
    if (config == NULL)
        abort();
    enum fg_status status = fg_scenario_parse(
        &scenario, "s.yaml", fg_span_make((const char *)data, size), config, NULL, NULL, &errors);
    if ((status == FG_OK) != (scenario != NULL) || (status == FG_OK) != (errors == 0))
        abort();
    if (scenario != NULL && is_small(scenario))
        fg_tally_destroy(fg_simulation_run(scenario, config, 20, go_on, NULL));
    fg_scenario_destroy(scenario);
    return 0;
}
