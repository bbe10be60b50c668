/*
 * nonce_claim.h: one use of a signature's nonce among all gateways that share a Redis.
 * Job      ask Redis to keep the nonce unless it is there: who is told that it was kept has it.
 * Thread   the request's loop.
 * Memory   the request's arena; a claim outlives its command, or cancels it.
 * Never    takes silence for leave: without an answer nobody knows, and the request is refused.
 *
 *    SET PREFIX:{nonces}:KEY:NONCE 1 NX EX lifetime    "OK": the first, nil: it was used before
 *
 * The lifetime has one window more than this gateway would take the signature for: for gateways
 * whose clocks differ by up to that.
 */
#ifndef FG_PIPELINE_NONCE_CLAIM_H
#define FG_PIPELINE_NONCE_CLAIM_H

#include "base/arena.h"
#include "redis/redis_link.h"

#define FG_NONCE_CLAIM_ARGS 6

enum fg_nonce_claimed {
    FG_NONCE_CLAIMED_FIRST,
    FG_NONCE_CLAIMED_BEFORE, /* by whichever gateway */
    FG_NONCE_CLAIMED_UNKNOWN /* Redis is away, late, full or at odds with us */
};

struct fg_nonce_claim {
    struct fg_redis_command *command; /* under way; or NULL */
    struct fg_span args[FG_NONCE_CLAIM_ARGS];
    void (*on_done)(void *owner, enum fg_nonce_claimed claimed);
    void *owner;
};

/* For _send, in the arena; NULL without memory. `prefix` is that of policies.shared_state. */
struct fg_nonce_claim *fg_nonce_claim_make(struct fg_arena *arena, const char *prefix,
                                           struct fg_span key_id, struct fg_span nonce,
                                           uint64_t lifetime_s);

/* True: on_done comes, never before this returns. False: it cannot be asked now (UNKNOWN). */
bool fg_nonce_claim_send(struct fg_nonce_claim *claim, struct fg_redis_link *link);

/* Nobody waits any more. */
void fg_nonce_claim_cancel(struct fg_nonce_claim *claim);

#endif
