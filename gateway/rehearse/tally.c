/*
 * tally.c: counters, histograms and their stretches of time.
 */
#include "rehearse/tally.h"

#include <assert.h>
#include <stdlib.h>

static bool make_points(struct fg_tally *tally)
{
    for (size_t i = 0; i < tally->route_count; i++) {
        tally->routes[i].points = calloc(tally->bucket_count, sizeof(struct fg_tally_point));
        if (tally->routes[i].points == NULL)
            return false;
    }
    for (size_t i = 0; i < tally->backend_count; i++) {
        tally->backends[i].loads = calloc(tally->bucket_count, sizeof(struct fg_tally_load));
        if (tally->backends[i].loads == NULL)
            return false;
    }
    return true;
}

struct fg_tally *fg_tally_create(const struct fg_scenario *scenario, const struct fg_config *config,
                                 size_t bucket_count)
{
    struct fg_tally *tally = calloc(1, sizeof(*tally));
    if (tally == NULL)
        return NULL;
    tally->duration_ns = scenario->duration_ns;
    tally->bucket_ns = scenario->duration_ns / bucket_count + 1;
    tally->bucket_count = bucket_count;
    tally->routes = calloc(config->route_count + 1, sizeof(*tally->routes));
    tally->backends = calloc(config->backend_count + 1, sizeof(*tally->backends));
    tally->crowds = calloc(scenario->crowd_count + 1, sizeof(*tally->crowds));
    if (tally->routes == NULL || tally->backends == NULL || tally->crowds == NULL) {
        fg_tally_destroy(tally);
        return NULL;
    }
    tally->route_count = config->route_count;
    tally->backend_count = config->backend_count;
    tally->crowd_count = scenario->crowd_count;
    if (!make_points(tally)) {
        fg_tally_destroy(tally);
        return NULL;
    }
    return tally;
}

void fg_tally_destroy(struct fg_tally *tally)
{
    if (tally == NULL)
        return;
    for (size_t i = 0; i < tally->route_count; i++)
        free(tally->routes[i].points);
    for (size_t i = 0; i < tally->backend_count; i++)
        free(tally->backends[i].loads);
    free(tally->routes);
    free(tally->backends);
    free(tally->crowds);
    free(tally);
}

size_t fg_tally_bucket(const struct fg_tally *tally, uint64_t at_ns)
{
    size_t bucket = (size_t)(at_ns / tally->bucket_ns);
    return bucket < tally->bucket_count ? bucket : tally->bucket_count - 1;
}

void fg_tally_offer(struct fg_tally *tally, size_t route, uint64_t due_ns, bool is_retry)
{
    assert(route < tally->route_count);
    tally->routes[route].offered++;
    tally->routes[route].retries += is_retry;
    tally->routes[route].points[fg_tally_bucket(tally, due_ns)].offered++;
}

void fg_tally_outcome(struct fg_tally *tally, size_t route, uint64_t now_ns,
                      enum fg_outcome outcome, unsigned reason, uint64_t latency_ns)
{
    assert(route < tally->route_count);
    struct fg_tally_route *at = &tally->routes[route];
    if (at->outcomes[outcome]++ == 0)
        at->first_ns[outcome] = now_ns;
    at->points[fg_tally_bucket(tally, now_ns)].outcomes[outcome]++;
    if (outcome == FG_OUTCOME_GOOD)
        fg_histogram_record(&at->latency, latency_ns);
    if (outcome != FG_OUTCOME_REFUSED)
        return;
    assert(reason < FG_TALLY_REASON_COUNT);
    if (at->refused[reason]++ == 0)
        at->refused_first_ns[reason] = now_ns;
}

void fg_tally_shed(struct fg_tally *tally, size_t route, uint64_t now_ns,
                   enum fg_overload_resource resource)
{
    assert(route < tally->route_count);
    struct fg_tally_route *at = &tally->routes[route];
    if (at->shed[resource]++ == 0)
        at->shed_first_ns[resource] = now_ns;
}

static uint64_t mix(uint64_t sum, const void *bytes, size_t len)
{
    return fg_span_hash(fg_span_make(bytes, len), sum);
}

uint64_t fg_tally_digest(const struct fg_tally *tally)
{
    uint64_t sum = tally->events;
    for (size_t i = 0; i < tally->route_count; i++) {
        const struct fg_tally_route *route = &tally->routes[i];
        sum = mix(sum, route, offsetof(struct fg_tally_route, points));
        sum = mix(sum, route->points, tally->bucket_count * sizeof(*route->points));
    }
    for (size_t i = 0; i < tally->backend_count; i++) {
        const struct fg_tally_backend *backend = &tally->backends[i];
        sum = mix(sum, backend, offsetof(struct fg_tally_backend, loads));
        sum = mix(sum, backend->loads, tally->bucket_count * sizeof(*backend->loads));
    }
    return mix(sum, tally->crowds, tally->crowd_count * sizeof(*tally->crowds));
}

const char *fg_tally_reason_name(unsigned reason)
{
    static const char *const names[FG_TALLY_REASON_COUNT - FG_REFUSED_COUNT] = {
        "cluster_requests", "cluster_pending",    "endpoints_open",
        "connections_max",  "handshakes_waiting", "handshake_timeout"};
    if (reason < FG_REFUSED_COUNT)
        return fg_refused_name((enum fg_refused)reason);
    assert(reason < FG_TALLY_REASON_COUNT);
    return names[reason - FG_REFUSED_COUNT];
}

const char *fg_outcome_name(enum fg_outcome outcome)
{
    static const char *const names[FG_OUTCOME_COUNT] = {"good", "refused", "failed",
                                                        "late", "gave_up", "in_line"};
    assert((unsigned)outcome < FG_OUTCOME_COUNT);
    return names[outcome];
}
