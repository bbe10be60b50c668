/*
 * kv_sequence_shared.c: sequences taking and giving back slots and blocks.
 * Job      open, admit, reserve, trim, suspend, record, close.
 * Thread   any, under the arena's mutex; record by the sequence's owner without it.
 * Never    leaves a state that a repair cannot finish: a sequence owns a block from the moment that
 *          table_count covers it, and nothing from the moment that its state is free. Lists,
 *          references and gauges follow after, and may be computed anew at any point between.
 * Memory   nothing is allocated.
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

struct fg_kv_slot *fg_kv_find_slot(struct fg_kv_arena *arena, struct fg_kv_sequence_id id)
{
    if (id.slot >= arena->geometry.sequence_count)
        return NULL;
    struct fg_kv_slot *slot = &arena->slots[id.slot];
    if (fg_kv_load(&slot->state) == FG_KV_SLOT_FREE ||
        fg_kv_load(&slot->generation) != id.generation)
        return NULL;
    return slot;
}

/* The first free slot, off its list; FG_KV_NONE when there is none. */
static uint32_t pop_slot(struct fg_kv_arena *arena)
{
    uint32_t index = arena->head->free_slot;
    if (index == FG_KV_NONE)
        return FG_KV_NONE;
    if (index >= arena->geometry.sequence_count ||
        fg_kv_load(&arena->slots[index].state) != FG_KV_SLOT_FREE) {
        fg_kv_repair(arena); /* somebody wrote over the list */
        index = arena->head->free_slot;
        if (index == FG_KV_NONE)
            return FG_KV_NONE;
    }
    arena->head->free_slot = arena->slots[index].next_free;
    fg_kv_point(arena, FG_KV_POINT_SLOT_POPPED);
    return index;
}

void fg_kv_trim_slot(struct fg_kv_arena *arena, uint32_t index, uint32_t keep)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *table = fg_kv_table(arena, index);
    uint32_t count = fg_kv_table_count(arena, slot);
    if (keep >= count)
        return;
    fg_kv_commit(&slot->table_count, keep);
    /* Deepest first, so that the deepest is taken first: what is left of a prefix can be found. */
    for (uint32_t i = count; i > keep; i--)
        fg_kv_release_block(arena, table[i - 1]);
}

void fg_kv_suspend_slot(struct fg_kv_arena *arena, uint32_t index)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    fg_kv_commit(&slot->computed, 0);
    fg_kv_commit(&slot->token_count, 0);
    fg_kv_trim_slot(arena, index, 0);
    fg_kv_commit(&slot->state, FG_KV_SLOT_WAITING);
}

void fg_kv_close_slot(struct fg_kv_arena *arena, uint32_t index)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    fg_kv_commit(&slot->state, FG_KV_SLOT_FREE);
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
        slot->promised_own = 0;
        fg_kv_commit(&slot->step_end, 0);
        fg_kv_commit(&slot->table_count, 0);
        fg_kv_commit(&slot->token_count, 0);
        fg_kv_commit(&slot->computed, 0);
        atomic_store_explicit(&slot->lease_until_ns, 0, memory_order_relaxed);
        fg_kv_commit(&slot->generation, fg_kv_load(&slot->generation) + 1);
        fg_kv_commit(&slot->state, FG_KV_SLOT_WAITING);
        fg_kv_point(arena, FG_KV_POINT_SLOT_OPENED);
        fg_counter_add_owned(&arena->head->sequences, 1);
        *out = (struct fg_kv_sequence_id){index, fg_kv_load(&slot->generation)};
        status = FG_OK;
    }
    fg_kv_unlock(arena);
    return status;
}

/* Puts a block of its own at the end of the table of `index`; FG_KV_NO_BLOCK when none is left. */
static uint32_t take_block(struct fg_kv_arena *arena, uint32_t index, uint32_t at)
{
    uint32_t id = fg_kv_pop_block(arena);
    if (id == FG_KV_NO_BLOCK)
        return id;
    fg_kv_table(arena, index)[at] = id;
    fg_kv_commit(&arena->slots[index].table_count, at + 1);
    fg_kv_point(arena, FG_KV_POINT_BLOCK_TABLED);
    arena->blocks[id].references = 1;
    arena->blocks[id].slot = index;
    return id;
}

/* Moves `count` blocks to the table of `index`; undoes itself when it cannot. */
static enum fg_status take_blocks(struct fg_kv_arena *arena, uint32_t index, uint32_t count,
                                  uint32_t *blocks)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    uint32_t held = fg_kv_table_count(arena, slot);
    if (count > arena->geometry.table_max - held)
        return FG_ERR_LIMIT;
    if (count > fg_kv_available(arena))
        return FG_ERR_NO_MEMORY;
    fg_kv_commit(&slot->state, FG_KV_SLOT_RUNNING);
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = take_block(arena, index, held + i);
        if (blocks[i] == FG_KV_NO_BLOCK) {
            fg_kv_trim_slot(arena, index, held);
            return FG_ERR_NO_MEMORY;
        }
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

/* Cached blocks to the front of the empty table of `index`; returns how many were found. */
static uint32_t share_blocks(struct fg_kv_arena *arena, uint32_t index,
                             const struct fg_kv_admission *admission)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    uint32_t *table = fg_kv_table(arena, index);
    uint32_t most = admission->hash_count;
    most = most < admission->block_count ? most : admission->block_count;
    for (uint32_t i = 0; i < most; i++) {
        uint32_t id = fg_kv_find_committed(arena, &admission->hashes[i],
                                           admission->tokens + (size_t)i * FG_KV_BLOCK_TOKENS);
        if (id == FG_KV_NO_BLOCK)
            return i;
        table[i] = id;
        fg_kv_commit(&slot->table_count, i + 1);
        fg_kv_point(arena, FG_KV_POINT_SHARED);
        fg_kv_reference_block(arena, id);
    }
    return most;
}

/*
 * Copy on write: a block of its own, with the same content, in the place of a shared one. When
 * there is none left, one that nobody else holds is taken out of the cache instead.
 */
static bool try_copy_block(struct fg_kv_arena *arena, uint32_t index, uint32_t at)
{
    uint32_t *table = fg_kv_table(arena, index);
    uint32_t old = table[at];
    uint32_t id = fg_kv_pop_block(arena);
    if (id == FG_KV_NO_BLOCK) {
        if (arena->blocks[old].references != 1)
            return false; /* the others will be done with it */
        fg_kv_unmark(arena, old);
        return true;
    }
    struct fg_kv_store store = fg_kv_arena_store(arena);
    size_t bytes = fg_kv_block_bytes(&store.shape);
    memcpy(store.data + id * bytes, store.data + old * bytes, bytes);
    memcpy(arena->blocks[id].tokens, arena->blocks[old].tokens, sizeof(arena->blocks[id].tokens));
    fg_kv_point(arena, FG_KV_POINT_COPIED);
    table[at] = id;
    fg_kv_point(arena, FG_KV_POINT_SWAPPED);
    arena->blocks[id].references = 1;
    arena->blocks[id].slot = index;
    fg_kv_release_block(arena, old);
    return true;
}

/* Writes tokens first .. count-1 into the blocks that are there for them, then says how many. */
static void record_tokens(struct fg_kv_arena *arena, uint32_t index, const uint32_t *tokens,
                          uint32_t first, uint32_t count)
{
    const uint32_t *table = fg_kv_table(arena, index);
    for (uint32_t at = first; at < count; at++)
        arena->blocks[table[at / FG_KV_BLOCK_TOKENS]].tokens[at % FG_KV_BLOCK_TOKENS] = tokens[at];
    fg_kv_commit(&arena->slots[index].token_count, count);
}

static uint32_t blocks_of(uint32_t tokens)
{
    return tokens / FG_KV_BLOCK_TOKENS + (tokens % FG_KV_BLOCK_TOKENS != 0);
}

/* Of a sequence that runs; returns how many blocks are its alone. */
static uint32_t demand_of(const struct fg_kv_arena *arena, uint32_t index,
                          struct fg_kv_demand *demand)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    uint64_t most = (uint64_t)slot->info.prompt_count + slot->info.max_tokens;
    const uint32_t *table = fg_kv_table(arena, index);
    demand->tokens = fg_kv_load(&slot->token_count);
    demand->remaining = most > demand->tokens ? (uint32_t)(most - demand->tokens) : 0;
    demand->blocks = fg_kv_table_count(arena, slot);
    demand->blocks_own = 0;
    for (uint32_t b = 0; b < demand->blocks; b++)
        demand->blocks_own +=
            table[b] < arena->geometry.block_count && arena->blocks[table[b]].references == 1;
    return demand->blocks_own;
}

/*
 * What running sequences, this one with its `block_count` included, and those that memory is kept
 * for could need together.
 */
static bool fits_at_peak(struct fg_kv_arena *arena)
{
    uint32_t count = 0;
    uint64_t own_sum = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        const struct fg_kv_slot *slot = &arena->slots[i];
        uint32_t state = fg_kv_load(&slot->state);
        if (state == FG_KV_SLOT_RUNNING || state == FG_KV_SLOT_ORPHAN)
            own_sum += demand_of(arena, i, &arena->scratch_demands[count++]);
        else if (state == FG_KV_SLOT_WAITING && slot->promised_own > 0)
            arena->scratch_demands[count++] = (struct fg_kv_demand){
                .tokens = slot->info.prompt_count,
                .remaining = slot->info.max_tokens,
                .blocks = blocks_of(slot->info.prompt_count + 1),
                .blocks_own = slot->promised_own,
            };
    }
    uint64_t used = arena->geometry.block_count - fg_kv_available(arena);
    uint64_t shared = used > own_sum ? used - own_sum : 0;
    return fg_kv_peak(arena->scratch_demands, count, shared) <= arena->geometry.block_count;
}

/* What is kept for those that wait is still there. */
static bool keeps_promises(const struct fg_kv_arena *arena)
{
    uint64_t promised = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        const struct fg_kv_slot *slot = &arena->slots[i];
        if (fg_kv_load(&slot->state) == FG_KV_SLOT_WAITING)
            promised += slot->promised_own;
    }
    return promised <= fg_kv_available(arena);
}

/* Keeps memory for the siblings, or no longer: to begin with, or for all that they can need. */
static void promise(struct fg_kv_arena *arena, const struct fg_kv_admission *admission, bool keeps)
{
    for (uint32_t i = 0; i < admission->sibling_count; i++) {
        struct fg_kv_slot *slot = fg_kv_find_slot(arena, admission->siblings[i]);
        if (slot == NULL || slot->info.prompt_count == 0)
            continue;
        uint32_t shared = (slot->info.prompt_count - 1) / FG_KV_BLOCK_TOKENS;
        uint32_t growth = admission->must_fit_at_peak ? 1 : slot->info.max_tokens;
        slot->promised_own = keeps ? blocks_of(slot->info.prompt_count + growth) - shared : 0;
    }
}

static enum fg_status admit(struct fg_kv_arena *arena, uint32_t index,
                            const struct fg_kv_admission *admission, uint32_t *blocks,
                            uint32_t *computed)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    assert(admission->token_count >= 1 &&
           admission->block_count * (uint64_t)FG_KV_BLOCK_TOKENS >= admission->token_count &&
           admission->hash_count <= admission->token_count / FG_KV_BLOCK_TOKENS);
    if (admission->block_count > arena->geometry.table_max || fg_kv_table_count(arena, slot) != 0)
        return FG_ERR_LIMIT;
    fg_kv_commit(&slot->state, FG_KV_SLOT_RUNNING);
    uint32_t shared = share_blocks(arena, index, admission);
    enum fg_status status =
        take_blocks(arena, index, admission->block_count - shared, blocks + shared);
    /* The last token is always computed, and in a block of the sequence's own. */
    uint32_t done = shared * FG_KV_BLOCK_TOKENS;
    if (status == FG_OK && done == admission->token_count) {
        done--;
        if (!try_copy_block(arena, index, shared - 1))
            status = FG_ERR_NO_MEMORY;
    }
    fg_kv_point(arena, FG_KV_POINT_ADMITTED);
    if (status == FG_OK) {
        record_tokens(arena, index, admission->tokens, done, admission->token_count);
        fg_kv_commit(&slot->computed, done);
        promise(arena, admission, true);
        if (admission->must_fit_at_peak ? !fits_at_peak(arena) : !keeps_promises(arena)) {
            promise(arena, admission, false);
            status = FG_ERR_NO_MEMORY;
        }
    }
    if (status != FG_OK) {
        fg_kv_suspend_slot(arena, index);
        return status;
    }
    slot->promised_own = 0;
    memcpy(blocks, fg_kv_table(arena, index), admission->block_count * sizeof(*blocks));
    *computed = done;
    return FG_OK;
}

enum fg_status fg_kv_arena_sequence_admit(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                          const struct fg_kv_admission *admission, uint32_t *blocks,
                                          uint32_t *computed)
{
    fg_kv_lock(arena);
    enum fg_status status = FG_ERR_NOT_FOUND;
    if (fg_kv_find_slot(arena, id) != NULL)
        status = admit(arena, id.slot, admission, blocks, computed);
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

void fg_kv_arena_sequence_suspend(struct fg_kv_arena *arena, struct fg_kv_sequence_id id)
{
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL)
        fg_kv_suspend_slot(arena, id.slot);
    fg_kv_unlock(arena);
}

void fg_kv_arena_sequence_close(struct fg_kv_arena *arena, struct fg_kv_sequence_id id)
{
    fg_kv_lock(arena);
    if (fg_kv_find_slot(arena, id) != NULL)
        fg_kv_close_slot(arena, id.slot);
    fg_kv_unlock(arena);
}

uint32_t fg_kv_arena_sequence_table(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                    uint32_t *blocks, uint32_t room)
{
    uint32_t count = 0;
    fg_kv_lock(arena);
    const struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot != NULL) {
        const uint32_t *table = fg_kv_table(arena, id.slot);
        count = fg_kv_table_count(arena, slot);
        for (uint32_t i = 0; i < count && i < room; i++)
            blocks[i] = table[i];
    }
    fg_kv_unlock(arena);
    return count;
}

bool fg_kv_arena_sequence_record(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t token, uint32_t computed)
{
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot == NULL)
        return false;
    uint32_t at = fg_kv_load(&slot->token_count);
    uint32_t index = at / FG_KV_BLOCK_TOKENS;
    if (index >= fg_kv_table_count(arena, slot))
        return false;
    uint32_t block = fg_kv_table(arena, id.slot)[index];
    if (block >= arena->geometry.block_count)
        return false;
    arena->blocks[block].tokens[at % FG_KV_BLOCK_TOKENS] = token;
    fg_kv_commit(&slot->token_count, at + 1);
    fg_kv_commit(&slot->computed, computed);
    return true;
}

void fg_kv_arena_sequence_rewind(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                 uint32_t token_count, uint32_t computed)
{
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot == NULL)
        return;
    fg_kv_commit(&slot->computed, computed);
    fg_kv_commit(&slot->token_count, token_count);
}

void fg_kv_arena_sequence_computed(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                   uint32_t computed)
{
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot != NULL)
        fg_kv_commit(&slot->computed, computed);
}

uint32_t fg_kv_copy_tokens(const struct fg_kv_arena *arena, uint32_t index, uint32_t *tokens,
                           uint32_t room)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *table = fg_kv_table(arena, index);
    uint64_t covered = (uint64_t)fg_kv_table_count(arena, slot) * FG_KV_BLOCK_TOKENS;
    uint32_t count = fg_kv_load(&slot->token_count);
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
        count = fg_kv_copy_tokens(arena, id.slot, tokens, room);
    }
    fg_kv_unlock(arena);
    return count;
}
