/*
 * limit_table.c: token buckets or GCRAs by key.
 * Job      one limit a user or address, for more of them than we care to remember.
 * Thread   one owner at a time.
 * Never    allocates, grows, or looks at more than one set of the key table.
 * Memory   the caller's block: 40 bytes a key, fixed by the capacity.
 *
 * When a set is full, the entry with the fullest bucket goes (ties: least recently used). A full
 * bucket says nothing that a new one would not say, so forgetting it is free; a drained one is the
 * memory of somebody who used up their share. A flood of invented keys therefore pushes out its own
 * nearly full buckets first and cannot wash away the flooder's drained one. Plain LRU, which we do
 * not use, forgets exactly the wrong one. With a burst of 1 all of them are drained by one request:
 * of those with nothing left, who has been refused since stays longest. With eight such keys in a
 * set one of them is forgotten early: it gains at most one burst, and `evictions` shows it.
 */
#include "policies/limit_table.h"

#include "policies/wide_math.h"

#include <assert.h>

struct limit_entry {
    struct fg_key_entry key; /* first */
    uint64_t fraction;
    uint64_t time_ns; /* updated_ns of a token bucket, due_ns of a GCRA */
    uint32_t tokens;  /* of a token bucket */
    bool was_refused; /* the last time, with nothing left */
};

/* One key's limit, unpacked. */
struct limit_state {
    struct fg_token_bucket bucket;
    struct fg_gcra gcra;
};

static void unpack(const struct fg_limit_table *table, const struct limit_entry *entry,
                   struct limit_state *state)
{
    if (table->algorithm == FG_LIMIT_GCRA) {
        state->gcra = table->fresh_gcra;
        state->gcra.fraction = entry->fraction;
        state->gcra.due_ns = entry->time_ns;
    } else {
        state->bucket = table->fresh_bucket;
        state->bucket.fraction = entry->fraction;
        state->bucket.updated_ns = entry->time_ns;
        state->bucket.tokens = entry->tokens;
    }
}

static void pack(const struct fg_limit_table *table, struct limit_entry *entry,
                 const struct limit_state *state)
{
    bool is_gcra = table->algorithm == FG_LIMIT_GCRA;
    entry->fraction = is_gcra ? state->gcra.fraction : state->bucket.fraction;
    entry->time_ns = is_gcra ? state->gcra.due_ns : state->bucket.updated_ns;
    entry->tokens = is_gcra ? 0 : (uint32_t)state->bucket.tokens; /* burst fits, see init */
}

static void make_fresh(const struct fg_limit_table *table, struct limit_state *state,
                       uint64_t now_ns)
{
    state->bucket = table->fresh_bucket;
    state->bucket.updated_ns = now_ns;
    state->gcra = table->fresh_gcra;
    state->gcra.due_ns = now_ns;
}

static uint64_t reset_after_ns(const struct fg_limit_table *table, const struct limit_state *state,
                               uint64_t now_ns)
{
    return table->algorithm == FG_LIMIT_GCRA
               ? fg_gcra_reset_after_ns(&state->gcra, now_ns)
               : fg_token_bucket_reset_after_ns(&state->bucket, now_ns);
}

/* It has nothing left, and has asked for more: no key that came once looks like that. */
static bool is_barred(const struct fg_limit_table *table, const struct limit_entry *entry,
                      const struct limit_state *state, uint64_t now_ns)
{
    if (!entry->was_refused)
        return false;
    return table->algorithm == FG_LIMIT_GCRA ? fg_gcra_level(&state->gcra, now_ns) == 0
                                             : fg_token_bucket_level(&state->bucket, now_ns) == 0;
}

/* Is the bucket `a` the better one to forget at now_ns? */
static bool is_fuller(const void *context, const struct fg_key_entry *key_a,
                      const struct fg_key_entry *key_b, uint64_t now_ns)
{
    const struct fg_limit_table *table = context;
    const struct limit_entry *a = (const struct limit_entry *)key_a;
    const struct limit_entry *b = (const struct limit_entry *)key_b;
    struct limit_state state_a, state_b;
    unpack(table, a, &state_a);
    unpack(table, b, &state_b);
    bool is_b_barred = is_barred(table, b, &state_b, now_ns);
    if (is_barred(table, a, &state_a, now_ns) != is_b_barred)
        return is_b_barred;
    uint64_t a_reset_ns = reset_after_ns(table, &state_a, now_ns);
    uint64_t b_reset_ns = reset_after_ns(table, &state_b, now_ns);
    if (a_reset_ns != b_reset_ns)
        return a_reset_ns < b_reset_ns;
    if (a_reset_ns == UINT64_MAX && a->tokens != b->tokens) /* no refill: time does not tell */
        return a->tokens > b->tokens;
    return a->time_ns < b->time_ns;
}

static struct limit_entry *find(const struct fg_limit_table *table, uint64_t key_hi,
                                uint64_t key_lo)
{
    return (struct limit_entry *)fg_key_table_find(&table->keys, key_hi, key_lo);
}

static struct limit_entry *insert(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                                  uint64_t now_ns)
{
    struct limit_state fresh;
    struct limit_entry *entry =
        (struct limit_entry *)fg_key_table_insert(&table->keys, key_hi, key_lo, now_ns);
    make_fresh(table, &fresh, now_ns);
    pack(table, entry, &fresh);
    entry->was_refused = false;
    return entry;
}

size_t fg_limit_table_bytes(size_t capacity)
{
    return fg_key_table_bytes(capacity, sizeof(struct limit_entry));
}

void fg_limit_table_init(struct fg_limit_table *table, void *memory, size_t memory_bytes,
                         size_t capacity, const struct fg_limit_rule *rule)
{
    assert(rule->burst <= UINT32_MAX);
    *table = (struct fg_limit_table){.algorithm = rule->algorithm};
    if (rule->algorithm == FG_LIMIT_GCRA)
        fg_gcra_init(&table->fresh_gcra, rule->amount, rule->period_ns, rule->burst, 0);
    else
        fg_token_bucket_init(&table->fresh_bucket, rule->amount, rule->period_ns, rule->burst, 0);
    fg_key_table_init(&table->keys, memory, memory_bytes, capacity, sizeof(struct limit_entry),
                      is_fuller, table);
}

static bool take_gcra(struct fg_gcra *gcra, uint64_t now_ns, uint64_t cost,
                      struct fg_limit_verdict *verdict)
{
    verdict->allowed = fg_gcra_try_take(gcra, now_ns, cost, &verdict->wait_ns);
    verdict->remaining = fg_gcra_level(gcra, now_ns);
    verdict->reset_ns = fg_gcra_reset_after_ns(gcra, now_ns);
    return verdict->allowed;
}

static bool take_bucket(struct fg_token_bucket *bucket, uint64_t now_ns, uint64_t cost,
                        struct fg_limit_verdict *verdict)
{
    verdict->allowed = fg_token_bucket_try_take(bucket, now_ns, cost, &verdict->wait_ns);
    verdict->remaining = bucket->tokens;
    verdict->reset_ns = fg_token_bucket_reset_after_ns(bucket, now_ns);
    return verdict->allowed;
}

bool fg_limit_table_try_take(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                             uint64_t now_ns, uint64_t cost, struct fg_limit_verdict *verdict)
{
    struct limit_state state;
    bool is_gcra = table->algorithm == FG_LIMIT_GCRA;
    uint64_t burst = is_gcra ? table->fresh_gcra.burst : table->fresh_bucket.burst;
    struct limit_entry *entry = find(table, key_hi, key_lo);
    if (entry == NULL && cost <= burst) /* else it can never pass: nobody loses a place */
        entry = insert(table, key_hi, key_lo, now_ns);
    if (entry == NULL)
        make_fresh(table, &state, now_ns);
    else
        unpack(table, entry, &state);
    if (is_gcra)
        take_gcra(&state.gcra, now_ns, cost, verdict);
    else
        take_bucket(&state.bucket, now_ns, cost, verdict);
    if (entry != NULL) {
        pack(table, entry, &state);
        entry->was_refused = !verdict->allowed && verdict->remaining == 0;
    }
    return verdict->allowed;
}

void fg_limit_table_charge(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                           uint64_t now_ns, uint64_t cost)
{
    struct limit_state state;
    struct limit_entry *entry = find(table, key_hi, key_lo);
    if (entry == NULL)
        entry = insert(table, key_hi, key_lo, now_ns);
    unpack(table, entry, &state);
    if (table->algorithm == FG_LIMIT_GCRA)
        fg_gcra_charge(&state.gcra, now_ns, cost);
    else
        fg_token_bucket_charge(&state.bucket, now_ns, cost);
    pack(table, entry, &state);
}

void fg_limit_table_give_back(struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo,
                              uint64_t now_ns, uint64_t cost)
{
    struct limit_state state;
    struct limit_entry *entry = find(table, key_hi, key_lo);
    if (entry == NULL)
        return;
    unpack(table, entry, &state);
    if (table->algorithm == FG_LIMIT_GCRA)
        fg_gcra_give_back(&state.gcra, now_ns, cost);
    else
        fg_token_bucket_give_back(&state.bucket, now_ns, cost);
    pack(table, entry, &state);
}

bool fg_limit_table_has(const struct fg_limit_table *table, uint64_t key_hi, uint64_t key_lo)
{
    return find(table, key_hi, key_lo) != NULL;
}
