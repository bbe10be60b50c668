/*
 * nonce_table_shared.h: which nonces of signed requests were used already.
 * Job      say of each nonce whether it comes for the first time, for as long as its signature
 *          would be taken.
 * Protocol  shards of buckets, a mutex each, held to look through one bucket of 16 places.
 * Memory   fixed at the start: two places of 24 bytes for each of `nonces_max`. A bucket whose
 *          places are all in use refuses (FULL) and forgets nothing: a replay is never let through.
 */
#ifndef FG_PIPELINE_NONCE_TABLE_SHARED_H
#define FG_PIPELINE_NONCE_TABLE_SHARED_H

#include "base/span.h"

#include <stdint.h>

enum fg_nonce_verdict { FG_NONCE_FRESH, FG_NONCE_USED, FG_NONCE_FULL };

struct fg_nonce_table;

/* NULL: no memory, or no random bytes for the hash key. */
struct fg_nonce_table *fg_nonce_table_create(size_t nonces_max);
void fg_nonce_table_destroy(struct fg_nonce_table *table);

/* FRESH: it is remembered until `until_s` (exclusive). Any thread. */
enum fg_nonce_verdict fg_nonce_table_use(struct fg_nonce_table *table, struct fg_span key_id,
                                         struct fg_span nonce, uint64_t now_s, uint64_t until_s);

#endif
