/*
 * rate_table_shared.h: one configured rate limit, exact across all event loops; or one gateway's
 * leases of a limit that several gateways count together.
 * Protocol  the key space is cut into shards by the key's hash; a shard is a policies/limit_table,
 *           or a key_table of policies/lease, under its own mutex, held for one lookup. A key lives
 *           in one shard, so it is exact.
 * Memory   fixed at create: keys_max entries; a flood of keys evicts (see limit_table.h).
 */
#ifndef FG_PIPELINE_RATE_TABLE_SHARED_H
#define FG_PIPELINE_RATE_TABLE_SHARED_H

#include "config/config.h"
#include "pipeline/limit_key.h"
#include "pipeline/rate_texts.h"
#include "policies/lease.h"
#include "policies/limit_table.h"

struct fg_rate_table;

/* NULL without memory or random bytes for the hash key. `conf` outlives the table. */
struct fg_rate_table *fg_rate_table_create(const struct fg_rate_limit_conf *conf);
void fg_rate_table_destroy(struct fg_rate_table *table);

const struct fg_rate_limit_conf *fg_rate_table_conf(const struct fg_rate_table *table);

/* What its clients are told. */
const struct fg_rate_texts *fg_rate_table_texts(const struct fg_rate_table *table);

/* For fg_limit_key_of. */
const struct fg_siphash_key *fg_rate_table_secret(const struct fg_rate_table *table);

/*
 * `cost` for `key`; any thread. Where question->is_due (global limits alone), exactly one of
 * _granted, _lost and _not_asked must follow.
 */
bool fg_rate_table_try_take(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                            uint64_t cost, struct fg_limit_verdict *verdict,
                            struct fg_lease_question *question);

/* What came of a question: see policies/lease.h. Any thread; a key forgotten since is nobody's. */
void fg_rate_table_granted(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                           uint32_t granted, uint64_t wait_ns);
void fg_rate_table_lost(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns);
void fg_rate_table_not_asked(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                             const struct fg_lease_question *question);

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
    uint64_t held;            /* global limits: leased, and not spent yet */
    uint64_t leased_total;    /* granted by the shared count */
    uint64_t reported_total;  /* let pass before it had heard, and told to it */
    uint64_t asked_total;     /* questions answered */
    uint64_t lost_total;      /* questions without an answer */
    uint64_t not_asked_total; /* questions that could not be put */
    uint64_t held_back_total; /* decisions that asked nothing: the count is given a rest */
    bool is_by_share;         /* the last question was not answered: the local share applies */
};
struct fg_rate_table_stats fg_rate_table_stats(struct fg_rate_table *table);

#endif
