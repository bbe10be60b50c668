/*
 * rate_table_shared.c: shards of limit tables, each in a cache line of its own.
 */
#include "rate_table_shared.h"

#include "policies/siphash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS 16u

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct fg_limit_table table;
    uint64_t allowed_total;
    uint64_t refused_total;
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
    /* A table with one key (a limit for the route as a whole) needs no shards. */
    unsigned shard_count = conf->key == FG_LIMIT_BY_ROUTE ? 1 : SHARDS;
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
    for (unsigned i = 0; i < shard_count; i++) {
        pthread_mutex_init(&table->shards[i].lock, NULL);
        fg_limit_table_init(&table->shards[i].table, (char *)memory + i * shard_bytes, shard_bytes,
                            capacity, conf->rate.amount, conf->rate.period_ns, conf->burst);
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

bool fg_rate_table_try_take(struct fg_rate_table *table, struct fg_span key, uint64_t now_ns,
                            struct fg_limit_verdict *verdict)
{
    uint64_t hi, lo;
    fg_siphash_128(&table->key, key.data, key.len, &hi, &lo);
    /* The table picks its set from lo; the shard comes from other bits. */
    struct shard *shard = &table->shards[(hi >> 48) % table->shard_count];
    pthread_mutex_lock(&shard->lock);
    bool allowed = fg_limit_table_try_take(&shard->table, hi, lo, now_ns, 1, verdict);
    if (allowed)
        shard->allowed_total++;
    else
        shard->refused_total++;
    pthread_mutex_unlock(&shard->lock);
    return allowed;
}

struct fg_rate_table_stats fg_rate_table_stats(struct fg_rate_table *table)
{
    struct fg_rate_table_stats stats = {0};
    for (unsigned i = 0; i < table->shard_count; i++) {
        struct shard *shard = &table->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats.entries += shard->table.entries;
        stats.evictions += shard->table.evictions;
        stats.allowed_total += shard->allowed_total;
        stats.refused_total += shard->refused_total;
        pthread_mutex_unlock(&shard->lock);
    }
    return stats;
}
