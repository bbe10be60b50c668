/*
 * flood_ledger_shared.c: a mutex around each of a few tables; see the header for the protocol.
 */
#include "net/flood_ledger_shared.h"

#include "policies/flood_debt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS_LOG2 3u
#define SHARDS (1u << SHARDS_LOG2)

struct shard {
    pthread_mutex_t lock;
    atomic_bool is_used;
    struct fg_flood_debts debts; /* guarded by lock */
};

struct fg_flood_ledger {
    uint64_t seed;
    struct shard shards[SHARDS];
};

struct fg_flood_ledger *fg_flood_ledger_create(uint32_t forgiven_per_s, uint64_t most)
{
    struct fg_flood_ledger *ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL)
        return NULL;
    if (getrandom(&ledger->seed, sizeof(ledger->seed), 0) != sizeof(ledger->seed)) {
        free(ledger);
        return NULL;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&ledger->shards[i].lock, NULL);
        fg_flood_debts_init(&ledger->shards[i].debts, forgiven_per_s, most);
    }
    return ledger;
}

void fg_flood_ledger_destroy(struct fg_flood_ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&ledger->shards[i].lock);
    free(ledger);
}

void fg_flood_ledger_set_law(struct fg_flood_ledger *ledger, uint32_t forgiven_per_s, uint64_t most)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&ledger->shards[i].lock);
        fg_flood_debts_set_law(&ledger->shards[i].debts, forgiven_per_s, most);
        pthread_mutex_unlock(&ledger->shards[i].lock);
    }
}

uint64_t fg_flood_ledger_seed(const struct fg_flood_ledger *ledger)
{
    return ledger->seed;
}

/* By bits that the policy's places do not go by. */
static struct shard *shard_of(struct fg_flood_ledger *ledger, uint64_t key)
{
    return &ledger->shards[key >> (64 - SHARDS_LOG2)];
}

uint64_t fg_flood_ledger_owed(struct fg_flood_ledger *ledger, uint64_t key, uint64_t now_ns)
{
    struct shard *shard = shard_of(ledger, key);
    if (!atomic_load_explicit(&shard->is_used, memory_order_relaxed))
        return 0;
    pthread_mutex_lock(&shard->lock);
    uint64_t owed = fg_flood_debts_owed(&shard->debts, key, now_ns);
    pthread_mutex_unlock(&shard->lock);
    return owed;
}

void fg_flood_ledger_add(struct fg_flood_ledger *ledger, uint64_t key, uint64_t spent,
                         uint64_t now_ns)
{
    struct shard *shard = shard_of(ledger, key);
    pthread_mutex_lock(&shard->lock);
    fg_flood_debts_add(&shard->debts, key, spent, now_ns);
    atomic_store_explicit(&shard->is_used, true, memory_order_relaxed);
    pthread_mutex_unlock(&shard->lock);
}

bool fg_flood_ledger_admit(struct fg_flood_ledger *ledger, uint64_t key,
                           const struct fg_flood_pace *pace, uint64_t now_ns, uint64_t *wait_ns)
{
    struct shard *shard = shard_of(ledger, key);
    *wait_ns = 0;
    if (!atomic_load_explicit(&shard->is_used, memory_order_relaxed))
        return true;
    pthread_mutex_lock(&shard->lock);
    bool is_admitted = fg_flood_debts_admit(&shard->debts, key, pace, now_ns, wait_ns);
    pthread_mutex_unlock(&shard->lock);
    return is_admitted;
}
