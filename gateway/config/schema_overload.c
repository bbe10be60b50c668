/*
 * schema_overload.c: the tables of policies.overload: limits of the resources, and for each the
 * ladder of steps.
 */
#include "config/raw.h"
#include "config/schema.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* One step of a resource's ladder; the row of the resource is the struct. */
#define STEP(step_name, step, band, what)                                                          \
    {                                                                                              \
        .name = step_name, .type = FG_KEY_BAND,                                                    \
        .offset = (uint32_t)((step) * sizeof(struct fg_overload_band)), .initial = band,           \
        .zero_word = "off", .min = 1, .max = 1000, .doc = what                                     \
    }

/* The defaults are those of fg_overload_config_default; a test compares them. */
#define LADDER(address_share, shrink_cache, shorten_idle, fewer_streams, stale_cache,              \
               stop_keep_alive, cap_tokens, resume_only, shed_low, shed_normal, shed_high,         \
               refuse_connections)                                                                 \
    {                                                                                              \
        STEP("address_share", FG_OVERLOAD_ADDRESS_SHARE, address_share,                            \
             "Accept nothing more from an address that holds more than `address_share_to`, and "   \
             "close what it has above it of connections that make no progress."),                  \
            STEP("shrink_cache", FG_OVERLOAD_SHRINK_CACHE, shrink_cache,                           \
                 "Let the cache hold a tenth less each second, down to a sixteenth of its "        \
                 "`memory_max`."),                                                                 \
            STEP("shorten_idle", FG_OVERLOAD_SHORTEN_IDLE, shorten_idle,                           \
                 "Close connections without a request after `shorten_idle_to` of "                 \
                 "`limits.idle_timeout`, and handshakes and heads that do not come to an end "     \
                 "likewise; open ones too."),                                                      \
            STEP("fewer_streams", FG_OVERLOAD_FEWER_STREAMS, fewer_streams,                        \
                 "Allow `fewer_streams_to` HTTP/2 streams a connection; open connections are "     \
                 "told."),                                                                         \
            STEP("stale_cache", FG_OVERLOAD_STALE_CACHE, stale_cache,                              \
                 "Give expired responses for `policies.cache.stale_under_pressure` longer, and "   \
                 "let no client ask past the cache."),                                             \
            STEP("stop_keep_alive", FG_OVERLOAD_STOP_KEEP_ALIVE, stop_keep_alive,                  \
                 "Close connections after their next response."),                                  \
            STEP("cap_tokens", FG_OVERLOAD_CAP_TOKENS, cap_tokens,                                 \
                 "Generate at most `cap_tokens_to` tokens for inference requests that begin."),    \
            STEP("resume_only", FG_OVERLOAD_RESUME_ONLY, resume_only,                              \
                 "Close TLS connections that do not resume a session, before any key is "          \
                 "computed."),                                                                     \
            STEP("shed_low", FG_OVERLOAD_SHED_LOW, shed_low,                                       \
                 "Refuse requests of priority `low`."),                                            \
            STEP("shed_normal", FG_OVERLOAD_SHED_NORMAL, shed_normal,                              \
                 "Refuse `normal` and `low`."),                                                    \
            STEP("shed_high", FG_OVERLOAD_SHED_HIGH, shed_high, "Refuse all but `critical`."),     \
            STEP("refuse_connections", FG_OVERLOAD_REFUSE_CONNECTIONS, refuse_connections,         \
                 "Close new connections at once; the admin listener's stay."),                     \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

static const struct fg_key memory_keys[] =
    LADDER("65%/55%", "60%/50%", "70%/60%", "75%/65%", "75%/65%", "80%/70%", "off", "85%/75%",
           "85%/75%", "92%/84%", "97%/90%", "97%/90%");
static const struct fg_key cgroup_memory_keys[] =
    LADDER("65%/55%", "60%/50%", "70%/60%", "75%/65%", "75%/65%", "80%/70%", "off", "85%/75%",
           "85%/75%", "92%/84%", "97%/90%", "97%/90%");
static const struct fg_key request_memory_keys[] =
    LADDER("65%/55%", "off", "off", "70%/60%", "75%/65%", "off", "off", "off", "85%/75%", "92%/84%",
           "97%/90%", "off");
static const struct fg_key fds_keys[] =
    LADDER("60%/50%", "off", "70%/60%", "off", "75%/65%", "80%/70%", "off", "off", "85%/75%",
           "92%/84%", "97%/90%", "95%/88%");
/* Who has a connection is not what is too much: no step sheds requests. */
static const struct fg_key connections_keys[] = LADDER(
    "60%/50%", "off", "75%/65%", "off", "off", "92%/85%", "off", "off", "off", "off", "off", "off");
static const struct fg_key loop_lag_keys[] =
    LADDER("off", "off", "off", "75%/65%", "75%/65%", "off", "off", "92%/84%", "85%/75%", "92%/84%",
           "97%/90%", "97%/90%");
static const struct fg_key handshakes_keys[] = LADDER(
    "40%/25%", "off", "50%/30%", "off", "off", "off", "off", "80%/60%", "off", "off", "off", "off");
/* What the kernel says of the machine is its neighbours' too: for who knows his machine. */
static const struct fg_key stall_keys[] =
    LADDER("off", "off", "off", "off", "off", "off", "off", "off", "off", "off", "off", "off");
static const struct fg_key redis_latency_keys[] = LADDER(
    "off", "off", "off", "off", "60%/40%", "off", "off", "off", "85%/60%", "off", "off", "off");
static const struct fg_key kv_blocks_keys[] = LADDER(
    "off", "off", "off", "off", "off", "off", "90%/75%", "off", "98%/90%", "off", "off", "off");

#define ROW_BYTES (FG_OVERLOAD_STEP_COUNT * sizeof(struct fg_overload_band))

static const struct fg_table memory_table = {
    .path = "policies.overload.memory",
    .doc = "When each step is taken for resident memory, in parts of `memory_max`: from the first "
           "percentage on, until it has been below the second for `hold`.",
    .keys = memory_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table cgroup_memory_table = {
    .path = "policies.overload.cgroup_memory",
    .doc = "The same for all memory of the control group (workers and an embedded Redis too), "
           "without the file cache that the kernel can take back, in parts of its limit "
           "(`memory.max` or `memory.high`; version 1 too).",
    .keys = cgroup_memory_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table request_memory_table = {
    .path = "policies.overload.request_memory",
    .doc = "The same for the memory of open requests, of the loop that has most, in parts of its "
           "share of `limits.request_memory_total_max`.",
    .keys = request_memory_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table fds_table = {
    .path = "policies.overload.fds",
    .doc = "The same for file descriptors, in parts of the process's limit.",
    .keys = fds_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table connections_table = {
    .path = "policies.overload.connections",
    .doc = "The same for client connections, of the loop that has most, in parts of its share of "
           "`limits.connections_max`.",
    .keys = connections_keys,
    .bytes = ROW_BYTES,
    .example = "{shorten_idle: 60%/50%}",
};

static const struct fg_table loop_lag_table = {
    .path = "policies.overload.loop_lag",
    .doc = "The same for the lateness of the slowest event loop, in parts of `loop_lag_max`. "
           "Closing connections would make it worse: each comes back with a handshake.",
    .keys = loop_lag_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table handshakes_table = {
    .path = "policies.overload.handshakes",
    .doc =
        "The same for TLS handshakes that have begun and not ended, in parts of `handshakes_max`.",
    .keys = handshakes_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table cpu_stall_table = {
    .path = "policies.overload.cpu_stall",
    .doc = "The same for the share of the last ten seconds in which some work of the control group "
           "(or of the machine) waited for a core, as the kernel says (`cpu.pressure`, "
           "`/proc/pressure/cpu`).",
    .keys = stall_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table memory_stall_table = {
    .path = "policies.overload.memory_stall",
    .doc = "The same for the share in which all work stood still for memory (`memory.pressure`).",
    .keys = stall_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 30%/15%}",
};

static const struct fg_table io_stall_table = {
    .path = "policies.overload.io_stall",
    .doc = "The same for the share in which all work stood still for a disk (`io.pressure`).",
    .keys = stall_keys,
    .bytes = ROW_BYTES,
    .example = "{stale_cache: 50%/30%}",
};

static const struct fg_table redis_latency_table = {
    .path = "policies.overload.redis_latency",
    .doc =
        "The same for how long commands of the order path take, in parts of `redis_latency_max`; "
        "an unreachable Redis is 100 %. Only requests to `orders` are shed for it.",
    .keys = redis_latency_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

static const struct fg_table kv_blocks_table = {
    .path = "policies.overload.kv_blocks",
    .doc = "The same for KV blocks of the inference arena that sequences hold. Only requests to "
           "`inference` are shed for it.",
    .keys = kv_blocks_keys,
    .bytes = ROW_BYTES,
    .example = "{shed_low: 85%/75%}",
};

#define RESOURCE(resource_name, resource, resource_table, what)                                    \
    {                                                                                              \
        .name = resource_name, .type = FG_KEY_OBJECT,                                              \
        .offset = AT(fg_overload_conf, ladder[resource]), .table = resource_table, .doc = what     \
    }

#define L(member) AT(fg_overload_conf, member)
static const struct fg_key overload_keys[] = {
    {.name = "memory_max",
     .type = FG_KEY_SIZE,
     .offset = L(memory_bytes_max),
     .initial = "auto",
     .zero_word = "auto",
     .min = 16 * MIB,
     .max = 1024 * 1024 * GIB,
     .doc = "Resident memory of the gateway process that counts as 100 %; `auto` is 80 % of what "
            "the control group or the machine has."},
    {.name = "loop_lag_max",
     .type = FG_KEY_DURATION,
     .offset = L(loop_lag_max_ns),
     .initial = "200ms",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "Lateness of an event loop that counts as 100 %."},
    {.name = "cgroup_root",
     .type = FG_KEY_PATH,
     .offset = L(cgroup_root),
     .initial = "/sys/fs/cgroup",
     .doc = "Where the control groups are mounted."},
    {.name = "handshakes_max",
     .type = FG_KEY_U32,
     .offset = L(handshakes_max),
     .initial = "auto",
     .zero_word = "auto",
     .min = 1,
     .max = 10000000,
     .doc = "TLS handshakes under way at once that count as 100 %; `auto` is a quarter of "
            "`limits.connections_max`."},
    {.name = "redis_latency_max",
     .type = FG_KEY_DURATION,
     .offset = L(redis_latency_max_ns),
     .initial = "500ms",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "Time of a command of the order path that counts as 100 %."},
    {.name = "address_share_to",
     .type = FG_KEY_PERMILLE,
     .offset = L(address_permille),
     .initial = "10%",
     .min = 1,
     .max = 1000,
     .doc = "What one address may hold under step `address_share`, of the connections that the "
            "process can have (`limits.connections_max`, or its descriptors where they are fewer); "
            "never fewer than 8. Addresses count as for `limits.connections_per_ip_max`."},
    {.name = "address_share_grace",
     .type = FG_KEY_DURATION,
     .offset = L(address_grace_ns),
     .initial = "1s",
     .min = 1 * MS,
     .max = 10 * MINUTE,
     .doc = "How long a connection must have made no progress for step `address_share` to close "
            "it."},
    {.name = "shorten_idle_to",
     .type = FG_KEY_PERMILLE,
     .offset = L(idle_permille),
     .initial = "20%",
     .min = 1,
     .max = 1000,
     .doc = "What step `shorten_idle` leaves of the time-outs."},
    {.name = "fewer_streams_to",
     .type = FG_KEY_U32,
     .offset = L(streams_max),
     .initial = "10",
     .min = 1,
     .max = 100000,
     .doc = "Streams a connection under step `fewer_streams`, if "
            "`limits.streams_per_connection_max` is not fewer."},
    {.name = "cap_tokens_to",
     .type = FG_KEY_U32,
     .offset = L(tokens_max),
     .initial = "512",
     .min = 1,
     .max = 1000000,
     .doc = "Most tokens of an answer under step `cap_tokens`. The client is told by the field "
            "`x-floodgate-max-tokens` and by `finish_reason: length`."},
    RESOURCE("memory", FG_OVERLOAD_MEMORY, &memory_table, "Steps for resident memory."),
    RESOURCE("cgroup_memory", FG_OVERLOAD_CGROUP_MEMORY, &cgroup_memory_table,
             "Steps for memory of the control group."),
    RESOURCE("request_memory", FG_OVERLOAD_REQUEST_MEMORY, &request_memory_table,
             "Steps for memory of open requests."),
    RESOURCE("fds", FG_OVERLOAD_FDS, &fds_table, "Steps for file descriptors."),
    RESOURCE("connections", FG_OVERLOAD_CONNECTIONS, &connections_table,
             "Steps for client connections."),
    RESOURCE("loop_lag", FG_OVERLOAD_LOOP_LAG, &loop_lag_table, "Steps for late event loops."),
    RESOURCE("handshakes", FG_OVERLOAD_HANDSHAKES, &handshakes_table, "Steps for TLS handshakes."),
    RESOURCE("cpu_stall", FG_OVERLOAD_CPU_STALL, &cpu_stall_table,
             "Steps for work that waits for a core."),
    RESOURCE("memory_stall", FG_OVERLOAD_MEMORY_STALL, &memory_stall_table,
             "Steps for work that stands still for memory."),
    RESOURCE("io_stall", FG_OVERLOAD_IO_STALL, &io_stall_table,
             "Steps for work that stands still for a disk."),
    RESOURCE("redis_latency", FG_OVERLOAD_REDIS_LATENCY, &redis_latency_table,
             "Steps for a slow order path."),
    RESOURCE("kv_blocks", FG_OVERLOAD_KV_BLOCKS, &kv_blocks_table, "Steps for a full KV arena."),
    {.name = "hold",
     .type = FG_KEY_DURATION,
     .offset = L(hold_ns),
     .initial = "1s",
     .min = 0,
     .max = 10 * MINUTE,
     .doc = "How long pressure must stay below a step's second percentage before it is given up; "
            "then as long again for the next lower one."},
    {.name = "interval",
     .type = FG_KEY_DURATION,
     .offset = L(interval_ns),
     .initial = "100ms",
     .min = 1 * MS,
     .max = 10 * S,
     .doc = "Time between two looks at the resources."},
    {.name = "shadow",
     .type = FG_KEY_BOOL,
     .offset = L(is_shadow),
     .initial = "false",
     .doc = "Decide and count, but never act: `/stats` shows what it would have done."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_overload = {
    .path = "policies.overload",
    .doc = "Protects the gateway itself. Each resource is watched by itself; the fuller it is, the "
           "more steps are taken, from the mildest to refusing requests (503) and connections.",
    .keys = overload_keys,
    .bytes = sizeof(struct fg_overload_conf),
    .example = "{memory_max: 1GiB}",
};
