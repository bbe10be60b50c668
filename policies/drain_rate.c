/*
 * drain_rate.c: how fast a line gets shorter, measured, and what that says about a place in it.
 * Job      an exponentially weighted mean and variance of how many are admitted in an interval,
 *          and the share of the line that gives up in one.
 * Thread   one owner at a time.
 * Law      mean' = mean + a d, variance' = (1 - a)(variance + a d^2), d = admitted - mean
 *          (T. Finch, Incremental calculation of weighted mean and variance, 2009, section 9).
 *          Of P people ahead P' = -mean - leaving P are left after a time, so that the last of
 *          them is gone after k = log(1 + leaving P / mean) / leaving intervals, or P / mean when
 *          nobody leaves. Over k intervals the line drains with the variance of each of them and
 *          the k-fold error of the mean itself:
 *              error^2 = k variance + k^2 variance a / (2 - a)
 *          To it comes half of what those who leave are hoped to save.
 * Departs  before the first measurement the mean is what is expected and its variance that of
 *          arrivals at random (Poisson); intervals in which the line ran empty teach nothing.
 */
#include "policies/drain_rate.h"

#include "policies/time_units.h"

#include <assert.h>
#include <math.h>

#define WEIGHT 0.125 /* of the newest interval: the last eight or so count */
#define SIGMAS 2.0
#define MEAN_LEAST 1e-9 /* below it the line stands */
#define LEAVING_LEAST 1e-9

void fg_drain_rate_init(struct fg_drain_rate *rate, double expected, uint64_t interval_ns,
                        uint64_t now_ns)
{
    assert(interval_ns >= 1 && expected >= 0);
    *rate = (struct fg_drain_rate){
        .interval_ns = interval_ns, .started_ns = now_ns, .mean = expected, .variance = expected};
}

void fg_drain_rate_note(struct fg_drain_rate *rate, uint64_t admitted, uint64_t left,
                        uint64_t waiting, uint64_t now_ns)
{
    rate->admitted += admitted;
    rate->left += left;
    rate->is_spoiled |= waiting == 0;
    if (now_ns < rate->started_ns || now_ns - rate->started_ns < rate->interval_ns)
        return;
    if (!rate->is_spoiled) {
        double share = (double)rate->interval_ns / (double)(now_ns - rate->started_ns);
        double apart = (double)rate->admitted * share - rate->mean;
        double leaving = (double)rate->left * share / (double)(waiting + rate->left);
        rate->mean += WEIGHT * apart;
        rate->variance = (1 - WEIGHT) * (rate->variance + WEIGHT * apart * apart);
        rate->leaving += WEIGHT * (leaving - rate->leaving);
    }
    rate->started_ns = now_ns;
    rate->admitted = 0;
    rate->left = 0;
    rate->is_spoiled = waiting == 0;
}

static uint64_t to_ns(double intervals, uint64_t interval_ns)
{
    double ns = ceil(intervals * (double)interval_ns);
    return ns >= 1.8e19 ? FG_POLICY_NEVER - 1 : (uint64_t)ns;
}

struct fg_drain_estimate fg_drain_rate_estimate(const struct fg_drain_rate *rate, double people,
                                                double people_error)
{
    if (rate->mean < MEAN_LEAST)
        return (struct fg_drain_estimate){FG_POLICY_NEVER, FG_POLICY_NEVER};
    double at_most = people <= 0 ? 0 : people / rate->mean;
    double intervals =
        rate->leaving < LEAVING_LEAST ? at_most : log1p(rate->leaving * at_most) / rate->leaving;
    double variance =
        intervals * rate->variance + intervals * intervals * rate->variance * WEIGHT / (2 - WEIGHT);
    double error = (SIGMAS * sqrt(variance) + people_error) / rate->mean;
    error += (at_most - intervals) / 2;
    return (struct fg_drain_estimate){
        .eta_ns = to_ns(intervals, rate->interval_ns),
        .error_ns = to_ns(error, rate->interval_ns),
    };
}

double fg_drain_rate_per_s(const struct fg_drain_rate *rate)
{
    return rate->mean * (double)FG_POLICY_S / (double)rate->interval_ns;
}
