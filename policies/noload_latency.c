/*
 * noload_latency.c: how long an answer takes when nothing waits at the backend.
 * Job      tell a backend that is slow because we queue at it from one that has become slower.
 * Thread   one owner at a time.
 * Never    asks for the limit to be pinned low to find out, as Envoy's gradient controller does:
 *          every cut that the limit makes anyway is the experiment, and its result is read here.
 * Law      A backend of c slots and service time s answers n requests in flight after
 *          max(s, n x s / c). So when n falls and latency falls with it, the difference was
 *          queueing. When n falls and latency does not, there was no queue and latency is s.
 *             down   a window faster than the estimate by more than its mean's standard error: half
 *                    the way at once, all of it after a cut
 *             up     a cut (n at most 4/5 of the point before) after which latency is 15 % above
 *                    max(estimate, latency before x n / n before), or growth (n at least 5/4)
 *                    after which it has not risen by a third of what queueing would make of it:
 *                    twice in a row, in any order: set to it. At n below 1.5 nothing can wait:
 *                    half the way at once
 *             leak   1/20 of the way up in windows in which nobody was kept waiting, so that the
 *                    luck of one fast window is forgotten
 * Source   the saturation model is Little's law; the need to learn without pinning: reports of
 *          healthy load refused during Envoy's minRTT measurement.
 */
#include "policies/noload_latency.h"

#define DOWN_WEIGHT 0.5
#define LEAK_WEIGHT 0.05
#define CUT_SHARE 0.8
#define GROWTH_SHARE 1.25
#define FLAT_RISE 0.33
#define FLAT_SHARE 1.15
#define FLAT_NEEDED 2
#define ALONE_IN_FLIGHT 1.5
#define BEFORE_AGE_MAX 8 /* windows: an older point may be of another backend altogether */
#define LATENCY_MIN_NS 1000.0

void fg_noload_latency_init(struct fg_noload_latency *noload)
{
    *noload = (struct fg_noload_latency){0};
}

/* Latency is above the estimate and does not follow n down, or up: the estimate is too low. */
static bool is_flat(const struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    const struct fg_latency_window *before = &noload->before;
    double ratio = window->in_flight / before->in_flight;
    if (ratio > 1)
        return before->latency_ns > FLAT_SHARE * noload->latency_ns &&
               window->latency_ns <= before->latency_ns * (1 + FLAT_RISE * (ratio - 1));
    double queued_ns = before->latency_ns * ratio;
    double explained_ns = queued_ns > noload->latency_ns ? queued_ns : noload->latency_ns;
    return window->latency_ns > FLAT_SHARE * explained_ns;
}

static void judge(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    if (!is_flat(noload, window)) {
        noload->flat_in_row = 0;
        return;
    }
    noload->flat_in_row++;
    if (noload->flat_in_row >= FLAT_NEEDED) {
        bool is_less = noload->before.latency_ns < window->latency_ns;
        noload->latency_ns = is_less ? noload->before.latency_ns : window->latency_ns;
        noload->flat_in_row = 0;
    }
}

static bool is_cut(const struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    return noload->before.was_full && window->was_full &&
           window->in_flight <= CUT_SHARE * noload->before.in_flight;
}

static bool is_growth(const struct fg_noload_latency *noload,
                      const struct fg_latency_window *window)
{
    return noload->before.was_full && window->was_full &&
           window->in_flight >= GROWTH_SHARE * noload->before.in_flight;
}

static void compare(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    if (window->in_flight < ALONE_IN_FLIGHT) {
        noload->flat_in_row = 0;
        if (window->latency_ns > noload->latency_ns)
            noload->latency_ns += DOWN_WEIGHT * (window->latency_ns - noload->latency_ns);
    } else if (is_cut(noload, window) || is_growth(noload, window)) {
        judge(noload, window);
    } else if (window->in_flight < noload->before.in_flight &&
               window->latency_ns <= FLAT_SHARE * noload->before.latency_ns &&
               noload->before_age < BEFORE_AGE_MAX) {
        noload->before_age++; /* a slow cut adds up */
        return;
    } else {
        noload->flat_in_row = 0; /* no cut, or the backend has become another one meanwhile */
    }
    noload->before = *window;
    noload->before_age = 0;
}

double fg_noload_latency_learn(struct fg_noload_latency *noload,
                               const struct fg_latency_window *window)
{
    double latency_ns = window->latency_ns * (1 + window->error); /* luck does not lower it */
    if (noload->latency_ns == 0)
        noload->latency_ns = latency_ns;
    else if (latency_ns < noload->latency_ns)
        noload->latency_ns +=
            (is_cut(noload, window) ? 1 : DOWN_WEIGHT) * (latency_ns - noload->latency_ns);
    else if (!window->has_demand)
        noload->latency_ns += LEAK_WEIGHT * (latency_ns - noload->latency_ns);
    compare(noload, window);
    if (noload->latency_ns < LATENCY_MIN_NS)
        noload->latency_ns = LATENCY_MIN_NS;
    return noload->latency_ns;
}
