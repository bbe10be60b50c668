/*
 * askers.h: who asks for more than his part of all that is asked for lately.
 * Thread   one owner at a time. Memory: the struct.
 */
#ifndef FG_POLICIES_ASKERS_H
#define FG_POLICIES_ASKERS_H

#include "policies/crowd.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_ASKERS_PART 16u /* one in so many of all is nobody's flood */

/* Zeroed knows nobody. */
struct fg_askers {
    struct fg_crowd crowd;
    uint64_t asked; /* by all, of whom some are nobody known */
    uint64_t own;   /* the sum over these of what each one's owner had asked for before */
};

/* `owner` asks once more; as for fg_crowd_add. */
void fg_askers_note(struct fg_askers *askers, uint64_t owner);

/*
 * How many more than one in FG_ASKERS_PART of all that was asked for he has asked for; 0 where so
 * little was that any part is chance.
 */
uint64_t fg_askers_excess(const struct fg_askers *askers, uint64_t owner);

/* Is there anybody who asks for much? Then each is heavy or light. */
bool fg_askers_have_heavy(const struct fg_askers *askers);

/*
 * Does he ask for half as much or more as who is behind a usual request, and is that much? However
 * many they are who flood, they do, and who asks now and then does not.
 */
bool fg_askers_is_heavy(const struct fg_askers *askers, uint64_t owner);

/* A period is over: of what is known an eighth is forgotten. */
void fg_askers_fade(struct fg_askers *askers);

/* The same of any count. */
static inline uint64_t fg_askers_faded(uint64_t count)
{
    return count - (count + FG_CROWD_FADE_INVERSE - 1) / FG_CROWD_FADE_INVERSE;
}

#endif
