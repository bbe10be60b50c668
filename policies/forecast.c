/*
 * forecast.c: how far off the times have been that people in a line were told.
 * Job      remember some of what was told, compare it with what came, and say how far off others
 *          may be: an error that is measured, not one that follows from a model.
 * Thread   one owner at a time.
 * Law      off = |came - told| / told, for times of each range apart, as what is wrong with short
 *          ones is soon known; the error is the farthest of the last eight, times what is told.
 *          What is overdue counts as far off as it is by now. It is at least EXPECTED where less
 *          than four are known (and as much as of the shorter ranges), and until those who leave in
 *          silence and turns that are not taken can have shown. Of a pace that is still being found
 *          nothing is known until four have come: all of the time.
 * Source   conformal prediction (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World,
 *          2005), in its simplest form: the next one is as far off as those before, but for one in
 *          nine where there were eight.
 */
#include "policies/forecast.h"

#include "policies/time_units.h"

#define EXPECTED 0.3
#define EXPECTED_UNSTEADY 1.0
#define KNOWN_LEAST 4u
#define FIRST_NS (10 * FG_POLICY_S) /* told of less: a rounding matters more than the pace */
#define RANGE_FACTOR 4u
#define SETTLE_NS FG_POLICY_S

/* Of eta_ns, which is FIRST_NS or more; *least_ns is where it begins. */
static unsigned range_of(uint64_t eta_ns, uint64_t *least_ns)
{
    unsigned range = 0;
    *least_ns = FIRST_NS;
    while (range < FG_FORECAST_RANGES - 1 && eta_ns >= *least_ns * RANGE_FACTOR) {
        *least_ns *= RANGE_FACTOR;
        range++;
    }
    return range;
}

void fg_forecast_tell(struct fg_forecast *forecast, uint64_t place, uint64_t eta_ns,
                      uint64_t now_ns)
{
    uint64_t least_ns;
    if (eta_ns < FIRST_NS || eta_ns >= FG_POLICY_NEVER - 1)
        return;
    struct fg_forecast_range *range = &forecast->ranges[range_of(eta_ns, &least_ns)];
    bool is_soon = range->told_ns != 0 && now_ns < range->told_ns + least_ns / 2;
    if (is_soon || range->told_count == FG_FORECASTS)
        return;
    range->told[range->told_count++] = (struct fg_forecast_told){place, now_ns, eta_ns};
    range->told_ns = now_ns;
}

/* In parts of what was told, if its turn came now. */
static double off_at(const struct fg_forecast_told *told, uint64_t now_ns)
{
    double took_ns = now_ns > told->at_ns ? (double)(now_ns - told->at_ns) : 0;
    double apart_ns = took_ns - (double)told->eta_ns;
    return (apart_ns < 0 ? -apart_ns : apart_ns) / (double)told->eta_ns;
}

static void note_off(struct fg_forecast_range *range, double off)
{
    range->off[range->off_next] = off;
    range->off_next = (range->off_next + 1) % FG_FORECASTS;
    if (range->off_count < FG_FORECASTS)
        range->off_count++;
}

static void settle(struct fg_forecast_range *range, uint64_t head, uint64_t now_ns)
{
    uint32_t kept = 0;
    double overdue = 0;
    for (uint32_t i = 0; i < range->told_count; i++) {
        const struct fg_forecast_told told = range->told[i];
        double off = off_at(&told, now_ns);
        if (told.place < head) {
            note_off(range, off);
            continue;
        }
        if (now_ns > told.at_ns && now_ns - told.at_ns > told.eta_ns && off > overdue)
            overdue = off;
        range->told[kept++] = told;
    }
    range->told_count = kept;
    range->share = overdue;
    for (uint32_t i = 0; i < range->off_count; i++)
        range->share = range->off[i] > range->share ? range->off[i] : range->share;
}

void fg_forecast_settle(struct fg_forecast *forecast, uint64_t head, uint64_t now_ns)
{
    if (now_ns >= forecast->settled_ns && now_ns - forecast->settled_ns < SETTLE_NS)
        return;
    forecast->settled_ns = now_ns;
    for (unsigned i = 0; i < FG_FORECAST_RANGES; i++)
        settle(&forecast->ranges[i], head, now_ns);
}

void fg_forecast_restart(struct fg_forecast *forecast, uint64_t learns_until_ns, bool is_unsteady)
{
    *forecast =
        (struct fg_forecast){.learns_until_ns = learns_until_ns, .is_unsteady = is_unsteady};
}

static bool is_known(const struct fg_forecast_range *range)
{
    return range->off_count >= KNOWN_LEAST;
}

/* The share where it has been seen; else of shorter times, and what may be expected. */
static double share_of(const struct fg_forecast *forecast, unsigned at)
{
    double share = forecast->ranges[at].share;
    bool is_any_known = is_known(&forecast->ranges[at]);
    bool is_learning = forecast->settled_ns < forecast->learns_until_ns;
    if (is_any_known && !is_learning)
        return share;
    for (unsigned i = 0; i < at; i++) {
        const struct fg_forecast_range *shorter = &forecast->ranges[i];
        is_any_known = is_any_known || is_known(shorter);
        share = shorter->share > share ? shorter->share : share;
    }
    double least = forecast->is_unsteady && !is_any_known ? EXPECTED_UNSTEADY : EXPECTED;
    return share > least ? share : least;
}

uint64_t fg_forecast_error_ns(const struct fg_forecast *forecast, uint64_t eta_ns)
{
    uint64_t least_ns;
    double error_ns = share_of(forecast, range_of(eta_ns, &least_ns)) * (double)eta_ns;
    return error_ns >= 1.8e19 ? FG_POLICY_NEVER - 1 : (uint64_t)error_ns;
}
