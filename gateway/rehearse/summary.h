/*
 * summary.h: what a tally means: what bit first, when it was bad, how fast it was well again.
 * Thread   any; pure functions over a tally that no longer changes.
 */
#ifndef FG_REHEARSE_SUMMARY_H
#define FG_REHEARSE_SUMMARY_H

#include "rehearse/tally.h"

/* One sort of trouble on one route. */
struct fg_bite {
    uint64_t first_ns;
    size_t route;
    const char *what; /* "rate_limit", "late": a refusal's or an outcome's name */
    bool is_refusal;
    uint64_t count;
};

#define FG_BITES_MAX 4096

/* In the order in which they began; the waiting room among them. Returns how many. */
size_t fg_summary_bites(const struct fg_tally *tally, struct fg_bite bites[FG_BITES_MAX]);

/* What all routes of one priority came to. */
struct fg_class_sum {
    uint64_t ended; /* answered in some way; places in line aside */
    uint64_t outcomes[FG_OUTCOME_COUNT];
};

struct fg_class_sum fg_summary_class(const struct fg_tally *tally, const struct fg_config *config,
                                     enum fg_priority priority);

/* Times in ns since the start; all 0 when there was no flood. */
struct fg_flood {
    bool is_there;
    double peak_demand_per_s; /* requests that wanted to go to the backend */
    double peak_done_per_s;   /* its best stretch: taken as what it can do */
    uint64_t begins_ns;       /* more was wanted than it can do */
    uint64_t ends_ns;
    uint64_t normal_ns; /* from here on 99 % of what was asked succeeded again */
    bool is_normal;     /* false: not before the end */
};

/* Of one backend; the resolution is a stretch of the tally. */
struct fg_flood fg_summary_flood(const struct fg_tally *tally, const struct fg_config *config,
                                 size_t backend);

/* Good answers a second of the routes that lead to `backend` in a stretch of time. */
double fg_summary_good_per_s(const struct fg_tally *tally, const struct fg_config *config,
                             size_t backend, size_t bucket);

#endif
