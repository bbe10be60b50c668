/*
 * sampler.c: greedy, temperature, top-k and top-p over one row of logits.
 * Job      weights are exp((logit - largest) / temperature); min-p drops those below its share of
 *          the heaviest, top-k keeps the k heaviest, then top-p the fewest of those that hold the
 *          share p; the token is where a uniform number falls in what is kept, heaviest first (by
 *          id where nothing is cut). What weighs less than e to the LEAST counts as nothing.
 * Thread   any. Nothing is kept between calls.
 * Same     token for the same seed on every worker of a machine: what differs between kernels is
 *          the last bits of a weight, and all workers take the same kernels (kernels.h).
 * Never    sorts the vocabulary: weights are counted by their size first, and only those that can
 *          be kept go into a heap, which gives up the heaviest first.
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
#define NARROW_FROM 512u /* fewer make a heap at once */

struct candidate {
    float weight;
    uint32_t id;
};

struct fg_sampler_scratch {
    uint32_t vocab_count;
    const struct fg_kernels *kernels;
    float *weights; /* (vocab_count), behind the candidates */
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

/* Heavier first; of equals the lower id. */
static bool is_before(struct candidate a, struct candidate b)
{
    return a.weight > b.weight || (!(a.weight < b.weight) && a.id < b.id);
}

static void sift_down(struct candidate *heap, size_t count, size_t at)
{
    struct candidate moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && is_before(heap[child + 1], heap[child]))
            child++;
        if (!is_before(heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void make_heap(struct candidate *heap, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(heap, count, i);
}

/* The heaviest leaves the heap and is put behind its new end. */
static struct candidate pop(struct candidate *heap, size_t count)
{
    struct candidate top = heap[0];
    heap[0] = heap[count - 1];
    heap[count - 1] = top;
    if (count > 1)
        sift_down(heap, count - 1, 0);
    return top;
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

/*
 * Pop the heaviest until `keep` are out or they weigh `mass`; they end at the back of the array,
 * heaviest last. Returns how many came out, and their sum.
 */
static size_t cut(struct candidate *heap, size_t count, size_t keep, double mass, double *sum)
{
    size_t taken = 0;
    *sum = 0;
    while (taken < keep && (taken == 0 || *sum < mass)) {
        *sum += (double)pop(heap, count - taken).weight;
        taken++;
    }
    return taken;
}

static uint32_t class_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof(bits));
    uint32_t class = (bits >> CLASS_SHIFT) - CLASS_FIRST;
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
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (class_of(candidates[i].weight) >= class)
            candidates[left++] = candidates[i];
    }
    return left;
}

static uint32_t draw_from_cut(const struct fg_sampling *sampling, struct candidate *candidates,
                              size_t count, double total, double u)
{
    size_t keep = sampling->top_k != 0 && sampling->top_k < count ? sampling->top_k : count;
    double sum;
    bool cuts_both = keep < count && sampling->top_p < 1; /* top-p is a share of what top-k left */
    double share = cuts_both || !(sampling->top_p < 1) ? INFINITY : (double)sampling->top_p * total;
    count = narrow(candidates, count, keep, share);
    keep = keep < count ? keep : count;
    make_heap(candidates, count);
    if (cuts_both) {
        size_t taken = cut(candidates, count, keep, INFINITY, &total);
        struct candidate *kept = candidates + count - taken; /* lightest first */
        double mass = (double)sampling->top_p * total;
        sum = 0;
        for (keep = 0; keep < taken && (keep == 0 || sum < mass); keep++)
            sum += (double)kept[taken - 1 - keep].weight;
    } else {
        keep = cut(candidates, count, keep, share, &sum);
    }
    double target = u * sum, reached = 0;
    for (size_t i = 0; i < keep; i++) {
        reached += (double)candidates[count - 1 - i].weight;
        if (target < reached)
            return candidates[count - 1 - i].id;
    }
    return candidates[count - keep].id; /* rounding */
}

struct fg_sampler_scratch *fg_sampler_scratch_create_with(uint32_t vocab_count,
                                                          const struct fg_kernels *kernels)
{
    size_t candidates_bytes = (size_t)vocab_count * sizeof(struct candidate);
    struct fg_sampler_scratch *scratch = malloc(sizeof(*scratch) + candidates_bytes +
                                                (size_t)vocab_count * sizeof(*scratch->weights));
    if (scratch == NULL)
        return NULL;
    scratch->vocab_count = vocab_count;
    scratch->kernels = kernels;
    scratch->weights = (float *)(void *)(scratch->candidates + vocab_count);
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
    return draw_from_cut(sampling, candidates, count, total, u);
}
