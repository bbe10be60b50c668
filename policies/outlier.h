/*
 * outlier.h: which hosts of a cluster answer so badly that they are left alone for a while.
 * Thread   one owner at a time; shared detectors are wrapped by whoever shares them.
 *
 *    in service --errors in a row | error ratio | latency--> ejected --time is up--> in service
 *                 (not when too many are ejected already)      longer each time
 */
#ifndef FG_POLICIES_OUTLIER_H
#define FG_POLICIES_OUTLIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_OUTLIER_INSTANTS_LEAST 3u
/* Latencies are counted by size: eight steps in each power of two, from 8 us to 4.6 minutes. */
#define FG_OUTLIER_BUCKETS 200u
#define FG_OUTLIER_SLOW_LEAST 5u
#define FG_OUTLIER_QUANTILES 2u

struct fg_outlier_conf {
    uint32_t consecutive_errors;   /* 0: off */
    uint32_t error_permille;       /* of the answers in one interval, when the errors are of
                                    * FG_OUTLIER_INSTANTS_LEAST instants at least; 0: off */
    uint32_t latency_permille;     /* median or ninth decile of latency against the median of the
                                    * siblings', with FG_OUTLIER_SLOW_LEAST answers at least that
                                    * were so slow; 0: off */
    uint32_t min_requests;         /* in an interval, before ratio or latency count */
    uint32_t ejected_max_permille; /* of all hosts; one may always be, if there are others */
    uint64_t ejection_ns;          /* the first time; then twice, three times, ... as long */
    uint64_t ejection_max_ns;
};

enum fg_outlier_reason {
    FG_OUTLIER_NONE,
    FG_OUTLIER_CONSECUTIVE,
    FG_OUTLIER_RATIO,
    FG_OUTLIER_LATENCY,
};

/* A host; zeroed is in service. */
struct fg_outlier_host {
    uint32_t ejections; /* how long the next one will be; falls again while in service */
    bool is_ejected;
    enum fg_outlier_reason reason; /* of the last ejection */
    uint64_t ejected_until_ns;
    uint64_t ejections_total;
    enum fg_outlier_reason verdict; /* of a judgement that is still to be carried out */
};

/* What one host did since the last sweep. */
struct fg_outlier_sample {
    uint64_t answers; /* good and bad */
    uint64_t errors;
    uint64_t error_instants; /* at which there were errors (failure_row.h) */
    uint32_t *latencies;     /* of the good ones, FG_OUTLIER_BUCKETS counts; NULL: not known */
    uint64_t quantiles_ns[FG_OUTLIER_QUANTILES]; /* set by fg_outlier_measure; 0: not judged */
    enum fg_outlier_reason verdict;              /* set by fg_outlier_judge */
};

struct fg_outlier_change {
    bool changed; /* some host was ejected or came back */
    uint32_t ejected_count;
};

/* Which count of a sample's an answer of this latency belongs to. */
size_t fg_outlier_bucket(uint64_t latency_ns);

/* Errors in a row have reached consecutive_errors. True: host `index` is ejected now. */
bool fg_outlier_try_eject(const struct fg_outlier_conf *conf, struct fg_outlier_host *hosts,
                          size_t host_count, size_t index, enum fg_outlier_reason reason,
                          uint64_t now_ns);

/*
 * Once an interval, in three steps, of which the last alone looks at the hosts: whoever shares them
 * holds them for that one only.
 */
/* One sample's quantiles, from its latencies. O(FG_OUTLIER_BUCKETS). */
void fg_outlier_measure(const struct fg_outlier_conf *conf, struct fg_outlier_sample *sample);
/*
 * What the measured samples say of each other, into each one's verdict. `scratch` holds
 * FG_OUTLIER_SCRATCH numbers a host. O(n log n), and O(FG_OUTLIER_BUCKETS) for each that is slow.
 */
#define FG_OUTLIER_SCRATCH FG_OUTLIER_QUANTILES
void fg_outlier_judge(const struct fg_outlier_conf *conf, struct fg_outlier_sample *samples,
                      size_t host_count, uint64_t *scratch);
/* Let those back whose time is up, and carry the hosts' verdicts out, which are over by that. */
struct fg_outlier_change fg_outlier_apply(const struct fg_outlier_conf *conf,
                                          struct fg_outlier_host *hosts, size_t host_count,
                                          uint64_t now_ns);
/* All three, for one who may take the time. */
struct fg_outlier_change fg_outlier_sweep(const struct fg_outlier_conf *conf,
                                          struct fg_outlier_host *hosts, size_t host_count,
                                          struct fg_outlier_sample *samples, uint64_t *scratch,
                                          uint64_t now_ns);

#endif
