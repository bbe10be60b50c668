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
 *          deviation, which one very slow host would widen by itself; by quantiles instead of the
 *          mean, which one answer of a minute moves and a steady tail hardly does.
 * Law      ejected for min(max, base x times); slow: median > factor x median of the others'
 *          medians, or the same of the ninth deciles, by FG_OUTLIER_SLOW_LEAST answers.
 */
#include "policies/outlier.h"

#include <stdlib.h>

#define FIRST_POWER 13u /* 8,192 ns: what is below is of the first bucket's size */
#define STEPS 8u        /* in each power of two */

static const unsigned quantiles_permille[FG_OUTLIER_QUANTILES] = {500, 900};

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

/* ---- latency ---- */

size_t fg_outlier_bucket(uint64_t latency_ns)
{
    if (latency_ns >> FIRST_POWER == 0)
        return 0;
    unsigned power = 63u - (unsigned)__builtin_clzll(latency_ns);
    size_t step = (size_t)(latency_ns >> (power - 3u)) & (STEPS - 1u);
    size_t bucket = (size_t)(power - FIRST_POWER) * STEPS + step;
    return bucket < FG_OUTLIER_BUCKETS ? bucket : FG_OUTLIER_BUCKETS - 1;
}

/* Where the bucket begins; that of the first one after the last is where that ends. */
static uint64_t begin_of(size_t bucket)
{
    uint64_t power_ns = UINT64_C(1) << (FIRST_POWER + bucket / STEPS);
    return power_ns + bucket % STEPS * (power_ns / STEPS);
}

/* Of those in its bucket, each has an equal part of it. 0: there are too few answers. */
static uint64_t quantile_ns(const struct fg_outlier_conf *conf,
                            const struct fg_outlier_sample *sample, unsigned permille)
{
    uint64_t all = 0, before = 0;
    if (!is_judged(conf, sample) || sample->latencies == NULL)
        return 0;
    for (size_t i = 0; i < FG_OUTLIER_BUCKETS; i++)
        all += sample->latencies[i];
    uint64_t rank = (all * permille + 999) / 1000;
    for (size_t i = 0; i < FG_OUTLIER_BUCKETS && rank > 0; i++) {
        uint64_t count = sample->latencies[i];
        if (before + count >= rank)
            return begin_of(i) + (begin_of(i + 1) - begin_of(i)) * (rank - before) / (count + 1);
        before += count;
    }
    return 0;
}

static uint64_t count_beyond(const struct fg_outlier_sample *sample, uint64_t limit_ns)
{
    uint64_t count = 0;
    for (size_t i = 0; i < FG_OUTLIER_BUCKETS; i++)
        count += begin_of(i + 1) > limit_ns ? sample->latencies[i] : 0;
    return count;
}

void fg_outlier_measure(const struct fg_outlier_conf *conf, struct fg_outlier_sample *sample)
{
    for (size_t q = 0; q < FG_OUTLIER_QUANTILES; q++)
        sample->quantiles_ns[q] =
            conf->latency_permille > 0 ? quantile_ns(conf, sample, quantiles_permille[q]) : 0;
}

/* What all hosts have, sorted, one quantile behind the other. */
static void sort_quantiles(const struct fg_outlier_sample *samples, size_t host_count,
                           uint64_t *scratch)
{
    for (size_t q = 0; q < FG_OUTLIER_QUANTILES; q++) {
        uint64_t *sorted = scratch + q * host_count;
        for (size_t i = 0; i < host_count; i++)
            sorted[i] = samples[i].quantiles_ns[q];
        qsort(sorted, host_count, sizeof(*sorted), compare);
    }
}

/* The median of the others; 0 when fewer than two can be compared with. Zeroes come first. */
static uint64_t siblings_median_ns(const uint64_t *sorted, size_t host_count, uint64_t own)
{
    size_t zeroes = 0, below = 0;
    while (zeroes < host_count && sorted[zeroes] == 0)
        zeroes++;
    if (host_count - zeroes < 3)
        return 0;
    size_t at = zeroes + (host_count - zeroes - 1) / 2;
    for (size_t from = 0, to = host_count; from < to; below = from) {
        size_t middle = from + (to - from) / 2;
        if (sorted[middle] < own)
            from = middle + 1;
        else
            to = middle;
    }
    return sorted[at < below ? at : at + 1]; /* without its own place */
}

static bool is_slow(const struct fg_outlier_conf *conf, const struct fg_outlier_sample *sample,
                    size_t host_count, const uint64_t *scratch)
{
    for (size_t q = 0; q < FG_OUTLIER_QUANTILES; q++) {
        uint64_t own_ns = sample->quantiles_ns[q];
        if (own_ns == 0)
            continue;
        uint64_t others_ns = siblings_median_ns(scratch + q * host_count, host_count, own_ns);
        uint64_t limit_ns = others_ns * conf->latency_permille / 1000;
        if (others_ns > 0 && own_ns > limit_ns &&
            count_beyond(sample, limit_ns) >= FG_OUTLIER_SLOW_LEAST)
            return true;
    }
    return false;
}

static enum fg_outlier_reason judge_one(const struct fg_outlier_conf *conf,
                                        const struct fg_outlier_sample *sample, size_t host_count,
                                        const uint64_t *scratch)
{
    if (!is_judged(conf, sample))
        return FG_OUTLIER_NONE;
    if (conf->error_permille > 0 && sample->error_instants >= FG_OUTLIER_INSTANTS_LEAST &&
        sample->errors >= sample->answers / 1000 * conf->error_permille +
                              (sample->answers % 1000 * conf->error_permille + 999) / 1000)
        return FG_OUTLIER_RATIO;
    if (conf->latency_permille > 0 && is_slow(conf, sample, host_count, scratch))
        return FG_OUTLIER_LATENCY;
    return FG_OUTLIER_NONE;
}

void fg_outlier_judge(const struct fg_outlier_conf *conf, struct fg_outlier_sample *samples,
                      size_t host_count, uint64_t *scratch)
{
    if (conf->latency_permille > 0)
        sort_quantiles(samples, host_count, scratch);
    for (size_t i = 0; i < host_count; i++)
        samples[i].verdict = judge_one(conf, &samples[i], host_count, scratch);
}

/* ---- what comes of it ---- */

struct fg_outlier_change fg_outlier_apply(const struct fg_outlier_conf *conf,
                                          struct fg_outlier_host *hosts, size_t host_count,
                                          uint64_t now_ns)
{
    struct fg_outlier_change change = {.changed = let_back(hosts, host_count, now_ns)};
    for (size_t i = 0; i < host_count; i++) {
        enum fg_outlier_reason verdict = hosts[i].verdict;
        hosts[i].verdict = FG_OUTLIER_NONE;
        if (verdict != FG_OUTLIER_NONE &&
            fg_outlier_try_eject(conf, hosts, host_count, i, verdict, now_ns))
            change.changed = true;
    }
    change.ejected_count = (uint32_t)count_ejected(hosts, host_count);
    return change;
}

struct fg_outlier_change fg_outlier_sweep(const struct fg_outlier_conf *conf,
                                          struct fg_outlier_host *hosts, size_t host_count,
                                          struct fg_outlier_sample *samples, uint64_t *scratch,
                                          uint64_t now_ns)
{
    for (size_t i = 0; i < host_count; i++)
        fg_outlier_measure(conf, &samples[i]);
    fg_outlier_judge(conf, samples, host_count, scratch);
    for (size_t i = 0; i < host_count; i++)
        hosts[i].verdict = samples[i].verdict;
    return fg_outlier_apply(conf, hosts, host_count, now_ns);
}
