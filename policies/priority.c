/*
 * priority.c: who goes first: the importance of the request, then a fair lot drawn per user.
 * Job      one number to compare requests by, so that a flood is served to whole users, not to
 * random requests of everybody: an order needs several requests, and half of them is no order.
 * Thread   any; pure functions.
 * Source   Zhou et al., "Overload Control for Scaling WeChat Microservices" (SoCC 2018), section 4:
 *          business priority B, then user priority U = hash(user id, hour) in 128 levels, compared
 *          lexicographically. The hash is keyed, so nobody can pick a lucky id.
 *          Ageing is ours: in a queue that always has somebody better, the least would starve.
 */
#include "policies/priority.h"

#include "policies/time_units.h"

#include <assert.h>

const char *fg_priority_name(enum fg_priority priority)
{
    switch (priority) {
    case FG_PRIORITY_CRITICAL:
        return "critical";
    case FG_PRIORITY_HIGH:
        return "high";
    case FG_PRIORITY_NORMAL:
        return "normal";
    case FG_PRIORITY_LOW:
        return "low";
    }
    return "unknown";
}

uint32_t fg_priority_cohort(const struct fg_siphash_key *key, const void *user_id,
                            size_t user_id_len, uint64_t wall_ns)
{
    /* The hour goes into the key: the id then needs no copy to be hashed together with it. */
    struct fg_siphash_key hour_key = {key->k0, key->k1 ^ (wall_ns / FG_POLICY_HOUR)};
    return (uint32_t)(fg_siphash(&hour_key, user_id, user_id_len) % FG_PRIORITY_COHORT_COUNT);
}

uint32_t fg_priority_compound(enum fg_priority priority, uint32_t cohort)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    assert(cohort < FG_PRIORITY_COHORT_COUNT);
    return (uint32_t)priority * FG_PRIORITY_COHORT_COUNT + cohort;
}

uint32_t fg_priority_aged(uint32_t compound, uint64_t waited_ns, uint64_t patience_ns)
{
    const uint32_t levels_max = (FG_PRIORITY_COUNT - 1) * FG_PRIORITY_COHORT_COUNT;
    uint32_t class = (uint32_t)fg_priority_class_of(compound);
    uint32_t cohort = compound % FG_PRIORITY_COHORT_COUNT;
    uint32_t gained = levels_max;
    if (patience_ns == 0)
        return compound;
    if (waited_ns < patience_ns)
        gained = (uint32_t)((double)waited_ns / (double)patience_ns * levels_max);
    uint32_t classes_max = class > FG_PRIORITY_HIGH ? class - FG_PRIORITY_HIGH : 0;
    uint32_t classes = gained / FG_PRIORITY_COHORT_COUNT;
    classes = classes < classes_max ? classes : classes_max;
    uint32_t lots = gained - classes * FG_PRIORITY_COHORT_COUNT;
    return (class - classes) * FG_PRIORITY_COHORT_COUNT + (lots < cohort ? cohort - lots : 0);
}

enum fg_priority fg_priority_class_of(uint32_t compound)
{
    assert(compound < FG_PRIORITY_COMPOUND_COUNT);
    return (enum fg_priority)(compound / FG_PRIORITY_COHORT_COUNT);
}
