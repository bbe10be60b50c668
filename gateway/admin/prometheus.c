/*
 * prometheus.c: the same numbers in the text exposition format 0.0.4, with the names and units that
 * promtool expects (base units, _total for counters, HELP and TYPE for every family).
 * Thread   the admin loop.
 */
#include "admin/prometheus.h"

#include "admin/endpoint_page.h"
#include "admin/stats.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Upper bounds of the latency histograms' buckets, in ms. */
static const unsigned bounds_ms[] = {1,   2,   5,    10,   20,   50,    100,
                                     200, 500, 1000, 2000, 5000, 10000, 30000};
#define BOUND_COUNT (sizeof(bounds_ms) / sizeof(bounds_ms[0]))

void fg_prometheus_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP floodgate_%s %s\n# TYPE floodgate_%s %s\n", name, help, name, type);
}

static const struct fg_route_metrics *route_of(const struct fg_admin_options *options,
                                               unsigned thread, size_t route)
{
    return &fg_pipeline_metrics(options->pipeline, thread)->routes[route];
}

static const char *route_name(const struct fg_admin_options *options, size_t route)
{
    return route == options->config->route_count ? "unmatched"
                                                 : options->config->routes[route].name;
}

/* The sum over all loops of one counter of a route, at `offset` in struct fg_route_metrics. */
static uint64_t route_sum(const struct fg_admin_options *options, size_t route, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < options->thread_count; t++) {
        const char *metrics = (const char *)route_of(options, t, route);
        sum += fg_counter_get((const struct fg_counter *)(const void *)(metrics + offset));
    }
    return sum;
}

static void write_routes(FILE *out, const struct fg_admin_options *options)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    size_t count = options->config->route_count + 1;
    fg_prometheus_family(out, "requests_total", "counter",
                         "Requests by route and class of status.");
    for (size_t r = 0; r < count; r++) {
        for (unsigned c = 0; c < 6; c++)
            fprintf(out, "floodgate_requests_total{route=\"%s\",class=\"%s\"} %" PRIu64 "\n",
                    route_name(options, r), classes[c],
                    route_sum(options, r,
                              offsetof(struct fg_route_metrics, by_class) +
                                  c * sizeof(struct fg_counter)));
    }
    fg_prometheus_family(out, "refused_total", "counter",
                         "Requests that the gateway refused, by reason.");
    for (size_t r = 0; r < count; r++) {
        for (unsigned i = 0; i < FG_REFUSED_COUNT; i++)
            fprintf(out, "floodgate_refused_total{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                    route_name(options, r), fg_refused_name((enum fg_refused)i),
                    route_sum(options, r,
                              offsetof(struct fg_route_metrics, refused) +
                                  i * sizeof(struct fg_counter)));
    }
    fg_prometheus_family(out, "failed_total", "counter",
                         "Requests whose backend failed, or whose answer was cut, by reason.");
    for (size_t r = 0; r < count; r++) {
        for (unsigned i = FG_FAILED_NOT + 1; i < FG_FAILED_COUNT; i++)
            fprintf(out, "floodgate_failed_total{route=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                    route_name(options, r), fg_failed_name((enum fg_failed)i),
                    route_sum(options, r,
                              offsetof(struct fg_route_metrics, failed) +
                                  i * sizeof(struct fg_counter)));
    }
    fg_prometheus_family(out, "cache_requests_total", "counter",
                         "Requests on cached routes, by result.");
    for (size_t r = 0; r + 1 < count; r++) {
        for (unsigned i = FG_CACHE_RESULT_HIT;
             options->config->routes[r].cache && i < FG_CACHE_RESULT_COUNT; i++)
            fprintf(out, "floodgate_cache_requests_total{route=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                    route_name(options, r), fg_cache_result_name((enum fg_cache_result)i),
                    route_sum(options, r,
                              offsetof(struct fg_route_metrics, cache) +
                                  i * sizeof(struct fg_counter)));
    }
    uint64_t awaiting_body = 0;
    for (unsigned t = 0; t < options->thread_count; t++)
        awaiting_body += fg_counter_get(&fg_pipeline_metrics(options->pipeline, t)->awaiting_body);
    fg_prometheus_family(out, "requests_awaiting_body", "gauge",
                         "Requests that go on when their body is whole.");
    fprintf(out, "floodgate_requests_awaiting_body %" PRIu64 "\n", awaiting_body);
    fg_prometheus_family(out, "response_bytes_total", "counter", "Bytes of response bodies sent.");
    for (size_t r = 0; r < count; r++)
        fprintf(out, "floodgate_response_bytes_total{route=\"%s\"} %" PRIu64 "\n",
                route_name(options, r),
                route_sum(options, r, offsetof(struct fg_route_metrics, bytes_out)));
}

static void write_histogram(FILE *out, const char *name, const char *label, const char *value,
                            const struct fg_histogram *histogram)
{
    for (size_t b = 0; b < BOUND_COUNT; b++)
        fprintf(out, "floodgate_%s_bucket{%s=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, label, value,
                bounds_ms[b] / 1000.0, fg_histogram_count_up_to(histogram, bounds_ms[b] * FG_MS));
    uint64_t total = fg_histogram_count_up_to(histogram, UINT64_MAX);
    fprintf(out,
            "floodgate_%s_bucket{%s=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
            "floodgate_%s_sum{%s=\"%s\"} %.9f\nfloodgate_%s_count{%s=\"%s\"} %" PRIu64 "\n",
            name, label, value, total, name, label, value,
            (double)fg_counter_get(&histogram->sum) / 1e9, name, label, value, total);
}

static void write_latencies(FILE *out, const struct fg_admin_options *options,
                            struct fg_histogram *sum)
{
    fg_prometheus_family(out, "request_duration_seconds", "histogram",
                         "First byte of a request to the end of its answer.");
    for (size_t r = 0; r <= options->config->route_count; r++) {
        memset(sum, 0, sizeof(*sum));
        for (unsigned t = 0; t < options->thread_count; t++)
            fg_histogram_merge(sum, &route_of(options, t, r)->latency_ns);
        write_histogram(out, "request_duration_seconds", "route", route_name(options, r), sum);
    }
    fg_prometheus_family(out, "hop_duration_seconds", "histogram", "Time of requests in each hop.");
    for (unsigned h = 0; h < FG_HOP_COUNT; h++) {
        memset(sum, 0, sizeof(*sum));
        for (unsigned t = 0; t < options->thread_count; t++)
            fg_histogram_merge(sum, &fg_pipeline_metrics(options->pipeline, t)->hops[h]);
        write_histogram(out, "hop_duration_seconds", "hop", fg_hop_name((enum fg_hop)h), sum);
    }
}

static void write_cache(FILE *out, const struct fg_admin_options *options)
{
    struct fg_cache_store_stats cache = fg_cache_store_stats(fg_pipeline_cache(options->pipeline));
    fg_prometheus_family(out, "cache_bytes", "gauge", "Bytes of cached objects.");
    fprintf(out, "floodgate_cache_bytes %" PRIu64 "\n", cache.bytes);
    fg_prometheus_family(out, "cache_objects", "gauge", "Cached objects.");
    fprintf(out, "floodgate_cache_objects %" PRIu64 "\n", cache.objects);
    fg_prometheus_family(out, "cache_pinned_bytes", "gauge", "Bytes of pinned objects.");
    fprintf(out, "floodgate_cache_pinned_bytes %" PRIu64 "\n", cache.pinned_bytes);
    fg_prometheus_family(out, "cache_pinned_kept", "gauge",
                         "Pinned objects that a reload or a crash would not lose.");
    fprintf(out, "floodgate_cache_pinned_kept %zu\n",
            fg_pinned_pages_kept(fg_pipeline_pages(options->pipeline)));
    fg_prometheus_family(out, "cache_held_bytes", "gauge",
                         "Bytes being fetched, or evicted and still being sent.");
    fprintf(out, "floodgate_cache_held_bytes %" PRIu64 "\n", cache.held_bytes);
    const struct {
        const char *event;
        uint64_t total;
    } events[] = {{"stored", cache.stored_total},
                  {"evicted", cache.evicted_total},
                  {"refused", cache.refused_total},
                  {"purged", cache.purged_total},
                  {"invalidated", cache.invalidated_total},
                  {"revalidated", cache.events[FG_CACHE_EVENT_REVALIDATED]},
                  {"variant", cache.events[FG_CACHE_EVENT_VARIANT]}};
    fg_prometheus_family(out, "cache_events_total", "counter", "What happened to cached objects.");
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        fprintf(out, "floodgate_cache_events_total{event=\"%s\"} %" PRIu64 "\n", events[i].event,
                events[i].total);
}

/* ---- backends: their JSON numbers, named by what they are ---- */

static double number_at(const json_t *json, const char *group, const char *name)
{
    const json_t *inner = group == NULL ? json : json_object_get(json, group);
    return json_number_value(json_object_get(inner, name));
}

static void write_summary(FILE *out, const char *name, const json_t *stats, const char *ms_group,
                          const char *s_group)
{
    static const char *const keys[] = {"p50", "p90", "p99"};
    static const char *const quantiles[] = {"0.5", "0.9", "0.99"};
    for (unsigned i = 0; i < 3; i++)
        fprintf(out, "floodgate_%s{quantile=\"%s\"} %.9g\n", name, quantiles[i],
                number_at(stats, ms_group, keys[i]) / 1000);
    fprintf(out, "floodgate_%s_sum %.9g\nfloodgate_%s_count %.15g\n", name,
            number_at(stats, s_group, "sum"), name, number_at(stats, s_group, "count"));
}

static void write_kv(FILE *out, const json_t *stats)
{
    static const struct {
        const char *name, *group, *key, *type, *help;
    } families[] = {
        {"kv_slots_held", "kv", "slots_held", "gauge", "Token positions that sequences hold."},
        {"kv_slots_wasted", "kv", "slots_wasted", "gauge", "Of those, positions without a token."},
        {"kv_blocks_evicted_total", "kv", "blocks_evicted", "counter",
         "Cached blocks that were taken for something else."},
        {"kv_repairs_total", "kv", "repairs", "counter",
         "Times that a dead worker's lock was taken over."},
        {"sequences_orphaned_total", "kv", "orphaned", "counter",
         "Sequences that lost their worker or were handed over."},
        {"sequences_adopted_total", "kv", "adopted", "counter",
         "Of those, sequences that another worker took over."},
        {"sequences_suspected_total", "kv", "suspects", "counter",
         "Sequences that were computed alone for a step, after a worker had crashed with them."},
        {"ttft_predictions_total", "prediction", "count", "counter",
         "First tokens whose time had been foretold."},
        {"ttft_predicted_seconds_total", "prediction", "predicted_seconds_sum", "counter",
         "What was foretold of them."},
        {"ttft_prediction_error_seconds_total", "prediction", "error_seconds_sum", "counter",
         "How far off that was, either way."},
    };
    static const char *const states[] = {"used", "cached", "free"};
    static const char *const keys[] = {"blocks_used", "blocks_cached", "blocks_free"};
    fg_prometheus_family(out, "kv_blocks", "gauge", "KV blocks of the shared arena by state.");
    for (size_t i = 0; i < 3; i++)
        fprintf(out, "floodgate_kv_blocks{state=\"%s\"} %.15g\n", states[i],
                number_at(stats, "kv", keys[i]));
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        fg_prometheus_family(out, families[i].name, families[i].type, families[i].help);
        fprintf(out, "floodgate_%s %.15g\n", families[i].name,
                number_at(stats, families[i].group, families[i].key));
    }
}

/* All workers of a family together, as the format wants it. */
static void write_workers(FILE *out, const json_t *workers)
{
    static const struct {
        const char *name, *key, *type, *help;
    } families[] = {
        {"worker_running", "running", "gauge", "Sequences running in a worker."},
        {"worker_waiting", "waiting", "gauge", "Sequences that wait for memory or a place."},
        {"worker_starts_total", "starts", "counter", "Times that a worker was started."},
        {"worker_steps_total", "steps", "counter", "Batches that it has run."},
        {"worker_batch_sequences_total", "batch_sequences", "counter",
         "Sequences in them: by steps, the batch's mean size."},
        {"worker_prefill_tokens_total", "tokens_prefill", "counter", "Prompt tokens computed."},
        {"worker_decode_tokens_total", "tokens_decode", "counter", "Output tokens computed."},
        {"worker_prompt_tokens_total", "tokens_prompt", "counter", "Of prompts that were let in."},
        {"worker_cached_tokens_total", "tokens_cached", "counter",
         "Of those, computed before or for another."},
        {"worker_saved_tokens_total", "tokens_saved", "counter",
         "Not generated, as the client had left."},
        {"worker_preemptions_total", "preemptions", "counter",
         "Sequences that gave their blocks back, to be computed again."},
    };
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        size_t i;
        const json_t *worker;
        fg_prometheus_family(out, families[f].name, families[f].type, families[f].help);
        json_array_foreach(workers, i, worker)
        {
            fprintf(out, "floodgate_%s{worker=\"%zu\"} %.15g\n", families[f].name, i,
                    number_at(worker, NULL, families[f].key));
        }
    }
}

static void write_inference(FILE *out, const json_t *stats)
{
    fg_prometheus_family(out, "ttft_seconds", "summary", "Time to first token.");
    write_summary(out, "ttft_seconds", stats, "ttft_ms", "ttft_seconds");
    fg_prometheus_family(out, "tpot_seconds", "summary", "Time per output token after the first.");
    write_summary(out, "tpot_seconds", stats, "tpot_ms", "tpot_seconds");
    fg_prometheus_family(out, "tokens_total", "counter", "Tokens by kind.");
    fprintf(out, "floodgate_tokens_total{kind=\"prompt\"} %.15g\n",
            number_at(stats, "tokens", "prompt"));
    fprintf(out, "floodgate_tokens_total{kind=\"completion\"} %.15g\n",
            number_at(stats, "tokens", "completion"));
    fg_prometheus_family(
        out, "inference_turns_cut_total", "counter",
        "Times that tokens waited for the next turn of an event loop, for the others' sake.");
    fprintf(out, "floodgate_inference_turns_cut_total %.15g\n",
            number_at(stats, "requests", "turns_cut"));
    write_kv(out, stats);
    write_workers(out, json_object_get(stats, "workers"));
}

static void write_orders(FILE *out, const json_t *stats)
{
    const char *name;
    json_t *value;
    fg_prometheus_family(out, "orders", "gauge", "Orders of the campaign by state.");
    json_object_foreach(json_object_get(stats, "orders"), name, value)
        fprintf(out, "floodgate_orders{state=\"%s\"} %.15g\n", name, json_number_value(value));
    fg_prometheus_family(out, "stock_left", "gauge", "Stock left of an SKU.");
    json_object_foreach(json_object_get(stats, "stock"), name, value)
        fprintf(out, "floodgate_stock_left{sku=\"%s\"} %.15g\n", name, json_number_value(value));
}

/* All endpoints of all clusters, a family at a time, as the format wants it. */
static void write_endpoints(FILE *out, const json_t *clusters)
{
    static const struct {
        const char *name, *key, *type, *help;
    } families[] = {
        {"endpoint_usable", "is_usable", "gauge", "1: checks and ejection let it be used."},
        {"endpoint_requests_total", "requests", "counter", "Attempts sent to the endpoint."},
        {"endpoint_errors_total", "errors", "counter", "Attempts that failed, or 5xx answers."},
        {"endpoint_connections_opened_total", "connections_opened", "counter", "Connects begun."},
        {"endpoint_connect_errors_total", "connect_errors", "counter", "Connects that failed."},
        {"endpoint_resets_total", "resets", "counter", "Connections lost before the answer's end."},
        {"endpoint_timeouts_total", "timeouts", "counter",
         "Connects and answers that took too long."},
        {"endpoint_ejections_total", "ejections", "counter", "Times that it was ejected."},
        {"endpoint_breaker_open", "breaker_open", "gauge",
         "Its circuit breaker: 0 closed, 0.5 half-open, 1 open."},
        {"endpoint_breaker_opened_total", "breaker_opened", "counter",
         "Times that its circuit breaker opened."},
    };
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        const char *cluster;
        json_t *stats, *endpoint;
        size_t i;
        fg_prometheus_family(out, families[f].name, families[f].type, families[f].help);
        json_object_foreach((json_t *)(uintptr_t)clusters, cluster, stats)
        {
            json_array_foreach(json_object_get(stats, "endpoints"), i, endpoint)
            {
                const json_t *value = json_object_get(endpoint, families[f].key);
                double number =
                    json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
                fprintf(out, "floodgate_%s{cluster=\"%s\",endpoint=\"%s\"} %.15g\n",
                        families[f].name, cluster,
                        json_string_value(json_object_get(endpoint, "address")), number);
            }
        }
    }
}

/* The exact limits of the clusters. */
static void write_cluster_limits(FILE *out, const json_t *clusters)
{
    static const struct {
        const char *name, *key, *type, *help;
    } families[] = {
        {"cluster_limit_used", "used", "gauge", "What a cluster has now of what is limited."},
        {"cluster_limit_max", "max", "gauge", "The limit, where there is one."},
        {"cluster_limit_refused_total", "refused", "counter", "Times that the limit was reached."},
    };
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        const char *cluster, *limit;
        json_t *stats, *figures;
        fg_prometheus_family(out, families[f].name, families[f].type, families[f].help);
        json_object_foreach((json_t *)(uintptr_t)clusters, cluster, stats)
        {
            json_object_foreach(json_object_get(stats, "limits"), limit, figures)
            {
                const json_t *value = json_object_get(figures, families[f].key);
                if (json_is_integer(value))
                    fprintf(out, "floodgate_%s{cluster=\"%s\",limit=\"%s\"} %.15g\n",
                            families[f].name, cluster, limit, json_number_value(value));
            }
        }
    }
}

/* The value of a label: what a configuration may hold, a path has no rule for. */
static void write_label(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            fputs("\\n", out);
            continue;
        }
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

/* `user` has the file in use: "listener" or "cluster". */
static void write_end(FILE *out, const char *name, const char *user, const char *user_name,
                      const char *file, int64_t left_s)
{
    fprintf(out, "floodgate_%s{%s=\"%s\",file=\"", name, user, user_name);
    write_label(out, file);
    fprintf(out, "\"} %" PRId64 "\n", left_s);
}

/* When what servers are shown ends. */
static void write_cluster_ends(FILE *out, const json_t *clusters)
{
    static const char name[] = "cluster_certificate_expiry_seconds";
    const char *cluster;
    json_t *stats;
    fg_prometheus_family(out, name, "gauge",
                         "Until the certificate that servers are shown is over; negative: it is.");
    json_object_foreach((json_t *)(uintptr_t)clusters, cluster, stats)
    {
        const json_t *certificate = json_object_get(stats, "certificate");
        if (certificate != NULL)
            write_end(out, name, "cluster", cluster,
                      json_string_value(json_object_get(certificate, "file")),
                      json_integer_value(json_object_get(certificate, "left_s")));
    }
}

/* Answers that their clients did not take. */
static void write_unread(FILE *out, const json_t *clusters)
{
    static const struct {
        const char *name, *key, *help;
    } families[] = {
        {"cluster_gave_way_total", "gave_way", "Answers cut that their clients did not take."},
        {"cluster_share_cut_total", "share_cut", "Of these, above their client's share."},
        {"cluster_share_refused_total", "share_refused",
         "Requests of clients that leave their share of answers unread."},
    };
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        const char *cluster;
        json_t *stats;
        fg_prometheus_family(out, families[f].name, "counter", families[f].help);
        json_object_foreach((json_t *)(uintptr_t)clusters, cluster, stats)
        {
            const json_t *value =
                json_object_get(json_object_get(stats, "requests"), families[f].key);
            if (json_is_integer(value))
                fprintf(out, "floodgate_%s{cluster=\"%s\"} %.15g\n", families[f].name, cluster,
                        json_number_value(value));
        }
    }
}

static void write_endpoint_changes(FILE *out, const struct fg_admin_options *options)
{
    json_t *changes = fg_admin_changes_json(options);
    fg_prometheus_family(out, "endpoint_changes", "gauge",
                         "Endpoints that operators have added or disabled.");
    fprintf(out, "floodgate_endpoint_changes %.15g\n", number_at(changes, NULL, "count"));
    fg_prometheus_family(out, "endpoint_changes_max", "gauge", "As many may be.");
    fprintf(out, "floodgate_endpoint_changes_max %.15g\n", number_at(changes, NULL, "max"));
    fg_prometheus_family(out, "endpoint_changes_refused_total", "counter",
                         "Changes for which there was no room.");
    fprintf(out, "floodgate_endpoint_changes_refused_total %.15g\n",
            number_at(changes, NULL, "refused"));
    json_decref(changes);
}

static void write_backends(FILE *out, const struct fg_admin_options *options)
{
    json_t *clusters = json_object();
    for (size_t i = 0; i < options->config->backend_count; i++) {
        struct fg_backend *backend = fg_pipeline_backend(options->pipeline, i);
        enum fg_backend_kind kind = options->config->backends[i].kind;
        json_t *stats = json_object();
        backend->ops->stats(backend, stats);
        if (kind == FG_BACKEND_INFERENCE)
            write_inference(out, stats);
        else if (kind == FG_BACKEND_ORDERS)
            write_orders(out, stats);
        else if (kind == FG_BACKEND_CLUSTER)
            json_object_set(clusters, options->config->backends[i].name, stats);
        json_decref(stats);
    }
    write_endpoints(out, clusters);
    write_cluster_limits(out, clusters);
    write_unread(out, clusters);
    write_cluster_ends(out, clusters);
    write_endpoint_changes(out, options);
    json_decref(clusters);
}

/* A counter of fg_net_stats, of all loops. */
static uint64_t net_sum(const struct fg_admin_options *options, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < options->thread_count; t++) {
        const char *net = (const char *)fg_net_stats(options->nets[t]);
        sum += fg_counter_get((const struct fg_counter *)(const void *)(net + offset));
    }
    return sum;
}

static void write_connections(FILE *out, const struct fg_admin_options *options)
{
    static const struct {
        const char *result;
        size_t offset;
    } results[] = {
        {"ok", offsetof(struct fg_net_stats, handshakes_ok)},
        {"failed", offsetof(struct fg_net_stats, handshakes_failed)},
        {"shed", offsetof(struct fg_net_stats, handshakes_shed)},
        {"refused", offsetof(struct fg_net_stats, handshakes_refused)},
    };
    static const struct {
        const char *name;
        size_t offset;
        const char *help;
    } counters[] = {
        {"connections_accepted_total", offsetof(struct fg_net_stats, accepted),
         "Client connections ever accepted."},
        {"dear_reads_total", offsetof(struct fg_net_stats, dear_reads),
         "Reads whose bytes took more of a turn than their share."},
        {"reads_cut_total", offsetof(struct fg_net_stats, reads_cut),
         "Times that others had their turn before the rest of a read of many requests."},
        {"writes_cut_total", offsetof(struct fg_net_stats, writes_cut),
         "Times that others had their turn before the rest of what a client was to be sent."},
        {"writes_gathered_total", offsetof(struct fg_net_stats, writes_gathered),
         "Writes to HTTP/2 clients that waited a turn or more for further answers."},
        {"idle_closed_total", offsetof(struct fg_net_stats, closed_idle),
         "Connections without a request that made room for newcomers."},
        {"timeouts_total", offsetof(struct fg_net_stats, timeouts),
         "Clients that took too long: idle, over a head, a body, or reading."},
        {"protocol_errors_total", offsetof(struct fg_net_stats, protocol_errors),
         "Heads, bodies, frames and connections that were no HTTP."},
        {"client_certificates_refused_total",
         offsetof(struct fg_net_stats, client_certificates_refused),
         "Handshakes that failed for what the client has shown."},
        {"tls_floods_total", offsetof(struct fg_net_stats, tls_floods),
         "Connections closed for key updates, alerts or renegotiation."},
        {"h2_floods_total", offsetof(struct fg_net_stats, h2_floods),
         "Connections closed for frames without content, or bombs."},
        {"flooders_delayed_total", offsetof(struct fg_net_stats, flooders_delayed),
         "Handshakes that waited, since their address had flooded and came too often."},
        {"flooders_refused_total", offsetof(struct fg_net_stats, flooders_refused),
         "Connections closed before their handshake, since too many of such an address waited."},
        {"h2_indebted_total", offsetof(struct fg_net_stats, h2_indebted),
         "Connections that began with a smaller allowance, since their address had flooded."},
    };
    fg_prometheus_family(out, "connections", "gauge", "Open client connections.");
    fprintf(out, "floodgate_connections %" PRIu64 "\n",
            net_sum(options, offsetof(struct fg_net_stats, open)));
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        fg_prometheus_family(out, counters[i].name, "counter", counters[i].help);
        fprintf(out, "floodgate_%s %" PRIu64 "\n", counters[i].name,
                net_sum(options, counters[i].offset));
    }
    fg_prometheus_family(out, "handshakes_total", "counter", "TLS handshakes, by result.");
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        fprintf(out, "floodgate_handshakes_total{result=\"%s\"} %" PRIu64 "\n", results[i].result,
                net_sum(options, results[i].offset));
    fg_prometheus_family(out, "handshakes_resumed_total", "counter",
                         "Of the good ones, those that resumed.");
    fprintf(out, "floodgate_handshakes_resumed_total %" PRIu64 "\n",
            net_sum(options, offsetof(struct fg_net_stats, handshakes_resumed)));
    fg_prometheus_family(out, "handshakes_stapled_total", "counter",
                         "Of the good ones, those with an OCSP response.");
    fprintf(out, "floodgate_handshakes_stapled_total %" PRIu64 "\n",
            net_sum(options, offsetof(struct fg_net_stats, handshakes_stapled)));
    fg_prometheus_family(out, "handshakes_waiting", "gauge",
                         "TLS handshakes that wait for their turn.");
    fprintf(out, "floodgate_handshakes_waiting %" PRIu64 "\n",
            net_sum(options, offsetof(struct fg_net_stats, handshakes_waiting)));
}

/* When what is in use of TLS' files ends. */
static void write_ends(FILE *out, const struct fg_admin_options *options)
{
    enum { CERTIFICATE, OCSP, CA, CRL, COUNT };
    static const char *const names[COUNT] = {
        "certificate_expiry_seconds", "ocsp_response_expiry_seconds", "client_ca_expiry_seconds",
        "client_crl_expiry_seconds"};
    static const char *const helps[COUNT] = {
        "Until a certificate in use is over; negative: it is.",
        "Until the response that is stapled to it is over; 0: none is stapled.",
        "Until the first authority of clients is over; negative: it is, and its clients are out.",
        "Until a list of revoked clients is over, and nobody gets in."};
    struct fg_tls_certificate_report report;
    for (unsigned k = 0; options->tls != NULL && k < COUNT; k++) {
        fg_prometheus_family(out, names[k], "gauge", helps[k]);
        for (size_t l = 0; l < options->config->listener_count; l++) {
            const char *listener = options->config->listeners[l].name;
            struct fg_tls_context *tls = options->tls[l];
            for (size_t i = 0; tls != NULL && fg_tls_context_report(tls, i, &report); i++) {
                const char *const files[COUNT] = {report.file, report.ocsp_file, report.ca_file,
                                                  report.crl_file};
                const int64_t left_s[COUNT] = {report.left_s, (int64_t)report.ocsp_left_s,
                                               report.ca_left_s, (int64_t)report.crl_left_s};
                if (files[k] != NULL)
                    write_end(out, names[k], "listener", listener, files[k], left_s[k]);
            }
        }
    }
}

static void write_files(FILE *out, const struct fg_admin_options *options)
{
    if (options->files == NULL)
        return;
    fg_prometheus_family(out, "files_reloaded_total", "counter",
                         "Certificates, keys and secrets taken up since their files changed.");
    fprintf(out, "floodgate_files_reloaded_total %" PRIu64 "\n",
            fg_counter_get(&options->files->reloaded));
    fg_prometheus_family(out, "files_stale", "gauge",
                         "Those whose files have changed and cannot be used: the old are in use.");
    fprintf(out, "floodgate_files_stale %" PRIu64 "\n", fg_counter_get(&options->files->stale));
}

static void write_process(FILE *out, const struct fg_admin_options *options)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    write_connections(out, options);
    write_ends(out, options);
    write_files(out, options);
    fg_prometheus_family(out, "process_cpu_seconds_total", "counter",
                         "CPU time of the gateway process.");
    fprintf(out, "floodgate_process_cpu_seconds_total %.6f\n",
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    fg_prometheus_family(out, "loop_lag_seconds", "gauge",
                         "Smoothed lateness of timers, by event loop.");
    for (unsigned t = 0; t < options->thread_count; t++)
        fprintf(out, "floodgate_loop_lag_seconds{loop=\"%u\"} %.9f\n", t,
                (double)fg_loop_lag_ns(options->loops[t]) / 1e9);
    fg_prometheus_family(out, "loop_pauses_total", "counter",
                         "Pauses so that more answers leave together, by event loop.");
    for (unsigned t = 0; t < options->thread_count; t++)
        fprintf(out, "floodgate_loop_pauses_total{loop=\"%u\"} %" PRIu64 "\n", t,
                fg_loop_pauses(options->loops[t]));
}

char *fg_admin_metrics(const struct fg_admin_options *options, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    struct fg_histogram *sum = malloc(sizeof(*sum));
    if (out == NULL || sum == NULL) {
        if (out != NULL)
            fclose(out);
        free(text);
        free(sum);
        return NULL;
    }
    write_routes(out, options);
    write_latencies(out, options, sum);
    fg_prometheus_write_policies(out, options);
    write_cache(out, options);
    write_backends(out, options);
    write_process(out, options);
    free(sum);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
