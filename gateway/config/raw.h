/*
 * raw.h: the configuration as the tables fill it in: names not yet resolved, each member with its
 * node, so that cross checks can point at the file.
 * Thread   the loader's; read-only afterwards (fg_config_to_json reads it).
 * Memory   the snapshot's arena, as the nodes.
 */
#ifndef FG_CONFIG_RAW_H
#define FG_CONFIG_RAW_H

#include "config/config.h"
#include "config/report.h"
#include "config/yaml_tree.h"

struct fg_raw_certificate {
    struct fg_certificate_conf conf;
    const struct fg_yaml_node *node;
};

struct fg_raw_listener {
    struct fg_listener_conf conf;
    struct fg_raw_certificate *certificates; /* but for the listener's own */
    size_t certificate_count;
    const char **proxy_protocol_from;
    size_t proxy_protocol_from_count;
    const char **trusted_proxies;
    size_t trusted_proxy_count;
    const struct fg_yaml_node *node;
};

struct fg_raw_rate_limit {
    struct fg_rate_limit_conf conf;
    const char **key;
    size_t key_count;
    const struct fg_yaml_node *node;
};

struct fg_raw_endpoint {
    struct fg_endpoint_conf conf;
    const struct fg_yaml_node *node;
};

/* A static directory or a cluster; also what stands before orders and inference. */
struct fg_raw_backend {
    struct fg_backend_conf conf;
    struct fg_raw_endpoint *endpoints;
    size_t endpoint_count;
    const struct fg_yaml_node *node;
};

struct fg_raw_sku {
    struct fg_sku_conf conf;
    const struct fg_yaml_node *node;
};

struct fg_raw_orders {
    struct fg_orders_conf conf;
    struct fg_raw_sku *skus;
    size_t sku_count;
    struct fg_raw_backend backend;
};

struct fg_raw_inference {
    struct fg_inference_conf conf;
    struct fg_raw_backend backend;
};

struct fg_raw_route {
    struct fg_route_conf conf;
    const char *to; /* "cluster:NAME", "static:NAME", "orders", "inference" */
    bool is_session;
    const char *room; /* a route's name */
    bool is_response;
    bool is_redirect;
    const char **rate_limit_names;
    size_t rate_limit_name_count;
    const struct fg_yaml_node *node;
};

struct fg_raw_issuer {
    struct fg_issuer_conf conf;
    const struct fg_yaml_node *node;
};

struct fg_raw_api_key {
    struct fg_api_key_conf conf;
    const char *sha256;
    const struct fg_yaml_node *node;
};

struct fg_raw_signing_key {
    struct fg_signing_key_conf conf;
    const struct fg_yaml_node *node;
};

struct fg_raw_config {
    struct fg_raw_listener *listeners;
    size_t listener_count;
    struct fg_tls_conf tls;
    struct fg_limits_conf limits;
    struct fg_identity_conf identity;
    struct fg_raw_issuer *issuers;
    size_t issuer_count;
    struct fg_raw_api_key *api_keys;
    size_t api_key_count;
    struct fg_raw_signing_key *signing_keys;
    size_t signing_key_count;
    struct fg_raw_rate_limit *rate_limits;
    size_t rate_limit_count;
    struct fg_shared_state_conf shared_state;
    struct fg_overload_conf overload;
    struct fg_cache_conf cache;
    struct fg_raw_backend *statics;
    size_t static_count;
    struct fg_raw_backend *clusters;
    size_t cluster_count;
    struct fg_raw_orders orders;
    struct fg_raw_inference inference;
    struct fg_raw_route *routes;
    size_t route_count;
    struct fg_admin_conf admin;
    struct fg_observability_conf observability;
};

/* One loaded configuration; its public part is first, so that either pointer gives the other. */
struct fg_snapshot {
    struct fg_config config;
    struct fg_raw_config raw;
    const struct fg_yaml_node *root;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_config_report report;
    bool check_files;
};

#endif
