/*
 * gateway_setup.c: the modelled gateway from configuration and scenario: the same policy objects,
 * made by the same functions, as the real one has.
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"
#include "pipeline/policy_conf.h"
#include "upstream/gate_conf.h"

#include <stdlib.h>

#define SESSION_KEYS_MAX 100000u

static bool make_limit(struct fg_sim_limit *limit, const struct fg_rate_limit_conf *conf)
{
    const struct fg_limit_rule rule = fg_limit_rule_of(conf);
    size_t bytes = fg_limit_table_bytes(conf->keys_max);
    limit->parts = conf->parts;
    limit->part_count = conf->part_count;
    limit->cost = conf->cost == FG_LIMIT_COST_REQUEST ? 1 : conf->reserve;
    limit->memory = bytes == 0 ? NULL : malloc(bytes);
    if (limit->memory == NULL)
        return false;
    fg_limit_table_init(&limit->table, limit->memory, bytes, conf->keys_max, &rule);
    return true;
}

static bool make_limits(struct fg_gateway_model *model)
{
    static const struct fg_limit_part by_ip = {.kind = FG_LIMIT_BY_IP};
    const struct fg_config *config = model->config;
    model->limits = calloc(config->rate_limit_count + 1, sizeof(*model->limits));
    if (model->limits == NULL)
        return false;
    for (size_t i = 0; i < config->rate_limit_count; i++) {
        if (!make_limit(&model->limits[i], &config->rate_limits[i]))
            return false;
    }
    uint32_t sessions = config->identity.sessions_per_ip_max_per_minute;
    const struct fg_rate_limit_conf by_address = {.parts = &by_ip,
                                                  .part_count = 1,
                                                  .rate = {sessions, 60 * FG_S},
                                                  .burst = sessions,
                                                  .keys_max = SESSION_KEYS_MAX};
    return sessions == 0 || make_limit(&model->limits[config->rate_limit_count], &by_address);
}

static bool make_backends(struct fg_gateway_model *model)
{
    static const struct fg_backend_events events = {.served = FG_SIM_EVENT_SERVED,
                                                    .answered = FG_SIM_EVENT_ANSWERED,
                                                    .turn = FG_SIM_EVENT_TURN,
                                                    .fault = FG_SIM_EVENT_FAULT};
    const struct fg_config *config = model->config;
    model->backends = calloc(config->backend_count + 1, sizeof(*model->backends));
    if (model->backends == NULL)
        return false;
    for (size_t i = 0; i < config->backend_count; i++) {
        struct fg_sim_backend *backend = &model->backends[i];
        struct fg_gate_policy_config gate = fg_gate_policy_config_of(&config->backends[i]);
        fg_gate_policy_init(&backend->gate, &gate, 0);
        backend->expiry_ns = UINT64_MAX;
        const struct fg_cluster_conf *cluster = &config->backends[i].cluster;
        if (config->backends[i].kind == FG_BACKEND_CLUSTER)
            backend->retry_conf = (struct fg_retry_conf){
                .retries_max = cluster->retries_max,
                .causes = cluster->retry_causes != 0 ? cluster->retry_causes : UINT32_MAX};
        fg_retry_budget_init(&backend->budget, cluster->retry_budget_permille,
                             cluster->retry_budget_min);
        if (!fg_backend_model_init(&backend->model, &model->scenario->backends[i], model->heap,
                                   &events, model->scenario->seed ^ 0xbac, fg_sim_on_job_done,
                                   model))
            return false;
    }
    return true;
}

static bool make_room(const struct fg_gateway_model *model, struct fg_sim_route *route)
{
    struct fg_waiting_room_config room = fg_waiting_room_config_of(&route->conf->waiting_room);
    uint64_t capacity = fg_waiting_room_capacity(&room);
    route->line = calloc(1, sizeof(*route->line));
    route->places = calloc(1, fg_room_places_bytes(capacity));
    if (route->line == NULL || route->places == NULL)
        return false;
    fg_waiting_room_init(&route->room, route->line, route->places, capacity, &room, 0,
                         model->scenario->seed, 0);
    if (room.admit_amount == 0) {
        uint32_t slots = model->config->backends[route->conf->backend_index].concurrency.limit;
        fg_admit_rate_init(&route->pace, slots, 0);
        fg_waiting_room_set_pace(&route->room, fg_admit_rate_amount(route->pace.per_s),
                                 FG_ADMIT_RATE_PERIOD_NS, fg_admit_rate_burst(route->pace.per_s),
                                 0);
    }
    return true;
}

static bool make_routes(struct fg_gateway_model *model)
{
    const struct fg_config *config = model->config;
    model->routes = calloc(config->route_count + 1, sizeof(*model->routes));
    if (model->routes == NULL)
        return false;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct fg_route_conf *conf = &config->routes[i];
        model->routes[i] = (struct fg_sim_route){.conf = conf,
                                                 .oldest = FG_SIM_NONE,
                                                 .newest = FG_SIM_NONE,
                                                 .waiters = FG_SIM_NONE,
                                                 .expiry_ns = UINT64_MAX};
        struct fg_gate_policy_config gate = fg_gate_policy_config_of_route(conf);
        if (conf->has_concurrency)
            fg_gate_policy_init(&model->routes[i].gate, &gate, 0);
        if (conf->waiting_room.enabled && !make_room(model, &model->routes[i]))
            return false;
    }
    return true;
}

struct fg_gateway_model *fg_gateway_model_create(const struct fg_scenario *scenario,
                                                 const struct fg_config *config,
                                                 struct fg_event_heap *heap, struct fg_tally *tally)
{
    struct fg_gateway_model *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return NULL;
    *model = (struct fg_gateway_model){.scenario = scenario,
                                       .config = config,
                                       .heap = heap,
                                       .tally = tally,
                                       .key = {scenario->seed, ~scenario->seed},
                                       .chance = fg_chance_stream(scenario->seed, UINT64_MAX),
                                       .free = FG_SIM_NONE};
    struct fg_overload_config overload = fg_overload_config_of(&config->overload);
    fg_overload_init(&model->overload, &overload);
    fg_event_heap_add(heap, config->overload.interval_ns, FG_SIM_EVENT_PRESSURE, 0);
    if (make_routes(model) && make_backends(model) && make_limits(model))
        return model;
    fg_gateway_model_destroy(model);
    return NULL;
}

void fg_gateway_model_destroy(struct fg_gateway_model *model)
{
    if (model == NULL)
        return;
    for (size_t i = 0; i < model->chunk_count; i++)
        free(model->chunks[i]);
    for (size_t i = 0; i < model->config->backend_count && model->backends != NULL; i++)
        fg_backend_model_fini(&model->backends[i].model);
    for (size_t i = 0; i <= model->config->rate_limit_count && model->limits != NULL; i++)
        free(model->limits[i].memory);
    free(model->chunks);
    free(model->request_of_user);
    for (size_t i = 0; i < model->config->route_count && model->routes != NULL; i++) {
        free(model->routes[i].line);
        free(model->routes[i].places);
    }
    free(model->routes);
    free(model->backends);
    free(model->limits);
    free(model);
}
