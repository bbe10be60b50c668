/*
 * nonce_table_shared.c: see nonce_table_shared.h. A nonce is known by 128 bits of a keyed hash, so
 * that nobody can make two that look alike, or fill one bucket.
 */
#include "nonce_table_shared.h"

#include "policies/siphash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define PLACES 16u /* of a bucket */
#define SHARDS 64u

struct place {
    uint64_t high;
    uint64_t low;
    uint64_t until_s; /* 0: free */
};

struct fg_nonce_table {
    struct fg_siphash_key key;
    size_t bucket_mask;
    struct place *places;
    pthread_mutex_t locks[SHARDS]; /* bucket i is of shard i % SHARDS */
};

struct fg_nonce_table *fg_nonce_table_create(size_t nonces_max)
{
    uint8_t random[16];
    size_t buckets = 1;
    while (buckets * PLACES < nonces_max * 2)
        buckets *= 2;
    struct fg_nonce_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    table->places = calloc(buckets * PLACES, sizeof(*table->places));
    if (table->places == NULL || getrandom(random, sizeof(random), 0) != sizeof(random)) {
        free(table->places);
        free(table);
        return NULL;
    }
    table->key = fg_siphash_key_from_bytes(random);
    table->bucket_mask = buckets - 1;
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_init(&table->locks[i], NULL);
    return table;
}

void fg_nonce_table_destroy(struct fg_nonce_table *table)
{
    if (table == NULL)
        return;
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&table->locks[i]);
    free(table->places);
    free(table);
}

static enum fg_nonce_verdict use_place(struct place *bucket, struct place wanted, uint64_t now_s)
{
    struct place *unused = NULL;
    for (unsigned i = 0; i < PLACES; i++) {
        struct place *place = &bucket[i];
        if (place->until_s <= now_s)
            unused = place;
        else if (place->high == wanted.high && place->low == wanted.low)
            return FG_NONCE_USED;
    }
    if (unused == NULL)
        return FG_NONCE_FULL;
    *unused = wanted;
    return FG_NONCE_FRESH;
}

enum fg_nonce_verdict fg_nonce_table_use(struct fg_nonce_table *table, struct fg_span key_id,
                                         struct fg_span nonce, uint64_t now_s, uint64_t until_s)
{
    uint64_t seed = fg_siphash(&table->key, key_id.data, key_id.len);
    const struct fg_siphash_key key = {table->key.k0 ^ seed, table->key.k1};
    struct place wanted = {.until_s = until_s};
    fg_siphash_128(&key, nonce.data, nonce.len, &wanted.high, &wanted.low);
    size_t bucket = (size_t)wanted.high & table->bucket_mask;
    pthread_mutex_t *lock = &table->locks[bucket % SHARDS];
    pthread_mutex_lock(lock);
    enum fg_nonce_verdict verdict = use_place(&table->places[bucket * PLACES], wanted, now_s);
    pthread_mutex_unlock(lock);
    return verdict;
}
