/*
 * overload.h: from what the process has in use to the steps it takes against running out.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_OVERLOAD_H
#define FG_POLICIES_OVERLOAD_H

#include "policies/askers.h"
#include "policies/priority.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_overload_resource {
    FG_OVERLOAD_MEMORY,         /* resident memory of the process */
    FG_OVERLOAD_CGROUP_MEMORY,  /* of the control group, without what the kernel can take back */
    FG_OVERLOAD_REQUEST_MEMORY, /* arenas of open requests */
    FG_OVERLOAD_FDS,            /* file descriptors */
    FG_OVERLOAD_CONNECTIONS,    /* of clients, on the loop that has most */
    FG_OVERLOAD_LOOP_LAG,       /* lateness of the event loops, a mean */
    FG_OVERLOAD_HANDSHAKES,     /* TLS handshakes begun and not ended */
    FG_OVERLOAD_CPU_STALL,      /* share of the time in which work waited for a core */
    FG_OVERLOAD_MEMORY_STALL,   /* ... in which all of it stood still for memory */
    FG_OVERLOAD_IO_STALL,       /* ... or for a disk */
    FG_OVERLOAD_REDIS_LATENCY,  /* of the order path's commands, a mean */
    FG_OVERLOAD_KV_BLOCKS,      /* of the inference arena, held by sequences */
};
#define FG_OVERLOAD_RESOURCE_COUNT 12

/*
 * What a request uses, bits 1 << resource: the process always, the last two if it goes there. It is
 * not shed for what it does not use.
 */
#define FG_OVERLOAD_USES_PROCESS ((UINT32_C(1) << FG_OVERLOAD_REDIS_LATENCY) - 1)
#define FG_OVERLOAD_USES_REDIS (UINT32_C(1) << FG_OVERLOAD_REDIS_LATENCY)
#define FG_OVERLOAD_USES_KV (UINT32_C(1) << FG_OVERLOAD_KV_BLOCKS)

/* From what nobody notices to what hurts. */
enum fg_overload_step {
    FG_OVERLOAD_ADDRESS_SHARE,   /* who holds more than its share gets no more, and loses some */
    FG_OVERLOAD_SHRINK_CACHE,    /* what is stored gives its memory back */
    FG_OVERLOAD_SHORTEN_IDLE,    /* timers of connections that are not at work */
    FG_OVERLOAD_FEWER_STREAMS,   /* of HTTP/2, a connection */
    FG_OVERLOAD_STALE_CACHE,     /* old responses are good enough */
    FG_OVERLOAD_STOP_KEEP_ALIVE, /* connections end with their next response */
    FG_OVERLOAD_CAP_TOKENS,      /* of new inference requests */
    FG_OVERLOAD_RESUME_ONLY,     /* of handshakes */
    FG_OVERLOAD_SHED_LOW,
    FG_OVERLOAD_SHED_NORMAL, /* and low, whatever its own step says; likewise below */
    FG_OVERLOAD_SHED_HIGH,
    FG_OVERLOAD_REFUSE_CONNECTIONS,
};
#define FG_OVERLOAD_STEP_COUNT 12

/* Those that refuse requests. */
#define FG_OVERLOAD_SHED_STEPS                                                                     \
    (UINT32_C(1) << FG_OVERLOAD_SHED_LOW | UINT32_C(1) << FG_OVERLOAD_SHED_NORMAL |                \
     UINT32_C(1) << FG_OVERLOAD_SHED_HIGH)

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

/* Used of what there is, in any unit; a limit of 0 means that the resource is not watched. More
 * than the limit counts as the limit: one freak sample weighs no more than a bad one. */
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
    struct fg_askers askers; /* while requests are shed for want of time */
    uint64_t flood_work;     /* to refuse those who ask for more than their part of all */
    uint64_t other_work;     /* to serve everybody else */
    struct fg_overload_state resources[FG_OVERLOAD_RESOURCE_COUNT];
};

struct fg_overload_decision {
    bool is_admitted;
    enum fg_overload_resource reason; /* that refuses it; of one admitted, the most pressed */
    enum fg_overload_step step;       /* valid when refused */
    uint64_t retry_after_ns;          /* valid when refused */
    uint32_t pressure_permille;       /* of the resource */
    uint32_t limit_permille;          /* where the step is taken; of one admitted, would be; 0: no
                                         step of the resource refuses this class */
};

struct fg_overload_config fg_overload_config_default(void);

void fg_overload_init(struct fg_overload *ov, const struct fg_overload_config *config);

/* Call it often (10 times a second): steps are taken at once and given up one rung at a time. */
void fg_overload_update(struct fg_overload *ov, uint64_t now_ns,
                        const struct fg_overload_sample *sample);

/* May a request of this class pass, which uses these resources? Counts a refusal. Constant time. */
struct fg_overload_decision fg_overload_decide(struct fg_overload *ov, enum fg_priority priority,
                                               uint32_t uses);
/*
 * The same for a request of `owner` (as for fg_crowd_add). Where it is time alone that is short,
 * and most of it goes to those who ask for more than a sixteenth of all each, or far more than
 * others, those are refused and others are not: to refuse them would give nobody any time.
 */
struct fg_overload_decision fg_overload_decide_for(struct fg_overload *ov,
                                                   enum fg_priority priority, uint32_t uses,
                                                   uint64_t owner);

/*
 * May `owner` have a new connection, or a full handshake, although `step`, which is taken, refuses
 * those? The same again: where it is taken for want of time alone. A request of his more, in this.
 */
bool fg_overload_spares(struct fg_overload *ov, enum fg_overload_step step, uint64_t owner);

/* All steps taken now, for any resource; bits 1 << enum fg_overload_step. */
uint32_t fg_overload_steps(const struct fg_overload *ov);
/* Likewise for these resources alone. */
uint32_t fg_overload_steps_for(const struct fg_overload *ov, uint32_t uses);

/* Do these steps refuse requests of some class? */
bool fg_overload_sheds(uint32_t steps);

enum fg_overload_level fg_overload_level_of(uint32_t steps);

/* Constant strings: "normal" ..., "memory" ..., "stale_cache" ... */
const char *fg_overload_level_name(enum fg_overload_level level);
const char *fg_overload_resource_name(enum fg_overload_resource resource);
/* As the policy that refused: "overload.memory" ... */
const char *fg_overload_policy_name(enum fg_overload_resource resource);
const char *fg_overload_step_name(enum fg_overload_step step);

#endif
