/*
 * vtc.h: whose turn it is, by the work that each user has had so far: virtual token counters.
 * Thread   one owner at a time.
 * Memory   fixed at init, handed over by the caller.
 */
#ifndef FG_POLICIES_VTC_H
#define FG_POLICIES_VTC_H

#include <stdbool.h>
#include <stdint.h>

#define FG_VTC_WEIGHT_INPUT 1u  /* of a prompt token that was computed */
#define FG_VTC_WEIGHT_OUTPUT 2u /* of a generated token */
/* Counters within one of these are as good as equal, where something else may decide. */
#define FG_VTC_QUANTUM 512u

struct fg_vtc_user {
    uint64_t user;    /* 0: anonymous, a user like any other */
    uint64_t counter; /* work had, weighted */
    uint32_t active;  /* requests that wait or run; 0: only remembered */
    uint32_t is_taken;
    uint32_t heap_at; /* its place among the active, or among the others */
    uint32_t unused;
};

struct fg_vtc {
    struct fg_vtc_user *users; /* (capacity), the caller's */
    uint32_t *index;           /* (fg_vtc_index_count(capacity)), the caller's; see vtc.c */
    uint32_t capacity;
};

/* Words that the index of so many users takes. */
uint64_t fg_vtc_index_count(uint32_t capacity);

/* `users` (capacity) is zeroed here. */
void fg_vtc_init(struct fg_vtc *vtc, struct fg_vtc_user *users, uint32_t *index, uint32_t capacity);

/* The index anew, from the users alone: whatever it was, and whoever changed their `active`. */
void fg_vtc_rebuild(struct fg_vtc *vtc);
/* Whether the index is that of the users. O(capacity); for tests and diagnosis. */
bool fg_vtc_is_sound(const struct fg_vtc *vtc);

#define FG_VTC_NO_USER UINT32_MAX

/*
 * A request of `user` arrives; returns the handle for the calls below, valid until as many leaves.
 * A user who had none active is lifted to the least counter of those who have: idle time is not
 * saved up. FG_VTC_NO_USER when all places are taken by others who are active. This, leave and
 * charge take O(log capacity).
 */
uint32_t fg_vtc_enter(struct fg_vtc *vtc, uint64_t user);
void fg_vtc_leave(struct fg_vtc *vtc, uint32_t handle);

void fg_vtc_charge(struct fg_vtc *vtc, uint32_t handle, uint64_t work);
/* Of those who are active; 0 when nobody is. */
uint64_t fg_vtc_least(const struct fg_vtc *vtc);
/* The smallest goes first. */
uint64_t fg_vtc_counter(const struct fg_vtc *vtc, uint32_t handle);

#endif
