/*
 * retry_budget.c: how many retries may be in flight beside first attempts.
 * Job      keep retries from multiplying an outage: a share of live traffic, and none while
 *          shedding.
 * Thread   one owner at a time.
 * Never    retries; it only counts them. Slots that are out when the traffic falls stay out until
 *          they are released.
 * Source   Envoy's retry_budget (20 % of active and pending, at least 3).
 * Control law: in_flight <= max(min_retries, active x ratio), 0 while we shed.
 */
#include "policies/retry_budget.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define SHED_MEMORY_NS FG_POLICY_S /* refused work leaves no room for second attempts so long */

void fg_retry_budget_init(struct fg_retry_budget *rb, uint32_t ratio_permille, uint32_t min_retries)
{
    assert(ratio_permille <= 1000);
    *rb = (struct fg_retry_budget){.ratio_permille = ratio_permille, .min_retries = min_retries};
}

bool fg_retry_budget_is_shedding(uint64_t shed_at_ns, uint64_t now_ns)
{
    return shed_at_ns != 0 && fg_subtract_floor(now_ns, shed_at_ns) < SHED_MEMORY_NS;
}

uint64_t fg_retry_budget_limit(const struct fg_retry_budget *rb, uint64_t active, bool is_shedding)
{
    if (is_shedding)
        return 0;
    uint64_t share = fg_multiply_divide(active, rb->ratio_permille, 1000);
    return share > rb->min_retries ? share : rb->min_retries;
}

bool fg_retry_budget_try_acquire(struct fg_retry_budget *rb, uint64_t active, bool is_shedding)
{
    if (rb->in_flight >= fg_retry_budget_limit(rb, active, is_shedding) ||
        rb->in_flight == UINT32_MAX) {
        rb->refused_total++;
        return false;
    }
    rb->in_flight++;
    rb->granted_total++;
    return true;
}

void fg_retry_budget_release(struct fg_retry_budget *rb)
{
    assert(rb->in_flight > 0);
    rb->in_flight--;
}
