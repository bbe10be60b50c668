/*
 * flood_debt.c: what an address owes for the overhead of connections that it has closed.
 * Job      each connection may spend a burst of frames that bring nothing (h2_guard.c). Whoever
 *          does so and comes again over another connection has as much once more, and 100 of these
 *          a second are the flood that one may not be. So what was spent beyond what every client
 *          gets is owed by the address, and its next connections begin with that much less.
 *          What ends a connection is dearer than what it may spend: another one is a handshake. So
 *          who owes much may only come now and then.
 * Thread   one owner at a time.
 * Never    shuts anybody out: others may be behind the same address. What a connection begins with
 *          is the caller's, and not to be nothing.
 * Source   a leaky bucket (J. Turner, "New directions in communications", 1986) an address.
 * Law      owed = min(owed + spent, most), less forgiven_per_s each second. `most` is a burst and
 *          what is forgiven in a minute, so that an address that many share is as good as before
 *          soon after the one who floods has left. Between two connections of who owes more than
 *          pace.free: pace.interval_ns * owed / most. Who comes pace.early_ns before its time
 *          comes at once; others wait for their turn, not for longer than pace.wait_max_ns, and
 *          what comes beyond that is turned away (the generic cell rate algorithm, ITU-T I.371,
 *          with a queue behind the tolerance).
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

/* Its place among the two; -1: it has none. */
static int find(const struct fg_flood_debts *debts, uint64_t key)
{
    size_t first = (size_t)(key % FG_FLOOD_DEBTORS);
    for (size_t i = 0; i < 2; i++) {
        const struct fg_flood_debtor *debtor = &debts->debtors[first ^ i];
        if (debtor->key == key && debtor->owed > 0)
            return (int)(first ^ i);
    }
    return -1;
}

uint64_t fg_flood_debts_owed(const struct fg_flood_debts *debts, uint64_t key, uint64_t now_ns)
{
    int at = find(debts, key);
    return at == -1 ? 0 : owed_by(debts, &debts->debtors[at], now_ns);
}

/* Its own place, or that of whoever owes less. */
static struct fg_flood_debtor *place_of(struct fg_flood_debts *debts, uint64_t key, uint64_t now_ns)
{
    struct fg_flood_debtor *one = &debts->debtors[key % FG_FLOOD_DEBTORS];
    struct fg_flood_debtor *other = &debts->debtors[(key % FG_FLOOD_DEBTORS) ^ 1];
    int at = find(debts, key);
    if (at != -1)
        return &debts->debtors[at];
    return owed_by(debts, one, now_ns) <= owed_by(debts, other, now_ns) ? one : other;
}

void fg_flood_debts_add(struct fg_flood_debts *debts, uint64_t key, uint64_t spent, uint64_t now_ns)
{
    struct fg_flood_debtor *debtor = place_of(debts, key, now_ns);
    uint64_t owed = fg_flood_debts_owed(debts, key, now_ns);
    if (debtor->key != key && owed_by(debts, debtor, now_ns) > spent)
        return; /* both places are of worse ones */
    uint64_t next_ns = debtor->key == key ? debtor->next_ns : 0;
    owed = fg_add_saturating(owed, spent);
    *debtor = (struct fg_flood_debtor){.key = key,
                                       .owed = owed < debts->most ? owed : debts->most,
                                       .since_ns = now_ns,
                                       .next_ns = next_ns};
}

bool fg_flood_debts_admit(struct fg_flood_debts *debts, uint64_t key,
                          const struct fg_flood_pace *pace, uint64_t now_ns, uint64_t *wait_ns)
{
    *wait_ns = 0;
    int at = find(debts, key);
    if (at == -1)
        return true;
    struct fg_flood_debtor *debtor = &debts->debtors[at];
    uint64_t owed = owed_by(debts, debtor, now_ns);
    if (owed <= pace->free)
        return true;
    uint64_t ahead_ns = fg_subtract_floor(debtor->next_ns, now_ns);
    uint64_t ahead_max_ns = fg_add_saturating(pace->wait_max_ns, pace->early_ns);
    if (ahead_ns > fg_add_saturating(ahead_max_ns, pace->interval_ns))
        ahead_ns = 0; /* the clock went back */
    if (ahead_ns > ahead_max_ns)
        return false;
    uint64_t interval_ns = owed < debts->most
                               ? fg_multiply_divide(pace->interval_ns, owed, debts->most)
                               : pace->interval_ns;
    debtor->next_ns = fg_add_saturating(fg_add_saturating(now_ns, ahead_ns), interval_ns);
    *wait_ns = fg_subtract_floor(ahead_ns, pace->early_ns);
    return true;
}
