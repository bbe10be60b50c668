/*
 * resolve.c: from the raw configuration to the one that modules read: defaults that depend on other
 * values, names into indices, and backends[] in one array.
 *
 *    backends[]: static directories, clusters (file order), then orders and inference where a route
 *    leads there. A backend that no route uses is kept: it may be meant for tomorrow.
 */
#include "config/checks.h"
#include "config/loader.h"

#define STREAM_IDLE_NS UINT64_C(60000000000) /* a stream of places says something every 15 s */

/* Words a `to` may be, built once, for its errors. */
struct targets {
    const char *
        *words; /* "static:promo", ... in the order of backends[], then the two fixed ones */
    size_t count;
};

static void cap_u32(const struct fg_yaml_node *node, const char *key, uint32_t *value,
                    uint32_t most)
{
    if (!fg_config_is_written(node, key) && *value > most)
        *value = most;
}

static void cap_u64(const struct fg_yaml_node *node, const char *key, uint64_t *value,
                    uint64_t most)
{
    if (!fg_config_is_written(node, key) && *value > most)
        *value = most;
}

/* Bounds that are not written follow the ones that are; `most` is the backend's own limit. */
static void derive_concurrency(const struct fg_yaml_node *backend, struct fg_concurrency_conf *c,
                               uint32_t most)
{
    const struct fg_yaml_node *node = fg_yaml_find(backend, "concurrency");
    if (c->limit_max == 0)
        c->limit_max = most;
    cap_u32(node, "max", &c->limit_max, most);
    if (!fg_config_is_written(node, "max") && fg_config_is_written(node, "limit") &&
        c->limit > c->limit_max)
        c->limit_max = c->limit;
    cap_u32(node, "limit", &c->limit, c->limit_max);
    cap_u32(node, "min", &c->limit_min, c->limit < c->limit_max ? c->limit : c->limit_max);
    if (c->kind == FG_CONCURRENCY_FIXED) {
        c->limit_min = c->limit;
        c->limit_max = c->limit;
    }
}

static void derive_gates(const struct fg_yaml_node *node, struct fg_backend_conf *conf,
                         uint32_t concurrency_most)
{
    derive_concurrency(node, &conf->concurrency, concurrency_most);
    const struct fg_yaml_node *breaker = fg_yaml_find(node, "breaker");
    if (!fg_config_is_written(breaker, "open_max") &&
        conf->breaker.open_max_ns < conf->breaker.open_ns)
        conf->breaker.open_max_ns = conf->breaker.open_ns;
    conf->line = node == NULL ? 0 : node->key_line;
}

static void derive_cache(const struct fg_yaml_node *node, struct fg_cache_conf *cache)
{
    static const char *const types[] = {
        "text/",
        "application/json",
        "application/javascript",
        "application/xml",
        "application/manifest+json",
        "application/ld+json",
        "application/problem+json",
        "application/rss+xml",
        "application/atom+xml",
        "application/wasm",
        "image/svg+xml",
        "font/ttf",
        "font/otf",
    };
    if (!fg_config_is_written(node, "compress"))
        cache->compress_codings = 1u << FG_CODING_GZIP | 1u << FG_CODING_ZSTD | 1u << FG_CODING_BR;
    if (fg_config_is_written(node, "compress_types"))
        return;
    cache->compress_types = types;
    cache->compress_type_count = sizeof(types) / sizeof(types[0]);
}

static void derive_sections(struct fg_snapshot *snapshot)
{
    struct fg_raw_config *raw = &snapshot->raw;
    const struct fg_yaml_node *root = snapshot->root;
    const struct fg_yaml_node *cache = fg_yaml_find(fg_yaml_find(root, "policies"), "cache");
    derive_cache(cache, &raw->cache);
    cap_u64(cache, "object_max", &raw->cache.object_bytes_max, raw->cache.bytes_max);
    const struct fg_yaml_node *limits = fg_yaml_find(root, "limits");
    cap_u32(limits, "connections_per_ip_max", &raw->limits.connections_per_ip_max,
            raw->limits.connections_max);
    cap_u64(limits, "request_memory_max", &raw->limits.request_memory_max,
            raw->limits.arena_bytes_max);

    struct fg_redis_conf *redis = &raw->orders.conf.redis;
    const struct fg_yaml_node *redis_node = fg_yaml_find(fg_yaml_find(root, "orders"), "redis");
    if (!fg_config_is_written(redis_node, "embedded"))
        redis->embedded = !fg_config_is_written(redis_node, "address");

    struct fg_inference_conf *inference = &raw->inference.conf;
    const struct fg_yaml_node *node = fg_yaml_find(root, "inference");
    cap_u32(node, "prefill_chunk", &inference->prefill_chunk, inference->step_tokens_max);
    cap_u32(node, "batch_max", &inference->batch_max, inference->sequences_max);
    if (inference->context_max > 0)
        cap_u32(node, "max_tokens_limit", &inference->max_tokens_limit, inference->context_max);
    cap_u32(node, "max_tokens_default", &inference->max_tokens_default,
            inference->max_tokens_limit);
    struct fg_queue_conf *queue = &raw->inference.backend.conf.queue;
    if (queue->tokens_answer == 0)
        queue->tokens_answer = inference->max_tokens_default;
}

/* The words passed their check when they were read. */
static const struct fg_cidr *resolve_networks(struct fg_snapshot *snapshot,
                                              const char *const *words, size_t count)
{
    struct fg_cidr *networks =
        fg_config_alloc(&snapshot->report, (count + 1) * sizeof(struct fg_cidr));
    for (size_t i = 0; networks != NULL && i < count; i++)
        (void)fg_cidr_parse(fg_span_from_string(words[i]), &networks[i]);
    return networks;
}

static void resolve_listener(struct fg_snapshot *snapshot, struct fg_raw_listener *listener)
{
    struct fg_listener_conf *conf = &listener->conf;
    struct fg_certificate_conf *certificates = fg_config_alloc(
        &snapshot->report, (listener->certificate_count + 1) * sizeof(*certificates));
    if (certificates == NULL)
        return;
    for (size_t i = 0; i < listener->certificate_count; i++)
        certificates[i] = listener->certificates[i].conf;
    conf->certificates = certificates;
    conf->certificate_count = listener->certificate_count;
    conf->proxy_protocol_from = resolve_networks(snapshot, listener->proxy_protocol_from,
                                                 listener->proxy_protocol_from_count);
    conf->proxy_protocol_from_count = listener->proxy_protocol_from_count;
    conf->trusted_proxies =
        resolve_networks(snapshot, listener->trusted_proxies, listener->trusted_proxy_count);
    conf->trusted_proxy_count = listener->trusted_proxy_count;
    if (conf->name == NULL)
        conf->name = conf->address;
    if (conf->kind != FG_LISTENER_TLS)
        conf->tls_min = NULL;
    conf->line = listener->node->line;
}

static void resolve_listeners(struct fg_snapshot *snapshot)
{
    struct fg_raw_config *raw = &snapshot->raw;
    struct fg_listener_conf *listeners =
        fg_config_alloc(&snapshot->report, raw->listener_count * sizeof(*listeners));
    if (listeners == NULL)
        return;
    for (size_t i = 0; i < raw->listener_count; i++) {
        resolve_listener(snapshot, &raw->listeners[i]);
        listeners[i] = raw->listeners[i].conf;
    }
    snapshot->config.listeners = listeners;
    snapshot->config.listener_count = raw->listener_count;
}

static void resolve_endpoints(struct fg_snapshot *snapshot, struct fg_raw_backend *cluster)
{
    struct fg_endpoint_conf *endpoints =
        fg_config_alloc(&snapshot->report, cluster->endpoint_count * sizeof(*endpoints));
    if (endpoints == NULL)
        return;
    for (size_t i = 0; i < cluster->endpoint_count; i++)
        endpoints[i] = cluster->endpoints[i].conf;
    cluster->conf.cluster.endpoints = endpoints;
    cluster->conf.cluster.endpoint_count = cluster->endpoint_count;
}

static void resolve_skus(struct fg_snapshot *snapshot)
{
    struct fg_raw_orders *orders = &snapshot->raw.orders;
    struct fg_sku_conf *skus =
        fg_config_alloc(&snapshot->report, orders->sku_count * sizeof(*skus));
    if (skus == NULL)
        return;
    for (size_t i = 0; i < orders->sku_count; i++)
        skus[i] = orders->skus[i].conf;
    orders->conf.skus = skus;
    orders->conf.sku_count = orders->sku_count;
}

static void resolve_identity(struct fg_snapshot *snapshot)
{
    struct fg_raw_config *raw = &snapshot->raw;
    struct fg_config_report *report = &snapshot->report;
    struct fg_issuer_conf *issuers =
        fg_config_alloc(report, (raw->issuer_count + 1) * sizeof(*issuers));
    struct fg_api_key_conf *api_keys =
        fg_config_alloc(report, (raw->api_key_count + 1) * sizeof(*api_keys));
    struct fg_signing_key_conf *signing_keys =
        fg_config_alloc(report, (raw->signing_key_count + 1) * sizeof(*signing_keys));
    if (issuers == NULL || api_keys == NULL || signing_keys == NULL)
        return;
    for (size_t i = 0; i < raw->issuer_count; i++)
        issuers[i] = raw->issuers[i].conf;
    for (size_t i = 0; i < raw->api_key_count; i++) {
        struct fg_raw_api_key *key = &raw->api_keys[i];
        if (key->sha256 != NULL)
            fg_text_to_sha256(fg_span_from_string(key->sha256), key->conf.sha256);
        api_keys[i] = key->conf;
    }
    for (size_t i = 0; i < raw->signing_key_count; i++) {
        struct fg_signing_key_conf *key = &raw->signing_keys[i].conf;
        if (key->user == NULL)
            key->user = key->id;
        signing_keys[i] = *key;
    }
    raw->identity.issuers = issuers;
    raw->identity.issuer_count = raw->issuer_count;
    raw->identity.api_keys = api_keys;
    raw->identity.api_key_count = raw->api_key_count;
    raw->identity.signing_keys = signing_keys;
    raw->identity.signing_key_count = raw->signing_key_count;
}

static bool is_used(const struct fg_raw_config *raw, const char *target)
{
    for (size_t i = 0; i < raw->route_count; i++) {
        const char *to = raw->routes[i].to;
        if (to != NULL && strcmp(to, target) == 0)
            return true;
    }
    return false;
}

static bool add_target(struct fg_snapshot *snapshot, struct targets *targets, const char *kind,
                       const char *name)
{
    struct fg_span word = fg_arena_try_printf(&snapshot->arena, "%s%s", kind, name);
    if (word.data == NULL) {
        snapshot->report.is_exhausted = true;
        return false;
    }
    targets->words[targets->count++] = word.data;
    return true;
}

/* As many as connections can carry. */
static uint32_t most_in_flight(const struct fg_cluster_conf *cluster)
{
    uint64_t most = cluster->max_connections;
    if (fg_cluster_may_share(cluster))
        most *= cluster->max_streams;
    return most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
}

static void resolve_backends(struct fg_snapshot *snapshot, struct targets *targets)
{
    struct fg_raw_config *raw = &snapshot->raw;
    size_t most = raw->static_count + raw->cluster_count + 2;
    struct fg_backend_conf *backends = fg_config_alloc(&snapshot->report, most * sizeof(*backends));
    targets->words = fg_config_alloc(&snapshot->report, most * sizeof(const char *));
    if (backends == NULL || targets->words == NULL)
        return;
    size_t count = 0;
    for (size_t i = 0; i < raw->static_count; i++) {
        struct fg_raw_backend *backend = &raw->statics[i];
        backend->conf.kind = FG_BACKEND_STATIC;
        derive_gates(backend->node, &backend->conf, UINT32_MAX);
        backends[count++] = backend->conf;
        if (!add_target(snapshot, targets, "static:", backend->conf.name))
            return;
    }
    for (size_t i = 0; i < raw->cluster_count; i++) {
        struct fg_raw_backend *backend = &raw->clusters[i];
        struct fg_cluster_conf *cluster = &backend->conf.cluster;
        backend->conf.kind = FG_BACKEND_CLUSTER;
        cap_u32(backend->node, "max_idle_connections", &cluster->max_idle_connections,
                cluster->max_connections);
        derive_gates(backend->node, &backend->conf, most_in_flight(cluster));
        resolve_endpoints(snapshot, backend);
        backends[count++] = backend->conf;
        if (!add_target(snapshot, targets, "cluster:", backend->conf.name))
            return;
    }
    struct fg_backend_conf *orders = &raw->orders.backend.conf;
    struct fg_backend_conf *inference = &raw->inference.backend.conf;
    orders->name = "orders";
    orders->kind = FG_BACKEND_ORDERS;
    inference->name = "inference";
    inference->kind = FG_BACKEND_INFERENCE;
    derive_gates(fg_yaml_find(snapshot->root, "orders"), orders, UINT32_MAX);
    derive_gates(fg_yaml_find(snapshot->root, "inference"), inference, UINT32_MAX);
    snapshot->config.has_orders = is_used(raw, "orders");
    if (snapshot->config.has_orders)
        backends[count++] = *orders;
    if (is_used(raw, "inference"))
        backends[count++] = *inference;
    if (!add_target(snapshot, targets, "orders", "") ||
        !add_target(snapshot, targets, "inference", ""))
        return;
    snapshot->config.backends = backends;
    snapshot->config.backend_count = count;
}

/* The index in backends[] of what `to` names, which is one of the targets. */
static uint32_t backend_index(const struct fg_config *config, const char *to)
{
    static const char *const prefixes[] = {
        [FG_BACKEND_STATIC] = "static:",
        [FG_BACKEND_CLUSTER] = "cluster:",
        [FG_BACKEND_ORDERS] = "",
        [FG_BACKEND_INFERENCE] = "",
    };
    for (size_t i = 0; i < config->backend_count; i++) {
        const char *prefix = prefixes[config->backends[i].kind];
        size_t len = strlen(prefix);
        if (strncmp(to, prefix, len) == 0 && strcmp(to + len, config->backends[i].name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

static void resolve_target(struct fg_snapshot *snapshot, struct fg_loader *loader,
                           struct fg_raw_route *route, const struct targets *targets)
{
    route->conf.backend_index = UINT32_MAX;
    if (route->to == NULL || targets->count == 0)
        return;
    route->conf.backend_index = backend_index(&snapshot->config, route->to);
    if (route->conf.backend_index != UINT32_MAX)
        return;
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "to");
    fg_load_unknown_word(loader, node->line, node->column, "to: unknown backend", node->source,
                         targets->words, targets->count);
}

static uint32_t find_rate_limit(const struct fg_raw_config *raw, const char *name)
{
    for (size_t i = 0; i < raw->rate_limit_count; i++) {
        if (strcmp(raw->rate_limits[i].conf.name, name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

/* The n-th word of a list, or the one word in its place; refused members are not counted. */
static const struct fg_yaml_node *word_node(const struct fg_yaml_node *node, size_t index)
{
    if (node->kind == FG_YAML_SCALAR)
        return node;
    for (const struct fg_yaml_node *item = node->first; item != NULL; item = item->next) {
        if (item->kind == FG_YAML_SCALAR && !item->is_refused && index-- == 0)
            return item;
    }
    return node;
}

static void resolve_rate_limit_names(struct fg_snapshot *snapshot, struct fg_loader *loader,
                                     struct fg_raw_route *route)
{
    struct fg_raw_config *raw = &snapshot->raw;
    const char *known[256];
    size_t known_count = 0;
    for (size_t i = 0; i < raw->rate_limit_count && known_count < 256; i++)
        known[known_count++] = raw->rate_limits[i].conf.name;
    uint32_t *indices =
        fg_config_alloc(&snapshot->report, (route->rate_limit_name_count + 1) * sizeof(uint32_t));
    if (indices == NULL)
        return;
    size_t count = 0;
    for (size_t i = 0; i < route->rate_limit_name_count; i++) {
        const char *name = route->rate_limit_names[i];
        uint32_t index = find_rate_limit(raw, name);
        const struct fg_yaml_node *item = word_node(fg_yaml_find(route->node, "rate_limits"), i);
        if (index == UINT32_MAX) {
            fg_load_unknown_word(loader, item->line, item->column, "rate_limits: unknown name",
                                 item->source, known, known_count);
            continue;
        }
        bool is_twice = false;
        for (size_t j = 0; j < count; j++)
            is_twice = is_twice || indices[j] == index;
        if (is_twice)
            fg_config_report_add(&snapshot->report, item->line, item->column,
                                 "rate_limits: \"%s\" is there twice; expected it once", name);
        else
            indices[count++] = index;
    }
    route->conf.rate_limits = indices;
    route->conf.rate_limit_count = count;
}

static void derive_route(struct fg_snapshot *snapshot, struct fg_raw_route *route)
{
    struct fg_route_conf *conf = &route->conf;
    const struct fg_limits_conf *limits = &snapshot->raw.limits;
    if (!fg_config_is_written(route->node, "timeout"))
        conf->timeout_ns = limits->request_timeout_ns;
    if (!fg_config_is_written(route->node, "body_max"))
        conf->body_bytes_max = limits->body_bytes_max;
    if (conf->waiting_room.enabled && conf->waiting_room.burst == 0)
        conf->waiting_room.burst = conf->waiting_room.admit.amount; /* 0: auto, too */
    if (conf->waiting_room.address_places == 0) {
        uint64_t share = conf->waiting_room.waiting_max / 100;
        conf->waiting_room.address_places = share > 1000 ? share : 1000;
    }
    if (conf->path != NULL && conf->path_prefix != NULL)
        conf->path_prefix = NULL; /* reported by the checks */
    if (conf->has_concurrency)
        derive_concurrency(route->node, &conf->concurrency, UINT32_MAX);
    conf->line = route->node->line;
    if (route->is_session)
        conf->action = FG_ROUTE_SESSION;
    else if (route->room != NULL)
        conf->action = FG_ROUTE_ROOM;
    else if (route->is_redirect)
        conf->action = FG_ROUTE_REDIRECT;
    else if (route->is_response)
        conf->action = FG_ROUTE_RESPOND;
    else
        conf->action = FG_ROUTE_BACKEND;
}

static bool is_taken(const struct fg_raw_config *raw, size_t but, const char *name)
{
    for (size_t i = 0; i < raw->route_count; i++) {
        if (i != but && raw->routes[i].conf.name != NULL &&
            strcmp(raw->routes[i].conf.name, name) == 0)
            return true;
    }
    return false;
}

/* A route without a name is called by its path, with its number where that is taken. */
static void name_route(struct fg_snapshot *snapshot, size_t index)
{
    struct fg_route_conf *conf = &snapshot->raw.routes[index].conf;
    const char *path = conf->path != NULL ? conf->path : conf->path_prefix;
    if (conf->name != NULL || path == NULL)
        return;
    if (!is_taken(&snapshot->raw, index, path)) {
        conf->name = path;
        return;
    }
    struct fg_span name = fg_arena_try_printf(&snapshot->arena, "%s#%zu", path, index + 1);
    snapshot->report.is_exhausted = snapshot->report.is_exhausted || name.data == NULL;
    conf->name = name.data;
}

/* Once all routes have their names. */
static void resolve_room(struct fg_snapshot *snapshot, struct fg_loader *loader,
                         struct fg_raw_route *route)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    const char *known[256];
    size_t known_count = 0;
    if (route->room == NULL)
        return;
    if (!fg_config_is_written(route->node, "stream_idle_timeout"))
        route->conf.stream_idle_ns = STREAM_IDLE_NS;
    for (size_t i = 0; i < raw->route_count; i++) {
        const struct fg_route_conf *other = &raw->routes[i].conf;
        if (!other->waiting_room.enabled || other->name == NULL)
            continue;
        if (known_count < 256)
            known[known_count++] = other->name;
        if (strcmp(other->name, route->room) != 0)
            continue;
        route->conf.room_index = (uint32_t)i;
        return;
    }
    const struct fg_yaml_node *node = fg_yaml_find(route->node, "room");
    fg_load_unknown_word(loader, node->line, node->column,
                         "room: no route of this name has a waiting room", node->source, known,
                         known_count);
}

static void resolve_routes(struct fg_snapshot *snapshot, const struct targets *targets)
{
    struct fg_raw_config *raw = &snapshot->raw;
    struct fg_loader loader = {.report = &snapshot->report,
                               .directory = snapshot->config.directory};
    struct fg_route_conf *routes =
        fg_config_alloc(&snapshot->report, raw->route_count * sizeof(*routes));
    if (routes == NULL)
        return;
    for (size_t i = 0; i < raw->route_count; i++) {
        struct fg_raw_route *route = &raw->routes[i];
        derive_route(snapshot, route);
        name_route(snapshot, i);
        resolve_target(snapshot, &loader, route, targets);
        resolve_rate_limit_names(snapshot, &loader, route);
    }
    for (size_t i = 0; i < raw->route_count; i++) {
        resolve_room(snapshot, &loader, &raw->routes[i]);
        routes[i] = raw->routes[i].conf;
    }
    snapshot->config.routes = routes;
    snapshot->config.route_count = raw->route_count;
}

/* Without an address of its own it is the Redis of orders; only the timeouts stay its own. */
static struct fg_shared_state_conf resolve_shared_state(const struct fg_raw_config *raw)
{
    struct fg_shared_state_conf shared = raw->shared_state;
    const struct fg_redis_conf *orders = &raw->orders.conf.redis;
    if (shared.redis.address != NULL)
        return shared;
    shared.redis.embedded = orders->embedded;
    shared.redis.directory = orders->directory;
    shared.redis.address = orders->address;
    shared.redis.username = orders->username;
    shared.redis.password = orders->password;
    return shared;
}

void fg_config_resolve(struct fg_snapshot *snapshot)
{
    struct fg_config *config = &snapshot->config;
    struct fg_raw_config *raw = &snapshot->raw;
    struct targets targets = {0};
    derive_sections(snapshot);
    resolve_listeners(snapshot);
    resolve_identity(snapshot);
    fg_config_resolve_rate_limits(snapshot);
    resolve_skus(snapshot);
    resolve_backends(snapshot, &targets);
    resolve_routes(snapshot, &targets);
    config->tls = raw->tls;
    config->limits = raw->limits;
    config->identity = raw->identity;
    config->shared_state = resolve_shared_state(raw);
    config->overload = raw->overload;
    config->cache = raw->cache;
    config->orders = raw->orders.conf;
    config->inference = raw->inference.conf;
    config->admin = raw->admin;
    config->observability = raw->observability;
}
