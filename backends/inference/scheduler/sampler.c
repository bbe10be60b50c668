/*
 * sampler.c: greedy, temperature, top-k and top-p over one row of logits.
 * Job      weights are exp((logit - largest) / temperature); min-p drops those below its share of
 *          the heaviest, top-k keeps the k heaviest, then top-p the fewest of those that hold the
 *          share p; the token is where a uniform number falls in what is kept, heaviest first (by
 *          id where nothing is cut). What weighs less than e to the LEAST counts as nothing.
 * Thread   any. Nothing is kept between calls.
 * Same     token for the same seed on every worker of a machine: what differs between kernels is
 *          the last bits of a weight, and all workers take the same kernels (kernels.h).
 * Cost     weights are counted by their size first, and only those that can be kept are sorted, by
 *          the digits of their bits: linear in the vocabulary whatever the settings are.
 * Source   random numbers: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as a counter-based
 *          generator; top-p: Holtzman et al. 2020; min-p: Nguyen et al. 2024.
 */
#include "inference/scheduler/sampler.h"

#include "inference/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A token in a million million: all that are rarer together are not drawn in a lifetime. */
#define LEAST (-27.6f)
/* Classes of weights from e^LEAST to 1: their exponent and three bits more, eight to a doubling. */
#define CLASS_SHIFT 20
#define CLASS_FIRST ((127u - 41u) << 3)
#define CLASS_COUNT (42u * 8u)
#define NARROW_FROM 512u /* fewer are sorted at once */
/* Weights are from 0 to 1: their bits are three digits of ten. */
#define DIGIT_BITS 10
#define DIGIT_COUNT (1u << DIGIT_BITS)
#define DIGITS 3

struct candidate {
    float weight;
    uint32_t id;
};

struct fg_sampler_scratch {
    uint32_t vocab_count;
    const struct fg_kernels *kernels;
    struct candidate *spare; /* (vocab_count), behind the candidates */
    float *weights;          /* (vocab_count), behind those */
    struct candidate candidates[];
};

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [0, 1), a function of its arguments alone. */
static double uniform(uint64_t seed, uint64_t position)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t stream = mix(seed + golden);
    return (double)(mix(stream + golden * (position + 1)) >> 11) * 0x1.0p-53;
}

static uint32_t bits_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof(bits));
    return bits;
}

/* The last digit is the first to be sorted by; the highest value comes first. */
static uint32_t digit_of(float weight, int digit)
{
    return DIGIT_COUNT - 1 - (bits_of(weight) >> (digit * DIGIT_BITS) & (DIGIT_COUNT - 1));
}

/*
 * Heaviest first; equals stay in their order, which is by id. Digit by digit from the last one,
 * between `from` and `spare` (count each); returns the one of the two that it ends in.
 */
static struct candidate *sort(struct candidate *from, struct candidate *spare, size_t count)
{
    uint32_t starts[DIGITS][DIGIT_COUNT] = {{0}};
    for (size_t i = 0; i < count; i++) {
        for (int digit = 0; digit < DIGITS; digit++)
            starts[digit][digit_of(from[i].weight, digit)]++;
    }
    for (int digit = 0; digit < DIGITS; digit++) {
        uint32_t next = 0;
        for (uint32_t value = 0; value < DIGIT_COUNT; value++) {
            uint32_t same = starts[digit][value];
            starts[digit][value] = next;
            next += same;
        }
        for (size_t i = 0; i < count; i++)
            spare[starts[digit][digit_of(from[i].weight, digit)]++] = from[i];
        struct candidate *sorted = spare;
        spare = from;
        from = sorted;
    }
    return from;
}

/* Fills candidates with the tokens that can be drawn, by id; returns how many, and their sum. */
static size_t collect(const struct fg_sampling *sampling, const float *logits, uint32_t vocab_count,
                      float largest, struct fg_sampler_scratch *scratch, double *total)
{
    const float *weights = scratch->weights;
    size_t count = 0;
    double sum = 0;
    scratch->kernels->weigh(scratch->weights, logits, vocab_count, largest,
                            1.0f / sampling->temperature, LEAST);
    /* Written in any case, and counted when it can be drawn: no branch that is hard to foretell. */
    for (uint32_t i = 0; i < vocab_count; i++) {
        bool is_kept = weights[i] > 0 && weights[i] >= sampling->min_p;
        scratch->candidates[count] = (struct candidate){weights[i], i};
        count += is_kept;
        sum += is_kept ? (double)weights[i] : 0;
    }
    *total = sum;
    return count;
}

static uint32_t draw_from_all(const struct candidate *candidates, size_t count, double target)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)candidates[i].weight;
        if (target < sum)
            return candidates[i].id;
    }
    return candidates[count - 1].id; /* rounding */
}

/* How many of the first `keep` there are until they weigh `mass`, at least one; and their sum. */
static size_t cut(const struct candidate *sorted, size_t keep, double mass, double *sum)
{
    size_t taken = 0;
    *sum = 0;
    while (taken < keep && (taken == 0 || *sum < mass))
        *sum += (double)sorted[taken++].weight;
    return taken;
}

static uint32_t class_of(float weight)
{
    uint32_t class = (bits_of(weight) >> CLASS_SHIFT) - CLASS_FIRST;
    assert(class < CLASS_COUNT);
    return class;
}

/*
 * Drops candidates that cannot be among the `keep` heaviest, or among the heaviest that weigh
 * `mass` together; their order stays. Returns how many are left.
 */
static size_t narrow(struct candidate *candidates, size_t count, size_t keep, double mass)
{
    uint32_t counts[CLASS_COUNT] = {0};
    double masses[CLASS_COUNT] = {0};
    if (count < NARROW_FROM)
        return count;
    for (size_t i = 0; i < count; i++) {
        uint32_t class = class_of(candidates[i].weight);
        counts[class]++;
        masses[class] += (double)candidates[i].weight;
    }
    /* The sum is made in another order than cut() makes it: a little more, to be sure. */
    const double margin = 1 + 1e-9;
    size_t reached = 0;
    double weight = 0;
    uint32_t class = CLASS_COUNT;
    while (class > 0 && reached < keep && weight < mass * margin) {
        class --;
        reached += counts[class];
        weight += masses[class];
    }
    uint32_t least_bits = (CLASS_FIRST + class) << CLASS_SHIFT;
    float least;
    memcpy(&least, &least_bits, sizeof(least));
    size_t left = 0;
    for (size_t i = 0; i < count; i++) { /* written in any case, as in collect() */
        candidates[left] = candidates[i];
        left += candidates[i].weight >= least;
    }
    return left;
}

static uint32_t draw_from_cut(const struct fg_sampling *sampling,
                              const struct fg_sampler_scratch *scratch,
                              struct candidate *candidates, size_t count, double total, double u)
{
    size_t keep = sampling->top_k != 0 && sampling->top_k < count ? sampling->top_k : count;
    double sum;
    bool cuts_both = keep < count && sampling->top_p < 1; /* top-p is a share of what top-k left */
    double share = cuts_both || !(sampling->top_p < 1) ? INFINITY : (double)sampling->top_p * total;
    count = narrow(candidates, count, keep, share);
    keep = keep < count ? keep : count;
    const struct candidate *sorted = sort(candidates, scratch->spare, count);
    if (cuts_both) {
        keep = cut(sorted, keep, INFINITY, &total);
        share = (double)sampling->top_p * total;
    }
    keep = cut(sorted, keep, share, &sum);
    return draw_from_all(sorted, keep, u * sum);
}

struct fg_sampler_scratch *fg_sampler_scratch_create_with(uint32_t vocab_count,
                                                          const struct fg_kernels *kernels)
{
    size_t candidates_bytes = (size_t)vocab_count * sizeof(struct candidate);
    struct fg_sampler_scratch *scratch = malloc(sizeof(*scratch) + 2 * candidates_bytes +
                                                (size_t)vocab_count * sizeof(*scratch->weights));
    if (scratch == NULL)
        return NULL;
    scratch->vocab_count = vocab_count;
    scratch->kernels = kernels;
    scratch->spare = scratch->candidates + vocab_count;
    scratch->weights = (float *)(void *)(scratch->spare + vocab_count);
    return scratch;
}

struct fg_sampler_scratch *fg_sampler_scratch_create(uint32_t vocab_count)
{
    return fg_sampler_scratch_create_with(vocab_count, fg_kernels_best());
}

void fg_sampler_scratch_destroy(struct fg_sampler_scratch *scratch)
{
    free(scratch);
}

uint32_t fg_sampler_pick(const struct fg_sampling *sampling, const float *logits,
                         uint32_t vocab_count, uint64_t position,
                         struct fg_sampler_scratch *scratch)
{
    assert(vocab_count >= 1);
    uint32_t best = scratch->kernels->largest(logits, vocab_count);
    /* An infinite or missing best leaves nothing to weigh. */
    if (!(sampling->temperature > 0) || !isfinite(logits[best]))
        return best;
    assert(scratch->vocab_count >= vocab_count);
    struct candidate *candidates = scratch->candidates;
    double total;
    size_t count = collect(sampling, logits, vocab_count, logits[best], scratch, &total);
    if (count == 0) /* a temperature so small that even 0 / t is not a number */
        return best;
    double u = uniform(sampling->seed, position);
    if (sampling->top_k == 0 && !(sampling->top_p < 1))
        return draw_from_all(candidates, count, u * total);
    return draw_from_cut(sampling, scratch, candidates, count, total, u);
}
