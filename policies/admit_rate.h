/*
 * admit_rate.h: how many people a second a waiting room lets in, found out from what the backend
 * behind it gets done.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_ADMIT_RATE_H
#define FG_POLICIES_ADMIT_RATE_H

#include "policies/time_units.h"

#include <stdbool.h>
#include <stdint.h>

/* The rate as a waiting room takes it: fg_admit_rate_amount people in this time. */
#define FG_ADMIT_RATE_PERIOD_NS (1000 * FG_POLICY_S)

/* What was seen since the step before, and how the backend's gate looks now. */
struct fg_admit_sample {
    uint64_t done;       /* requests of the room's people that were answered well */
    uint64_t refused;    /* requests that found no slot, anybody's */
    uint64_t service_ns; /* how long the backend takes for an answer; 0: not known */
    uint64_t came;       /* people who came in */
    uint32_t in_flight;  /* at the backend, everybody's */
    uint32_t limit;
    uint32_t queued; /* wait for a slot there */
    bool is_shut;    /* the circuit breaker keeps everybody out */
    bool is_pressed; /* the process sheds load */
    bool has_line;   /* people wait in the room */
};

/* Fields are read by others, written only here. */
struct fg_admit_rate {
    double per_s;       /* what may be let in */
    double first_per_s; /* with which it began */
    /* measured */
    double drain_per_s; /* requests done while the backend was full; 0: not known */
    double need;        /* requests of one person */
    double came_per_s;
    bool has_been_full;
    /* what is being measured */
    uint64_t updated_ns;
    double done_sum, came_sum; /* of recent steps, fading: for need */
    double full_s;             /* for drain: so long, without a pause, and in it */
    double full_done;
};

/* Begins with as many a second as there are slots. */
void fg_admit_rate_init(struct fg_admit_rate *rate, uint32_t slots, uint64_t now_ns);

/* Goes on with what another process has learned, which may be anything. False: it was nothing, and
 * nothing has changed. */
bool fg_admit_rate_resume(struct fg_admit_rate *rate, const struct fg_admit_rate *learned,
                          uint64_t now_ns);

/* One step, every second or so; a clock that went back is no step. Returns per_s. */
double fg_admit_rate_step(struct fg_admit_rate *rate, uint64_t now_ns,
                          const struct fg_admit_sample *sample);

uint64_t fg_admit_rate_amount(double per_s);
/* Let in at once after a quiet time: what a second brings, and somebody at all. */
uint64_t fg_admit_rate_burst(double per_s);

#endif
