/*
 * noload_latency.c: how long an answer takes when nothing waits at the backend, and how many it
 * works on at a time.
 * Job      tell a backend that is slow because we queue at it from one that has become slower.
 * Thread   one owner at a time.
 * Never    asks for the limit to be pinned low to find out, as Envoy's gradient controller does:
 *          every change that the limit makes anyway is the experiment, and its result is read
 *          here. Nor does it go by one window: each is a few answers of what may be very uneven.
 * Law      A backend of c slots and service time s answers n requests in flight after
 *          max(s, n x s / c). Windows at about one n are one point. Of all c, that one is taken,
 *          with its best s, for which the sum over all points of
 *          (ln L - ln max(s, n s / c))^2 / error^2 is least; L: mean latency. Against it stand
 *          "they wait at every n" (c at the smallest n: s is only a bound) and "they wait at none"
 *          (c beyond the largest): it is known that they do not when the sum is larger by CERTAIN.
 *             news    two windows in a row that are far from what others at their n were: the
 *                     backend has changed, and what was seen is forgotten
 *             alone   below 1.5 in flight nothing can wait
 *             idle    windows in which nobody was kept waiting count as that, give or take a tenth
 * Source   the saturation model is Little's law; the need to learn without pinning: reports of
 *          healthy load refused during Envoy's minRTT measurement.
 */
#include "policies/noload_latency.h"

#include <math.h>

#define CERTAIN 4.0 /* of the sums: two standard errors */
#define ERRORS_NEWS 4
#define LAW_ERROR 0.1     /* of what it says of an n that has not been seen */
#define NEWS 0.15         /* ln: a change worth a look */
#define ERROR_MIN 0.02    /* no backend follows the law any better */
#define STEPS 8           /* candidates for c in an octave */
#define OWN_MEMORY 0.88   /* of a point, at a further window there: the last eight count */
#define OTHER_MEMORY 0.99 /* of the other points at each window */
#define IDLE_ERROR_MIN 0.1
#define WEIGHT_LEAST 1.0 /* less is forgotten */
#define ALONE_IN_FLIGHT 1.5
#define LATENCY_MIN_NS 1000.0

struct fit {
    double log_slots;
    double log_latency;
    double weight;
    double squares;
};

void fg_noload_latency_init(struct fg_noload_latency *noload)
{
    *noload = (struct fg_noload_latency){0};
}

/* --- points --- */

static double log_of(double in_flight)
{
    return in_flight < 1 ? 0 : log(in_flight);
}

static uint32_t index_of(double in_flight)
{
    double place = 2 * log_of(in_flight) / log(2) + 0.5;
    return place < FG_NOLOAD_POINTS ? (uint32_t)place : FG_NOLOAD_POINTS - 1;
}

static void forget(struct fg_noload_latency *noload, double memory)
{
    for (uint32_t i = 0; i < FG_NOLOAD_POINTS; i++) {
        struct fg_noload_point *point = &noload->points[i];
        point->weight *= memory;
        if (point->weight < WEIGHT_LEAST)
            point->weight = 0;
    }
}

static void add(struct fg_noload_point *point, const struct fg_latency_window *window)
{
    double weight = 1 / (window->error * window->error + ERROR_MIN * ERROR_MIN);
    double kept = point->weight * OWN_MEMORY;
    double share = weight / (weight + kept);
    point->weight = weight + kept;
    point->log_in_flight += share * (log_of(window->in_flight) - point->log_in_flight);
    point->log_latency += share * (log(window->latency_ns) - point->log_latency);
}

/* --- the law --- */

/* The points that count, side by side: there are few of them, and many candidates for c. */
struct seen {
    struct fg_noload_point points[FG_NOLOAD_POINTS];
    uint32_t count;
};

static struct seen points_of(const struct fg_noload_latency *noload)
{
    struct seen seen = {.count = 0};
    for (uint32_t i = 0; i < FG_NOLOAD_POINTS; i++) {
        if (noload->points[i].weight > 0)
            seen.points[seen.count++] = noload->points[i];
    }
    return seen;
}

static double wait_of(double log_in_flight, double log_slots)
{
    return log_in_flight > log_slots ? log_in_flight - log_slots : 0;
}

/* The best s for c, and the sum of squares that is left (Welford's way). */
static struct fit fit_slots(const struct seen *seen, double log_slots)
{
    struct fit fit = {.log_slots = log_slots};
    for (uint32_t i = 0; i < seen->count; i++) {
        const struct fg_noload_point *point = &seen->points[i];
        double apart =
            point->log_latency - wait_of(point->log_in_flight, log_slots) - fit.log_latency;
        fit.weight += point->weight;
        double share = point->weight / fit.weight;
        fit.log_latency += share * apart;
        fit.squares += point->weight * (1 - share) * apart * apart;
    }
    return fit;
}

static void fit_points(struct fg_noload_latency *noload, double log_in_flight)
{
    struct seen seen = points_of(noload);
    double least = seen.points[0].log_in_flight; /* they are in the order of n */
    double most = seen.points[seen.count - 1].log_in_flight;
    struct fit all_wait = fit_slots(&seen, least);
    struct fit none_waits = fit_slots(&seen, most);
    struct fit best = all_wait.squares < none_waits.squares ? all_wait : none_waits;
    for (double at = least; at < most; at += log(2) / STEPS) {
        struct fit fit = fit_slots(&seen, at);
        if (fit.squares < best.squares)
            best = fit;
    }
    bool was_alone = least < log(ALONE_IN_FLIGHT);
    noload->latency_ns = exp(best.log_latency);
    noload->error = sqrt(1 / best.weight);
    noload->slots = exp(best.log_slots);
    noload->is_bound = !was_alone && all_wait.squares < best.squares + CERTAIN;
    noload->has_waited =
        best.squares + CERTAIN < none_waits.squares && log_in_flight > best.log_slots;
}

/* --- windows --- */

/*
 * Further from what was seen at about the same n than luck is; or where nothing was, from what is
 * possible there: at least s, at most what it is if all beyond the slots found wait.
 */
static bool is_far(const struct fg_noload_latency *noload, const struct fg_noload_point *point,
                   const struct fg_latency_window *window)
{
    double log_n = log_of(window->in_flight);
    double log_latency = log(window->latency_ns);
    double least = log(noload->latency_ns);
    double most = least + wait_of(log_n, log_of(noload->slots));
    double error = fmax(noload->error, LAW_ERROR);
    if (point->weight > 0) {
        least = most = point->log_latency + log_n - point->log_in_flight;
        error = sqrt(1 / point->weight);
    } else if (noload->slots <= 0) {
        return false;
    } else if (noload->is_bound) {
        least = 0; /* there may be less of it */
    }
    double luck = ERRORS_NEWS * sqrt(window->error * window->error + error * error) + NEWS;
    return log_latency < least - luck || log_latency > most + luck;
}

static void learn_full(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    struct fg_noload_point *point = &noload->points[index_of(window->in_flight)];
    bool was_far = noload->was_far;
    noload->here = *window;
    noload->was_far = !was_far && is_far(noload, point, window);
    if (noload->was_far)
        return; /* it is not believed before the next one is as far */
    noload->has_news = was_far && is_far(noload, point, window);
    double own = point->weight;
    if (noload->has_news) {
        forget(noload, 0);
    } else {
        forget(noload, OTHER_MEMORY);
        point->weight = own;
    }
    add(point, window);
    fit_points(noload, log_of(window->in_flight));
    noload->here.in_flight = exp(point->log_in_flight);
    noload->here.latency_ns = exp(point->log_latency);
    noload->here.error = sqrt(1 / point->weight);
}

/*
 * Nobody was kept waiting, or hardly. n is what came, and grows with latency by itself, so that it
 * tells nothing; latency is taken for that of a request alone.
 */
static void learn_idle(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    struct fg_latency_window alone = *window;
    alone.in_flight = 1;
    alone.error = fmax(alone.error, IDLE_ERROR_MIN);
    bool was_far = noload->was_far;
    noload->was_far = false;
    if (window->has_demand)
        return;
    noload->was_far = !was_far && is_far(noload, &noload->points[0], &alone);
    if (noload->was_far)
        return;
    noload->has_news = was_far && is_far(noload, &noload->points[0], &alone);
    if (noload->has_news)
        forget(noload, 0);
    add(&noload->points[0], &alone);
    fit_points(noload, 0);
}

double fg_noload_latency_learn(struct fg_noload_latency *noload,
                               const struct fg_latency_window *window)
{
    noload->has_news = false;
    if (noload->latency_ns == 0) {
        noload->latency_ns = window->latency_ns;
        noload->error = window->error;
    }
    if (window->was_full)
        learn_full(noload, window);
    else
        learn_idle(noload, window);
    if (noload->latency_ns < LATENCY_MIN_NS)
        noload->latency_ns = LATENCY_MIN_NS;
    return noload->latency_ns;
}

const struct fg_latency_window *fg_noload_latency_here(const struct fg_noload_latency *noload,
                                                       const struct fg_latency_window *window)
{
    return window->was_full ? &noload->here : window;
}
