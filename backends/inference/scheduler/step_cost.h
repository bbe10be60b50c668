/*
 * step_cost.h: how long a step takes, learnt from the steps that were run: what decides how much of
 * others' prompts may go into one, and how long a new request would wait.
 * Thread   one owner at a time; no clock of its own.
 *
 *    step time = decode time (by number of decodes) + prompt tokens x time of a prompt token
 */
#ifndef FG_INFERENCE_STEP_COST_H
#define FG_INFERENCE_STEP_COST_H

#include <stdint.h>

#define FG_STEP_COST_CLASSES 14u /* 1, 2, 3-4, 5-8, ... 4097-8192 decodes */

struct fg_step_cost {
    double decode_ns[FG_STEP_COST_CLASSES]; /* of a step of decodes alone; 0: not seen */
    double prefill_ns;                      /* of one prompt token; 0: not seen */
};

/* A step of so many decodes and prompt tokens took `elapsed_ns`. */
void fg_step_cost_learn(struct fg_step_cost *cost, uint32_t decodes, uint32_t prefill_tokens,
                        uint64_t elapsed_ns);

/* Time of a step of `decodes` alone, from its own class or its neighbours'; 0: unknown. */
uint64_t fg_step_cost_decode_ns(const struct fg_step_cost *cost, uint32_t decodes);

/*
 * Prompt tokens that fit into a step of at most `limit_ns` beside `decodes`: between `least` (some
 * progress is always made) and `most`.
 */
uint32_t fg_step_cost_budget(const struct fg_step_cost *cost, uint32_t decodes, uint64_t limit_ns,
                             uint32_t least, uint32_t most);

#endif
