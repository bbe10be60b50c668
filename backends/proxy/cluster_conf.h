/*
 * cluster_conf.h: what the configuration says about an HTTP cluster. Filled by gateway/config;
 * strings belong to the configuration snapshot.
 */
#ifndef FG_CLUSTER_CONF_H
#define FG_CLUSTER_CONF_H

#include "policies/balance.h"
#include "policies/circuit_breaker.h"
#include "policies/health.h"
#include "policies/outlier.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_endpoint_conf {
    const char *address; /* "host:port", "[v6]:port" or "unix:/path", as written */
    uint32_t weight;     /* 1 to 1000 */
    uint32_t priority;   /* 0 to 7; 0 is used first */
};

enum fg_upstream_protocol {
    FG_PROTOCOL_AUTO, /* what TLS agrees on (ALPN); HTTP/1.1 without TLS */
    FG_PROTOCOL_HTTP1,
    FG_PROTOCOL_H2, /* without TLS: by prior knowledge */
};

struct fg_upstream_tls_conf {
    bool verify;
    const char *ca_file;     /* NULL: the system's */
    const char *server_name; /* asked for and checked; NULL: the endpoint's */
    const char *certificate; /* ours; NULL: none */
    const char *private_key;
    uint64_t chain_bytes_max; /* of what a server shows */
};

/* How servers are told who asked. */
enum fg_forwarded_field {
    FG_FORWARDED_FOR,   /* x-forwarded-for */
    FG_FORWARDED_PROTO, /* x-forwarded-proto */
    FG_FORWARDED_HOST,  /* x-forwarded-host */
    FG_FORWARDED_ALL,   /* Forwarded, RFC 7239 */
    FG_FORWARDED_VIA,   /* Via, RFC 9110 section 7.6.3 */
    FG_FORWARDED_NONE,
};

/* What is sent when the configuration does not say. */
#define FG_FORWARDED_USUAL (1u << FG_FORWARDED_FOR | 1u << FG_FORWARDED_PROTO)

/* The header that a connection begins with. */
enum fg_proxy_version { FG_PROXY_OFF, FG_PROXY_V1, FG_PROXY_V2 };

/* What version 2 can say besides. */
enum fg_proxy_tlv {
    FG_PROXY_TLV_ALPN,      /* what is spoken on the connection */
    FG_PROXY_TLV_AUTHORITY, /* the name that the client asked for in TLS */
    FG_PROXY_TLV_SSL,       /* that it came over TLS, and how */
    FG_PROXY_TLV_UNIQUE_ID, /* the request's id */
};

enum fg_cookie_secure { FG_COOKIE_SECURE_AUTO, FG_COOKIE_SECURE_ON, FG_COOKIE_SECURE_OFF };

enum fg_same_site { FG_SAME_SITE_LAX, FG_SAME_SITE_STRICT, FG_SAME_SITE_NONE, FG_SAME_SITE_UNSAID };

/* The cookie that hash_key names, where a client has none. */
struct fg_hash_cookie_conf {
    uint64_t ttl_ns; /* whole seconds; 0: as long as the client runs */
    const char *path;
    enum fg_cookie_secure secure; /* AUTO: where the client came over TLS */
    enum fg_same_site same_site;
    bool is_http_only;
};

enum fg_check_kind { FG_CHECK_HTTP, FG_CHECK_TCP, FG_CHECK_GRPC };

struct fg_check_conf {
    enum fg_check_kind kind;
    const char *path;    /* of the GET */
    const char *host;    /* NULL: as requests, or the endpoint's */
    const char *service; /* of gRPC; NULL: the server as a whole */
    uint64_t timeout_ns;
};

/* Exact, for all threads of the gateway together. */
struct fg_cluster_limits_conf {
    uint32_t requests_max;     /* 0: off */
    uint32_t pending_max;      /* 0: nobody waits */
    uint32_t retries_max;      /* 0: off, the budget alone bounds them */
    uint32_t tunnels_max;      /* 0: three quarters of max_connections */
    uint32_t tunnels_permille; /* of these, one client's, once half of them are in use */
    bool is_shadow;
};

struct fg_cluster_conf {
    const struct fg_endpoint_conf *endpoints;
    size_t endpoint_count;
    const char *endpoints_file; /* more of them; NULL: none */
    const char *host_header;    /* NULL: forward the client's */
    uint32_t forwarded;         /* bits 1 << fg_forwarded_field; 0: FG_FORWARDED_USUAL */
    enum fg_proxy_version proxy_version;
    uint32_t proxy_tlvs;           /* bits 1 << fg_proxy_tlv */
    uint32_t max_connections;      /* for all threads of the gateway together */
    uint32_t max_idle_connections; /* for all threads together */
    uint64_t slow_reader_max_ns;   /* without progress, while others wait; 0: never mind */
    uint32_t slow_reader_permille; /* of max_connections, for one client's unread answers; 0: all */
    uint64_t slow_reader_grace_ns; /* without progress, of those above that share */
    struct fg_cluster_limits_conf limits;
    uint64_t connect_timeout_ns;
    uint64_t idle_timeout_ns;          /* of a kept-alive connection */
    uint64_t response_head_timeout_ns; /* from the request's end to the response's head */
    uint64_t response_idle_timeout_ns; /* between two reads of a response body */
    uint64_t header_bytes_max;         /* of a response head */
    uint32_t connect_retries;          /* another endpoint or connection when nothing was sent yet,
                                          or an idle connection turned out dead */

    /* how servers are spoken to */
    enum fg_upstream_protocol protocol;
    uint32_t max_streams;       /* of an HTTP/2 connection */
    uint32_t h2_overhead_burst; /* frames of a server's that bring nothing, see h2_watch.c */
    uint32_t h2_overhead_per_s;
    uint64_t keepalive_interval_ns; /* silence of one before it is asked; 0: never */
    uint64_t keepalive_timeout_ns;  /* then, before it is closed */
    bool has_tls;
    struct fg_upstream_tls_conf tls;

    /* further attempts; see policies/retry.h */
    uint32_t retries_max;
    uint32_t retry_causes;         /* bits 1 << fg_retry_cause */
    uint64_t retry_backoff_ns;     /* 0: off */
    uint64_t retry_backoff_max_ns; /* 0: FG_RETRY_BACKOFF_TIMES as long */
    uint64_t retry_body_bytes_max;
    uint64_t try_timeout_ns; /* 0: off */
    uint32_t retry_budget_permille;
    uint32_t retry_budget_min;
    uint64_t hedge_delay_ns; /* 0: off */

    /* which endpoint */
    uint32_t hosts_max; /* addresses of all endpoints together */
    enum fg_balance_kind balance;
    const char *hash_key; /* see proxy/affinity.h */
    bool has_hash_cookie;
    struct fg_hash_cookie_conf hash_cookie;
    uint32_t hash_load_permille;
    uint32_t panic_permille;
    uint64_t slow_start_ns;

    /* who is well */
    bool has_check;
    struct fg_check_conf check;
    struct fg_health_conf health;
    bool has_outlier;
    struct fg_outlier_conf outlier;
    uint64_t outlier_interval_ns;
    bool has_breaker; /* each endpoint has one */
    bool is_breaker_shadow;
    struct fg_breaker_config breaker;

    /* names */
    uint64_t dns_ttl_min_ns;
    uint64_t dns_ttl_max_ns;
    const char **dns_servers; /* none: those of the system */
    size_t dns_server_count;
};

/* May a connection carry the requests of several clients at once? */
static inline bool fg_cluster_may_share(const struct fg_cluster_conf *conf)
{
    return conf->proxy_version == FG_PROXY_OFF &&
           (conf->protocol == FG_PROTOCOL_H2 ||
            (conf->protocol == FG_PROTOCOL_AUTO && conf->has_tls));
}

#endif
