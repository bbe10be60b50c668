/*
 * turn_clock.h: what time it is, asked of the system once a turn of the loop.
 * Job      a reading for waits of milliseconds and more, windows and deadlines: a request that goes
 *          to a server and comes back asks a dozen times. What is measured reads for itself.
 * Thread   the event loop whose turns are counted.
 * Never    goes back; it is at most a turn old. Without a count of turns every call reads.
 */
#ifndef FG_PROXY_TURN_CLOCK_H
#define FG_PROXY_TURN_CLOCK_H

#include "base/clock.h"

#include <stddef.h>

struct fg_turn_clock {
    const uint64_t *turn; /* the number of the loop's; NULL: nobody counts them */
    uint64_t read_in;     /* the turn of now_ns */
    uint64_t now_ns;      /* 0: never read */
};

static inline uint64_t fg_turn_clock_ns(struct fg_turn_clock *clock)
{
    uint64_t turn = clock->turn != NULL ? *clock->turn : 0;
    if (clock->turn == NULL || clock->now_ns == 0 || clock->read_in != turn) {
        clock->now_ns = fg_clock_monotonic_ns();
        clock->read_in = turn;
    }
    return clock->now_ns;
}

#endif
