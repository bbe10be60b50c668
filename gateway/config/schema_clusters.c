/*
 * schema_clusters.c: the tables of clusters: endpoints, connections, and how they are chosen.
 * The defaults are those of a small server; where a figure is not obvious, its reason stands
 * beside.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"
#include "config/schema_health.h"
#include "policies/retry.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

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

static const struct fg_choice forwarded_fields[] = {
    {"x-forwarded-for", FG_FORWARDED_FOR},
    {"x-forwarded-proto", FG_FORWARDED_PROTO},
    {"x-forwarded-host", FG_FORWARDED_HOST},
    {"forwarded", FG_FORWARDED_ALL},
    {"via", FG_FORWARDED_VIA},
    {"none", FG_FORWARDED_NONE},
    {NULL, 0},
};

static const struct fg_choice proxy_versions[] = {
    {"off", FG_PROXY_OFF},
    {"v1", FG_PROXY_V1},
    {"v2", FG_PROXY_V2},
    {NULL, 0},
};

static const struct fg_choice proxy_tlvs[] = {
    {"alpn", FG_PROXY_TLV_ALPN},
    {"authority", FG_PROXY_TLV_AUTHORITY},
    {"ssl", FG_PROXY_TLV_SSL},
    {"unique_id", FG_PROXY_TLV_UNIQUE_ID},
    {NULL, 0},
};

static const struct fg_choice protocols[] = {
    {"auto", FG_PROTOCOL_AUTO},
    {"http1", FG_PROTOCOL_HTTP1},
    {"h2", FG_PROTOCOL_H2},
    {NULL, 0},
};

static const struct fg_choice retry_causes[] = {
    {"reset", FG_RETRY_RESET},    {"timeout", FG_RETRY_TIMEOUT}, {"502", FG_RETRY_STATUS_502},
    {"503", FG_RETRY_STATUS_503}, {"504", FG_RETRY_STATUS_504},  {NULL, 0},
};

#define T(member) AT(fg_raw_backend, conf.cluster.tls.member)
static const struct fg_key tls_keys[] = {
    {.name = "verify",
     .type = FG_KEY_BOOL,
     .offset = T(verify),
     .initial = "true",
     .doc = "Check the server's certificate and name. Off, anybody can be the server."},
    {.name = "ca_file",
     .type = FG_KEY_PATH,
     .offset = T(ca_file),
     .derived = "the system's",
     .doc = "PEM file of the authorities that are trusted, each as it is: their roots need not be "
            "in it. A server's own certificate there is trusted, too."},
    {.name = "server_name",
     .type = FG_KEY_STRING,
     .offset = T(server_name),
     .derived = "the endpoint's host",
     .check = fg_text_check_authority,
     .doc = "Name that is asked for (SNI) and that the certificate must be for."},
    {.name = "certificate",
     .type = FG_KEY_PATH,
     .offset = T(certificate),
     .derived = "none",
     .doc = "PEM file with our own certificate chain, for servers that want one."},
    {.name = "private_key",
     .type = FG_KEY_PATH,
     .offset = T(private_key),
     .derived = "none",
     .doc = "PEM file with the key of `certificate`."},
    {.name = "chain_max",
     .type = FG_KEY_SIZE,
     .offset = T(chain_bytes_max),
     .initial = "32KiB",
     .min = 1 * KIB,
     .max = 1 * MIB,
     .doc = "Certificates that a server may show, together; the connection to one that shows more "
            "is closed. Each costs an event loop a tenth of a millisecond, whoever it is of."},
    {.name = NULL},
};
#undef T

/* As the switches, filled in place: offsets from the backend. */
static const struct fg_table tls_table = {
    .path = "clusters.NAME.tls",
    .doc = "TLS to the servers, 1.2 or 1.3. `true` alone: verified by the system's authorities. "
           "Keys are exchanged over X25519, P-256, P-384 or P-521, or, in 1.2, by RSA. "
           "Sessions are resumed. The files are read anew when they change, as `tls.check_files` "
           "says; "
           "the system's authorities at the start and on reload.",
    .keys = tls_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .example = "{ca_file: /etc/floodgate/internal-ca.pem}",
};

#define L(member) AT(fg_raw_backend, conf.cluster.member)

static const struct fg_key retry_keys[] = {
    {.name = "attempts",
     .type = FG_KEY_U32,
     .offset = L(retries_max),
     .initial = "off",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1,
     .max = 10,
     .doc = "Further attempts, at other endpoints, of requests that a server may have seen: only "
            "methods that are idempotent, never POST or PATCH."},
    {.name = "on",
     .type = FG_KEY_BITS,
     .offset = L(retry_causes),
     .choices = retry_causes,
     .derived = "all of them",
     .doc = "What is tried again: a connection lost before the answer, `try_timeout` or "
            "`response_head_timeout` over, statuses."},
    {.name = "try_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(try_timeout_ns),
     .initial = "off",
     .zero_word = "off",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "From the begin of one attempt to the head of its answer; not while the client has yet "
            "to send its body."},
    {.name = "backoff",
     .type = FG_KEY_DURATION,
     .offset = L(retry_backoff_ns),
     .initial = "25ms",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc =
         "Before the first further attempt a pause by lot, up to this; up to twice as long before "
         "each that follows. Never beyond the request's deadline: then there is no further one. "
         "What was not sent (`connect_retries`) goes at once."},
    {.name = "backoff_max",
     .type = FG_KEY_DURATION,
     .offset = L(retry_backoff_max_ns),
     .derived = "10 x `backoff`",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "Longest such pause."},
    {.name = "body_max",
     .type = FG_KEY_SIZE,
     .offset = L(retry_body_bytes_max),
     .initial = "64KiB",
     .min = 0,
     .max = 64 * MIB,
     .doc = "Bodies are kept so far for a further attempt; a longer one goes once."},
    {.name = "budget",
     .type = FG_KEY_PERMILLE,
     .offset = L(retry_budget_permille),
     .initial = "20%",
     .min = 0,
     .max = 1000,
     .doc = "Most retries and hedges in flight, as a share of all requests in flight, all threads "
            "together; none while work is refused for overload, and for a second after the "
            "cluster's own limit, queue or level has refused any."},
    {.name = "budget_min",
     .type = FG_KEY_U32,
     .offset = L(retry_budget_min),
     .initial = "3",
     .min = 0,
     .max = 1000,
     .doc = "So many are allowed however few requests there are."},
    {.name = "hedge_after",
     .type = FG_KEY_DURATION,
     .offset = L(hedge_delay_ns),
     .initial = "off",
     .zero_word = "off",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "A GET or HEAD without an answer after this is sent to a second endpoint as well; the "
            "first good answer counts, one that is no 5xx or 429. It takes a slot of `concurrency` "
            "that nobody waits for, or "
            "is not sent. Where one of the two fails, and `attempts` allows, an endpoint that was "
            "not tried is asked at once in its place. Set it near the 95th percentile."},
    {.name = NULL},
};

static const struct fg_table retry_table = {
    .path = "clusters.NAME.retries",
    .doc = "What is sent again, and how often. See also `connect_retries`.",
    .keys = retry_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .example = "{attempts: 1}",
};

static const struct fg_key keepalive_keys[] = {
    {.name = "interval",
     .type = FG_KEY_DURATION,
     .offset = L(keepalive_interval_ns),
     .initial = "off",
     .zero_word = "off",
     .takes_zero = true,
     .min = 10 * MS,
     .max = 1 * DAY,
     .doc = "A PING is sent when nothing has come from the server for so long. Servers of gRPC "
            "take more than one in five minutes for a flood unless they are told otherwise."},
    {.name = "timeout",
     .type = FG_KEY_DURATION,
     .offset = L(keepalive_timeout_ns),
     .initial = "10s",
     .min = 10 * MS,
     .max = 1 * HOUR,
     .doc = "A connection on which nothing comes for so long after it is closed; its requests are "
            "answered 502, or sent again where that is safe (see `retries`)."},
    {.name = NULL},
};

/* Filled in place: offsets from the backend. */
static const struct fg_table keepalive_table = {
    .path = "clusters.NAME.connection_keepalive",
    .doc = "Find HTTP/2 connections that are dead though nobody has closed them.",
    .keys = keepalive_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .example = "{interval: 30s}",
};

static const struct fg_key limit_keys[] = {
    {.name = "requests",
     .type = FG_KEY_U32,
     .offset = L(limits.requests_max),
     .initial = "off",
     .zero_word = "off",
     .min = 1,
     .max = 10000000,
     .doc = "Requests at the servers, tunnels and answers that slow clients still read included, "
            "which `concurrency` has let go of. Who waits in `queue` is not counted yet."},
    {.name = "pending",
     .type = FG_KEY_U32,
     .offset = L(limits.pending_max),
     .initial = "1024",
     .zero_word = "off",
     .min = 1,
     .max = 10000000,
     .doc = "Of these, how many may wait until one of `max_connections` comes free, the most "
            "important first; `off`: none waits."},
    {.name = "retries",
     .type = FG_KEY_U32,
     .offset = L(limits.retries_max),
     .initial = "off",
     .zero_word = "off",
     .min = 1,
     .max = 1000000,
     .doc = "Retries and hedges in flight, whatever `retries.budget` would allow."},
    {.name = "tunnels",
     .type = FG_KEY_U32,
     .offset = L(limits.tunnels_max),
     .initial = "auto",
     .zero_word = "auto",
     .min = 1,
     .max = 1000000,
     .doc = "WebSockets, and answers without a length on routes with `stream_idle_timeout` (but "
            "`stream_holds_slot`), that hold a connection each; `auto`: three quarters of "
            "`max_connections`, so that others have some, too."},
    {.name = "tunnels_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(limits.tunnels_permille),
     .initial = "25%",
     .min = 1,
     .max = 1000,
     .doc = "Of these, what one client's address may have once half of them are in use; never "
            "fewer than 8."},
    {.name = "shadow",
     .type = FG_KEY_BOOL,
     .offset = L(limits.is_shadow),
     .initial = "false",
     .doc = "Count who is above them, and refuse nobody."},
    {.name = NULL},
};

/* Filled in place: offsets from the backend. */
static const struct fg_table limits_table = {
    .path = "clusters.NAME.limits",
    .doc = "What the cluster may have at once, all threads together, exactly; one more is answered "
           "503. `max_connections` is one of them, and never in shadow.",
    .keys = limit_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .example = "{requests: 500}",
};

static const struct fg_choice cookie_secure[] = {
    {"auto", FG_COOKIE_SECURE_AUTO},
    {"on", FG_COOKIE_SECURE_ON},
    {"off", FG_COOKIE_SECURE_OFF},
    {NULL, 0},
};

static const struct fg_choice same_sites[] = {
    {"lax", FG_SAME_SITE_LAX},
    {"strict", FG_SAME_SITE_STRICT},
    {"none", FG_SAME_SITE_NONE},
    {"unsaid", FG_SAME_SITE_UNSAID},
    {NULL, 0},
};

static const struct fg_key hash_cookie_keys[] = {
    {.name = "ttl",
     .type = FG_KEY_DURATION,
     .offset = L(hash_cookie.ttl_ns),
     .initial = "session",
     .zero_word = "session",
     .min = 1 * S,
     .max = 400 * DAY,
     .doc = "How long the client keeps it (Max-Age); `session`: as long as it runs."},
    {.name = "path",
     .type = FG_KEY_STRING,
     .offset = L(hash_cookie.path),
     .initial = "/",
     .check = fg_text_check_url_path,
     .doc = "For which paths."},
    {.name = "secure",
     .type = FG_KEY_ENUM,
     .offset = L(hash_cookie.secure),
     .initial = "auto",
     .choices = cookie_secure,
     .doc = "`Secure`: over TLS alone. `auto`: where the client came over TLS."},
    {.name = "http_only",
     .type = FG_KEY_BOOL,
     .offset = L(hash_cookie.is_http_only),
     .initial = "true",
     .doc = "`HttpOnly`: not for scripts."},
    {.name = "same_site",
     .type = FG_KEY_ENUM,
     .offset = L(hash_cookie.same_site),
     .initial = "lax",
     .choices = same_sites,
     .doc = "`SameSite`; `none` needs `secure: on`."},
    {.name = NULL},
};

/* Filled in place: offsets from the backend. */
static const struct fg_table hash_cookie_table = {
    .path = "clusters.NAME.hash_cookie",
    .doc = "The cookie that `hash_key: cookie:NAME` names is made for clients that have none, and "
           "set by the answer, so that they come to the same server again. Not on routes with "
           "`cache`, nor in answers that caches may give to others (`public`, `s-maxage`).",
    .keys = hash_cookie_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .example = "{ttl: 1h}",
};

static const struct fg_key cluster_keys[] = {
    {.name = "endpoints",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_backend, endpoints),
     .count_offset = AT(fg_raw_backend, endpoint_count),
     .table = &endpoint_table,
     .min = 1,
     .max = 1024,
     .doc = "The servers."},
    {.name = "endpoints_file",
     .type = FG_KEY_PATH,
     .offset = L(endpoints_file),
     .derived = "none",
     .doc =
         "A file with more of them, one a line: `10.0.0.1:8080 weight=2 priority=1`, `#` begins a "
         "comment. It is read again when it has changed and been still for half a second; a file "
         "with a mistake, or (without `endpoints`) without an endpoint, changes nothing. Names in "
         "it are looked up by the system, again every `dns_ttl_max`."},
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
            "`prompt` (the begin of the prompt in the first 32 KiB of a JSON body). Without a key: "
            "by chance."},
    {.name = "hash_cookie",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(has_hash_cookie),
     .table = &hash_cookie_table,
     .doc = "Make the cookie of `hash_key` for clients that have none."},
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
     .takes_zero = true,
     .min = 1,
     .max = 1000,
     .doc = "With a smaller share of healthy endpoints all are used."},
    {.name = "slow_start",
     .type = FG_KEY_DURATION,
     .offset = L(slow_start_ns),
     .initial = "off",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "The share of an endpoint that has just become healthy grows over this time, from a "
            "tenth; not with `hash`."},
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
     .doc =
         "A name is looked up again after this, whatever its time to live. That of its addresses "
         "counts, not of an alias (CNAME) before them."},
    {.name = "dns_servers",
     .type = FG_KEY_STRINGS,
     .offset = L(dns_servers),
     .count_offset = L(dns_server_count),
     .derived = "the system's",
     .max = 8,
     .doc = "Servers to ask for names of `endpoints`: `192.0.2.53`, `192.0.2.53:5353`."},
    {.name = "host_header",
     .type = FG_KEY_STRING,
     .offset = L(host_header),
     .derived = "the client's",
     .check = fg_text_check_authority,
     .doc = "`Host` that they are sent."},
    {.name = "forwarded",
     .type = FG_KEY_BITS,
     .offset = L(forwarded),
     .choices = forwarded_fields,
     .derived = "x-forwarded-for and x-forwarded-proto",
     .doc =
         "Fields that tell the servers who asked. `x-forwarded-for`, `forwarded` (RFC 7239) and "
         "`via` are appended to, the others replaced; what is not named is passed on as it came. "
         "`none`: none of ours."},
    {.name = "proxy_protocol",
     .type = FG_KEY_ENUM,
     .offset = L(proxy_version),
     .initial = "off",
     .choices = proxy_versions,
     .doc = "Begin connections with a PROXY protocol header that names the client. Such a "
            "connection is reused for the same client connection alone. Health checks say `LOCAL` "
            "(`UNKNOWN` in v1)."},
    {.name = "proxy_protocol_tlvs",
     .type = FG_KEY_BITS,
     .offset = L(proxy_tlvs),
     .choices = proxy_tlvs,
     .derived = "none",
     .doc = "What a header of v2 says besides: `alpn`: what we speak on the connection, unless TLS "
            "decides it; `authority`: the name that the client asked for in TLS; `ssl`: its TLS "
            "version and whether it showed a certificate, on this connection or in the session "
            "that it resumes; `unique_id`: the request's id, with "
            "which a connection carries one request."},
    {.name = "max_connections",
     .type = FG_KEY_U32,
     .offset = L(max_connections),
     .initial = "256",
     .min = 1,
     .max = 1000000,
     .doc = "Connections to all endpoints, all threads together, exactly; see `limits`."},
    {.name = "limits",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &limits_table,
     .doc = "Requests, waiting ones and retries at once."},
    {.name = "max_idle_connections",
     .type = FG_KEY_U32,
     .offset = L(max_idle_connections),
     .initial = "64",
     .min = 0,
     .max = 1000000,
     .doc = "Of these, kept open without a request."},
    {.name = "slow_reader_max",
     .type = FG_KEY_DURATION,
     .offset = L(slow_reader_max_ns),
     .initial = "1s",
     .zero_word = "off",
     .min = 10 * MS,
     .max = 10 * MINUTE,
     .doc = "While requests wait for one of `max_connections`, an answer of which its client has "
            "taken less than 4 KiB for so long, or a request body of which it has sent less, gives "
            "its connection up: the stream, or the HTTP/1 connection, is reset; before the answer "
            "it is told 503. Else `limits.write_timeout` and `limits.body_timeout` alone end "
            "them."},
    {.name = "slow_reader_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(slow_reader_permille),
     .initial = "10%",
     .min = 1,
     .max = 1000,
     .doc = "Of `max_connections`, what one client's address may hold with answers that wait for "
            "it, while requests wait for one of them or step `address_share` of "
            "`policies.overload` is about to be taken; never fewer than 8. It gets no further one "
            "then, and what is above goes after `slow_reader_grace`."},
    {.name = "slow_reader_grace",
     .type = FG_KEY_DURATION,
     .offset = L(slow_reader_grace_ns),
     .initial = "250ms",
     .min = 1 * MS,
     .max = 10 * MINUTE,
     .doc = "Like `slow_reader_max`, for answers above `slow_reader_share`."},
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
     .doc = "Longest silence within a response body, but of routes with `stream_idle_timeout`."},
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
    {.name = "protocol",
     .type = FG_KEY_ENUM,
     .offset = L(protocol),
     .initial = "auto",
     .choices = protocols,
     .doc =
         "`auto`: what the server chooses over TLS (ALPN), else HTTP/1.1; `http1`; `h2`: HTTP/2, "
         "without TLS by prior knowledge."},
    {.name = "max_streams",
     .type = FG_KEY_U32,
     .offset = L(max_streams),
     .initial = "100",
     .min = 1,
     .max = 10000,
     .doc = "Requests at once on one HTTP/2 connection; the server may allow fewer."},
    {.name = "http2_overhead_burst",
     .type = FG_KEY_U32,
     .offset = L(h2_overhead_burst),
     .initial = "10000",
     .min = 100,
     .max = 1000000,
     .doc = "HTTP/2 frames that bring nothing (empty DATA, pings, settings, windows, priorities, "
            "frames of no known type) that a server may send at once on a connection; what moves "
            "either way earns further ones. A connection with more of them is ended."},
    {.name = "http2_overhead_per_second",
     .type = FG_KEY_U32,
     .offset = L(h2_overhead_per_s),
     .initial = "100",
     .min = 1,
     .max = 1000000,
     .doc = "How fast that allowance fills again by itself."},
    {.name = "connection_keepalive",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &keepalive_table,
     .doc = "PING on HTTP/2 connections that have become silent."},
    {.name = "tls",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(has_tls),
     .table = &tls_table,
     .doc = "Speak TLS to the servers."},
    {.name = "health_check",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(has_check),
     .table = &fg_table_cluster_check,
     .doc = "Active checks of every endpoint."},
    {.name = "outlier",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(has_outlier),
     .table = &fg_table_cluster_outlier,
     .doc = "Passive ejection of endpoints."},
    {.name = "endpoint_breaker",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(has_breaker),
     .table = &fg_table_endpoint_breaker,
     .doc = "A circuit breaker for each endpoint."},
    {.name = "retries",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &retry_table,
     .doc = "Trying again after a server may have seen a request."},
    FG_GATE_KEYS(FG_BACKEND_CLUSTER, fg_raw_backend, conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_clusters = {
    .path = "clusters.NAME",
    .doc = "HTTP servers of one kind; a route leads to them with `to: cluster:NAME`.",
    .keys = cluster_keys,
    .bytes = sizeof(struct fg_raw_backend),
    .name_offset = AT(fg_raw_backend, conf.name),
    .node_offset = AT(fg_raw_backend, node),
    .example = "{endpoints: [\"127.0.0.1:3000\"]}",
};
