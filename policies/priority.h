/*
 * priority.h: who goes first: the importance of the request, then a fair lot drawn per user.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_PRIORITY_H
#define FG_POLICIES_PRIORITY_H

#include "policies/siphash.h"

#include <stddef.h>
#include <stdint.h>

/* Smaller goes first. */
enum fg_priority {
    FG_PRIORITY_CRITICAL,
    FG_PRIORITY_HIGH,
    FG_PRIORITY_NORMAL,
    FG_PRIORITY_LOW,
};

#define FG_PRIORITY_COUNT 4
#define FG_PRIORITY_COHORT_COUNT 128
#define FG_PRIORITY_COMPOUND_COUNT (FG_PRIORITY_COUNT * FG_PRIORITY_COHORT_COUNT)

/* "critical", "high", "normal", "low": constant strings. */
const char *fg_priority_name(enum fg_priority priority);

/*
 * The user's lot for the hour that `wall_ns` (since 1970) falls in, 0 to 127: the same for all
 * their requests in that hour, so who got in stays in, and another one the next hour.
 */
uint32_t fg_priority_cohort(const struct fg_siphash_key *key, const void *user_id,
                            size_t user_id_len, uint64_t wall_ns);

/* Class and cohort in one number, 0 to 511: compare two of them, the smaller goes first. */
uint32_t fg_priority_compound(enum fg_priority priority, uint32_t cohort);

enum fg_priority fg_priority_class_of(uint32_t compound);

/*
 * What `compound` counts as after a wait of `waited_ns` by one who waits `patience_ns` at most: a
 * third of it is worth a class, down to high (critical is earned by no wait), and within a class
 * the lot gets better all the while. Never more than `compound`; patience 0: no ageing.
 */
uint32_t fg_priority_aged(uint32_t compound, uint64_t waited_ns, uint64_t patience_ns);

#endif
