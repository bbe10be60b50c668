/*
 * concurrency_limit.c: how many requests may be in flight to one backend.
 * Job      hand out and take back slots; move the limit once a window by what the window showed.
 * Thread   one owner at a time.
 * Never    hands out a slot at or above the limit, moves it outside limit_min .. limit_max, or
 * takes slots away: after a cut the limit is met by waiting for releases. Source   Netflix
 * concurrency-limits: Gradient2Limit, AIMDLimit, WindowedLimit (Apache 2.0). Laws: GRADIENT2
 * gradient = clamp(tolerance x long / short, 0.5, 1) limit' = (1 - s) x limit + s x (limit x
 * gradient + queue) AIMD       limit' = limit + 1, or min(limit - 1, limit x backoff) after a drop
 * or time-out FIXED      limit' = limit short is the window's mean latency, long an exponential
 * mean of windows (its first 10 plainly averaged). Constants: s 0.2, tolerance 1.5, queue 4, long
 * window 600, limit 20 (20 to 200); AIMD backoff 0.9, time-out 5 s; window 1 s of at least 10
 * results, faster than 100 us not sampled. If long > 2 x short, then long x 0.95: an old overload
 * is forgotten faster. No growth while fewer than half the slots are used: an idle backend proves
 * nothing. Departs  GRADIENT2 cuts by backoff when 1 in 10 results was a drop: a backend that
 * refuses quickly would otherwise look fast. A window with too few results goes on instead of being
 * lost.
 */
#include "policies/concurrency_limit.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define WARM_UP_WINDOWS 10
#define GRADIENT_MIN 0.5
#define LONG_DECAY 0.95 /* while the long mean is more than twice the window's */
#define DROP_SHARE_INVERSE 10

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

/* Half the slots or more were in use at some moment of the window. */
static bool was_used(const struct fg_concurrency_limit *cl)
{
    return cl->window_in_flight_max >= cl->limit / 2;
}

static void learn_long_latency(struct fg_concurrency_limit *cl, double short_ns)
{
    if (cl->long_count < WARM_UP_WINDOWS) {
        cl->long_ns = (cl->long_ns * cl->long_count + short_ns) / (cl->long_count + 1);
        cl->long_count++;
    } else {
        double weight = 2.0 / ((double)cl->config.long_window + 1);
        cl->long_ns += weight * (short_ns - cl->long_ns);
    }
}

static void update_gradient2(struct fg_concurrency_limit *cl)
{
    const struct fg_concurrency_config *config = &cl->config;
    uint64_t results = (uint64_t)cl->window_samples + cl->window_drops;
    if ((uint64_t)cl->window_drops * DROP_SHARE_INVERSE >= results) {
        back_off(cl);
        return;
    }
    double short_ns = cl->window_sum_ns / cl->window_samples; /* drops were fewer: not 0 */
    learn_long_latency(cl, short_ns);
    double long_ns = cl->long_ns;
    if (long_ns > 2 * short_ns)
        cl->long_ns *= LONG_DECAY;
    if (!was_used(cl))
        return;
    double ratio = short_ns > 0 ? long_ns / short_ns * config->tolerance_permille / 1000 : 1;
    double gradient = clamp(ratio, GRADIENT_MIN, 1);
    double smoothing = config->smoothing_permille / 1000.0;
    double wanted = cl->limit * gradient + config->queue_size;
    set_limit(cl, (1 - smoothing) * cl->limit + smoothing * wanted);
}

static void update_aimd(struct fg_concurrency_limit *cl)
{
    if (cl->window_drops > 0)
        back_off(cl);
    else if (was_used(cl))
        set_limit(cl, cl->limit + 1);
}

static void start_window(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    cl->window_ends_ns = fg_add_saturating(now_ns, cl->config.window_ns);
    cl->window_sum_ns = 0;
    cl->window_samples = 0;
    cl->window_drops = 0;
    cl->window_in_flight_max = 0;
}

static void end_window(struct fg_concurrency_limit *cl, uint64_t now_ns)
{
    if (cl->config.mode == FG_CONCURRENCY_GRADIENT2)
        update_gradient2(cl);
    else
        update_aimd(cl);
    start_window(cl, now_ns);
}

static void add_result(struct fg_concurrency_limit *cl, uint64_t now_ns, uint64_t latency_ns,
                       bool is_drop, uint32_t in_flight)
{
    if (cl->window_ends_ns == 0)
        start_window(cl, now_ns);
    if (fg_subtract_floor(cl->window_ends_ns, now_ns) > cl->config.window_ns)
        cl->window_ends_ns = fg_add_saturating(now_ns, cl->config.window_ns); /* clock went back */
    if (is_drop) {
        cl->window_drops++;
    } else {
        cl->window_samples++;
        cl->window_sum_ns += (double)latency_ns;
    }
    if (in_flight > cl->window_in_flight_max)
        cl->window_in_flight_max = in_flight;
    uint64_t results = (uint64_t)cl->window_samples + cl->window_drops;
    if (now_ns >= cl->window_ends_ns && results >= cl->config.window_samples_min)
        end_window(cl, now_ns);
}

struct fg_concurrency_config fg_concurrency_limit_config_default(enum fg_concurrency_mode mode)
{
    struct fg_concurrency_config config = {
        .mode = mode,
        .limit_initial = 20,
        .limit_min = 20,
        .limit_max = 200,
        .window_samples_min = 10,
        .window_ns = 1 * FG_POLICY_S,
        .latency_min_ns = 100 * FG_POLICY_US,
        .latency_max_ns = 5 * FG_POLICY_S,
        .tolerance_permille = 1500,
        .smoothing_permille = 200,
        .queue_size = 4,
        .long_window = 600,
        .backoff_permille = 900,
    };
    if (mode == FG_CONCURRENCY_FIXED)
        config.limit_initial = 100;
    return config;
}

void fg_concurrency_limit_init(struct fg_concurrency_limit *cl,
                               const struct fg_concurrency_config *config)
{
    if (config->mode != FG_CONCURRENCY_FIXED) {
        assert(config->limit_min >= 1);
        assert(config->limit_min <= config->limit_initial);
        assert(config->limit_initial <= config->limit_max);
        assert(config->window_ns >= 1);
        assert(config->smoothing_permille <= 1000);
        assert(config->backoff_permille <= 1000);
        assert(config->long_window >= 1);
    }
    *cl = (struct fg_concurrency_limit){.config = *config, .limit = config->limit_initial};
}

bool fg_concurrency_limit_try_acquire(struct fg_concurrency_limit *cl)
{
    if (cl->in_flight >= fg_concurrency_limit_current(cl)) {
        cl->refused_total++;
        return false;
    }
    cl->in_flight++;
    cl->acquired_total++;
    return true;
}

void fg_concurrency_limit_release(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                  uint64_t latency_ns, enum fg_concurrency_outcome outcome)
{
    assert(cl->in_flight > 0);
    uint32_t in_flight = cl->in_flight;
    cl->in_flight--;
    if (cl->config.mode == FG_CONCURRENCY_FIXED || outcome == FG_CONCURRENCY_IGNORED)
        return;
    bool is_drop = outcome == FG_CONCURRENCY_DROPPED;
    if (!is_drop && latency_ns < cl->config.latency_min_ns)
        return;
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
