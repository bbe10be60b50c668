/*
 * kv_repair_shared.c: making the arena's metadata whole after a death, and proving that it is.
 * Job      recompute references, lists and index from the live sequences' tables and the blocks'
 *          marks; check the same.
 * Thread   whoever holds the arena's mutex.
 * Never    trusts what it finds: a sequence whose state, table length or block ids make no sense,
 *          or that names a block twice, is dropped, and what it held becomes free.
 * Memory   the view's scratch, made at attach, so that a repair cannot fail.
 *
 *    tables --count--> references --0--> free and cached list, in its old order where it has one
 *    marks ----------> index                          (idempotent: a repairer may die too)
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

static bool table_is_sane(const struct fg_kv_arena *arena, uint32_t index)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    uint32_t count = fg_kv_load(&slot->table_count);
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

/* References of all blocks into the scratch; false, with the slot, at the first that is broken. */
static bool count_references(const struct fg_kv_arena *arena, uint32_t *broken_slot)
{
    memset(arena->scratch_references, 0, arena->geometry.block_count * sizeof(uint32_t));
    memset(arena->scratch_marks, 0, arena->geometry.block_count * sizeof(uint32_t));
    for (uint32_t s = 0; s < arena->geometry.sequence_count; s++) {
        const struct fg_kv_slot *slot = &arena->slots[s];
        if (fg_kv_load(&slot->state) == FG_KV_SLOT_FREE)
            continue;
        if (!fg_kv_is_live(fg_kv_load(&slot->state)) || !table_is_sane(arena, s)) {
            *broken_slot = s;
            return false;
        }
        const uint32_t *table = fg_kv_table(arena, s);
        uint32_t count = fg_kv_load(&slot->table_count);
        for (uint32_t i = 0; i < count; i++)
            arena->scratch_references[table[i]]++;
    }
    return true;
}

/*
 * The ids of the list as it was, as far as it makes sense, into scratch_marks from the front;
 * returns how many. A block is in it once: its references in the scratch are set to FG_KV_NONE.
 */
static uint32_t salvage_order(struct fg_kv_arena *arena)
{
    uint32_t count = 0;
    uint32_t id = arena->head->lru_first;
    while (id < arena->geometry.block_count && arena->scratch_references[id] == 0) {
        arena->scratch_references[id] = FG_KV_NONE;
        arena->scratch_marks[count++] = id;
        id = arena->blocks[id].lru_next;
    }
    return count;
}

static bool mark_is_sane(const struct fg_kv_arena *arena, uint32_t id)
{
    uint32_t mark = fg_kv_load(&arena->blocks[id].mark);
    return mark == FG_KV_MARK_COMMITTED ||
           (mark == FG_KV_MARK_PENDING && arena->blocks[id].references == 1);
}

static void relink(struct fg_kv_arena *arena, uint32_t id, uint64_t *free_count,
                   uint64_t *cached_count)
{
    bool is_cached = fg_kv_load(&arena->blocks[id].mark) == FG_KV_MARK_COMMITTED;
    arena->blocks[id].slot = FG_KV_NONE;
    fg_kv_lru_link(arena, id, false);
    (*(is_cached ? cached_count : free_count))++;
}

/* Counts, marks and index of all blocks, then the list: what it held in its order, then the rest.
 */
static void rebuild_blocks(struct fg_kv_arena *arena)
{
    uint64_t free_count = 0;
    uint64_t cached_count = 0;
    memset(arena->buckets, 0xff, arena->bucket_count * sizeof(*arena->buckets));
    for (uint32_t i = 0; i < arena->geometry.block_count; i++) {
        struct fg_kv_block *block = &arena->blocks[i];
        block->references = arena->scratch_references[i];
        if (mark_is_sane(arena, i))
            fg_kv_index_link(arena, i);
        else
            fg_kv_commit(&block->mark, FG_KV_MARK_NONE);
    }
    uint32_t salvaged = salvage_order(arena);
    arena->head->lru_first = FG_KV_NONE;
    arena->head->lru_last = FG_KV_NONE;
    for (uint32_t i = 0; i < salvaged; i++)
        relink(arena, arena->scratch_marks[i], &free_count, &cached_count);
    for (uint32_t i = 0; i < arena->geometry.block_count; i++) {
        if (arena->scratch_references[i] == 0)
            relink(arena, i, &free_count, &cached_count);
    }
    uint64_t before = fg_kv_available(arena);
    if (free_count + cached_count > before)
        fg_counter_add_owned(&arena->head->blocks_released, free_count + cached_count - before);
    fg_counter_set(&arena->head->blocks_free, free_count);
    fg_counter_set(&arena->head->blocks_cached, cached_count);
}

static void rebuild_slots(struct fg_kv_arena *arena)
{
    uint32_t first = FG_KV_NONE;
    uint64_t open = 0;
    for (uint32_t i = arena->geometry.sequence_count; i > 0; i--) {
        struct fg_kv_slot *slot = &arena->slots[i - 1];
        slot->next_free = FG_KV_NONE;
        if (fg_kv_is_live(fg_kv_load(&slot->state))) {
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
    fg_kv_users_repair(arena);
    fg_counter_add_owned(&arena->head->repairs, 1);
    fg_kv_point(arena, FG_KV_POINT_REPAIR_REBUILT);
}

/* Walks the list of what can be taken, marking each; a block met twice or in use ends the walk. */
static const char *check_list(const struct fg_kv_arena *arena)
{
    uint64_t free_count = 0;
    uint64_t cached_count = 0;
    uint32_t previous = FG_KV_NONE;
    memset(arena->scratch_marks, 0, arena->geometry.block_count * sizeof(uint32_t));
    for (uint32_t id = arena->head->lru_first; id != FG_KV_NONE; id = arena->blocks[id].lru_next) {
        if (id >= arena->geometry.block_count)
            return "the list of free and cached blocks leads outside";
        if (arena->scratch_marks[id] != 0)
            return "a block is in the list twice";
        if (arena->blocks[id].references != 0)
            return "a block in the list is in use";
        if (arena->blocks[id].lru_previous != previous)
            return "the list of free and cached blocks is not linked back";
        arena->scratch_marks[id] = 1;
        bool is_cached = fg_kv_load(&arena->blocks[id].mark) == FG_KV_MARK_COMMITTED;
        cached_count += is_cached;
        free_count += !is_cached;
        previous = id;
    }
    if (arena->head->lru_last != previous)
        return "the list of free and cached blocks has another end";
    if (free_count != fg_counter_get(&arena->head->blocks_free))
        return "the gauge of free blocks is wrong";
    if (cached_count != fg_counter_get(&arena->head->blocks_cached))
        return "the gauge of cached blocks is wrong";
    return NULL;
}

static const char *check_blocks(const struct fg_kv_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.block_count; i++) {
        const struct fg_kv_block *block = &arena->blocks[i];
        uint32_t mark = fg_kv_load(&block->mark);
        if (block->references != arena->scratch_references[i])
            return "a block's count of references is not what the tables hold";
        if ((block->references == 0) != (arena->scratch_marks[i] == 1))
            return "a block is neither in use nor in the list, or both";
        if (mark > FG_KV_MARK_COMMITTED)
            return "a block's mark makes no sense";
        if (mark == FG_KV_MARK_PENDING && block->references != 1)
            return "a block that is being computed is not held by one sequence";
    }
    return NULL;
}

/* Every marked block is in its bucket, once, and nothing else is. */
static const char *check_index(const struct fg_kv_arena *arena)
{
    memset(arena->scratch_marks, 0, arena->geometry.block_count * sizeof(uint32_t));
    for (uint32_t b = 0; b < arena->bucket_count; b++) {
        for (uint32_t id = arena->buckets[b]; id != FG_KV_NONE; id = arena->blocks[id].chain_next) {
            if (id >= arena->geometry.block_count)
                return "a chain of the index leads outside";
            if (arena->scratch_marks[id] != 0)
                return "a block is in the index twice";
            if ((arena->blocks[id].hash.lo & (arena->bucket_count - 1)) != b)
                return "a block is in a wrong bucket of the index";
            arena->scratch_marks[id] = 1;
        }
    }
    for (uint32_t i = 0; i < arena->geometry.block_count; i++) {
        bool is_marked = fg_kv_load(&arena->blocks[i].mark) != FG_KV_MARK_NONE;
        if (is_marked != (arena->scratch_marks[i] == 1))
            return "a block's mark does not fit the index";
    }
    return NULL;
}

static const char *check_slots(const struct fg_kv_arena *arena)
{
    uint64_t listed = 0;
    for (uint32_t i = arena->head->free_slot; i != FG_KV_NONE; i = arena->slots[i].next_free) {
        if (i >= arena->geometry.sequence_count || listed >= arena->geometry.sequence_count)
            return "the free list of sequences is broken";
        if (fg_kv_is_live(fg_kv_load(&arena->slots[i].state)))
            return "a live sequence is on the free list";
        listed++;
    }
    uint64_t open = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++)
        open += fg_kv_is_live(fg_kv_load(&arena->slots[i].state));
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
        fault = check_list(arena);
    if (fault == NULL)
        fault = check_blocks(arena);
    if (fault == NULL)
        fault = check_index(arena);
    if (fault == NULL)
        fault = check_slots(arena);
    if (fault == NULL)
        fault = fg_kv_users_check(arena);
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
