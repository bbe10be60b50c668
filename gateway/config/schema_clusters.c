/*
 * schema_clusters.c: the tables of clusters: endpoints, connections, and how they are chosen.
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

static const struct fg_key endpoint_keys[] = {
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_endpoint, conf.address),
     .is_required = true,
     .check = fg_text_check_upstream_address,
     .doc =
         "`host:port`, `[IPv6]:port` or `unix:/path`. Each address of a name is an endpoint, and "
         "names are looked up again."},
    {.name = "weight",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_endpoint, conf.weight),
     .initial = "1",
     .min = 1,
     .max = 1000,
     .doc = "Its share against the others; of a name, that of each address."},
    {.name = "priority",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_endpoint, conf.priority),
     .initial = "0",
     .min = 0,
     .max = 7,
     .doc = "Endpoints of a higher number are used when too few of the lower are healthy."},
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

static const struct fg_choice balance_kinds[] = {
    {"round_robin", FG_BALANCE_ROUND_ROBIN},
    {"least_request", FG_BALANCE_LEAST_REQUEST},
    {"hash", FG_BALANCE_HASH},
    {NULL, 0},
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
    {.name = "endpoints_max",
     .type = FG_KEY_U32,
     .offset = L(hosts_max),
     .initial = "1024",
     .min = 1,
     .max = 8192,
     .doc = "Addresses of all endpoints together; a name that has more keeps its old ones."},
    {.name = "balance",
     .type = FG_KEY_ENUM,
     .offset = L(balance),
     .initial = "round_robin",
     .choices = balance_kinds,
     .doc = "`round_robin` by weight; `least_request`: the less loaded of two by chance; `hash`: "
            "the same `hash_key`, the same endpoint (Maglev)."},
    {.name = "hash_key",
     .type = FG_KEY_STRING,
     .offset = L(hash_key),
     .initial = "client",
     .check = fg_text_check_hash_key,
     .doc = "For `hash`: `client` (address), `user`, `path`, `header:NAME`, `cookie:NAME`, or "
            "`prompt` (the begin of the prompt in a JSON body). Without a key: by chance."},
    {.name = "hash_load_max",
     .type = FG_KEY_PERMILLE,
     .offset = L(hash_load_permille),
     .initial = "125%",
     .zero_word = "off",
     .min = 1000,
     .max = 10000,
     .doc = "For `hash`: most requests in flight at an endpoint against the mean; more go to the "
            "next one."},
    {.name = "panic_threshold",
     .type = FG_KEY_PERMILLE,
     .offset = L(panic_permille),
     .initial = "50%",
     .zero_word = "off",
     .min = 1,
     .max = 1000,
     .doc = "With a smaller share of healthy endpoints all are used."},
    {.name = "slow_start",
     .type = FG_KEY_DURATION,
     .offset = L(slow_start_ns),
     .initial = "off",
     .zero_word = "off",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "The share of an endpoint that has just become healthy grows over this time."},
    {.name = "dns_ttl_min",
     .type = FG_KEY_DURATION,
     .offset = L(dns_ttl_min_ns),
     .initial = "5s",
     .min = 100 * MS,
     .max = 1 * DAY,
     .doc = "A name is not looked up again before, whatever its time to live."},
    {.name = "dns_ttl_max",
     .type = FG_KEY_DURATION,
     .offset = L(dns_ttl_max_ns),
     .initial = "60s",
     .min = 100 * MS,
     .max = 1 * DAY,
     .doc = "A name is looked up again after this, whatever its time to live."},
    {.name = "dns_servers",
     .type = FG_KEY_STRINGS,
     .offset = L(dns_servers),
     .count_offset = L(dns_server_count),
     .derived = "the system's",
     .max = 8,
     .doc = "Servers to ask for names: `192.0.2.53`, `192.0.2.53:5353`."},
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
