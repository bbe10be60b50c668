/*
 * limit_table.h: one token bucket or GCRA a key (user, address), in a fixed block of memory.
 * Thread   one owner at a time; the gateway shards and locks.
 */
#ifndef FG_POLICIES_LIMIT_TABLE_H
#define FG_POLICIES_LIMIT_TABLE_H

#include "policies/gcra.h"
#include "policies/key_table.h"
#include "policies/token_bucket.h"

enum fg_limit_algorithm { FG_LIMIT_TOKEN_BUCKET, FG_LIMIT_GCRA };

/* What every key of a table may do. */
struct fg_limit_rule {
    enum fg_limit_algorithm algorithm;
    uint64_t amount; /* every period_ns; 0 (token bucket alone) never refills */
    uint64_t period_ns;
    uint64_t burst; /* at most UINT32_MAX */
};

struct fg_limit_table {
    /* configuration: what a new key starts with */
    enum fg_limit_algorithm algorithm;
    struct fg_token_bucket fresh_bucket;
    struct fg_gcra fresh_gcra;
    /* memory and counters */
    struct fg_key_table keys;
};

/* What to tell the client; all of it is valid for allowed and refused alike. */
struct fg_limit_verdict {
    bool allowed;
    uint64_t remaining; /* whole tokens left */
    uint64_t reset_ns;  /* until everything may pass again; UINT64_MAX: never */
    uint64_t wait_ns;   /* 0 when allowed; else as fg_token_bucket_try_take() */
};

/* Bytes that init needs for at least `capacity` keys, or 0 when that number does not fit. */
size_t fg_limit_table_bytes(size_t capacity);

/*
 * `memory` holds fg_limit_table_bytes(capacity) bytes, all zero, needs no alignment, stays the
 * caller's and must outlive the table, which must not move. `capacity` at least 1.
 */
void fg_limit_table_init(struct fg_limit_table *table, void *memory, size_t memory_bytes,
                         size_t capacity, const struct fg_limit_rule *rule);

/*
 * Spend `cost` of what the key may, which is all of it when the key is new. Returns
 * verdict->allowed. For the key see fg_key_table_find().
 */
bool fg_limit_table_try_take(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                             uint64_t now_ns, uint64_t cost, struct fg_limit_verdict *verdict);

/* `cost` more has passed than was taken, whatever the limit says; later ones pay for it. */
void fg_limit_table_charge(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                           uint64_t now_ns, uint64_t cost);

/* `cost` of what was taken has not been used. Nothing, when the key has been forgotten since. */
void fg_limit_table_give_back(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                              uint64_t now_ns, uint64_t cost);

/* True when the key has an entry; for tests and the admin page. */
bool fg_limit_table_has(const struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo);

#endif
