/*
 * config.h: the configuration as the program uses it: one immutable snapshot, checked and filled
 * in.
 * Job      plain structs that every module reads; parsing and checking are in the other files here.
 * Thread   written by the loader alone, then read-only; shared by reference count.
 * Memory   all strings and arrays belong to the snapshot's arena and die with it.
 * Units    durations in ns, sizes in bytes, rates as amount per period; see the YAML in conf/.
 */
#ifndef FG_CONFIG_H
#define FG_CONFIG_H

#include "backends/backend.h"
#include "base/cidr.h"
#include "base/log.h"
#include "base/status.h"
#include "inference/inference_conf.h"
#include "orders/orders_conf.h"
#include "policies/cache/accept_encoding.h"
#include "policies/concurrency_limit.h"
#include "policies/limit_table.h"
#include "policies/overload.h"
#include "proxy/cluster_conf.h"
#include "static/static_conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "10/s", "600/m", "100000/h", "5/10s" */
struct fg_rate_conf {
    uint64_t amount;
    uint64_t period_ns;
};

enum fg_listener_kind {
    FG_LISTENER_TLS,      /* h2 and http/1.1 by ALPN */
    FG_LISTENER_PLAIN,    /* http/1.1 in the clear (h2 with prior knowledge too) */
    FG_LISTENER_REDIRECT, /* http/1.1 in the clear, 308 to https */
};

enum fg_client_auth {
    FG_CLIENT_AUTH_NONE,
    FG_CLIENT_AUTH_OPTIONAL,
    FG_CLIENT_AUTH_REQUIRED,
    FG_CLIENT_AUTH_INHERITED, /* of a certificate: as its listener has it */
};

/* What of a client's certificate is its user id. */
enum fg_client_user {
    FG_CLIENT_USER_CN,
    FG_CLIENT_USER_SAN_DNS,
    FG_CLIENT_USER_SAN_URI,
    FG_CLIENT_USER_FINGERPRINT,
    FG_CLIENT_USER_INHERITED, /* of a certificate: as its listener has it */
};

/* One certificate of a tls listener; which one a client gets depends on the name it asks for. */
struct fg_certificate_conf {
    const char *certificate; /* PEM chain, absolute once loaded */
    const char *private_key;
    const char *ocsp_file; /* DER; NULL: nothing is stapled */
    enum fg_client_auth client_auth;
    const char *client_ca; /* NULL without client_auth of its own */
    const char *client_crl;
    enum fg_client_user client_user;
    const char *client_user_prefix; /* NULL: as its listener has it */
};

/* Requests for hosts that the connection's certificate does not stand for. */
enum fg_foreign_hosts { FG_FOREIGN_HOSTS_SERVE, FG_FOREIGN_HOSTS_REFUSE };

/* Which request field trusted proxies tell the client's address in. */
enum fg_forwarded_kind { FG_FORWARDED_X, FG_FORWARDED_RFC7239 };

struct fg_listener_conf {
    const char *name;
    const char *address; /* "0.0.0.0:8443", "[::]:8443", "127.0.0.1:8080" */
    enum fg_listener_kind kind;
    const char *certificate; /* the one for clients that name no host, or an unknown one */
    const char *private_key;
    const char *ocsp_file;                          /* DER; NULL: nothing is stapled to it */
    const struct fg_certificate_conf *certificates; /* further ones */
    size_t certificate_count;
    bool sni_strict; /* an unknown host name ends the handshake */
    enum fg_foreign_hosts foreign_hosts;
    const char *tls_min; /* "1.2" or "1.3" */
    enum fg_client_auth client_auth;
    const char *client_ca;  /* PEM; NULL without client_auth */
    const char *client_crl; /* PEM; NULL: nothing that they gave out is revoked */
    enum fg_client_user client_user;
    const char *client_user_prefix;            /* NULL: none */
    uint64_t client_chain_bytes_max;           /* of a client's certificates */
    const struct fg_cidr *proxy_protocol_from; /* whose connections begin with a PROXY header */
    size_t proxy_protocol_from_count;
    const struct fg_cidr *trusted_proxies; /* whose forwarded fields are believed */
    size_t trusted_proxy_count;
    enum fg_forwarded_kind forwarded;
    uint32_t backlog;
    const char *redirect_to; /* authority for redirects; NULL: the request's host, port 443 rules */
    unsigned line;           /* in the file, for errors found when it is opened */
};

/* tls: what all tls listeners share. */
struct fg_tls_conf {
    const char *ticket_secret_file; /* NULL: a secret of this process's */
    bool ticket_secret_shared;      /* through policies.shared_state */
    uint64_t ticket_rotate_ns;
    uint64_t check_files_ns;    /* between two looks at certificates, keys and secrets; 0: never */
    uint64_t handshake_turn_ns; /* most of a loop's turn that new handshakes may take */
    uint32_t handshakes_waiting_max; /* a thread */
};

/* limits: bounds of connections and requests, for every listener. */
struct fg_limits_conf {
    uint32_t threads;         /* event loops; 0: one a core */
    uint32_t connections_max; /* for all threads together */
    uint32_t connections_per_ip_max;
    uint32_t descriptors_reserved; /* not for client connections */
    uint64_t read_turn_ns;         /* of a loop's turn, for reads that leave more behind; 0: all */
    uint64_t write_turn_ns;        /* of a loop's turn, for what is written */
    uint64_t write_gather_ns;      /* for answers that may leave in one write; 0: a turn */
    uint64_t gather_pause_ns;      /* of a busy loop while such answers wait; 0: none */
    uint64_t header_bytes_max;     /* one request head, names and values */
    uint32_t header_count_max;
    uint64_t uri_bytes_max;
    uint32_t path_escapes_kept; /* FG_TARGET_KEEP_... of http/target.h */
    uint64_t body_bytes_max;    /* default of routes */
    uint32_t streams_per_connection_max;
    uint32_t h2_overhead_burst; /* frames without content, see http/h2_guard.c */
    uint32_t h2_overhead_per_s;
    uint32_t flooder_handshakes_per_s; /* of an address that owes the most for floods */
    uint32_t flooder_handshakes_burst; /* of these at once */
    uint64_t flooder_wait_max_ns;
    uint64_t request_memory_max;      /* arena of one request */
    uint64_t connection_buffer_bytes; /* most unsent bytes buffered for one stream */
    uint64_t kernel_unsent_max; /* bytes of a connection that the kernel has and cannot send */
    uint64_t handshake_timeout_ns;
    uint64_t header_timeout_ns; /* first byte to complete head */
    uint64_t body_timeout_ns;   /* between two reads of a request body */
    uint64_t late_body_max;     /* HTTP/2: read of a body whose answer is out; 0: nothing */
    uint64_t late_body_timeout_ns;
    uint64_t write_timeout_ns;   /* between two writes that the client lets through */
    uint64_t idle_timeout_ns;    /* keep-alive */
    uint64_t idle_spared_ns;     /* none that rests shorter makes room; 0: none does */
    uint64_t request_timeout_ns; /* default deadline of routes */
    uint32_t requests_per_connection_max;
    uint64_t drain_timeout_ns;       /* SIGTERM to the last connection closed */
    uint64_t arena_bytes_max;        /* request memory of all threads together */
    uint32_t awaiting_body_permille; /* of it, what requests may hold that wait for their bodies */
    uint32_t helper_threads;
    uint32_t helper_jobs_max;
};

/* identity: who is asking. */
struct fg_jwt_conf {
    const char *secret_file; /* HS256 key, at least 32 bytes; created 0600 when missing */
    const char *issuer;      /* "iss" we write and demand; NULL: not checked */
    const char *audience;
    uint64_t leeway_ns;
};

/* Somebody else whose tokens are accepted. */
struct fg_issuer_conf {
    const char *issuer;
    const char *audience;  /* NULL: not checked */
    const char *keys_file; /* JWK set or PEM */
    const char *algorithm; /* of keys that name none; NULL: the usual one of their type */
    const char *user_prefix;
    const char *token_type; /* NULL: any, or none */
    uint64_t leeway_ns;
};

struct fg_api_key_conf {
    const char *user;
    unsigned char sha256[32];
};

struct fg_signing_key_conf {
    const char *id;
    const char *user;
    const char *secret_file;
};

struct fg_identity_conf {
    struct fg_jwt_conf jwt;
    const struct fg_issuer_conf *issuers;
    size_t issuer_count;
    uint32_t token_cache_max;     /* a thread; 0: none */
    uint32_t failed_tokens_burst; /* of an address, a thread; 0: no bound */
    uint32_t failed_tokens_per_s;
    const struct fg_api_key_conf *api_keys;
    size_t api_key_count;
    const char *api_key_header; /* lower case */
    const struct fg_signing_key_conf *signing_keys;
    size_t signing_key_count;
    uint64_t signature_window_ns;
    uint32_t nonces_max;
    bool shares_nonces;                      /* with all gateways of policies.shared_state */
    uint32_t sessions_per_ip_max_per_minute; /* POST /api/session */
};

/* policies: named objects that routes and backends refer to. */
enum fg_limit_part_kind {
    FG_LIMIT_BY_USER,
    FG_LIMIT_BY_DEVICE,
    FG_LIMIT_BY_IP,
    FG_LIMIT_BY_INVITE,
    FG_LIMIT_BY_ROUTE,
    FG_LIMIT_BY_TIER,
    FG_LIMIT_BY_HEADER,
};

/* One of the things that together make a key. */
struct fg_limit_part {
    enum fg_limit_part_kind kind;
    const char *header; /* FG_LIMIT_BY_HEADER: its name, lower case */
};
#define FG_LIMIT_PARTS_MAX 6

enum fg_limit_scope { FG_LIMIT_LOCAL, FG_LIMIT_GLOBAL };
enum fg_limit_cost { FG_LIMIT_COST_REQUEST, FG_LIMIT_COST_BYTES, FG_LIMIT_COST_TOKENS };

struct fg_rate_limit_conf {
    const char *name;
    const struct fg_limit_part *parts;
    size_t part_count;
    const char *whose;    /* the parts for people: "user and route" */
    uint32_t ipv4_prefix; /* bits of an address that count */
    uint32_t ipv6_prefix;
    enum fg_limit_algorithm algorithm;
    struct fg_rate_conf rate;
    uint64_t burst;
    enum fg_limit_cost cost;
    uint64_t reserve; /* taken before the cost is known */
    enum fg_limit_scope scope;
    uint64_t lease;                /* global: most tokens leased, or passed in advance, at a time */
    uint32_t local_share_permille; /* global: of the rate, while the shared count is away */
    uint32_t keys_max;             /* table size; memory is about 40 bytes a key */
    bool is_shadow; /* decides and counts, never acts; the same in the structs below */
};

/* The Redis that gateways share what their policies count through. */
struct fg_shared_state_conf {
    bool enabled;
    struct fg_redis_conf redis; /* the orders' own where no address is given */
    const char *prefix;         /* of every key */
};

struct fg_breaker_conf {
    bool enabled;
    uint32_t consecutive_failures; /* 0: off */
    uint32_t error_permille;       /* 0: off */
    uint32_t min_requests;         /* in the window, before the ratio counts */
    uint64_t window_ns;
    uint64_t open_ns;
    uint64_t open_max_ns;
    uint64_t slow_ns;       /* 0: off */
    uint32_t slow_permille; /* 0: off */
    uint32_t half_open_probes;
    uint64_t half_open_interval_ns; /* 0: off */
    bool is_shadow;
};

struct fg_concurrency_conf {
    enum fg_concurrency_mode kind;
    uint32_t limit; /* fixed: the limit; adaptive: where it starts */
    uint32_t limit_min;
    uint32_t limit_max;
    bool is_shadow;
};

struct fg_queue_conf {
    uint32_t requests_max;  /* 0: never queue */
    uint64_t bytes_max;     /* of the bodies of those who wait; 0: not bounded */
    uint64_t tokens_max;    /* that they will take; 0: not bounded */
    uint64_t tokens_answer; /* of an answer whose length is not known */
    uint64_t wait_max_ns;
    uint64_t target_ns; /* CoDel */
    uint64_t interval_ns;
    uint64_t ageing_ns;
    bool shed_by_priority;
    bool is_shadow; /* sheds nobody, neither for delay nor by priority */
};

struct fg_waiting_room_conf {
    bool enabled;
    struct fg_rate_conf admit; /* how many are let in; of 0: as many as the backend bears */
    uint64_t burst;
    uint64_t waiting_max;
    uint64_t grace_ns;         /* who had its turn may come in for so long */
    uint64_t keep_ns;          /* a place is kept so long after it was last asked for */
    uint64_t draw_window_ns;   /* the order of those who come in one is drawn; 0: by arrival */
    uint64_t session_ns;       /* who came in comes and goes for so long; 0: once */
    uint64_t ticket_rotate_ns; /* a new key so often */
    bool is_one_for_user;      /* a user has one place, with or without the ticket */
    uint64_t address_places;   /* new ones for an address in keep_ns */
    uint64_t streams_max;      /* clients that watch their place */
    bool is_shared;            /* the line is in the Redis that gateways share */
    uint32_t alone_permille;   /* of `admit`, while that Redis is away */
    const char *state_file;    /* NULL: the line ends with the process */
    bool is_shadow;
};

struct fg_overload_conf {
    uint64_t memory_bytes_max; /* RSS of the gateway process at which pressure is 100 %; 0: 80 % of
                                  the cgroup's or machine's */
    uint64_t loop_lag_max_ns;  /* lag at which pressure is 100 % */
    const char *cgroup_root;
    uint32_t handshakes_max; /* 0: a quarter of limits.connections_max */
    uint64_t redis_latency_max_ns;
    uint32_t address_permille; /* of all connections, what one address may hold */
    uint64_t address_grace_ns; /* without progress, before one of those above it is closed */
    uint32_t idle_permille; /* what is left of time-outs, streams and tokens when a step is taken */
    uint32_t streams_max;
    uint32_t tokens_max;
    struct fg_overload_band ladder[FG_OVERLOAD_RESOURCE_COUNT][FG_OVERLOAD_STEP_COUNT];
    uint64_t hold_ns;
    uint64_t interval_ns; /* between samples */
    bool is_shadow;
};

struct fg_cache_conf {
    uint64_t bytes_max;
    uint64_t object_bytes_max;
    uint32_t compress_codings; /* bits 1 << enum fg_coding */
    uint64_t compress_bytes_min;
    const char *const *compress_types; /* how a content type begins */
    size_t compress_type_count;
    uint32_t ranges_max; /* of one request */
    bool obey_clients;   /* Cache-Control of requests */
    bool obeys_cdn_cache_control;
    uint64_t negative_ttl_ns;
    uint64_t stale_under_pressure_ns;
    uint64_t stale_while_revalidate_ns; /* default where the response says nothing */
    uint64_t stale_if_error_ns;
    uint32_t waiters_max;        /* coalesced requests waiting for one fetch */
    uint32_t unshared_at_once;   /* of these at first, when its answer is not for them */
    uint64_t slow_reader_max_ns; /* without progress, while there is no room to fetch; 0: all */
};

/* What is a backend's alone of what all share. */
struct fg_reserve_conf {
    uint32_t memory_permille; /* of request memory; 0: nothing */
    bool is_shadow;
};

/* What stands before one backend: see gateway/upstream/. */
struct fg_backend_conf {
    const char *name; /* of the cluster; "orders", "inference" */
    enum fg_backend_kind {
        FG_BACKEND_STATIC,
        FG_BACKEND_CLUSTER,
        FG_BACKEND_ORDERS,
        FG_BACKEND_INFERENCE,
    } kind;
    struct fg_static_conf files;    /* FG_BACKEND_STATIC */
    struct fg_cluster_conf cluster; /* FG_BACKEND_CLUSTER */
    struct fg_concurrency_conf concurrency;
    struct fg_queue_conf queue;
    struct fg_breaker_conf breaker;
    struct fg_reserve_conf reserve;
    unsigned line;
};

/* routes: first match in file order wins. */
struct fg_header_match {
    const char *name;  /* lower case */
    const char *value; /* NULL: present is enough */
};

/* Fields that a route sets (in place of what is there), adds and removes; values are templates. */
struct fg_field_edits_conf {
    const struct fg_header_match *set;
    size_t set_count;
    const struct fg_header_match *add;
    size_t add_count;
    const char *const *remove;
    size_t remove_count;
};

struct fg_redirect_conf {
    const char *to; /* the whole location; NULL: the request's own, with the changes below */
    bool https;
    const char *host;           /* host[:port] */
    const char *replace_prefix; /* in place of what the route matched */
    int status;
};

struct fg_cors_conf {
    bool enabled;
    bool credentials;
    const char *const *origins; /* "*", or origins, with one '*' in the host */
    size_t origin_count;
    const char *const *headers;
    size_t header_count;
    const char *const *expose;
    size_t expose_count;
    uint64_t max_age_ns;
};

enum fg_scheme_match { FG_SCHEME_ANY, FG_SCHEME_HTTP, FG_SCHEME_HTTPS };

enum fg_route_action {
    FG_ROUTE_BACKEND,
    FG_ROUTE_SESSION,
    FG_ROUTE_ROOM,
    FG_ROUTE_REDIRECT,
    FG_ROUTE_RESPOND,
};
enum fg_cache_keep { FG_CACHE_KEEP_USEFUL, FG_CACHE_KEEP_PINNED };
enum fg_half_close { FG_HALF_CLOSE_ANSWER, FG_HALF_CLOSE_CANCEL };
enum fg_identity_need { FG_IDENTITY_NONE, FG_IDENTITY_OPTIONAL, FG_IDENTITY_REQUIRED };

/* What can say who is asking; bits 1 << of a route's identity_by. */
enum fg_identity_means {
    FG_IDENTITY_BY_TOKEN,
    FG_IDENTITY_BY_API_KEY,
    FG_IDENTITY_BY_SIGNATURE,
    FG_IDENTITY_BY_CERTIFICATE,
};

struct fg_route_conf {
    const char *name;
    const char *host;        /* NULL: any; exact, or "*.example.org" */
    const char *path;        /* exact; NULL when prefix is set */
    const char *path_prefix; /* matches whole segments: /promo matches /promo and /promo/x */
    uint32_t methods;        /* bits 1 << enum fg_method; 0: any */
    const struct fg_header_match *headers;
    size_t header_count;
    const struct fg_header_match *parameters; /* of the query; names as they are */
    size_t parameter_count;
    enum fg_scheme_match scheme;

    enum fg_route_action action;
    uint32_t backend_index;   /* FG_ROUTE_BACKEND: into backends[] */
    uint32_t room_index;      /* FG_ROUTE_ROOM: into routes[], whose waiting room it tells of */
    const char *strip_prefix; /* removed before the backend sees the path; NULL: nothing */
    const char *add_prefix;   /* put before the rest of it then; NULL: nothing */
    struct fg_redirect_conf redirect;
    uint32_t respond_status; /* FG_ROUTE_RESPOND */
    const char *respond_body;
    const char *respond_type; /* content-type */
    struct fg_field_edits_conf request_edits;
    struct fg_field_edits_conf response_edits;
    struct fg_cors_conf cors;

    enum fg_priority priority;
    enum fg_identity_need identity;
    uint32_t identity_by;    /* 0: any means */
    uint64_t timeout_ns;     /* whole request; the deadline */
    uint64_t stream_idle_ns; /* not 0: the deadline ends with the head, then this silence counts */
    bool stream_holds_slot;  /* of a cluster's concurrency, until the answer's end */
    uint64_t body_bytes_max;
    bool has_concurrency; /* a limit of its own, before the backend's: */
    struct fg_concurrency_conf concurrency;
    struct fg_queue_conf queue;
    bool buffer_request; /* the whole body before a backend sees the request */
    enum fg_half_close half_close;
    const uint32_t *rate_limits; /* into rate_limits[] */
    size_t rate_limit_count;
    bool cache;
    bool websocket;             /* may switch to a WebSocket tunnel */
    uint64_t websocket_idle_ns; /* it is cut after this much silence */
    uint64_t cache_ttl_ns;      /* overrides the response's freshness when not 0 */
    enum fg_cache_keep cache_keep;
    struct fg_waiting_room_conf waiting_room;
    unsigned line;
};

/* A redirect or an answer of the configuration's own: it costs what a refusal does. */
static inline bool fg_route_conf_answers_itself(const struct fg_route_conf *route)
{
    return route->action == FG_ROUTE_REDIRECT || route->action == FG_ROUTE_RESPOND;
}

/* One that waits for no stage? Where who asks must be known, stand in line or be counted first, it
 * comes after these. */
static inline bool fg_route_conf_answers_at_once(const struct fg_route_conf *route)
{
    return fg_route_conf_answers_itself(route) && route->identity == FG_IDENTITY_NONE &&
           !route->waiting_room.enabled && route->rate_limit_count == 0;
}

struct fg_admin_conf {
    const char *address; /* "127.0.0.1:9901" */
    const char **hosts;  /* names that it is asked under */
    size_t host_count;
    uint32_t endpoint_changes_max;
    uint64_t answers_bytes_max; /* that wait to be read */
};

struct fg_observability_conf {
    const char *log_level; /* debug, info, warn, error */
    bool access_log;
    uint64_t slow_request_ns; /* logged with all its hops when slower */
    uint32_t recent_requests; /* whose decisions `explain` can tell of; 0: none */
};

struct fg_config {
    const char *file;      /* as given */
    const char *directory; /* of the file; relative paths in it start here */

    const struct fg_listener_conf *listeners;
    size_t listener_count;
    struct fg_tls_conf tls;
    struct fg_limits_conf limits;
    struct fg_identity_conf identity;
    const struct fg_rate_limit_conf *rate_limits;
    size_t rate_limit_count;
    struct fg_shared_state_conf shared_state;
    struct fg_overload_conf overload;
    struct fg_cache_conf cache;
    const struct fg_backend_conf *backends;
    size_t backend_count;
    const struct fg_route_conf *routes;
    size_t route_count;
    struct fg_orders_conf orders;
    bool has_orders; /* some route leads to the order path */
    struct fg_inference_conf inference;
    struct fg_admin_conf admin;
    struct fg_observability_conf observability;
};

/*
 * Read, check and fill in `path`. All errors are found at once: `on_error` is called for each in
 * file order (may be NULL). On FG_OK *out is a new snapshot, to be freed with fg_config_destroy;
 * otherwise *out is NULL and *error_count says how many. Checks that need the machine (files exist
 * and are readable, addresses parse) are made; ports are not opened. Start-up or reload, never a
 * loop.
 */
typedef void (*fg_config_error_fn)(const struct fg_error *error, void *ctx);
enum fg_status fg_config_load(struct fg_config **out, const char *path, fg_config_error_fn on_error,
                              void *ctx, size_t *error_count);

/* The same over text in memory; `name` stands in the errors for the file's name (used by fuzzing);
 * with check_files false nothing of the file system is looked at. */
enum fg_status fg_config_parse(struct fg_config **out, const char *name, struct fg_span text,
                               bool check_files, fg_config_error_fn on_error, void *ctx,
                               size_t *error_count);

void fg_config_destroy(struct fg_config *config);

/* observability.log_level as the log takes it. */
enum fg_log_level fg_config_log_level(const struct fg_config *config);

/* The effective configuration as JSON (all defaults filled in, secrets removed), for /config. */
json_t *fg_config_to_json(const struct fg_config *config);

/* The JSON Schema of the file, from the same table that the parser uses. */
json_t *fg_config_schema(void);

#endif
