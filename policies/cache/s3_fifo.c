/*
 * s3_fifo.c: which cached object makes room for a new one.
 * Job      keep what is asked for again; let what is asked for once leave quickly.
 * Thread   one owner at a time.
 * Never    holds more than bytes_max, or evicts an entry that it does not hand to the caller.
 * Memory   links in the caller's entries; ghosts (hash and time, 16 bytes) in the block from init.
 * Source   Yang, Zhang, Qiu, Yue, Rashmi: "FIFO Queues are All You Need for Cache Eviction"
 *          (SOSP 2023). Constants: small queue 10 % of the bytes; promoted from 2 hits; hits
 *          counted up to 3, and one is used up for each further round in the main queue.
 *
 *    new --> SMALL --2 hits or more--> MAIN <--.  still hit: again, one hit less
 *              |                        |  `---'
 *              |                        `--> evicted
 *              `--> evicted, its hash becomes a GHOST; a ghost that comes back goes to MAIN at once
 *
 * The ghosts are sets of eight with the time, in bytes gone by, at which each was made: one is
 * alive while fewer bytes than the main queue holds have become ghosts since, as in the authors'
 * simulator.
 */
#include "policies/cache/s3_fifo.h"

#include "policies/wide_math.h"

#include <assert.h>
#include <string.h>

#define FREQUENCY_MAX 3
#define PROMOTE_FREQUENCY 2
#define SMALL_SHARE_INVERSE 10
#define GHOST_WAYS 8
#define GHOST_ALIGNMENT 64

struct fg_s3_ghost_set {
    uint64_t hash[GHOST_WAYS];
    uint64_t made_at[GHOST_WAYS]; /* ghost clock right after it was made; 0: free */
};

/* --- lists --- */

static void push_newest(struct fg_s3_list *list, struct fg_s3_entry *entry, enum fg_s3_queue queue)
{
    entry->queue = queue;
    entry->prev = NULL;
    entry->next = list->newest;
    if (list->newest == NULL)
        list->oldest = entry;
    else
        list->newest->prev = entry;
    list->newest = entry;
    list->bytes += entry->bytes;
    list->count++;
}

static void unlink_entry(struct fg_s3_list *list, struct fg_s3_entry *entry)
{
    if (entry->prev == NULL)
        list->newest = entry->next;
    else
        entry->prev->next = entry->next;
    if (entry->next == NULL)
        list->oldest = entry->prev;
    else
        entry->next->prev = entry->prev;
    assert(list->bytes >= entry->bytes);
    list->bytes -= entry->bytes;
    list->count--;
    entry->prev = NULL;
    entry->next = NULL;
    entry->queue = FG_S3_NONE;
}

/* --- ghosts --- */

static uint64_t main_bytes_max(const struct fg_s3_fifo *cache)
{
    return cache->bytes_max - cache->small_bytes_max;
}

static struct fg_s3_ghost_set *ghost_set_of(const struct fg_s3_fifo *cache, uint64_t hash)
{
    uint64_t mixed = hash * UINT64_C(0x9e3779b97f4a7c15); /* weak high bits do no harm */
    return &cache->ghosts[(size_t)(((fg_wide)mixed * cache->ghost_set_count) >> 64)];
}

static bool is_alive(const struct fg_s3_fifo *cache, uint64_t made_at)
{
    return made_at != 0 && cache->ghost_clock - made_at < main_bytes_max(cache);
}

static void make_ghost(struct fg_s3_fifo *cache, const struct fg_s3_entry *entry)
{
    if (cache->ghost_set_count == 0)
        return;
    cache->ghost_clock += entry->bytes;
    struct fg_s3_ghost_set *set = ghost_set_of(cache, entry->hash);
    size_t slot = 0;
    for (size_t way = 0; way < GHOST_WAYS; way++) {
        if (set->made_at[way] != 0 && set->hash[way] == entry->hash) {
            slot = way;
            break;
        }
        if (set->made_at[way] < set->made_at[slot]) /* free ones are 0: the oldest of all */
            slot = way;
    }
    set->hash[slot] = entry->hash;
    set->made_at[slot] = cache->ghost_clock;
}

/* True, once, when the hash was lately let go by the small queue. */
static bool take_ghost(struct fg_s3_fifo *cache, uint64_t hash)
{
    if (cache->ghost_set_count == 0)
        return false;
    struct fg_s3_ghost_set *set = ghost_set_of(cache, hash);
    for (size_t way = 0; way < GHOST_WAYS; way++) {
        if (set->hash[way] == hash && set->made_at[way] != 0) {
            bool was_alive = is_alive(cache, set->made_at[way]);
            set->made_at[way] = 0;
            return was_alive;
        }
    }
    return false;
}

/* --- eviction --- */

static void hand_out(struct fg_s3_fifo *cache, struct fg_s3_entry *entry,
                     struct fg_s3_entry **evicted)
{
    entry->next = *evicted;
    *evicted = entry;
    cache->evicted_total++;
}

/* The oldest of the small queue: to the main queue if it was wanted, else out. */
static void evict_small(struct fg_s3_fifo *cache, struct fg_s3_entry **evicted)
{
    struct fg_s3_entry *entry = cache->small_queue.oldest;
    unlink_entry(&cache->small_queue, entry);
    if (entry->frequency >= PROMOTE_FREQUENCY) {
        entry->frequency = 0;
        push_newest(&cache->main_queue, entry, FG_S3_MAIN);
        cache->promoted_total++;
        return;
    }
    make_ghost(cache, entry);
    hand_out(cache, entry, evicted);
}

/* The oldest of the main queue: another round if it was wanted, else out. */
static void evict_main(struct fg_s3_fifo *cache, struct fg_s3_entry **evicted)
{
    struct fg_s3_entry *entry = cache->main_queue.oldest;
    unlink_entry(&cache->main_queue, entry);
    if (entry->frequency > 0) {
        entry->frequency--;
        push_newest(&cache->main_queue, entry, FG_S3_MAIN);
        return;
    }
    hand_out(cache, entry, evicted);
}

/* One step towards room; each lowers a frequency, moves on from small, or frees bytes. */
static void evict_step(struct fg_s3_fifo *cache, struct fg_s3_entry **evicted)
{
    bool is_small_empty = cache->small_queue.count == 0;
    bool is_main_empty = cache->main_queue.count == 0;
    bool is_small_due = cache->small_queue.bytes >= cache->small_bytes_max &&
                        cache->main_queue.bytes <= main_bytes_max(cache);
    if (is_main_empty || (is_small_due && !is_small_empty))
        evict_small(cache, evicted);
    else
        evict_main(cache, evicted);
}

/* --- public --- */

size_t fg_s3_fifo_bytes(size_t ghost_capacity)
{
    size_t set_count = ghost_capacity / GHOST_WAYS + (ghost_capacity % GHOST_WAYS != 0);
    if (set_count > (SIZE_MAX - GHOST_ALIGNMENT) / sizeof(struct fg_s3_ghost_set))
        return 0;
    return set_count == 0 ? 0 : set_count * sizeof(struct fg_s3_ghost_set) + GHOST_ALIGNMENT - 1;
}

void fg_s3_fifo_init(struct fg_s3_fifo *cache, uint64_t bytes_max, void *memory,
                     size_t memory_bytes, size_t ghost_capacity)
{
    *cache = (struct fg_s3_fifo){
        .bytes_max = bytes_max,
        .small_bytes_max = bytes_max / SMALL_SHARE_INVERSE,
    };
    if (ghost_capacity == 0)
        return;
    assert(memory != NULL);
    assert(fg_s3_fifo_bytes(ghost_capacity) != 0);
    assert(memory_bytes >= fg_s3_fifo_bytes(ghost_capacity));
    size_t misfit = (uintptr_t)memory % GHOST_ALIGNMENT;
    char *aligned = (char *)memory + (misfit == 0 ? 0 : GHOST_ALIGNMENT - misfit);
    cache->ghosts = (struct fg_s3_ghost_set *)(void *)aligned;
    cache->ghost_set_count = ghost_capacity / GHOST_WAYS + (ghost_capacity % GHOST_WAYS != 0);
    memset(cache->ghosts, 0, cache->ghost_set_count * sizeof(struct fg_s3_ghost_set));
}

bool fg_s3_fifo_insert(struct fg_s3_fifo *cache, struct fg_s3_entry *entry, uint64_t hash,
                       uint64_t bytes, struct fg_s3_entry **evicted)
{
    assert(entry->queue == FG_S3_NONE);
    assert(bytes > 0);
    *evicted = NULL;
    if (bytes > cache->bytes_max) {
        cache->refused_total++;
        return false;
    }
    while (fg_s3_fifo_bytes_used(cache) > cache->bytes_max - bytes)
        evict_step(cache, evicted);
    *entry = (struct fg_s3_entry){.hash = hash, .bytes = bytes};
    if (take_ghost(cache, hash)) {
        cache->ghost_hits_total++;
        push_newest(&cache->main_queue, entry, FG_S3_MAIN);
    } else {
        push_newest(&cache->small_queue, entry, FG_S3_SMALL);
    }
    return true;
}

void fg_s3_fifo_set_max(struct fg_s3_fifo *cache, uint64_t bytes_max, struct fg_s3_entry **evicted)
{
    *evicted = NULL;
    cache->bytes_max = bytes_max;
    cache->small_bytes_max = bytes_max / SMALL_SHARE_INVERSE;
    while (fg_s3_fifo_bytes_used(cache) > bytes_max)
        evict_step(cache, evicted);
}

void fg_s3_fifo_touch(struct fg_s3_entry *entry)
{
    assert(entry->queue != FG_S3_NONE);
    if (entry->frequency < FREQUENCY_MAX)
        entry->frequency++;
}

void fg_s3_fifo_remove(struct fg_s3_fifo *cache, struct fg_s3_entry *entry)
{
    assert(entry->queue != FG_S3_NONE);
    if (entry->queue == FG_S3_SMALL)
        unlink_entry(&cache->small_queue, entry);
    else
        unlink_entry(&cache->main_queue, entry);
}

uint64_t fg_s3_fifo_bytes_used(const struct fg_s3_fifo *cache)
{
    return cache->small_queue.bytes + cache->main_queue.bytes;
}

uint64_t fg_s3_fifo_count(const struct fg_s3_fifo *cache)
{
    return cache->small_queue.count + cache->main_queue.count;
}
