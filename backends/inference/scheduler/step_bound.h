/*
 * step_bound.h: the most that a beat has taken lately in a step of a size: what tells a step that
 * hangs from one that is large.
 * Thread   one owner at a time; no clock of its own.
 *
 *    size = tokens in the step x positions that they look back at, each by its power of two
 */
#ifndef FG_INFERENCE_STEP_BOUND_H
#define FG_INFERENCE_STEP_BOUND_H

#include <stdint.h>

#define FG_STEP_BOUND_TOKENS 17u    /* 1, 2, 3-4, ... up to 65536 */
#define FG_STEP_BOUND_POSITIONS 32u /* ... up to 2^31 */

struct fg_step_bound {
    float ns[FG_STEP_BOUND_TOKENS][FG_STEP_BOUND_POSITIONS]; /* 0: not seen */
};

void fg_step_bound_learn(struct fg_step_bound *bound, uint64_t tokens, uint64_t positions,
                         uint64_t elapsed_ns);

/*
 * Of its own size, else of the least that was seen and is as large in both, else what smaller ones
 * took, times as much as it is larger; 0: nothing was seen yet.
 */
uint64_t fg_step_bound_expect(const struct fg_step_bound *bound, uint64_t tokens,
                              uint64_t positions);

#endif
