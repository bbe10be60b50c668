/*
 * kv_sequence_shared.c: sequences taking and giving back slots and blocks.
 * Job      open, reserve, share, trim, append, close, reclaim.
 * Thread   any, under the arena's mutex; append by the sequence's owner without it.
 * Never    leaves a state that a repair cannot finish: a sequence owns a block from the moment that
 *          table_count covers it, and nothing from the moment that its state is free. Free lists,
 *          references and gauges follow after, and may be computed anew at any point between.
 * Memory   nothing is allocated.
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

static uint32_t load(const _Atomic uint32_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire);
}

static void commit(_Atomic uint32_t *value, uint32_t next)
{
    atomic_store_explicit(value, next, memory_order_release);
}

struct fg_kv_slot *fg_kv_find_slot(struct fg_kv_arena *arena, struct fg_kv_sequence_id id)
{
    if (id.slot >= arena->geometry.sequence_count)
        return NULL;
    struct fg_kv_slot *slot = &arena->slots[id.slot];
    if (load(&slot->state) == FG_KV_SLOT_FREE || load(&slot->generation) != id.generation)
        return NULL;
    return slot;
}

/* Entries of a table that may be used: never more than there is room for. */
static uint32_t table_count_of(const struct fg_kv_arena *arena, const struct fg_kv_slot *slot)
{
    uint32_t count = load(&slot->table_count);
    return count <= arena->geometry.table_max ? count : arena->geometry.table_max;
}

/* The first free slot, off its list; FG_KV_NONE when there is none. */
static uint32_t pop_slot(struct fg_kv_arena *arena)
{
    uint32_t index = arena->head->free_slot;
    if (index == FG_KV_NONE)
        return FG_KV_NONE;
    if (index >= arena->geometry.sequence_count ||
        load(&arena->slots[index].state) != FG_KV_SLOT_FREE) {
        fg_kv_repair(arena); /* somebody wrote over the list */
        index = arena->head->free_slot;
        if (index == FG_KV_NONE)
            return FG_KV_NONE;
    }
    arena->head->free_slot = arena->slots[index].next_free;
    fg_kv_point(arena, FG_KV_POINT_SLOT_POPPED);
    return index;
}

/* The first free block, off its list; FG_KV_NO_BLOCK when there is none. */
static uint32_t pop_block(struct fg_kv_arena *arena)
{
    uint32_t id = arena->head->free_block;
    if (id == FG_KV_NONE)
        return FG_KV_NO_BLOCK;
    if (id >= arena->geometry.block_count || arena->blocks[id].state != FG_KV_BLOCK_FREE ||
        arena->blocks[id].references != 0) {
        fg_kv_repair(arena);
        id = arena->head->free_block;
        if (id == FG_KV_NONE)
            return FG_KV_NO_BLOCK;
    }
    arena->head->free_block = arena->blocks[id].next_free;
    fg_kv_point(arena, FG_KV_POINT_BLOCK_POPPED);
    return id;
}

/* One reference less; the last one frees the block. */
static void release_block(struct fg_kv_arena *arena, uint32_t id)
{
    if (id >= arena->geometry.block_count)
        return;
    struct fg_kv_block *block = &arena->blocks[id];
    if (block->state != FG_KV_BLOCK_USED || block->references == 0)
        return;
    block->references--;
    if (block->references > 0)
        return;
    block->state = FG_KV_BLOCK_FREE;
    block->slot = FG_KV_NONE;
    block->next_free = arena->head->free_block;
    arena->head->free_block = id;
    fg_counter_add_owned(&arena->head->blocks_free, 1);
    fg_counter_add_owned(&arena->head->blocks_released, 1);
    fg_kv_point(arena, FG_KV_POINT_BLOCK_RELEASED);
}

void fg_kv_trim_slot(struct fg_kv_arena *arena, uint32_t index, uint32_t keep)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *table = fg_kv_table(arena, index);
    uint32_t count = table_count_of(arena, slot);
    if (keep >= count)
        return;
    commit(&slot->table_count, keep);
    /* Deepest first, so that the next to reserve gets the earliest positions first. */
    for (uint32_t i = count; i > keep; i--)
        release_block(arena, table[i - 1]);
}

void fg_kv_close_slot(struct fg_kv_arena *arena, uint32_t index)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    commit(&slot->state, FG_KV_SLOT_FREE);
    fg_kv_point(arena, FG_KV_POINT_CLOSED);
    fg_kv_trim_slot(arena, index, 0);
    slot->next_free = arena->head->free_slot;
    arena->head->free_slot = index;
    uint64_t open = fg_counter_get(&arena->head->sequences);
    fg_counter_set(&arena->head->sequences, open > 0 ? open - 1 : 0);
}

enum fg_status fg_kv_arena_sequence_open(struct fg_kv_arena *arena, uint32_t worker_index,
                                         const struct fg_kv_sequence_info *info,
                                         struct fg_kv_sequence_id *out)
{
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    assert(record != NULL);
    enum fg_status status = FG_ERR_LIMIT;
    fg_kv_lock(arena);
    uint32_t index = pop_slot(arena);
    if (index != FG_KV_NONE) {
        struct fg_kv_slot *slot = &arena->slots[index];
        slot->next_free = FG_KV_NONE;
        slot->worker_index = worker_index;
        slot->worker_generation = fg_counter_get(&record->generation);
        slot->info = *info;
        commit(&slot->table_count, 0);
        commit(&slot->token_count, 0);
        atomic_store_explicit(&slot->lease_until_ns, 0, memory_order_relaxed);
        commit(&slot->generation, load(&slot->generation) + 1);
        commit(&slot->state, FG_KV_SLOT_WAITING);
        fg_kv_point(arena, FG_KV_POINT_SLOT_OPENED);
        fg_counter_add_owned(&arena->head->sequences, 1);
        *out = (struct fg_kv_sequence_id){index, load(&slot->generation)};
        status = FG_OK;
    }
    fg_kv_unlock(arena);
    return status;
}

/* Moves `count` blocks from the free list to the table of `slot`; undoes itself when it cannot. */
static enum fg_status take_blocks(struct fg_kv_arena *arena, uint32_t index, uint32_t count,
                                  uint32_t *blocks)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    uint32_t held = table_count_of(arena, slot);
    if (count > arena->geometry.table_max - held)
        return FG_ERR_LIMIT;
    if (count > fg_counter_get(&arena->head->blocks_free))
        return FG_ERR_NO_MEMORY;
    uint32_t *table = fg_kv_table(arena, index);
    commit(&slot->state, FG_KV_SLOT_RUNNING);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = pop_block(arena);
        if (id == FG_KV_NO_BLOCK) {
            fg_kv_trim_slot(arena, index, held);
            return FG_ERR_NO_MEMORY;
        }
        table[held + i] = id;
        commit(&slot->table_count, held + i + 1);
        fg_kv_point(arena, FG_KV_POINT_BLOCK_TABLED);
        struct fg_kv_block *block = &arena->blocks[id];
        block->references = 1;
        block->state = FG_KV_BLOCK_USED;
        block->slot = index;
        block->next_free = FG_KV_NONE;
        uint64_t free_now = fg_counter_get(&arena->head->blocks_free);
        fg_counter_set(&arena->head->blocks_free, free_now > 0 ? free_now - 1 : 0);
        blocks[i] = id;
    }
    return FG_OK;
}

enum fg_status fg_kv_arena_sequence_reserve(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                            uint32_t count, uint32_t *blocks)
{
    fg_kv_lock(arena);
    enum fg_status status = FG_ERR_NOT_FOUND;
    if (fg_kv_find_slot(arena, id) != NULL)
        status = take_blocks(arena, id.slot, count, blocks);
    fg_kv_unlock(arena);
    return status;
}

/* References `count` blocks of `from` from the empty table of `index` too. */
static enum fg_status share_blocks(struct fg_kv_arena *arena, uint32_t index, uint32_t from,
                                   uint32_t count, uint32_t *blocks)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *source = fg_kv_table(arena, from);
    if (table_count_of(arena, slot) != 0 || count > table_count_of(arena, &arena->slots[from]))
        return FG_ERR_LIMIT;
    for (uint32_t i = 0; i < count; i++) {
        if (source[i] >= arena->geometry.block_count)
            return FG_ERR_INVALID;
    }
    uint32_t *table = fg_kv_table(arena, index);
    commit(&slot->state, FG_KV_SLOT_RUNNING);
    for (uint32_t i = 0; i < count; i++) {
        table[i] = source[i];
        commit(&slot->table_count, i + 1);
        fg_kv_point(arena, FG_KV_POINT_SHARED);
        arena->blocks[source[i]].references++;
        blocks[i] = source[i];
    }
    uint32_t known = load(&arena->slots[from].token_count);
    uint64_t covered = (uint64_t)count * FG_KV_BLOCK_TOKENS;
    commit(&slot->token_count, known < covered ? known : (uint32_t)covered);
    return FG_OK;
}

enum fg_status fg_kv_arena_sequence_share(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                          struct fg_kv_sequence_id from, uint32_t count,
                                          uint32_t *blocks)
{
    assert(id.slot != from.slot);
    fg_kv_lock(arena);
    enum fg_status status = FG_ERR_NOT_FOUND;
    if (fg_kv_find_slot(arena, id) != NULL && fg_kv_find_slot(arena, from) != NULL)
        status = share_blocks(arena, id.slot, from.slot, count, blocks);
    fg_kv_unlock(arena);
    return status;
}

void fg_kv_arena_sequence_trim(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                               uint32_t keep_count)
{
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL)
        fg_kv_trim_slot(arena, id.slot, keep_count);
    fg_kv_unlock(arena);
}

void fg_kv_arena_sequence_close(struct fg_kv_arena *arena, struct fg_kv_sequence_id id)
{
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL)
        fg_kv_close_slot(arena, id.slot);
    fg_kv_unlock(arena);
}

uint32_t fg_kv_arena_reclaim_worker(struct fg_kv_arena *arena, uint32_t worker_index)
{
    uint32_t closed = 0;
    struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    assert(record != NULL);
    fg_kv_lock(arena);
    fg_counter_set(&record->pid, 0);
    fg_counter_set(&record->waiting, 0);
    fg_counter_set(&record->running, 0);
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        if (load(&arena->slots[i].state) == FG_KV_SLOT_FREE ||
            arena->slots[i].worker_index != worker_index)
            continue;
        fg_kv_close_slot(arena, i);
        closed++;
    }
    fg_kv_unlock(arena);
    return closed;
}

void fg_kv_arena_sequence_append(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 const uint32_t *tokens, uint32_t count, uint64_t lease_until_ns)
{
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot == NULL)
        return;
    const uint32_t *table = fg_kv_table(arena, id.slot);
    uint64_t room = (uint64_t)table_count_of(arena, slot) * FG_KV_BLOCK_TOKENS;
    uint32_t at = load(&slot->token_count);
    for (uint32_t i = 0; i < count && at < room; i++, at++) {
        uint32_t block = table[at / FG_KV_BLOCK_TOKENS];
        if (block >= arena->geometry.block_count)
            return;
        arena->blocks[block].tokens[at % FG_KV_BLOCK_TOKENS] = tokens[i];
    }
    commit(&slot->token_count, at);
    atomic_store_explicit(&slot->lease_until_ns, lease_until_ns, memory_order_relaxed);
}

/* Copies the tokens of `index` that are recorded, up to `room`; returns how many are recorded. */
static uint32_t copy_tokens(const struct fg_kv_arena *arena, uint32_t index, uint32_t *tokens,
                            uint32_t room)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *table = fg_kv_table(arena, index);
    uint64_t covered = (uint64_t)table_count_of(arena, slot) * FG_KV_BLOCK_TOKENS;
    uint32_t count = load(&slot->token_count);
    if (count > covered)
        count = (uint32_t)covered;
    for (uint32_t i = 0; i < count && i < room; i++) {
        uint32_t block = table[i / FG_KV_BLOCK_TOKENS];
        if (block >= arena->geometry.block_count)
            return i;
        tokens[i] = arena->blocks[block].tokens[i % FG_KV_BLOCK_TOKENS];
    }
    return count;
}

uint32_t fg_kv_arena_sequence_read(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                   struct fg_kv_sequence_info *info, uint32_t *tokens,
                                   uint32_t room)
{
    uint32_t count = UINT32_MAX;
    fg_kv_lock(arena);
    const struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot != NULL) {
        *info = slot->info;
        count = copy_tokens(arena, id.slot, tokens, room);
    }
    fg_kv_unlock(arena);
    return count;
}
