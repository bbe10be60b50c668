/*
 * turn_room.h: how much of a loop's turn those may have who go last in it.
 * Job      a turn is to take its budget; but who goes last is to be served under load as well.
 * Thread   any; pure.
 * Law      room while others + own + next <= budget, or own + next <= others / LEFT.
 */
#ifndef FG_POLICIES_TURN_ROOM_H
#define FG_POLICIES_TURN_ROOM_H

#include "policies/wide_math.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_TURN_LEFT 4u /* of the others' time, for those who go last: one part in so many */

/* Those who go last have taken `own_ns` so far, everybody else in this turn `others_ns`, and one
 * of them takes `next_ns`: is there room for it? */
static inline bool fg_turn_has_room(uint64_t budget_ns, uint64_t others_ns, uint64_t own_ns,
                                    uint64_t next_ns)
{
    uint64_t taken_ns = fg_add_saturating(own_ns, next_ns);
    return fg_add_saturating(taken_ns, others_ns) <= budget_ns ||
           taken_ns <= others_ns / FG_TURN_LEFT;
}

#endif
