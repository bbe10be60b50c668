/*
 * logprobs.c: one pass for the largest and the list of the likeliest, one for the sum.
 */
#include "inference/scheduler/logprobs.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Into the list, which is sorted; the lightest falls off its end. */
static void insert(struct fg_logprobs *out, uint32_t most, uint32_t token, float logit)
{
    uint32_t at = out->count;
    if (at == most) {
        if (most == 0 || !(logit > out->top[most - 1].logprob))
            return;
        at--;
    } else {
        out->count++;
    }
    while (at > 0 && logit > out->top[at - 1].logprob) {
        out->top[at] = out->top[at - 1];
        at--;
    }
    out->top[at] = (struct fg_logprob){token, logit};
}

void fg_logprobs_compute(struct fg_logprobs *out, const float *logits, uint32_t vocab_count,
                         uint32_t count)
{
    assert(count <= FG_LOGPROBS_MAX);
    float largest = -INFINITY;
    double sum = 0;
    *out = (struct fg_logprobs){0};
    for (uint32_t i = 0; i < vocab_count; i++) {
        if (isnan(logits[i]))
            continue;
        largest = logits[i] > largest ? logits[i] : largest;
        insert(out, count, i, logits[i]);
    }
    for (uint32_t i = 0; i < vocab_count; i++) {
        if (!isnan(logits[i]))
            sum += exp((double)logits[i] - (double)largest);
    }
    out->log_sum = (double)largest + log(sum);
    for (uint32_t i = 0; i < out->count; i++)
        out->top[i].logprob = fg_logprobs_of(out, out->top[i].logprob);
}

float fg_logprobs_of(const struct fg_logprobs *logprobs, float logit)
{
    double value = (double)logit - logprobs->log_sum;
    return isnan(value) || value < -9999 ? -9999.0f : value > 0 ? 0.0f : (float)value;
}
