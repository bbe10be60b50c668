/*
 * step_cost.c: moving averages of what decodes and prompt tokens cost in a step.
 * Job      decodes are kept by the power of two of their number, since reading the weights costs
 *          the same for one as for a few; prompt tokens by the token, since they are compute.
 * Never    lets one slow step (a machine that was busy elsewhere) undo what many have shown: an
 *          average moves by an eighth of the difference, and by at most its own size.
 */
#include "inference/scheduler/step_cost.h"

static uint32_t class_of(uint32_t decodes)
{
    uint32_t at = 0;
    while (at + 1 < FG_STEP_COST_CLASSES && UINT32_C(1) << at < decodes)
        at++;
    return at;
}

static void move(double *average, double sample)
{
    if (*average <= 0) {
        *average = sample;
        return;
    }
    if (sample > 2 * *average)
        sample = 2 * *average;
    *average += (sample - *average) / 8;
}

uint64_t fg_step_cost_decode_ns(const struct fg_step_cost *cost, uint32_t decodes)
{
    if (decodes == 0)
        return 0;
    uint32_t own = class_of(decodes);
    if (cost->decode_ns[own] > 0)
        return (uint64_t)cost->decode_ns[own];
    for (uint32_t away = 1; away < FG_STEP_COST_CLASSES; away++) {
        /* From fewer: as if each cost as much. From more: those are no cheaper. */
        if (own >= away && cost->decode_ns[own - away] > 0)
            return (uint64_t)(cost->decode_ns[own - away] * (double)(UINT32_C(1) << away));
        if (own + away < FG_STEP_COST_CLASSES && cost->decode_ns[own + away] > 0)
            return (uint64_t)cost->decode_ns[own + away];
    }
    return 0;
}

void fg_step_cost_learn(struct fg_step_cost *cost, uint32_t decodes, uint32_t prefill_tokens,
                        uint64_t elapsed_ns)
{
    if (prefill_tokens == 0) {
        if (decodes > 0)
            move(&cost->decode_ns[class_of(decodes)], (double)elapsed_ns);
        return;
    }
    double decode_ns = (double)fg_step_cost_decode_ns(cost, decodes);
    double left_ns = (double)elapsed_ns - decode_ns;
    /* Decodes of an unknown cost say nothing about the prompt beside them, but bound it. */
    double least_ns = (double)elapsed_ns / (double)(prefill_tokens + decodes);
    double sample = left_ns / (double)prefill_tokens;
    move(&cost->prefill_ns, sample > least_ns / 4 ? sample : least_ns / 4);
}

uint32_t fg_step_cost_budget(const struct fg_step_cost *cost, uint32_t decodes, uint64_t limit_ns,
                             uint32_t least, uint32_t most)
{
    if (least > most)
        return most;
    if (cost->prefill_ns <= 0)
        return most;
    double left_ns = (double)limit_ns - (double)fg_step_cost_decode_ns(cost, decodes);
    if (left_ns <= (double)least * cost->prefill_ns)
        return least;
    double tokens = left_ns / cost->prefill_ns;
    return tokens < (double)most ? (uint32_t)tokens : most;
}
