/*
 * pressure_shared.h: the overload steps that are taken now, for whoever has to act on one.
 * Protocol  the sampler of the process writes `steps`, every loop reads it (relaxed: it is advice,
 *           and a moment's delay is nothing); whoever acts counts in `acted`, with an atomic add,
 *           as several loops may.
 */
#ifndef FG_BACKENDS_PRESSURE_SHARED_H
#define FG_BACKENDS_PRESSURE_SHARED_H

#include "base/counters_shared.h"
#include "policies/overload.h"

struct fg_pressure {
    struct fg_counter steps; /* bits 1 << enum fg_overload_step; 0 in shadow */
    struct fg_counter acted[FG_OVERLOAD_STEP_COUNT]; /* times that a step changed what was done */
    /* constants: what a step leaves */
    uint32_t address_permille;     /* of the process's connections, for one address, 1-1000 */
    uint32_t address_fds_permille; /* descriptors in use at which its step is taken; 0: never */
    uint64_t address_grace_ns;     /* a connection without progress is let be for so long */
    uint32_t idle_permille;        /* of time-outs, 1-1000 */
    uint32_t streams_max;          /* a connection */
    uint32_t tokens_max;           /* an answer */
};

/* Is the step taken? NULL: there is no pressure. Any thread. */
static inline bool fg_pressure_asks(const struct fg_pressure *pressure, enum fg_overload_step step)
{
    return pressure != NULL && (fg_counter_get(&pressure->steps) >> step & 1) != 0;
}

/* Are requests refused for overload? */
static inline bool fg_pressure_sheds(const struct fg_pressure *pressure)
{
    return pressure != NULL && fg_overload_sheds((uint32_t)fg_counter_get(&pressure->steps));
}

static inline void fg_pressure_acted(struct fg_pressure *pressure, enum fg_overload_step step)
{
    fg_counter_add(&pressure->acted[step], 1);
}

#endif
