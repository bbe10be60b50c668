/*
 * token_bucket.c: a steady rate with a burst, exact in integers.
 * Job      answer "may `cost` more pass now, and if not, when?".
 * Thread   one owner at a time; no lock, no clock, no heap.
 * Never    lets through more than burst + elapsed x rate, whatever the clock does.
 * Source   RFC 2697 section 3 (one colour).
 * Control law: level' = min(burst, level + elapsed x amount / period). The level is `tokens` and a
 *               remainder in parts of 1/period_ns token, so nothing is rounded away however often
 *               it is asked: "7 per 3 days" gives 7 in 3 days. A clock that goes back is answered
 *               as if it stood still, and does not pay twice for the time that it runs through
 *               again.
 */
#include "policies/token_bucket.h"

#include "policies/wide_math.h"

#include <assert.h>

/* Add parts of 1/period_ns token, those of `fraction` among them. */
static void add_parts(struct fg_token_bucket *tb, fg_wide parts)
{
    fg_wide gained = parts / tb->period_ns;
    if (gained >= tb->burst - tb->tokens) {
        tb->tokens = tb->burst;
        tb->fraction = 0;
    } else {
        tb->tokens += (uint64_t)gained;
        tb->fraction = (uint64_t)(parts % tb->period_ns);
    }
}

/* The bucket as it stands at now_ns. */
static struct fg_token_bucket refilled(const struct fg_token_bucket *tb, uint64_t now_ns)
{
    struct fg_token_bucket at = *tb;
    if (now_ns <= tb->updated_ns)
        return at;
    at.updated_ns = now_ns;
    add_parts(&at, (fg_wide)(now_ns - tb->updated_ns) * tb->amount + tb->fraction);
    return at;
}

/* From now_ns until `at`, refilled for now_ns, holds `wanted` tokens. */
static uint64_t wait_for(const struct fg_token_bucket *at, uint64_t now_ns, uint64_t wanted)
{
    if (wanted <= at->tokens)
        return 0;
    if (wanted > at->burst || at->amount == 0)
        return UINT64_MAX;
    fg_wide parts = (fg_wide)(wanted - at->tokens) * at->period_ns - at->fraction;
    uint64_t gain_ns = fg_wide_saturate((parts + at->amount - 1) / at->amount);
    return fg_add_saturating(gain_ns, fg_subtract_floor(at->updated_ns, now_ns));
}

void fg_token_bucket_init(struct fg_token_bucket *tb, uint64_t amount, uint64_t period_ns,
                          uint64_t burst, uint64_t now_ns)
{
    assert(period_ns != 0);
    uint64_t divisor = fg_greatest_common_divisor(amount, period_ns);
    *tb = (struct fg_token_bucket){
        .amount = amount / divisor,
        .period_ns = period_ns / divisor,
        .burst = burst,
        .tokens = burst,
        .updated_ns = now_ns,
    };
}

bool fg_token_bucket_try_take(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost,
                              uint64_t *wait_ns)
{
    assert(tb->tokens <= tb->burst);
    *tb = refilled(tb, now_ns);
    *wait_ns = wait_for(tb, now_ns, cost);
    if (*wait_ns != 0)
        return false;
    tb->tokens -= cost;
    return true;
}

/* What is owed is kept as time that brings nothing: the level stands at 0 until updated_ns. */
void fg_token_bucket_charge(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost)
{
    *tb = refilled(tb, now_ns);
    if (cost <= tb->tokens) {
        tb->tokens -= cost;
        return;
    }
    fg_wide owed = (fg_wide)(cost - tb->tokens) * tb->period_ns;
    fg_wide paid = tb->fraction;
    tb->tokens = 0;
    if (tb->amount > 0 && owed > paid) {
        uint64_t owed_ns = fg_wide_saturate((owed - paid + tb->amount - 1) / tb->amount);
        paid += (fg_wide)owed_ns * tb->amount;
        tb->updated_ns = fg_add_saturating(tb->updated_ns, owed_ns);
    }
    fg_wide left = paid > owed ? paid - owed : 0; /* of the last nanosecond */
    tb->fraction = left < tb->period_ns ? (uint64_t)left : tb->period_ns - 1;
}

void fg_token_bucket_give_back(struct fg_token_bucket *tb, uint64_t now_ns, uint64_t cost)
{
    *tb = refilled(tb, now_ns);
    fg_wide parts = (fg_wide)cost * tb->period_ns + tb->fraction;
    uint64_t ahead_ns = fg_subtract_floor(tb->updated_ns, now_ns);
    if (ahead_ns > 0 && tb->amount > 0) {
        uint64_t paid_ns = fg_wide_saturate(parts / tb->amount);
        if (paid_ns > ahead_ns)
            paid_ns = ahead_ns;
        tb->updated_ns -= paid_ns;
        parts -= (fg_wide)paid_ns * tb->amount;
    }
    add_parts(tb, parts);
}

uint64_t fg_token_bucket_level(const struct fg_token_bucket *tb, uint64_t now_ns)
{
    return refilled(tb, now_ns).tokens;
}

uint64_t fg_token_bucket_reset_after_ns(const struct fg_token_bucket *tb, uint64_t now_ns)
{
    struct fg_token_bucket at = refilled(tb, now_ns);
    return wait_for(&at, now_ns, at.burst);
}
