/*
 * admission_level.h: down to which priority requests may still wait while a backend is overloaded.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_ADMISSION_LEVEL_H
#define FG_POLICIES_ADMISSION_LEVEL_H

#include "policies/askers.h"
#include "policies/priority.h"
#include "policies/standing.h"

#include <stdbool.h>
#include <stdint.h>

struct fg_admission_level_config {
    uint64_t window_ns;      /* how often the level moves, at the latest; 0: never refuses */
    uint32_t window_count;   /* ... or after so many arrivals */
    uint64_t target_ns;      /* mean wait that is an overload */
    uint32_t spare_permille; /* overload: let so many more wait than were served */
    uint32_t open_permille;  /* otherwise: let in so much more of all that come */
};

struct fg_admission_level {
    struct fg_admission_level_config config;
    uint64_t target_ns;       /* in force */
    uint64_t window_ns;       /* in force */
    uint64_t window_least_ns; /* however many arrive */
    /* state: whose compound priority number is above it may not wait, and of those who have it */
    uint32_t level;
    double share;      /* ... so many, 0 to 1 */
    double share_left; /* not used up by those who came so far */
    /* the window that is being filled */
    uint64_t window_started_ns;
    uint32_t arrived; /* all that wanted a slot */
    uint32_t allowed; /* those at or above the level in importance */
    uint32_t served;  /* those that got a slot, at once or after a wait */
    uint32_t waited;  /* those whose wait is over, however it ended */
    double wait_sum_ns;
    bool was_free;               /* somebody did not have to wait: what came before was a burst */
    bool was_late;               /* the window before it had too long a wait */
    struct fg_standing standing; /* over the windows with too long a wait */
    /* what is remembered of the windows before it: in sixteenths, fading */
    uint64_t known_served;
    uint64_t known_arrived;                         /* sum of by_number */
    uint32_t by_number[FG_PRIORITY_COMPOUND_COUNT]; /* arrivals, those of the window too */
    struct fg_askers askers;
    bool has_heavy; /* when the last window ended */
    uint32_t windows;
    /* counters */
    uint64_t refused_total;
    uint64_t lowered_total;
};

/* 100 ms or 2000 arrivals, 18 ms, 5 % spare, opens by 1 %. */
struct fg_admission_level_config fg_admission_level_config_default(void);

void fg_admission_level_init(struct fg_admission_level *al,
                             const struct fg_admission_level_config *config, uint64_t now_ns);

/*
 * For a backend that takes service_ns: judge by no smaller wait and over no shorter window than
 * these. What is configured stays the least; a window of many arrivals takes service_ns all the
 * same.
 */
void fg_admission_level_stretch(struct fg_admission_level *al, uint64_t service_ns,
                                uint64_t target_ns, uint64_t window_ns);

/*
 * The number of an arrival of `owner` with this one, within its class, by what he has asked for
 * lately; and he has asked once more. Whose part of all is large has a worse one. While there are
 * some who ask for much they are behind all others of the class, in the order of their lots;
 * *is_heavy says whether he is one of them. `owner` as for fg_crowd_add; those of whom none is
 * known are nobody's crowd.
 */
uint32_t fg_admission_level_ask(struct fg_admission_level *al, uint64_t owner, uint32_t compound,
                                bool *is_heavy);

/* Count an arrival, and move the level if it is time to. True: it may wait if it has to. */
bool fg_admission_level_arrive(struct fg_admission_level *al, uint64_t now_ns, uint32_t compound);

/* A slot was given to somebody. */
void fg_admission_level_note_served(struct fg_admission_level *al);

/* Somebody stopped waiting, served or not. */
void fg_admission_level_note_wait(struct fg_admission_level *al, uint64_t wait_ns);

/* The largest number of which some may wait; FG_PRIORITY_COMPOUND_COUNT - 1: everybody. */
uint32_t fg_admission_level_current(const struct fg_admission_level *al);

#endif
