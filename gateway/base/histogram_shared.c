/*
 * histogram_shared.c: bucket arithmetic; see the header for the layout and the protocol.
 */
#include "histogram_shared.h"

#define LINEAR 128u
#define STEPS 64u

static unsigned bucket_of(uint64_t value)
{
    if (value < LINEAR)
        return (unsigned)value;
    unsigned power = 63u - (unsigned)__builtin_clzll(value); /* at least 7 */
    unsigned step = (unsigned)(value >> (power - 6)) - STEPS;
    unsigned bucket = LINEAR + (power - 7) * STEPS + step;
    return bucket < FG_HISTOGRAM_BUCKETS ? bucket : FG_HISTOGRAM_BUCKETS - 1;
}

static uint64_t middle_of(unsigned bucket)
{
    if (bucket < LINEAR)
        return bucket;
    unsigned power = 7 + (bucket - LINEAR) / STEPS;
    uint64_t step = (bucket - LINEAR) % STEPS + STEPS;
    uint64_t width = UINT64_C(1) << (power - 6);
    return step * width + width / 2;
}

void fg_histogram_record(struct fg_histogram *histogram, uint64_t value)
{
    fg_counter_add_owned(&histogram->buckets[bucket_of(value)], 1);
    fg_counter_add_owned(&histogram->count, 1);
    fg_counter_add_owned(&histogram->sum, value);
}

void fg_histogram_merge(struct fg_histogram *into, const struct fg_histogram *from)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < FG_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = fg_counter_get(&from->buckets[i]);
        if (n > 0)
            fg_counter_add_owned(&into->buckets[i], n);
        count += n;
    }
    fg_counter_add_owned(&into->count, count);
    fg_counter_add_owned(&into->sum, fg_counter_get(&from->sum));
}

uint64_t fg_histogram_quantile(const struct fg_histogram *histogram, unsigned permyriad)
{
    uint64_t count = fg_counter_get(&histogram->count);
    if (count == 0)
        return 0;
    uint64_t wanted = (count / 10000) * permyriad + (count % 10000 * permyriad + 9999) / 10000;
    if (wanted == 0)
        wanted = 1;
    uint64_t seen = 0;
    for (unsigned i = 0; i < FG_HISTOGRAM_BUCKETS; i++) {
        seen += fg_counter_get(&histogram->buckets[i]);
        if (seen >= wanted)
            return middle_of(i);
    }
    return middle_of(FG_HISTOGRAM_BUCKETS - 1);
}

uint64_t fg_histogram_count_up_to(const struct fg_histogram *histogram, uint64_t limit)
{
    unsigned last = bucket_of(limit);
    uint64_t count = 0;
    for (unsigned i = 0; i <= last; i++)
        count += fg_counter_get(&histogram->buckets[i]);
    return count;
}
