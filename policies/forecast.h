/*
 * forecast.h: how far off the times have been that people in a line were told.
 * Thread   one owner at a time. No heap: the struct is all there is.
 */
#ifndef FG_POLICIES_FORECAST_H
#define FG_POLICIES_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#define FG_FORECAST_RANGES 5 /* of times: from 10 s, 40 s, 160 s, 640 s, and 2560 s on */
#define FG_FORECASTS 8       /* that are remembered of each */

/* What somebody was told. */
struct fg_forecast_told {
    uint64_t place; /* its place in the order of turns */
    uint64_t at_ns;
    uint64_t eta_ns;
};

/* Times of one range. */
struct fg_forecast_range {
    struct fg_forecast_told told[FG_FORECASTS]; /* those that have not come yet */
    uint32_t told_count;
    uint32_t off_count;
    uint32_t off_next;
    uint64_t told_ns;         /* when the newest of them was told */
    double off[FG_FORECASTS]; /* of those that have, in parts of what was told; a ring */
    double share;             /* few were off by more */
};

/* Zeroes: nothing has been told yet. */
struct fg_forecast {
    struct fg_forecast_range ranges[FG_FORECAST_RANGES];
    uint64_t settled_ns;
    uint64_t learns_until_ns; /* before it nothing is known for sure */
    bool is_unsteady;         /* the pace was being found when this began */
};

/* Somebody whose turn is at `place` was told to wait for eta_ns. Most are not remembered. */
void fg_forecast_tell(struct fg_forecast *forecast, uint64_t place, uint64_t eta_ns,
                      uint64_t now_ns);

/* All before `head` had their turn by now. */
void fg_forecast_settle(struct fg_forecast *forecast, uint64_t head, uint64_t now_ns);

/* The line begins, or goes at another pace from now on: what was told before proves nothing, and
 * not all of what people do has shown before `learns_until_ns`. is_unsteady: the pace is being
 * found. */
void fg_forecast_restart(struct fg_forecast *forecast, uint64_t learns_until_ns, bool is_unsteady);

/* How far off an estimate of eta_ns may be: nine in ten should not be farther. */
uint64_t fg_forecast_error_ns(const struct fg_forecast *forecast, uint64_t eta_ns);

#endif
