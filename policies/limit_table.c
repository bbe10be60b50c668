/*
 * limit_table.c: token buckets by key in sets of eight, in memory that never grows.
 * Job      one bucket a user or address, for more of them than we care to remember.
 * Thread   one owner at a time.
 * Never    allocates, grows, or looks at more than one set.
 * Memory   the caller's block: 40 bytes a key, fixed by the capacity.
 *
 *    key_hi picks the set --> | key_lo x 8 | entry x 8: rest of key, level, time |
 *
 * When a set is full, the entry with the fullest bucket goes (ties: least recently used). A full
 * bucket says nothing that a new one would not say, so forgetting it is free; a drained one is the
 * memory of somebody who used up their share. A flood of invented keys therefore pushes out its own
 * nearly full buckets first and cannot wash away the flooder's drained one. Plain LRU, which we do
 * not use, forgets exactly the wrong one. With eight drained keys in a set one of them is forgotten
 * early: it gains at most one burst, and `evictions` shows it.
 */
#include "policies/limit_table.h"

#include "policies/wide_math.h"

#include <assert.h>
#include <string.h>

#define SET_WAYS 8
#define SET_ALIGNMENT 64 /* a cache line: finding a key touches two of them */

struct limit_entry {
    uint64_t key_hi;
    uint64_t fraction;
    uint64_t updated_ns;
    uint32_t tokens;
    uint32_t is_used;
};

struct fg_limit_set {
    uint64_t key_lo[SET_WAYS];
    struct limit_entry entries[SET_WAYS];
};

_Static_assert(sizeof(struct fg_limit_set) % SET_ALIGNMENT == 0, "sets keep to cache lines");

static size_t sets_for(size_t capacity)
{
    return capacity / SET_WAYS + (capacity % SET_WAYS != 0);
}

static struct fg_limit_set *set_of(const struct fg_limit_table *table, uint64_t key_hi)
{
    /* key_hi / 2^64 x set_count: even for any count, without a division */
    return &table->sets[(size_t)(((fg_wide)key_hi * table->set_count) >> 64)];
}

/* The way that holds the key, or -1. */
static int find_way(const struct fg_limit_set *set, uint64_t key_hi, uint64_t key_lo)
{
    for (int way = 0; way < SET_WAYS; way++) {
        const struct limit_entry *entry = &set->entries[way];
        if (set->key_lo[way] == key_lo && entry->key_hi == key_hi && entry->is_used)
            return way;
    }
    return -1;
}

static struct fg_token_bucket unpack(const struct fg_limit_table *table,
                                     const struct limit_entry *entry)
{
    struct fg_token_bucket tb = table->fresh;
    tb.tokens = entry->tokens;
    tb.fraction = entry->fraction;
    tb.updated_ns = entry->updated_ns;
    return tb;
}

static void pack(struct limit_entry *entry, const struct fg_token_bucket *tb)
{
    entry->tokens = (uint32_t)tb->tokens; /* burst fits, checked at init */
    entry->fraction = tb->fraction;
    entry->updated_ns = tb->updated_ns;
}

/* Is the bucket `a` the better one to forget at now_ns? */
static bool is_fuller(const struct fg_token_bucket *a, const struct fg_token_bucket *b,
                      uint64_t now_ns)
{
    uint64_t a_reset_ns = fg_token_bucket_reset_after_ns(a, now_ns);
    uint64_t b_reset_ns = fg_token_bucket_reset_after_ns(b, now_ns);
    if (a_reset_ns != b_reset_ns)
        return a_reset_ns < b_reset_ns;
    if (a_reset_ns == UINT64_MAX && a->tokens != b->tokens) /* no refill: time does not tell */
        return a->tokens > b->tokens;
    return a->updated_ns < b->updated_ns;
}

/* A free way, or the one to forget. */
static int choose_way(const struct fg_limit_table *table, const struct fg_limit_set *set,
                      uint64_t now_ns)
{
    int best = 0;
    struct fg_token_bucket best_bucket;
    for (int way = 0; way < SET_WAYS; way++) {
        const struct limit_entry *entry = &set->entries[way];
        if (!entry->is_used)
            return way;
        struct fg_token_bucket bucket = unpack(table, entry);
        if (way == 0 || is_fuller(&bucket, &best_bucket, now_ns)) {
            best = way;
            best_bucket = bucket;
        }
    }
    return best;
}

static int insert_key(struct fg_limit_table *table, struct fg_limit_set *set, uint64_t key_hi,
                      uint64_t key_lo, uint64_t now_ns)
{
    int way = choose_way(table, set, now_ns);
    struct limit_entry *entry = &set->entries[way];
    if (entry->is_used)
        table->evictions++;
    else
        table->entries++;
    struct fg_token_bucket fresh = table->fresh;
    fresh.updated_ns = now_ns;
    set->key_lo[way] = key_lo;
    entry->key_hi = key_hi;
    entry->is_used = 1;
    pack(entry, &fresh);
    return way;
}

size_t fg_limit_table_bytes(size_t capacity)
{
    size_t set_count = sets_for(capacity);
    if (set_count > (SIZE_MAX - SET_ALIGNMENT) / sizeof(struct fg_limit_set))
        return 0;
    return set_count * sizeof(struct fg_limit_set) + SET_ALIGNMENT - 1;
}

void fg_limit_table_init(struct fg_limit_table *table, void *memory, size_t memory_bytes,
                         size_t capacity, uint64_t amount, uint64_t period_ns, uint64_t burst)
{
    assert(memory != NULL);
    assert(capacity > 0);
    assert(burst <= UINT32_MAX);
    assert(fg_limit_table_bytes(capacity) != 0);
    assert(memory_bytes >= fg_limit_table_bytes(capacity));
    size_t misfit = (uintptr_t)memory % SET_ALIGNMENT;
    char *aligned = (char *)memory + (misfit == 0 ? 0 : SET_ALIGNMENT - misfit);
    *table = (struct fg_limit_table){
        .set_count = sets_for(capacity),
        .sets = (struct fg_limit_set *)(void *)aligned,
    };
    fg_token_bucket_init(&table->fresh, amount, period_ns, burst, 0);
    memset(table->sets, 0, table->set_count * sizeof(struct fg_limit_set));
}

bool fg_limit_table_try_take(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                             uint64_t now_ns, uint64_t cost, struct fg_limit_verdict *verdict)
{
    struct fg_limit_set *set = set_of(table, key_hi);
    int way = find_way(set, key_hi, key_lo);
    if (way == -1 && cost <= table->fresh.burst) /* else it can never pass: nobody loses a place */
        way = insert_key(table, set, key_hi, key_lo, now_ns);
    struct fg_token_bucket bucket = table->fresh;
    if (way != -1)
        bucket = unpack(table, &set->entries[way]);
    verdict->allowed = fg_token_bucket_try_take(&bucket, now_ns, cost, &verdict->wait_ns);
    verdict->remaining = bucket.tokens;
    verdict->reset_ns = fg_token_bucket_reset_after_ns(&bucket, now_ns);
    if (way != -1)
        pack(&set->entries[way], &bucket);
    return verdict->allowed;
}

bool fg_limit_table_has(const struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo)
{
    return find_way(set_of(table, key_hi), key_hi, key_lo) != -1;
}
