/*
 * crowd.h: how many of a few thousand things each owner has, in a fixed and small place.
 * Thread   one owner at a time. Memory: the struct.
 */
#ifndef FG_POLICIES_CROWD_H
#define FG_POLICIES_CROWD_H

#include <stdint.h>

#define FG_CROWD_ROWS 4u
#define FG_CROWD_COLUMNS 512u
#define FG_CROWD_FADE_INVERSE 8u

/* Zeroed is empty. */
struct fg_crowd {
    uint32_t counts[FG_CROWD_ROWS][FG_CROWD_COLUMNS];
};

/* One more of `owner`, a hash that nobody outside can choose; 0: nobody's, which is not counted. */
void fg_crowd_add(struct fg_crowd *crowd, uint64_t owner);
/* One less; it was added. */
void fg_crowd_remove(struct fg_crowd *crowd, uint64_t owner);

/* Of what each has a part is forgotten, rounded up. Nothing can be removed any more. */
void fg_crowd_fade(struct fg_crowd *crowd);

/*
 * How many `owner` has, or, with luck against it, a few more: the count of whoever shares all of
 * its places. Never fewer. 0 of nobody.
 */
uint32_t fg_crowd_count(const struct fg_crowd *crowd, uint64_t owner);

#endif
