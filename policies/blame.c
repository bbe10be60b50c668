/*
 * blame.c: see blame.h.
 * Law      of the many that a worker computed when it died one may be the cause: each is tested by
 *          itself, once, and is free when it gets past the place at which it stood. Only a death in
 *          a step of its own counts against it; CRASHES_MAX such crashes, or KILLS_MAX deaths that
 *          tell nothing, are enough.
 * Source   Dorfman, "The Detection of Defective Members of Large Populations" (1943): after a
 *          positive group its members are tested one by one. We do not halve groups, as each
 *          positive test costs a worker, each negative one only a step.
 */
#include "policies/blame.h"

#define KILL_WEIGHT 1u
#define CRASH_WEIGHT 4u
/* A kill from outside says nothing, and testing costs the others time: not before the third. */
#define SUSPICION_MIN 3u
#define CRASHES_MAX 2u
#define GUILT_MAX (CRASHES_MAX * CRASH_WEIGHT)

static uint32_t add(uint32_t count, uint32_t weight)
{
    return count > UINT32_MAX - weight ? UINT32_MAX : count + weight;
}

void fg_blame_on_death(struct fg_blame *blame, enum fg_blame_death death, bool was_alone,
                       uint32_t position)
{
    uint32_t weight = death == FG_BLAME_CRASHED ? CRASH_WEIGHT : KILL_WEIGHT;
    blame->suspicion = add(blame->suspicion, weight);
    if (was_alone)
        blame->guilt = add(blame->guilt, weight);
    if (position > blame->position)
        blame->position = position;
}

bool fg_blame_on_progress(struct fg_blame *blame, uint32_t position)
{
    if (blame->suspicion == 0 || position < blame->position)
        return false;
    *blame = (struct fg_blame){0};
    return true;
}

bool fg_blame_is_suspect(const struct fg_blame *blame)
{
    return blame->suspicion >= SUSPICION_MIN;
}

bool fg_blame_is_guilty(const struct fg_blame *blame)
{
    return blame->guilt >= GUILT_MAX;
}
