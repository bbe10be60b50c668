/*
 * cluster_conf.h: what the configuration says about an HTTP cluster. Filled by gateway/config;
 * strings belong to the configuration snapshot.
 */
#ifndef FG_CLUSTER_CONF_H
#define FG_CLUSTER_CONF_H

#include "policies/balance.h"

#include <stddef.h>
#include <stdint.h>

struct fg_endpoint_conf {
    const char *address; /* "host:port", "[v6]:port" or "unix:/path", as written */
    uint32_t weight;     /* 1 to 1000 */
    uint32_t priority;   /* 0 to 7; 0 is used first */
};

struct fg_cluster_conf {
    const struct fg_endpoint_conf *endpoints;
    size_t endpoint_count;
    const char *host_header;       /* NULL: forward the client's */
    uint32_t max_connections;      /* for all threads of the gateway together */
    uint32_t max_idle_connections; /* for all threads together */
    uint64_t connect_timeout_ns;
    uint64_t idle_timeout_ns;          /* of a kept-alive connection */
    uint64_t response_head_timeout_ns; /* from the request's end to the response's head */
    uint64_t response_idle_timeout_ns; /* between two reads of a response body */
    uint64_t header_bytes_max;         /* of a response head */
    uint32_t connect_retries;          /* another endpoint or connection when nothing was sent yet,
                                          or an idle connection turned out dead */

    /* which endpoint */
    uint32_t hosts_max; /* addresses of all endpoints together */
    enum fg_balance_kind balance;
    const char *hash_key; /* see proxy/affinity.h */
    uint32_t hash_load_permille;
    uint32_t panic_permille;
    uint64_t slow_start_ns;

    /* names */
    uint64_t dns_ttl_min_ns;
    uint64_t dns_ttl_max_ns;
    const char **dns_servers; /* none: those of the system */
    size_t dns_server_count;
};

#endif
