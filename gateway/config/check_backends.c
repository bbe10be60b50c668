/*
 * check_backends.c: what must fit together in static directories, clusters, orders and inference,
 * and in the limit, queue and breaker before each.
 */
#include "config/checks.h"
#include "config/loader.h"

#include <sys/un.h>

/* Names of sockets inside a directory have at most so many bytes, with the slash and the NUL. */
#define SOCKET_NAME_BYTES 24u

static void check_concurrency(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                              const struct fg_concurrency_conf *conf)
{
    if (!fg_config_is_sound(node, "kind"))
        return;
    if (conf->kind == FG_CONCURRENCY_FIXED) {
        static const char *const adaptive[] = {"min", "max", NULL};
        fg_config_refuse_keys(snapshot, node, adaptive, "with kind fixed");
        return;
    }
    fg_config_check_order(snapshot, node, "min", "max", conf->limit_min <= conf->limit_max);
    if (conf->limit_min > conf->limit_max)
        return;
    fg_config_check_order(snapshot, node, "limit", "max", conf->limit <= conf->limit_max);
    fg_config_check_order(snapshot, node, "min", "limit", conf->limit_min <= conf->limit);
}

void fg_config_check_limit(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const struct fg_concurrency_conf *concurrency,
                           const struct fg_queue_conf *queue)
{
    check_concurrency(snapshot, fg_yaml_find(node, "concurrency"), concurrency);
    fg_config_check_order(snapshot, fg_yaml_find(node, "queue"), "target", "interval",
                          queue->target_ns <= queue->interval_ns);
}

static void check_gates(struct fg_snapshot *snapshot, const struct fg_raw_backend *backend,
                        const struct fg_yaml_node *node)
{
    const struct fg_backend_conf *conf = &backend->conf;
    fg_config_check_limit(snapshot, node, &conf->concurrency, &conf->queue);
    const struct fg_yaml_node *breaker = fg_yaml_find(node, "breaker");
    fg_config_check_order(snapshot, breaker, "open", "open_max",
                          conf->breaker.open_ns <= conf->breaker.open_max_ns);
    if (conf->breaker.enabled && conf->breaker.consecutive_failures == 0 &&
        conf->breaker.error_permille == 0 &&
        (conf->breaker.slow_ns == 0 || conf->breaker.slow_permille == 0))
        fg_config_error_at(snapshot, breaker, NULL,
                           "the breaker can never open: consecutive_failures, error_ratio and slow "
                           "are off; expected one of them, or enabled: false");
}

static void check_cookie(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    if (!conf->has_hash_cookie || conf->balance != FG_BALANCE_HASH || conf->hash_key == NULL)
        return;
    const struct fg_yaml_node *node = fg_yaml_find(cluster->node, "hash_cookie");
    if (strncmp(conf->hash_key, "cookie:", strlen("cookie:")) != 0)
        fg_config_error_at(snapshot, node, NULL,
                           "hash_cookie with hash_key %s; expected hash_key cookie:NAME",
                           conf->hash_key);
    if (conf->hash_cookie.same_site == FG_SAME_SITE_NONE &&
        conf->hash_cookie.secure != FG_COOKIE_SECURE_ON)
        fg_config_error_at(snapshot, node, "same_site",
                           "browsers throw such a cookie away; expected secure: on beside it");
    const char *at = conf->hash_cookie.path;
    while (at != NULL && *at != ';' && *at > 0)
        at++;
    if (at != NULL && *at != '\0')
        fg_config_error_at(snapshot, node, "path", "path: \"%s\" cannot be said in a cookie",
                           conf->hash_cookie.path);
}

/* How endpoints are found and chosen. */
static void check_choice(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    static const char *const of_hash[] = {"hash_key", "hash_cookie", "hash_load_max", NULL};
    static const char *const of_others[] = {"slow_start", NULL};
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    if (conf->balance != FG_BALANCE_HASH && fg_config_is_sound(cluster->node, "balance"))
        fg_config_refuse_keys(snapshot, cluster->node, of_hash, "unless balance is hash");
    else if (conf->balance == FG_BALANCE_HASH)
        fg_config_refuse_keys(snapshot, cluster->node, of_others, "with balance hash");
    check_cookie(snapshot, cluster);
    fg_config_check_order(snapshot, cluster->node, "dns_ttl_min", "dns_ttl_max",
                          conf->dns_ttl_min_ns <= conf->dns_ttl_max_ns);
    for (size_t i = 0; i < conf->dns_server_count; i++) {
        const char *problem = fg_text_check_dns_server(fg_span_from_string(conf->dns_servers[i]));
        if (problem != NULL)
            fg_config_error_at(snapshot, cluster->node, "dns_servers", "dns_servers: \"%s\" %s",
                               conf->dns_servers[i], problem);
    }
    bool is_mapping = cluster->node->kind == FG_YAML_MAP || cluster->node->kind == FG_YAML_NULL;
    if (is_mapping && fg_yaml_find(cluster->node, "endpoints") == NULL &&
        conf->endpoints_file == NULL)
        fg_config_error_at(snapshot, cluster->node, NULL,
                           "\"endpoints\" is missing in clusters.NAME; expected it, such as "
                           "127.0.0.1:3000, or endpoints_file");
    if (cluster->endpoint_count > conf->hosts_max)
        fg_config_error_at(snapshot, cluster->node, "endpoints_max",
                           "%zu endpoints, endpoints_max is %u; expected it at or above",
                           cluster->endpoint_count, conf->hosts_max);
}

static bool speaks_http1(const struct fg_cluster_conf *conf)
{
    return conf->protocol == FG_PROTOCOL_HTTP1 ||
           (conf->protocol == FG_PROTOCOL_AUTO && !conf->has_tls);
}

/* How endpoints are spoken to. */
static void check_speech(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    static const char *const of_v2[] = {"proxy_protocol_tlvs", NULL};
    static const char *const of_h2[] = {"connection_keepalive", "max_streams",
                                        "http2_overhead_burst", "http2_overhead_per_second", NULL};
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    if (speaks_http1(conf) && fg_config_is_sound(cluster->node, "protocol") &&
        fg_config_is_sound(cluster->node, "tls"))
        fg_config_refuse_keys(snapshot, cluster->node, of_h2,
                              "without HTTP/2 (protocol h2, or auto with tls)");
    const struct fg_yaml_node *node = fg_yaml_find(cluster->node, "tls");
    if (conf->proxy_version != FG_PROXY_V2 && fg_config_is_sound(cluster->node, "proxy_protocol"))
        fg_config_refuse_keys(snapshot, cluster->node, of_v2, "unless proxy_protocol is v2");
    if (!conf->has_tls)
        return;
    if ((conf->tls.certificate == NULL) != (conf->tls.private_key == NULL))
        fg_config_error_at(snapshot, node,
                           conf->tls.certificate == NULL ? "private_key" : "certificate",
                           "certificate and private_key go together; expected both or neither");
    for (size_t i = 0;
         conf->tls.verify && conf->tls.server_name == NULL && i < cluster->endpoint_count; i++) {
        const char *address = cluster->endpoints[i].conf.address;
        if (address != NULL && strncmp(address, "unix:", 5) == 0)
            fg_config_error_at(snapshot, cluster->endpoints[i].node, "address",
                               "the certificate behind a unix socket cannot be checked without a "
                               "name; expected tls.server_name");
    }
}

/* Which fields the servers are told. */
static void check_forwarded(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    const uint32_t none = UINT32_C(1) << FG_FORWARDED_NONE;
    const uint32_t forwarded = cluster->conf.cluster.forwarded;
    const struct fg_yaml_node *node = fg_yaml_find(cluster->node, "forwarded");
    if (node == NULL || node->is_refused)
        return;
    if (forwarded == 0)
        fg_config_error_at(snapshot, cluster->node, "forwarded",
                           "forwarded names nothing; expected none, or the key left out");
    else if ((forwarded & none) != 0 && forwarded != none)
        fg_config_error_at(snapshot, cluster->node, "forwarded",
                           "forwarded has none beside others; expected none alone, or the others");
}

static void check_retries(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    static const char *const of_attempts[] = {"on", "backoff", "backoff_max", NULL};
    static const char *const of_backoff[] = {"backoff_max", NULL};
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    const struct fg_yaml_node *node = fg_yaml_find(cluster->node, "retries");
    if (!fg_config_is_sound(node, "attempts") || !fg_config_is_sound(node, "backoff"))
        return;
    if (conf->retries_max == 0)
        fg_config_refuse_keys(snapshot, node, of_attempts, "without attempts");
    else if (conf->retry_backoff_ns == 0)
        fg_config_refuse_keys(snapshot, node, of_backoff, "without backoff");
    else
        fg_config_check_order(snapshot, node, "backoff", "backoff_max",
                              conf->retry_backoff_max_ns == 0 ||
                                  conf->retry_backoff_ns <= conf->retry_backoff_max_ns);
}

static void check_health(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    static const char *const of_http[] = {"path", NULL};
    static const char *const of_both[] = {"host", NULL};
    static const char *const of_grpc[] = {"service", NULL};
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    const struct fg_yaml_node *check = fg_yaml_find(cluster->node, "health_check");
    const struct fg_yaml_node *outlier = fg_yaml_find(cluster->node, "outlier");
    if (conf->has_check && conf->check.kind == FG_CHECK_TCP)
        fg_config_refuse_keys(snapshot, check, of_both, "with kind tcp");
    if (conf->has_check && conf->check.kind != FG_CHECK_HTTP)
        fg_config_refuse_keys(snapshot, check, of_http, "unless kind is http");
    if (conf->has_check && conf->check.kind != FG_CHECK_GRPC)
        fg_config_refuse_keys(snapshot, check, of_grpc, "unless kind is grpc");
    if (conf->has_check && conf->check.kind == FG_CHECK_GRPC && speaks_http1(conf))
        fg_config_error_at(snapshot, check, "kind",
                           "gRPC needs HTTP/2; expected protocol h2, or auto with tls");
    const struct fg_yaml_node *breaker = fg_yaml_find(cluster->node, "endpoint_breaker");
    fg_config_check_order(snapshot, breaker, "open", "open_max",
                          conf->breaker.open_ns <= conf->breaker.open_max_ns);
    if (conf->has_breaker && conf->breaker.consecutive_failures == 0 &&
        conf->breaker.error_permille == 0 &&
        (conf->breaker.slow_ns == 0 || conf->breaker.slow_permille == 0))
        fg_config_error_at(
            snapshot, breaker, NULL,
            "the breakers can never open: consecutive_failures, error_ratio and slow "
            "are off; expected one of them, or endpoint_breaker: false");
    if (!conf->has_outlier)
        return;
    fg_config_check_order(snapshot, outlier, "ejection", "ejection_max",
                          conf->outlier.ejection_ns <= conf->outlier.ejection_max_ns);
    if (conf->outlier.consecutive_errors == 0 && conf->outlier.error_permille == 0 &&
        conf->outlier.latency_permille == 0)
        fg_config_error_at(snapshot, outlier, NULL,
                           "nothing can eject an endpoint: consecutive_errors, error_ratio and "
                           "latency are off; expected one of them, or outlier: false");
}

static void check_cluster(struct fg_snapshot *snapshot, const struct fg_raw_backend *cluster)
{
    const struct fg_cluster_conf *conf = &cluster->conf.cluster;
    fg_config_check_order(snapshot, cluster->node, "max_idle_connections", "max_connections",
                          conf->max_idle_connections <= conf->max_connections);
    const struct fg_yaml_node *concurrency = fg_yaml_find(cluster->node, "concurrency");
    bool is_fixed = cluster->conf.concurrency.kind == FG_CONCURRENCY_FIXED;
    uint32_t most =
        is_fixed ? cluster->conf.concurrency.limit : cluster->conf.concurrency.limit_max;
    if (!fg_cluster_may_share(conf) && most > conf->max_connections &&
        fg_config_is_sound(cluster->node, "max_connections"))
        fg_config_error_at(snapshot, concurrency, is_fixed ? "limit" : "max",
                           "%u requests in flight need as many connections, max_connections is %u; "
                           "expected it at or below",
                           most, conf->max_connections);
    check_choice(snapshot, cluster);
    check_speech(snapshot, cluster);
    check_forwarded(snapshot, cluster);
    check_retries(snapshot, cluster);
    check_health(snapshot, cluster);
    for (size_t i = 0; i < cluster->endpoint_count; i++) {
        const char *address = cluster->endpoints[i].conf.address;
        for (size_t j = 0; address != NULL && j < i; j++) {
            const char *other = cluster->endpoints[j].conf.address;
            if (other != NULL && strcmp(address, other) == 0) {
                const struct fg_yaml_node *node = cluster->endpoints[i].node;
                fg_config_error_at(snapshot, node, "address",
                                   "endpoint %s is there twice; expected it once, with a weight",
                                   address);
                break;
            }
        }
    }
}

/* Backends are called by their names in metrics. */
static void check_backend_names(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    const struct fg_raw_backend *groups[] = {raw->statics, raw->clusters};
    const size_t counts[] = {raw->static_count, raw->cluster_count};
    for (size_t g = 0; g < 2; g++) {
        for (size_t i = 0; i < counts[g]; i++) {
            const struct fg_raw_backend *backend = &groups[g][i];
            const char *name = backend->conf.name;
            if (strcmp(name, "orders") == 0 || strcmp(name, "inference") == 0)
                fg_config_report_add(
                    &snapshot->report, backend->node->key_line, backend->node->key_column,
                    "the name \"%s\" is a built-in backend's; expected another", name);
            for (size_t j = 0; g == 1 && j < raw->static_count; j++) {
                if (strcmp(name, raw->statics[j].conf.name) == 0)
                    fg_config_report_add(&snapshot->report, backend->node->key_line,
                                         backend->node->key_column,
                                         "the name \"%s\" is that of a static directory (line %u); "
                                         "expected another",
                                         name, raw->statics[j].node->key_line);
            }
        }
    }
}

/* Unix sockets inside it have a name of 107 bytes at most, directory included. */
static void check_socket_directory(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                                   const char *key, const char *directory)
{
    size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - SOCKET_NAME_BYTES;
    if (directory != NULL && strlen(directory) > most)
        fg_config_error_at(snapshot, node, key,
                           "%s: %s has %zu bytes; expected at most %zu, because the path of a unix "
                           "socket is short",
                           key, directory, strlen(directory), most);
}

static void check_redis(struct fg_snapshot *snapshot)
{
    static const char *const external[] = {"username", "password", NULL};
    static const char *const embedded[] = {"directory", "memory_max", NULL};
    const struct fg_redis_conf *redis = &snapshot->raw.orders.conf.redis;
    const struct fg_yaml_node *node = fg_yaml_find(fg_yaml_find(snapshot->root, "orders"), "redis");
    if (!fg_config_is_sound(node, "embedded"))
        return;
    if (!redis->embedded) {
        fg_config_refuse_keys(snapshot, node, embedded, "with an external Redis");
        if (fg_yaml_find(node, "address") == NULL)
            fg_config_error_at(snapshot, node, "embedded",
                               "embedded is false and there is no address; expected the address of "
                               "a Redis");
        return;
    }
    if (fg_yaml_find(node, "address") != NULL)
        fg_config_error_at(snapshot, node, "address",
                           "address together with embedded: true; expected one of the two");
    fg_config_refuse_keys(snapshot, node, external, "with the embedded Redis");
    check_socket_directory(snapshot, node, "directory", redis->directory);
}

static void check_orders(struct fg_snapshot *snapshot)
{
    const struct fg_raw_orders *orders = &snapshot->raw.orders;
    const struct fg_yaml_node *node = fg_yaml_find(snapshot->root, "orders");
    check_redis(snapshot);
    check_gates(snapshot, &orders->backend, node);
    const struct fg_yaml_node *skus = fg_yaml_find(node, "skus");
    if (!snapshot->config.has_orders || orders->sku_count > 0 || (skus != NULL && skus->first))
        return;
    for (size_t i = 0; i < snapshot->raw.route_count; i++) {
        const struct fg_raw_route *route = &snapshot->raw.routes[i];
        if (route->to != NULL && strcmp(route->to, "orders") == 0) {
            fg_config_error_at(snapshot, route->node, "to",
                               "a route leads to orders, but orders.skus is empty; expected an "
                               "article such as {milk-tea: {stock: 100000}}");
            return;
        }
    }
}

static void check_inference_sizes(struct fg_snapshot *snapshot, const struct fg_yaml_node *node)
{
    const struct fg_inference_conf *conf = &snapshot->raw.inference.conf;
    fg_config_check_order(snapshot, node, "batch_max", "step_tokens_max",
                          conf->batch_max <= conf->step_tokens_max);
    fg_config_check_order(snapshot, node, "prefill_chunk", "step_tokens_max",
                          conf->prefill_chunk <= conf->step_tokens_max);
    fg_config_check_order(snapshot, node, "batch_max", "sequences_max",
                          conf->batch_max <= conf->sequences_max);
    fg_config_check_order(snapshot, node, "max_tokens_default", "max_tokens_limit",
                          conf->max_tokens_default <= conf->max_tokens_limit);
    if (conf->context_max > 0)
        fg_config_check_order(snapshot, node, "max_tokens_limit", "context_max",
                              conf->max_tokens_limit <= conf->context_max);
}

static void check_inference_roles(struct fg_snapshot *snapshot, const struct fg_yaml_node *node)
{
    const struct fg_inference_conf *conf = &snapshot->raw.inference.conf;
    uint32_t special = conf->prefill_workers + conf->decode_workers;
    if (special > conf->worker_count)
        fg_config_error_at(snapshot, node, "workers",
                           "there are more prefill_workers and decode_workers than workers; "
                           "expected as many at most");
}

static void check_inference(struct fg_snapshot *snapshot)
{
    const struct fg_raw_inference *inference = &snapshot->raw.inference;
    const struct fg_yaml_node *node = fg_yaml_find(snapshot->root, "inference");
    check_gates(snapshot, &inference->backend, node);
    check_inference_sizes(snapshot, node);
    check_inference_roles(snapshot, node);
    if (inference->conf.enabled && fg_yaml_find(node, "model") == NULL)
        fg_config_error_at(snapshot, node, "enabled",
                           "inference is enabled without a model; expected model: FILE.gguf");
    if (inference->conf.enabled)
        check_socket_directory(snapshot, node, "socket_directory",
                               inference->conf.socket_directory);
    for (size_t i = 0; i < snapshot->raw.route_count; i++) {
        const struct fg_raw_route *route = &snapshot->raw.routes[i];
        if (route->to == NULL || strcmp(route->to, "inference") != 0 || inference->conf.enabled ||
            !fg_config_is_sound(node, "enabled"))
            continue;
        fg_config_error_at(snapshot, route->node, "to",
                           "a route leads to inference, which is not enabled; expected "
                           "inference.enabled: true with a model");
        return;
    }
}

#define RESERVED_MOST 900u

/* Adds `backend`'s share; what is above the most is told at it. */
static void add_reserve(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                        const struct fg_backend_conf *backend, uint32_t *sum)
{
    uint32_t before = *sum;
    *sum += backend->reserve.memory_permille;
    if (before <= RESERVED_MOST && *sum > RESERVED_MOST)
        fg_config_error_at(snapshot, node, "reserve",
                           "more than 90%% of request memory is reserved, all backends together; "
                           "expected less, for whoever has no reserve");
}

static void check_reserves(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    uint32_t sum = 0;
    for (size_t i = 0; i < raw->static_count; i++)
        add_reserve(snapshot, raw->statics[i].node, &raw->statics[i].conf, &sum);
    for (size_t i = 0; i < raw->cluster_count; i++)
        add_reserve(snapshot, raw->clusters[i].node, &raw->clusters[i].conf, &sum);
    if (raw->inference.conf.enabled)
        add_reserve(snapshot, fg_yaml_find(snapshot->root, "inference"),
                    &raw->inference.backend.conf, &sum);
    if (snapshot->config.has_orders)
        add_reserve(snapshot, fg_yaml_find(snapshot->root, "orders"), &raw->orders.backend.conf,
                    &sum);
}

void fg_config_check_backends(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    for (size_t i = 0; i < raw->static_count; i++)
        check_gates(snapshot, &raw->statics[i], raw->statics[i].node);
    for (size_t i = 0; i < raw->cluster_count; i++) {
        check_gates(snapshot, &raw->clusters[i], raw->clusters[i].node);
        check_cluster(snapshot, &raw->clusters[i]);
    }
    check_backend_names(snapshot);
    check_orders(snapshot);
    check_inference(snapshot);
    check_reserves(snapshot);
}
