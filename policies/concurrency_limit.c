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
 * Laws     n: mean in flight, short: mean latency of the window, s: no-load latency
 *          GRADIENT2  limit' = n x t x s / short + max(1.5, sqrt(limit) / 2),
 *                     t = tolerance (1.5 while s is only an upper bound) + 3 standard errors
 *                     of short and s, at most 1.5 x limit + 1, at least 0.6 x n; while fewer
 *                     than 9 of 10 slots are used, the limit stands for n, as n does not follow
 *                     it; n and short are those of all recent windows at about the same n
 *          VEGAS      queue = n x (1 - s / short), l = log10(limit), at least 1;
 *                     below l: limit + 6 l; below 3 l: limit + l; above 6 l: limit - l
 *          AIMD       limit + 1, or min(limit - 1, limit x backoff) after a drop or time-out
 *          FIXED      limit
 *          The limit grows only if somebody was kept waiting and half of it was in use in the
 *          mean: an idle backend, and one short burst, prove nothing. GRADIENT2 and VEGAS back off
 *          as AIMD does when 1 in 10 results was a drop: quick refusals are no fast backend.
 * Probe    under a load that never lets up, latency never shows what it would be without us. So
 *          once in about 100 busy windows, sooner while s is not well known, the limit goes down
 *          for one window, just so far below the slots that are worked on (n x s / short) that
 *          latency must fall below s if s is too high: by a quarter to a half, not to the minimum.
 *          If latency follows all the way down, the next window looks further down.
 * Source   Netflix concurrency-limits: Gradient2Limit, VegasLimit, AIMDLimit (Apache 2.0).
 * Departs  GRADIENT2 compares with the no-load latency (noload_latency), not with a long-term
 *          mean: a mean follows a standing overload, and the limit with it, to the maximum. The
 *          window has no fixed length.
 */
#include "policies/concurrency_limit.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <math.h>

#define DROP_SHARE_INVERSE 10
#define GROWTH_MAX 1.5
#define NO_QUEUE 1.05       /* latency over no-load up to which nothing waits at the backend */
#define BOUND_TOLERANCE 1.5 /* while s may be anything: growth tells */
#define PROBE_FIRST 8       /* windows */
#define PROBE_SOON 20       /* windows */
#define SPREAD_MEMORY 0.9
#define CUT_MAX 0.6
#define MEAN_ERROR_MAX 0.08
#define COARSE_ERROR_MAX 0.16 /* while far from the goal, steps matter more than their accuracy */
#define FULL_SHARE 0.9        /* of the slots in use in the mean: n follows the limit */
#define ERRORS_BORNE 3        /* standard errors that are added to the tolerance */
#define SPARE_MIN 1.5         /* slots over what is needed, so that a small limit can grow */
#define GROWING 1.2           /* the last window raised the limit by so much */
#define OUTLIER_FACTOR 8      /* one stalled answer counts as at most so many of the last mean */
#define SETTLED 0.05          /* a smaller change of the limit needs no time to show */
#define PROBE_BELOW 0.2       /* ln: so far below what the slots are taken for */
#define PROBE_ERRORS 2.5      /* ... or so many standard errors */
#define PROBE_CUT_MAX 0.3
#define PROBE_CUT_MIN 0.8
#define PROBE_ACCURACY 5 /* standard errors that the latency ratio of a probe is apart */
#define SURE_ERROR 0.08  /* of s: less sure, sooner looked at again */
#define TURNOVERS 2      /* of all that is in flight, until a new limit has had its effect */
#define ROUND_TRIPS 8    /* a slow backend's window may take so many of its answers */

static double clamp(double value, double low, double high)
{
    if (value < low)
        return low;
    return value > high ? high : value;
}

static void set_limit(struct fg_concurrency_limit *cl, double limit)
{
    cl->limit = clamp(limit, cl->config.limit_min, cl->config.limit_max);
}

static void back_off(struct fg_concurrency_limit *cl)
{
    double cut = cl->limit * cl->config.backoff_permille / 1000;
    set_limit(cl, cut < cl->limit - 1 ? cut : cl->limit - 1);
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
    tolerance += ERRORS_BORNE * error;
    double gradient = tolerance * noload->latency_ns / seen->latency_ns;
    double spare = sqrt(cl->limit) / 2;
    double growth_max = GROWTH_MAX * cl->limit + 1;
    double base = window->was_full ? seen->in_flight : cl->limit;
    double wanted = base * gradient + (spare < SPARE_MIN ? SPARE_MIN : spare);
    if (cl->is_growing && window->latency_ns <= NO_QUEUE * noload->latency_ns)
        wanted = growth_max;
    wanted = clamp(wanted, CUT_MAX * base, growth_max);
    bool is_growth = wanted > cl->limit;
    if (is_growth ? window->has_demand : gradient < 1)
        set_limit(cl, wanted);
}

static void update_vegas(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    double queue = window->in_flight * (1 - cl->noload.latency_ns / window->latency_ns);
    double step = cl->limit > 10 ? log10(cl->limit) : 1;
    if (queue > 6 * step)
        set_limit(cl, cl->limit - step);
    else if (window->has_demand && queue < 3 * step)
        set_limit(cl, cl->limit + (queue < step ? 6 * step : step));
}

/* --- probes --- */

/* Down to where latency must be lower than s if s is too high. */
static void look_below(struct fg_concurrency_limit *cl, const struct fg_latency_window *window)
{
    double share = cl->noload.latency_ns / window->latency_ns; /* of n that is worked on */
    double errors = PROBE_ERRORS * window->error;
    double below = exp(-(errors > PROBE_BELOW ? errors : PROBE_BELOW));
    double cut = clamp(share * below, PROBE_CUT_MAX, PROBE_CUT_MIN);
    set_limit(cl, window->in_flight * cut);
    cl->probe_error = clamp(log(window->in_flight / floor(cl->limit)) / PROBE_ACCURACY, 0.05, 0.25);
    cl->is_probing = true;
}

/* The spread keeps many gateways from looking in step. Trust news, but look again soon. */
static void plan_probe(struct fg_concurrency_limit *cl)
{
    uint64_t spread = cl->acquired_total * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    double sure = clamp(SURE_ERROR / cl->noload.error, 0, 1);
    uint32_t windows = (uint32_t)(sure * cl->config.probe_windows);
    if (cl->has_news || windows < PROBE_SOON)
        windows = PROBE_SOON;
    cl->windows_to_probe = windows / 2 + (uint32_t)(spread % (windows + 1));
    if (cl->windows_to_probe == 0)
        cl->windows_to_probe = 1;
    cl->has_news = false;
}

/* True: the next window's limit is set, to look at the no-load latency or to end the look. */
static bool probe(struct fg_concurrency_limit *cl, const struct fg_latency_window *window,
                  double noload_before_ns)
{
    if (cl->config.probe_windows == 0)
        return false;
    if (!window->was_full) { /* n does not follow the limit: nothing to be seen */
        if (cl->is_probing) {
            set_limit(cl, cl->probe_from);
            cl->windows_to_probe = PROBE_SOON;
        }
        cl->is_probing = false;
        return false;
    }
    cl->has_news = cl->has_news || cl->noload.has_news;
    if (cl->is_probing && !(cl->noload.is_bound && cl->limit > cl->config.limit_min)) {
        cl->is_probing = false;
        plan_probe(cl);
        /* Back up to the slots that were worked on, which is a look too. */
        set_limit(cl, cl->probe_from * clamp(cl->noload.latency_ns / noload_before_ns, 0.3, 1.5));
        return true;
    }
    if (cl->is_probing) {
        cl->probe_from = cl->limit;
        look_below(cl, window);
        return true;
    }
    if (cl->has_news && cl->windows_to_probe > PROBE_SOON)
        cl->windows_to_probe = PROBE_SOON;
    bool is_unsure = cl->noload.is_bound && cl->noload.was_judged;
    if (!is_unsure && --cl->windows_to_probe > 0)
        return false;
    cl->probe_from = cl->limit;
    look_below(cl, window);
    return true;
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
    cl->was_limited = false;
}

static double window_spread(const struct fg_concurrency_limit *cl);

static void end_window(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    uint32_t results = cl->window_samples + cl->window_drops;
    struct fg_latency_window window = {.in_flight = (double)cl->window_in_flight_sum / results};
    window.has_demand = cl->was_limited && 2 * window.in_flight >= cl->limit;
    window.was_full =
        cl->was_limited && window.in_flight >= FULL_SHARE * fg_concurrency_limit_current(cl);
    cl->windows_total++;
    if (cl->config.mode == FG_CONCURRENCY_AIMD) {
        if (cl->window_drops > 0)
            back_off(cl);
        else if (window.has_demand)
            set_limit(cl, cl->limit + 1);
    } else if ((uint64_t)cl->window_drops * DROP_SHARE_INVERSE >= results) {
        back_off(cl);
    } else {
        double noload_before_ns = cl->noload.latency_ns;
        double spread = window_spread(cl);
        cl->spread = spread > SPREAD_MEMORY * cl->spread ? spread : SPREAD_MEMORY * cl->spread;
        window.latency_ns = cl->window_sum_ns / cl->window_samples;
        window.error = sqrt(cl->spread / cl->window_samples);
        cl->mean_ns = window.latency_ns;
        if (window.latency_ns < 1)
            window.latency_ns = 1;
        (void)fg_noload_latency_learn(&cl->noload, &window);
        if (!probe(cl, &window, noload_before_ns)) {
            if (cl->config.mode == FG_CONCURRENCY_GRADIENT2)
                update_gradient2(cl, &window);
            else
                update_vegas(cl, &window);
        }
    }
    double change = cl->limit / cl->window_limit;
    bool is_settled = change > 1 - SETTLED && change < 1 + SETTLED;
    cl->is_growing = change > GROWING;
    start_window(cl, now_ns);
    if (is_settled)
        return;
    uint32_t limit = fg_concurrency_limit_current(cl);
    if (cl->config.mode == FG_CONCURRENCY_AIMD)
        cl->unsettled = cl->in_flight; /* a failure tells of its time, however slow others are */
    else
        cl->unsettled = TURNOVERS * (cl->in_flight > limit ? cl->in_flight : limit);
}

/* How uneven the window's latencies are: their variance over their squared mean. */
static double window_spread(const struct fg_concurrency_limit *cl)
{
    double count = cl->window_samples;
    double mean = cl->window_sum_ns / count;
    return mean > 0 ? cl->window_squares / (count * mean * mean) - 1 : 0;
}

/* A few even answers of an uneven backend are luck, so the spread of earlier windows counts too. */
static bool is_mean_known(const struct fg_concurrency_limit *cl)
{
    double spread = window_spread(cl);
    if (spread < cl->spread)
        spread = cl->spread;
    double error = cl->is_growing ? COARSE_ERROR_MAX : MEAN_ERROR_MAX;
    if (cl->is_probing)
        error = cl->probe_error;
    return spread <= error * error * cl->window_samples;
}

static bool is_window_over(const struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    uint32_t results = cl->window_samples + cl->window_drops;
    uint32_t least = cl->config.window_samples_min;
    if (cl->config.mode != FG_CONCURRENCY_AIMD && cl->window_drops == 0 && least < cl->in_flight)
        least = cl->in_flight; /* answers of an even backend come in batches: not one batch alone */
    if (results < least)
        return false;
    if (results >= cl->config.window_samples_max || cl->window_samples == 0 || is_mean_known(cl))
        return true;
    double open_ns = (double)fg_subtract_floor(now_ns, cl->window_started_ns);
    return open_ns >= (double)cl->config.window_max_ns &&
           open_ns * cl->window_samples >= ROUND_TRIPS * cl->window_sum_ns;
}

static void add_result(struct fg_concurrency_limit *cl, uint64_t now_ns, uint64_t latency_ns,
                       bool is_drop, uint32_t in_flight)
{
    if (cl->window_started_ns == 0)
        start_window(cl, now_ns);
    if (is_drop) {
        cl->window_drops++;
    } else {
        double outlier_ns = OUTLIER_FACTOR * cl->mean_ns;
        double sample_ns = (double)latency_ns;
        if (outlier_ns > 0 && sample_ns > outlier_ns)
            sample_ns = outlier_ns;
        cl->window_samples++;
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
    *cl = (struct fg_concurrency_limit){.config = *config,
                                        .limit = config->limit_initial,
                                        .windows_to_probe = PROBE_FIRST,
                                        .is_growing = true};
    /* The first to come back are the quick ones. */
    uint32_t first = config->limit_initial < config->window_samples_min
                         ? config->limit_initial
                         : config->window_samples_min;
    if (config->mode != FG_CONCURRENCY_AIMD)
        cl->unsettled = TURNOVERS * first;
    fg_noload_latency_init(&cl->noload);
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
    if (cl->config.mode == FG_CONCURRENCY_FIXED)
        return;
    if (cl->unsettled > 0) {
        cl->unsettled--; /* began, or waited behind those that began, under another limit */
        cl->window_started_ns = now_ns;
        return;
    }
    if (outcome == FG_CONCURRENCY_IGNORED)
        return;
    bool is_drop = outcome == FG_CONCURRENCY_DROPPED;
    if (cl->config.mode == FG_CONCURRENCY_AIMD && latency_ns > cl->config.latency_max_ns)
        is_drop = true;
    add_result(cl, now_ns, latency_ns, is_drop, in_flight);
}

uint32_t fg_concurrency_limit_current(const struct fg_concurrency_limit *cl)
{
    return (uint32_t)cl->limit;
}

uint32_t fg_concurrency_limit_in_flight(const struct fg_concurrency_limit *cl)
{
    return cl->in_flight;
}

uint64_t fg_concurrency_limit_noload_ns(const struct fg_concurrency_limit *cl)
{
    return (uint64_t)cl->noload.latency_ns;
}
