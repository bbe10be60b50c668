/*
 * pressure_shared.h: the overload steps that are taken now, for whoever has to act on one.
 * Protocol  the sampler of the process writes `steps`, every loop reads it (relaxed: it is advice,
 *           and a moment's delay is nothing); whoever acts counts in `acted`, with an atomic add,
 *           as several loops may. `newest_fd` is written by whoever opens a descriptor, and by the
 *           sampler, which counts them: the lowest number is given out first, so that it says how
 *           many are in use before the next sample does.
 */
#ifndef FG_BACKENDS_PRESSURE_SHARED_H
#define FG_BACKENDS_PRESSURE_SHARED_H

#include "base/counters_shared.h"
#include "base/span.h"
#include "policies/overload.h"

struct fg_pressure {
    struct fg_counter steps; /* bits 1 << enum fg_overload_step; 0 in shadow */
    struct fg_counter acted[FG_OVERLOAD_STEP_COUNT]; /* times that a step changed what was done */
    /* constants: what a step leaves */
    uint32_t address_permille; /* of the process's connections, for one address, 1-1000 */
    uint64_t fds_mark;         /* descriptors in use that will bring its step; 0: none */
    uint32_t connections_mark; /* permille of a loop's connections that will; 0: none */
    uint64_t address_grace_ns; /* a connection without progress is let be for so long */
    uint32_t idle_permille;    /* of time-outs, 1-1000 */
    uint32_t streams_max;      /* a connection */
    uint32_t tokens_max;       /* an answer */
    /* Is this client let in although the step refuses all? Any thread; NULL: nobody is. */
    bool (*spares)(struct fg_pressure *pressure, enum fg_overload_step step,
                   struct fg_span client_addr);
    /* far from `steps`, which every loop reads all the time */
    struct fg_counter newest_fd;
};

/* Is the step taken? NULL: there is no pressure. Any thread. */
static inline bool fg_pressure_asks(const struct fg_pressure *pressure, enum fg_overload_step step)
{
    return pressure != NULL && (fg_counter_get(&pressure->steps) >> step & 1) != 0;
}

/* A descriptor was opened. Any thread. */
static inline void fg_pressure_note_fd(struct fg_pressure *pressure, int fd)
{
    if (pressure != NULL)
        fg_counter_set(&pressure->newest_fd, (uint64_t)fd);
}

/* Is the process short of descriptors or memory, or will the next sample say so? */
static inline bool fg_pressure_is_short(const struct fg_pressure *pressure)
{
    return pressure != NULL &&
           (fg_pressure_asks(pressure, FG_OVERLOAD_ADDRESS_SHARE) ||
            (pressure->fds_mark > 0 && fg_counter_get(&pressure->newest_fd) >= pressure->fds_mark));
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

/*
 * Does the step, which concerns newcomers, refuse this one? Counts it. `client_addr` is empty where
 * it is not the client's own. Takes a lock for a moment, if the step is taken.
 */
static inline bool fg_pressure_refuses(struct fg_pressure *pressure, enum fg_overload_step step,
                                       struct fg_span client_addr)
{
    if (!fg_pressure_asks(pressure, step) ||
        (pressure->spares != NULL && pressure->spares(pressure, step, client_addr)))
        return false;
    fg_pressure_acted(pressure, step);
    return true;
}

#endif
