/*
 * concurrency_internal.h: what the two halves of a concurrency limit share: the windows, by which
 * it follows a backend (concurrency_limit.c), and what is learned beside them (concurrency_ramp.c).
 */
#ifndef FG_POLICIES_CONCURRENCY_INTERNAL_H
#define FG_POLICIES_CONCURRENCY_INTERNAL_H

#include "policies/concurrency_limit.h"

#define FG_CONCURRENCY_START_GROWTH 2
#define FG_CONCURRENCY_OUTLIER 8 /* one stalled answer counts as at most so many usual ones */

static inline double fg_concurrency_clamp(double value, double low, double high)
{
    if (value < low)
        return low;
    return value > high ? high : value;
}

static inline void fg_concurrency_set_limit(struct fg_concurrency_limit *cl, double limit)
{
    cl->limit = fg_concurrency_clamp(limit, cl->config.limit_min, cl->config.limit_max);
}

/* ---- concurrency_limit.c ---- */

/* What is in flight began under the limit before; then the new one has to have its effect. */
void fg_concurrency_wait_for_effect(struct fg_concurrency_limit *cl);

/* ---- concurrency_ramp.c ---- */

/* An answer has come; so many were in flight with it. */
void fg_concurrency_ramp_note_answer(struct fg_concurrency_limit *cl, uint64_t now_ns,
                                     double latency_ns, uint32_t in_flight);

#endif
