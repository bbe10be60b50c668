/*
 * key_table.h: what is remembered of a key (user, address), in a fixed block of memory.
 * Thread   one owner at a time; the gateway shards and locks.
 */
#ifndef FG_POLICIES_KEY_TABLE_H
#define FG_POLICIES_KEY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* First member of every entry; the table's. */
struct fg_key_entry {
    uint64_t key_hi;
};

/* Is `a` the better one of two entries to forget at now_ns? */
typedef bool (*fg_key_worse_fn)(const void *context, const struct fg_key_entry *a,
                                const struct fg_key_entry *b, uint64_t now_ns);

struct fg_key_table {
    /* configuration */
    size_t set_count;
    size_t entry_bytes; /* a multiple of 8 */
    size_t set_bytes;
    fg_key_worse_fn is_worse;
    const void *context;
    /* memory */
    char *sets; /* inside the block handed over at init */
    /* counters */
    uint64_t entries;   /* keys held now */
    uint64_t evictions; /* keys dropped to make room, ever */
};

/* Bytes that init needs for at least `capacity` keys, or 0 when that number does not fit. */
size_t fg_key_table_bytes(size_t capacity, size_t entry_bytes);

/*
 * `memory` holds fg_key_table_bytes() bytes, all zero, needs no alignment, stays the caller's and
 * must outlive the table; here it is not touched, so that a large table costs what is in it.
 * `capacity` at least 1. `context` is for is_worse.
 */
void fg_key_table_init(struct fg_key_table *table, void *memory, size_t memory_bytes,
                       size_t capacity, size_t entry_bytes, fg_key_worse_fn is_worse,
                       const void *context);

/*
 * The 128-bit key must be a keyed hash (fg_siphash_128), so that nobody can choose its set. Looks
 * at eight entries at most. The entry stays valid until the next insert. NULL: not known.
 */
struct fg_key_entry *fg_key_table_find(const struct fg_key_table *table, uint64_t key_hi,
                                       uint64_t key_lo);

/* For a key that find does not know; what is behind key_hi is the caller's to fill. */
struct fg_key_entry *fg_key_table_insert(struct fg_key_table *table, uint64_t key_hi,
                                         uint64_t key_lo, uint64_t now_ns);

#endif
