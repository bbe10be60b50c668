/*
 * retry_after.h: when a refused client should come back.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_RETRY_AFTER_H
#define FG_POLICIES_RETRY_AFTER_H

#include <stdint.h>

/* After a full or standing queue: its expected wait (UINT64_MAX: not known), at least a second. */
uint64_t fg_retry_after_queue_ns(uint64_t expected_wait_ns);

/*
 * In the waiting room: when the turn comes, but no less often than every 20 s, as places move, and
 * than three times in the time for which a place is kept. Whose turn is farther away comes back up
 * to a quarter earlier, by `lot`: those who came together do not keep coming together.
 */
uint64_t fg_retry_after_room_ns(uint64_t eta_ns, uint64_t keep_ns, uint64_t lot);

/*
 * Up to a tenth more, by the `lot` drawn for this refusal, so that the refused do not all come back
 * in the same moment. 0 and UINT64_MAX (never) give 0: no Retry-After.
 */
uint64_t fg_retry_after_spread_ns(uint64_t retry_after_ns, uint64_t lot);

#endif
