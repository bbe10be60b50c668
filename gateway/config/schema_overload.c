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
#define LADDER(stale, keep_alive, low, normal, high, connections)                                  \
    {                                                                                              \
        STEP(                                                                                      \
            "stale_cache", FG_OVERLOAD_STALE_CACHE, stale,                                         \
            "Give expired responses for `policies.cache.stale_under_pressure` longer, and let no " \
            "client ask past the cache."),                                                         \
            STEP("stop_keep_alive", FG_OVERLOAD_STOP_KEEP_ALIVE, keep_alive,                       \
                 "Close connections after their next response."),                                  \
            STEP("shed_low", FG_OVERLOAD_SHED_LOW, low, "Refuse requests of priority `low`."),     \
            STEP("shed_normal", FG_OVERLOAD_SHED_NORMAL, normal, "Refuse `normal` and `low`."),    \
            STEP("shed_high", FG_OVERLOAD_SHED_HIGH, high, "Refuse all but `critical`."),          \
            STEP("refuse_connections", FG_OVERLOAD_REFUSE_CONNECTIONS, connections,                \
                 "Close new connections at once; the admin listener's stay."),                     \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

static const struct fg_key memory_keys[] =
    LADDER("75%/65%", "80%/70%", "85%/75%", "92%/84%", "97%/90%", "97%/90%");
static const struct fg_key fds_keys[] =
    LADDER("75%/65%", "80%/70%", "85%/75%", "92%/84%", "97%/90%", "95%/88%");
static const struct fg_key loop_lag_keys[] =
    LADDER("75%/65%", "off", "85%/75%", "92%/84%", "97%/90%", "97%/90%");

#define ROW_BYTES (FG_OVERLOAD_STEP_COUNT * sizeof(struct fg_overload_band))

static const struct fg_table memory_table = {
    .path = "policies.overload.memory",
    .doc = "When each step is taken for resident memory, in parts of `memory_max`: from the first "
           "percentage on, until it has been below the second for `hold`.",
    .keys = memory_keys,
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

static const struct fg_table loop_lag_table = {
    .path = "policies.overload.loop_lag",
    .doc = "The same for the lateness of the slowest event loop, in parts of `loop_lag_max`. "
           "Closing connections would make it worse: each comes back with a handshake.",
    .keys = loop_lag_keys,
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
    RESOURCE("memory", FG_OVERLOAD_MEMORY, &memory_table, "Steps for resident memory."),
    RESOURCE("fds", FG_OVERLOAD_FDS, &fds_table, "Steps for file descriptors."),
    RESOURCE("loop_lag", FG_OVERLOAD_LOOP_LAG, &loop_lag_table, "Steps for late event loops."),
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
