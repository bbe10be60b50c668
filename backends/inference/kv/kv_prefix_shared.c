/*
 * kv_prefix_shared.c: blocks between sequences: the list of what can be taken, and the index by
 * which a full block is found again.
 * Job      take, reference, release; hash, find, claim, commit.
 * Thread   any, under the arena's mutex; the hash without it.
 * Never    gives out a block whose keys and values are not those of its hash: a mark is stored
 *          after what it vouches for, and cleared before the block is used for anything else.
 * Source   SipHash-2-4 with 128 bits, keyed at create: nobody outside can make two prompts collide,
 *          and a match is compared token by token besides.
 *
 *    list    first (taken next): free .. cached, least recently used .. most recently used: last
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

static void add_to(struct fg_counter *gauge, int64_t amount)
{
    uint64_t now = fg_counter_get(gauge);
    uint64_t next = now + (uint64_t)amount;
    fg_counter_set(gauge, amount < 0 && now < (uint64_t)-amount ? 0 : next);
}

/* ---- the list ---- */

void fg_kv_lru_link(struct fg_kv_arena *arena, uint32_t id, bool at_front)
{
    struct fg_kv_head *head = arena->head;
    struct fg_kv_block *block = &arena->blocks[id];
    uint32_t other = at_front ? head->lru_first : head->lru_last;
    block->lru_previous = at_front ? FG_KV_NONE : other;
    block->lru_next = at_front ? other : FG_KV_NONE;
    if (other < arena->geometry.block_count && at_front)
        arena->blocks[other].lru_previous = id;
    else if (other < arena->geometry.block_count)
        arena->blocks[other].lru_next = id;
    if (at_front || head->lru_first == FG_KV_NONE)
        head->lru_first = id;
    if (!at_front || head->lru_last == FG_KV_NONE)
        head->lru_last = id;
}

/* False when the list is not what it should be; then nothing is changed. */
static bool try_lru_unlink(struct fg_kv_arena *arena, uint32_t id)
{
    struct fg_kv_head *head = arena->head;
    uint32_t count = arena->geometry.block_count;
    uint32_t previous = arena->blocks[id].lru_previous;
    uint32_t next = arena->blocks[id].lru_next;
    bool is_first = previous == FG_KV_NONE && head->lru_first == id;
    bool is_last = next == FG_KV_NONE && head->lru_last == id;
    if (!is_first && (previous >= count || arena->blocks[previous].lru_next != id))
        return false;
    if (!is_last && (next >= count || arena->blocks[next].lru_previous != id))
        return false;
    if (is_first)
        head->lru_first = next;
    else
        arena->blocks[previous].lru_next = next;
    if (is_last)
        head->lru_last = previous;
    else
        arena->blocks[next].lru_previous = previous;
    return true;
}

uint64_t fg_kv_available(const struct fg_kv_arena *arena)
{
    return fg_counter_get(&arena->head->blocks_free) + fg_counter_get(&arena->head->blocks_cached);
}

/* ---- the index ---- */

struct fg_kv_hash fg_kv_arena_hash(const struct fg_kv_arena *arena, const struct fg_kv_hash *parent,
                                   uint64_t salt, const uint32_t tokens[FG_KV_BLOCK_TOKENS])
{
    struct {
        struct fg_kv_hash parent;
        uint64_t salt;
        uint32_t tokens[FG_KV_BLOCK_TOKENS];
    } input = {*parent, salt, {0}};
    _Static_assert(sizeof(input) == 24 + sizeof(input.tokens), "no padding is hashed");
    memcpy(input.tokens, tokens, sizeof(input.tokens));
    struct fg_kv_hash hash;
    fg_siphash_128(&arena->head->hash_key, &input, sizeof(input), &hash.hi, &hash.lo);
    return hash;
}

struct fg_siphash_key fg_kv_arena_derive_key(const struct fg_kv_arena *arena, const char *label)
{
    struct fg_siphash_key key;
    fg_siphash_128(&arena->head->hash_key, label, strlen(label), &key.k0, &key.k1);
    return key;
}

static uint32_t *bucket_of(const struct fg_kv_arena *arena, const struct fg_kv_hash *hash)
{
    return &arena->buckets[hash->lo & (arena->bucket_count - 1)];
}

void fg_kv_index_link(struct fg_kv_arena *arena, uint32_t id)
{
    uint32_t *bucket = bucket_of(arena, &arena->blocks[id].hash);
    arena->blocks[id].chain_next = *bucket;
    *bucket = id;
}

/* A chain that does not end, leads outside or lacks the block is repaired whole. */
static void index_unlink(struct fg_kv_arena *arena, uint32_t id)
{
    uint32_t *link = bucket_of(arena, &arena->blocks[id].hash);
    for (uint32_t steps = 0; steps < arena->geometry.block_count; steps++) {
        if (*link == id) {
            *link = arena->blocks[id].chain_next;
            return;
        }
        if (*link >= arena->geometry.block_count)
            break;
        link = &arena->blocks[*link].chain_next;
    }
    fg_kv_repair(arena);
}

void fg_kv_unmark(struct fg_kv_arena *arena, uint32_t id)
{
    struct fg_kv_block *block = &arena->blocks[id];
    if (fg_kv_load(&block->mark) == FG_KV_MARK_NONE)
        return;
    fg_kv_commit(&block->mark, FG_KV_MARK_NONE);
    fg_kv_point(arena, FG_KV_POINT_BLOCK_EVICTED);
    index_unlink(arena, id);
}

static uint32_t find_marked(const struct fg_kv_arena *arena, const struct fg_kv_hash *hash,
                            enum fg_kv_mark mark, const uint32_t *tokens)
{
    uint32_t id = *bucket_of(arena, hash);
    for (uint32_t steps = 0; steps < arena->geometry.block_count; steps++) {
        if (id >= arena->geometry.block_count)
            break;
        const struct fg_kv_block *block = &arena->blocks[id];
        if (block->hash.lo == hash->lo && block->hash.hi == hash->hi &&
            fg_kv_load(&block->mark) == mark &&
            (tokens == NULL || memcmp(block->tokens, tokens, sizeof(block->tokens)) == 0))
            return id;
        id = block->chain_next;
    }
    return FG_KV_NO_BLOCK;
}

uint32_t fg_kv_find_committed(struct fg_kv_arena *arena, const struct fg_kv_hash *hash,
                              const uint32_t *tokens)
{
    return find_marked(arena, hash, FG_KV_MARK_COMMITTED, tokens);
}

uint32_t fg_kv_arena_count_cached(struct fg_kv_arena *arena, const struct fg_kv_hash *hashes,
                                  uint32_t hash_count, const uint32_t *tokens)
{
    uint32_t found = 0;
    fg_kv_lock(arena);
    while (found < hash_count &&
           fg_kv_find_committed(arena, &hashes[found],
                                tokens + (size_t)found * FG_KV_BLOCK_TOKENS) != FG_KV_NO_BLOCK)
        found++;
    fg_kv_unlock(arena);
    return found;
}

/* ---- blocks ---- */

/* The first of the list when it is what it should be. */
static uint32_t first_available(struct fg_kv_arena *arena)
{
    uint32_t id = arena->head->lru_first;
    if (id >= arena->geometry.block_count || arena->blocks[id].references != 0)
        return FG_KV_NO_BLOCK;
    return id;
}

uint32_t fg_kv_pop_block(struct fg_kv_arena *arena)
{
    if (arena->head->lru_first == FG_KV_NONE)
        return FG_KV_NO_BLOCK;
    uint32_t id = first_available(arena);
    if (id == FG_KV_NO_BLOCK) {
        fg_kv_repair(arena); /* somebody wrote over the list */
        id = first_available(arena);
        if (id == FG_KV_NO_BLOCK)
            return FG_KV_NO_BLOCK;
    }
    bool is_cached = fg_kv_load(&arena->blocks[id].mark) == FG_KV_MARK_COMMITTED;
    if (is_cached) {
        add_to(&arena->head->blocks_cached, -1);
        add_to(&arena->head->blocks_free, 1);
        fg_counter_add_owned(&arena->head->blocks_evicted, 1);
        fg_kv_unmark(arena, id);
    }
    if (!try_lru_unlink(arena, id)) {
        fg_kv_repair(arena);
        id = first_available(arena);
        if (id == FG_KV_NO_BLOCK || !try_lru_unlink(arena, id))
            return FG_KV_NO_BLOCK;
    }
    add_to(&arena->head->blocks_free, -1);
    fg_kv_point(arena, FG_KV_POINT_BLOCK_POPPED);
    return id;
}

void fg_kv_reference_block(struct fg_kv_arena *arena, uint32_t id)
{
    struct fg_kv_block *block = &arena->blocks[id];
    if (block->references == 0) {
        if (!try_lru_unlink(arena, id)) {
            fg_kv_repair(arena); /* counts this reference, too: the table names it already */
            return;
        }
        add_to(&arena->head->blocks_cached, -1);
    }
    block->references++;
}

void fg_kv_release_block(struct fg_kv_arena *arena, uint32_t id)
{
    if (id >= arena->geometry.block_count || arena->blocks[id].references == 0)
        return;
    struct fg_kv_block *block = &arena->blocks[id];
    if (block->references > 1) {
        block->references--;
        return;
    }
    bool is_cached = fg_kv_load(&block->mark) == FG_KV_MARK_COMMITTED;
    if (!is_cached)
        fg_kv_unmark(arena, id);
    if (block->references == 0)
        return; /* a repair on the way has seen that no table names it */
    block->references = 0;
    block->slot = FG_KV_NONE;
    fg_kv_lru_link(arena, id, !is_cached);
    add_to(is_cached ? &arena->head->blocks_cached : &arena->head->blocks_free, 1);
    fg_counter_add_owned(&arena->head->blocks_released, 1);
    fg_kv_point(arena, FG_KV_POINT_BLOCK_RELEASED);
}

/* ---- claim and commit ---- */

/* Puts `id` in the place of the block at `index`, which goes back. */
static void swap_block(struct fg_kv_arena *arena, uint32_t *table, uint32_t index, uint32_t id)
{
    uint32_t old = table[index];
    table[index] = id;
    fg_kv_point(arena, FG_KV_POINT_SWAPPED);
    fg_kv_reference_block(arena, id);
    fg_kv_release_block(arena, old);
}

/* Whether somebody else computes these tokens at this moment. */
static bool is_computed_elsewhere(const struct fg_kv_arena *arena, uint32_t slot_index,
                                  const struct fg_kv_hash *hash)
{
    uint32_t id = find_marked(arena, hash, FG_KV_MARK_PENDING, NULL);
    if (id == FG_KV_NO_BLOCK || arena->blocks[id].slot == slot_index)
        return false;
    uint32_t owner = arena->blocks[id].slot;
    return owner < arena->geometry.sequence_count &&
           fg_kv_load(&arena->slots[owner].state) == FG_KV_SLOT_RUNNING;
}

static void mark_pending(struct fg_kv_arena *arena, uint32_t slot_index, uint32_t id,
                         const struct fg_kv_hash *hash)
{
    struct fg_kv_block *block = &arena->blocks[id];
    if (fg_kv_load(&block->mark) != FG_KV_MARK_NONE || block->references != 1)
        return; /* claimed in an earlier step, or before it was adopted */
    block->hash = *hash;
    block->slot = slot_index;
    fg_kv_commit(&block->mark, FG_KV_MARK_PENDING);
    fg_kv_point(arena, FG_KV_POINT_CLAIMED);
    fg_kv_index_link(arena, id);
}

/* `count` cut to what the table has; every id in it can be used. */
static uint32_t usable_entries(const struct fg_kv_arena *arena, uint32_t slot_index, uint32_t first,
                               uint32_t count)
{
    uint32_t held = fg_kv_table_count(arena, &arena->slots[slot_index]);
    const uint32_t *table = fg_kv_table(arena, slot_index);
    if (first >= held)
        return 0;
    count = count < held - first ? count : held - first;
    for (uint32_t i = 0; i < count; i++) {
        if (table[first + i] >= arena->geometry.block_count)
            return i;
    }
    return count;
}

static struct fg_kv_claimed claim_blocks(struct fg_kv_arena *arena, uint32_t slot_index,
                                         uint32_t first, uint32_t count,
                                         const struct fg_kv_hash *hashes, uint32_t *blocks)
{
    struct fg_kv_claimed claimed = {0};
    uint32_t *table = fg_kv_table(arena, slot_index);
    uint32_t at = 0;
    count = usable_entries(arena, slot_index, first, count);
    for (; at < count; at++) {
        const uint32_t *tokens = arena->blocks[table[first + at]].tokens;
        uint32_t found = fg_kv_find_committed(arena, &hashes[at], tokens);
        if (found == FG_KV_NO_BLOCK)
            break;
        if (found != table[first + at])
            swap_block(arena, table, first + at, found);
        blocks[claimed.shared++] = found;
    }
    for (; at < count; at++) {
        if (is_computed_elsewhere(arena, slot_index, &hashes[at])) {
            claimed.is_pending = claimed.claimed == 0;
            break;
        }
        const uint32_t *tokens = arena->blocks[table[first + at]].tokens;
        if (fg_kv_find_committed(arena, &hashes[at], tokens) != FG_KV_NO_BLOCK)
            break;
        mark_pending(arena, slot_index, table[first + at], &hashes[at]);
        claimed.claimed++;
    }
    return claimed;
}

struct fg_kv_claimed fg_kv_arena_sequence_claim(struct fg_kv_arena *arena,
                                                struct fg_kv_sequence_id id, uint32_t first,
                                                uint32_t count, const struct fg_kv_hash *hashes,
                                                uint32_t *blocks)
{
    struct fg_kv_claimed claimed = {0};
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL)
        claimed = claim_blocks(arena, id.slot, first, count, hashes, blocks);
    fg_kv_unlock(arena);
    return claimed;
}

static void commit_block(struct fg_kv_arena *arena, uint32_t id, const struct fg_kv_hash *hash)
{
    struct fg_kv_block *block = &arena->blocks[id];
    uint32_t mark = fg_kv_load(&block->mark);
    if (mark == FG_KV_MARK_COMMITTED)
        return;
    bool is_pending =
        mark == FG_KV_MARK_PENDING && block->hash.lo == hash->lo && block->hash.hi == hash->hi;
    /* A second one of the same is kept by its sequence, and found by nobody. */
    if (fg_kv_find_committed(arena, hash, block->tokens) != FG_KV_NO_BLOCK) {
        fg_kv_unmark(arena, id);
        return;
    }
    if (!is_pending) {
        fg_kv_unmark(arena, id);
        block->hash = *hash;
    }
    fg_kv_commit(&block->mark, FG_KV_MARK_COMMITTED);
    fg_kv_point(arena, FG_KV_POINT_COMMITTED);
    if (!is_pending)
        fg_kv_index_link(arena, id);
}

void fg_kv_arena_sequence_commit(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t first, uint32_t count, const struct fg_kv_hash *hashes)
{
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL) {
        const uint32_t *table = fg_kv_table(arena, id.slot);
        count = usable_entries(arena, id.slot, first, count);
        for (uint32_t i = 0; i < count; i++)
            commit_block(arena, table[first + i], &hashes[i]);
    }
    fg_kv_unlock(arena);
}
