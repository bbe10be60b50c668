/*
 * step_bound.c: a maximum that is forgotten slowly, for each size.
 * Never    guesses for a size from smaller ones: what was never seen may take any time.
 */
#include "inference/scheduler/step_bound.h"

#define SAMPLE_MAX (UINT64_C(1) << 60) /* beyond it nothing is a step */
#define FORGET 16.0f /* of what a step took less, this share is believed at once */

static uint32_t class_of(uint64_t count, uint32_t classes)
{
    uint32_t at = 0;
    while (at + 1 < classes && UINT64_C(1) << at < count)
        at++;
    return at;
}

void fg_step_bound_learn(struct fg_step_bound *bound, uint64_t tokens, uint64_t positions,
                         uint64_t elapsed_ns)
{
    float *most = &bound->ns[class_of(tokens, FG_STEP_BOUND_TOKENS)]
                            [class_of(positions, FG_STEP_BOUND_POSITIONS)];
    float sample = elapsed_ns > SAMPLE_MAX ? (float)SAMPLE_MAX : (float)elapsed_ns;
    sample = sample < 1 ? 1 : sample;
    *most = sample > *most ? sample : *most - (*most - sample) / FORGET;
}

uint64_t fg_step_bound_expect(const struct fg_step_bound *bound, uint64_t tokens,
                              uint64_t positions)
{
    uint32_t first_tokens = class_of(tokens, FG_STEP_BOUND_TOKENS);
    uint32_t first_positions = class_of(positions, FG_STEP_BOUND_POSITIONS);
    float least = bound->ns[first_tokens][first_positions];
    if (least > 0)
        return (uint64_t)least;
    for (uint32_t t = first_tokens; t < FG_STEP_BOUND_TOKENS; t++) {
        for (uint32_t p = first_positions; p < FG_STEP_BOUND_POSITIONS; p++) {
            float seen = bound->ns[t][p];
            if (seen > 0 && (least <= 0 || seen < least))
                least = seen;
        }
    }
    return (uint64_t)least;
}
