/*
 * token_cache.c: see token_cache.h. The digest is the hash: its first bytes choose the bucket.
 */
#include "token_cache.h"

#include <assert.h>
#include <stdlib.h>

#define WAYS 4u

struct entry {
    unsigned char digest[32];
    uint64_t generation; /* 0: free */
    uint64_t used;       /* number of the last use */
    uint64_t from_s;
    uint64_t until_s;
    uint32_t user_bytes;
    uint32_t tier_bytes;
    char user[FG_USER_ID_BYTES_MAX];
    char tier[FG_TIER_BYTES_MAX];
};

struct fg_token_cache {
    size_t bucket_mask;
    uint64_t uses;
    struct entry *entries;
};

struct fg_token_cache *fg_token_cache_create(size_t tokens_max)
{
    size_t buckets = 1;
    while (buckets * WAYS < tokens_max)
        buckets *= 2;
    struct fg_token_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return NULL;
    cache->bucket_mask = buckets - 1;
    cache->entries = calloc(buckets * WAYS, sizeof(*cache->entries));
    if (cache->entries == NULL) {
        free(cache);
        return NULL;
    }
    return cache;
}

void fg_token_cache_destroy(struct fg_token_cache *cache)
{
    if (cache == NULL)
        return;
    free(cache->entries);
    free(cache);
}

static struct entry *bucket_of(const struct fg_token_cache *cache, const unsigned char *digest)
{
    uint64_t hash;
    memcpy(&hash, digest, sizeof(hash));
    return &cache->entries[(hash & cache->bucket_mask) * WAYS];
}

bool fg_token_cache_find(struct fg_token_cache *cache, const unsigned char digest[32],
                         uint64_t generation, struct fg_jwt_grant *grant)
{
    struct entry *bucket = bucket_of(cache, digest);
    for (unsigned i = 0; i < WAYS; i++) {
        struct entry *entry = &bucket[i];
        if (entry->generation != generation || memcmp(entry->digest, digest, 32) != 0)
            continue;
        entry->used = ++cache->uses;
        *grant = (struct fg_jwt_grant){fg_span_make(entry->user, entry->user_bytes),
                                       fg_span_make(entry->tier, entry->tier_bytes), entry->from_s,
                                       entry->until_s};
        return true;
    }
    return false;
}

void fg_token_cache_keep(struct fg_token_cache *cache, const unsigned char digest[32],
                         uint64_t generation, const struct fg_jwt_grant *grant)
{
    assert(generation != 0 && grant->user_id.len <= FG_USER_ID_BYTES_MAX &&
           grant->tier.len <= FG_TIER_BYTES_MAX);
    struct entry *bucket = bucket_of(cache, digest);
    struct entry *place = &bucket[0];
    for (unsigned i = 0; i < WAYS; i++) {
        /* One of older keys is as good as free; so is the same token, out of date. */
        bool is_old = bucket[i].generation != generation;
        if (memcmp(bucket[i].digest, digest, 32) == 0) {
            place = &bucket[i];
            break;
        }
        if ((is_old && place->generation == generation) ||
            (is_old == (place->generation != generation) && bucket[i].used < place->used))
            place = &bucket[i];
    }
    place->generation = generation;
    place->used = ++cache->uses;
    place->from_s = grant->from_s;
    place->until_s = grant->until_s;
    place->user_bytes = (uint32_t)grant->user_id.len;
    memcpy(place->digest, digest, 32);
    memcpy(place->user, grant->user_id.data, grant->user_id.len);
    place->tier_bytes = (uint32_t)grant->tier.len;
    if (grant->tier.len > 0)
        memcpy(place->tier, grant->tier.data, grant->tier.len);
}
