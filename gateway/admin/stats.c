/*
 * stats.c: sum the loops' counters and ask gates, tables, cache and backends for theirs.
 * Thread   the admin loop.
 * Memory   one scratch histogram a call; the JSON belongs to the caller.
 */
#include "stats.h"

#include "admin/endpoint_page.h"
#include "base/clock.h"
#include "pipeline/cache_compress.h"
#include "pipeline/room_shared.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void put(json_t *into, const char *name, uint64_t value)
{
    json_object_set_new(into, name, json_integer((json_int_t)value));
}

static void put_seconds(json_t *into, const char *name, uint64_t ns)
{
    json_object_set_new(into, name, json_real((double)ns / 1e9));
}

static json_t *histogram_json(const struct fg_histogram *histogram)
{
    json_t *json = json_object();
    put(json, "count", fg_counter_get(&histogram->count));
    put_seconds(json, "sum", fg_counter_get(&histogram->sum));
    put_seconds(json, "p50", fg_histogram_quantile(histogram, 5000));
    put_seconds(json, "p90", fg_histogram_quantile(histogram, 9000));
    put_seconds(json, "p99", fg_histogram_quantile(histogram, 9900));
    put_seconds(json, "p999", fg_histogram_quantile(histogram, 9990));
    return json;
}

/* ---- routes ---- */

struct route_sum {
    uint64_t requests;
    uint64_t by_class[6];
    uint64_t aborted;
    uint64_t refused[FG_REFUSED_COUNT];
    uint64_t failed[FG_FAILED_COUNT];
    uint64_t cache[FG_CACHE_RESULT_COUNT];
    uint64_t bytes_in;
    uint64_t bytes_out;
};

static void add_route(struct route_sum *sum, const struct fg_route_metrics *metrics)
{
    sum->requests += fg_counter_get(&metrics->requests);
    for (unsigned i = 0; i < 6; i++)
        sum->by_class[i] += fg_counter_get(&metrics->by_class[i]);
    sum->aborted += fg_counter_get(&metrics->aborted);
    for (unsigned i = 0; i < FG_REFUSED_COUNT; i++)
        sum->refused[i] += fg_counter_get(&metrics->refused[i]);
    for (unsigned i = 0; i < FG_FAILED_COUNT; i++)
        sum->failed[i] += fg_counter_get(&metrics->failed[i]);
    for (unsigned i = 0; i < FG_CACHE_RESULT_COUNT; i++)
        sum->cache[i] += fg_counter_get(&metrics->cache[i]);
    sum->bytes_in += fg_counter_get(&metrics->bytes_in);
    sum->bytes_out += fg_counter_get(&metrics->bytes_out);
}

static json_t *classes_json(const uint64_t by_class[6])
{
    static const char *const names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    json_t *json = json_object();
    for (unsigned i = 0; i < 6; i++)
        put(json, names[i], by_class[i]);
    return json;
}

static json_t *refused_json(const uint64_t refused[FG_REFUSED_COUNT])
{
    json_t *json = json_object();
    for (unsigned i = 0; i < FG_REFUSED_COUNT; i++)
        put(json, fg_refused_name((enum fg_refused)i), refused[i]);
    return json;
}

static json_t *failed_json(const uint64_t failed[FG_FAILED_COUNT])
{
    json_t *json = json_object();
    for (unsigned i = FG_FAILED_NOT + 1; i < FG_FAILED_COUNT; i++)
        put(json, fg_failed_name((enum fg_failed)i), failed[i]);
    return json;
}

static json_t *cache_results_json(const uint64_t results[FG_CACHE_RESULT_COUNT])
{
    json_t *json = json_object();
    for (unsigned i = FG_CACHE_RESULT_HIT; i < FG_CACHE_RESULT_COUNT; i++)
        put(json, fg_cache_result_name((enum fg_cache_result)i), results[i]);
    return json;
}

static json_t *route_json(const struct route_sum *sum, const struct fg_histogram *latency)
{
    json_t *json = json_object();
    put(json, "requests", sum->requests);
    json_object_set_new(json, "by_class", classes_json(sum->by_class));
    put(json, "aborted", sum->aborted);
    json_object_set_new(json, "refused", refused_json(sum->refused));
    json_object_set_new(json, "failed", failed_json(sum->failed));
    json_object_set_new(json, "cache", cache_results_json(sum->cache));
    put(json, "bytes_in", sum->bytes_in);
    put(json, "bytes_out", sum->bytes_out);
    json_object_set_new(json, "latency_s", histogram_json(latency));
    return json;
}

static json_t *routes_json(const struct fg_admin_options *options, struct route_sum *total)
{
    json_t *routes = json_object();
    size_t count = options->config->route_count;
    struct fg_histogram *latency = malloc(sizeof(*latency));
    for (size_t r = 0; r <= count && latency != NULL; r++) {
        struct route_sum sum = {0};
        memset(latency, 0, sizeof(*latency));
        for (unsigned t = 0; t < options->thread_count; t++) {
            const struct fg_route_metrics *metrics =
                &fg_pipeline_metrics(options->pipeline, t)->routes[r];
            add_route(&sum, metrics);
            add_route(total, metrics);
            fg_histogram_merge(latency, &metrics->latency_ns);
        }
        json_object_set_new(routes, r == count ? "unmatched" : options->config->routes[r].name,
                            route_json(&sum, latency));
    }
    free(latency);
    return routes;
}

/* ---- gateway ---- */

static json_t *connections_json(const struct fg_admin_options *options)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        {"open", offsetof(struct fg_net_stats, open)},
        {"accepted", offsetof(struct fg_net_stats, accepted)},
        {"refused_limit", offsetof(struct fg_net_stats, refused_limit)},
        {"refused_overload", offsetof(struct fg_net_stats, refused_overload)},
        {"dear_reads", offsetof(struct fg_net_stats, dear_reads)},
        {"reads_cut", offsetof(struct fg_net_stats, reads_cut)},
        {"writes_cut", offsetof(struct fg_net_stats, writes_cut)},
        {"writes_gathered", offsetof(struct fg_net_stats, writes_gathered)},
        {"refused_share", offsetof(struct fg_net_stats, refused_share)},
        {"closed_share", offsetof(struct fg_net_stats, closed_share)},
        {"closed_idle", offsetof(struct fg_net_stats, closed_idle)},
        {"handshakes_ok", offsetof(struct fg_net_stats, handshakes_ok)},
        {"handshakes_failed", offsetof(struct fg_net_stats, handshakes_failed)},
        {"client_certificates_refused", offsetof(struct fg_net_stats, client_certificates_refused)},
        {"handshakes_stapled", offsetof(struct fg_net_stats, handshakes_stapled)},
        {"handshakes_resumed", offsetof(struct fg_net_stats, handshakes_resumed)},
        {"handshakes_open", offsetof(struct fg_net_stats, handshakes_open)},
        {"handshakes_waiting", offsetof(struct fg_net_stats, handshakes_waiting)},
        {"handshakes_shed", offsetof(struct fg_net_stats, handshakes_shed)},
        {"handshakes_refused", offsetof(struct fg_net_stats, handshakes_refused)},
        {"flooders_delayed", offsetof(struct fg_net_stats, flooders_delayed)},
        {"flooders_refused", offsetof(struct fg_net_stats, flooders_refused)},
        {"timeouts", offsetof(struct fg_net_stats, timeouts)},
        {"protocol_errors", offsetof(struct fg_net_stats, protocol_errors)},
        {"tls_floods", offsetof(struct fg_net_stats, tls_floods)},
        {"h2_connections", offsetof(struct fg_net_stats, h2_connections)},
        {"h2_floods", offsetof(struct fg_net_stats, h2_floods)},
        {"h2_indebted", offsetof(struct fg_net_stats, h2_indebted)},
        {"tls_by_openssl", offsetof(struct fg_net_stats, tls_by_openssl)},
        {"tls_rests", offsetof(struct fg_net_stats, tls_rests)},
        {"requests_h1", offsetof(struct fg_net_stats, requests_h1)},
        {"requests_h2", offsetof(struct fg_net_stats, requests_h2)},
        {"bytes_read", offsetof(struct fg_net_stats, bytes_read)},
        {"bytes_written", offsetof(struct fg_net_stats, bytes_written)},
        {"reads", offsetof(struct fg_net_stats, reads)},
        {"writes", offsetof(struct fg_net_stats, writes)},
    };
    json_t *json = json_object();
    for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
        uint64_t sum = 0;
        for (unsigned t = 0; t < options->thread_count; t++) {
            const char *stats = (const char *)fg_net_stats(options->nets[t]);
            sum +=
                fg_counter_get((const struct fg_counter *)(const void *)(stats + fields[f].offset));
        }
        put(json, fields[f].name, sum);
    }
    return json;
}

static json_t *ocsp_json(const struct fg_tls_certificate_report *report)
{
    json_t *json = json_object();
    json_object_set_new(json, "file", json_string(report->ocsp_file));
    json_object_set_new(json, "stapled", json_boolean(report->is_stapled));
    put(json, "left_s", report->ocsp_left_s);
    if (report->ocsp_fault[0] != '\0')
        json_object_set_new(json, "fault", json_string(report->ocsp_fault));
    return json;
}

/* What clients are shown: each certificate in use, for how long yet, and what is stapled to it. */
static json_t *certificates_json(const struct fg_admin_options *options)
{
    struct fg_tls_certificate_report report;
    json_t *all = json_array();
    for (size_t l = 0; options->tls != NULL && l < options->config->listener_count; l++) {
        for (size_t i = 0;
             options->tls[l] != NULL && fg_tls_context_report(options->tls[l], i, &report); i++) {
            json_t *one = json_object();
            json_object_set_new(one, "listener", json_string(options->config->listeners[l].name));
            json_object_set_new(one, "file", json_string(report.file));
            json_object_set_new(one, "left_s", json_integer(report.left_s));
            if (report.must_staple)
                json_object_set_new(one, "must_staple", json_true());
            if (report.ocsp_file != NULL)
                json_object_set_new(one, "ocsp", ocsp_json(&report));
            if (report.ca_file != NULL)
                json_object_set_new(one, "client_ca",
                                    json_pack("{s:s, s:I}", "file", report.ca_file, "left_s",
                                              (json_int_t)report.ca_left_s));
            if (report.crl_file != NULL) {
                json_t *crl = json_object();
                json_object_set_new(crl, "file", json_string(report.crl_file));
                put(crl, "left_s", report.crl_left_s);
                json_object_set_new(one, "client_crl", crl);
            }
            json_array_append_new(all, one);
        }
    }
    return all;
}

static json_t *files_json(const struct fg_admin_options *options)
{
    json_t *json = json_object();
    if (options->files != NULL) {
        put(json, "reloaded", fg_counter_get(&options->files->reloaded));
        put(json, "stale", fg_counter_get(&options->files->stale));
    }
    return json;
}

static json_t *hops_json(const struct fg_admin_options *options)
{
    json_t *hops = json_object();
    struct fg_histogram *sum = malloc(sizeof(*sum));
    for (unsigned h = 0; h < FG_HOP_COUNT && sum != NULL; h++) {
        memset(sum, 0, sizeof(*sum));
        for (unsigned t = 0; t < options->thread_count; t++)
            fg_histogram_merge(sum, &fg_pipeline_metrics(options->pipeline, t)->hops[h]);
        json_object_set_new(hops, fg_hop_name((enum fg_hop)h), histogram_json(sum));
    }
    free(sum);
    return hops;
}

static json_t *gateway_json(const struct fg_admin_options *options, const struct route_sum *total)
{
    uint64_t active = 0, awaiting_body = 0;
    for (unsigned t = 0; t < options->thread_count; t++) {
        const struct fg_thread_metrics *metrics = fg_pipeline_metrics(options->pipeline, t);
        active += fg_counter_get(&metrics->active);
        awaiting_body += fg_counter_get(&metrics->awaiting_body);
    }
    json_t *requests = json_object();
    put(requests, "total", total->requests);
    put(requests, "active", active);
    put(requests, "awaiting_body", awaiting_body);
    json_object_set_new(requests, "by_class", classes_json(total->by_class));
    put(requests, "aborted", total->aborted);
    json_object_set_new(requests, "refused", refused_json(total->refused));
    json_object_set_new(requests, "failed", failed_json(total->failed));
    json_t *gateway = json_object();
    json_object_set_new(gateway, "version", json_string(FG_VERSION));
    put(gateway, "threads", options->thread_count);
    json_object_set_new(gateway, "connections", connections_json(options));
    json_object_set_new(gateway, "certificates", certificates_json(options));
    json_object_set_new(gateway, "files", files_json(options));
    json_object_set_new(gateway, "endpoint_changes", fg_admin_changes_json(options));
    json_object_set_new(gateway, "requests", requests);
    json_object_set_new(gateway, "hops_s", hops_json(options));
    return gateway;
}

/* ---- policies, cache, process ---- */

static json_t *global_json(const struct fg_rate_table_stats *stats)
{
    json_t *json = json_object();
    json_object_set_new(json, "state",
                        json_string(stats->is_by_share ? "local_share" : "shared_count"));
    put(json, "held", stats->held);
    put(json, "leased", stats->leased_total);
    put(json, "passed_in_advance", stats->reported_total);
    put(json, "answered", stats->asked_total);
    put(json, "lost", stats->lost_total);
    put(json, "not_asked", stats->not_asked_total);
    put(json, "held_back", stats->held_back_total);
    return json;
}

static json_t *rate_limits_json(const struct fg_admin_options *options)
{
    json_t *json = json_object();
    for (size_t i = 0; i < options->config->rate_limit_count; i++) {
        struct fg_rate_table_stats stats =
            fg_rate_table_stats(fg_pipeline_rate_table(options->pipeline, i));
        json_t *one = json_object();
        put(one, "keys", stats.entries);
        put(one, "evictions", stats.evictions);
        put(one, "allowed", stats.allowed_total);
        put(one, "refused", stats.refused_total);
        if (options->config->rate_limits[i].cost != FG_LIMIT_COST_REQUEST) {
            put(one, "given_back", stats.given_back_total);
            put(one, "owed", stats.owed_total);
        }
        if (options->config->rate_limits[i].scope == FG_LIMIT_GLOBAL)
            json_object_set_new(one, "global", global_json(&stats));
        json_object_set_new(one, "shadow", json_boolean(options->config->rate_limits[i].is_shadow));
        json_object_set_new(json, options->config->rate_limits[i].name, one);
    }
    return json;
}

static json_t *rooms_json(const struct fg_admin_options *options)
{
    json_t *json = json_object();
    for (size_t i = 0; i < options->config->route_count; i++) {
        struct fg_room *room = fg_pipeline_room(options->pipeline, i);
        if (room == NULL)
            continue;
        struct fg_room_stats stats = fg_room_stats(room, fg_clock_monotonic_ns());
        json_t *one = json_object();
        put(one, "waiting", stats.waiting);
        put(one, "direct", stats.direct_total);
        put(one, "full", stats.full_total);
        put(one, "issued", stats.issued_total);
        put(one, "admitted", stats.admitted_total);
        put(one, "used", stats.used_total);
        put(one, "unused", stats.unused_total);
        put(one, "left", stats.left_total);
        json_object_set_new(one, "alone", json_boolean(stats.is_alone));
        json_object_set_new(one, "admitted_per_s", json_real(stats.admitted_per_s));
        if (stats.pace_per_s > 0) {
            json_object_set_new(one, "pace_per_s", json_real(stats.pace_per_s));
            json_object_set_new(one, "drain_per_s", json_real(stats.drain_per_s));
        }
        if (stats.last.eta_ns != UINT64_MAX) {
            json_object_set_new(one, "wait_s", json_real((double)stats.last.eta_ns / 1e9));
            json_object_set_new(one, "wait_error_s", json_real((double)stats.last.error_ns / 1e9));
        }
        json_object_set_new(one, "shadow",
                            json_boolean(options->config->routes[i].waiting_room.is_shadow));
        json_object_set_new(json, options->config->routes[i].name, one);
    }
    return json;
}

static json_t *memory_json(const struct fg_admin_options *options, size_t index)
{
    struct fg_memory_share share = fg_pipeline_memory(options->pipeline, index);
    json_t *json = json_object();
    put(json, "used_bytes", share.used_bytes);
    put(json, "reserved_bytes", share.reserved_bytes);
    put(json, "refused_total", share.refused);
    json_object_set_new(json, "shadow",
                        json_boolean(options->config->backends[index].reserve.is_shadow));
    return json;
}

/* Routes with a limit of their own. */
static json_t *route_gates_json(const struct fg_admin_options *options)
{
    json_t *routes = json_object();
    for (size_t i = 0; i < options->config->route_count; i++) {
        struct fg_gate *gate = fg_pipeline_route_gate(options->pipeline, i);
        if (gate == NULL)
            continue;
        json_t *one = fg_gate_stats(gate, fg_clock_monotonic_ns());
        json_object_del(one, "breaker"); /* only backends have one */
        json_object_set_new(routes, options->config->routes[i].name, one);
    }
    return routes;
}

json_t *fg_admin_policies(const struct fg_admin_options *options)
{
    json_t *policies = json_object();
    json_t *gates = json_object();
    for (size_t i = 0; i < options->config->backend_count; i++) {
        json_t *gate =
            fg_gate_stats(fg_pipeline_gate(options->pipeline, i), fg_clock_monotonic_ns());
        json_object_set_new(gate, "memory", memory_json(options, i));
        json_object_set_new(gates, options->config->backends[i].name, gate);
    }
    json_object_set_new(policies, "routes", route_gates_json(options));
    json_object_set_new(policies, "rate_limits", rate_limits_json(options));
    if (fg_pipeline_shared_state(options->pipeline) != NULL)
        json_object_set_new(policies, "shared_state",
                            fg_shared_state_stats(fg_pipeline_shared_state(options->pipeline)));
    json_object_set_new(policies, "waiting_rooms", rooms_json(options));
    json_object_set_new(policies, "backends", gates);
    json_object_set_new(policies, "overload",
                        fg_overload_shared_stats(fg_pipeline_overload(options->pipeline)));
    return policies;
}

/* Of the requests on cached routes, those that cost no fetch of their own. */
static double hit_ratio(const uint64_t results[FG_CACHE_RESULT_COUNT])
{
    uint64_t all = 0;
    for (unsigned i = FG_CACHE_RESULT_HIT; i < FG_CACHE_RESULT_COUNT; i++)
        all += results[i];
    uint64_t hits = results[FG_CACHE_RESULT_HIT] + results[FG_CACHE_RESULT_STALE] +
                    results[FG_CACHE_RESULT_COALESCED];
    return all == 0 ? 0.0 : (double)hits / (double)all;
}

static json_t *cache_json(const struct fg_admin_options *options, const struct route_sum *total)
{
    struct fg_cache_store_stats stats = fg_cache_store_stats(fg_pipeline_cache(options->pipeline));
    json_t *cache = json_object();
    put(cache, "objects", stats.objects);
    put(cache, "bytes", stats.bytes);
    put(cache, "bytes_max", stats.bytes_max);
    put(cache, "stored", stats.stored_total);
    put(cache, "evicted", stats.evicted_total);
    put(cache, "pinned_objects", stats.pinned_objects);
    put(cache, "pinned_bytes", stats.pinned_bytes);
    put(cache, "pinned_kept", fg_pinned_pages_kept(fg_pipeline_pages(options->pipeline)));
    put(cache, "fetches", stats.fetches);
    put(cache, "held_bytes", stats.held_bytes);
    put(cache, "refused", stats.refused_total);
    put(cache, "purged", stats.purged_total);
    put(cache, "invalidated", stats.invalidated_total);
    put(cache, "revalidated", stats.events[FG_CACHE_EVENT_REVALIDATED]);
    put(cache, "variants", stats.events[FG_CACHE_EVENT_VARIANT]);
    put(cache, "variant_bytes_saved", stats.events[FG_CACHE_EVENT_VARIANT_BYTES]);
    uint64_t served = 0;
    for (unsigned i = 0; i < fg_pipeline_thread_count(options->pipeline); i++) {
        const struct fg_thread_metrics *metrics = fg_pipeline_metrics(options->pipeline, i);
        served += metrics == NULL ? 0 : fg_counter_get(&metrics->cache_bytes);
    }
    put(cache, "bytes_served", served);
    json_t *codings = json_array(); /* that this build can make */
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if ((fg_cache_codings() & 1u << i) != 0)
            json_array_append_new(codings, json_string(fg_coding_name((enum fg_coding)i)));
    }
    json_object_set_new(cache, "codings", codings);
    json_object_set_new(cache, "hit_ratio", json_real(hit_ratio(total->cache)));
    json_object_set_new(cache, "results", cache_results_json(total->cache));
    return cache;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static json_t *process_json(const struct fg_admin_options *options)
{
    json_t *process = json_object();
    struct rusage usage;
    put(process, "pid", (uint64_t)getpid());
    getrusage(RUSAGE_SELF, &usage);
    put_seconds(process, "cpu_user_s", microseconds(usage.ru_utime) * 1000);
    put_seconds(process, "cpu_system_s", microseconds(usage.ru_stime) * 1000);
    put(process, "rss_peak_bytes", (uint64_t)usage.ru_maxrss * 1024);
    uint64_t lag_ns = 0, pauses = 0;
    for (unsigned t = 0; t < options->thread_count; t++) {
        uint64_t one_ns = fg_loop_lag_ns(options->loops[t]);
        lag_ns = one_ns > lag_ns ? one_ns : lag_ns;
        pauses += fg_loop_pauses(options->loops[t]);
    }
    put_seconds(process, "loop_lag_s", lag_ns);
    put(process, "loop_pauses", pauses);
    put_seconds(process, "uptime_s", fg_clock_monotonic_ns() - options->started_ns);
    put(process, "time_ms", fg_clock_wall_ns() / FG_MS);
    return process;
}

/* ---- all of it ---- */

/* "orders" and "inference" have a group of their own; clusters and static roots share one. */
static void add_backends(json_t *stats, const struct fg_admin_options *options)
{
    json_t *others = json_object();
    for (size_t i = 0; i < options->config->backend_count; i++) {
        struct fg_backend *backend = fg_pipeline_backend(options->pipeline, i);
        enum fg_backend_kind kind = options->config->backends[i].kind;
        json_t *one = json_object();
        backend->ops->stats(backend, one);
        if (kind == FG_BACKEND_ORDERS)
            json_object_set_new(stats, "orders", one);
        else if (kind == FG_BACKEND_INFERENCE)
            json_object_set_new(stats, "inference", one);
        else
            json_object_set_new(others, backend->name, one);
    }
    json_object_set_new(stats, "backends", others);
}

json_t *fg_admin_stats(const struct fg_admin_options *options)
{
    struct route_sum total = {0};
    json_t *stats = json_object();
    json_t *routes = routes_json(options, &total);
    json_object_set_new(stats, "gateway", gateway_json(options, &total));
    json_object_set_new(stats, "routes", routes);
    json_object_set_new(stats, "policies", fg_admin_policies(options));
    json_object_set_new(stats, "cache", cache_json(options, &total));
    add_backends(stats, options);
    json_object_set_new(stats, "process", process_json(options));
    return stats;
}

bool fg_admin_is_ready(const struct fg_admin_options *options, const char **backend,
                       const char **why)
{
    for (size_t i = 0; i < options->config->backend_count; i++) {
        struct fg_backend *one = fg_pipeline_backend(options->pipeline, i);
        if (!one->ops->is_ready(one, why)) {
            *backend = one->name;
            return false;
        }
    }
    return true;
}
