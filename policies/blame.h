/*
 * blame.h: which request makes the workers die that compute it.
 * Job      from the deaths that a sequence was computed in: whether it is to be computed alone, so
 *          that its next step tells, and whether it is to be given up.
 * Thread   one owner at a time.
 *
 *    trusted --a crash, or TRIES deaths, in its step--> suspect: computed alone
 *       ^----------------- got on, alone ------------------'  `--dies alone, again--> guilty
 */
#ifndef FG_POLICIES_BLAME_H
#define FG_POLICIES_BLAME_H

#include <stdbool.h>
#include <stdint.h>

struct fg_blame {
    uint32_t suspicion; /* weighed deaths in its steps since it last got on */
    uint32_t guilt;     /* of those, in steps of its own */
    uint32_t position;  /* the end of the furthest of those steps, in tokens */
};

/* How a worker ended. */
enum fg_blame_death {
    FG_BLAME_KILLED,  /* from outside, or nobody knows: no sign of what it computed */
    FG_BLAME_CRASHED, /* by itself, or because it did not get on */
};

/* The worker died in a step that computed the sequence up to `position`; alone: nothing else. */
void fg_blame_on_death(struct fg_blame *blame, enum fg_blame_death death, bool was_alone,
                       uint32_t position);

/* A step of it is done, and it is computed up to `position`. True when that clears it. */
bool fg_blame_on_progress(struct fg_blame *blame, uint32_t position);

bool fg_blame_is_suspect(const struct fg_blame *blame); /* to be computed alone */
bool fg_blame_is_guilty(const struct fg_blame *blame);  /* to be given up */

#endif
