/*
 * nonce_table_shared.c: see nonce_table_shared.h. A nonce is known by 128 bits of a keyed hash, so
 * that nobody can make two that look alike, or fill one bucket.
 */
#include "nonce_table_shared.h"

#include "base/robust_mutex_shared.h"
#include "policies/siphash.h"

#include <errno.h>
#include <sys/mman.h>
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
    size_t bytes; /* of the whole mapping */
    size_t bucket_mask;
    uint64_t since_s;
    pthread_mutex_t locks[SHARDS]; /* bucket i is of shard i % SHARDS */
    struct place places[];
};

static bool make_locks(struct fg_nonce_table *table)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        if (!fg_robust_mutex_init(&table->locks[i]))
            return false;
    }
    return true;
}

struct fg_nonce_table *fg_nonce_table_create(size_t nonces_max, uint64_t now_s)
{
    uint8_t random[16];
    size_t buckets = 1;
    while (buckets * PLACES < nonces_max * 2)
        buckets *= 2;
    size_t bytes = sizeof(struct fg_nonce_table) + buckets * PLACES * sizeof(struct place);
    struct fg_nonce_table *table =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        return NULL;
    table->bytes = bytes;
    if (!make_locks(table) || getrandom(random, sizeof(random), 0) != sizeof(random)) {
        fg_nonce_table_destroy(table);
        return NULL;
    }
    table->key = fg_siphash_key_from_bytes(random);
    table->bucket_mask = buckets - 1;
    table->since_s = now_s;
    return table;
}

void fg_nonce_table_destroy(struct fg_nonce_table *table)
{
    if (table != NULL)
        munmap(table, table->bytes); /* others may hold its locks */
}

uint64_t fg_nonce_table_since_s(const struct fg_nonce_table *table)
{
    return table->since_s;
}

size_t fg_nonce_table_room(const struct fg_nonce_table *table)
{
    return (table->bucket_mask + 1) * PLACES / 2;
}

static void lock_shard(pthread_mutex_t *lock)
{
    if (pthread_mutex_lock(lock) == EOWNERDEAD)
        pthread_mutex_consistent(lock);
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
    lock_shard(lock);
    enum fg_nonce_verdict verdict = use_place(&table->places[bucket * PLACES], wanted, now_s);
    pthread_mutex_unlock(lock);
    return verdict;
}
