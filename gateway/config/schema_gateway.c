/*
 * schema_gateway.c: the tables of the gateway itself: limits, admin, observability, and the root
 * that holds every section.
 * The defaults are those of a small server (2 cores, 4 GiB) on the open internet; where a figure is
 * not obvious, its reason stands beside it.
 */
#include "config/raw.h"
#include "config/schema.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct fg_choice path_escapes[] = {
    {"slash", 0}, {"nul", 1}, {"overlong", 2}, {NULL, 0}};

#define L(member) AT(fg_limits_conf, member)
static const struct fg_key limits_keys[] = {
    {.name = "threads",
     .type = FG_KEY_U32,
     .offset = L(threads),
     .initial = "auto",
     .zero_word = "auto",
     .min = 1,
     .max = 256,
     .doc = "Event loops; `auto` is one a core."},
    /* About 30 KiB of TLS state each: 600 MB at the limit. */
    {.name = "connections_max",
     .type = FG_KEY_U32,
     .offset = L(connections_max),
     .initial = "20000",
     .min = 1,
     .max = 10000000,
     .doc = "Client connections open at once, all threads together; one more is closed at once."},
    /* Mobile carriers put thousands of phones behind one address. */
    {.name = "connections_per_ip_max",
     .type = FG_KEY_U32,
     .offset = L(connections_per_ip_max),
     .initial = "2000",
     .min = 1,
     .max = 10000000,
     .doc = "Of these, from one client address. Carriers put many phones behind one."},
    {.name = "descriptors_reserved",
     .type = FG_KEY_U32,
     .offset = L(descriptors_reserved),
     .initial = "64",
     .min = 0,
     .max = 1000000,
     .doc = "Of the process's file descriptors, how many client connections leave to upstreams, "
            "files and the admin side. Accepting pauses when it comes to them."},
    {.name = "read_turn",
     .type = FG_KEY_DURATION,
     .offset = L(read_turn_ns),
     .initial = "250us",
     .zero_word = "off",
     .min = MS / 10,
     .max = 1 * MINUTE,
     .doc = "Of one turn of an event loop, what clients may have with input that does not end: "
            "they are read behind all others, by turns, and of those whose bytes are dear (chunks, "
            "frames or TLS records of a few bytes) less at a time. What servers send is read by "
            "the same law."},
    {.name = "write_turn",
     .type = FG_KEY_DURATION,
     .offset = L(write_turn_ns),
     .initial = "250us",
     .min = MS / 10,
     .max = 1 * MINUTE,
     .doc =
         "Of one turn of an event loop, what may be spent on writing to clients: who is to be sent "
         "more than a small answer gets it by pieces, behind all others, by turns of addresses."},
    {.name = "write_gather",
     .type = FG_KEY_DURATION,
     .offset = L(write_gather_ns),
     .initial = "1ms",
     .zero_word = "off",
     .takes_zero = true,
     .min = MS / 100,
     .max = 10 * MS,
     .doc = "While an event loop has other work, small answers to an HTTP/2 client that waits for "
            "more of them are gathered so long, to leave in one write; they leave at once when "
            "there is none. off: what a turn brings leaves with it."},
    {.name = "gather_pause",
     .type = FG_KEY_DURATION,
     .offset = L(gather_pause_ns),
     .initial = "200us",
     .zero_word = "off",
     .takes_zero = true,
     .min = MS / 100,
     .max = 1 * MS,
     .doc = "While such answers wait, an event loop that is busy for 40 to 90 % of its time pauses "
            "so long at most before it looks for events, so that more leaves together; less from "
            "60 % on. off: it looks at once."},
    {.name = "header_max",
     .type = FG_KEY_SIZE,
     .offset = L(header_bytes_max),
     .initial = "32KiB",
     .min = 1 * KIB,
     .max = 1 * MIB,
     .doc = "Names and values of one request head together; more is answered 431."},
    {.name = "header_count_max",
     .type = FG_KEY_U32,
     .offset = L(header_count_max),
     .initial = "100",
     .min = 8,
     .max = 10000,
     .doc = "Header fields of one request, and names in its Connection fields; more is answered "
            "431. A Cookie that HTTP/2 brings in pieces is one field."},
    {.name = "uri_max",
     .type = FG_KEY_SIZE,
     .offset = L(uri_bytes_max),
     .initial = "8KiB",
     .min = 64,
     .max = 64 * KIB,
     .doc = "Path and query of one request; more is answered 414."},
    /* One hop that decodes what another did not is how paths get past a rule. */
    {.name = "path_escapes_kept",
     .type = FG_KEY_BITS,
     .offset = L(path_escapes_kept),
     .choices = path_escapes,
     .derived = "none",
     .doc = "Escapes in a path that are passed on as they are instead of being answered 400: "
            "`slash` is %2F and %5C, `nul` is %00, `overlong` is UTF-8 with more bytes than it "
            "needs (%C0%AF, which careless decoders take for a slash). Routes never see them "
            "decoded."},
    {.name = "body_max",
     .type = FG_KEY_SIZE,
     .offset = L(body_bytes_max),
     .initial = "1MiB",
     .min = 0,
     .max = 1024 * GIB,
     .doc = "Request body where the route says nothing else; more is answered 413."},
    {.name = "streams_per_connection_max",
     .type = FG_KEY_U32,
     .offset = L(streams_per_connection_max),
     .initial = "100",
     .min = 1,
     .max = 10000,
     .doc = "Requests open at once on one HTTP/2 connection; over HTTP/1.1, pipelined ones whose "
            "answers wait for their client."},
    /* 250 pings or 125 resets at once: no browser comes near. Clients of gRPC send a ping for each
     * piece that they get, which earns it. */
    {.name = "http2_overhead_burst",
     .type = FG_KEY_U32,
     .offset = L(h2_overhead_burst),
     .initial = "1000",
     .min = 100,
     .max = 1000000,
     .doc = "HTTP/2 frames without content that a connection may send at once: a reset, or a "
            "request that is not valid HTTP, counts eight, a ping or settings four, an empty DATA "
            "two, a priority, a window update, a frame for a stream that was reset or a reset of a "
            "request that is older than a second one. DATA that the client is sent earns six, "
            "unless its window let only some bytes through. A client that sends more is told to "
            "calm down, and closed. What an address spends "
            "beyond an eighth of it on a connection its next ones owe: they begin with that much "
            "less, an eighth at least."},
    {.name = "http2_overhead_per_second",
     .type = FG_KEY_U32,
     .offset = L(h2_overhead_per_s),
     .initial = "100",
     .min = 1,
     .max = 1000000,
     .doc = "How fast that allowance fills again by itself."},
    /* A full handshake takes 0.4 ms of a loop: these take 40 ms of a second. */
    {.name = "flooder_handshakes_per_second",
     .type = FG_KEY_U32,
     .offset = L(flooder_handshakes_per_s),
     .initial = "100",
     .min = 1,
     .max = 1000000,
     .doc = "TLS handshakes, or connections with HTTP/2 in the clear, of an address (of IPv6, a "
            "/64) that owes all that anybody can: a connection that is closed for a flood of "
            "HTTP/2 or of TLS is owed for with a "
            "`http2_overhead_burst`, and nobody owes more than one and what is forgiven in a "
            "minute. Who owes half as much may come twice as often, and who owes one burst or "
            "less as often as any other. Those that come sooner wait, behind all others."},
    {.name = "flooder_handshakes_burst",
     .type = FG_KEY_U32,
     .offset = L(flooder_handshakes_burst),
     .initial = "20",
     .min = 1,
     .max = 1000000,
     .doc = "So many of these at once need not wait: others may be behind the address."},
    {.name = "flooder_wait_max",
     .type = FG_KEY_DURATION,
     .offset = L(flooder_wait_max_ns),
     .initial = "10s",
     .zero_word = "off",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "The longest such wait, but no longer than `handshake_timeout`; who would have to wait "
            "for longer is closed. off: nobody waits."},
    {.name = "request_memory_max",
     .type = FG_KEY_SIZE,
     .offset = L(request_memory_max),
     .initial = "256KiB",
     .min = 16 * KIB,
     .max = 64 * MIB,
     .doc = "Memory of one request: its head, and what stages and backends keep for it. One that "
            "needs more is answered 503, and a body for the inference pool of more than three "
            "quarters of it 413."},
    {.name = "request_memory_total_max",
     .type = FG_KEY_SIZE,
     .offset = L(arena_bytes_max),
     .initial = "256MiB",
     .min = 1 * MIB,
     .max = 1024 * GIB,
     .doc = "The same for all requests of all threads together."},
    {.name = "awaiting_body_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(awaiting_body_permille),
     .initial = "25%",
     .min = 1,
     .max = 1000,
     .doc =
         "Of `request_memory_total_max`, what requests may hold that wait for the rest of their "
         "bodies before a backend is asked (orders, inference, sessions, signed ones and routes "
         "with `buffer_request`). Above it the one that has waited longest is answered 503. Each "
         "thread has its part, as it has of that memory: none can lend any to another."},
    /* Two HTTP/2 windows of 64 KiB: enough to keep 50 ms x 20 Mbit/s busy. */
    {.name = "stream_buffer_max",
     .type = FG_KEY_SIZE,
     .offset = L(connection_buffer_bytes),
     .initial = "128KiB",
     .min = 4 * KIB,
     .max = 64 * MIB,
     .doc = "Unsent bytes of one response; a backend that is faster than its client waits."},
    {.name = "kernel_unsent_max",
     .type = FG_KEY_SIZE,
     .offset = L(kernel_unsent_max),
     .initial = "128KiB",
     .min = 16 * KIB,
     .max = 1 * GIB,
     .doc = "Bytes that the kernel takes of a connection beyond what is on its way (about; "
            "TCP_NOTSENT_LOWAT): it would take megabytes of one that is not read."},
    {.name = "handshake_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(handshake_timeout_ns),
     .initial = "10s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "From the connection to the end of the TLS handshake."},
    {.name = "header_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(header_timeout_ns),
     .initial = "10s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "From the first byte of a request to the end of its head; later is answered 408."},
    {.name = "body_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(body_timeout_ns),
     .initial = "20s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc =
         "Longest silence while a request body is read. Behind the head of an answer it does not "
         "count while the answer goes on, nor on routes with `stream_idle_timeout`."},
    {.name = "late_body_max",
     .type = FG_KEY_SIZE,
     .offset = L(late_body_max),
     .initial = "1MiB",
     .min = 0,
     .max = 1 * GIB,
     .doc = "What is still read, and thrown away, of HTTP/2 bodies whose answer (below 400) is out "
            "already, of one connection together: many clients look at an answer only when their "
            "upload is done. What is longer is reset (`NO_ERROR`). 0: each is."},
    {.name = "late_body_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(late_body_timeout_ns),
     .initial = "5s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "For how long that is done; then the stream is reset."},
    {.name = "write_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(write_timeout_ns),
     .initial = "30s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "Longest time in which a client takes less than 4 KiB of what waits for it."},
    {.name = "idle_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(idle_timeout_ns),
     .initial = "60s",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "A connection without a request is closed after this."},
    {.name = "idle_spared",
     .type = FG_KEY_DURATION,
     .offset = L(idle_spared_ns),
     .initial = "1s",
     .zero_word = "off",
     .min = 10 * MS,
     .max = 1 * DAY,
     .doc =
         "When three quarters of the connections or descriptors that clients may have are taken, "
         "each newcomer has the oldest handshake closed, or else the connection that was "
         "longest without a request, unless that is shorter than this. off: none is, and "
         "newcomers are refused when all are taken."},
    {.name = "request_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(request_timeout_ns),
     .initial = "30s",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "Deadline of a request where the route says nothing else; later is answered 504."},
    {.name = "requests_per_connection_max",
     .type = FG_KEY_U32,
     .offset = L(requests_per_connection_max),
     .initial = "100000",
     .min = 1,
     .max = 1000000000,
     .doc = "After so many the connection is closed in order, so that load moves to new threads "
            "and new machines."},
    {.name = "drain_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(drain_timeout_ns),
     .initial = "30s",
     .min = 0,
     .max = 1 * DAY,
     .doc = "From SIGTERM until connections that are still busy are cut."},
    {.name = "helper_threads",
     .type = FG_KEY_U32,
     .offset = L(helper_threads),
     .initial = "2",
     .min = 1,
     .max = 64,
     .doc = "Threads for work that would block an event loop (files)."},
    {.name = "helper_jobs_max",
     .type = FG_KEY_U32,
     .offset = L(helper_jobs_max),
     .initial = "1024",
     .min = 1,
     .max = 1000000,
     .doc = "Jobs that wait for them; one more is answered 503."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_limits = {
    .path = "limits",
    .doc = "Bounds of connections and requests, for every listener. They make the most memory that "
           "clients can occupy a matter of arithmetic.",
    .keys = limits_keys,
    .bytes = sizeof(struct fg_limits_conf),
    .example = "{connections_max: 20000}",
};

static const struct fg_key admin_keys[] = {
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = AT(fg_admin_conf, address),
     .initial = "127.0.0.1:9901",
     .check = fg_text_check_listen_address,
     .doc = "Dashboard, metrics, health and control, in the clear and without a password: keep it "
            "on an address that only operators reach."},
    {.name = "hosts",
     .type = FG_KEY_STRINGS,
     .offset = AT(fg_admin_conf, hosts),
     .count_offset = AT(fg_admin_conf, host_count),
     .check = fg_text_check_host_name,
     .max = 64,
     .doc = "Names under which browsers may ask for a change, and at a loopback `address` anybody "
            "for anything. Addresses and `localhost` need not be named; any other name may be one "
            "that somebody has made to lead here."},
    {.name = "endpoint_changes_max",
     .type = FG_KEY_U32,
     .offset = AT(fg_admin_conf, endpoint_changes_max),
     .initial = "256",
     .min = 1,
     .max = 10000,
     .doc =
         "Endpoints of all clusters that may be added or disabled at run time. They stay so over "
         "reloads; this number is that of the last start."},
    {.name = "answers_max",
     .type = FG_KEY_SIZE,
     .offset = AT(fg_admin_conf, answers_bytes_max),
     .initial = "64MiB",
     .min = 1 * MIB,
     .max = 1024 * MIB,
     .doc = "Pages that wait for their clients to read them, together. One that comes on top is "
            "answered 503, unless it is the only one or has less than 4 KiB, as health has."},
    {.name = NULL},
};

const struct fg_table fg_table_admin = {
    .path = "admin",
    .doc = "The operators' side.",
    .keys = admin_keys,
    .bytes = sizeof(struct fg_admin_conf),
    .example = "{address: \"127.0.0.1:9901\"}",
};

static const struct fg_choice log_levels[] = {
    {"debug", 0}, {"info", 0}, {"warn", 0}, {"error", 0}, {NULL, 0},
};

#define L(member) AT(fg_observability_conf, member)
static const struct fg_key observability_keys[] = {
    {.name = "log_level",
     .type = FG_KEY_WORD,
     .offset = L(log_level),
     .initial = "info",
     .choices = log_levels,
     .doc = "The least serious events that are logged."},
    {.name = "access_log",
     .type = FG_KEY_BOOL,
     .offset = L(access_log),
     .initial = "false",
     .doc = "A line for every request. Metrics and the log of slow requests cost less."},
    {.name = "slow_request",
     .type = FG_KEY_DURATION,
     .offset = L(slow_request_ns),
     .initial = "1s",
     .zero_word = "off",
     .min = 1 * MS,
     .max = 1 * DAY,
     .doc = "A slower request is logged with the time of each of its hops."},
    {.name = "recent_requests",
     .type = FG_KEY_U32,
     .offset = L(recent_requests),
     .initial = "4096",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1,
     .max = 10000000,
     .doc =
         "Requests whose decisions `floodgate explain` can tell of; about 1.3 KiB of memory each."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_observability = {
    .path = "observability",
    .doc = "What is written down.",
    .keys = observability_keys,
    .bytes = sizeof(struct fg_observability_conf),
    .example = "{log_level: info}",
};

#define L(member) AT(fg_raw_config, member)
static const struct fg_key root_keys[] = {
    {.name = "listeners",
     .type = FG_KEY_LIST,
     .offset = L(listeners),
     .count_offset = L(listener_count),
     .table = &fg_table_listeners,
     .is_required = true,
     .min = 1,
     .max = 64,
     .doc = "Where clients connect."},
    {.name = "tls",
     .type = FG_KEY_OBJECT,
     .offset = L(tls),
     .table = &fg_table_tls,
     .doc = "What all TLS listeners share."},
    {.name = "limits",
     .type = FG_KEY_OBJECT,
     .offset = L(limits),
     .table = &fg_table_limits,
     .doc = "Bounds of connections and requests."},
    {.name = "identity",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &fg_table_identity,
     .doc = "Who is asking."},
    {.name = "policies",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &fg_table_policies,
     .doc = "Rate limits, overload protection, the cache."},
    {.name = "static",
     .type = FG_KEY_MAP,
     .offset = L(statics),
     .count_offset = L(static_count),
     .table = &fg_table_static,
     .check = fg_text_check_name,
     .max = 256,
     .doc = "Directories of files, by name."},
    {.name = "clusters",
     .type = FG_KEY_MAP,
     .offset = L(clusters),
     .count_offset = L(cluster_count),
     .table = &fg_table_clusters,
     .check = fg_text_check_name,
     .max = 1024,
     .doc = "HTTP servers behind the gateway, by name."},
    {.name = "orders",
     .type = FG_KEY_OBJECT,
     .offset = L(orders),
     .table = &fg_table_orders,
     .doc = "The order path over Redis."},
    {.name = "inference",
     .type = FG_KEY_OBJECT,
     .offset = L(inference),
     .table = &fg_table_inference,
     .doc = "The language model."},
    {.name = "routes",
     .type = FG_KEY_LIST,
     .offset = L(routes),
     .count_offset = L(route_count),
     .table = &fg_table_routes,
     .is_required = true,
     .min = 1,
     .max = FG_LIST_MAX,
     .doc = "Which request goes where."},
    {.name = "admin",
     .type = FG_KEY_OBJECT,
     .offset = L(admin),
     .table = &fg_table_admin,
     .doc = "The operators' side."},
    {.name = "observability",
     .type = FG_KEY_OBJECT,
     .offset = L(observability),
     .table = &fg_table_observability,
     .doc = "What is written down."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_root = {
    .path = "the file",
    .doc =
        "The sections, in any order. `listeners` and `routes` must be there; every other key has "
        "a default.",
    .keys = root_keys,
    .bytes = sizeof(struct fg_raw_config),
    .example = "{listeners: [...], routes: [...]}",
};
