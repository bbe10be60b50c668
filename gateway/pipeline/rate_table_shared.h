/*
 * rate_table_shared.h: one configured rate limit, exact across all event loops.
 * Protocol  the key space is cut into shards by the key's hash; a shard is a policies/limit_table
 *           under its own mutex, held for one lookup. A key lives in one shard, so it is exact.
 * Memory    fixed at create: keys_max entries; a flood of keys evicts (see limit_table.h).
 */
#ifndef FG_PIPELINE_RATE_TABLE_SHARED_H
#define FG_PIPELINE_RATE_TABLE_SHARED_H

#include "config/config.h"
#include "pipeline/limit_key.h"
#include "policies/limit_table.h"

struct fg_rate_table;

/* NULL without memory or random bytes for the hash key. `conf` outlives the table. */
struct fg_rate_table *fg_rate_table_create(const struct fg_rate_limit_conf *conf);
void fg_rate_table_destroy(struct fg_rate_table *table);

const struct fg_rate_limit_conf *fg_rate_table_conf(const struct fg_rate_table *table);

/* For fg_limit_key_of. */
const struct fg_siphash_key *fg_rate_table_secret(const struct fg_rate_table *table);

/* `cost` for `key`; any thread. */
bool fg_rate_table_try_take(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                            uint64_t cost, struct fg_limit_verdict *verdict);

/* What was taken for `key` turned out to cost `used`: the rest is given back, or owed. */
void fg_rate_table_settle(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                          uint64_t taken, uint64_t used);

struct fg_rate_table_stats {
    uint64_t entries;
    uint64_t evictions;
    uint64_t allowed_total;
    uint64_t refused_total;
    uint64_t given_back_total; /* in what the limit counts */
    uint64_t owed_total;
};
struct fg_rate_table_stats fg_rate_table_stats(struct fg_rate_table *table);

#endif
