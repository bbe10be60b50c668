/*
 * logprobs.h: how likely the model found a token, and which ones it found likelier.
 * Thread   any; pure.
 */
#ifndef FG_INFERENCE_LOGPROBS_H
#define FG_INFERENCE_LOGPROBS_H

#include <stddef.h>
#include <stdint.h>

struct fg_logprob {
    uint32_t token;
    float logprob; /* natural; never above 0 */
};

#define FG_LOGPROBS_MAX 20u

/* Of a row of logits as the model gave it, before anything is done to it. */
struct fg_logprobs {
    double log_sum; /* the logarithm of the sum of exponentials */
    uint32_t count;
    struct fg_logprob top[FG_LOGPROBS_MAX]; /* (count) likeliest first; of equals the lower id */
};

/* The `count` (at most FG_LOGPROBS_MAX) likeliest of logits (vocab_count); NaN is left out. */
void fg_logprobs_compute(struct fg_logprobs *out, const float *logits, uint32_t vocab_count,
                         uint32_t count);

/* The logprob of a token whose logit is `logit`. */
float fg_logprobs_of(const struct fg_logprobs *logprobs, float logit);

#endif
