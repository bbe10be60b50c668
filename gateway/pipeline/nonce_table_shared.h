/*
 * nonce_table_shared.h: which nonces of signed requests were used already.
 * Job      say of each nonce whether it comes for the first time, for as long as its signature
 *          would be taken.
 * Protocol  shards of buckets, a robust mutex each, held to look through one bucket of 16 places.
 *          It is shared by the processes that are forked from whoever made it: the gateways before
 *          and after a reload. Of one that was killed while it wrote a place the nonce alone is
 *          unsure, and its request goes nowhere.
 * Memory   fixed at the start: two places of 24 bytes for each of `nonces_max`. A bucket whose
 *          places are all in use refuses (FULL) and forgets nothing: a replay is never let through.
 */
#ifndef FG_PIPELINE_NONCE_TABLE_SHARED_H
#define FG_PIPELINE_NONCE_TABLE_SHARED_H

#include "base/span.h"

#include <stdint.h>

enum fg_nonce_verdict { FG_NONCE_FRESH, FG_NONCE_USED, FG_NONCE_FULL };

struct fg_nonce_table;

/* NULL: no memory, or no random bytes for the hash key. `now_s` is wall time. */
struct fg_nonce_table *fg_nonce_table_create(size_t nonces_max, uint64_t now_s);
/* For this process alone. */
void fg_nonce_table_destroy(struct fg_nonce_table *table);

/* When it was made: what was signed before may have been used before. */
uint64_t fg_nonce_table_since_s(const struct fg_nonce_table *table);
/* What it was made for, at least. */
size_t fg_nonce_table_room(const struct fg_nonce_table *table);

/* FRESH: it is remembered until `until_s` (exclusive). Any thread. */
enum fg_nonce_verdict fg_nonce_table_use(struct fg_nonce_table *table, struct fg_span key_id,
                                         struct fg_span nonce, uint64_t now_s, uint64_t until_s);

#endif
