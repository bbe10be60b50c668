/*
 * s3_fifo.h: which cached object makes room for a new one.
 * Thread   one owner at a time. Entries are embedded in the caller's objects and stay theirs.
 */
#ifndef FG_POLICIES_CACHE_S3_FIFO_H
#define FG_POLICIES_CACHE_S3_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_s3_queue { FG_S3_NONE, FG_S3_SMALL, FG_S3_MAIN };

/* A zeroed entry is in no queue. */
struct fg_s3_entry {
    struct fg_s3_entry *prev; /* towards newer */
    struct fg_s3_entry *next; /* towards older; chains the list of evicted entries too */
    uint64_t hash;
    uint64_t bytes;
    enum fg_s3_queue queue;
    uint8_t frequency; /* hits since it was last moved, 0-3 */
};

struct fg_s3_list {
    struct fg_s3_entry *newest;
    struct fg_s3_entry *oldest;
    uint64_t bytes;
    uint64_t count;
};

struct fg_s3_ghost_set;

struct fg_s3_fifo {
    uint64_t bytes_max;
    uint64_t small_bytes_max; /* a tenth */
    struct fg_s3_list small_queue;
    struct fg_s3_list main_queue;
    /* ghosts: hashes of what the small queue let go, in the memory handed over at init */
    struct fg_s3_ghost_set *ghosts;
    size_t ghost_set_count;
    uint64_t ghost_clock; /* bytes that ever became ghosts */
    /* counters */
    uint64_t evicted_total;
    uint64_t promoted_total; /* small to main */
    uint64_t ghost_hits_total;
    uint64_t refused_total; /* larger than the whole cache */
};

/* Memory for at least `ghost_capacity` ghosts (as many as objects expected), 0 when too many. */
size_t fg_s3_fifo_bytes(size_t ghost_capacity);

/* `memory` (any alignment) stays the caller's and must outlive the cache. No ghosts: NULL and 0. */
void fg_s3_fifo_init(struct fg_s3_fifo *cache, uint64_t bytes_max, void *memory,
                     size_t memory_bytes, size_t ghost_capacity);

/*
 * Add `entry`, not in any queue, of `bytes` (at least 1, with its own overhead). *evicted is a
 * NULL-terminated list through `next` of entries that made room; the caller frees their objects.
 * False, with nothing evicted, when it is larger than the whole cache.
 */
bool fg_s3_fifo_insert(struct fg_s3_fifo *cache, struct fg_s3_entry *entry, uint64_t hash,
                       uint64_t bytes, struct fg_s3_entry **evicted);

/* Another budget from now on; *evicted as above. */
void fg_s3_fifo_set_max(struct fg_s3_fifo *cache, uint64_t bytes_max, struct fg_s3_entry **evicted);

/* A hit. */
void fg_s3_fifo_touch(struct fg_s3_entry *entry);

/* Take out what was purged; it leaves no ghost. */
void fg_s3_fifo_remove(struct fg_s3_fifo *cache, struct fg_s3_entry *entry);

uint64_t fg_s3_fifo_bytes_used(const struct fg_s3_fifo *cache);
uint64_t fg_s3_fifo_count(const struct fg_s3_fifo *cache);

#endif
