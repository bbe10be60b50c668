/*
 * schema_backends.c: the tables of static directories and clusters.
 * The defaults are those of a small server; where a figure is not obvious, its reason stands
 * beside.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define L(member) AT(fg_raw_backend, conf.files.member)
static const struct fg_key static_keys[] = {
    {.name = "root",
     .type = FG_KEY_PATH,
     .offset = L(root),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "The directory. Nothing outside it is served, nor names that begin with a dot."},
    {.name = "index",
     .type = FG_KEY_STRING,
     .offset = L(index),
     .initial = "index.html",
     .check = fg_text_check_file_name,
     .doc = "File for a path that ends in `/`."},
    {.name = "file_max",
     .type = FG_KEY_SIZE,
     .offset = L(file_bytes_max),
     .initial = "64MiB",
     .min = 1,
     .max = 1024 * GIB,
     .doc = "A larger file is answered 403."},
    {.name = "cache_control",
     .type = FG_KEY_STRING,
     .offset = L(cache_control),
     .initial = "public, max-age=60",
     .check = fg_text_check_field_value,
     .doc = "`Cache-Control` of every file; also how long our own cache keeps it."},
    FG_GATE_KEYS(FG_BACKEND_STATIC, fg_raw_backend, conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_static = {
    .path = "static.NAME",
    .doc = "A directory of files; a route leads to it with `to: static:NAME`.",
    .keys = static_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .name_offset = AT(fg_raw_backend, conf.name),
    .node_offset = AT(fg_raw_backend, node),
    .shorthand = "root",
    .example = "{root: /srv/www}",
};

static const struct fg_key endpoint_keys[] = {
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_endpoint, conf.address),
     .is_required = true,
     .check = fg_text_check_upstream_address,
     .doc = "`host:port`, `[IPv6]:port` or `unix:/path`."},
    {.name = "weight",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_endpoint, conf.weight),
     .initial = "1",
     .min = 1,
     .max = 1000,
     .doc = "Its share against the others."},
    {.name = NULL},
};

static const struct fg_table endpoint_table = {
    .path = "clusters.NAME.endpoints[]",
    .doc = "One server. The address alone may stand in place of the mapping.",
    .keys = endpoint_keys,
    .bytes = sizeof(struct fg_raw_endpoint),
    .node_offset = AT(fg_raw_endpoint, node),
    .shorthand = "address",
    .example = "127.0.0.1:3000",
};

#define L(member) AT(fg_raw_backend, conf.cluster.member)
static const struct fg_key cluster_keys[] = {
    {.name = "endpoints",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_backend, endpoints),
     .count_offset = AT(fg_raw_backend, endpoint_count),
     .table = &endpoint_table,
     .is_required = true,
     .min = 1,
     .max = 1024,
     .doc = "The servers."},
    {.name = "host_header",
     .type = FG_KEY_STRING,
     .offset = L(host_header),
     .derived = "the client's",
     .check = fg_text_check_authority,
     .doc = "`Host` that they are sent."},
    {.name = "max_connections",
     .type = FG_KEY_U32,
     .offset = L(max_connections),
     .initial = "256",
     .min = 1,
     .max = 1000000,
     .doc = "Connections to all endpoints, all threads together."},
    {.name = "max_idle_connections",
     .type = FG_KEY_U32,
     .offset = L(max_idle_connections),
     .initial = "64",
     .min = 0,
     .max = 1000000,
     .doc = "Of these, kept open without a request."},
    {.name = "connect_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(connect_timeout_ns),
     .initial = "1s",
     .min = 1 * MS,
     .max = 5 * MINUTE,
     .doc = "For one attempt; the next goes to another endpoint."},
    /* Node.js closes after 5 s, the shortest of the usual servers; ours must go first. */
    {.name = "idle_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(idle_timeout_ns),
     .initial = "4s",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "A connection without a request is closed after this. Keep it below the server's own: "
            "Node.js closes after 5s, nginx after 75s."},
    {.name = "response_head_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(response_head_timeout_ns),
     .initial = "30s",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "From the end of the request to the head of the response."},
    {.name = "response_idle_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(response_idle_timeout_ns),
     .initial = "30s",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "Longest silence within a response body."},
    {.name = "header_max",
     .type = FG_KEY_SIZE,
     .offset = L(header_bytes_max),
     .initial = "32KiB",
     .min = 1 * KIB,
     .max = 1 * MIB,
     .doc = "Size of a response head; more is answered 502."},
    {.name = "connect_retries",
     .type = FG_KEY_U32,
     .offset = L(connect_retries),
     .initial = "2",
     .min = 0,
     .max = 10,
     .doc = "Further attempts while nothing of the request was sent, or when a kept connection "
            "turned out dead."},
    FG_GATE_KEYS(FG_BACKEND_CLUSTER, fg_raw_backend, conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_clusters = {
    .path = "clusters.NAME",
    .doc = "HTTP/1.1 servers of one kind; a route leads to them with `to: cluster:NAME`.",
    .keys = cluster_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .name_offset = AT(fg_raw_backend, conf.name),
    .node_offset = AT(fg_raw_backend, node),
    .example = "{endpoints: [\"127.0.0.1:3000\"]}",
};
