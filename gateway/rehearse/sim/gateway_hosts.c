/*
 * gateway_hosts.c: the endpoints of a backend: who is chosen, who is left alone, how it gets well.
 * Job      what proxy/endpoint.c and hosts_shared.c do with connections and locks, over imagined
 *          servers; policies/balance, circuit_breaker, outlier and health decide.
 * Thread   one owner, in virtual time.
 * Memory   an array a backend, made at the start: as many hosts as endpoints are written. Those of
 *          a file, and names that lead to several addresses, are not looked up: one host each.
 * Departs  A check is good where the server can be reached and would answer in time.
 */
#include "rehearse/sim/gateway_model_internal.h"

#include "base/clock.h"

#include <stdlib.h>

#define BACKOFF_FIRST_NS (50 * FG_MS)
#define BACKOFF_MOST_NS FG_S
#define OVERPROVISION_PERMILLE 1400u

static bool is_broken(const struct fg_sim_host *host)
{
    return host->breaker.state != FG_BREAKER_CLOSED;
}

static bool has_breakers(const struct fg_sim_backend *backend)
{
    return backend->is_cluster && backend->cluster->has_breaker;
}

/* After health, ejection or breaker of host `index` has changed. */
static void publish(struct fg_sim_backend *backend, size_t index, uint64_t now_ns)
{
    struct fg_sim_host *host = &backend->hosts[index];
    struct fg_balance_host *to = &backend->balance_hosts[index];
    bool is_up = backend->cluster->has_check ? host->health.state == FG_HEALTH_HEALTHY
                                             : host->health.state != FG_HEALTH_UNHEALTHY;
    bool is_left_alone =
        has_breakers(backend) && is_broken(host) && !backend->cluster->is_breaker_shadow;
    bool is_usable = is_up && !backend->outliers[index].is_ejected && !is_left_alone;
    if (is_usable == to->is_healthy)
        return;
    bool is_first = host->health.good_total + host->health.bad_total == 1;
    to->is_healthy = is_usable;
    if (is_usable && !is_first)
        to->healthy_since_ns = now_ns;
    fg_balance_refresh(&backend->balance);
}

static void publish_all(struct fg_sim_backend *backend, uint64_t now_ns)
{
    for (size_t i = 0; i < backend->host_count; i++)
        publish(backend, i, now_ns);
}

/* ---- choosing ---- */

static bool was_tried(const struct fg_sim_request *request, size_t index)
{
    for (unsigned i = 0; i < request->tried_count; i++) {
        if (request->tried[i] == index)
            return true;
    }
    return false;
}

/* Is a probe due, and this request the one to be it? Its host, or FG_BALANCE_NONE. */
static size_t find_probe(struct fg_sim_backend *backend, const struct fg_sim_request *request,
                         enum fg_priority priority, uint64_t now_ns, uint64_t *soonest_ns)
{
    for (size_t i = 0; i < backend->host_count; i++) {
        struct fg_sim_host *host = &backend->hosts[i];
        uint64_t wait_ns = 0;
        if (!is_broken(host) || was_tried(request, i))
            continue;
        enum fg_breaker_verdict verdict =
            fg_circuit_breaker_try_pass(&host->breaker, priority, now_ns, &wait_ns);
        publish(backend, i, now_ns);
        if (verdict == FG_BREAKER_PROBE)
            return i;
        *soonest_ns = wait_ns < *soonest_ns ? wait_ns : *soonest_ns;
    }
    return FG_BALANCE_NONE;
}

/* With too few healthy hosts the balancer takes any; but not one that is left alone. */
static size_t find_closed(const struct fg_sim_backend *backend, size_t from)
{
    size_t found = FG_BALANCE_NONE;
    for (size_t i = 0; i < backend->host_count; i++) {
        size_t index = (from + i) % backend->host_count;
        if (is_broken(&backend->hosts[index]))
            continue;
        if (backend->balance_hosts[index].is_healthy)
            return index;
        found = found == FG_BALANCE_NONE ? index : found;
    }
    return found;
}

static size_t choose(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                     const struct fg_sim_request *request, uint64_t now_ns)
{
    struct fg_balance_ask ask = {
        .now_ns = now_ns, .tried = request->tried, .tried_count = request->tried_count};
    ask.random = fg_chance_bits(&model->host_chance);
    if (backend->cluster->balance == FG_BALANCE_HASH) {
        ask.has_key = true;
        ask.key_hash =
            fg_siphash(&model->key, &request->call.user_id, sizeof(request->call.user_id));
    }
    return fg_balance_pick(&backend->balance, &ask);
}

bool fg_sim_host_pick(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                      struct fg_sim_request *request, uint64_t now_ns, uint64_t *retry_after_ns)
{
    enum fg_priority priority = request->step->route->priority;
    uint64_t soonest_ns = UINT64_MAX;
    request->host = 0;
    request->is_host_probe = false;
    if (backend->host_count == 1 && !has_breakers(backend)) {
        fg_balance_started(&backend->balance, 0);
        return true;
    }
    bool is_shadow = backend->cluster->is_breaker_shadow;
    size_t index = has_breakers(backend) && !is_shadow
                       ? find_probe(backend, request, priority, now_ns, &soonest_ns)
                       : FG_BALANCE_NONE;
    request->is_host_probe = index != FG_BALANCE_NONE;
    if (index == FG_BALANCE_NONE) {
        index = choose(model, backend, request, now_ns);
        if (has_breakers(backend) && is_broken(&backend->hosts[index])) {
            uint64_t wait_ns;
            if (is_shadow)
                request->is_host_probe =
                    fg_circuit_breaker_try_pass(&backend->hosts[index].breaker, priority, now_ns,
                                                &wait_ns) == FG_BREAKER_PROBE;
            else
                index = find_closed(backend, index);
        }
    }
    *retry_after_ns = soonest_ns == UINT64_MAX ? FG_S : soonest_ns;
    if (index == FG_BALANCE_NONE)
        return false;
    request->host = (uint16_t)index;
    fg_balance_started(&backend->balance, index);
    return true;
}

/* ---- how it went ---- */

static void tell_breaker(struct fg_sim_backend *backend, struct fg_sim_request *request,
                         enum fg_breaker_outcome outcome, uint64_t latency_ns, uint64_t now_ns)
{
    request->is_breaker_told = true;
    if (!has_breakers(backend) || (outcome == FG_BREAKER_CANCELLED && !request->is_host_probe))
        return;
    fg_circuit_breaker_record(&backend->hosts[request->host].breaker, now_ns,
                              request->is_host_probe, outcome, latency_ns);
    publish(backend, request->host, now_ns);
}

static void note_answer(struct fg_sim_backend *backend, struct fg_sim_request *request,
                        bool is_error, uint64_t latency_ns, uint64_t now_ns)
{
    const struct fg_cluster_conf *conf = backend->cluster;
    struct fg_sim_host *host = &backend->hosts[request->host];
    struct fg_outlier_sample *sample = &backend->samples[request->host];
    sample->answers++;
    sample->errors += is_error;
    if (!is_error)
        sample->latencies[fg_outlier_bucket(latency_ns)]++;
    if (is_error) {
        sample->error_instants += fg_failure_row_note(&host->error_instants, now_ns, latency_ns);
        (void)fg_failure_row_note(&host->errors, now_ns, latency_ns);
    }
    if (!is_error)
        fg_failure_row_end(&host->errors);
    if (conf->outlier.consecutive_errors == 0 ||
        host->errors.count < conf->outlier.consecutive_errors)
        return;
    fg_failure_row_end(&host->errors);
    if (fg_outlier_try_eject(&conf->outlier, backend->outliers, backend->host_count, request->host,
                             FG_OUTLIER_CONSECUTIVE, now_ns))
        publish_all(backend, now_ns);
}

void fg_sim_host_judge(struct fg_sim_backend *backend, struct fg_sim_request *request,
                       bool is_error, uint64_t latency_ns, uint64_t now_ns)
{
    if (!backend->is_cluster)
        return;
    if (backend->cluster->has_outlier)
        note_answer(backend, request, is_error, latency_ns, now_ns);
    tell_breaker(backend, request, is_error ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS, latency_ns,
                 now_ns);
}

void fg_sim_host_ended(struct fg_sim_backend *backend, struct fg_sim_request *request,
                       uint64_t now_ns)
{
    if (!request->is_breaker_told)
        tell_breaker(backend, request, FG_BREAKER_CANCELLED, 0, now_ns);
    request->is_breaker_told = false;
    fg_balance_ended(&backend->balance, request->host);
}

void fg_sim_host_connected(struct fg_sim_backend *backend, const struct fg_sim_request *request)
{
    backend->hosts[request->host].connect_failures = 0;
    backend->balance_hosts[request->host].not_before_ns = 0;
}

void fg_sim_host_unreachable(struct fg_sim_backend *backend, const struct fg_sim_request *request,
                             uint64_t now_ns)
{
    uint32_t *failures = &backend->hosts[request->host].connect_failures;
    uint64_t backoff_ns = BACKOFF_FIRST_NS << (*failures < 5 ? *failures : 5);
    backend->balance_hosts[request->host].not_before_ns =
        now_ns + (backoff_ns < BACKOFF_MOST_NS ? backoff_ns : BACKOFF_MOST_NS);
    ++*failures;
}

/* ---- checks and sweeps ---- */

void fg_sim_host_check(struct fg_gateway_model *model, uint32_t number, uint64_t now_ns)
{
    struct fg_sim_host *host = &model->hosts[number];
    struct fg_sim_backend *backend = &model->backends[host->backend];
    const struct fg_cluster_conf *conf = backend->cluster;
    uint64_t answer_ns = 0;
    bool is_good = fg_backend_model_would_answer(&host->model, &answer_ns) &&
                   (conf->check.kind == FG_CHECK_TCP || answer_ns <= conf->check.timeout_ns);
    if (fg_health_note(&host->health, &conf->health, is_good))
        publish(backend, (size_t)(host - backend->hosts), now_ns);
    fg_event_heap_add(model->heap,
                      now_ns +
                          fg_health_pause_ns(&conf->health, fg_chance_bits(&model->host_chance)),
                      FG_SIM_EVENT_CHECK, number);
}

static struct fg_outlier_sample empty_sample(struct fg_sim_backend *backend, size_t index)
{
    return (struct fg_outlier_sample){.latencies = backend->latencies + index * FG_OUTLIER_BUCKETS};
}

void fg_sim_hosts_sweep(struct fg_gateway_model *model, uint32_t index, uint64_t now_ns)
{
    struct fg_sim_backend *backend = &model->backends[index];
    struct fg_outlier_change change =
        fg_outlier_sweep(&backend->cluster->outlier, backend->outliers, backend->host_count,
                         backend->samples, backend->scratch, now_ns);
    memset(backend->latencies, 0,
           backend->host_count * FG_OUTLIER_BUCKETS * sizeof(*backend->latencies));
    for (size_t i = 0; i < backend->host_count; i++)
        backend->samples[i] = empty_sample(backend, i);
    if (change.changed)
        publish_all(backend, now_ns);
    fg_event_heap_add(model->heap, now_ns + backend->cluster->outlier_interval_ns,
                      FG_SIM_EVENT_SWEEP, index);
}

/* ---- set-up ---- */

/* Of `total`, by weight: what comes after `before` of `all`; at least one. */
static uint64_t part_of(uint64_t total, uint64_t before, uint64_t weight, uint64_t all)
{
    double share = (double)total / (double)all;
    uint64_t part =
        (uint64_t)(share * (double)(before + weight)) - (uint64_t)(share * (double)before);
    return part > 0 ? part : 1;
}

/* The scenario's figures are those of the endpoints that are used first, all together; further ones
 * have as much for their weight. */
static void split(struct fg_sim_backend *backend, const struct fg_scenario_backend *whole)
{
    uint64_t all = 0;
    uint32_t first = UINT32_MAX;
    for (size_t i = 0; i < backend->host_count; i++)
        first =
            backend->balance_hosts[i].priority < first ? backend->balance_hosts[i].priority : first;
    for (size_t i = 0; i < backend->host_count; i++)
        all += backend->balance_hosts[i].priority == first ? backend->balance_hosts[i].weight : 0;
    uint64_t before = 0;
    for (size_t i = 0; i < backend->host_count; i++) {
        struct fg_scenario_backend *part = &backend->hosts[i].conf;
        uint64_t weight = backend->balance_hosts[i].weight;
        *part = *whole;
        part->endpoint_index = (uint32_t)i;
        part->slots = (uint32_t)part_of(whole->slots, before, weight, all);
        part->tokens.per_s = part_of(whole->tokens.per_s, before, weight, all);
        part->tokens.kv = part_of(whole->tokens.kv, before, weight, all);
        if (whole->pending_max > 0)
            part->pending_max = part_of(whole->pending_max, before, weight, all);
        before += weight;
    }
}

static bool make_tables(struct fg_sim_backend *backend)
{
    size_t count = backend->host_count;
    bool has_hash = backend->cluster->balance == FG_BALANCE_HASH;
    backend->balance_hosts = calloc(count, sizeof(*backend->balance_hosts));
    backend->order = calloc(count, sizeof(*backend->order));
    backend->outliers = calloc(count, sizeof(*backend->outliers));
    backend->samples = calloc(count, sizeof(*backend->samples));
    backend->latencies = calloc(count, FG_OUTLIER_BUCKETS * sizeof(*backend->latencies));
    backend->scratch = calloc(count, FG_OUTLIER_SCRATCH * sizeof(*backend->scratch));
    if (has_hash)
        backend->slots = calloc(fg_maglev_slot_count(count), sizeof(*backend->slots));
    for (size_t i = 0; i < count && backend->samples != NULL && backend->latencies != NULL; i++)
        backend->samples[i] = empty_sample(backend, i);
    return backend->balance_hosts != NULL && backend->order != NULL && backend->outliers != NULL &&
           backend->samples != NULL && backend->latencies != NULL && backend->scratch != NULL &&
           (!has_hash || backend->slots != NULL);
}

static bool make_balance(struct fg_gateway_model *model, struct fg_sim_backend *backend)
{
    const struct fg_cluster_conf *conf = backend->cluster;
    for (size_t i = 0; i < backend->host_count; i++) {
        bool is_written = i < conf->endpoint_count;
        uint64_t number = i;
        backend->balance_hosts[i] =
            (struct fg_balance_host){.name_hash = fg_siphash(&model->key, &number, sizeof(number)),
                                     .weight = is_written ? conf->endpoints[i].weight : 1,
                                     .priority = is_written ? conf->endpoints[i].priority : 0,
                                     .is_healthy = !conf->has_check};
    }
    const struct fg_balance_conf balance = {.kind = conf->balance,
                                            .panic_permille = conf->panic_permille,
                                            .overprovision_permille = OVERPROVISION_PERMILLE,
                                            .hash_load_permille = conf->hash_load_permille,
                                            .slow_start_ns = conf->slow_start_ns};
    struct fg_maglev_host *scratch = calloc(backend->host_count, sizeof(*scratch));
    if (scratch == NULL)
        return false;
    fg_balance_init(&backend->balance, &balance, backend->balance_hosts, backend->host_count,
                    backend->order, backend->slots, scratch);
    free(scratch);
    return true;
}

static bool make_models(struct fg_gateway_model *model, struct fg_sim_backend *backend)
{
    static const struct fg_backend_events events = {.served = FG_SIM_EVENT_SERVED,
                                                    .answered = FG_SIM_EVENT_ANSWERED,
                                                    .turn = FG_SIM_EVENT_TURN,
                                                    .fault = FG_SIM_EVENT_FAULT};
    const struct fg_cluster_conf *conf = backend->cluster;
    for (size_t i = 0; i < backend->host_count; i++) {
        struct fg_sim_host *host = &backend->hosts[i];
        uint32_t number = (uint32_t)(host - model->hosts);
        host->backend = (uint32_t)(backend - model->backends);
        host->conf.backend_index = number; /* of its events */
        if (has_breakers(backend))
            fg_circuit_breaker_init(&host->breaker, &conf->breaker, 0);
        if (!fg_backend_model_init(&host->model, &host->conf, model->heap, &events,
                                   model->scenario->seed ^ 0xbac, fg_sim_on_job_done, model))
            return false;
        if (backend->is_cluster && conf->has_check)
            fg_event_heap_add(model->heap, 0, FG_SIM_EVENT_CHECK, number);
    }
    if (backend->is_cluster && conf->has_outlier)
        fg_event_heap_add(model->heap, conf->outlier_interval_ns, FG_SIM_EVENT_SWEEP,
                          (uint32_t)(backend - model->backends));
    return true;
}

size_t fg_sim_host_count(const struct fg_backend_conf *conf)
{
    size_t count = conf->kind == FG_BACKEND_CLUSTER ? conf->cluster.endpoint_count : 1;
    return count > 0 ? count : 1;
}

bool fg_sim_hosts_make(struct fg_gateway_model *model, struct fg_sim_backend *backend,
                       struct fg_sim_host *hosts)
{
    size_t index = (size_t)(backend - model->backends);
    const struct fg_backend_conf *conf = &model->config->backends[index];
    backend->cluster = &conf->cluster;
    backend->is_cluster = conf->kind == FG_BACKEND_CLUSTER;
    backend->hosts = hosts;
    backend->host_count = fg_sim_host_count(conf);
    if (!make_tables(backend) || !make_balance(model, backend))
        return false;
    split(backend, &model->scenario->backends[index]);
    return make_models(model, backend);
}

void fg_sim_hosts_free(struct fg_sim_backend *backend)
{
    for (size_t i = 0; i < backend->host_count && backend->hosts != NULL; i++)
        fg_backend_model_fini(&backend->hosts[i].model);
    free(backend->balance_hosts);
    free(backend->order);
    free(backend->slots);
    free(backend->outliers);
    free(backend->samples);
    free(backend->latencies);
    free(backend->scratch);
}
