/*
 * overload.h: from what the process has in use to the steps it takes against running out.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_OVERLOAD_H
#define FG_POLICIES_OVERLOAD_H

#include "policies/priority.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_overload_resource {
    FG_OVERLOAD_MEMORY,   /* resident memory of the process */
    FG_OVERLOAD_FDS,      /* file descriptors */
    FG_OVERLOAD_LOOP_LAG, /* lateness of the event loops, a mean */
};
#define FG_OVERLOAD_RESOURCE_COUNT 3

/* From what nobody notices to what hurts. */
enum fg_overload_step {
    FG_OVERLOAD_STALE_CACHE,
    FG_OVERLOAD_STOP_KEEP_ALIVE,
    FG_OVERLOAD_SHED_LOW,
    FG_OVERLOAD_SHED_NORMAL, /* and low, whatever its own step says; likewise below */
    FG_OVERLOAD_SHED_HIGH,
    FG_OVERLOAD_REFUSE_CONNECTIONS,
};
#define FG_OVERLOAD_STEP_COUNT 6

/* A summary of the steps taken, for people. */
enum fg_overload_level {
    FG_OVERLOAD_NORMAL,   /* none */
    FG_OVERLOAD_ELEVATED, /* some */
    FG_OVERLOAD_HIGH,     /* normal requests are shed */
    FG_OVERLOAD_CRITICAL, /* high requests, or new connections, are refused */
};
#define FG_OVERLOAD_LEVEL_COUNT 4

/* When a step is taken for a resource, in permille of pressure. */
struct fg_overload_band {
    uint32_t enter_permille; /* at or above: taken; 0: never; at most 1000 */
    uint32_t leave_permille; /* below: given up; 1 to enter_permille */
};

struct fg_overload_config {
    struct fg_overload_band ladder[FG_OVERLOAD_RESOURCE_COUNT][FG_OVERLOAD_STEP_COUNT];
    uint32_t weight_permille[FG_OVERLOAD_RESOURCE_COUNT]; /* of a new sample in the mean, 1-1000 */
    uint64_t hold_ns;        /* how long pressure must stay below before a rung is given up */
    uint64_t retry_after_ns; /* told while low is shed; doubled for normal, again for high */
};

/* Used of what there is, in any unit; a limit of 0 means that the resource is not watched. */
struct fg_overload_use {
    uint64_t used;
    uint64_t limit;
};

struct fg_overload_sample {
    struct fg_overload_use of[FG_OVERLOAD_RESOURCE_COUNT];
};

struct fg_overload_state {
    uint32_t steps; /* taken for this resource, bits 1 << enum fg_overload_step */
    uint32_t pressure_permille;
    uint64_t mean_used;
    uint64_t quiet_since_ns; /* valid while a step is taken */
    /* counters */
    uint64_t refused_total;
    uint64_t entered_total[FG_OVERLOAD_STEP_COUNT];
};

struct fg_overload {
    struct fg_overload_config config;
    struct fg_overload_state resources[FG_OVERLOAD_RESOURCE_COUNT];
};

struct fg_overload_decision {
    bool is_admitted;
    enum fg_overload_resource reason; /* valid when refused */
    enum fg_overload_step step;       /* that refused it */
    uint64_t retry_after_ns;          /* valid when refused */
    uint32_t pressure_permille;       /* of the resource, valid when refused */
    uint32_t limit_permille;          /* from where on the step is taken */
};

struct fg_overload_config fg_overload_config_default(void);

void fg_overload_init(struct fg_overload *ov, const struct fg_overload_config *config);

/* Call it often (10 times a second): steps are taken at once and given up one rung at a time. */
void fg_overload_update(struct fg_overload *ov, uint64_t now_ns,
                        const struct fg_overload_sample *sample);

/* May a request of this class pass? Counts a refusal. Constant time. */
struct fg_overload_decision fg_overload_decide(struct fg_overload *ov, enum fg_priority priority);

/* All steps taken now, for any resource; bits 1 << enum fg_overload_step. */
uint32_t fg_overload_steps(const struct fg_overload *ov);

/* Do these steps refuse requests of some class? */
bool fg_overload_sheds(uint32_t steps);

enum fg_overload_level fg_overload_level_of(uint32_t steps);

/* Constant strings: "normal" ..., "memory" ..., "stale_cache" ... */
const char *fg_overload_level_name(enum fg_overload_level level);
const char *fg_overload_resource_name(enum fg_overload_resource resource);
const char *fg_overload_step_name(enum fg_overload_step step);

#endif
