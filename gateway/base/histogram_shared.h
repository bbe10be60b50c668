/*
 * histogram_shared.h: log-linear histogram of nanoseconds (or any count) with under 1 % error.
 * Protocol  one thread records (plain load and store, relaxed); any thread reads and merges, and
 *           may see a record that is not yet in the sum: fine for metrics.
 * Memory   fixed, about 16 KiB each.
 * Layout   values below 128 exactly; above, 64 equal steps in each power of two, up to 2^38 (about
 *          4.6 minutes in ns); larger values land in the last bucket. The relative width of a
 *          bucket is at most 1/64; its middle is reported, so the error is under 0.8 %.
 * Source   the layout of HdrHistogram.
 */
#ifndef FG_BASE_HISTOGRAM_SHARED_H
#define FG_BASE_HISTOGRAM_SHARED_H

#include "counters_shared.h"

#define FG_HISTOGRAM_BUCKETS (128 + 64 * 31)

struct fg_histogram {
    struct fg_counter buckets[FG_HISTOGRAM_BUCKETS];
    struct fg_counter count;
    struct fg_counter sum;
};

/* Only the thread that owns the histogram. Constant time. */
void fg_histogram_record(struct fg_histogram *histogram, uint64_t value);

/* Add what `from` holds now to `into`, which the caller owns alone. */
void fg_histogram_merge(struct fg_histogram *into, const struct fg_histogram *from);

/* The value that a fraction `permyriad`/10000 of the records do not exceed; 0 when there are none.
 */
uint64_t fg_histogram_quantile(const struct fg_histogram *histogram, unsigned permyriad);

/* How many records are at most `limit` (to the resolution of a bucket). */
uint64_t fg_histogram_count_up_to(const struct fg_histogram *histogram, uint64_t limit);

#endif
