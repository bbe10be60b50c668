/*
 * flood_debt.c: what an address owes for the overhead of connections that it has closed.
 * Job      each connection may spend a burst of frames that bring nothing (h2_guard.c). Whoever
 *          does so and comes again over another connection has as much once more, and 100 of these
 *          a second are the flood that one may not be. So what was spent beyond what every client
 *          gets is owed by the address, and its next connections begin with that much less.
 * Thread   one owner at a time.
 * Never    refuses anybody: what a connection begins with is the caller's, and not to be nothing.
 * Source   a leaky bucket (J. Turner, "New directions in communications", 1986) an address.
 * Law      owed = min(owed + spent, most), less forgiven_per_s each second. `most` is a burst and
 *          what is forgiven in a minute, so that an address that many share is as good as before
 *          soon after the one who floods has left.
 *          One of two places is an address's; whoever owes less now gives way there. So a crowd of
 *          debtors forgets some, who begin anew: a flood by many addresses is not one of these.
 */
#include "policies/flood_debt.h"

#include "policies/wide_math.h"

#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

void fg_flood_debts_init(struct fg_flood_debts *debts, uint32_t forgiven_per_s, uint64_t most)
{
    memset(debts, 0, sizeof(*debts));
    fg_flood_debts_set_law(debts, forgiven_per_s, most);
}

void fg_flood_debts_set_law(struct fg_flood_debts *debts, uint32_t forgiven_per_s, uint64_t most)
{
    debts->forgiven_per_s = forgiven_per_s;
    debts->most = most;
}

/* A clock that went back counts as no time passed. */
static uint64_t owed_by(const struct fg_flood_debts *debts, const struct fg_flood_debtor *debtor,
                        uint64_t now_ns)
{
    uint64_t passed_ns = fg_subtract_floor(now_ns, debtor->since_ns);
    return fg_subtract_floor(debtor->owed,
                             fg_multiply_divide(passed_ns, debts->forgiven_per_s, NS_PER_S));
}

uint64_t fg_flood_debts_owed(const struct fg_flood_debts *debts, uint64_t key, uint64_t now_ns)
{
    size_t first = (size_t)(key % FG_FLOOD_DEBTORS);
    for (size_t i = 0; i < 2; i++) {
        const struct fg_flood_debtor *debtor = &debts->debtors[first ^ i];
        if (debtor->key == key && debtor->owed > 0)
            return owed_by(debts, debtor, now_ns);
    }
    return 0;
}

/* Its own place, or that of whoever owes less. */
static struct fg_flood_debtor *place_of(struct fg_flood_debts *debts, uint64_t key, uint64_t now_ns)
{
    struct fg_flood_debtor *one = &debts->debtors[key % FG_FLOOD_DEBTORS];
    struct fg_flood_debtor *other = &debts->debtors[(key % FG_FLOOD_DEBTORS) ^ 1];
    if (one->key == key && one->owed > 0)
        return one;
    if (other->key == key && other->owed > 0)
        return other;
    return owed_by(debts, one, now_ns) <= owed_by(debts, other, now_ns) ? one : other;
}

void fg_flood_debts_add(struct fg_flood_debts *debts, uint64_t key, uint64_t spent, uint64_t now_ns)
{
    struct fg_flood_debtor *debtor = place_of(debts, key, now_ns);
    uint64_t owed = fg_flood_debts_owed(debts, key, now_ns);
    if (debtor->key != key && owed_by(debts, debtor, now_ns) > spent)
        return; /* both places are of worse ones */
    owed = fg_add_saturating(owed, spent);
    *debtor = (struct fg_flood_debtor){
        .key = key, .owed = owed < debts->most ? owed : debts->most, .since_ns = now_ns};
}
