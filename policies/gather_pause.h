/*
 * gather_pause.h: how long an event loop pauses before it looks what came, by how busy it is.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_GATHER_PAUSE_H
#define FG_POLICIES_GATHER_PAUSE_H

#include <stdint.h>

#define FG_GATHER_PAUSE_LEAST_PERMILLE 400u /* busy: below it whoever waits is served at once */
#define FG_GATHER_PAUSE_FULL_PERMILLE 600u  /* the pause grows shorter from here on */
#define FG_GATHER_PAUSE_MOST_PERMILLE 900u  /* a loop that is so busy finds much in a turn anyway */
#define FG_GATHER_PAUSE_TURNS 32u           /* that the share is smoothed over, about */

/* Of one event loop. */
struct fg_gather_pause {
    uint64_t most_ns; /* 0: never */
    /* state */
    uint64_t ended_ns;  /* the last turn */
    uint64_t busy_ns;   /* of some turns, the older the less */
    uint64_t period_ns; /* the same turns, with what lay between them */
};

/* `now_ns`: monotonic. */
void fg_gather_pause_init(struct fg_gather_pause *pause, uint64_t most_ns, uint64_t now_ns);

/* A turn's work went from `began_ns`, when its first event was there, to `ended_ns`. Constant
 * time. */
void fg_gather_pause_note(struct fg_gather_pause *pause, uint64_t began_ns, uint64_t ended_ns);

/* Behind a turn that has something to say which may want company: ns, 0 for no pause. Constant
 * time. */
uint64_t fg_gather_pause_ask(const struct fg_gather_pause *pause);

#endif
