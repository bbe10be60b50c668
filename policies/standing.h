/*
 * standing.h: does a queue that stands get more than it gives, or does a burst drain from it?
 * Job      tell a flood from a burst. Of a burst all can be served: to refuse a part of it saves
 *          nobody any time and leaves slots empty that were paid for.
 * Thread   one owner at a time.
 * Law      excess = sum over the periods in which the queue stood of (arrived - served), from 0 up
 *          to twice the limit; the queue is fed while excess > limit = LIMIT_PERIODS x served in
 *          the period + LIMIT_LEAST. What came before it stood, the burst itself, does not count.
 *          Tenfold load is found out in the first such period, twice the load in six, 5 % too much
 *          in some seconds. While it is fed all periods count; in others the excess halves, and in
 *          one that was idle, nobody having waited for most of it, it is gone.
 *          It does not drain where it stood for LEVEL_PERIODS in a row and served LEVEL_SERVED,
 *          and as much came as that, but for a twentieth: a load of just what can be served, or a
 *          little more, of which chance makes idle periods before the excess tells it.
 * Source   ours, after Page's cumulative sum ("Continuous Inspection Schemes", 1954). CoDel (RFC
 *          8289) judges by delay alone and lets pass what drains within its interval, 100 ms: ample
 *          for packets, whose links empty a queue in less and whose senders slow down, but five
 *          requests of a backend with one thread and 20 ms.
 */
#ifndef FG_POLICIES_STANDING_H
#define FG_POLICIES_STANDING_H

#include "policies/wide_math.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_STANDING_LIMIT_PERIODS 5u /* half a second, where one is 100 ms */
#define FG_STANDING_LIMIT_LEAST 8u   /* of so few that are served a period, chance is most */
#define FG_STANDING_LEVEL_PERIODS 3u
#define FG_STANDING_LEVEL_SERVED 32u
#define FG_STANDING_LEVEL_PARTS 20u

/* Zeroed: nobody has come yet. */
struct fg_standing {
    uint64_t arrived; /* in this period, refused ones, too */
    uint64_t served;  /* ... those who left by themselves, too */
    uint64_t excess;  /* of the periods before it */
    bool is_fed;
    bool does_not_drain; /* a burst would */
    /* in the last periods, in all of which it stood */
    uint32_t stood_periods;
    uint64_t stood_arrived;
    uint64_t stood_served;
};

static inline void fg_standing_note_level(struct fg_standing *standing, bool has_stood)
{
    if (!has_stood) {
        standing->stood_periods = 0;
        standing->stood_arrived = 0;
        standing->stood_served = 0;
    } else if (standing->stood_periods < UINT32_MAX) {
        standing->stood_periods++;
        standing->stood_arrived = fg_add_saturating(standing->stood_arrived, standing->arrived);
        standing->stood_served = fg_add_saturating(standing->stood_served, standing->served);
    }
    uint64_t enough = standing->stood_served - standing->stood_served / FG_STANDING_LEVEL_PARTS;
    standing->does_not_drain = standing->stood_periods >= FG_STANDING_LEVEL_PERIODS &&
                               standing->stood_served >= FG_STANDING_LEVEL_SERVED &&
                               standing->stood_arrived >= enough;
}

/* The period is over: did somebody wait too long all the time, or nobody at all for most of it? */
static inline void fg_standing_end_period(struct fg_standing *standing, bool has_stood,
                                          bool was_idle)
{
    uint64_t limit =
        fg_add_saturating(FG_STANDING_LIMIT_LEAST,
                          fg_multiply_divide(standing->served, FG_STANDING_LIMIT_PERIODS, 1));
    uint64_t most = fg_add_saturating(limit, limit);
    if (was_idle)
        standing->excess = 0;
    else if (has_stood || standing->is_fed)
        standing->excess = fg_subtract_floor(fg_add_saturating(standing->excess, standing->arrived),
                                             standing->served);
    else
        standing->excess /= 2;
    if (standing->excess > most)
        standing->excess = most;
    standing->is_fed = standing->excess > limit;
    fg_standing_note_level(standing, has_stood);
    standing->arrived = 0;
    standing->served = 0;
}

#endif
