/*
 * key_table.c: entries by key in sets of eight, in memory that never grows.
 * Job      something remembered of a user or address, for more of them than we care to remember.
 * Thread   one owner at a time.
 * Never    allocates, grows, or looks at more than one set.
 * Memory   the caller's block: entry_bytes + 8 a key, fixed by the capacity.
 *
 *    key_hi picks the set --> | key_lo x 8 | entry x 8: key_hi, what its user keeps |
 *
 * When a set is full, one entry goes: which one, its user says. A key of zeros marks a free place;
 * whose hash is that, is known by a one instead.
 */
#include "policies/key_table.h"

#include "policies/wide_math.h"

#include <assert.h>

#define SET_WAYS 8
#define SET_ALIGNMENT 64 /* a cache line: finding a key touches two of them */

static size_t sets_for(size_t capacity)
{
    return capacity / SET_WAYS + (capacity % SET_WAYS != 0);
}

static size_t bytes_of_set(size_t entry_bytes)
{
    size_t bytes = SET_WAYS * (sizeof(uint64_t) + entry_bytes);
    return (bytes + SET_ALIGNMENT - 1) / SET_ALIGNMENT * SET_ALIGNMENT;
}

static char *set_of(const struct fg_key_table *table, uint64_t key_hi)
{
    /* key_hi / 2^64 x set_count: even for any count, without a division */
    size_t index = (size_t)(((fg_wide)key_hi * table->set_count) >> 64);
    return table->sets + index * table->set_bytes;
}

static uint64_t *lows_of(char *set)
{
    return (uint64_t *)(void *)set;
}

static struct fg_key_entry *entry_at(const struct fg_key_table *table, char *set, int way)
{
    char *entries = set + SET_WAYS * sizeof(uint64_t);
    return (struct fg_key_entry *)(void *)(entries + (size_t)way * table->entry_bytes);
}

static uint64_t used_low(uint64_t key_hi, uint64_t key_lo)
{
    return key_hi == 0 && key_lo == 0 ? 1 : key_lo;
}

/* A free way, or the one to forget. */
static int choose_way(const struct fg_key_table *table, char *set, uint64_t now_ns)
{
    int worst = 0;
    for (int way = 0; way < SET_WAYS; way++) {
        const struct fg_key_entry *entry = entry_at(table, set, way);
        if (entry->key_hi == 0 && lows_of(set)[way] == 0)
            return way;
        if (way > 0 && table->is_worse(table->context, entry, entry_at(table, set, worst), now_ns))
            worst = way;
    }
    return worst;
}

size_t fg_key_table_bytes(size_t capacity, size_t entry_bytes)
{
    size_t set_count = sets_for(capacity);
    size_t set_bytes = bytes_of_set(entry_bytes);
    if (set_count > (SIZE_MAX - SET_ALIGNMENT) / set_bytes)
        return 0;
    return set_count * set_bytes + SET_ALIGNMENT - 1;
}

void fg_key_table_init(struct fg_key_table *table, void *memory, size_t memory_bytes,
                       size_t capacity, size_t entry_bytes, fg_key_worse_fn is_worse,
                       const void *context)
{
    assert(memory != NULL);
    assert(capacity > 0);
    assert(entry_bytes >= sizeof(struct fg_key_entry) && entry_bytes % sizeof(uint64_t) == 0);
    assert(fg_key_table_bytes(capacity, entry_bytes) != 0);
    assert(memory_bytes >= fg_key_table_bytes(capacity, entry_bytes));
    size_t misfit = (uintptr_t)memory % SET_ALIGNMENT;
    *table = (struct fg_key_table){
        .set_count = sets_for(capacity),
        .entry_bytes = entry_bytes,
        .set_bytes = bytes_of_set(entry_bytes),
        .is_worse = is_worse,
        .context = context,
        .sets = (char *)memory + (misfit == 0 ? 0 : SET_ALIGNMENT - misfit),
    };
}

struct fg_key_entry *fg_key_table_find(const struct fg_key_table *table, uint64_t key_hi,
                                       uint64_t key_lo)
{
    char *set = set_of(table, key_hi);
    uint64_t low = used_low(key_hi, key_lo);
    for (int way = 0; way < SET_WAYS; way++) {
        struct fg_key_entry *entry = entry_at(table, set, way);
        if (lows_of(set)[way] == low && entry->key_hi == key_hi)
            return entry;
    }
    return NULL;
}

struct fg_key_entry *fg_key_table_insert(struct fg_key_table *table, uint64_t key_hi,
                                         uint64_t key_lo, uint64_t now_ns)
{
    char *set = set_of(table, key_hi);
    int way = choose_way(table, set, now_ns);
    struct fg_key_entry *entry = entry_at(table, set, way);
    if (entry->key_hi != 0 || lows_of(set)[way] != 0)
        table->evictions++;
    else
        table->entries++;
    lows_of(set)[way] = used_low(key_hi, key_lo);
    entry->key_hi = key_hi;
    return entry;
}
