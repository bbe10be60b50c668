/*
 * askers.c: see askers.h.
 * Job      counts by owner that fade (policies/crowd) beside the sum of all.
 * Never    takes for a flood who asks for a sixteenth or less: sixteen who ask for as much each are
 *          the usual load of a small service. Who has to know of floods from more addresses than
 *          that asks who is heavy: the mean of the counts, each weighed by itself, is that of the
 *          flood, be it of one or of a hundred.
 */
#include "policies/askers.h"

#include "policies/wide_math.h"

#define LEAST 64u
#define MUCH 16u /* of a usual request's owner; below that everybody asks now and then */

void fg_askers_note(struct fg_askers *askers, uint64_t owner)
{
    askers->own += fg_crowd_count(&askers->crowd, owner);
    fg_crowd_add(&askers->crowd, owner);
    askers->asked++;
}

uint64_t fg_askers_excess(const struct fg_askers *askers, uint64_t owner)
{
    if (askers->asked < LEAST)
        return 0;
    return fg_subtract_floor(fg_crowd_count(&askers->crowd, owner), askers->asked / FG_ASKERS_PART);
}

bool fg_askers_have_heavy(const struct fg_askers *askers)
{
    return askers->asked >= LEAST && askers->own / askers->asked >= MUCH;
}

bool fg_askers_is_heavy(const struct fg_askers *askers, uint64_t owner)
{
    return fg_askers_have_heavy(askers) &&
           UINT64_C(2) * fg_crowd_count(&askers->crowd, owner) >= askers->own / askers->asked;
}

void fg_askers_fade(struct fg_askers *askers)
{
    if (askers->asked == 0 && askers->own == 0)
        return;
    fg_crowd_fade(&askers->crowd);
    askers->asked = fg_askers_faded(askers->asked);
    askers->own = fg_askers_faded(askers->own);
}
