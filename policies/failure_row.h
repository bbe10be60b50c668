/*
 * failure_row.h: failures in a row, of which those of one instant are one.
 * Job      tell whether a failure is news: one cause (a server that restarts, a connection that
 *          breaks under eight streams, a packet that is lost) fails all calls that are under way,
 *          and a row of five is to mean that five tries failed, one behind the other.
 * Thread   one owner at a time.
 * Law      a failure joins the last counted one if its call had begun before that one's end, and
 *          ended within FG_FAILURE_INSTANT_NS of it. Of what hangs, calls that began together end
 *          together, too; but those that begin all the time end all the time, and count ten times a
 *          second at least. What succeeds ends the row, whenever it began.
 * Source   ours; Envoy and resilience4j count each.
 */
#ifndef FG_POLICIES_FAILURE_ROW_H
#define FG_POLICIES_FAILURE_ROW_H

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_FAILURE_INSTANT_NS (100 * FG_POLICY_MS)

/*
 * Is a failure at now_ns, of a call that took latency_ns, the one again that was counted at
 * counted_ns? A clock that went back says no.
 */
static inline bool fg_failure_is_same(uint64_t counted_ns, uint64_t now_ns, uint64_t latency_ns)
{
    return now_ns >= counted_ns && now_ns - counted_ns < FG_FAILURE_INSTANT_NS &&
           fg_subtract_floor(now_ns, latency_ns) < counted_ns;
}

/* Zeroed: no failure yet. */
struct fg_failure_row {
    uint32_t count;
    uint64_t counted_ns; /* the last; valid while count is not 0 */
};

static inline void fg_failure_row_end(struct fg_failure_row *row)
{
    row->count = 0;
}

/* True: it is news. */
static inline bool fg_failure_row_note(struct fg_failure_row *row, uint64_t now_ns,
                                       uint64_t latency_ns)
{
    if (row->count != 0 && fg_failure_is_same(row->counted_ns, now_ns, latency_ns))
        return false;
    row->counted_ns = now_ns;
    if (row->count < UINT32_MAX)
        row->count++;
    return true;
}

#endif
