/*
 * concurrency_limit.h: how many requests may be in flight to one backend, fixed or found out.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_CONCURRENCY_LIMIT_H
#define FG_POLICIES_CONCURRENCY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum fg_concurrency_mode {
    FG_CONCURRENCY_FIXED,
    FG_CONCURRENCY_GRADIENT2, /* follows latency */
    FG_CONCURRENCY_AIMD,      /* follows failures and time-outs */
};

enum fg_concurrency_outcome {
    FG_CONCURRENCY_SUCCESS,
    FG_CONCURRENCY_DROPPED, /* refused, timed out or failed for overload at the backend */
    FG_CONCURRENCY_IGNORED, /* says nothing: cancelled by the client, broken for another reason */
};

struct fg_concurrency_config {
    enum fg_concurrency_mode mode;
    uint32_t limit_initial; /* FIXED uses only this; within min and max otherwise */
    uint32_t limit_min;     /* at least 1 */
    uint32_t limit_max;
    uint32_t window_samples_min; /* a window with fewer results goes on */
    uint64_t window_ns;          /* how often the limit is worked out */
    uint64_t latency_min_ns;     /* faster results are noise and not sampled */
    uint64_t latency_max_ns;     /* AIMD: slower counts as dropped */
    uint32_t tolerance_permille; /* GRADIENT2: latency growth let pass, 1000 and up */
    uint32_t smoothing_permille; /* GRADIENT2: weight of the new limit, 1-1000 */
    uint32_t queue_size;         /* GRADIENT2: growth a window while latency is flat */
    uint32_t long_window;        /* GRADIENT2: samples in the long-term mean, at least 1 */
    uint32_t backoff_permille;   /* after drops: AIMD every time, GRADIENT2 at 1 in 10 */
};

struct fg_concurrency_limit {
    struct fg_concurrency_config config;
    /* state */
    double limit;        /* its floor is what counts */
    double long_ns;      /* long-term mean latency, 0 before the first window */
    uint32_t long_count; /* windows in it, while warming up */
    uint32_t in_flight;
    /* the window that is being filled */
    uint64_t window_ends_ns; /* 0: no window is open */
    double window_sum_ns;
    uint32_t window_samples;
    uint32_t window_drops;
    uint32_t window_in_flight_max;
    /* counters */
    uint64_t acquired_total;
    uint64_t refused_total;
};

/* Defaults, explained in concurrency_limit.c: 20 slots, 20 to 200; FIXED: 100. */
struct fg_concurrency_config fg_concurrency_limit_config_default(enum fg_concurrency_mode mode);

void fg_concurrency_limit_init(struct fg_concurrency_limit *cl,
                               const struct fg_concurrency_config *config);

/* True: one slot is the caller's until fg_concurrency_limit_release(). */
bool fg_concurrency_limit_try_acquire(struct fg_concurrency_limit *cl);

/* Give a slot back; `latency_ns` is the backend's own time, without waiting in our queue. */
void fg_concurrency_limit_release(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                  uint64_t latency_ns, enum fg_concurrency_outcome outcome);

uint32_t fg_concurrency_limit_current(const struct fg_concurrency_limit *cl);
uint32_t fg_concurrency_limit_in_flight(const struct fg_concurrency_limit *cl);

#endif
