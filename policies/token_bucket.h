/*
 * token_bucket.h: how many may pass, as a steady rate with a burst (RFC 2697 section 3).
 * Thread   one owner at a time; shared buckets are wrapped by the gateway.
 */
#ifndef FG_POLICIES_TOKEN_BUCKET_H
#define FG_POLICIES_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* `amount` tokens are gained every `period_ns`; fields are read by others, written only here. */
struct fg_token_bucket {
    uint64_t amount;     /* reduced against period_ns; 0 never refills */
    uint64_t period_ns;  /* at least 1 */
    uint64_t burst;      /* most tokens saved up; 0 lets nothing pass */
    uint64_t tokens;     /* whole tokens at updated_ns */
    uint64_t fraction;   /* further 1/period_ns parts of a token, below period_ns */
    uint64_t updated_ns; /* monotonic time of the last refill; ahead of the clock while tokens are
                            owed */
};

/* Starts full. `period_ns` must not be 0: "10 per second" is (10, 1e9), "3 per minute" (3, 60e9).
 */
void fg_token_bucket_init(struct fg_token_bucket *tb, uint64_t amount, uint64_t period_ns,
                          uint64_t burst, uint64_t now_ns);

/*
 * Spend `cost` tokens if they are there; a clock that went back counts as no time passed.
 * On false nothing is spent and *wait_ns is how long until the same call can succeed, or
 * UINT64_MAX if it never can (cost > burst, or no rate). On true *wait_ns is 0. Constant time.
 */
bool fg_token_bucket_try_take(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost,
                              uint64_t *wait_ns);

/*
 * `cost` has passed already, whatever the level says: what is not there is owed, and nothing is
 * gained until the rate has paid for it. Without a rate nothing can be owed.
 */
void fg_token_bucket_charge(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost);

/* `cost` of what was taken has not been used after all: pays what is owed, then fills up to burst.
 */
void fg_token_bucket_give_back(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost);

/* Whole tokens that could be taken now, 0 to burst. Changes nothing. */
uint64_t fg_token_bucket_level(const struct fg_token_bucket *tb, uint64_t now_ns);

/* How long until the bucket is full again: 0 when it is, UINT64_MAX when it never will be. */
uint64_t fg_token_bucket_reset_after_ns(const struct fg_token_bucket *tb, uint64_t now_ns);

#endif
