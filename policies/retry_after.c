/*
 * retry_after.c: when a refused client should come back.
 * Job      one place for the laws behind Retry-After, so that gateway and simulator agree.
 * Thread   any; pure functions.
 */
#include "policies/retry_after.h"

#include "policies/time_units.h"

#define QUEUE_LEAST_NS FG_POLICY_S
#define ROOM_LEAST_NS FG_POLICY_S
#define ROOM_MOST_NS (20 * FG_POLICY_S) /* as often as the public waiting rooms ask */
#define ASKED_WHILE_KEPT 3u             /* times: two answers may get lost */
#define SPREAD_STEPS 101

uint64_t fg_retry_after_queue_ns(uint64_t expected_wait_ns)
{
    return expected_wait_ns == FG_POLICY_NEVER || expected_wait_ns < QUEUE_LEAST_NS
               ? QUEUE_LEAST_NS
               : expected_wait_ns;
}

uint64_t fg_retry_after_room_ns(uint64_t eta_ns, uint64_t keep_ns, uint64_t lot)
{
    uint64_t most_ns = keep_ns / ASKED_WHILE_KEPT;
    if (most_ns > ROOM_MOST_NS)
        most_ns = ROOM_MOST_NS;
    uint64_t least_ns = most_ns < ROOM_LEAST_NS ? most_ns : ROOM_LEAST_NS;
    if (eta_ns < most_ns)
        return eta_ns < least_ns ? least_ns : eta_ns;
    return most_ns - most_ns / 4 * (lot % SPREAD_STEPS) / (SPREAD_STEPS - 1);
}

uint64_t fg_retry_after_spread_ns(uint64_t retry_after_ns, uint64_t lot)
{
    if (retry_after_ns == FG_POLICY_NEVER)
        return 0;
    return retry_after_ns + retry_after_ns / 10 * (lot % SPREAD_STEPS) / (SPREAD_STEPS - 1);
}
