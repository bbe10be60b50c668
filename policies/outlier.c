/*
 * outlier.c: passive ejection of hosts by what their answers were.
 * Job      errors in a row eject at once; ratio of errors and latency are judged once an interval
 *          against enough requests; an ejection ends by itself and grows when it is repeated. One
 *          restart breaks all that is under way, which is no ratio: errors of one instant are one.
 * Thread   one owner at a time.
 * Never    ejects the only host, or more of them than the cap allows: a cluster that is bad as a
 *          whole is a matter for the breaker.
 * Source   Envoy's outlier detection (growth by the number of ejections, cap, one less for every
 *          interval in service); latency against the median of the siblings instead of a standard
 *          deviation, which one very slow host would widen by itself.
 * Law      ejected for min(max, base x times); slow: mean > factor x median of the others' means.
 */
#include "policies/outlier.h"

#include <stdlib.h>

static size_t count_ejected(const struct fg_outlier_host *hosts, size_t host_count)
{
    size_t count = 0;
    for (size_t i = 0; i < host_count; i++)
        count += hosts[i].is_ejected;
    return count;
}

static bool is_within_cap(const struct fg_outlier_conf *conf, const struct fg_outlier_host *hosts,
                          size_t host_count)
{
    size_t after = count_ejected(hosts, host_count) + 1;
    if (after >= host_count)
        return false;
    return after == 1 || after * 1000 <= (uint64_t)host_count * conf->ejected_max_permille;
}

bool fg_outlier_try_eject(const struct fg_outlier_conf *conf, struct fg_outlier_host *hosts,
                          size_t host_count, size_t index, enum fg_outlier_reason reason,
                          uint64_t now_ns)
{
    struct fg_outlier_host *host = &hosts[index];
    if (host->is_ejected || !is_within_cap(conf, hosts, host_count))
        return false;
    if (host->ejections < UINT32_MAX)
        host->ejections++;
    uint64_t time_ns = conf->ejection_max_ns;
    if (conf->ejection_ns <= conf->ejection_max_ns / host->ejections)
        time_ns = conf->ejection_ns * host->ejections;
    host->is_ejected = true;
    host->reason = reason;
    host->ejected_until_ns = time_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + time_ns;
    host->ejections_total++;
    return true;
}

static bool let_back(struct fg_outlier_host *hosts, size_t host_count, uint64_t now_ns)
{
    bool changed = false;
    for (size_t i = 0; i < host_count; i++) {
        struct fg_outlier_host *host = &hosts[i];
        if (host->is_ejected && host->ejected_until_ns <= now_ns) {
            host->is_ejected = false;
            changed = true;
        } else if (!host->is_ejected && host->ejections > 0) {
            host->ejections--;
        }
    }
    return changed;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *one = a;
    const uint64_t *other = b;
    return (*one > *other) - (*one < *other);
}

static bool is_judged(const struct fg_outlier_conf *conf, const struct fg_outlier_sample *sample)
{
    return sample->answers > 0 && sample->answers >= conf->min_requests;
}

static uint64_t mean_latency_ns(const struct fg_outlier_sample *sample)
{
    uint64_t good = sample->answers - sample->errors;
    return good == 0 ? 0 : sample->latency_sum_ns / good;
}

/* The median of the other hosts' mean latencies; 0 when fewer than two can be compared with. */
static uint64_t siblings_median_ns(const struct fg_outlier_conf *conf,
                                   const struct fg_outlier_sample *samples, size_t host_count,
                                   size_t self, uint64_t *scratch)
{
    size_t count = 0;
    for (size_t i = 0; i < host_count; i++) {
        uint64_t mean_ns = mean_latency_ns(&samples[i]);
        if (i != self && is_judged(conf, &samples[i]) && mean_ns > 0)
            scratch[count++] = mean_ns;
    }
    if (count < 2)
        return 0;
    qsort(scratch, count, sizeof(*scratch), compare);
    return scratch[count / 2];
}

static enum fg_outlier_reason judge(const struct fg_outlier_conf *conf,
                                    const struct fg_outlier_sample *samples, size_t host_count,
                                    size_t index, uint64_t *scratch)
{
    const struct fg_outlier_sample *sample = &samples[index];
    if (!is_judged(conf, sample))
        return FG_OUTLIER_NONE;
    if (conf->error_permille > 0 && sample->error_instants >= FG_OUTLIER_INSTANTS_LEAST &&
        sample->errors >= sample->answers / 1000 * conf->error_permille +
                              (sample->answers % 1000 * conf->error_permille + 999) / 1000)
        return FG_OUTLIER_RATIO;
    if (conf->latency_permille == 0)
        return FG_OUTLIER_NONE;
    uint64_t median_ns = siblings_median_ns(conf, samples, host_count, index, scratch);
    if (median_ns > 0 && mean_latency_ns(sample) / conf->latency_permille > median_ns / 1000 &&
        mean_latency_ns(sample) > median_ns)
        return FG_OUTLIER_LATENCY;
    return FG_OUTLIER_NONE;
}

struct fg_outlier_change fg_outlier_sweep(const struct fg_outlier_conf *conf,
                                          struct fg_outlier_host *hosts, size_t host_count,
                                          const struct fg_outlier_sample *samples,
                                          uint64_t *scratch, uint64_t now_ns)
{
    struct fg_outlier_change change = {.changed = let_back(hosts, host_count, now_ns)};
    for (size_t i = 0; i < host_count; i++) {
        if (hosts[i].is_ejected)
            continue;
        enum fg_outlier_reason reason = judge(conf, samples, host_count, i, scratch);
        if (reason != FG_OUTLIER_NONE &&
            fg_outlier_try_eject(conf, hosts, host_count, i, reason, now_ns))
            change.changed = true;
    }
    change.ejected_count = (uint32_t)count_ejected(hosts, host_count);
    return change;
}
