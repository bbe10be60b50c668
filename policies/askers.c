/*
 * askers.c: see askers.h.
 * Job      counts by owner that fade (policies/crowd) beside the sum of all.
 * Never    takes for a flood who asks for a sixteenth or less: sixteen who ask for as much each are
 *          the usual load of a small service.
 */
#include "policies/askers.h"

#include "policies/wide_math.h"

#define LEAST 64u

void fg_askers_note(struct fg_askers *askers, uint64_t owner)
{
    fg_crowd_add(&askers->crowd, owner);
    askers->asked++;
}

uint64_t fg_askers_excess(const struct fg_askers *askers, uint64_t owner)
{
    if (askers->asked < LEAST)
        return 0;
    return fg_subtract_floor(fg_crowd_count(&askers->crowd, owner), askers->asked / FG_ASKERS_PART);
}

void fg_askers_fade(struct fg_askers *askers)
{
    if (askers->asked == 0)
        return;
    fg_crowd_fade(&askers->crowd);
    askers->asked = fg_askers_faded(askers->asked);
}
