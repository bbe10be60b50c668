/*
 * flood_debt.h: what an address owes for what it has cost in vain: the overhead of connections that
 * it has closed (net), signatures that were no good (pipeline/jwt_verifier).
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_FLOOD_DEBT_H
#define FG_POLICIES_FLOOD_DEBT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_FLOOD_DEBTORS ((size_t)256) /* that are remembered; an even number */

struct fg_flood_debtor {
    uint64_t key;
    uint64_t owed; /* at since_ns; 0: nobody */
    uint64_t since_ns;
    uint64_t next_ns; /* when it may come again, while it owes much; 0: as it likes */
};

/* How often who owes much may come. */
struct fg_flood_pace {
    uint64_t free;        /* what anybody may owe, and come as often as others */
    uint64_t interval_ns; /* between two connections of one who owes the most; 0: as others */
    uint64_t early_ns;    /* who comes so much before its time need not wait */
    uint64_t wait_max_ns; /* who would have to wait for longer may not come at all */
};

struct fg_flood_debts {
    uint32_t forgiven_per_s;
    uint64_t most; /* that anybody owes */
    struct fg_flood_debtor debtors[FG_FLOOD_DEBTORS];
};

void fg_flood_debts_init(struct fg_flood_debts *debts, uint32_t forgiven_per_s, uint64_t most);
/* Of debts that go on. */
void fg_flood_debts_set_law(struct fg_flood_debts *debts, uint32_t forgiven_per_s, uint64_t most);

/* `key` stands for an address, spread over all 64 bits; a collision is somebody else's debt. */
uint64_t fg_flood_debts_owed(const struct fg_flood_debts *debts, uint64_t key, uint64_t now_ns);
void fg_flood_debts_add(struct fg_flood_debts *debts, uint64_t key, uint64_t spent,
                        uint64_t now_ns);
/* One more connection: true, and it has to wait for so long; false, and it is one too many. */
bool fg_flood_debts_admit(struct fg_flood_debts *debts, uint64_t key,
                          const struct fg_flood_pace *pace, uint64_t now_ns, uint64_t *wait_ns);

#endif
