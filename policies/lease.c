/*
 * lease.c: tokens of a shared count, leased in blocks and spent without asking.
 * Job      decide here and now about a limit that is counted elsewhere.
 * Thread   one owner at a time; no lock, no clock, no heap.
 * Never    waits for the shared count, or lets through more than: while it answers, what it leased
 *          and one block in advance; while it does not, what is left of the lease, one block, and
 *          `share` of the rate.
 * Source   the counting is GCRA (gcra.h), done in one place for all; leasing parts of a quota is
 *          an old practice (Doorman leases capacity so); the laws here are ours:
 *            wanted  = what was taken since the last question, 1 to block: a slow key hoards
 *                      nothing, a fast one asks once a block;
 *            ask     when what is left falls below half of what was wanted last, or something was
 *                      passed in advance; but not for the first request of a key, so that a flood
 *                      of invented keys asks nothing;
 *            advance out of the share, which gets it back when the shared count has heard of it:
 *                      so no more than one block is ever on its way;
 *            tight   after an answer with less than was wanted nothing passes in advance while a
 *                      question is under way.
 */
#include "policies/lease.h"

#include "policies/wide_math.h"

#include <assert.h>

/* An answer that is late is soon there, or never: who was refused for want of it may come back. */
#define SOON_NS UINT64_C(10000000)
#define REST_FIRST_NS UINT64_C(100000000)
#define REST_DOUBLINGS 5u

static struct fg_token_bucket unpack_share(const struct fg_lease_rule *rule,
                                           const struct fg_lease *lease)
{
    struct fg_token_bucket share = rule->share;
    share.tokens = lease->share_tokens;
    share.fraction = lease->share_fraction;
    share.updated_ns = lease->share_updated_ns;
    return share;
}

static void pack_share(struct fg_lease *lease, const struct fg_token_bucket *share)
{
    lease->share_tokens = (uint32_t)share->tokens; /* block is the burst, and fits */
    lease->share_fraction = share->fraction;
    lease->share_updated_ns = share->updated_ns;
}

static uint32_t add_capped(uint32_t a, uint64_t b, uint32_t most)
{
    return b >= most || a >= most - b ? most : a + (uint32_t)b;
}

void fg_lease_rule_init(struct fg_lease_rule *rule, uint64_t amount, uint64_t period_ns,
                        uint64_t burst, uint32_t block, uint32_t share_permille)
{
    assert(block > 0 && block <= burst);
    assert(burst <= UINT32_MAX);
    *rule = (struct fg_lease_rule){.burst = burst, .block = block};
    fg_token_bucket_init(&rule->share, amount * share_permille, period_ns * 1000, block, 0);
}

void fg_lease_init(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns)
{
    struct fg_key_entry key = lease->key;
    struct fg_token_bucket share = rule->share;
    share.updated_ns = now_ns;
    *lease = (struct fg_lease){.key = key};
    pack_share(lease, &share);
}

/* ---- asking ---- */

static bool is_refused(const struct fg_lease *lease, uint64_t now_ns)
{
    return lease->lost_in_row == 0 && now_ns < lease->quiet_until_ns;
}

static bool is_low(const struct fg_lease *lease)
{
    return lease->left < lease->wanted - lease->wanted / 2;
}

static void ask_if_due(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                       uint64_t needed, struct fg_lease_question *question)
{
    *question = (struct fg_lease_question){.is_due = false};
    bool is_wanted = lease->unreported > 0 || needed > 0 || (lease->wanted > 0 && is_low(lease));
    bool is_first = !lease->is_known && needed == 0;
    if (lease->is_asking || is_first || !is_wanted)
        return;
    if (now_ns < lease->quiet_until_ns) {
        question->is_held_back = lease->lost_in_row > 0;
        return;
    }
    uint64_t wanted = lease->demand > needed ? lease->demand : needed;
    if (wanted > rule->block && wanted > needed)
        wanted = needed > rule->block ? needed : rule->block;
    question->is_due = true;
    question->charged = lease->unreported;
    question->wanted = wanted == 0 ? 1 : (uint32_t)wanted;
    lease->is_asking = true;
    lease->wanted = question->wanted;
    lease->in_advance = lease->unreported > 0 ? (uint32_t)lease->unreported : 0;
    lease->unreported = 0;
    lease->demand = 0;
}

void fg_lease_granted(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                      uint32_t granted, uint64_t wait_ns)
{
    uint32_t most = lease->wanted > rule->block ? lease->wanted : rule->block;
    lease->left = add_capped(lease->left, granted, most);
    if (lease->in_advance > 0) {
        struct fg_token_bucket share = unpack_share(rule, lease);
        fg_token_bucket_give_back(&share, now_ns, lease->in_advance);
        pack_share(lease, &share);
    }
    lease->in_advance = 0;
    lease->is_asking = false;
    lease->is_tight = granted < lease->wanted;
    lease->lost_in_row = 0;
    lease->quiet_until_ns = granted > 0 ? 0 : fg_add_saturating(now_ns, wait_ns);
}

uint64_t fg_lease_rest_ns(unsigned lost_in_row, uint64_t lot)
{
    assert(lost_in_row > 0);
    unsigned doublings = lost_in_row - 1 < REST_DOUBLINGS ? lost_in_row - 1 : REST_DOUBLINGS;
    uint64_t rest_ns = REST_FIRST_NS << doublings;
    return rest_ns + fg_multiply_divide(rest_ns / 4, lot & UINT32_MAX, UINT32_MAX);
}

static void end_question(struct fg_lease *lease)
{
    lease->in_advance = 0;
    lease->is_asking = false;
    lease->is_tight = false;
}

void fg_lease_lost(struct fg_lease *lease, uint64_t now_ns)
{
    end_question(lease);
    if (lease->lost_in_row < UINT8_MAX)
        lease->lost_in_row++;
    uint64_t rest_ns = fg_lease_rest_ns(lease->lost_in_row, lease->key.key_hi);
    lease->quiet_until_ns = fg_add_saturating(now_ns, rest_ns);
}

void fg_lease_not_asked(const struct fg_lease_rule *rule, struct fg_lease *lease,
                        const struct fg_lease_question *question)
{
    end_question(lease);
    lease->unreported += question->charged;
    if (lease->unreported > (int64_t)rule->block) /* old debts would shut out for long */
        lease->unreported = rule->block;
    lease->demand = add_capped(lease->demand, question->wanted, rule->block);
}

/* ---- taking ---- */

/* The rest of `cost` that the lease does not cover, out of the share. */
static bool take_in_advance(const struct fg_lease_rule *rule, struct fg_lease *lease,
                            uint64_t now_ns, uint64_t cost, uint64_t *wait_ns)
{
    uint64_t rest = cost - lease->left;
    struct fg_token_bucket share = unpack_share(rule, lease);
    bool is_there = fg_token_bucket_try_take(&share, now_ns, rest, wait_ns);
    if (is_there && lease->is_tight && lease->is_asking) {
        *wait_ns = SOON_NS;
        return false;
    }
    if (!is_there && *wait_ns == UINT64_MAX && cost <= rule->burst) {
        /* more than the share ever holds: a lease will have it */
        uint64_t rest_ns = fg_subtract_floor(lease->quiet_until_ns, now_ns);
        *wait_ns = rest_ns > SOON_NS ? rest_ns : SOON_NS;
    }
    if (!is_there)
        return false;
    pack_share(lease, &share);
    lease->left = 0;
    lease->unreported += (int64_t)rest;
    if (lease->unreported > (int64_t)rule->block)
        lease->unreported = rule->block;
    return true;
}

static bool decide(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                   uint64_t cost, uint64_t *wait_ns)
{
    *wait_ns = 0;
    if (cost <= lease->left) {
        lease->left -= (uint32_t)cost;
        return true;
    }
    if (is_refused(lease, now_ns)) {
        *wait_ns = lease->quiet_until_ns - now_ns;
        return false;
    }
    return take_in_advance(rule, lease, now_ns, cost, wait_ns);
}

bool fg_lease_try_take(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                       uint64_t cost, struct fg_limit_verdict *verdict,
                       struct fg_lease_question *question)
{
    bool can_ever_pass = cost <= rule->burst;
    uint64_t wait_ns = UINT64_MAX;
    bool is_allowed = can_ever_pass && decide(rule, lease, now_ns, cost, &wait_ns);
    if (can_ever_pass)
        lease->demand = add_capped(lease->demand, cost, rule->block);
    ask_if_due(rule, lease, now_ns, !is_allowed && can_ever_pass ? cost - lease->left : 0,
               question);
    lease->is_known = true;
    struct fg_token_bucket share = unpack_share(rule, lease);
    bool is_shut = is_refused(lease, now_ns) || (lease->is_tight && lease->is_asking);
    *verdict = (struct fg_limit_verdict){
        .allowed = is_allowed,
        .remaining = lease->left + (is_shut ? 0 : fg_token_bucket_level(&share, now_ns)),
        .reset_ns = fg_token_bucket_reset_after_ns(&share, now_ns),
        .wait_ns = is_allowed ? 0 : wait_ns,
    };
    return is_allowed;
}

void fg_lease_settle(const struct fg_lease_rule *rule, struct fg_lease *lease, uint64_t now_ns,
                     uint64_t taken, uint64_t used)
{
    if (used <= taken) {
        uint64_t back = taken - used;
        uint32_t before = lease->left;
        lease->left = add_capped(before, back, before > rule->block ? before : rule->block);
        lease->unreported -= (int64_t)(back - (lease->left - before)); /* others may have it */
        if (lease->unreported < -(int64_t)rule->burst)
            lease->unreported = -(int64_t)rule->burst;
        return;
    }
    uint64_t more = used - taken;
    uint64_t leased = more < lease->left ? more : lease->left;
    lease->left -= (uint32_t)leased;
    more -= leased;
    if (more == 0)
        return;
    struct fg_token_bucket share = unpack_share(rule, lease);
    fg_token_bucket_charge(&share, now_ns, more);
    pack_share(lease, &share);
    uint64_t most = rule->burst; /* what is owed in one go is told once, and not without end */
    lease->unreported += (int64_t)(more < most ? more : most);
    if (lease->unreported > (int64_t)most)
        lease->unreported = (int64_t)most;
}

bool fg_lease_is_worse(const void *context, const struct fg_key_entry *key_a,
                       const struct fg_key_entry *key_b, uint64_t now_ns)
{
    const struct fg_lease_rule *rule = context;
    const struct fg_lease *a = (const struct fg_lease *)key_a;
    const struct fg_lease *b = (const struct fg_lease *)key_b;
    struct fg_token_bucket share_a = unpack_share(rule, a), share_b = unpack_share(rule, b);
    uint64_t a_ns = fg_token_bucket_reset_after_ns(&share_a, now_ns);
    uint64_t b_ns = fg_token_bucket_reset_after_ns(&share_b, now_ns);
    uint64_t a_refused_ns = is_refused(a, now_ns) ? a->quiet_until_ns - now_ns : 0;
    uint64_t b_refused_ns = is_refused(b, now_ns) ? b->quiet_until_ns - now_ns : 0;
    a_ns = a_refused_ns > a_ns ? a_refused_ns : a_ns;
    b_ns = b_refused_ns > b_ns ? b_refused_ns : b_ns;
    if (a_ns != b_ns)
        return a_ns < b_ns;
    if (a->left != b->left) /* what is leased would be lost */
        return a->left < b->left;
    return a->share_updated_ns < b->share_updated_ns;
}
