/*
 * schema_routes.c: the tables of the routes.
 */
#include "config/field_template.h"
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define DAY (24 * 3600 * S)
#define GIB (UINT64_C(1) << 30)

static const struct fg_choice methods[] = {
    {"GET", FG_METHOD_GET},         {"HEAD", FG_METHOD_HEAD},
    {"POST", FG_METHOD_POST},       {"PUT", FG_METHOD_PUT},
    {"PATCH", FG_METHOD_PATCH},     {"DELETE", FG_METHOD_DELETE},
    {"OPTIONS", FG_METHOD_OPTIONS}, {NULL, 0},
};

static const struct fg_choice schemes[] = {
    {"any", FG_SCHEME_ANY},
    {"http", FG_SCHEME_HTTP},
    {"https", FG_SCHEME_HTTPS},
    {NULL, 0},
};

static const struct fg_choice redirect_statuses[] = {
    {"301", 301}, {"302", 302}, {"303", 303}, {"307", 307}, {"308", 308}, {NULL, 0},
};

#define EDITS(member) AT(fg_field_edits_conf, member)
static const struct fg_key edit_keys[] = {
    {.name = "set",
     .type = FG_KEY_FIELDS,
     .offset = EDITS(set),
     .count_offset = EDITS(set_count),
     .check = fg_text_check_field_template,
     .max = 32,
     .doc = "Fields with their values, in place of any that are there. In a value, `%{client_ip}`, "
            "`%{client_certificate}`, `%{user}`, `%{request_id}`, `%{method}`, `%{scheme}`, "
            "`%{host}`, `%{path}`, `%{route}` and `%{tls_version}` are filled in; a field that "
            "comes out empty is left out."},
    {.name = "add",
     .type = FG_KEY_FIELDS,
     .offset = EDITS(add),
     .count_offset = EDITS(add_count),
     .check = fg_text_check_field_template,
     .max = 32,
     .doc = "The same, beside any that are there."},
    {.name = "remove",
     .type = FG_KEY_STRINGS,
     .offset = EDITS(remove),
     .count_offset = EDITS(remove_count),
     .check = fg_text_check_removable_field,
     .max = 32,
     .doc = "Fields that are taken out. These, and those that are set, go from trailers and "
            "interim answers, too."},
    {.name = NULL},
};

static const struct fg_table edit_table = {
    .path = "routes[].request_headers, routes[].response_headers",
    .doc = "Header fields that are changed on their way.",
    .keys = edit_keys,
    .bytes = sizeof(struct fg_field_edits_conf),
    .example = "{set: {x-user: \"%{user}\"}, remove: [server]}",
};

#define CORS(member) AT(fg_raw_route, conf.cors.member)
static const struct fg_key cors_keys[] = {
    {.name = "origins",
     .type = FG_KEY_STRINGS,
     .offset = CORS(origins),
     .count_offset = CORS(origin_count),
     .is_required = true,
     .check = fg_text_check_origin,
     .max = 64,
     .doc =
         "Whose pages may use the route: `https://example.org`, `https://*.example.org` for every "
         "name below it, or `\"*\"` for all."},
    {.name = "headers",
     .type = FG_KEY_STRINGS,
     .offset = CORS(headers),
     .count_offset = CORS(header_count),
     .check = fg_text_check_field_name,
     .max = 64,
     .doc = "Request fields that they may send beyond the simple ones; `\"*\"`: whichever they ask "
            "for."},
    {.name = "expose",
     .type = FG_KEY_STRINGS,
     .offset = CORS(expose),
     .count_offset = CORS(expose_count),
     .check = fg_text_check_field_name,
     .max = 64,
     .doc = "Response fields that they may read beyond the simple ones."},
    {.name = "credentials",
     .type = FG_KEY_BOOL,
     .offset = CORS(credentials),
     .initial = "false",
     .doc = "They may send cookies and other credentials of the browser's."},
    {.name = "max_age",
     .type = FG_KEY_DURATION,
     .offset = CORS(max_age_ns),
     .initial = "10m",
     .min = 0,
     .max = 1 * DAY,
     .doc = "How long a browser need not ask again."},
    {.name = NULL},
};

static const struct fg_table cors_table = {
    .path = "routes[].cors",
    .doc = "Pages of other origins (CORS). The gateway answers preflights for the methods of the "
           "route by itself, and marks its answers.",
    .keys = cors_keys,
    .bytes = sizeof(struct fg_raw_route),
    .example = "{origins: [\"https://example.org\"]}",
};

#define L(member) AT(fg_raw_route, conf.member)
static const struct fg_key redirect_keys[] = {
    {.name = "to",
     .type = FG_KEY_STRING,
     .offset = L(redirect.to),
     .check = fg_text_check_redirect_target,
     .doc =
         "The whole `Location`, a path or a URL. Either this or the next three, which change the "
         "request's own and keep its query."},
    {.name = "https",
     .type = FG_KEY_BOOL,
     .offset = L(redirect.https),
     .initial = "false",
     .doc = "The same place over https, at the standard port where `host` names none."},
    {.name = "host",
     .type = FG_KEY_STRING,
     .offset = L(redirect.host),
     .check = fg_text_check_authority,
     .doc = "The same place at another host."},
    {.name = "replace_prefix",
     .type = FG_KEY_STRING,
     .offset = L(redirect.replace_prefix),
     .check = fg_text_check_url_path,
     .doc = "Stands in place of `match.path` or `match.prefix`."},
    {.name = "status",
     .type = FG_KEY_ENUM,
     .offset = L(redirect.status),
     .initial = "308",
     .choices = redirect_statuses,
     .doc = "308 and 307 keep the method; 301, 302 and 303 are for what only browsers see."},
    {.name = NULL},
};

static const struct fg_table redirect_table = {
    .path = "routes[].redirect",
    .doc = "Send the client elsewhere.",
    .keys = redirect_keys,
    .bytes = sizeof(struct fg_raw_route),
    .shorthand = "to",
    .example = "{https: true}",
};

static const struct fg_key match_keys[] = {
    {.name = "host",
     .type = FG_KEY_STRING,
     .offset = L(host),
     .check = fg_text_check_host_pattern,
     .doc = "`example.org`, or `*.example.org` for every name below it; without it any host."},
    {.name = "path",
     .type = FG_KEY_STRING,
     .offset = L(path),
     .check = fg_text_check_url_path,
     .doc = "The whole path. Either this or `prefix`."},
    {.name = "prefix",
     .type = FG_KEY_STRING,
     .offset = L(path_prefix),
     .check = fg_text_check_url_path,
     .doc = "The beginning of the path, in whole segments: `/api` matches `/api` and `/api/x`, not "
            "`/apix`; `/api/` matches only what is below it."},
    {.name = "methods",
     .type = FG_KEY_BITS,
     .offset = L(methods),
     .choices = methods,
     .derived = "any",
     .doc = "Allowed methods; `GET` allows `HEAD` too."},
    {.name = "headers",
     .type = FG_KEY_HEADERS,
     .offset = L(headers),
     .count_offset = L(header_count),
     .max = 16,
     .doc = "Header fields that must be there with that value, in one line of it at least; "
            "`\"*\"` is any value. `x_a` and `x-a` are one name, as they are to many servers."},
    {.name = "query",
     .type = FG_KEY_PARAMETERS,
     .offset = L(parameters),
     .count_offset = L(parameter_count),
     .max = 16,
     .doc = "Parameters of the query that must be there with that value, both as they are sent; "
            "`\"*\"` is any value."},
    {.name = "scheme",
     .type = FG_KEY_ENUM,
     .offset = L(scheme),
     .initial = "any",
     .choices = schemes,
     .doc = "How the client speaks to us, or to a trusted proxy before us."},
    {.name = NULL},
};

static const struct fg_table match_table = {
    .path = "routes[].match",
    .doc = "What a request must look like.",
    .keys = match_keys,
    .bytes = sizeof(struct fg_raw_route),
    .example = "{prefix: /api/}",
};

static const struct fg_key respond_keys[] = {
    {.name = "status",
     .type = FG_KEY_U32,
     .offset = L(respond_status),
     .initial = "200",
     .min = 200,
     .max = 599,
     .doc = "Status of the answer."},
    {.name = "body",
     .type = FG_KEY_STRING,
     .offset = L(respond_body),
     .initial = "",
     .doc = "Its text."},
    {.name = "type",
     .type = FG_KEY_STRING,
     .offset = L(respond_type),
     .initial = "text/plain; charset=utf-8",
     .check = fg_text_check_field_value,
     .doc = "Its `Content-Type`."},
    {.name = NULL},
};

static const struct fg_table respond_table = {
    .path = "routes[].respond",
    .doc = "An answer from the configuration itself.",
    .keys = respond_keys,
    .bytes = sizeof(struct fg_raw_route),
    .example = "{status: 410, body: \"The promotion is over.\"}",
};

static const struct fg_choice cache_keeps[] = {
    {"useful", FG_CACHE_KEEP_USEFUL}, {"pinned", FG_CACHE_KEEP_PINNED}, {NULL, 0}};

static const struct fg_key route_cache_keys[] = {
    {.name = "ttl",
     .type = FG_KEY_DURATION,
     .offset = L(cache_ttl_ns),
     .initial = "response",
     .zero_word = "response",
     .min = 1 * MS,
     .max = 365 * DAY,
     .doc = "How long a response is fresh; `response`: what its own header fields say."},
    {.name = "keep",
     .type = FG_KEY_ENUM,
     .offset = L(cache_keep),
     .initial = "useful",
     .choices = cache_keeps,
     .doc =
         "`useful`: while it is asked for more than others; `pinned`: never evicted, and given "
         "stale for as long as its backend does not give a new one; it stays through reloads and "
         "crashes of the gateway, and `POST /cache/purge` must name it."},
    {.name = NULL},
};

static const struct fg_table route_cache_table = {
    .path = "routes[].cache",
    .doc = "Keep responses in the cache of `policies.cache`; `cache: true` is enough.",
    .keys = route_cache_keys,
    .shorthand = "keep",
    .bytes = sizeof(struct fg_raw_route),
    .example = "true",
};

static const struct fg_key websocket_keys[] = {
    /* Phones and their networks keep silent ones for about that long. */
    {.name = "idle_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(websocket_idle_ns),
     .initial = "5m",
     .min = 1 * MS,
     .max = 7 * DAY,
     .doc = "A tunnel through which nothing goes in either direction for so long is cut. The "
            "route's `timeout` counts until it is open."},
    {.name = NULL},
};

static const struct fg_table websocket_table = {
    .path = "routes[].websocket",
    .doc = "Let clients open WebSockets (HTTP/1.1 Upgrade, or extended CONNECT of HTTP/2) to a "
           "cluster; `websocket: true` is enough.",
    .keys = websocket_keys,
    .bytes = sizeof(struct fg_raw_route),
    .example = "true",
};

static const struct fg_key waiting_room_keys[] = {
    {.name = "admit",
     .type = FG_KEY_RATE,
     .offset = L(waiting_room.admit),
     .is_required = true,
     .zero_word = "auto",
     .min = 1,
     .max = 1000000000,
     .doc = "How many are let in. `auto`: as many as the backend behind the route gets done, as "
            "measured; only for a line of one gateway."},
    {.name = "burst",
     .type = FG_KEY_U64,
     .offset = L(waiting_room.burst),
     .derived = "the amount of `admit`; with `auto` what it is for a second",
     .min = 1,
     .max = UINT32_MAX,
     .doc = "Let in at once after a quiet time."},
    {.name = "waiting_max",
     .type = FG_KEY_U64,
     .offset = L(waiting_room.waiting_max),
     .initial = "1000000",
     .min = 0,
     .max = UINT64_C(100000000),
     .doc = "People in the line; beyond it 503. Each costs two or three bytes here, whether they "
            "are there or not: the rest is in the signed ticket that the client holds."},
    /* Long enough to come back after the phone's screen went dark, short enough to refill. */
    {.name = "grace",
     .type = FG_KEY_DURATION,
     .offset = L(waiting_room.grace_ns),
     .initial = "2m",
     .min = 1 * S,
     .max = 1 * DAY,
     .doc = "How long the turn is kept for who does not come at once. Then it is given to somebody "
            "else."},
    {.name = "keep",
     .type = FG_KEY_DURATION,
     .offset = L(waiting_room.keep_ns),
     .initial = "5m",
     .min = 1 * S,
     .max = 1 * DAY,
     .doc = "How long a place is kept after it was last asked for. Who asks no more has left, and "
            "those behind move up."},
    {.name = "draw_window",
     .type = FG_KEY_DURATION,
     .offset = L(waiting_room.draw_window_ns),
     .initial = "off",
     .zero_word = "off",
     .takes_zero = true,
     .min = 100 * MS,
     .max = 7 * DAY,
     .doc = "Draw lots among those who come in the same window of so long, instead of serving them "
            "in the order in which they came."},
    {.name = "session",
     .type = FG_KEY_DURATION,
     .offset = L(waiting_room.session_ns),
     .initial = "off",
     .zero_word = "off",
     .takes_zero = true,
     .min = 1 * S,
     .max = 7 * DAY,
     .doc = "How long who has been let in may come again without standing in line: it is given a "
            "pass for the ticket. `off`: a ticket is good for one request."},
    {.name = "ticket_rotate",
     .type = FG_KEY_DURATION,
     .offset = L(waiting_room.ticket_rotate_ns),
     .initial = "1h",
     .min = 1 * S,
     .max = 7 * DAY,
     .doc = "A new key for tickets so often, derived from `identity.jwt.secret_file` and the time, "
            "at the same moment on all gateways. Tickets under the one before are still taken; who "
            "asks gets a new one."},
    {.name = "one_place_per_user",
     .type = FG_KEY_BOOL,
     .offset = L(waiting_room.is_one_for_user),
     .initial = "true",
     .doc = "Who comes without the ticket, or with one that is used up, gets the place back that "
            "the same user has in line, not another one. `false` where many people are one user. "
            "Takes 16 bytes for each of `waiting_max`."},
    {.name = "places_per_address",
     .type = FG_KEY_U64,
     .offset = L(waiting_room.address_places),
     .derived = "a hundredth of `waiting_max`, at least 1000",
     .min = 1,
     .max = 1000000000,
     .doc = "New places for one address (IPv6: its /64) in the time of `keep`, of users and others "
            "alike. A rate, not how many it may hold. Beyond it 429; who has a place keeps it."},
    {.name = "shared",
     .type = FG_KEY_BOOL,
     .offset = L(waiting_room.is_shared),
     .initial = "false",
     .doc = "One line for all gateways whose `policies.shared_state` is the same Redis, and whose "
            "routes have the same name; `admit` is what all of them let in together."},
    {.name = "alone_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(waiting_room.alone_permille),
     .initial = "50%",
     .min = 1,
     .max = 1000,
     .doc = "The share of `admit` at which this gateway goes on with a line of its own while the "
            "shared Redis is away: one over the number of gateways."},
    {.name = "streams_max",
     .type = FG_KEY_U64,
     .offset = L(waiting_room.streams_max),
     .initial = "10000",
     .min = 0,
     .max = 10000000,
     .doc =
         "Clients that may watch their place in an event stream at a time (see `room`), in equal "
         "shares of all threads; others are answered 503 and ask without one."},
    {.name = "state_file",
     .type = FG_KEY_PATH,
     .offset = L(waiting_room.state_file),
     .check = fg_text_check_not_empty,
     .doc = "Keeps the line through reloads, crashes and restarts; made (mode 0600) when missing. "
            "One for each room. Without it a line lives through reloads and crashes alone."},
    {.name = "shadow",
     .type = FG_KEY_BOOL,
     .offset = L(waiting_room.is_shadow),
     .initial = "false",
     .doc = "Decide and count, but never act: `/stats` shows what it would have refused."},
    {.name = NULL},
};

static const struct fg_table waiting_room_table = {
    .path = "routes[].waiting_room",
    .doc = "A virtual line before this route: who cannot be let in gets a ticket, a place and an "
           "estimated time.",
    .keys = waiting_room_keys,
    .bytes = sizeof(struct fg_raw_route),
    .example = "{admit: 500/s}",
};

static const struct fg_choice priorities[] = {
    {"critical", FG_PRIORITY_CRITICAL},
    {"high", FG_PRIORITY_HIGH},
    {"normal", FG_PRIORITY_NORMAL},
    {"low", FG_PRIORITY_LOW},
    {NULL, 0},
};

static const struct fg_choice identity_needs[] = {
    {"none", FG_IDENTITY_NONE},
    {"optional", FG_IDENTITY_OPTIONAL},
    {"required", FG_IDENTITY_REQUIRED},
    {NULL, 0},
};

static const struct fg_choice half_closes[] = {
    {"answer", FG_HALF_CLOSE_ANSWER}, {"cancel", FG_HALF_CLOSE_CANCEL}, {NULL, 0}};

static const struct fg_choice identity_means[] = {
    {"token", FG_IDENTITY_BY_TOKEN},
    {"api_key", FG_IDENTITY_BY_API_KEY},
    {"signature", FG_IDENTITY_BY_SIGNATURE},
    {"certificate", FG_IDENTITY_BY_CERTIFICATE},
    {NULL, 0},
};

static const struct fg_key route_keys[] = {
    {.name = "name",
     .type = FG_KEY_STRING,
     .offset = L(name),
     .derived = "its path or prefix",
     .check = fg_text_check_label,
     .doc = "What logs and metrics call it."},
    {.name = "match",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &match_table,
     .is_required = true,
     .doc = "What a request must look like."},
    {.name = "to",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_route, to),
     .doc = "The backend: `cluster:NAME`, `static:NAME`, `orders` or `inference`. A route has this "
            "or one of the next four."},
    {.name = "session",
     .type = FG_KEY_BOOL,
     .offset = AT(fg_raw_route, is_session),
     .initial = "false",
     .doc = "Answer with a new guest's token."},
    {.name = "room",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_route, room),
     .check = fg_text_check_not_empty,
     .doc = "Tell clients of their place in the waiting room of the route with this name, without "
            "trying to come in: GET looks (with `Accept: text/event-stream` each second until the "
            "turn comes), POST joins, DELETE leaves. It needs the same `identity` as that route."},
    {.name = "redirect",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = AT(fg_raw_route, is_redirect),
     .table = &redirect_table,
     .doc = "Answer with another `Location`; a text in place of the mapping is its `to`."},
    {.name = "respond",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = AT(fg_raw_route, is_response),
     .table = &respond_table,
     .doc = "Answer with a fixed text."},
    {.name = "request_headers",
     .type = FG_KEY_OBJECT,
     .offset = L(request_edits),
     .table = &edit_table,
     .doc = "Fields of the request, before a backend sees it."},
    {.name = "response_headers",
     .type = FG_KEY_OBJECT,
     .offset = L(response_edits),
     .table = &edit_table,
     .doc = "Fields of each answer, also one of the gateway's own."},
    {.name = "cors",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(cors.enabled),
     .table = &cors_table,
     .doc = "Let pages of other origins use the route."},
    {.name = "strip_prefix",
     .type = FG_KEY_STRING,
     .offset = L(strip_prefix),
     .check = fg_text_check_url_path,
     .doc = "Taken off the path before the backend sees it; a part of `match.prefix`. Log, cache "
            "and `%{path}` know the client's path. What the backend answers (`Location`) passes as "
            "it is: a server that makes links can be told by `request_headers`, as `set: "
            "{x-forwarded-prefix: /api}`."},
    {.name = "add_prefix",
     .type = FG_KEY_STRING,
     .offset = L(add_prefix),
     .check = fg_text_check_url_path,
     .doc = "Put before what `strip_prefix` has left of the path: with `strip_prefix: /api` and "
            "`add_prefix: /v2`, `/api/x` becomes `/v2/x`, and `/api` becomes `/v2`."},
    {.name = "priority",
     .type = FG_KEY_ENUM,
     .offset = L(priority),
     .initial = "normal",
     .choices = priorities,
     .doc = "Who goes first in a queue, and who is refused last."},
    {.name = "identity",
     .type = FG_KEY_ENUM,
     .offset = L(identity),
     .initial = "none",
     .choices = identity_needs,
     .doc =
         "`required`: who does not say who it is is answered 401. `optional`: it is read when it "
         "is said."},
    {.name = "identity_by",
     .type = FG_KEY_BITS,
     .offset = L(identity_by),
     .choices = identity_means,
     .derived = "any",
     .doc =
         "How it may be said: a bearer `token`, an `api_key`, a `signature` over the request, or "
         "the client's `certificate`. The first that a request has, in the order signature, "
         "API key, token, certificate, counts."},
    {.name = "timeout",
     .type = FG_KEY_DURATION,
     .offset = L(timeout_ns),
     .derived = "`limits.request_timeout`",
     .min = 1 * MS,
     .max = 7 * DAY,
     .doc = "Deadline of the whole request."},
    {.name = "stream_idle_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(stream_idle_ns),
     .initial = "off",
     .zero_word = "off",
     .min = 100 * MS,
     .max = 7 * DAY,
     .doc =
         "For server-sent events and other long answers: `timeout` then ends with the head of the "
         "answer, and after it the answer is cut when nothing comes from either side for so long, "
         "whatever `response_idle_timeout` the cluster has. Servers of gRPC are told of no end but "
         "the "
         "client's own."},
    {.name = "stream_holds_slot",
     .type = FG_KEY_BOOL,
     .offset = L(stream_holds_slot),
     .initial = "false",
     .doc = "With `stream_idle_timeout`, for answers of a cluster that are work until their end, "
            "such as a model's tokens: each keeps its slot of `concurrency` so long. Else the slot "
            "is free once the answer has begun, as with WebSockets, or a few streams that wait "
            "for events would hold them all; the cluster's `limits.requests` counts both."},
    {.name = "body_max",
     .type = FG_KEY_SIZE,
     .offset = L(body_bytes_max),
     .derived = "`limits.body_max`",
     .min = 0,
     .max = 1024 * GIB,
     .doc = "Request body; more is answered 413."},
    {.name = "buffer_request",
     .type = FG_KEY_BOOL,
     .offset = L(buffer_request),
     .initial = "false",
     .doc = "Wait for the whole body (within `body_max`) before a backend is bothered, so that a "
            "slow client holds none of its slots. Signed requests, orders, sessions and inference "
            "always do."},
    {.name = "half_close",
     .type = FG_KEY_ENUM,
     .offset = L(half_close),
     .initial = "answer",
     .choices = half_closes,
     .doc = "A client of HTTP/1 that has made its request and closes its own side of the "
            "connection may wait for the answer, or have left: plain TCP does not tell which. "
            "`answer`: it is answered; two `100 Continue` ahead of a late answer find out who has "
            "left, whose work ends then; `cancel`: the work ends at once. With TLS only a "
            "`close_notify` on a connection that stays open is such a case."},
    {.name = "rate_limits",
     .type = FG_KEY_STRINGS,
     .offset = AT(fg_raw_route, rate_limit_names),
     .count_offset = AT(fg_raw_route, rate_limit_name_count),
     .max = 8,
     .doc = "Names out of `policies.rate_limits`; all of them must let a request pass."},
    {.name = "concurrency",
     .type = FG_KEY_SWITCH,
     .offset = L(concurrency),
     .count_offset = L(has_concurrency),
     .table = &fg_table_route_concurrency,
     .doc = "Most requests of the route at once, beside the limit of its backend."},
    {.name = "queue",
     .type = FG_KEY_OBJECT,
     .offset = L(queue),
     .table = &fg_table_route_queue,
     .doc = "Where they wait for it."},
    {.name = "cache",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(cache),
     .table = &route_cache_table,
     .doc = "Keep responses in the cache."},
    {.name = "websocket",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(websocket),
     .table = &websocket_table,
     .doc = "Let clients open WebSockets; needs a cluster, excludes `cache`."},
    {.name = "waiting_room",
     .type = FG_KEY_SWITCH,
     .offset = 0,
     .count_offset = L(waiting_room.enabled),
     .table = &waiting_room_table,
     .doc = "A virtual line before this route."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_routes = {
    .path = "routes[]",
    .doc = "Which request goes where. The first route that matches wins, in file order.",
    .keys = route_keys,
    .bytes = sizeof(struct fg_raw_route),
    .node_offset = AT(fg_raw_route, node),
    .example = "{match: {prefix: /}, to: static:www}",
};
