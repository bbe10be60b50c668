/*
 * noload_latency.h: how long an answer takes when nothing waits at the backend, learned from live
 * traffic alone.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_NOLOAD_LATENCY_H
#define FG_POLICIES_NOLOAD_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

/* What one window of answers showed. */
struct fg_latency_window {
    double in_flight;  /* mean, as the answers saw it */
    double latency_ns; /* mean */
    double error;      /* standard error of that mean, as a share of it */
    bool has_demand;   /* somebody wanted a slot and got none, and half of them were in use */
    bool was_full;     /* ... and nearly all: in_flight is what the limit made it */
};

struct fg_noload_latency {
    double latency_ns; /* 0 before the first window */
    /* the point that the next cut is compared with */
    struct fg_latency_window before;
    uint32_t before_age;  /* windows since it was taken */
    uint32_t flat_in_row; /* cuts that latency did not follow */
};

void fg_noload_latency_init(struct fg_noload_latency *noload);

/* Learn from a window; returns the estimate in ns, never 0. */
double fg_noload_latency_learn(struct fg_noload_latency *noload,
                               const struct fg_latency_window *window);

#endif
