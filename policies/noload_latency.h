/*
 * noload_latency.h: how long an answer takes when nothing waits at the backend, and how many it
 * works on at a time, learned from live traffic alone.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_NOLOAD_LATENCY_H
#define FG_POLICIES_NOLOAD_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#define FG_NOLOAD_POINTS 34u /* half octaves from 1 to 100,000 in flight; more counts as that */

/* What one window of answers showed. */
struct fg_latency_window {
    double in_flight;  /* mean, as the answers saw it */
    double latency_ns; /* mean */
    double error;      /* standard error of that mean, as a share of it */
    bool has_demand;   /* somebody wanted a slot and got none, and half of them were in use */
    bool was_full;     /* ... and nearly all: in_flight is what the limit made it */
};

/* All windows at about one n. */
struct fg_noload_point {
    double weight; /* 1 / variance of the logarithm of the latency; below 1: forgotten */
    double log_in_flight;
    double log_latency;
};

struct fg_noload_latency {
    double latency_ns; /* 0 before the first window */
    double error;      /* its standard error, as a share of it */
    double slots;      /* worked on at a time; 0: not known */
    /* Latency has only been seen to follow n: there may be less of it further down. */
    bool is_bound;
    bool has_waited; /* for sure requests wait at the n of the last window: slots is known */
    bool was_far;    /* the last window may have been: two in a row are no luck */
    bool has_news;   /* the last window was of another backend than those before */
    struct fg_noload_point points[FG_NOLOAD_POINTS];
    struct fg_latency_window here; /* the last full windows at about the last one's n */
};

void fg_noload_latency_init(struct fg_noload_latency *noload);

/* Learn from a window; returns the estimate in ns, never 0. */
double fg_noload_latency_learn(struct fg_noload_latency *noload,
                               const struct fg_latency_window *window);

/*
 * After learning from `window`: the mean of all at about its n, or itself if it was not full. Valid
 * until the next one.
 */
const struct fg_latency_window *fg_noload_latency_here(const struct fg_noload_latency *noload,
                                                       const struct fg_latency_window *window);

#endif
