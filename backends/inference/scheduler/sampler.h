/*
 * sampler.h: from a row of logits to the next token. Stateless: the random number of a position is
 * a function of (seed, position), so the same request gives the same text in any batch, on any
 * worker, and after being taken over by another one. Thread   any. Memory: scratch is the caller's.
 */
#ifndef FG_INFERENCE_SAMPLER_H
#define FG_INFERENCE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_sampling {
    float temperature; /* 0: greedy (lowest id wins a tie) */
    float top_p;       /* (0, 1]; 1: off */
    uint32_t top_k;    /* 0: off */
    uint64_t seed;
};

struct fg_sampler_scratch; /* sized by vocab_count */
/* NULL when there is no memory. */
struct fg_sampler_scratch *fg_sampler_scratch_create(uint32_t vocab_count);
void fg_sampler_scratch_destroy(struct fg_sampler_scratch *scratch);

/*
 * The token for `position` (index in the whole sequence). `logits` (vocab_count) is left unchanged.
 * NaN logits never win; if all are NaN the result is 0.
 */
uint32_t fg_sampler_pick(const struct fg_sampling *sampling, const float *logits,
                         uint32_t vocab_count, uint64_t position,
                         struct fg_sampler_scratch *scratch);

#endif
