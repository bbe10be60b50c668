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
    limit->memory = bytes == 0 ? NULL : calloc(1, bytes);
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

/* Of HTTP/2 each stream is a place; how many the server allows is not known. */
static uint32_t places_of(const struct fg_cluster_conf *conf)
{
    uint64_t streams = fg_cluster_may_share(conf) && conf->max_streams > 0 ? conf->max_streams : 1;
    uint64_t places = conf->max_connections * streams;
    return places < UINT32_MAX ? (uint32_t)places : UINT32_MAX;
}

static uint32_t or_none(uint32_t max)
{
    return max == 0 ? UINT32_MAX : max;
}

static void make_cluster(struct fg_sim_backend *backend)
{
    const struct fg_cluster_conf *conf = backend->cluster;
    fg_limit_init(&backend->limits[FG_SIM_LIMIT_CONNECTIONS], places_of(conf));
    fg_limit_init(&backend->limits[FG_SIM_LIMIT_PENDING], conf->limits.pending_max);
    fg_limit_init(&backend->limits[FG_SIM_LIMIT_REQUESTS], or_none(conf->limits.requests_max));
    fg_limit_init(&backend->limits[FG_SIM_LIMIT_RETRIES], or_none(conf->limits.retries_max));
    backend->retry_conf =
        (struct fg_retry_conf){.connect_retries_max = conf->connect_retries,
                               .retries_max = conf->retries_max,
                               .causes = conf->retry_causes != 0 ? conf->retry_causes : UINT32_MAX};
    fg_retry_budget_init(&backend->budget, conf->retry_budget_permille, conf->retry_budget_min);
}

static bool make_backends(struct fg_gateway_model *model)
{
    const struct fg_config *config = model->config;
    size_t host_count = 0;
    for (size_t i = 0; i < config->backend_count; i++)
        host_count += fg_sim_host_count(&config->backends[i]);
    model->backends = calloc(config->backend_count + 1, sizeof(*model->backends));
    model->hosts = calloc(host_count + 1, sizeof(*model->hosts));
    if (model->backends == NULL || model->hosts == NULL)
        return false;
    struct fg_sim_host *next = model->hosts;
    for (size_t i = 0; i < config->backend_count; i++) {
        struct fg_sim_backend *backend = &model->backends[i];
        struct fg_gate_policy_config gate = fg_gate_policy_config_of(&config->backends[i]);
        fg_gate_policy_init(&backend->gate, &gate, 0);
        backend->expiry_ns = UINT64_MAX;
        backend->pending_first = FG_SIM_NONE;
        backend->pending_last = FG_SIM_NONE;
        if (!fg_sim_hosts_make(model, backend, next))
            return false;
        if (backend->is_cluster)
            make_cluster(backend);
        next += backend->host_count;
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
    *model =
        (struct fg_gateway_model){.scenario = scenario,
                                  .config = config,
                                  .heap = heap,
                                  .tally = tally,
                                  .key = {scenario->seed, ~scenario->seed},
                                  .chance = fg_chance_stream(scenario->seed, UINT64_MAX),
                                  .host_chance = fg_chance_stream(scenario->seed, UINT64_MAX - 1),
                                  .free = FG_SIM_NONE};
    struct fg_overload_config overload = fg_overload_config_of(&config->overload);
    fg_overload_init(&model->overload, &overload);
    fg_event_heap_add(heap, config->overload.interval_ns, FG_SIM_EVENT_PRESSURE, 0);
    fg_sim_connections_init(model);
    if (make_routes(model) && make_backends(model) && make_limits(model)) {
        fg_sim_memory_init(model);
        return model;
    }
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
        fg_sim_hosts_free(&model->backends[i]);
    for (size_t i = 0; i <= model->config->rate_limit_count && model->limits != NULL; i++)
        free(model->limits[i].memory);
    free(model->chunks);
    free(model->clients);
    free(model->hosts);
    for (size_t i = 0; i < model->config->route_count && model->routes != NULL; i++) {
        free(model->routes[i].line);
        free(model->routes[i].places);
    }
    free(model->routes);
    free(model->backends);
    free(model->limits);
    free(model);
}
