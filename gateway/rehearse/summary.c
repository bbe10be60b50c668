/*
 * summary.c: a tally read for people.
 * Law      demand of a stretch = requests due in it on the backend's routes; a flood lasts from the
 *          first to the last stretch whose demand is above the backend's best stretch of useful
 *          answers and in which fewer than 99 % succeeded.
 */
#include "rehearse/summary.h"

#include <assert.h>
#include <stdlib.h>

#define NORMAL_SHARE 0.99
#define PEAK_WINDOWS 48 /* peaks are means over such a part of the time: one stretch is noise */

static int by_time(const void *a, const void *b)
{
    const struct fg_bite *x = a;
    const struct fg_bite *y = b;
    if (x->first_ns != y->first_ns)
        return x->first_ns < y->first_ns ? -1 : 1;
    return x->route < y->route ? -1 : x->route > y->route;
}

size_t fg_summary_bites(const struct fg_tally *tally, struct fg_bite bites[FG_BITES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < tally->route_count; i++) {
        const struct fg_tally_route *route = &tally->routes[i];
        uint64_t shed = 0;
        for (unsigned j = 0; j < FG_OVERLOAD_RESOURCE_COUNT && count < FG_BITES_MAX; j++) {
            shed += route->shed[j];
            if (route->shed[j] > 0)
                bites[count++] = (struct fg_bite){
                    route->shed_first_ns[j], i,
                    fg_overload_policy_name((enum fg_overload_resource)j), true, route->shed[j]};
        }
        for (unsigned j = 0; j < FG_TALLY_REASON_COUNT && count < FG_BITES_MAX; j++) {
            if (route->refused[j] > (j == FG_REFUSED_OVERLOAD ? shed : 0))
                bites[count++] = (struct fg_bite){route->refused_first_ns[j], i,
                                                  fg_tally_reason_name(j), true, route->refused[j]};
        }
        for (unsigned j = FG_OUTCOME_FAILED; j < FG_OUTCOME_COUNT && count < FG_BITES_MAX; j++) {
            if (route->outcomes[j] > 0)
                bites[count++] =
                    (struct fg_bite){route->first_ns[j], i, fg_outcome_name((enum fg_outcome)j),
                                     false, route->outcomes[j]};
        }
    }
    qsort(bites, count, sizeof(*bites), by_time);
    return count;
}

struct fg_class_sum fg_summary_class(const struct fg_tally *tally, const struct fg_config *config,
                                     enum fg_priority priority)
{
    struct fg_class_sum sum = {0};
    for (size_t i = 0; i < tally->route_count; i++) {
        const struct fg_tally_route *route = &tally->routes[i];
        if (config->routes[i].priority != priority)
            continue;
        for (unsigned j = 0; j < FG_OUTCOME_COUNT; j++)
            sum.outcomes[j] += route->outcomes[j];
    }
    for (unsigned j = 0; j < FG_OUTCOME_IN_LINE; j++)
        sum.ended += sum.outcomes[j];
    return sum;
}

static bool leads_to(const struct fg_config *config, size_t route, size_t backend)
{
    return config->routes[route].action == FG_ROUTE_BACKEND &&
           config->routes[route].backend_index == backend;
}

/* What became of the requests on the backend's routes in one stretch; places in line aside. */
static void sum_stretch(const struct fg_tally *tally, const struct fg_config *config,
                        size_t backend, size_t bucket, uint64_t *offered, uint64_t *good,
                        uint64_t *ended)
{
    *offered = *good = *ended = 0;
    for (size_t i = 0; i < tally->route_count; i++) {
        if (!leads_to(config, i, backend))
            continue;
        const struct fg_tally_point *point = &tally->routes[i].points[bucket];
        *offered += point->offered;
        *good += point->outcomes[FG_OUTCOME_GOOD];
        for (unsigned j = 0; j < FG_OUTCOME_IN_LINE; j++)
            *ended += point->outcomes[j];
    }
}

double fg_summary_good_per_s(const struct fg_tally *tally, const struct fg_config *config,
                             size_t backend, size_t bucket)
{
    uint64_t offered, good, ended;
    sum_stretch(tally, config, backend, bucket, &offered, &good, &ended);
    return (double)good * 1e9 / (double)tally->bucket_ns;
}

/* The best useful and the most wanted in any run of `window` stretches, a second. */
static void find_peaks(const struct fg_tally *tally, const struct fg_config *config, size_t backend,
                       size_t window, struct fg_flood *flood)
{
    uint64_t offered, good, ended, good_sum = 0, offered_sum = 0, most_good = 0, most_offered = 0;
    for (size_t i = 0; i < tally->bucket_count; i++) {
        sum_stretch(tally, config, backend, i, &offered, &good, &ended);
        good_sum += good;
        offered_sum += offered;
        if (i >= window) {
            sum_stretch(tally, config, backend, i - window, &offered, &good, &ended);
            good_sum -= good;
            offered_sum -= offered;
        }
        most_good = good_sum > most_good ? good_sum : most_good;
        most_offered = offered_sum > most_offered ? offered_sum : most_offered;
    }
    double per_s = 1e9 / ((double)tally->bucket_ns * (double)window);
    flood->peak_done_per_s = (double)most_good * per_s;
    flood->peak_demand_per_s = (double)most_offered * per_s;
}

struct fg_flood fg_summary_flood(const struct fg_tally *tally, const struct fg_config *config,
                                 size_t backend)
{
    struct fg_flood flood = {.is_normal = true};
    uint64_t offered, good, ended;
    size_t window = tally->bucket_count / PEAK_WINDOWS + 1;
    find_peaks(tally, config, backend, window, &flood);
    double most_good = flood.peak_done_per_s * (double)tally->bucket_ns / 1e9;
    for (size_t i = 0; i < tally->bucket_count; i++) {
        sum_stretch(tally, config, backend, i, &offered, &good, &ended);
        bool is_bad = (double)good < NORMAL_SHARE * (double)ended;
        uint64_t end_ns = (i + 1) * tally->bucket_ns;
        if (is_bad && (double)offered > most_good) {
            flood.begins_ns = flood.is_there ? flood.begins_ns : i * tally->bucket_ns;
            flood.is_there = true;
            flood.ends_ns = end_ns;
        }
        if (is_bad) {
            flood.normal_ns = end_ns;
            flood.is_normal = i + 1 < tally->bucket_count;
        }
    }
    return flood;
}
