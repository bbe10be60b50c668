/*
 * cache_budget.c: how much of its memory a cache may use while memory is short.
 * Job      give back memory before anything is refused: what is cached can be fetched again.
 * Thread   one owner at a time. Memory: the struct.
 * Never    takes all: a sixteenth stays, which is what most ask for.
 * Law      short: 9/10 of what is held, each second. Not short: a thousandth of all more, so that a
 *          cache that is too large for its machine settles instead of swinging (AIMD, RFC 5681).
 * Source   Envoy's shrink_heap action (docs: configuration/operations/overload_manager) frees what
 *          is free already; its reports of memory that does not fall (envoyproxy/envoy#21923,
 *          #39006) are why something has to let go of it first.
 */
#include "policies/cache/cache_budget.h"

#include "policies/time_units.h"

#define FALL_PERMILLE 900u
#define RISE_PERMILLE 1u

void fg_cache_budget_init(struct fg_cache_budget *budget, uint64_t now_ns)
{
    *budget = (struct fg_cache_budget){FG_CACHE_BUDGET_ALL, now_ns};
}

static uint32_t fallen(uint32_t permille, uint32_t used_permille)
{
    uint32_t held = used_permille < permille ? used_permille : permille;
    uint32_t next = held * FALL_PERMILLE / 1000;
    return next < FG_CACHE_BUDGET_LEAST ? FG_CACHE_BUDGET_LEAST : next;
}

bool fg_cache_budget_step(struct fg_cache_budget *budget, uint64_t now_ns, bool is_short,
                          uint32_t used_permille)
{
    if (now_ns < budget->stepped_ns || now_ns - budget->stepped_ns < FG_POLICY_S)
        return false;
    uint32_t before = budget->permille;
    budget->stepped_ns = now_ns;
    if (is_short)
        budget->permille = fallen(before, used_permille);
    else if (before < FG_CACHE_BUDGET_ALL)
        budget->permille = before + RISE_PERMILLE;
    return budget->permille != before;
}
