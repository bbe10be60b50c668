/*
 * concurrency_limit.c: how many requests may be in flight to one backend.
 * Job      hand out and take back slots; move the limit once a window by what the window showed.
 * Thread   one owner at a time.
 * Never    hands out a slot at or above the limit, moves it outside limit_min .. limit_max, or
 *          takes slots away: after a cut the limit is met by waiting for releases.
 * Window   answers to requests that began under the present limit, as many as it takes to know
 *          their mean to within 8 %, 16 % while it grows fast: 10 for an even backend, up to 200
 *          for an uneven one, and no fewer than are in flight. After a change all that is in
 *          flight turns over twice first: the quick answers, which come first, are not all.
 * Start    doubled while somebody is kept waiting, until the windows say that more in flight brings
 *          no more answers (noload_latency); then to the slots that they say there are. Again
 *          when latency has changed so much that it is another backend. The window in which a
 *          crowd comes to an idle backend tells of both and is left out: it would double once more.
 * Ramp     what is learned beside the windows, of slow backends: concurrency_ramp.c
 * Laws     n: mean in flight, short: mean latency of the window, s: no-load latency
 *          GRADIENT2  limit' = n x t x s / short + max(1.5, sqrt(limit) / 2),
 *                     t = tolerance (1.5 while s is only an upper bound) + 3 standard errors
 *                     of short and s, at most 1.5 x limit + 1, at least 0.6 x n; while fewer
 *                     than 9 of 10 slots are used, the limit stands for n, as n does not follow
 *                     it; n and short are those of all recent windows at about the same n
 *          VEGAS      queue = n x (1 - s / short), l = log10(limit), at least 1;
 *                     below l: limit + 3 l; below 3 l: limit + l; above 6 l: limit - l
 *          AIMD       limit + 1, or min(limit - 1, limit x backoff) after a drop, or when 1 in 10
 *                     answers took longer than latency_max_ns: single ones are the tail of an
 *                     uneven backend
 *          FIXED      limit
 *          The limit grows only if somebody was kept waiting and half of it was in use in the
 *          mean: an idle backend, and one short burst, prove nothing. GRADIENT2 and VEGAS back off
 *          as AIMD does when 1 in 10 results was a drop: quick refusals are no fast backend.
 *          Clients that leave say how long an answer takes at least. When 3 in 4 do, having waited
 *          for half the usual time or longer, few have an answer, and what latency shows is their
 *          patience, whatever is in flight: to 0.3 of the limit, until there are answers again.
 *          AIMD, which latency tells nothing, doubles then up to what the first of these cuts left.
 * Look     under a load that never lets up, latency never shows what it would be without us, and a
 *          limit that fits a wrong s stays where it is. So once in about 100 busy windows, sooner
 *          while s is not well known, one is spent on a look, by turns
 *             above  half as much again in flight, which brings more answers if s is too low. It
 *                    costs latency. At once when three windows do not show that requests wait
 *             below  so far below the slots that are worked on (n x s / short) that latency must
 *                    fall below s if s is too high: by a quarter to a half. If latency follows all
 *                    the way down, the next window looks further down. It costs answers, and so of
 *                    less than 4 slots there is none once s is known: a spare slot hides the error
 * Source   Netflix concurrency-limits: Gradient2Limit, VegasLimit, AIMDLimit (Apache 2.0).
 * Departs  GRADIENT2 compares with the no-load latency (noload_latency), not with a long-term
 *          mean: a mean follows a standing overload, and the limit with it, to the maximum. The
 *          window has no fixed length. AIMD there takes each slow answer for a drop, and falls to
 *          the minimum before a backend of which one answer in a hundred is slow.
 */
#include "policies/concurrency_internal.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <math.h>

#define DROP_SHARE_INVERSE 10
#define ABANDONED 0.75 /* of the results: few have their answer */
#define ABANDONED_CUT 0.3
#define FEW_TELL 3  /* results: whether there are answers again */
#define TELLING 0.5 /* of the mean latency that an answer was waited for */
#define SLOW_MIN 3  /* answers in a window: fewer are the tail of an uneven backend */
#define GROWTH_MAX 1.5
#define CUT_MAX 0.6
#define NO_QUEUE 1.05        /* latency over no-load up to which nothing waits at the backend */
#define BOUND_TOLERANCE 1.5  /* while s may be anything: growth tells */
#define ERRORS_BORNE 3       /* standard errors that are added to the tolerance, */
#define ERRORS_BORNE_MAX 1.0 /* ... up to so much */
#define SPARE_MIN 1.5        /* slots over what is needed, so that a small limit can grow */
#define GROWING 1.2          /* the last window raised the limit by so much */

/* the start */
#define START_BEYOND 1.3 /* of the slots found: so far it goes, to be sure of them */
#define START_UNEVEN_MAX 1.0
#define START_UNEVEN 4 /* times what the first few answers show, up to as uneven as chance */

/* windows */
#define SPREAD_MEMORY 0.9
#define MEAN_ERROR_MAX 0.08
#define COARSE_ERROR_MAX 0.16 /* while far from the goal, steps matter more than their accuracy */
#define FULL_SHARE 0.9        /* of the slots in use in the mean: n follows the limit */
#define SETTLED 0.05          /* a smaller change of the limit needs no time to show */
#define TURNOVERS 2           /* of the slots, until a new limit has had its effect */
#define ROUND_TRIPS 8         /* a slow backend's window may take so many of its answers */

/* looks at the no-load latency */
#define LOOK_FIRST 3    /* windows */
#define LOOK_EARLY 5    /* windows: above, after the start */
#define LOOK_SOON 20    /* windows */
#define LOOK_BELOW 0.2  /* ln: so far below what the slots are taken for, */
#define LOOK_ERRORS 2.5 /* ... or so many standard errors */
#define LOOK_CUT_MAX 0.3
#define LOOK_CUT_MIN 0.8
#define LOOK_ABOVE 0.5      /* ln: so far above, */
#define LOOK_ABOVE_EVEN 0.3 /* ... or only so far where latency hardly varies, */
#define EVEN_SPREAD 0.1
#define LOOK_ABOVE_MAX 0.7
#define LOOK_ACCURACY 5 /* standard errors that its latency ratio is apart */
#define LOOK_ERROR_MIN 0.05
#define LOOK_ERROR_MAX 0.25
#define FEW_SLOTS 4         /* worked on: of fewer, a look below would cost too large a share, */
#define FEW_SLOTS_UNKNOWN 6 /* ... or while it is not known how many there are */
#define FEW_ANSWERS_MAX 20
#define FEW_AFTER 3     /* slots */
#define SURE_ERROR 0.08 /* of s: less sure, sooner looked at again */

static void back_off(struct fg_concurrency_limit *cl, double to_share)
{
    double cut = cl->limit * to_share;
    fg_concurrency_set_limit(cl, cut < cl->limit - 1 ? cut : cl->limit - 1);
    cl->is_starting = false;
    cl->had_drop = true;
}

/* --- laws --- */

static void update_gradient2(struct fg_concurrency_limit *cl,
                             const struct fg_latency_window *window)
{
    const struct fg_noload_latency *noload = &cl->noload;
    const struct fg_latency_window *seen = fg_noload_latency_here(noload, window);
    double error = sqrt(seen->error * seen->error + noload->error * noload->error);
    double tolerance = cl->config.tolerance_permille / 1000.0;
    if (noload->is_bound && tolerance < BOUND_TOLERANCE)
        tolerance = BOUND_TOLERANCE;
    tolerance += fg_concurrency_clamp(ERRORS_BORNE * error, 0, ERRORS_BORNE_MAX);
    double gradient = tolerance * noload->latency_ns / seen->latency_ns;
    double spare = sqrt(cl->limit) / 2;
    double growth_max = GROWTH_MAX * cl->limit + 1;
    double base = window->was_full ? seen->in_flight : cl->limit;
    double wanted = base * gradient + (spare < SPARE_MIN ? SPARE_MIN : spare);
    if (cl->is_growing && window->latency_ns <= NO_QUEUE * noload->latency_ns)
        wanted = growth_max;
    wanted = fg_concurrency_clamp(wanted, CUT_MAX * base, growth_max);
    bool is_growth = wanted > cl->limit;
    if (is_growth ? window->has_demand : gradient < 1)
        fg_concurrency_set_limit(cl, wanted);
}

static void update_vegas(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    double queue = window->in_flight * (1 - cl->noload.latency_ns / window->latency_ns);
    double step = cl->limit > 10 ? log10(cl->limit) : 1;
    if (queue > 6 * step)
        fg_concurrency_set_limit(cl, cl->limit - step);
    else if (window->has_demand && queue < 3 * step)
        fg_concurrency_set_limit(cl, cl->limit + (queue < step ? 3 * step : step));
}

/* --- the start --- */

/* True: the limit is still being looked for, or was found, and has been set. */
static bool start_up(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    const struct fg_noload_latency *noload = &cl->noload;
    if (!cl->is_starting || !window->was_full)
        return false;
    bool is_found = noload->has_waited && window->in_flight > START_BEYOND * noload->slots;
    bool is_far = cl->doubled_to > 0 && cl->limit >= cl->doubled_to;
    if (is_found || is_far || cl->limit >= cl->config.limit_max) {
        cl->is_starting = false;
        cl->doubled_to = 0;
        cl->windows_to_look = LOOK_EARLY;
        cl->was_look_above = false;
    }
    fg_concurrency_set_limit(cl,
                             is_found ? noload->slots : FG_CONCURRENCY_START_GROWTH * cl->limit);
    return true;
}

/* --- looks --- */

/* How well latency has to be known at the new limit to differ from that at `in_flight`. */
static double error_for_look(const struct fg_concurrency_limit *cl, double in_flight)
{
    double apart = fabs(log(fg_concurrency_limit_current(cl) / in_flight));
    return fg_concurrency_clamp(apart / LOOK_ACCURACY, LOOK_ERROR_MIN, LOOK_ERROR_MAX);
}

/* Down to where latency must be lower than s if s is too high. */
static double limit_below(const struct fg_concurrency_limit *cl,
                          const struct fg_latency_window *window)
{
    double share = cl->noload.latency_ns / window->latency_ns; /* of n that is worked on */
    double below = exp(-fmax(LOOK_ERRORS * window->error, LOOK_BELOW));
    return window->in_flight * fg_concurrency_clamp(share * below, LOOK_CUT_MAX, LOOK_CUT_MIN);
}

/* Up to where there would be more answers if s is too low. That costs latency, but no answers. */
static double limit_above(const struct fg_concurrency_limit *cl,
                          const struct fg_latency_window *window)
{
    double least = cl->spread < EVEN_SPREAD ? LOOK_ABOVE_EVEN : LOOK_ABOVE;
    double above = fg_concurrency_clamp(2 * LOOK_ERRORS * window->error, least, LOOK_ABOVE_MAX);
    return ceil(window->in_flight * exp(above));
}

/*
 * Above where nothing shows that requests wait, else by turns. Of few slots a look below goes down
 * to limit_min for a few answers, and is only had while it is not known how many there are.
 */
static void look(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    const struct fg_noload_latency *noload = &cl->noload;
    const struct fg_latency_window *seen = fg_noload_latency_here(noload, window);
    double worked_on = seen->in_flight * noload->latency_ns / seen->latency_ns;
    bool is_few = worked_on < (noload->is_bound ? FEW_SLOTS_UNKNOWN : FEW_SLOTS);
    bool is_turn = !noload->is_bound && (is_few || !cl->was_look_above);
    bool is_above =
        !cl->is_looking && cl->limit < cl->config.limit_max && (!noload->has_waited || is_turn);
    cl->windows_to_look = 0;
    cl->was_look_above = is_above;
    if (!is_above && is_few && !noload->is_bound)
        return;
    if (is_above)
        fg_concurrency_set_limit(cl, limit_above(cl, window));
    else
        fg_concurrency_set_limit(cl, is_few ? cl->config.limit_min : limit_below(cl, window));
    cl->look_error = error_for_look(cl, window->in_flight);
    cl->is_looking = true;
}

/* The spread keeps many gateways from looking in step. */
static void plan_look(struct fg_concurrency_limit *cl)
{
    uint64_t spread = cl->acquired_total * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    double sure = fg_concurrency_clamp(SURE_ERROR / cl->noload.error, 0, 1);
    uint32_t windows = (uint32_t)(sure * cl->config.probe_windows);
    if (windows < LOOK_SOON)
        windows = LOOK_SOON;
    cl->windows_to_look = windows / 2 + (uint32_t)(spread % (windows + 1));
}

/* Back up to the slots that were worked on, which is a look too. */
static void end_look(struct fg_concurrency_limit *cl, double noload_before_ns)
{
    double ratio =
        fg_concurrency_clamp(cl->noload.latency_ns / noload_before_ns, LOOK_CUT_MAX, GROWTH_MAX);
    double back = cl->look_from * ratio;
    cl->is_looking = false;
    cl->windows_unverified = 0;
    if (cl->limit > cl->look_from && !cl->noload.has_waited)
        cl->is_starting = true; /* not even so many wait: there are more, from here on */
    else
        fg_concurrency_set_limit(cl, fmax(back, fmin(FEW_AFTER, cl->look_from)));
}

/* Is it time? At once where it is known that requests wait, but not where they do not. */
static bool is_look_due(struct fg_concurrency_limit *cl)
{
    const struct fg_noload_latency *noload = &cl->noload;
    if (cl->windows_to_look == 0)
        plan_look(cl);
    cl->windows_unverified = noload->has_waited ? 0 : cl->windows_unverified + 1;
    cl->windows_to_look--;
    return (noload->is_bound && noload->has_waited) || cl->windows_to_look == 0 ||
           cl->windows_unverified >= LOOK_FIRST;
}

/* True: the next window's limit is set, to look at the no-load latency or to end the look. */
static bool try_look(struct fg_concurrency_limit *cl, const struct fg_latency_window *window,
                     double noload_before_ns)
{
    if (cl->config.probe_windows == 0)
        return false;
    if (!window->was_full) { /* n does not follow the limit: nothing to be seen */
        if (cl->is_looking)
            fg_concurrency_set_limit(cl, cl->look_from);
        cl->is_looking = false;
        return false;
    }
    bool is_below = cl->limit < cl->look_from;
    if (cl->is_looking && !(cl->noload.is_bound && cl->limit > cl->config.limit_min)) {
        end_look(cl, noload_before_ns);
        return true;
    }
    if (cl->is_looking) { /* it followed all the way: further down */
        cl->look_from = is_below ? cl->limit : cl->look_from;
        look(cl, window);
        return true;
    }
    if (!is_look_due(cl))
        return false;
    cl->look_from = cl->limit;
    look(cl, window);
    return cl->is_looking;
}

/* --- windows --- */

static void start_window(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    cl->window_started_ns = now_ns == 0 ? 1 : now_ns;
    cl->window_limit = cl->limit;
    cl->window_sum_ns = 0;
    cl->window_squares = 0;
    cl->window_in_flight_sum = 0;
    cl->window_samples = 0;
    cl->window_drops = 0;
    cl->window_slow = 0;
    cl->window_cut_short = 0;
    cl->was_limited = false;
}

/*
 * How uneven the backend is: variance over squared mean of its service times. Who waits there for
 * several of them sees their sum, which is more even, and shares most of it with the next one.
 */
static double window_spread(const struct fg_concurrency_limit *cl)
{
    double count = cl->window_samples;
    double mean = cl->window_sum_ns / count;
    double spread = mean > 0 ? fmax(cl->window_squares / (count * mean * mean) - 1, 0) : 0;
    double services = cl->noload.latency_ns > 0 ? mean / cl->noload.latency_ns : 1;
    return services > 1 ? services * spread : spread;
}

/* The answers' latency, and how well it is known. */
static void measure(struct fg_concurrency_limit *cl, struct fg_latency_window *window)
{
    double spread = fmax(window_spread(cl), SPREAD_MEMORY * cl->spread);
    cl->spread = spread;
    if (cl->is_starting)
        spread = fmax(spread, fmin(START_UNEVEN * spread, START_UNEVEN_MAX));
    window->latency_ns = fmax(cl->window_sum_ns / cl->window_samples, 1);
    window->error = sqrt(spread / cl->window_samples);
    cl->mean_ns = window->latency_ns;
}

static void move_limit(struct fg_concurrency_limit *cl, struct fg_latency_window *window)
{
    double noload_before_ns = cl->noload.latency_ns;
    measure(cl, window);
    (void)fg_noload_latency_learn(&cl->noload, window);
    if (cl->noload.has_news) { /* it has become another backend */
        cl->spread = window_spread(cl);
        cl->is_starting = cl->config.mode != FG_CONCURRENCY_AIMD || cl->doubled_to > 0;
        cl->is_looking = false;
    }
    if (cl->noload.was_far || start_up(cl, window))
        return;
    if (cl->config.mode == FG_CONCURRENCY_AIMD) {
        if (window->has_demand)
            fg_concurrency_set_limit(cl, cl->limit + 1);
        bool is_waiting = cl->noload.has_waited || cl->had_drop || !window->was_full;
        cl->windows_unverified = is_waiting ? 0 : cl->windows_unverified + 1;
        cl->is_starting = cl->windows_unverified >= LOOK_FIRST;
    } else if (!try_look(cl, window, noload_before_ns)) {
        if (cl->config.mode == FG_CONCURRENCY_GRADIENT2)
            update_gradient2(cl, window);
        else
            update_vegas(cl, window);
    }
}

void fg_concurrency_wait_for_effect(struct fg_concurrency_limit *cl)
{
    uint32_t limit = fg_concurrency_limit_current(cl);
    uint32_t first = cl->in_flight > limit ? cl->in_flight : limit;
    cl->unsettled = first + (TURNOVERS - 1) * limit;
    if (cl->config.mode == FG_CONCURRENCY_AIMD)
        cl->unsettled = cl->in_flight; /* a failure tells of its time, however slow others are */
}

/* Idle before, full in the mean: while the limit is looked for, such a mixture misleads. */
static bool is_onset(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    bool was_idle = cl->was_idle;
    cl->was_idle = !window->has_demand;
    return was_idle && window->was_full && cl->is_starting;
}

/* Hardly anybody has waited for an answer. */
static void abandon(struct fg_concurrency_limit *cl)
{
    back_off(cl, ABANDONED_CUT);
    if (cl->config.mode != FG_CONCURRENCY_AIMD)
        return; /* latency will tell when there are more slots again */
    if (!cl->was_abandoned)
        cl->doubled_to = cl->limit;
    cl->was_abandoned = true;
}

/* AIMD's slow start, as in TCP: from here one more a window would take minutes. */
static void answer_again(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    cl->was_abandoned = false;
    cl->is_starting = cl->limit < cl->doubled_to;
    if (window->has_demand)
        fg_concurrency_set_limit(
            cl, fmin(FG_CONCURRENCY_START_GROWTH * cl->limit, fmax(cl->doubled_to, cl->limit + 1)));
}

static void end_window(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    uint32_t results = cl->window_samples + cl->window_drops;
    struct fg_latency_window window = {.in_flight = (double)cl->window_in_flight_sum / results};
    bool is_aimd = cl->config.mode == FG_CONCURRENCY_AIMD;
    bool is_slow = is_aimd && cl->window_slow >= SLOW_MIN;
    uint64_t bad = (uint64_t)cl->window_drops + (is_slow ? cl->window_slow : 0);
    window.has_demand = cl->was_limited && 2 * window.in_flight >= cl->limit;
    window.was_full =
        cl->was_limited && window.in_flight >= FULL_SHARE * fg_concurrency_limit_current(cl);
    cl->windows_total++;
    if (cl->window_cut_short >= ABANDONED * results) {
        abandon(cl);
    } else if (bad * DROP_SHARE_INVERSE >= results || (is_aimd && cl->window_drops > 0)) {
        back_off(cl, cl->config.backoff_permille / 1000.0);
    } else if (cl->was_abandoned) {
        answer_again(cl, &window);
    } else if (is_onset(cl, &window)) {
        start_window(cl, now_ns);
        fg_concurrency_wait_for_effect(cl);
        return;
    } else {
        move_limit(cl, &window);
    }
    double change = cl->limit / cl->window_limit;
    cl->is_growing = change > GROWING;
    start_window(cl, now_ns);
    if (change <= 1 - SETTLED || change >= 1 + SETTLED)
        fg_concurrency_wait_for_effect(cl);
}

/* A few even answers of an uneven backend are luck, so the spread of earlier windows counts too. */
static bool is_mean_known(const struct fg_concurrency_limit *cl)
{
    double spread = window_spread(cl);
    if (spread < cl->spread)
        spread = cl->spread;
    double error = cl->is_growing ? COARSE_ERROR_MAX : MEAN_ERROR_MAX;
    if (cl->is_looking)
        error = cl->look_error;
    return spread <= error * error * cl->window_samples;
}

static bool is_window_over(const struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    uint32_t results = cl->window_samples + cl->window_drops;
    uint32_t least = cl->was_abandoned ? FEW_TELL : cl->config.window_samples_min;
    bool is_by_latency = cl->config.mode != FG_CONCURRENCY_AIMD || cl->is_starting;
    if (is_by_latency && cl->window_drops == 0 && least < cl->in_flight)
        least = cl->in_flight; /* answers of an even backend come in batches: not one batch alone */
    if (results < least)
        return false;
    if (!is_by_latency)
        return true;
    uint32_t most = cl->config.window_samples_max;
    if (cl->is_looking && cl->limit <= cl->config.limit_min && most > FEW_ANSWERS_MAX)
        most = FEW_ANSWERS_MAX; /* it costs nearly all of the slots */
    if (results >= most || cl->window_samples == 0 || is_mean_known(cl))
        return true;
    double open_ns = (double)fg_subtract_floor(now_ns, cl->window_started_ns);
    return open_ns >= (double)cl->config.window_max_ns &&
           open_ns * cl->window_samples >= ROUND_TRIPS * cl->window_sum_ns;
}

/* --- results --- */

/* It was waited for as long as others take, or nearly: less is impatience. */
static bool is_telling(const struct fg_concurrency_limit *cl, uint64_t latency_ns)
{
    return cl->mean_ns > 0 && (double)latency_ns >= TELLING * cl->mean_ns;
}

static void add_result(struct fg_concurrency_limit *cl, uint64_t now_ns, uint64_t latency_ns,
                       enum fg_concurrency_outcome outcome, uint32_t in_flight)
{
    if (cl->window_started_ns == 0)
        start_window(cl, now_ns);
    bool is_cut_short = outcome == FG_CONCURRENCY_CUT_SHORT;
    if (outcome == FG_CONCURRENCY_DROPPED) {
        cl->window_drops++;
    } else {
        double outlier_ns = FG_CONCURRENCY_OUTLIER * cl->mean_ns;
        double sample_ns = (double)latency_ns;
        if (outlier_ns > 0 && sample_ns > outlier_ns)
            sample_ns = outlier_ns;
        cl->window_samples++;
        cl->window_cut_short += is_cut_short;
        cl->window_slow += is_cut_short || latency_ns > cl->config.latency_max_ns;
        cl->window_sum_ns += sample_ns;
        cl->window_squares += sample_ns * sample_ns;
    }
    cl->window_in_flight_sum += in_flight;
    if (is_window_over(cl, now_ns))
        end_window(cl, now_ns);
}

/* --- public --- */

struct fg_concurrency_config fg_concurrency_limit_config_default(enum fg_concurrency_mode mode)
{
    return (struct fg_concurrency_config){
        .mode = mode,
        .limit_initial = mode == FG_CONCURRENCY_FIXED ? 100 : 4,
        .limit_min = 1,
        .limit_max = 1000,
        .window_samples_min = 10,
        .window_samples_max = 200,
        .window_max_ns = 1 * FG_POLICY_S,
        .latency_max_ns = 5 * FG_POLICY_S,
        .tolerance_permille = 1100,
        .backoff_permille = 900,
        .probe_windows = 100,
    };
}

void fg_concurrency_limit_init(struct fg_concurrency_limit *cl,
                               const struct fg_concurrency_config *config)
{
    if (config->mode != FG_CONCURRENCY_FIXED) {
        assert(config->limit_min >= 1);
        assert(config->limit_min <= config->limit_initial);
        assert(config->limit_initial <= config->limit_max);
        assert(config->window_samples_min >= 1);
        assert(config->window_samples_min <= config->window_samples_max);
        assert(config->backoff_permille <= 1000);
    }
    *cl = (struct fg_concurrency_limit){
        .config = *config, .limit = config->limit_initial, .is_growing = true};
    /* The first to come back are the quick ones. */
    uint32_t first = config->limit_initial < config->window_samples_min
                         ? config->limit_initial
                         : config->window_samples_min;
    if (config->mode != FG_CONCURRENCY_AIMD)
        cl->unsettled = TURNOVERS * first;
    fg_noload_latency_init(&cl->noload);
    cl->is_starting = true;
    cl->is_ramping = true;
}

bool fg_concurrency_limit_try_acquire(struct fg_concurrency_limit *cl)
{
    if (cl->in_flight >= fg_concurrency_limit_current(cl)) {
        cl->refused_total++;
        cl->was_limited = true;
        if (!cl->config.is_shadow)
            return false;
    }
    cl->in_flight++;
    cl->acquired_total++;
    return true;
}

void fg_concurrency_limit_retake(struct fg_concurrency_limit *cl)
{
    cl->in_flight++;
    cl->acquired_total++;
}

void fg_concurrency_limit_note_demand(struct fg_concurrency_limit *cl)
{
    cl->was_limited = true;
}

void fg_concurrency_limit_release(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                  uint64_t latency_ns, enum fg_concurrency_outcome outcome)
{
    assert(cl->in_flight > 0);
    uint32_t in_flight = cl->in_flight;
    cl->in_flight--;
    cl->released_total++;
    cl->results_total += outcome != FG_CONCURRENCY_IGNORED;
    if (cl->config.mode == FG_CONCURRENCY_FIXED)
        return;
    if (outcome == FG_CONCURRENCY_SUCCESS) {
        fg_concurrency_ramp_note_answer(cl, now_ns, (double)latency_ns, in_flight);
    } else if (outcome == FG_CONCURRENCY_DROPPED) {
        cl->is_ramping = false;
    }
    if (cl->unsettled > 0) {
        cl->unsettled--; /* began, or waited behind those that began, under another limit */
        cl->window_started_ns = now_ns;
        return;
    }
    if (outcome == FG_CONCURRENCY_IGNORED ||
        (outcome == FG_CONCURRENCY_CUT_SHORT && !is_telling(cl, latency_ns)))
        return;
    add_result(cl, now_ns, latency_ns, outcome, in_flight);
}

uint32_t fg_concurrency_limit_current(const struct fg_concurrency_limit *cl)
{
    return (uint32_t)(cl->limit + 0.5);
}

uint32_t fg_concurrency_limit_in_flight(const struct fg_concurrency_limit *cl)
{
    return cl->in_flight;
}

bool fg_concurrency_limit_is_starting(const struct fg_concurrency_limit *cl)
{
    return cl->is_starting && cl->config.mode != FG_CONCURRENCY_FIXED;
}

uint64_t fg_concurrency_limit_noload_ns(const struct fg_concurrency_limit *cl)
{
    return (uint64_t)cl->noload.latency_ns;
}
