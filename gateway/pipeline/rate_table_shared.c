/*
 * rate_table_shared.c: shards of limit tables, each in a cache line of its own.
 */
#include "rate_table_shared.h"

#include "pipeline/policy_conf.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS 16u

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct fg_limit_table table;
    uint64_t allowed_total;
    uint64_t refused_total;
    uint64_t given_back_total;
    uint64_t owed_total;
};

struct fg_rate_table {
    const struct fg_rate_limit_conf *conf;
    struct fg_siphash_key key;
    void *memory;
    unsigned shard_count;
    struct shard shards[SHARDS];
};

struct fg_rate_table *fg_rate_table_create(const struct fg_rate_limit_conf *conf)
{
    struct fg_rate_table *table = aligned_alloc(64, sizeof(*table));
    uint8_t secret[16];
    if (table == NULL || getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
        free(table);
        return NULL;
    }
    /* A table with few keys (a limit for the route as a whole) needs no shards. */
    bool is_by_route = conf->part_count == 1 && conf->parts[0].kind == FG_LIMIT_BY_ROUTE;
    unsigned shard_count = is_by_route ? 1 : SHARDS;
    size_t capacity = conf->keys_max / shard_count + 1;
    size_t shard_bytes = fg_limit_table_bytes(capacity);
    void *memory = shard_bytes == 0 ? NULL : calloc(shard_count, shard_bytes);
    if (memory == NULL) {
        free(table);
        return NULL;
    }
    *table = (struct fg_rate_table){.conf = conf,
                                    .key = fg_siphash_key_from_bytes(secret),
                                    .memory = memory,
                                    .shard_count = shard_count};
    const struct fg_limit_rule rule = fg_limit_rule_of(conf);
    for (unsigned i = 0; i < shard_count; i++) {
        pthread_mutex_init(&table->shards[i].lock, NULL);
        fg_limit_table_init(&table->shards[i].table, (char *)memory + i * shard_bytes, shard_bytes,
                            capacity, &rule);
    }
    return table;
}

void fg_rate_table_destroy(struct fg_rate_table *table)
{
    if (table == NULL)
        return;
    for (unsigned i = 0; i < table->shard_count; i++)
        pthread_mutex_destroy(&table->shards[i].lock);
    free(table->memory);
    free(table);
}

const struct fg_rate_limit_conf *fg_rate_table_conf(const struct fg_rate_table *table)
{
    return table->conf;
}

const struct fg_siphash_key *fg_rate_table_secret(const struct fg_rate_table *table)
{
    return &table->key;
}

/* The table picks its set from the upper bits of `hi`; the shard comes from the lower ones. */
static struct shard *shard_of(struct fg_rate_table *table, struct fg_limit_key key)
{
    return &table->shards[key.hi % table->shard_count];
}

bool fg_rate_table_try_take(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                            uint64_t cost, struct fg_limit_verdict *verdict)
{
    struct shard *shard = shard_of(table, key);
    pthread_mutex_lock(&shard->lock);
    bool allowed = fg_limit_table_try_take(&shard->table, key.hi, key.lo, now_ns, cost, verdict);
    if (allowed)
        shard->allowed_total++;
    else
        shard->refused_total++;
    pthread_mutex_unlock(&shard->lock);
    return allowed;
}

void fg_rate_table_settle(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                          uint64_t taken, uint64_t used)
{
    struct shard *shard = shard_of(table, key);
    if (used == taken)
        return;
    pthread_mutex_lock(&shard->lock);
    if (used < taken) {
        fg_limit_table_give_back(&shard->table, key.hi, key.lo, now_ns, taken - used);
        shard->given_back_total += taken - used;
    } else {
        fg_limit_table_charge(&shard->table, key.hi, key.lo, now_ns, used - taken);
        shard->owed_total += used - taken;
    }
    pthread_mutex_unlock(&shard->lock);
}

struct fg_rate_table_stats fg_rate_table_stats(struct fg_rate_table *table)
{
    struct fg_rate_table_stats stats = {0};
    for (unsigned i = 0; i < table->shard_count; i++) {
        struct shard *shard = &table->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats.entries += shard->table.keys.entries;
        stats.evictions += shard->table.keys.evictions;
        stats.allowed_total += shard->allowed_total;
        stats.refused_total += shard->refused_total;
        stats.given_back_total += shard->given_back_total;
        stats.owed_total += shard->owed_total;
        pthread_mutex_unlock(&shard->lock);
    }
    return stats;
}
