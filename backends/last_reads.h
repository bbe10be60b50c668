/*
 * last_reads.h: what backends read of their servers in a turn of the loop, and who of them goes
 * last in it.
 * Job      one budget for the servers of all backends; whoever policies/read_turn lets go last is
 *          called when everybody else's reads and answers are done, one of each owner after the
 *          other, while there is room in the turn.
 * Thread   the loop's. The gateway keeps the line (net/server_reads).
 * Memory   a place is part of what waits.
 */
#ifndef FG_BACKENDS_LAST_READS_H
#define FG_BACKENDS_LAST_READS_H

#include "policies/fair_turns.h"
#include "policies/read_turn.h"

/* In a line of those who go last. Zeroed: in none. */
struct fg_last_place {
    struct fg_fair_turn turn;
    bool is_taken;
    uint32_t next_round; /* the first one that it may have, in that period of the line's */
    uint32_t period;
};

/* Who waits. Zeroed but for `serve`: nobody. */
struct fg_last_read {
    struct fg_last_place place;
    /* Its turn has come, and it is in the line no more. It may do anything to it. */
    void (*serve)(struct fg_last_read *read);
};

/* Of one loop. */
struct fg_last_reads {
    struct fg_read_turn law; /* without a budget nobody goes last */
    /* Harmless when it is in the line. `owner` as for fg_fair_turns_add. */
    void (*add)(struct fg_last_reads *reads, struct fg_last_read *read, uint64_t owner);
    /* Harmless when it is not. */
    void (*remove)(struct fg_last_reads *reads, struct fg_last_read *read);
};

#endif
