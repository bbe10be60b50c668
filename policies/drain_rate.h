/*
 * drain_rate.h: how fast a line gets shorter, measured, and what that says about a place in it.
 * Thread   one owner at a time. Plain data: may lie in memory that processes share.
 */
#ifndef FG_POLICIES_DRAIN_RATE_H
#define FG_POLICIES_DRAIN_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct fg_drain_rate {
    uint64_t interval_ns; /* one measurement; at least 1 */
    uint64_t started_ns;  /* of the present interval */
    uint64_t admitted;    /* in it */
    uint64_t left;        /* gave up in it */
    bool is_spoiled;      /* the line was empty in it: it could have admitted more */
    double mean;          /* admitted in an interval */
    double variance;      /* of one interval */
    double leaving;       /* share of those in line that give up in an interval */
};

/* Expects `expected` people an interval until it has measured for itself. */
void fg_drain_rate_init(struct fg_drain_rate *rate, double expected, uint64_t interval_ns,
                        uint64_t now_ns);

/* What has happened since the last call, and how many wait now. */
void fg_drain_rate_note(struct fg_drain_rate *rate, uint64_t admitted, uint64_t left,
                        uint64_t waiting, uint64_t now_ns);

struct fg_drain_estimate {
    uint64_t eta_ns;   /* UINT64_MAX: the line does not move */
    uint64_t error_ns; /* two standard deviations; UINT64_MAX with eta_ns */
};

/* When will so many be gone, who are `people` give or take `people_error`? */
struct fg_drain_estimate fg_drain_rate_estimate(const struct fg_drain_rate *rate, double people,
                                                double people_error);

/* Admitted, without those who gave up. */
double fg_drain_rate_per_s(const struct fg_drain_rate *rate);

#endif
