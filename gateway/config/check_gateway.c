/*
 * check_gateway.c: what must fit together in listeners, admin, limits and policies.
 */
#include "config/checks.h"
#include "config/loader.h"

static void check_tls_keys(struct fg_snapshot *snapshot, const struct fg_raw_listener *listener)
{
    static const char *const needed[] = {"certificate", "private_key"};
    for (size_t i = 0; i < 2; i++) {
        if (fg_yaml_find(listener->node, needed[i]) == NULL)
            fg_config_error_at(snapshot, listener->node, NULL,
                               "a tls listener without a %s; expected the path of a PEM file",
                               needed[i]);
    }
}

/* Of a certificate's own; true: it asks for clients' certificates. */
static bool check_certificate(struct fg_snapshot *snapshot, const struct fg_raw_certificate *one)
{
    static const char *const client_keys[] = {"client_ca", "client_crl", "client_user",
                                              "client_user_prefix", NULL};
    bool asks = one->conf.client_auth == FG_CLIENT_AUTH_OPTIONAL ||
                one->conf.client_auth == FG_CLIENT_AUTH_REQUIRED;
    if (!fg_config_is_sound(one->node, "client_auth"))
        return true;
    if (!asks)
        fg_config_refuse_keys(snapshot, one->node, client_keys,
                              "without a client_auth of the certificate's own");
    else if (!fg_config_is_written(one->node, "client_ca"))
        fg_config_error_at(
            snapshot, one->node, "client_auth",
            "client_auth without client_ca; expected the path of a PEM file with the "
            "authorities that vouch for clients");
    return asks;
}

static void check_tls_listener(struct fg_snapshot *snapshot, const struct fg_raw_listener *listener)
{
    static const char *const user_keys[] = {"client_user", "client_user_prefix", "client_chain_max",
                                            NULL};
    static const char *const client_keys[] = {"client_ca", "client_crl", NULL};
    const struct fg_yaml_node *node = listener->node;
    bool has_own = false;
    check_tls_keys(snapshot, listener);
    for (size_t i = 0; i < listener->certificate_count; i++)
        has_own = check_certificate(snapshot, &listener->certificates[i]) || has_own;
    if (!fg_config_is_sound(node, "client_auth"))
        return;
    if (listener->conf.client_auth == FG_CLIENT_AUTH_NONE && !has_own)
        fg_config_refuse_keys(snapshot, node, user_keys, "without client_auth");
    if (listener->conf.client_auth == FG_CLIENT_AUTH_NONE)
        fg_config_refuse_keys(snapshot, node, client_keys, "without client_auth");
    else if (!fg_config_is_written(node, "client_ca"))
        fg_config_error_at(
            snapshot, node, "client_auth",
            "client_auth without client_ca; expected the path of a PEM file with the "
            "authorities that vouch for clients");
}

static void check_listener(struct fg_snapshot *snapshot, const struct fg_raw_listener *listener)
{
    static const char *const tls_keys[] = {
        "certificate",      "private_key", "ocsp_file",
        "certificates",     "sni_strict",  "foreign_hosts",
        "tls_min",          "client_auth", "client_ca",
        "client_crl",       "client_user", "client_user_prefix",
        "client_chain_max", NULL,
    };
    static const char *const redirect_keys[] = {"redirect_to", NULL};
    if (!fg_config_is_sound(listener->node, "kind"))
        return;
    if (listener->conf.kind == FG_LISTENER_TLS)
        check_tls_listener(snapshot, listener);
    else
        fg_config_refuse_keys(snapshot, listener->node, tls_keys, "without kind tls");
    if (listener->conf.kind != FG_LISTENER_REDIRECT)
        fg_config_refuse_keys(snapshot, listener->node, redirect_keys, "without kind redirect");
}

static bool is_same_address(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return false;
    struct sockaddr_in6 left;
    struct sockaddr_in6 right;
    fg_text_to_socket_address(fg_span_from_string(a), &left);
    fg_text_to_socket_address(fg_span_from_string(b), &right);
    return memcmp(&left, &right, sizeof(left)) == 0;
}

static void check_addresses(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    for (size_t i = 0; i < raw->listener_count; i++) {
        const struct fg_raw_listener *listener = &raw->listeners[i];
        for (size_t j = 0; j < i; j++) {
            const struct fg_raw_listener *other = &raw->listeners[j];
            if (is_same_address(listener->conf.address, other->conf.address))
                fg_config_error_at(snapshot, listener->node, "address",
                                   "address %s is taken by the listener in line %u; expected one "
                                   "of its own",
                                   listener->conf.address, other->node->line);
            if (fg_yaml_find(listener->node, "name") != NULL && listener->conf.name != NULL &&
                other->conf.name != NULL && strcmp(listener->conf.name, other->conf.name) == 0)
                fg_config_error_at(snapshot, listener->node, "name",
                                   "the name \"%s\" is taken by the listener in line %u; expected "
                                   "one of its own",
                                   listener->conf.name, other->node->line);
        }
        if (is_same_address(listener->conf.address, raw->admin.address))
            fg_config_error_at(snapshot, listener->node, "address",
                               "address %s is the admin address; expected another",
                               listener->conf.address);
    }
}

static void check_limits(struct fg_snapshot *snapshot)
{
    const struct fg_limits_conf *limits = &snapshot->raw.limits;
    const struct fg_yaml_node *node = fg_yaml_find(snapshot->root, "limits");
    fg_config_check_order(snapshot, node, "request_memory_max", "request_memory_total_max",
                          limits->request_memory_max <= limits->arena_bytes_max);
    fg_config_check_order(snapshot, node, "header_max", "request_memory_max",
                          limits->header_bytes_max <= limits->request_memory_max);
    fg_config_check_order(snapshot, node, "uri_max", "header_max",
                          limits->uri_bytes_max <= limits->header_bytes_max);
    fg_config_check_order(snapshot, node, "connections_per_ip_max", "connections_max",
                          limits->connections_per_ip_max <= limits->connections_max);
}

static void check_cache(struct fg_snapshot *snapshot, const struct fg_yaml_node *policies)
{
    const struct fg_cache_conf *cache = &snapshot->raw.cache;
    const struct fg_yaml_node *node = fg_yaml_find(policies, "cache");
    fg_config_check_order(snapshot, node, "object_max", "memory_max",
                          cache->object_bytes_max <= cache->bytes_max);
}

static void check_rate_limit(struct fg_snapshot *snapshot, const struct fg_raw_rate_limit *limit)
{
    static const char *const reserve[] = {"reserve", NULL};
    static const char *const of_global[] = {"lease", "local_share", NULL};
    static const char *const of_local[] = {"algorithm", NULL};
    const struct fg_rate_limit_conf *conf = &limit->conf;
    for (size_t i = 1; i < limit->key_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(limit->key[i], limit->key[j]) == 0)
                fg_config_error_at(snapshot, limit->node, "key",
                                   "key: \"%s\" is there twice; expected it once", limit->key[i]);
        }
    }
    if (conf->cost == FG_LIMIT_COST_REQUEST)
        fg_config_refuse_keys(snapshot, limit->node, reserve, "where each request costs one");
    else
        fg_config_check_order(snapshot, limit->node, "reserve", "burst",
                              conf->reserve <= conf->burst);
    if (conf->scope == FG_LIMIT_GLOBAL) {
        fg_config_refuse_keys(snapshot, limit->node, of_local,
                              "with scope global, which counts by GCRA");
        fg_config_check_order(snapshot, limit->node, "lease", "burst", conf->lease <= conf->burst);
    } else {
        fg_config_refuse_keys(snapshot, limit->node, of_global, "with scope local");
    }
}

static void check_shared_state(struct fg_snapshot *snapshot, const struct fg_yaml_node *policies)
{
    static const char *const credentials[] = {"username", "password", NULL};
    const struct fg_shared_state_conf *shared = &snapshot->raw.shared_state;
    const struct fg_yaml_node *node = fg_yaml_find(policies, "shared_state");
    const struct fg_yaml_node *redis = fg_yaml_find(node, "redis");
    if (!shared->enabled || fg_config_is_written(redis, "address"))
        return;
    fg_config_refuse_keys(snapshot, redis, credentials, "without an address");
    if (!snapshot->config.has_orders)
        fg_config_error_at(snapshot, policies, "shared_state",
                           "no Redis for shared_state (also of limits with scope global), as no "
                           "route leads to orders; expected "
                           "redis: {address: \"host:port\"}");
}

static void check_tickets(struct fg_snapshot *snapshot)
{
    static const char *const of_file[] = {"ticket_secret_file", NULL};
    const struct fg_yaml_node *tls = fg_yaml_find(snapshot->root, "tls");
    if (!snapshot->raw.tls.ticket_secret_shared)
        return;
    fg_config_refuse_keys(snapshot, tls, of_file, "with ticket_secret_shared");
    if (!snapshot->raw.shared_state.enabled)
        fg_config_error_at(snapshot, tls, "ticket_secret_shared",
                           "there is no Redis to share it through; expected policies.shared_state");
}

static void check_nonces(struct fg_snapshot *snapshot)
{
    const struct fg_yaml_node *identity = fg_yaml_find(snapshot->root, "identity");
    if (snapshot->raw.identity.shares_nonces && !snapshot->raw.shared_state.enabled)
        fg_config_error_at(snapshot, fg_yaml_find(identity, "signatures"), "shared",
                           "shared without policies.shared_state; expected the Redis that nonces "
                           "are shared through");
}

void fg_config_check_gateway(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    const struct fg_yaml_node *policies = fg_yaml_find(snapshot->root, "policies");
    for (size_t i = 0; i < raw->listener_count; i++)
        check_listener(snapshot, &raw->listeners[i]);
    check_addresses(snapshot);
    check_limits(snapshot);
    for (size_t i = 0; i < raw->rate_limit_count; i++)
        check_rate_limit(snapshot, &raw->rate_limits[i]);
    check_shared_state(snapshot, policies);
    check_tickets(snapshot);
    check_nonces(snapshot);
    check_cache(snapshot, policies);
}
