/*
 * limit_table.h: one token bucket a key (user, address), in a fixed block of memory.
 * Thread   one owner at a time; the gateway shards and locks.
 */
#ifndef FG_POLICIES_LIMIT_TABLE_H
#define FG_POLICIES_LIMIT_TABLE_H

#include "policies/token_bucket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_limit_set;

struct fg_limit_table {
    /* configuration */
    struct fg_token_bucket fresh; /* what a new key starts with: a full bucket */
    size_t set_count;
    /* memory */
    struct fg_limit_set *sets; /* inside the block handed over at init */
    /* counters */
    uint64_t entries;   /* keys held now */
    uint64_t evictions; /* keys dropped to make room, ever */
};

/* What to tell the client; all of it is valid for allowed and refused alike. */
struct fg_limit_verdict {
    bool allowed;
    uint64_t remaining; /* whole tokens left */
    uint64_t reset_ns;  /* until the bucket is full again; UINT64_MAX: never */
    uint64_t wait_ns;   /* 0 when allowed; else as fg_token_bucket_try_take() */
};

/* Bytes that init needs for at least `capacity` keys, or 0 when that number does not fit. */
size_t fg_limit_table_bytes(size_t capacity);

/*
 * `memory` holds fg_limit_table_bytes(capacity) bytes, needs no alignment, stays the caller's and
 * must outlive the table; it is cleared here. `capacity` at least 1; `burst` at most UINT32_MAX.
 */
void fg_limit_table_init(struct fg_limit_table *table, void *memory, size_t memory_bytes,
                         size_t capacity, uint64_t amount, uint64_t period_ns, uint64_t burst);

/*
 * Spend `cost` tokens of the key's bucket, which is made full when the key is new. Returns
 * verdict->allowed. The 128-bit key must be a keyed hash (fg_siphash_128), so that nobody can
 * choose its set. Looks at eight entries at most.
 */
bool fg_limit_table_try_take(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                             uint64_t now_ns, uint64_t cost, struct fg_limit_verdict *verdict);

/* True when the key has an entry; for tests and the admin page. */
bool fg_limit_table_has(const struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo);

#endif
