/*
 * known_lots.h: the lots of the hour of whoever asked lately.
 * Job      remember what fg_priority_cohort drew for an id, which costs more than to look it up.
 * Thread   the loop's.
 * Memory   fixed; an id takes the place of another one, and one that is longer has none.
 * Never    another lot than would be drawn: id and hour are compared.
 */
#ifndef FG_PIPELINE_KNOWN_LOTS_H
#define FG_PIPELINE_KNOWN_LOTS_H

#include "base/local_hash.h"
#include "policies/priority.h"
#include "policies/time_units.h"

#define FG_KNOWN_LOTS 64u
#define FG_KNOWN_WHO_BYTES 46u /* an address, or a usual user's id */

struct fg_known_lot {
    uint64_t hour;
    uint8_t len; /* 0: none */
    uint8_t cohort;
    char who[FG_KNOWN_WHO_BYTES];
};

/* Zeroed knows none. */
struct fg_known_lots {
    struct fg_known_lot lots[FG_KNOWN_LOTS];
};

/* As fg_priority_cohort, with one `key` always. */
static inline uint32_t fg_known_lots_draw(struct fg_known_lots *known,
                                          const struct fg_siphash_key *key, struct fg_span who,
                                          uint64_t wall_ns)
{
    struct fg_known_lot *lot = &known->lots[fg_local_hash(who, 0) % FG_KNOWN_LOTS];
    uint64_t hour = wall_ns / FG_POLICY_HOUR;
    if (who.len > 0 && lot->len == who.len && lot->hour == hour &&
        memcmp(lot->who, who.data, who.len) == 0)
        return lot->cohort;
    uint32_t cohort = fg_priority_cohort(key, who.data, who.len, wall_ns);
    if (who.len > 0 && who.len <= FG_KNOWN_WHO_BYTES) {
        *lot =
            (struct fg_known_lot){.hour = hour, .len = (uint8_t)who.len, .cohort = (uint8_t)cohort};
        memcpy(lot->who, who.data, who.len);
    }
    return cohort;
}

_Static_assert(FG_PRIORITY_COHORT_COUNT <= 256, "a lot has eight bits");

#endif
