/*
 * flood_ledger_shared.h: what addresses owe the gateway, whichever of its threads they come to.
 * Job      policies/flood_debt for all threads: on N of them a flood had N bursts.
 * Protocol  shards by key, a mutex each, held for a look at two places. As long as nobody has owed
 *           anything in a shard it is not locked: `is_used` is set under the mutex before it is let
 *           go, and never reset; who reads it too early begins as one who owes nothing, as he would
 *           have a moment before.
 * Memory   fixed at the start: 8 times what the policy remembers, 64 KiB.
 */
#ifndef FG_NET_FLOOD_LEDGER_SHARED_H
#define FG_NET_FLOOD_LEDGER_SHARED_H

#include <stdbool.h>
#include <stdint.h>

struct fg_flood_ledger;
struct fg_flood_pace;

/* As fg_flood_debts_init. NULL: no memory, or no random bytes for the seed. */
struct fg_flood_ledger *fg_flood_ledger_create(uint32_t forgiven_per_s, uint64_t most);
/* Takes NULL. Nobody uses it any more. */
void fg_flood_ledger_destroy(struct fg_flood_ledger *ledger);

/* Any thread: the law of debts that go on. */
void fg_flood_ledger_set_law(struct fg_flood_ledger *ledger, uint32_t forgiven_per_s,
                             uint64_t most);

/* For keys that nobody outside can choose and all threads make alike. */
uint64_t fg_flood_ledger_seed(const struct fg_flood_ledger *ledger);

/* Any thread; as the policy's. */
uint64_t fg_flood_ledger_owed(struct fg_flood_ledger *ledger, uint64_t key, uint64_t now_ns);
void fg_flood_ledger_add(struct fg_flood_ledger *ledger, uint64_t key, uint64_t spent,
                         uint64_t now_ns);
bool fg_flood_ledger_admit(struct fg_flood_ledger *ledger, uint64_t key,
                           const struct fg_flood_pace *pace, uint64_t now_ns, uint64_t *wait_ns);

#endif
