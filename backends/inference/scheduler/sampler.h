/*
 * sampler.h: from a row of logits to the next token. Stateless: the random number of a position is
 * a function of (seed, position), so the same request gives the same text in any batch, on any
 * worker of a machine, and after being taken over by another one.
 * Thread   any. Memory: scratch is the caller's.
 */
#ifndef FG_INFERENCE_SAMPLER_H
#define FG_INFERENCE_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Compared and copied as bytes between processes: no padding. */
struct fg_sampling {
    float temperature;        /* 0: greedy (lowest id wins a tie) */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1]: least share of the heaviest token's weight; 0: off */
    float repetition_penalty; /* > 0; divides the logits of tokens that were seen; 1 or 0: off */
    float frequency_penalty;  /* taken off a logit for each time that its token was generated */
    float presence_penalty;   /* taken off once if it was */
    uint32_t top_k;           /* 0: off */
    uint32_t logprob_count;   /* 0: none; else 1 + how many of the likeliest tokens to tell of */
    uint64_t seed;
};

_Static_assert(sizeof(struct fg_sampling) == 40, "no padding");

struct fg_kernels;
struct fg_sampler_scratch; /* sized by vocab_count */
/* With the kernels that this processor runs fastest; NULL when there is no memory. */
struct fg_sampler_scratch *fg_sampler_scratch_create(uint32_t vocab_count);
/* The same with kernels of the caller's choice: for tests and measurements. */
struct fg_sampler_scratch *fg_sampler_scratch_create_with(uint32_t vocab_count,
                                                          const struct fg_kernels *kernels);
void fg_sampler_scratch_destroy(struct fg_sampler_scratch *scratch);

/*
 * The token for `position` (index in the whole sequence). `logits` (vocab_count) is left unchanged.
 * NaN logits never win; if all are NaN the result is 0.
 */
uint32_t fg_sampler_pick(const struct fg_sampling *sampling, const float *logits,
                         uint32_t vocab_count, uint64_t position,
                         struct fg_sampler_scratch *scratch);

#endif
