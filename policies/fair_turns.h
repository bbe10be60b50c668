/*
 * fair_turns.h: whose turn it is among those who wait in one line, one of each owner a round.
 * Thread   one owner at a time. Turns are embedded in the caller's objects.
 */
#ifndef FG_POLICIES_FAIR_TURNS_H
#define FG_POLICIES_FAIR_TURNS_H

#include "policies/crowd.h"
#include "policies/deadline_heap.h"

#include <stdint.h>

#define FG_FAIR_ROUNDS 64u

struct fg_fair_turn {
    struct fg_deadline_node node; /* in the order of round, then arrival */
    uint64_t owner;               /* as for fg_crowd_add */
    uint32_t round;
};

/* Zeroed is empty. */
struct fg_fair_turns {
    struct fg_deadline_heap heap;
    struct fg_crowd owners; /* how many of each wait here */
    uint32_t by_round[FG_FAIR_ROUNDS];
    uint32_t count;
    uint32_t next_number; /* of arrival, since last nobody waited */
};

/* `turn` belongs to `turns` until it is removed. `owner` 0: nobody's, of whom any number is one. */
void fg_fair_turns_add(struct fg_fair_turns *turns, struct fg_fair_turn *turn, uint64_t owner);
/* The same for one that was served in the round before `round`, and has come back since. */
void fg_fair_turns_add_again(struct fg_fair_turns *turns, struct fg_fair_turn *turn, uint64_t owner,
                             uint32_t round);
/* `turn` is in `turns`. */
void fg_fair_turns_remove(struct fg_fair_turns *turns, struct fg_fair_turn *turn);

/* The one whose turn it is; NULL: nobody waits. */
struct fg_fair_turn *fg_fair_turns_first(const struct fg_fair_turns *turns);

/*
 * How many would be served before one of `owner` that came now, if nobody else did. Never too few;
 * too many by one in 64 of those that have their turn much later.
 */
uint32_t fg_fair_turns_ahead(const struct fg_fair_turns *turns, uint64_t owner);

#endif
