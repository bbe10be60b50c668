/*
 * gcra.c: the generic cell rate algorithm, exact in integers.
 * Job      answer "may `cost` more pass now, and if not, when?" from one time stamp.
 * Thread   one owner at a time; no lock, no clock, no heap.
 * Never    lets through more than burst + elapsed x rate, whatever the clock does; but for what it
 *          was told of afterwards (charge), which later ones pay for.
 * Source   ITU-T I.371 annex A, as a virtual scheduling algorithm. With T = period / amount and
 *          tau = T x burst:   due' = max(now, due) + cost x T;   pass if due' <= now + tau.
 *          (The standard's tau leaves one T out, as it asks before a cell, not with it.)
 *    `due` is whole nanoseconds and parts of 1/amount ns, so that T is exact: 7 in 3 days are 7.
 * How far it is ahead of the clock, the lead, is what everything follows from.
 */
#include "policies/gcra.h"

#include "policies/wide_math.h"

#include <assert.h>

/* How far `due` is ahead of now_ns, in parts of 1/amount ns; one that passed costs period_ns. */
static fg_wide lead_at(const struct fg_gcra *gcra, uint64_t now_ns)
{
    if (gcra->due_ns < now_ns)
        return 0;
    return (fg_wide)(gcra->due_ns - now_ns) * gcra->amount + gcra->fraction;
}

static void set_lead(struct fg_gcra *gcra, uint64_t now_ns, fg_wide lead)
{
    gcra->due_ns = fg_add_saturating(now_ns, fg_wide_saturate(lead / gcra->amount));
    gcra->fraction = (uint64_t)(lead % gcra->amount);
}

static uint64_t round_up_ns(const struct fg_gcra *gcra, fg_wide parts)
{
    return fg_wide_saturate((parts + gcra->amount - 1) / gcra->amount);
}

static fg_wide tolerance(const struct fg_gcra *gcra)
{
    return (fg_wide)gcra->burst * gcra->period_ns;
}

void fg_gcra_init(struct fg_gcra *gcra, uint64_t amount, uint64_t period_ns, uint64_t burst,
                  uint64_t now_ns)
{
    assert(amount != 0);
    assert(period_ns != 0);
    uint64_t divisor = fg_greatest_common_divisor(amount, period_ns);
    *gcra = (struct fg_gcra){
        .amount = amount / divisor,
        .period_ns = period_ns / divisor,
        .burst = burst,
        .due_ns = now_ns,
    };
}

bool fg_gcra_try_take(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost, uint64_t *wait_ns)
{
    *wait_ns = UINT64_MAX;
    if (cost > gcra->burst)
        return false;
    fg_wide lead = lead_at(gcra, now_ns) + (fg_wide)cost * gcra->period_ns;
    if (lead > tolerance(gcra)) {
        *wait_ns = round_up_ns(gcra, lead - tolerance(gcra));
        return false;
    }
    *wait_ns = 0;
    set_lead(gcra, now_ns, lead);
    return true;
}

void fg_gcra_charge(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost)
{
    set_lead(gcra, now_ns, lead_at(gcra, now_ns) + (fg_wide)cost * gcra->period_ns);
}

void fg_gcra_give_back(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost)
{
    fg_wide lead = lead_at(gcra, now_ns);
    fg_wide back = (fg_wide)cost * gcra->period_ns;
    set_lead(gcra, now_ns, lead > back ? lead - back : 0);
}

uint64_t fg_gcra_level(const struct fg_gcra *gcra, uint64_t now_ns)
{
    fg_wide lead = lead_at(gcra, now_ns);
    return lead > tolerance(gcra) ? 0 : (uint64_t)((tolerance(gcra) - lead) / gcra->period_ns);
}

uint64_t fg_gcra_reset_after_ns(const struct fg_gcra *gcra, uint64_t now_ns)
{
    return round_up_ns(gcra, lead_at(gcra, now_ns));
}
