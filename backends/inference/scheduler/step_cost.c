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

static double size_of(uint32_t class)
{
    return (double)(UINT32_C(1) << class);
}

/* Of a class that was not seen, from the nearest below it: as if each cost as much as those did, or
 * as two prompt tokens, which read the weights once as well. */
static double from_fewer(const struct fg_step_cost *cost, uint32_t below, uint32_t own)
{
    double most_ns = cost->decode_ns[below] * size_of(own - below);
    double tokens_ns =
        cost->decode_ns[below] + 2 * cost->prefill_ns * (size_of(own) - size_of(below));
    return cost->prefill_ns > 0 && tokens_ns < most_ns ? tokens_ns : most_ns;
}

uint64_t fg_step_cost_decode_ns(const struct fg_step_cost *cost, uint32_t decodes)
{
    if (decodes == 0)
        return 0;
    uint32_t own = class_of(decodes);
    uint32_t below = own, above = own;
    if (cost->decode_ns[own] > 0)
        return (uint64_t)cost->decode_ns[own];
    while (below > 0 && cost->decode_ns[below] <= 0)
        below--;
    while (above < FG_STEP_COST_CLASSES && cost->decode_ns[above] <= 0)
        above++;
    double least_ns = cost->decode_ns[below];
    if (above == FG_STEP_COST_CLASSES) /* from none, too: 0 */
        return (uint64_t)from_fewer(cost, below, own);
    if (least_ns <= 0) /* more are no cheaper */
        return (uint64_t)cost->decode_ns[above];
    double share = (size_of(own) - size_of(below)) / (size_of(above) - size_of(below));
    return (uint64_t)(least_ns + share * (cost->decode_ns[above] - least_ns));
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
