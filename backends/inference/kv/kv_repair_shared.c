/*
 * kv_repair_shared.c: making the arena's metadata whole after a death, and proving that it is.
 * Job      recompute references and free lists from the live sequences' tables; check the same.
 * Thread   whoever holds the arena's mutex.
 * Never    trusts what it finds: a sequence whose state, table length or block ids make no sense,
 * or that names a block twice, is dropped, and what it held becomes free. Memory   the view's
 * scratch, made at attach, so that a repair cannot fail.
 *
 *    tables --count--> references --0--> free list     (idempotent: a repairer may die too)
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

static bool table_is_sane(const struct fg_kv_arena *arena, uint32_t index)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    uint32_t count = atomic_load_explicit(&slot->table_count, memory_order_acquire);
    if (count > arena->geometry.table_max || slot->worker_index >= arena->geometry.worker_count)
        return false;
    const uint32_t *table = fg_kv_table(arena, index);
    for (uint32_t i = 0; i < count; i++) {
        if (table[i] >= arena->geometry.block_count || arena->scratch_marks[table[i]] == index + 1)
            return false;
        arena->scratch_marks[table[i]] = index + 1;
    }
    return true;
}

static bool is_live(const struct fg_kv_slot *slot)
{
    uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    return state == FG_KV_SLOT_WAITING || state == FG_KV_SLOT_RUNNING;
}

/* References of all blocks into the scratch; false, with the slot, at the first that is broken. */
static bool count_references(const struct fg_kv_arena *arena, uint32_t *broken_slot)
{
    memset(arena->scratch_references, 0, arena->geometry.block_count * sizeof(uint32_t));
    memset(arena->scratch_marks, 0, arena->geometry.block_count * sizeof(uint32_t));
    for (uint32_t s = 0; s < arena->geometry.sequence_count; s++) {
        const struct fg_kv_slot *slot = &arena->slots[s];
        if (atomic_load_explicit(&slot->state, memory_order_acquire) == FG_KV_SLOT_FREE)
            continue;
        if (!is_live(slot) || !table_is_sane(arena, s)) {
            *broken_slot = s;
            return false;
        }
        const uint32_t *table = fg_kv_table(arena, s);
        uint32_t count = atomic_load_explicit(&slot->table_count, memory_order_acquire);
        for (uint32_t i = 0; i < count; i++)
            arena->scratch_references[table[i]]++;
    }
    return true;
}

static void rebuild_blocks(struct fg_kv_arena *arena)
{
    uint32_t first = FG_KV_NONE;
    uint64_t free_count = 0;
    for (uint32_t i = arena->geometry.block_count; i > 0; i--) {
        struct fg_kv_block *block = &arena->blocks[i - 1];
        block->references = arena->scratch_references[i - 1];
        block->state = block->references > 0 ? FG_KV_BLOCK_USED : FG_KV_BLOCK_FREE;
        block->next_free = FG_KV_NONE;
        if (block->references > 0)
            continue;
        block->slot = FG_KV_NONE;
        block->next_free = first;
        first = i - 1;
        free_count++;
    }
    arena->head->free_block = first;
    uint64_t before = fg_counter_get(&arena->head->blocks_free);
    if (free_count > before)
        fg_counter_add_owned(&arena->head->blocks_released, free_count - before);
    fg_counter_set(&arena->head->blocks_free, free_count);
}

static void rebuild_slots(struct fg_kv_arena *arena)
{
    uint32_t first = FG_KV_NONE;
    uint64_t open = 0;
    for (uint32_t i = arena->geometry.sequence_count; i > 0; i--) {
        struct fg_kv_slot *slot = &arena->slots[i - 1];
        slot->next_free = FG_KV_NONE;
        if (is_live(slot)) {
            open++;
            continue;
        }
        atomic_store_explicit(&slot->table_count, 0, memory_order_release);
        slot->next_free = first;
        first = i - 1;
    }
    arena->head->free_slot = first;
    fg_counter_set(&arena->head->sequences, open);
}

void fg_kv_repair(struct fg_kv_arena *arena)
{
    uint32_t broken = FG_KV_NONE;
    while (!count_references(arena, &broken))
        atomic_store_explicit(&arena->slots[broken].state, FG_KV_SLOT_FREE, memory_order_release);
    fg_kv_point(arena, FG_KV_POINT_REPAIR_COUNTED);
    rebuild_blocks(arena);
    rebuild_slots(arena);
    fg_counter_add_owned(&arena->head->repairs, 1);
    fg_kv_point(arena, FG_KV_POINT_REPAIR_REBUILT);
}

/* Walks the free list of blocks, marking each; a block met twice or in use ends the walk. */
static const char *check_free_blocks(const struct fg_kv_arena *arena)
{
    uint64_t free_count = 0;
    memset(arena->scratch_marks, 0, arena->geometry.block_count * sizeof(uint32_t));
    for (uint32_t id = arena->head->free_block; id != FG_KV_NONE;
         id = arena->blocks[id].next_free) {
        if (id >= arena->geometry.block_count)
            return "the free list of blocks leads outside";
        if (arena->scratch_marks[id] != 0)
            return "a block is on the free list twice";
        if (arena->blocks[id].state != FG_KV_BLOCK_FREE)
            return "a block on the free list is in use";
        arena->scratch_marks[id] = 1;
        free_count++;
    }
    if (free_count != fg_counter_get(&arena->head->blocks_free))
        return "the gauge of free blocks is wrong";
    return NULL;
}

static const char *check_blocks(const struct fg_kv_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.block_count; i++) {
        const struct fg_kv_block *block = &arena->blocks[i];
        if (block->references != arena->scratch_references[i])
            return "a block's count of references is not what the tables hold";
        if ((block->references > 0) != (block->state == FG_KV_BLOCK_USED))
            return "a block's state does not fit its count of references";
        if ((block->references == 0) != (arena->scratch_marks[i] == 1))
            return "a free block is not on the free list";
    }
    return NULL;
}

static const char *check_slots(const struct fg_kv_arena *arena)
{
    uint64_t listed = 0;
    for (uint32_t i = arena->head->free_slot; i != FG_KV_NONE; i = arena->slots[i].next_free) {
        if (i >= arena->geometry.sequence_count || listed >= arena->geometry.sequence_count)
            return "the free list of sequences is broken";
        if (is_live(&arena->slots[i]))
            return "a live sequence is on the free list";
        listed++;
    }
    uint64_t open = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++)
        open += is_live(&arena->slots[i]);
    if (open + listed != arena->geometry.sequence_count)
        return "a sequence is neither live nor on the free list";
    if (open != fg_counter_get(&arena->head->sequences))
        return "the gauge of sequences is wrong";
    return NULL;
}

bool fg_kv_arena_check(struct fg_kv_arena *arena, const char **why)
{
    uint32_t broken = FG_KV_NONE;
    fg_kv_lock(arena);
    const char *fault = NULL;
    if (!count_references(arena, &broken))
        fault = "a sequence's table is broken";
    if (fault == NULL)
        fault = check_free_blocks(arena);
    if (fault == NULL)
        fault = check_blocks(arena);
    if (fault == NULL)
        fault = check_slots(arena);
    fg_kv_unlock(arena);
    *why = fault;
    return fault == NULL;
}

uint32_t fg_kv_arena_block_references(struct fg_kv_arena *arena, uint32_t block_id)
{
    if (block_id >= arena->geometry.block_count)
        return UINT32_MAX;
    fg_kv_lock(arena);
    uint32_t references = arena->blocks[block_id].references;
    fg_kv_unlock(arena);
    return references;
}
