/*
 * last_line.h: those who go last in a turn of the loop: when all others are done, one of each owner
 * after the other, while there is room.
 * Job      keep who waits; serve one at least a turn, so that nobody waits for ever; have the next
 *          turn come at once for those who are left.
 * Thread   the loop's.
 *          Several lines of one loop have one share of a turn between them.
 * Memory   a place is part of what waits.
 */
#ifndef FG_NET_LAST_LINE_H
#define FG_NET_LAST_LINE_H

#include "backends/last_reads.h"
#include "net/loop.h"
#include "policies/fair_turns.h"

struct fg_last_line {
    struct fg_loop *loop;
    struct fg_last_share *share;
    uint64_t budget_ns; /* of a turn, for everybody: see policies/turn_room */
    void (*serve)(struct fg_last_place *place);
    struct fg_fair_turns turns;
    struct fg_deferred work;
    bool is_serving;
    uint32_t period;   /* how often it has been empty: rounds begin again then */
    uint64_t since_ns; /* what is taken from then on is of this turn; monotonic */
};

/* `serve` may do anything to its place, which is in no line by then; the line is zeroed before.
 * `share` is that of all lines of the loop. */
void fg_last_line_init(struct fg_last_line *line, struct fg_loop *loop, struct fg_last_share *share,
                       void (*serve)(struct fg_last_place *place));
/* Nobody waits in it. */
void fg_last_line_fini(struct fg_last_line *line);

/* Harmless when it is in the line. `owner` as for fg_fair_turns_add. */
void fg_last_line_add(struct fg_last_line *line, struct fg_last_place *place, uint64_t owner);
/* Harmless when it is not. */
void fg_last_line_remove(struct fg_last_line *line, struct fg_last_place *place);

#endif
