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
    double error;      /* its standard error, as a share of it */
    /* Latency has only been seen to follow n: there may be less of it further down. */
    bool is_bound;
    bool was_judged; /* the last window was compared with one of another n */
    bool has_news;   /* the last window changed what is believed */
    /* the mean of the last windows, all at about one n, and a point at another n */
    struct fg_latency_window here;
    struct fg_latency_window before;
    uint32_t here_count; /* windows, a few at most; 0: there is none */
    uint32_t before_age; /* moves since */
    bool has_before;
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
