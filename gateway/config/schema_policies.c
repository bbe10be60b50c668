/*
 * schema_policies.c: the tables of policies: rate limits, shared state, the response cache;
 * overload protection has a file of its own.
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

static const struct fg_choice limit_algorithms[] = {
    {"token_bucket", FG_LIMIT_TOKEN_BUCKET},
    {"gcra", FG_LIMIT_GCRA},
    {NULL, 0},
};

static const struct fg_choice limit_scopes[] = {
    {"local", FG_LIMIT_LOCAL},
    {"global", FG_LIMIT_GLOBAL},
    {NULL, 0},
};

static const struct fg_choice limit_costs[] = {
    {"request", FG_LIMIT_COST_REQUEST},
    {"bytes", FG_LIMIT_COST_BYTES},
    {"tokens", FG_LIMIT_COST_TOKENS},
    {NULL, 0},
};

#define L(member) AT(fg_raw_rate_limit, conf.member)
static const struct fg_key rate_limit_keys[] = {
    {.name = "key",
     .type = FG_KEY_STRINGS,
     .offset = AT(fg_raw_rate_limit, key),
     .count_offset = AT(fg_raw_rate_limit, key_count),
     .derived = "`[user]`",
     .check = fg_text_check_limit_part,
     .max = FG_LIMIT_PARTS_MAX,
     .doc = "Who has a limit of their own; several together are one key. `user`, `device` (field "
            "`x-device-id`), `ip`, `invite` (the segment behind `/invites/` or the parameter "
            "`invite`), `route`, `tier` (claim of the token), `header:NAME`. Whoever has no user, "
            "device, invite or header is known by address instead."},
    {.name = "ipv4_prefix",
     .type = FG_KEY_U32,
     .offset = L(ipv4_prefix),
     .initial = "32",
     .min = 1,
     .max = 32,
     .doc = "How many bits of an IPv4 address make one key."},
    {.name = "ipv6_prefix",
     .type = FG_KEY_U32,
     .offset = L(ipv6_prefix),
     .initial = "64",
     .min = 1,
     .max = 128,
     .doc = "How many bits of an IPv6 address: a customer usually has 64 of them to choose from."},
    {.name = "algorithm",
     .type = FG_KEY_ENUM,
     .offset = L(algorithm),
     .initial = "token_bucket",
     .choices = limit_algorithms,
     .doc = "Both let the same requests pass; `gcra` keeps one time stamp a key. What is `global` "
            "is counted by GCRA."},
    {.name = "rate",
     .type = FG_KEY_RATE,
     .offset = L(rate),
     .is_required = true,
     .min = 1,
     .max = 1000000000,
     .doc = "Requests (bytes, tokens) let through in the long run."},
    {.name = "burst",
     .type = FG_KEY_U64,
     .offset = L(burst),
     .derived = "the amount of `rate`",
     .min = 1,
     .max = UINT32_MAX,
     .doc = "Let through at once after a quiet time. What costs more never passes."},
    {.name = "cost",
     .type = FG_KEY_ENUM,
     .offset = L(cost),
     .initial = "request",
     .choices = limit_costs,
     .doc = "What is counted: each `request` as one, the `bytes` of both bodies, or the `tokens` "
            "(prompt and answer) of inference. What is not known at first is reserved; at the end "
            "the rest is given back, or what is missing is owed."},
    {.name = "reserve",
     .type = FG_KEY_U64,
     .offset = L(reserve),
     .derived = "1 for `bytes`, 256 for `tokens`",
     .min = 1,
     .max = UINT32_MAX,
     .doc = "Taken before the cost is known: for `tokens` always, for `bytes` without a "
            "`Content-Length`."},
    {.name = "scope",
     .type = FG_KEY_ENUM,
     .offset = L(scope),
     .initial = "local",
     .choices = limit_scopes,
     .doc = "`local`: this gateway alone, exact across its threads. `global`: all gateways with "
            "the same `policies.shared_state` together, exact to within one lease each."},
    {.name = "lease",
     .type = FG_KEY_U64,
     .offset = L(lease),
     .derived = "half of `burst`, and not below `reserve`",
     .min = 1,
     .max = UINT32_MAX,
     .doc = "`global`: the most that a gateway takes out of the shared count at a time, or lets "
            "pass before that count has heard of it. Less is more exact and asks more often."},
    {.name = "local_share",
     .type = FG_KEY_PERMILLE,
     .offset = L(local_share_permille),
     .initial = "50%",
     .min = 1,
     .max = 1000,
     .doc = "`global`: the part of `rate` that this gateway goes on with when its last lease is "
            "spent and the shared count is slow or away. By N gateways, 100 % / N keeps the rate."},
    /* 40 bytes each: 4 MB. When full, the fullest bucket goes: it carries least information. */
    {.name = "keys_max",
     .type = FG_KEY_U32,
     .offset = L(keys_max),
     .initial = "100000",
     .min = 1,
     .max = 100000000,
     .doc = "Users or addresses remembered at once, about 40 bytes each."},
    {.name = "shadow",
     .type = FG_KEY_BOOL,
     .offset = L(is_shadow),
     .initial = "false",
     .doc = "Decide and count, but never act: `/stats` shows what it would have refused."},
    {.name = NULL},
};
#undef L

static const struct fg_table rate_limit_table = {
    .path = "policies.rate_limits.NAME",
    .doc = "Limits by key; routes name them in `rate_limits`. A request over its rate is answered "
           "429 with `Retry-After`.",
    .keys = rate_limit_keys,
    .bytes = sizeof(struct fg_raw_rate_limit),
    .name_offset = AT(fg_raw_rate_limit, conf.name),
    .node_offset = AT(fg_raw_rate_limit, node),
    .example = "{key: [user, route], rate: 10/s, burst: 20}",
};

#define L(member) AT(fg_redis_conf, member)
static const struct fg_key shared_redis_keys[] = {
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = L(address),
     .derived = "the Redis of `orders`, with its user and password",
     .check = fg_text_check_upstream_address,
     .doc = "`host:port` or `unix:/path`."},
    {.name = "username",
     .type = FG_KEY_STRING,
     .offset = L(username),
     .check = fg_text_check_not_empty,
     .doc = "User of its access list (ACL)."},
    {.name = "password",
     .type = FG_KEY_STRING,
     .offset = L(password),
     .is_secret = true,
     .doc = "Write `${REDIS_PASSWORD}` and keep the secret in the environment."},
    {.name = "connect_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(connect_timeout_ns),
     .initial = "1s",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "For one attempt."},
    {.name = "command_timeout",
     .type = FG_KEY_DURATION,
     .offset = L(command_timeout_ns),
     .initial = "250ms",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "For one command; then the connection is made anew. No request waits for it, but for "
            "one that asks for its place in a shared waiting room at the moment when Redis goes "
            "away, and signed ones with `identity.signatures.shared`."},
    {.name = "commands_in_flight_max",
     .type = FG_KEY_U32,
     .offset = L(commands_in_flight_max),
     .initial = "1024",
     .min = 1,
     .max = 1000000,
     .doc = "Commands without a reply, a thread; what would be one more is done without Redis."},
    {.name = NULL},
};
#undef L

static const struct fg_table shared_redis_table = {
    .path = "policies.shared_state.redis",
    .doc = "Which Redis.",
    .keys = shared_redis_keys,
    .bytes = sizeof(struct fg_redis_conf),
    .example = "{address: \"redis.internal:6379\"}",
};

#define L(member) AT(fg_shared_state_conf, member)
static const struct fg_key shared_state_keys[] = {
    {.name = "redis",
     .type = FG_KEY_OBJECT,
     .offset = L(redis),
     .table = &shared_redis_table,
     .doc = "Which Redis."},
    {.name = "prefix",
     .type = FG_KEY_STRING,
     .offset = L(prefix),
     .initial = "floodgate",
     .check = fg_text_check_name,
     .doc = "Every key begins with it and a colon. Gateways with the same one share."},
    {.name = NULL},
};
#undef L

static const struct fg_table shared_state_table = {
    .path = "policies.shared_state",
    .doc = "A Redis through which several gateways share what their policies count; `true` takes "
           "the Redis of `orders`. While it is slow or away no request waits for it.",
    .keys = shared_state_keys,
    .bytes = sizeof(struct fg_shared_state_conf),
    .example = "{redis: {address: \"redis.internal:6379\"}}",
};

static const struct fg_choice codings[] = {
    {"gzip", FG_CODING_GZIP}, {"zstd", FG_CODING_ZSTD}, {"br", FG_CODING_BR}, {NULL, 0}};

#define L(member) AT(fg_cache_conf, member)
static const struct fg_key cache_keys[] = {
    {.name = "memory_max",
     .type = FG_KEY_SIZE,
     .offset = L(bytes_max),
     .initial = "64MiB",
     .min = 64 * KIB,
     .max = 1024 * GIB,
     .doc = "All cached responses together; the least useful go first (S3-FIFO)."},
    {.name = "object_max",
     .type = FG_KEY_SIZE,
     .offset = L(object_bytes_max),
     .initial = "1MiB",
     .min = 1 * KIB,
     .max = 1 * GIB,
     .doc = "A larger response is passed on, not kept."},
    {.name = "compress",
     .type = FG_KEY_BITS,
     .offset = L(compress_codings),
     .choices = codings,
     .derived = "all of them",
     .doc = "Compressed forms of text that are kept beside it, each made once, when a client first "
            "asks for it; what the program was built without is left out."},
    {.name = "compress_min",
     .type = FG_KEY_SIZE,
     .offset = L(compress_bytes_min),
     .initial = "1KiB",
     .min = 0,
     .max = 1 * MIB,
     .doc = "A smaller response is not compressed: it fits one packet."},
    {.name = "compress_types",
     .type = FG_KEY_STRINGS,
     .offset = L(compress_types),
     .count_offset = L(compress_type_count),
     .derived = "text, JSON, JavaScript, XML, SVG, web fonts that are not packed",
     .max = 64,
     .doc = "How the content types begin that are worth compressing."},
    {.name = "ranges_max",
     .type = FG_KEY_U32,
     .offset = L(ranges_max),
     .initial = "16",
     .min = 1,
     .max = 64,
     .doc =
         "Ranges in one request that are answered as parts (multipart/byteranges); one with more "
         "gets the whole."},
    {.name = "obey_clients",
     .type = FG_KEY_BOOL,
     .offset = L(obey_clients),
     .initial = "true",
     .doc = "Let `Cache-Control` of requests (`no-cache`, `max-age`, `min-fresh`) ask past the "
            "cache, or take what is stale (`max-stale`, `stale-if-error`); one fetch then serves "
            "all who ask at that time. Under overload "
            "(step `stale_cache`) it is not obeyed."},
    {.name = "cdn_cache_control",
     .type = FG_KEY_BOOL,
     .offset = L(obeys_cdn_cache_control),
     .initial = "true",
     .doc = "Where a response has a well-formed `CDN-Cache-Control` (RFC 9213), keep to it instead "
            "of `Cache-Control` and `Expires`; clients get all of them."},
    {.name = "negative_ttl",
     .type = FG_KEY_DURATION,
     .offset = L(negative_ttl_ns),
     .initial = "0s",
     .min = 0,
     .max = 1 * DAY,
     .doc = "How long 404, 405, 410, 414 and 501 are fresh where they say nothing. A 404 or 410 of "
            "which nobody says how long is kept of, and given to, requests without a cookie alone: "
            "what somebody may not see is often said not to be there."},
    {.name = "stale_under_pressure",
     .type = FG_KEY_DURATION,
     .offset = L(stale_under_pressure_ns),
     .initial = "5m",
     .min = 0,
     .max = 30 * DAY,
     .doc = "While `policies.overload` takes step `stale_cache`: how long an expired response is "
            "given all "
            "the same, unless it says `must-revalidate` or `no-cache`."},
    /* RFC 5861 leaves both to the response; a default of ours must not show old stock figures. */
    {.name = "stale_while_revalidate",
     .type = FG_KEY_DURATION,
     .offset = L(stale_while_revalidate_ns),
     .initial = "0s",
     .min = 0,
     .max = 30 * DAY,
     .doc = "How long an expired response may still be given while a new one is fetched, where the "
            "response says nothing."},
    {.name = "stale_if_error",
     .type = FG_KEY_DURATION,
     .offset = L(stale_if_error_ns),
     .initial = "30s",
     .min = 0,
     .max = 30 * DAY,
     .doc = "How long an expired response may be given when its backend fails, where the response "
            "says nothing."},
    {.name = "waiters_max",
     .type = FG_KEY_U32,
     .offset = L(waiters_max),
     .initial = "10000",
     .min = 0,
     .max = 10000000,
     .doc = "Requests that wait for one and the same fetch; one more is answered 503."},
    {.name = "unshared_at_once",
     .type = FG_KEY_U32,
     .offset = L(unshared_at_once),
     .initial = "8",
     .min = 1,
     .max = 1000000,
     .doc = "How many of them ask by themselves at a time where the answer is for its own client "
            "alone (private, or an error in answer to `Authorization`). Each that is answered "
            "lets two more on; each that fails (500 and above) one, so that no crowd meets a "
            "backend that is dying."},
    {.name = "slow_reader_max",
     .type = FG_KEY_DURATION,
     .offset = L(slow_reader_max_ns),
     .initial = "1s",
     .zero_word = "off",
     .min = 10 * MS,
     .max = 10 * MINUTE,
     .doc = "Responses that were pushed out take memory for as long as somebody is sent them, from "
            "a quarter of `memory_max` in which others are fetched. While that does not do, an "
            "answer of these of which its client has taken less than 4 KiB for so long is reset; "
            "so is one by whose pace others get the same fetch, which is not kept. Else "
            "`limits.write_timeout` alone ends it."},
    {.name = NULL},
};
#undef L

static const struct fg_table cache_table = {
    .path = "policies.cache",
    .doc =
        "The response cache of routes with `cache` (RFC 9111, in memory, shared by all threads).",
    .keys = cache_keys,
    .bytes = sizeof(struct fg_cache_conf),
    .example = "{memory_max: 64MiB}",
};

static const struct fg_key policies_keys[] = {
    {.name = "rate_limits",
     .type = FG_KEY_MAP,
     .offset = AT(fg_raw_config, rate_limits),
     .count_offset = AT(fg_raw_config, rate_limit_count),
     .table = &rate_limit_table,
     .check = fg_text_check_name,
     .max = 256,
     .doc = "Limits by key, by name."},
    {.name = "shared_state",
     .type = FG_KEY_SWITCH,
     .offset = AT(fg_raw_config, shared_state),
     .count_offset = AT(fg_raw_config, shared_state.enabled),
     .table = &shared_state_table,
     .doc = "A Redis through which several gateways share what their policies count."},
    {.name = "overload",
     .type = FG_KEY_OBJECT,
     .offset = AT(fg_raw_config, overload),
     .table = &fg_table_overload,
     .doc = "Protection of the gateway itself."},
    {.name = "cache",
     .type = FG_KEY_OBJECT,
     .offset = AT(fg_raw_config, cache),
     .table = &cache_table,
     .doc = "The response cache."},
    {.name = NULL},
};

const struct fg_table fg_table_policies = {
    .path = "policies",
    .doc = "What routes and the gateway as a whole decide by.",
    .keys = policies_keys,
    .bytes = sizeof(struct fg_raw_config),
    .example = "{rate_limits: {per-user: {rate: 10/s}}}",
};
