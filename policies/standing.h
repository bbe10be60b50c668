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
 *          It is steady where in so many periods it has never become longer, with those who are
 *          being served, than by STEADY_LEAST and half the root of what was served in the last ten
 *          (chance alone is likely to make it longer than that): those who wait come again once
 *          they are answered, and whoever of them is refused comes sooner. A load in a closed loop
 *          can never be more than is served, so that it is not in its nature to be a flood.
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
#define FG_STANDING_STEADY_LEAST 8u /* several come with one read of a connection */
#define FG_STANDING_STEADY_PARTS 4u
#define FG_STANDING_STEADY_PERIODS 10u

/* Zeroed: nobody has come yet. */
struct fg_standing {
    uint64_t arrived; /* in this period, refused ones, too */
    uint64_t served;  /* ... those who left by themselves, too */
    uint64_t excess;  /* of the periods before it */
    bool is_fed;
    bool does_not_drain; /* a burst would */
    bool is_steady;      /* as long as it was, or shorter */
    /* in the last periods, in all of which it stood */
    uint32_t stood_periods;
    uint64_t stood_arrived;
    uint64_t stood_served;
    uint64_t slots_before; /* taken when it began to stand */
    uint64_t stood_above;  /* by how many more were here, waiting or being served, at most */
};

/* Chance would have made it longer in that time, or in the last periods of it. */
static inline bool fg_standing_has_its_length(const struct fg_standing *standing)
{
    uint64_t grown = fg_subtract_floor(standing->stood_above, FG_STANDING_STEADY_LEAST);
    uint64_t served = standing->stood_served;
    if (standing->stood_periods > FG_STANDING_STEADY_PERIODS)
        served = fg_multiply_divide(served, FG_STANDING_STEADY_PERIODS, standing->stood_periods);
    return fg_multiply_divide(grown, grown, 1) <= served / FG_STANDING_STEADY_PARTS;
}

static inline void fg_standing_note_level(struct fg_standing *standing, bool has_stood,
                                          uint64_t slots_taken)
{
    if (!has_stood) {
        standing->stood_periods = 0;
        standing->stood_arrived = 0;
        standing->stood_served = 0;
        standing->slots_before = slots_taken;
        standing->stood_above = 0;
    } else if (standing->stood_periods < UINT32_MAX) {
        standing->stood_periods++;
        standing->stood_arrived = fg_add_saturating(standing->stood_arrived, standing->arrived);
        standing->stood_served = fg_add_saturating(standing->stood_served, standing->served);
        uint64_t above =
            fg_subtract_floor(fg_add_saturating(standing->stood_arrived, slots_taken),
                              fg_add_saturating(standing->stood_served, standing->slots_before));
        if (above > standing->stood_above)
            standing->stood_above = above;
    }
    standing->is_steady = standing->stood_periods >= FG_STANDING_LEVEL_PERIODS &&
                          fg_standing_has_its_length(standing);
    uint64_t enough = standing->stood_served - standing->stood_served / FG_STANDING_LEVEL_PARTS;
    standing->does_not_drain =
        !standing->is_steady && standing->stood_periods >= FG_STANDING_LEVEL_PERIODS &&
        standing->stood_served >= FG_STANDING_LEVEL_SERVED && standing->stood_arrived >= enough;
}

/* The period is over: did somebody wait too long all the time, or nobody at all for most of it?
 * `slots_taken` now, by those who have been served from the queue or passed it by. */
static inline void fg_standing_end_period(struct fg_standing *standing, bool has_stood,
                                          bool was_idle, uint64_t slots_taken)
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
    fg_standing_note_level(standing, has_stood, slots_taken);
    standing->arrived = 0;
    standing->served = 0;
}

#endif
