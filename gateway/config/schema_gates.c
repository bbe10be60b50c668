/*
 * schema_gates.c: the tables of the concurrency limit, the queue and the breaker before a backend.
 * The keys are the same everywhere, the defaults a backend's own: a disk, an unknown HTTP server, a
 * pipelined Redis and a language model bear very different loads.
 */
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define HOUR (3600 * S)
#define DAY (24 * HOUR)
#define GIB (UINT64_C(1) << 30)

static const struct fg_choice concurrency_kinds[] = {
    {"fixed", FG_CONCURRENCY_FIXED},
    {"gradient2", FG_CONCURRENCY_GRADIENT2},
    {"vegas", FG_CONCURRENCY_VEGAS},
    {"aimd", FG_CONCURRENCY_AIMD},
    {NULL, 0},
};

#define CONCURRENCY_KEYS(kind_text, limit_text, min_text, max_text, max_derived)                   \
    {                                                                                              \
        {.name = "kind",                                                                           \
         .type = FG_KEY_ENUM,                                                                      \
         .offset = AT(fg_concurrency_conf, kind),                                                  \
         .initial = kind_text,                                                                     \
         .choices = concurrency_kinds,                                                             \
         .doc =                                                                                    \
             "`fixed`; `gradient2` and `vegas` follow latency (in proportion, in small steps); "   \
             "`aimd` follows failures and time-outs."},                                            \
            {.name = "limit",                                                                      \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_concurrency_conf, limit),                                             \
             .initial = limit_text,                                                                \
             .min = 1,                                                                             \
             .max = 1000000,                                                                       \
             .doc = "Requests in flight; where an adaptive kind starts."},                         \
            {.name = "min",                                                                        \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_concurrency_conf, limit_min),                                         \
             .initial = min_text,                                                                  \
             .min = 1,                                                                             \
             .max = 1000000,                                                                       \
             .doc = "An adaptive kind never goes below."},                                         \
            {.name = "max",                                                                        \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_concurrency_conf, limit_max),                                         \
             .initial = max_text,                                                                  \
             .derived = max_derived,                                                               \
             .min = 1,                                                                             \
             .max = 1000000,                                                                       \
             .doc = "An adaptive kind never goes above."},                                         \
            {.name = "shadow",                                                                     \
             .type = FG_KEY_BOOL,                                                                  \
             .offset = AT(fg_concurrency_conf, is_shadow),                                         \
             .initial = "false",                                                                   \
             .doc = "Decide and count, but never act: `/stats` shows what it would have done."},   \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

/* Where requests ask for tokens of a model. */
#define TOKEN_KEYS(max_text, answer_initial, answer_derived)                                       \
    {.name = "tokens_max",                                                                         \
     .type = FG_KEY_U64,                                                                           \
     .offset = AT(fg_queue_conf, tokens_max),                                                      \
     .initial = max_text,                                                                          \
     .zero_word = "off",                                                                           \
     .min = 1,                                                                                     \
     .max = UINT64_C(1000000000000),                                                               \
     .doc = "Tokens that the requests that wait will take, together: a quarter of a body's bytes " \
            "for the prompt, and the answer's `max_tokens` times `n`."},                           \
        {.name = "tokens_answer",                                                                  \
         .type = FG_KEY_U64,                                                                       \
         .offset = AT(fg_queue_conf, tokens_answer),                                               \
         .initial = answer_initial,                                                                \
         .derived = answer_derived,                                                                \
         .min = 1,                                                                                 \
         .max = UINT64_C(1000000000),                                                              \
         .doc = "What `tokens_max` counts for an answer where the request says nothing, or has "   \
                "not yet."},                                                                       \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define NO_TOKEN_KEYS                                                                              \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#define QUEUE_KEYS(count_text, bytes_text, wait_text, target_text, interval_text, ageing_text,     \
                   last_keys)                                                                      \
    {                                                                                              \
        {.name = "requests_max",                                                                   \
         .type = FG_KEY_U32,                                                                       \
         .offset = AT(fg_queue_conf, requests_max),                                                \
         .initial = count_text,                                                                    \
         .zero_word = "off",                                                                       \
         .min = 1,                                                                                 \
         .max = 10000000,                                                                          \
         .doc = "Requests that wait for a slot; `off`: none waits."},                              \
            {.name = "bytes_max",                                                                  \
             .type = FG_KEY_SIZE,                                                                  \
             .offset = AT(fg_queue_conf, bytes_max),                                               \
             .initial = bytes_text,                                                                \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1024 * GIB,                                                                    \
             .doc = "Bodies of the requests that wait, together: the length that they declare, "   \
                    "or what of them has come. A longer one never waits."},                        \
            {.name = "wait_max",                                                                   \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_queue_conf, wait_max_ns),                                             \
             .initial = wait_text,                                                                 \
             .min = 1 * MS,                                                                        \
             .max = 1 * HOUR,                                                                      \
             .doc = "Longest wait; then 503. The request's own deadline may be shorter."},         \
            {.name = "target",                                                                     \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_queue_conf, target_ns),                                               \
             .initial = target_text,                                                               \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1 * HOUR,                                                                      \
             .doc = "Standing delay that is tolerated; above it the queue sheds (CoDel) and "      \
                    "serves the newest first."},                                                   \
            {.name = "interval",                                                                   \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_queue_conf, interval_ns),                                             \
             .initial = interval_text,                                                             \
             .min = 1 * MS,                                                                        \
             .max = 1 * HOUR,                                                                      \
             .doc = "Within this time the delay must once fall to `target`."},                     \
            {.name = "ageing",                                                                     \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_queue_conf, ageing_ns),                                               \
             .initial = ageing_text,                                                               \
             .zero_word = "off",                                                                   \
             .min = 1 * MS,                                                                        \
             .max = 1 * HOUR,                                                                      \
             .doc = "A request that has waited so long counts as one priority higher."},           \
            {.name = "shed_by_priority",                                                           \
             .type = FG_KEY_BOOL,                                                                  \
             .offset = AT(fg_queue_conf, shed_by_priority),                                        \
             .initial = "true",                                                                    \
             .doc = "While the wait is above `target`, refuse at once who would wait in vain: by " \
                    "priority, and within it the same users all through an hour."},                \
            {.name = "shadow",                                                                     \
             .type = FG_KEY_BOOL,                                                                  \
             .offset = AT(fg_queue_conf, is_shadow),                                               \
             .initial = "false",                                                                   \
             .doc = "Shed nobody and refuse nobody for a wait or a priority, but count whom it "   \
                    "would have refused. What may wait stays bounded."},                           \
            last_keys                                                                              \
    }

#define BREAKER_KEYS(enabled_text)                                                                 \
    {                                                                                              \
        {.name = "enabled",                                                                        \
         .type = FG_KEY_BOOL,                                                                      \
         .offset = AT(fg_breaker_conf, enabled),                                                   \
         .initial = enabled_text,                                                                  \
         .doc = "Stop calling a backend that keeps failing."},                                     \
            {.name = "consecutive_failures",                                                       \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_breaker_conf, consecutive_failures),                                  \
             .initial = "5",                                                                       \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1000000,                                                                       \
             .doc = "Opens after so many failures in a row; those of one instant are one."},       \
            {.name = "error_ratio",                                                                \
             .type = FG_KEY_PERMILLE,                                                              \
             .offset = AT(fg_breaker_conf, error_permille),                                        \
             .initial = "50%",                                                                     \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1000,                                                                          \
             .doc = "Opens when this share of the window's requests failed, at three instants at " \
                    "least."},                                                                     \
            {.name = "min_requests",                                                               \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_breaker_conf, min_requests),                                          \
             .initial = "20",                                                                      \
             .min = 1,                                                                             \
             .max = 1000000,                                                                       \
             .doc = "The ratios count once the window holds so many."},                            \
            {.name = "slow",                                                                       \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_breaker_conf, slow_ns),                                               \
             .initial = "off",                                                                     \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1 * HOUR,                                                                      \
             .doc = "A request whose answer takes so long to begin is slow, however it ends."},    \
            {.name = "slow_ratio",                                                                 \
             .type = FG_KEY_PERMILLE,                                                              \
             .offset = AT(fg_breaker_conf, slow_permille),                                         \
             .initial = "50%",                                                                     \
             .zero_word = "off",                                                                   \
             .min = 1,                                                                             \
             .max = 1000,                                                                          \
             .doc = "Opens when this share of the window's requests was slow, at three instants "  \
                    "at least."},                                                                  \
            {.name = "window",                                                                     \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_breaker_conf, window_ns),                                             \
             .initial = "10s",                                                                     \
             .min = 10 * MS,                                                                       \
             .max = 1 * HOUR,                                                                      \
             .doc = "Length of the rolling window."},                                              \
            {.name = "open",                                                                       \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_breaker_conf, open_ns),                                               \
             .initial = "1s",                                                                      \
             .min = 1 * MS,                                                                        \
             .max = 1 * HOUR,                                                                      \
             .doc = "How long it stays open at first; doubles at each relapse."},                  \
            {.name = "open_max",                                                                   \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_breaker_conf, open_max_ns),                                           \
             .initial = "30s",                                                                     \
             .min = 1 * MS,                                                                        \
             .max = 1 * DAY,                                                                       \
             .doc = "Longest time open."},                                                         \
            {.name = "half_open_probes",                                                           \
             .type = FG_KEY_U32,                                                                   \
             .offset = AT(fg_breaker_conf, half_open_probes),                                      \
             .initial = "3",                                                                       \
             .min = 1,                                                                             \
             .max = 1000,                                                                          \
             .doc = "Requests that try it then; so many successes close it."},                     \
            {.name = "half_open_interval",                                                         \
             .type = FG_KEY_DURATION,                                                              \
             .offset = AT(fg_breaker_conf, half_open_interval_ns),                                 \
             .initial = "100ms",                                                                   \
             .zero_word = "off",                                                                   \
             .takes_zero = true,                                                                   \
             .min = 1 * MS,                                                                        \
             .max = 1 * HOUR,                                                                      \
             .doc = "Time between two of them; each goes to the most important class that has "    \
                    "asked within this time."},                                                    \
            {.name = "shadow",                                                                     \
             .type = FG_KEY_BOOL,                                                                  \
             .offset = AT(fg_breaker_conf, is_shadow),                                             \
             .initial = "false",                                                                   \
             .doc = "Decide and count, but never act: `/stats` shows what it would have done."},   \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

#define RESERVE_KEYS(memory_text)                                                                  \
    {                                                                                              \
        {.name = "memory",                                                                         \
         .type = FG_KEY_PERMILLE,                                                                  \
         .offset = AT(fg_reserve_conf, memory_permille),                                           \
         .initial = memory_text,                                                                   \
         .zero_word = "off",                                                                       \
         .takes_zero = true,                                                                       \
         .min = 1,                                                                                 \
         .max = 900,                                                                               \
         .doc = "Share of `limits.request_memory_total_max` that is its requests' alone; all "     \
                "shares together at most 90%."},                                                   \
            {.name = "shadow",                                                                     \
             .type = FG_KEY_BOOL,                                                                  \
             .offset = AT(fg_reserve_conf, is_shadow),                                             \
             .initial = "false",                                                                   \
             .doc = "Keep nothing from others, but count whom it would have refused."},            \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

/* A disk behind a few helper threads: its own limit is the queue of their jobs. */
static const struct fg_key static_concurrency[] =
    CONCURRENCY_KEYS("fixed", "256", "1", "256", NULL);
static const struct fg_key static_queue[] =
    QUEUE_KEYS("1024", "64MiB", "2s", "50ms", "200ms", "1s", NO_TOKEN_KEYS);
/* A missing or unreadable file says nothing about the next one. */
static const struct fg_key static_breaker[] = BREAKER_KEYS("false");
static const struct fg_key other_reserve[] = RESERVE_KEYS("off");

/* Unknown HTTP servers: start where the smallest is at ease; it takes a few answers to grow. */
static const struct fg_key cluster_concurrency[] =
    CONCURRENCY_KEYS("gradient2", "4", "1", NULL, "`max_connections`");
static const struct fg_key cluster_queue[] =
    QUEUE_KEYS("1024", "256MiB", "2s", "20ms", "100ms", "1s", TOKEN_KEYS("off", "256", NULL));
static const struct fg_key cluster_breaker[] = BREAKER_KEYS("true");

/* Commands share a pipelined connection; open event streams hold a slot, hence the many. */
static const struct fg_key orders_concurrency[] =
    CONCURRENCY_KEYS("fixed", "2048", "64", "4096", NULL);
static const struct fg_key orders_queue[] =
    QUEUE_KEYS("4096", "64MiB", "2s", "20ms", "100ms", "1s", NO_TOKEN_KEYS);
static const struct fg_key orders_breaker[] = BREAKER_KEYS("true");
/* Orders are small: a head and a body of a few hundred bytes. 51 MiB of them are 6,500 at once. */
static const struct fg_key orders_reserve[] = RESERVE_KEYS("20%");

/* 2 workers x (8 running + 16 waiting): beyond that the gateway's queue orders by priority. */
static const struct fg_key inference_concurrency[] =
    CONCURRENCY_KEYS("fixed", "48", "2", "256", NULL);
static const struct fg_key inference_queue[] =
    QUEUE_KEYS("256", "64MiB", "10s", "500ms", "2s", "5s",
               TOKEN_KEYS("524288", NULL, "`inference.max_tokens_default`"));
static const struct fg_key inference_breaker[] = BREAKER_KEYS("true");

#define CONCURRENCY_TABLE(table_path, table_keys)                                                  \
    {                                                                                              \
        .path = table_path ".concurrency", .doc = "Most requests in flight to this backend.",      \
        .keys = table_keys, .bytes = sizeof(struct fg_concurrency_conf),                           \
        .example = "{kind: fixed, limit: 100}"                                                     \
    }
#define QUEUE_TABLE(table_path, table_keys)                                                        \
    {                                                                                              \
        .path = table_path ".queue",                                                               \
        .doc = "Where requests wait for a slot, the highest priority first.", .keys = table_keys,  \
        .bytes = sizeof(struct fg_queue_conf), .example = "{requests_max: 1024, wait_max: 2s}"     \
    }
#define BREAKER_TABLE(table_path, table_keys)                                                      \
    {                                                                                              \
        .path = table_path ".breaker",                                                             \
        .doc = "The circuit breaker of this backend: closed, open (503 at once), half-open.",      \
        .keys = table_keys, .bytes = sizeof(struct fg_breaker_conf),                               \
        .example = "{consecutive_failures: 5}"                                                     \
    }

#define RESERVE_TABLE(table_path, table_keys)                                                      \
    {                                                                                              \
        .path = table_path ".reserve",                                                             \
        .doc = "What of the shared memory is kept for this backend's requests, however many of "   \
               "the others' there are.",                                                           \
        .keys = table_keys, .bytes = sizeof(struct fg_reserve_conf), .shorthand = "memory",        \
        .example = "20%"                                                                           \
    }

const struct fg_table fg_tables_concurrency[] = {
    [FG_BACKEND_STATIC] = CONCURRENCY_TABLE("static.NAME", static_concurrency),
    [FG_BACKEND_CLUSTER] = CONCURRENCY_TABLE("clusters.NAME", cluster_concurrency),
    [FG_BACKEND_ORDERS] = CONCURRENCY_TABLE("orders", orders_concurrency),
    [FG_BACKEND_INFERENCE] = CONCURRENCY_TABLE("inference", inference_concurrency),
};

const struct fg_table fg_tables_queue[] = {
    [FG_BACKEND_STATIC] = QUEUE_TABLE("static.NAME", static_queue),
    [FG_BACKEND_CLUSTER] = QUEUE_TABLE("clusters.NAME", cluster_queue),
    [FG_BACKEND_ORDERS] = QUEUE_TABLE("orders", orders_queue),
    [FG_BACKEND_INFERENCE] = QUEUE_TABLE("inference", inference_queue),
};

const struct fg_table fg_tables_breaker[] = {
    [FG_BACKEND_STATIC] = BREAKER_TABLE("static.NAME", static_breaker),
    [FG_BACKEND_CLUSTER] = BREAKER_TABLE("clusters.NAME", cluster_breaker),
    [FG_BACKEND_ORDERS] = BREAKER_TABLE("orders", orders_breaker),
    [FG_BACKEND_INFERENCE] = BREAKER_TABLE("inference", inference_breaker),
};

const struct fg_table fg_tables_reserve[] = {
    [FG_BACKEND_STATIC] = RESERVE_TABLE("static.NAME", other_reserve),
    [FG_BACKEND_CLUSTER] = RESERVE_TABLE("clusters.NAME", other_reserve),
    [FG_BACKEND_ORDERS] = RESERVE_TABLE("orders", orders_reserve),
    [FG_BACKEND_INFERENCE] = RESERVE_TABLE("inference", other_reserve),
};

/* A route's own: a number that its owner means, and a queue as before a cluster. */
static const struct fg_key route_concurrency[] =
    CONCURRENCY_KEYS("fixed", "100", "1", "1000", NULL);
static const struct fg_key route_queue[] =
    QUEUE_KEYS("1024", "256MiB", "2s", "20ms", "100ms", "1s", TOKEN_KEYS("off", "256", NULL));

const struct fg_table fg_table_route_concurrency = {
    .path = "routes[].concurrency",
    .doc = "Most requests of this route between its own gate and the end of their answers; the "
           "backend's limit comes on top.",
    .keys = route_concurrency,
    .bytes = sizeof(struct fg_concurrency_conf),
    .example = "{limit: 20}",
};

const struct fg_table fg_table_route_queue = {
    .path = "routes[].queue",
    .doc = "Where requests wait for a slot of the route; needs `concurrency`.",
    .keys = route_queue,
    .bytes = sizeof(struct fg_queue_conf),
    .example = "{requests_max: 100, wait_max: 1s}",
};
