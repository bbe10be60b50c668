/*
 * rate_table_shared.c: shards of limit tables or of leases, each in a cache line of its own.
 */
#include "rate_table_shared.h"

#include "pipeline/policy_conf.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS 16u

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct fg_limit_table table; /* a local limit */
    struct fg_key_table leases;  /* a global one */
    struct fg_rate_table_stats stats;
    uint64_t answered_ns; /* when a question was last answered, and when one last was not */
    uint64_t failed_ns;
};

struct fg_rate_table {
    const struct fg_rate_limit_conf *conf;
    struct fg_rate_texts texts;
    struct fg_siphash_key key;
    struct fg_lease_rule lease_rule; /* of a global limit */
    void *memory;
    unsigned shard_count;
    struct shard shards[SHARDS];
};

static void init_shard(struct fg_rate_table *table, struct shard *shard, void *memory,
                       size_t memory_bytes, size_t capacity)
{
    const struct fg_limit_rule rule = fg_limit_rule_of(table->conf);
    pthread_mutex_init(&shard->lock, NULL);
    if (table->conf->scope == FG_LIMIT_GLOBAL)
        fg_key_table_init(&shard->leases, memory, memory_bytes, capacity, sizeof(struct fg_lease),
                          fg_lease_is_worse, &table->lease_rule);
    else
        fg_limit_table_init(&shard->table, memory, memory_bytes, capacity, &rule);
}

struct fg_rate_table *fg_rate_table_create(const struct fg_rate_limit_conf *conf)
{
    struct fg_rate_table *table = aligned_alloc(64, sizeof(*table));
    uint8_t secret[16];
    if (table == NULL || getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
        free(table);
        return NULL;
    }
    /* A table with few keys (a limit for the route as a whole) needs no shards. */
    bool is_by_route = conf->part_count == 1 && conf->parts[0].kind == FG_LIMIT_BY_ROUTE;
    unsigned shard_count = is_by_route ? 1 : SHARDS;
    size_t capacity = conf->keys_max / shard_count + 1;
    bool is_global = conf->scope == FG_LIMIT_GLOBAL;
    size_t shard_bytes = is_global ? fg_key_table_bytes(capacity, sizeof(struct fg_lease))
                                   : fg_limit_table_bytes(capacity);
    void *memory = shard_bytes == 0 ? NULL : calloc(shard_count, shard_bytes);
    if (memory == NULL) {
        free(table);
        return NULL;
    }
    *table = (struct fg_rate_table){.conf = conf,
                                    .key = fg_siphash_key_from_bytes(secret),
                                    .memory = memory,
                                    .shard_count = shard_count};
    fg_rate_texts_init(&table->texts, conf);
    if (is_global)
        fg_lease_rule_init(&table->lease_rule, conf->rate.amount, conf->rate.period_ns, conf->burst,
                           (uint32_t)conf->lease, conf->local_share_permille);
    for (unsigned i = 0; i < shard_count; i++)
        init_shard(table, &table->shards[i], (char *)memory + i * shard_bytes, shard_bytes,
                   capacity);
    return table;
}

void fg_rate_table_destroy(struct fg_rate_table *table)
{
    if (table == NULL)
        return;
    for (unsigned i = 0; i < table->shard_count; i++)
        pthread_mutex_destroy(&table->shards[i].lock);
    free(table->memory);
    free(table);
}

const struct fg_rate_limit_conf *fg_rate_table_conf(const struct fg_rate_table *table)
{
    return table->conf;
}

const struct fg_rate_texts *fg_rate_table_texts(const struct fg_rate_table *table)
{
    return &table->texts;
}

const struct fg_siphash_key *fg_rate_table_secret(const struct fg_rate_table *table)
{
    return &table->key;
}

/* The table picks its set from the upper bits of `hi`; the shard comes from the lower ones. */
static struct shard *shard_of(struct fg_rate_table *table, struct fg_limit_key key)
{
    return &table->shards[key.hi % table->shard_count];
}

static struct fg_lease *find_lease(struct shard *shard, struct fg_limit_key key)
{
    return (struct fg_lease *)fg_key_table_find(&shard->leases, key.hi, key.lo);
}

static struct fg_lease *lease_of(struct fg_rate_table *table, struct shard *shard,
                                 struct fg_limit_key key, uint64_t now_ns)
{
    struct fg_lease *lease = find_lease(shard, key);
    if (lease != NULL)
        return lease;
    lease = (struct fg_lease *)fg_key_table_insert(&shard->leases, key.hi, key.lo, now_ns);
    shard->stats.held -= lease->left; /* of the key that had to go; zero where there was none */
    fg_lease_init(&table->lease_rule, lease, now_ns);
    return lease;
}

/* A step of the lease is over, before which it had so much left. */
static void note_held(struct shard *shard, const struct fg_lease *lease, uint32_t left_before)
{
    shard->stats.held += lease->left;
    shard->stats.held -= left_before;
}

static bool take_leased(struct fg_rate_table *table, struct shard *shard, struct fg_limit_key key,
                        uint64_t now_ns, uint64_t cost, struct fg_limit_verdict *verdict,
                        struct fg_lease_question *question)
{
    struct fg_lease *lease = lease_of(table, shard, key, now_ns);
    uint32_t left = lease->left;
    bool allowed = fg_lease_try_take(&table->lease_rule, lease, now_ns, cost, verdict, question);
    note_held(shard, lease, left);
    return allowed;
}

bool fg_rate_table_try_take(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                            uint64_t cost, struct fg_limit_verdict *verdict,
                            struct fg_lease_question *question)
{
    struct shard *shard = shard_of(table, key);
    bool allowed;
    *question = (struct fg_lease_question){.is_due = false};
    pthread_mutex_lock(&shard->lock);
    if (table->conf->scope == FG_LIMIT_GLOBAL)
        allowed = take_leased(table, shard, key, now_ns, cost, verdict, question);
    else
        allowed = fg_limit_table_try_take(&shard->table, key.hi, key.lo, now_ns, cost, verdict);
    if (allowed)
        shard->stats.allowed_total++;
    else
        shard->stats.refused_total++;
    shard->stats.held_back_total += question->is_held_back;
    if (question->is_due && question->charged > 0)
        shard->stats.reported_total += (uint64_t)question->charged;
    pthread_mutex_unlock(&shard->lock);
    return allowed;
}

void fg_rate_table_granted(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                           uint32_t granted, uint64_t wait_ns)
{
    struct shard *shard = shard_of(table, key);
    pthread_mutex_lock(&shard->lock);
    struct fg_lease *lease = find_lease(shard, key);
    if (lease != NULL && lease->is_asking) {
        uint32_t left = lease->left;
        fg_lease_granted(&table->lease_rule, lease, now_ns, granted, wait_ns);
        note_held(shard, lease, left);
    }
    shard->stats.leased_total += granted;
    shard->stats.asked_total++;
    shard->answered_ns = now_ns;
    pthread_mutex_unlock(&shard->lock);
}

void fg_rate_table_lost(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns)
{
    struct shard *shard = shard_of(table, key);
    pthread_mutex_lock(&shard->lock);
    struct fg_lease *lease = find_lease(shard, key);
    if (lease != NULL && lease->is_asking)
        fg_lease_lost(lease, now_ns);
    shard->stats.lost_total++;
    shard->failed_ns = now_ns;
    pthread_mutex_unlock(&shard->lock);
}

void fg_rate_table_not_asked(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                             const struct fg_lease_question *question)
{
    struct shard *shard = shard_of(table, key);
    pthread_mutex_lock(&shard->lock);
    struct fg_lease *lease = find_lease(shard, key);
    if (lease != NULL && lease->is_asking)
        fg_lease_not_asked(&table->lease_rule, lease, question);
    if (question->charged > 0)
        shard->stats.reported_total -= (uint64_t)question->charged;
    shard->stats.not_asked_total++;
    shard->failed_ns = now_ns;
    pthread_mutex_unlock(&shard->lock);
}

static void settle_local(struct shard *shard, struct fg_limit_key key, uint64_t now_ns,
                         uint64_t taken, uint64_t used)
{
    if (used < taken)
        fg_limit_table_give_back(&shard->table, key.hi, key.lo, now_ns, taken - used);
    else
        fg_limit_table_charge(&shard->table, key.hi, key.lo, now_ns, used - taken);
}

static void settle_leased(struct fg_rate_table *table, struct shard *shard, struct fg_limit_key key,
                          uint64_t now_ns, uint64_t taken, uint64_t used)
{
    struct fg_lease *lease = lease_of(table, shard, key, now_ns);
    uint32_t left = lease->left;
    fg_lease_settle(&table->lease_rule, lease, now_ns, taken, used);
    note_held(shard, lease, left);
}

void fg_rate_table_settle(struct fg_rate_table *table, struct fg_limit_key key, uint64_t now_ns,
                          uint64_t taken, uint64_t used)
{
    struct shard *shard = shard_of(table, key);
    if (used == taken)
        return;
    pthread_mutex_lock(&shard->lock);
    if (table->conf->scope == FG_LIMIT_GLOBAL)
        settle_leased(table, shard, key, now_ns, taken, used);
    else
        settle_local(shard, key, now_ns, taken, used);
    if (used < taken)
        shard->stats.given_back_total += taken - used;
    else
        shard->stats.owed_total += used - taken;
    pthread_mutex_unlock(&shard->lock);
}

struct fg_rate_table_stats fg_rate_table_stats(struct fg_rate_table *table)
{
    struct fg_rate_table_stats sum = {0};
    bool is_global = table->conf->scope == FG_LIMIT_GLOBAL;
    uint64_t answered_ns = 0, failed_ns = 0;
    for (unsigned i = 0; i < table->shard_count; i++) {
        struct shard *shard = &table->shards[i];
        pthread_mutex_lock(&shard->lock);
        const struct fg_key_table *keys = is_global ? &shard->leases : &shard->table.keys;
        sum.entries += keys->entries;
        sum.evictions += keys->evictions;
        sum.allowed_total += shard->stats.allowed_total;
        sum.refused_total += shard->stats.refused_total;
        sum.given_back_total += shard->stats.given_back_total;
        sum.owed_total += shard->stats.owed_total;
        sum.held += shard->stats.held;
        sum.leased_total += shard->stats.leased_total;
        sum.reported_total += shard->stats.reported_total;
        sum.asked_total += shard->stats.asked_total;
        sum.lost_total += shard->stats.lost_total;
        sum.not_asked_total += shard->stats.not_asked_total;
        sum.held_back_total += shard->stats.held_back_total;
        answered_ns = shard->answered_ns > answered_ns ? shard->answered_ns : answered_ns;
        failed_ns = shard->failed_ns > failed_ns ? shard->failed_ns : failed_ns;
        pthread_mutex_unlock(&shard->lock);
    }
    sum.is_by_share = failed_ns > answered_ns;
    return sum;
}
