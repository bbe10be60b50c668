/*
 * overload.h: from memory, file descriptors and loop lag to one level, and who is refused at it.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_OVERLOAD_H
#define FG_POLICIES_OVERLOAD_H

#include "policies/priority.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_overload_level {
    FG_OVERLOAD_NORMAL,
    FG_OVERLOAD_ELEVATED, /* no keep-alive on new responses; low is refused */
    FG_OVERLOAD_HIGH,     /* normal is refused too */
    FG_OVERLOAD_CRITICAL, /* only critical passes; no new connections */
};
#define FG_OVERLOAD_LEVEL_COUNT 4

enum fg_overload_resource {
    FG_OVERLOAD_MEMORY,
    FG_OVERLOAD_FDS,
    FG_OVERLOAD_LOOP_LAG,
};
#define FG_OVERLOAD_RESOURCE_COUNT 3

/* Entry i of enter and leave is for level i + 1 (ELEVATED first), in permille of pressure. */
struct fg_overload_config {
    uint32_t enter_permille[FG_OVERLOAD_LEVEL_COUNT - 1]; /* rising, 1-1000 */
    uint32_t leave_permille[FG_OVERLOAD_LEVEL_COUNT - 1]; /* each below its enter */
    uint64_t hold_ns;                  /* shortest stay at a level before going down one */
    uint64_t loop_lag_limit_ns;        /* this lag is pressure 1000; 0: not watched */
    uint32_t loop_lag_weight_permille; /* weight of a new sample in the mean, 1-1000 */
    uint64_t retry_after_ns;           /* told at ELEVATED; doubled at HIGH, again at CRITICAL */
};

/* A limit of 0 means that the resource is not watched. */
struct fg_overload_sample {
    uint64_t memory_bytes;
    uint64_t memory_limit_bytes;
    uint64_t fds;
    uint64_t fds_limit;
    uint64_t loop_lag_ns;
};

struct fg_overload {
    struct fg_overload_config config;
    /* state */
    enum fg_overload_level level;
    enum fg_overload_resource reason; /* the worst resource; valid above NORMAL */
    uint64_t level_since_ns;
    uint64_t loop_lag_mean_ns;
    uint32_t pressure_permille[FG_OVERLOAD_RESOURCE_COUNT]; /* 0-1000, by resource */
    /* counters */
    uint64_t refused_total[FG_OVERLOAD_RESOURCE_COUNT];
    uint64_t raised_total; /* times that the level went up */
};

struct fg_overload_decision {
    bool is_admitted;
    enum fg_overload_resource reason; /* valid when refused */
    uint64_t retry_after_ns;          /* valid when refused */
    uint32_t pressure_permille;       /* of the resource, valid when refused */
    uint32_t limit_permille;          /* from where on this class is refused */
};

struct fg_overload_config fg_overload_config_default(void);

void fg_overload_init(struct fg_overload *ov, const struct fg_overload_config *config,
                      uint64_t now_ns);

/* Call it often (10 times a second): the level goes up at once, down a step at a time. */
enum fg_overload_level fg_overload_update(struct fg_overload *ov, uint64_t now_ns,
                                          const struct fg_overload_sample *sample);

struct fg_overload_decision fg_overload_decide(struct fg_overload *ov, enum fg_priority priority);

/* False at CRITICAL: stop accepting. */
bool fg_overload_accepts_connections(const struct fg_overload *ov);

/* False from ELEVATED on: answer with "connection: close" (h1) or GOAWAY when idle (h2). */
bool fg_overload_keeps_alive(const struct fg_overload *ov);

/* Constant strings: "normal" ... and "memory", "fds", "loop_lag". */
const char *fg_overload_level_name(enum fg_overload_level level);
const char *fg_overload_resource_name(enum fg_overload_resource resource);

#endif
