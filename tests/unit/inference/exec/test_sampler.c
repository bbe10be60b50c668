/*
 * test_sampler.c: which token is picked, and how often.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inference/kernels/kernels.h"
#include "inference/scheduler/sampler.h"

#define VOCAB 8
#define DRAWS 40000

static uint32_t pick(const struct fg_sampling *sampling, const float *logits, uint64_t position)
{
    struct fg_sampler_scratch *scratch = fg_sampler_scratch_create(VOCAB);
    assert_non_null(scratch);
    uint32_t token = fg_sampler_pick(sampling, logits, VOCAB, position, scratch);
    fg_sampler_scratch_destroy(scratch);
    return token;
}

/* Shares of DRAWS positions. */
static void draw(const struct fg_sampling *sampling, const float *logits, double shares[VOCAB])
{
    struct fg_sampler_scratch *scratch = fg_sampler_scratch_create(VOCAB);
    float before[VOCAB];
    assert_non_null(scratch);
    memcpy(before, logits, sizeof(before));
    memset(shares, 0, VOCAB * sizeof(shares[0]));
    for (uint64_t position = 0; position < DRAWS; position++)
        shares[fg_sampler_pick(sampling, logits, VOCAB, position, scratch)] += 1.0 / DRAWS;
    assert_memory_equal(before, logits, sizeof(before));
    fg_sampler_scratch_destroy(scratch);
}

/* Softmax over the tokens in `kept` (bit i: token i) at a temperature. */
static void assert_shares(const struct fg_sampling *sampling, const float *logits, unsigned kept)
{
    double shares[VOCAB], weights[VOCAB], total = 0;
    draw(sampling, logits, shares);
    for (int i = 0; i < VOCAB; i++) {
        weights[i] =
            (kept >> i & 1) != 0 ? exp((double)logits[i] / (double)sampling->temperature) : 0;
        total += weights[i];
    }
    for (int i = 0; i < VOCAB; i++) {
        double expected = weights[i] / total;
        if ((kept >> i & 1) == 0)
            assert_true(shares[i] == 0);
        else if (fabs(shares[i] - expected) > 5 * sqrt(expected * (1 - expected) / DRAWS) + 1e-9)
            fail_msg("token %d: share %g, expected %g", i, shares[i], expected);
    }
}

static const float slope[VOCAB] = {0.5f, 2.0f, -1.0f, 1.5f, 0.0f, 1.0f, -2.0f, 1.75f};

static void greedy_takes_the_largest_and_lowest(void **state)
{
    (void)state;
    const struct fg_sampling greedy = {.temperature = 0, .top_p = 1};
    const float tie[VOCAB] = {1, 3, 3, 2, 3, 0, 0, 0};
    const float with_nan[VOCAB] = {NAN, -5, NAN, -4, NAN, -6, NAN, NAN};
    const float only_nan[VOCAB] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    const float low[VOCAB] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY,
                              -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    assert_int_equal(pick(&greedy, slope, 0), 1);
    assert_int_equal(pick(&greedy, tie, 0), 1);
    assert_int_equal(pick(&greedy, with_nan, 0), 3);
    assert_int_equal(pick(&greedy, only_nan, 0), 0);
    assert_int_equal(pick(&greedy, low, 0), 0);
    assert_int_equal(pick(&greedy, slope, 0), 1);
}

static void odd_settings_are_safe(void **state)
{
    (void)state;
    const float peak[VOCAB] = {1, INFINITY, 3, INFINITY, 0, 0, NAN, -INFINITY};
    struct fg_sampling s = {.temperature = 1, .top_p = 1, .seed = 1};
    assert_int_equal(pick(&s, peak, 5), 1);
    s.temperature = NAN;
    assert_int_equal(pick(&s, slope, 5), 1);
    s.temperature = -1;
    assert_int_equal(pick(&s, slope, 5), 1);
    s.temperature = 1e-44f; /* its inverse is infinite */
    assert_int_equal(pick(&s, slope, 5), 1);
    s.temperature = 1e-3f;
    assert_int_equal(pick(&s, slope, 5), 1);
    s.temperature = 1;
    s.top_p = 0;
    assert_int_equal(pick(&s, slope, 5), 1);
    s.top_p = 1;
    s.top_k = 1;
    assert_int_equal(pick(&s, slope, 5), 1);
    s.top_k = UINT32_MAX;
    assert_true(pick(&s, slope, 5) < VOCAB);
}

static void temperature_follows_softmax(void **state)
{
    (void)state;
    struct fg_sampling s = {.temperature = 1, .top_p = 1, .seed = 11};
    assert_shares(&s, slope, 0xff);
    s.temperature = 0.5f;
    assert_shares(&s, slope, 0xff);
    s.temperature = 3;
    assert_shares(&s, slope, 0xff);
}

static void nan_and_minus_infinity_are_never_drawn(void **state)
{
    (void)state;
    const float holes[VOCAB] = {1, NAN, 2, -INFINITY, 0, NAN, 1.5f, -INFINITY};
    struct fg_sampling s = {.temperature = 1, .top_p = 1, .seed = 3};
    double shares[VOCAB];
    draw(&s, holes, shares);
    assert_true(shares[1] == 0 && shares[3] == 0 && shares[5] == 0 && shares[7] == 0);
    assert_true(shares[0] > 0 && shares[2] > 0 && shares[4] > 0 && shares[6] > 0);
}

static void top_k_keeps_the_heaviest(void **state)
{
    (void)state;
    struct fg_sampling s = {.temperature = 1, .top_p = 1, .top_k = 3, .seed = 5};
    assert_shares(&s, slope, 1u << 1 | 1u << 7 | 1u << 3);
    s.top_k = VOCAB;
    assert_shares(&s, slope, 0xff);
}

static void top_p_keeps_the_fewest_that_reach_it(void **state)
{
    (void)state;
    /* Shares of slope: 1: .334 7: .260 3: .203 5: .123 0: .075 4: .045 ... */
    struct fg_sampling s = {.temperature = 1, .top_p = 0.3f, .seed = 6};
    double total = 0, reached = 0;
    static const int order[] = {1, 7, 3, 5, 0, 4, 2, 6};
    for (int i = 0; i < VOCAB; i++)
        total += exp((double)slope[i]);
    unsigned kept = 0;
    for (int i = 0; i < VOCAB - 1; i++) {
        kept |= 1u << order[i];
        reached += exp((double)slope[order[i]]) / total;
        s.top_p = (float)(reached - 1e-3);
        assert_shares(&s, slope, kept);
    }
}

static void top_p_is_a_share_of_what_top_k_left(void **state)
{
    (void)state;
    /* Of tokens 1, 7, 3 the first two hold 0.745. */
    struct fg_sampling s = {.temperature = 1, .top_p = 0.74f, .top_k = 3, .seed = 6};
    assert_shares(&s, slope, 1u << 1 | 1u << 7);
    s.top_p = 0.76f;
    assert_shares(&s, slope, 1u << 1 | 1u << 7 | 1u << 3);
}

static void equal_logits_are_cut_by_id(void **state)
{
    (void)state;
    const float flat[VOCAB] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct fg_sampling s = {.temperature = 1, .top_p = 1, .top_k = 3, .seed = 9};
    assert_shares(&s, flat, 7);
}

static void the_draw_depends_on_seed_and_position_alone(void **state)
{
    (void)state;
    struct fg_sampling a = {.temperature = 1, .top_p = 0.95f, .top_k = 6, .seed = 1};
    struct fg_sampling b = a;
    size_t differing = 0, differing_next = 0;
    b.seed = 2;
    for (uint64_t position = 0; position < 1000; position++) {
        uint32_t first = pick(&a, slope, position);
        assert_int_equal(first, pick(&a, slope, position));
        differing += first != pick(&b, slope, position);
        differing_next += first != pick(&a, slope, position + 1);
    }
    assert_true(differing > 500);
    assert_true(differing_next > 500);
}

static void large_vocabularies_agree_with_a_sort(void **state)
{
    (void)state;
    const uint32_t count = 5000, k = 40;
    float *logits = calloc(count, sizeof(float));
    struct fg_sampler_scratch *scratch = fg_sampler_scratch_create(count);
    struct fg_sampling s = {.temperature = 2, .top_p = 1, .top_k = k, .seed = 4};
    assert_non_null(scratch);
    for (uint32_t i = 0; i < count; i++)
        logits[i] = (float)(i * 2654435761u >> 8) * 0x1p-22f;
    for (uint64_t position = 0; position < 500; position++) {
        uint32_t token = fg_sampler_pick(&s, logits, count, position, scratch), above = 0;
        for (uint32_t i = 0; i < count; i++)
            above += logits[i] > logits[token];
        assert_true(above < k);
    }
    fg_sampler_scratch_destroy(scratch);
    free(logits);
}

/* ---- the same by its definition: everything sorted, nothing left out ---- */

#define LARGE 20000u

struct weighed {
    float weight;
    uint32_t id;
};

static int heaviest_first(const void *a, const void *b)
{
    const struct weighed *x = a;
    const struct weighed *y = b;
    if (x->weight > y->weight || x->weight < y->weight)
        return x->weight > y->weight ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Whether `token` is among those that top-k, then top-p, keep; `row` gets sorted. */
static bool is_kept(struct weighed *row, uint32_t count, const struct fg_sampling *sampling,
                    uint32_t token)
{
    double total = 0;
    double sum = 0;
    qsort(row, count, sizeof(*row), heaviest_first);
    uint32_t keep = sampling->top_k != 0 && sampling->top_k < count ? sampling->top_k : count;
    for (uint32_t i = 0; i < keep; i++)
        total += (double)row[i].weight;
    double most = sampling->top_p < 1 ? (double)sampling->top_p * total * (1 + 1e-7) : INFINITY;
    for (uint32_t i = 0; i < keep && (i == 0 || sum < most); i++) {
        if (row[i].id == token)
            return true;
        sum += (double)row[i].weight;
    }
    return false;
}

static void check_cuts(const struct fg_kernels *kernels, uint32_t rounds)
{
    static float logits[LARGE];
    static struct weighed row[LARGE];
    struct fg_sampler_scratch *scratch = fg_sampler_scratch_create_with(LARGE, kernels);
    assert_non_null(scratch);
    uint64_t random = 42;
    for (uint32_t round = 0; round < rounds; round++) {
        float largest = -INFINITY;
        for (uint32_t i = 0; i < LARGE; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            float uniform = (float)(random >> 40) / (float)(1 << 24);
            logits[i] = logf(uniform + 1e-7f) * (round % 3 == 0 ? -1.0f : 2.0f);
            largest = fmaxf(largest, logits[i]);
        }
        struct fg_sampling sampling = {
            .temperature = 0.3f + (float)(round % 7) * 0.3f,
            .top_p = round % 2 == 0 ? 0.9f : 1,
            .top_k = round % 5 == 0 ? 0 : 1 + round * 97,
            .seed = round,
        };
        for (uint32_t i = 0; i < LARGE; i++)
            row[i] = (struct weighed){expf((logits[i] - largest) / sampling.temperature), i};
        for (uint64_t position = 0; position < 20; position++) {
            uint32_t token = fg_sampler_pick(&sampling, logits, LARGE, position, scratch);
            assert_true(is_kept(row, LARGE, &sampling, token));
        }
    }
    fg_sampler_scratch_destroy(scratch);
}

static void a_large_vocabulary_is_cut_by_the_definition(void **state)
{
    (void)state;
    check_cuts(fg_kernels_scalar(), 15);
    check_cuts(fg_kernels_best(), 45);
}

/* ---- the very token, by the definition in the head of sampler.c ---- */

static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double uniform_at(uint64_t seed, uint64_t position)
{
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    return (double)(mixed(mixed(seed + golden) + golden * (position + 1)) >> 11) * 0x1.0p-53;
}

/* What is kept of `row` (count), which is sorted by it; *sum is what that weighs. */
static uint32_t keep_by_definition(const struct fg_sampling *sampling, struct weighed *row,
                                   uint32_t count, double *sum)
{
    uint32_t keep = sampling->top_k != 0 && sampling->top_k < count ? sampling->top_k : count;
    double total = 0;
    if (keep == count) /* by id, as top-p alone has it */
        for (uint32_t i = 0; i < count; i++)
            total += (double)row[i].weight;
    qsort(row, count, sizeof(*row), heaviest_first);
    if (keep < count)
        for (uint32_t i = 0; i < keep; i++)
            total += (double)row[i].weight;
    double mass = sampling->top_p < 1 ? (double)sampling->top_p * total : INFINITY;
    uint32_t kept = 0;
    for (*sum = 0; kept < keep && (kept == 0 || *sum < mass); kept++)
        *sum += (double)row[kept].weight;
    return kept;
}

static void assert_defined_tokens(const char *name, const struct fg_kernels *kernels,
                                  const struct fg_sampling *sampling, const float *logits)
{
    static float weights[LARGE];
    static struct weighed row[LARGE];
    struct fg_sampler_scratch *scratch = fg_sampler_scratch_create_with(LARGE, kernels);
    uint32_t best = kernels->largest(logits, LARGE), count = 0;
    double sum = 0;
    assert_non_null(scratch);
    kernels->weigh(weights, logits, LARGE, logits[best], 1.0f / sampling->temperature, -27.6f);
    for (uint32_t i = 0; i < LARGE; i++) {
        if (weights[i] > 0 && weights[i] >= sampling->min_p)
            row[count++] = (struct weighed){weights[i], i};
    }
    uint32_t kept = keep_by_definition(sampling, row, count, &sum);
    for (uint64_t position = 0; position < 50; position++) {
        double target = uniform_at(sampling->seed, position) * sum, reached = 0;
        uint32_t at = 0;
        while (at + 1 < kept && !(target < (reached += (double)row[at].weight)))
            at++;
        uint32_t got = fg_sampler_pick(sampling, logits, LARGE, position, scratch);
        if (got != row[at].id)
            fail_msg("%s, top_p %g, top_k %u, position %llu: token %u, expected %u", name,
                     (double)sampling->top_p, sampling->top_k, (unsigned long long)position, got,
                     row[at].id);
    }
    fg_sampler_scratch_destroy(scratch);
}

enum shape { BELL, FLAT, ONE_HOT, TIES, HALF_MISSING, STEEP, NEAR_TIES, SHAPE_COUNT };

static float shaped(enum shape shape, uint32_t i, float bell)
{
    switch (shape) {
    case FLAT:
        return 1.5f;
    case ONE_HOT:
        return i == 777 ? 60 : -60;
    case TIES: /* four weights, each thousands of times */
        return (float)(i * 2654435761u >> 30);
    case HALF_MISSING:
        return i % 2 == 0 ? -INFINITY : i % 7 == 0 ? NAN : bell;
    case STEEP: /* down to what is not drawn at all */
        return -0.01f * (float)(i * 7919 % LARGE);
    case NEAR_TIES: /* the last bit apart */
        return nextafterf(2.0f, i % 3 == 0 ? 3.0f : 1.0f);
    default:
        return bell;
    }
}

static void cuts_are_those_of_the_definition(void **state)
{
    (void)state;
    static const char *const names[] = {"bell",         "flat",  "one hot",  "ties",
                                        "half missing", "steep", "near ties"};
    static const float shares[] = {1e-6f, 0.3f, 0.5f, 0.75f, 0.95f, 0.999999f, 1};
    static const uint32_t keeps[] = {0, 1, 40, 5000, LARGE - 1};
    static float logits[LARGE];
    uint64_t random = 9;
    for (int shape = 0; shape < SHAPE_COUNT; shape++) {
        for (uint32_t i = 0; i < LARGE; i++) {
            float bell = 0;
            for (int k = 0; k < 4; k++) {
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
                bell += 4 * (float)(random >> 40) * 0x1p-24f;
            }
            logits[i] = shaped((enum shape)shape, i, bell);
        }
        for (size_t p = 0; p < sizeof(shares) / sizeof(shares[0]); p++) {
            uint32_t top_k = keeps[(p + (size_t)shape) % (sizeof(keeps) / sizeof(keeps[0]))];
            struct fg_sampling sampling = {.temperature = 0.9f, .top_p = shares[p], .seed = p};
            if (p + 1 < sizeof(shares) / sizeof(shares[0]))
                assert_defined_tokens(names[shape], fg_kernels_best(), &sampling, logits);
            sampling.top_k = top_k != 0 ? top_k : 7;
            sampling.min_p = p % 3 == 2 ? 0.01f : 0;
            assert_defined_tokens(names[shape], fg_kernels_best(), &sampling, logits);
        }
    }
}

/* They differ in the last bits of a weight, which a draw meets once in a long while. */
static void all_kernels_draw_nearly_alike(void **state)
{
    (void)state;
    static float logits[LARGE];
    struct fg_sampler_scratch *plain = fg_sampler_scratch_create_with(LARGE, fg_kernels_scalar());
    struct fg_sampler_scratch *fast = fg_sampler_scratch_create(LARGE);
    struct fg_sampler_scratch *again = fg_sampler_scratch_create(LARGE);
    assert_true(plain != NULL && fast != NULL && again != NULL);
    for (uint32_t i = 0; i < LARGE; i++)
        logits[i] = 4 * sinf((float)i) + (float)(i % 13) / 3;
    uint32_t others = 0;
    for (uint64_t position = 0; position < 300; position++) {
        const struct fg_sampling sampling = {.temperature = 0.8f,
                                             .top_p = position % 3 == 0 ? 0.9f : 1,
                                             .top_k = position % 3 == 1 ? 500 : 0,
                                             .seed = 11};
        uint32_t token = fg_sampler_pick(&sampling, logits, LARGE, position, fast);
        others += token != fg_sampler_pick(&sampling, logits, LARGE, position, plain);
        assert_int_equal(fg_sampler_pick(&sampling, logits, LARGE, position, again), token);
    }
    assert_in_range(others, 0, 3);
    fg_sampler_scratch_destroy(plain);
    fg_sampler_scratch_destroy(fast);
    fg_sampler_scratch_destroy(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_lowest),
        cmocka_unit_test(odd_settings_are_safe),
        cmocka_unit_test(temperature_follows_softmax),
        cmocka_unit_test(nan_and_minus_infinity_are_never_drawn),
        cmocka_unit_test(top_k_keeps_the_heaviest),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_it),
        cmocka_unit_test(top_p_is_a_share_of_what_top_k_left),
        cmocka_unit_test(equal_logits_are_cut_by_id),
        cmocka_unit_test(the_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(large_vocabularies_agree_with_a_sort),
        cmocka_unit_test(a_large_vocabulary_is_cut_by_the_definition),
        cmocka_unit_test(cuts_are_those_of_the_definition),
        cmocka_unit_test(all_kernels_draw_nearly_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
