/*
 * step_bound.c: a maximum that is forgotten slowly, for each size.
 * Law      a beat of a step that is larger than all that were seen takes at most what one of a
 *          smaller step did, times how much larger it is, in tokens and in positions: products
 *          grow by the first, attention by both.
 */
#include "inference/scheduler/step_bound.h"

#include <stdbool.h>

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

static float times_two(float value, uint32_t from, uint32_t to)
{
    for (; from < to && value < (float)SAMPLE_MAX; from++)
        value *= 2;
    return value;
}

/* Of the sizes that are as large in both (or of all others), the one that says least; 0: none. */
static float least_of(const struct fg_step_bound *bound, uint32_t tokens, uint32_t positions,
                      bool is_scaled)
{
    float least = 0;
    for (uint32_t t = is_scaled ? 0 : tokens; t < FG_STEP_BOUND_TOKENS; t++) {
        for (uint32_t p = is_scaled ? 0 : positions; p < FG_STEP_BOUND_POSITIONS; p++) {
            float most = times_two(times_two(bound->ns[t][p], t, tokens), p, positions);
            if (bound->ns[t][p] > 0 && (least <= 0 || most < least))
                least = most;
        }
    }
    return least;
}

uint64_t fg_step_bound_expect(const struct fg_step_bound *bound, uint64_t tokens,
                              uint64_t positions)
{
    uint32_t token_class = class_of(tokens, FG_STEP_BOUND_TOKENS);
    uint32_t position_class = class_of(positions, FG_STEP_BOUND_POSITIONS);
    float least = bound->ns[token_class][position_class];
    if (least <= 0)
        least = least_of(bound, token_class, position_class, false);
    if (least <= 0)
        least = least_of(bound, token_class, position_class, true);
    return (uint64_t)least;
}
