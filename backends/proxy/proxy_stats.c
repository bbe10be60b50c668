/*
 * proxy_stats.c: the counters of all event loops as one JSON object.
 * Thread   any; reads counters only.
 * Memory   one histogram while it adds up.
 */
#include "proxy/proxy.h"

#include "proxy_internal.h"

#include "base/clock.h"

#include <stdlib.h>

static void set_number(json_t *into, const char *name, uint64_t value)
{
    json_object_set_new(into, name, json_integer((json_int_t)value));
}

/* The sum of one counter over all loops: `offset` is its place in the metrics of one. */
static uint64_t sum(const struct fg_proxy *proxy, size_t offset)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < proxy->thread_count; i++) {
        const char *at = (const char *)&proxy->metrics[i] + offset;
        total += fg_counter_get((const struct fg_counter *)(const void *)at);
    }
    return total;
}

#define SUM(proxy, member) sum((proxy), offsetof(struct fg_proxy_metrics, member))

static json_t *requests_json(const struct fg_proxy *proxy)
{
    json_t *requests = json_object();
    set_number(requests, "started", SUM(proxy, started));
    set_number(requests, "completed", SUM(proxy, completed));
    set_number(requests, "failed", SUM(proxy, failed));
    set_number(requests, "cancelled", SUM(proxy, cancelled));
    set_number(requests, "busy", SUM(proxy, busy));
    set_number(requests, "retries", SUM(proxy, retries));
    set_number(requests, "reconnects", SUM(proxy, reconnects));
    set_number(requests, "retries_refused", SUM(proxy, retries_refused));
    set_number(requests, "hedges", SUM(proxy, hedges));
    set_number(requests, "hedges_won", SUM(proxy, hedges_won));
    set_number(requests, "resets", SUM(proxy, resets));
    set_number(requests, "timeouts", SUM(proxy, timeouts));
    set_number(requests, "malformed", SUM(proxy, malformed));
    set_number(requests, "gave_way", SUM(proxy, gave_way));
    set_number(requests, "share_cut", SUM(proxy, share_cut));
    set_number(requests, "share_refused", SUM(proxy, share_refused));
    return requests;
}

static json_t *connections_json(const struct fg_proxy *proxy)
{
    json_t *connections = json_object();
    set_number(connections, "open", SUM(proxy, connections_open));
    set_number(connections, "idle", SUM(proxy, connections_idle));
    set_number(connections, "opened", SUM(proxy, connections_opened));
    set_number(connections, "reused", SUM(proxy, connections_reused));
    set_number(connections, "streams", SUM(proxy, streams_open));
    set_number(connections, "pings", SUM(proxy, pings));
    set_number(connections, "dear_reads", SUM(proxy, dear_reads));
    set_number(connections, "last_reads", SUM(proxy, last_reads));
    set_number(connections, "pings_lost", SUM(proxy, pings_lost));
    set_number(connections, "tls_handshakes", SUM(proxy, tls_handshakes));
    set_number(connections, "tls_resumed", SUM(proxy, tls_resumed));
    set_number(connections, "tls_errors", SUM(proxy, tls_errors));
    set_number(connections, "errors", SUM(proxy, connect_errors));
    set_number(connections, "resolves", SUM(proxy, resolves));
    return connections;
}

static json_t *latency_json(const struct fg_proxy *proxy)
{
    static const struct {
        const char *name;
        unsigned permyriad;
    } quantiles[] = {{"p50_ns", 5000}, {"p90_ns", 9000}, {"p99_ns", 9900}, {"p999_ns", 9990}};
    struct fg_histogram *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return json_null();
    for (unsigned i = 0; i < proxy->thread_count; i++)
        fg_histogram_merge(all, &proxy->metrics[i].head_ns);
    json_t *latency = json_object();
    set_number(latency, "count", fg_counter_get(&all->count));
    set_number(latency, "sum_ns", fg_counter_get(&all->sum));
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        set_number(latency, quantiles[i].name, fg_histogram_quantile(all, quantiles[i].permyriad));
    free(all);
    return latency;
}

static void put_certificate(struct fg_proxy *proxy, json_t *into)
{
    int64_t left_s;
    const char *file = fg_proxy_certificate(&proxy->base, &left_s);
    if (file != NULL)
        json_object_set_new(into, "certificate",
                            json_pack("{s:s, s:I}", "file", file, "left_s", (json_int_t)left_s));
}

void fg_proxy_stats(struct fg_backend *backend, json_t *into)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    json_object_set_new(into, "requests", requests_json(proxy));
    json_object_set_new(into, "connections", connections_json(proxy));
    json_object_set_new(into, "limits", fg_cluster_limits_json(&proxy->limits));
    json_object_set_new(into, "time_to_head", latency_json(proxy));
    put_certificate(proxy, into);
    set_number(into, "sent_bytes", SUM(proxy, sent_bytes));
    set_number(into, "received_bytes", SUM(proxy, received_bytes));
    set_number(into, "upload_buffered_bytes", SUM(proxy, upload_buffered_bytes));
    set_number(into, "upload_buffered_bytes_most", SUM(proxy, upload_buffered_bytes_most));
    json_object_set_new(into, "endpoints", fg_hosts_json(&proxy->hosts, fg_clock_monotonic_ns()));
}

bool fg_proxy_is_ready(struct fg_backend *backend, const char **why)
{
    struct fg_proxy *proxy = (struct fg_proxy *)backend;
    return fg_hosts_are_ready(&proxy->hosts, why);
}
