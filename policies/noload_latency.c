/*
 * noload_latency.c: how long an answer takes when nothing waits at the backend.
 * Job      tell a backend that is slow because we queue at it from one that has become slower.
 * Thread   one owner at a time.
 * Never    asks for the limit to be pinned low to find out, as Envoy's gradient controller does:
 *          every change that the limit makes anyway is the experiment, and its result is read here.
 * Law      A backend of c slots and service time s answers n requests in flight after
 *          max(s, n x s / c). Two windows of different n tell which side of c they are on by the
 *          elasticity x = ln(latency ratio) / ln(n ratio): 1 where requests wait, 0 where none do.
 *             x below 0.3   nothing waits at either: s is what both latencies say together
 *             x below 0.6   nothing waits at the smaller n: its latency is s
 *             x above       they wait at both: s is at most the smaller latency
 *          They are compared when their n differ by a fifth, and by so much that chance could not
 *          hide it: four standard errors of the ratio. Windows at the same n are taken together.
 *             down          a window faster than s by more than two standard errors: to there
 *             alone         below 1.5 in flight nothing can wait: half the way at once
 *             leak          1/20 of the way up in windows in which nobody was kept waiting, so that
 *                           the luck of one fast window is forgotten
 * Source   the saturation model is Little's law; the need to learn without pinning: reports of
 *          healthy load refused during Envoy's minRTT measurement.
 */
#include "policies/noload_latency.h"

#include <math.h>

#define ERRORS_CERTAIN 2 /* standard errors that are not taken for luck */
#define ERRORS_APART 4
#define RATIO_MIN 0.22 /* ln: a fifth less, a quarter more */
#define SAME_MAX 0.1   /* ln: windows that are taken together */
#define WAITS_FROM 0.6
#define FLAT_BELOW 0.3   /* nothing waits at the larger n either: both latencies are s */
#define MEMORY_MAX 8     /* windows that a mean stands for */
#define BEFORE_AGE_MAX 4 /* windows: an older point may be of another backend altogether */
#define ALONE_IN_FLIGHT 1.5
#define ALONE_WEIGHT 0.5
#define DOWN_WEIGHT 0.5
#define LEAK_WEIGHT 0.05
#define LATENCY_MIN_NS 1000.0
#define NEWS 0.1 /* a change of the estimate that is worth a look */
#define ERROR_MIN 0.005

void fg_noload_latency_init(struct fg_noload_latency *noload)
{
    *noload = (struct fg_noload_latency){0};
}

static double either_error(double a, double b)
{
    return sqrt(a * a + b * b);
}

/* Nothing waited when this was seen. What agrees with it is averaged, anything else replaced. */
static void believe(struct fg_noload_latency *noload, double latency_ns, double error)
{
    double apart = fabs(log(latency_ns / noload->latency_ns));
    bool is_same = !noload->is_bound &&
                   apart <= ERRORS_CERTAIN * either_error(error, noload->error) + ERROR_MIN;
    double weight = 1;
    if (is_same) {
        double own = noload->error * noload->error + ERROR_MIN * ERROR_MIN;
        double new = error *error + ERROR_MIN *ERROR_MIN;
        weight = own / (own + new);
        if (weight < 1.0 / MEMORY_MAX)
            weight = 1.0 / MEMORY_MAX;
    }
    noload->latency_ns += weight * (latency_ns - noload->latency_ns);
    noload->error = is_same ? sqrt(weight) * error : error;
    noload->is_bound = false;
}

static void come_to(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    noload->here = *window;
    noload->here_count = 1;
}

static void add(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    struct fg_latency_window *here = &noload->here;
    double count = noload->here_count < MEMORY_MAX ? noload->here_count + 1 : MEMORY_MAX;
    here->in_flight += (window->in_flight - here->in_flight) / count;
    here->latency_ns += (window->latency_ns - here->latency_ns) / count;
    here->error = window->error / sqrt(count);
    noload->here_count = (uint32_t)count;
}

/* True: their n differ by more than chance could hide in their latencies. */
static bool are_apart(const struct fg_latency_window *a, const struct fg_latency_window *b)
{
    double n_ratio = fabs(log(a->in_flight / b->in_flight));
    return n_ratio >= RATIO_MIN && n_ratio >= ERRORS_APART * either_error(a->error, b->error);
}

/* What both say together, the surer one more. */
static struct fg_latency_window mean_of(const struct fg_latency_window *a,
                                        const struct fg_latency_window *b)
{
    double a_variance = a->error * a->error + ERROR_MIN * ERROR_MIN;
    double b_variance = b->error * b->error + ERROR_MIN * ERROR_MIN;
    double share = b_variance / (a_variance + b_variance);
    struct fg_latency_window mean = *a;
    mean.latency_ns = share * a->latency_ns + (1 - share) * b->latency_ns;
    mean.error = sqrt(share) * a->error;
    return mean;
}

static void judge(struct fg_noload_latency *noload, const struct fg_latency_window *a,
                  const struct fg_latency_window *b)
{
    double elasticity = log(a->latency_ns / b->latency_ns) / log(a->in_flight / b->in_flight);
    struct fg_latency_window low = a->in_flight < b->in_flight ? *a : *b;
    if (elasticity < FLAT_BELOW)
        low = mean_of(a, b);
    noload->was_judged = true;
    double apart = log(noload->latency_ns / low.latency_ns);
    double luck = ERRORS_CERTAIN * either_error(low.error, noload->error) + ERROR_MIN;
    if (elasticity < WAITS_FROM) {
        believe(noload, low.latency_ns, low.error);
    } else if (apart > 0 && (noload->is_bound || apart > luck)) {
        noload->latency_ns = low.latency_ns;
        noload->error = low.error;
        noload->is_bound = true;
    }
}

/* At about the n of the windows before: they are one point, which may now be sure enough. */
static void stay(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    double error = either_error(window->error, noload->here.error);
    if (fabs(log(window->latency_ns / noload->here.latency_ns)) > ERRORS_APART * error + NEWS) {
        noload->has_news = true; /* another latency at the same n: the backend has changed */
        noload->has_before = false;
        come_to(noload, window);
        return;
    }
    add(noload, window);
    if (noload->has_before && are_apart(&noload->before, &noload->here)) {
        judge(noload, &noload->before, &noload->here);
        noload->has_before = false;
    }
}

static void move(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    bool is_far = are_apart(&noload->here, window);
    if (is_far)
        judge(noload, &noload->here, window);
    else if (noload->has_before && are_apart(&noload->before, window))
        judge(noload, &noload->before, window);
    /* Small steps add up: the point where they began is kept for a while. */
    if (is_far || !noload->has_before || ++noload->before_age > BEFORE_AGE_MAX) {
        noload->before = noload->here;
        noload->has_before = true;
        noload->before_age = 0;
    }
    come_to(noload, window);
}

/* Both were full: n is what the limit made of it. */
static void compare(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    if (noload->here_count == 0)
        come_to(noload, window);
    else if (fabs(log(window->in_flight / noload->here.in_flight)) <= SAME_MAX)
        stay(noload, window);
    else
        move(noload, window);
}

static void learn_idle(struct fg_noload_latency *noload, const struct fg_latency_window *window)
{
    double weight = 0;
    if (window->in_flight < ALONE_IN_FLIGHT)
        weight = ALONE_WEIGHT;
    else if (window->latency_ns * (1 + window->error) < noload->latency_ns)
        weight = DOWN_WEIGHT;
    else if (!window->has_demand && window->latency_ns > noload->latency_ns)
        weight = LEAK_WEIGHT;
    noload->latency_ns += weight * (window->latency_ns - noload->latency_ns);
    if (weight > 0)
        noload->error = window->error;
    if (!window->has_demand)
        noload->is_bound = false;
    noload->here_count = 0;
    noload->has_before = false;
}

double fg_noload_latency_learn(struct fg_noload_latency *noload,
                               const struct fg_latency_window *window)
{
    double before_ns = noload->latency_ns;
    noload->has_news = false;
    noload->was_judged = false;
    if (before_ns == 0) {
        noload->latency_ns = window->latency_ns;
        noload->error = window->error;
        noload->is_bound = window->was_full && window->in_flight >= ALONE_IN_FLIGHT;
        if (window->was_full)
            come_to(noload, window);
    } else if (!window->was_full) {
        learn_idle(noload, window);
    } else {
        double certain_ns = window->latency_ns * (1 + ERRORS_CERTAIN * window->error);
        if (window->in_flight < ALONE_IN_FLIGHT)
            believe(noload, window->latency_ns, window->error);
        else if (certain_ns < noload->latency_ns)
            noload->latency_ns = certain_ns;
        compare(noload, window);
    }
    if (noload->latency_ns < LATENCY_MIN_NS)
        noload->latency_ns = LATENCY_MIN_NS;
    if (before_ns != 0 && fabs(log(noload->latency_ns / before_ns)) > NEWS + noload->error)
        noload->has_news = true;
    return noload->latency_ns;
}

const struct fg_latency_window *fg_noload_latency_here(const struct fg_noload_latency *noload,
                                                       const struct fg_latency_window *window)
{
    return noload->here_count > 0 && window->was_full ? &noload->here : window;
}
