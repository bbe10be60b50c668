/*
 * concurrency_limit.h: how many requests may be in flight to one backend, fixed or found out.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_CONCURRENCY_LIMIT_H
#define FG_POLICIES_CONCURRENCY_LIMIT_H

#include "policies/noload_latency.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_concurrency_mode {
    FG_CONCURRENCY_FIXED,
    FG_CONCURRENCY_GRADIENT2, /* follows latency, in proportion */
    FG_CONCURRENCY_VEGAS,     /* follows latency, in small steps */
    FG_CONCURRENCY_AIMD,      /* follows failures and time-outs */
};

enum fg_concurrency_outcome {
    FG_CONCURRENCY_SUCCESS,
    FG_CONCURRENCY_DROPPED,   /* refused, timed out or failed for overload at the backend */
    FG_CONCURRENCY_CUT_SHORT, /* its client did not wait for the end: it takes that long at least */
    FG_CONCURRENCY_IGNORED,   /* says nothing: no call was made, or it failed for another reason */
};

struct fg_concurrency_config {
    enum fg_concurrency_mode mode;
    uint32_t limit_initial; /* FIXED uses only this; within min and max otherwise */
    uint32_t limit_min;     /* at least 1 */
    uint32_t limit_max;
    uint32_t window_samples_min; /* a window with fewer results goes on */
    uint32_t window_samples_max; /* one with so many ends, however uneven they are */
    uint64_t window_max_ns;      /* one that took so long ends once it has samples_min */
    uint64_t latency_max_ns;     /* AIMD: slower counts as dropped */
    uint32_t tolerance_permille; /* GRADIENT2: latency over no-load that is let pass, 1000 and up */
    uint32_t backoff_permille;   /* after drops: AIMD every time, the others at 1 in 10 */
    bool is_shadow;              /* hands out slots above the limit too, and counts them */
    uint32_t probe_windows; /* busy windows between two looks at the no-load latency; 0: none */
};

struct fg_concurrency_limit {
    struct fg_concurrency_config config;
    /* state */
    double limit; /* rounded, it is what counts */
    uint32_t in_flight;
    struct fg_noload_latency noload;
    bool is_starting;            /* nothing is known of the backend yet: the limit is doubled */
    bool was_idle;               /* the last window kept nobody waiting */
    bool had_drop;               /* ever: AIMD has found where they begin */
    bool was_abandoned;          /* AIMD was cut since clients left; no answers since */
    double doubled_to;           /* AIMD: so far after that, then one by one; 0: as at the start */
    uint32_t windows_to_look;    /* 0: not planned */
    uint32_t windows_unverified; /* in a row that did not show that requests wait */
    bool is_looking;             /* this window looks at the no-load latency */
    bool was_look_above;         /* the last one was at more in flight */
    double look_from;            /* the limit to go back to */
    double look_error;           /* how well its latency has to be known */
    bool is_growing;             /* the last window raised the limit by a fifth or more */
    double mean_ns;              /* latency of the last window */
    double spread; /* of service times in recent windows: variance over squared mean */
    /* the window that is being filled */
    uint64_t window_started_ns; /* 0: no window is open */
    uint32_t unsettled;         /* results to come that tell of the limit before */
    double window_limit;        /* the limit that it began with */
    double window_sum_ns;
    double window_squares; /* of latencies, for how well the mean is known */
    uint64_t window_in_flight_sum;
    uint32_t window_samples;
    uint32_t window_drops;
    uint32_t window_cut_short;
    uint32_t window_slow; /* answers that took longer than latency_max_ns */
    bool was_limited;     /* somebody wanted a slot and got none */
    /* the ramp, for what windows are too slow to tell */
    bool is_ramping;     /* a slot more for each answer that is about as quick as the first ones */
    double usual_ns;     /* latency of late, smoothed */
    double first_sum_ns; /* of the first answers since half of the slots came into use, */
    uint32_t first_count;
    uint64_t busy_since_ns; /* when the first of these came, and how many came since */
    uint32_t busy_count;
    uint64_t shown_since_ns; /* quick answers are counted since, for as long as one takes, */
    uint32_t shown_count;
    uint32_t shown_last;     /* ... and were so the last time: so many were worked on at once */
    bool is_much_held;       /* most slots, by others than those who have answers in between */
    uint64_t share_since_ns; /* of answers, of late: when it was begun to count them, */
    uint32_t share_count;
    uint64_t share_in_flight_sum;
    uint64_t held_since_ns; /* no result came since; 0: nobody was seen to wait, or one was free */
    uint64_t held_results;  /* results_total then */
    uint64_t held_released; /* released_total then: more, and slots went from hand to hand */
    uint64_t waited_since_ns; /* somebody always waited since; 0: nobody was seen to */
    uint64_t grown_at_ns;     /* those who wait had the limit raised; 0: never */
    /* counters */
    uint64_t acquired_total;
    uint64_t released_total;
    uint64_t results_total; /* ... with a result that is not ignored */
    uint64_t refused_total; /* in shadow: would have been */
    uint64_t windows_total;
};

/* Defaults, explained in concurrency_limit.c: starts at 4, 1 to 1000; FIXED: 100. */
struct fg_concurrency_config fg_concurrency_limit_config_default(enum fg_concurrency_mode mode);

void fg_concurrency_limit_init(struct fg_concurrency_limit *cl,
                               const struct fg_concurrency_config *config);

/* True: one slot is the caller's until fg_concurrency_limit_release(). */
bool fg_concurrency_limit_try_acquire(struct fg_concurrency_limit *cl);
/* A slot that was released for a while is the caller's again, whether there is one or not: what it
 * is for is under way. */
void fg_concurrency_limit_retake(struct fg_concurrency_limit *cl);

/* Somebody would have used a further slot: without this the limit has no reason to grow. */
void fg_concurrency_limit_note_demand(struct fg_concurrency_limit *cl);

/* A slot is free and nobody waits for one: who waits later has not waited since before. */
void fg_concurrency_limit_note_spare(struct fg_concurrency_limit *cl);

/*
 * Somebody waits. True: the limit was raised, since those who wait would not learn in time whether
 * there is room for them: no slot has come back with a result for so long, or answers take so long
 * and do not show how many there may be. At or after held_until, which is UINT64_MAX where that
 * cannot be.
 */
bool fg_concurrency_limit_note_wait(struct fg_concurrency_limit *cl, uint64_t now_ns);
uint64_t fg_concurrency_limit_held_until_ns(const struct fg_concurrency_limit *cl);

/* All slots are held for longer than answers take, and none came back with a result, or there will
 * be more for those who wait: they do not show that too much is asked for. */
bool fg_concurrency_limit_is_held(const struct fg_concurrency_limit *cl, uint64_t now_ns);

/* Give a slot back; `latency_ns` is the backend's own time, without waiting in our queue. */
void fg_concurrency_limit_release(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                  uint64_t latency_ns, enum fg_concurrency_outcome outcome);

uint32_t fg_concurrency_limit_current(const struct fg_concurrency_limit *cl);
uint32_t fg_concurrency_limit_in_flight(const struct fg_concurrency_limit *cl);

/* It is not known yet how many slots there are: the limit is being doubled. */
bool fg_concurrency_limit_is_starting(const struct fg_concurrency_limit *cl);

/* The no-load latency that the limit goes by; 0 while it is not known. */
uint64_t fg_concurrency_limit_noload_ns(const struct fg_concurrency_limit *cl);

#endif
