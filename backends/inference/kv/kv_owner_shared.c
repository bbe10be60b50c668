/*
 * kv_owner_shared.c: whose a sequence is: workers begin, die, hand over and adopt.
 * Job      reclaim, orphan, hand over, adopt, and close what nobody adopted in time.
 * Thread   any, under the arena's mutex.
 * Never    lets two workers write the same blocks: an owner is declared gone by whoever reaped its
 *          process, or says so itself; until then adoption is refused. The state is the commit
 *          point: before it the sequence is still nobody's, after it the new owner's.
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include <assert.h>
#include <string.h>

static void orphan_slot(struct fg_kv_arena *arena, uint32_t index, uint64_t keep_until_ns)
{
    struct fg_kv_slot *slot = &arena->slots[index];
    atomic_store_explicit(&slot->lease_until_ns, keep_until_ns, memory_order_relaxed);
    /* Counted first: one that is not counted would never be looked for when its time is up. */
    fg_counter_add_owned(&arena->head->orphaned, 1);
    fg_kv_commit(&slot->state, FG_KV_SLOT_ORPHAN);
    fg_kv_point(arena, FG_KV_POINT_ORPHANED);
}

static bool is_worth_keeping(const struct fg_kv_slot *slot)
{
    bool is_begun =
        fg_kv_load(&slot->state) == FG_KV_SLOT_RUNNING && fg_kv_load(&slot->computed) > 0;
    return slot->info.stream_key != 0 &&
           ((is_begun && slot->info.is_resumable) || slot->info.blame.suspicion > 0);
}

/* Ends what `worker_index` owns; returns how many became orphans. Under the mutex. */
static uint32_t give_up_worker(struct fg_kv_arena *arena, uint32_t worker_index, bool may_keep,
                               uint64_t keep_until_ns, uint32_t *closed)
{
    uint32_t orphans = 0;
    struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    assert(record != NULL);
    fg_counter_set(&record->pid, 0);
    fg_counter_set(&record->waiting, 0);
    fg_counter_set(&record->running, 0);
    fg_counter_set(&record->computing, 0);
    fg_kv_users_give_up(arena, worker_index);
    fg_kv_blame_worker(arena, worker_index);
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        struct fg_kv_slot *slot = &arena->slots[i];
        uint32_t state = fg_kv_load(&slot->state);
        if (slot->worker_index != worker_index ||
            (state != FG_KV_SLOT_WAITING && state != FG_KV_SLOT_RUNNING))
            continue;
        if (may_keep && is_worth_keeping(slot)) {
            orphan_slot(arena, i, keep_until_ns);
            orphans++;
        } else {
            fg_kv_close_slot(arena, i);
            (*closed)++;
        }
    }
    return orphans;
}

void fg_kv_arena_worker_begin(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t pid,
                              uint64_t now_ns, uint64_t keep_until_ns)
{
    struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    fg_kv_arena_orphan_worker(arena, worker_index, keep_until_ns);
    fg_counter_set(&record->started_ns, now_ns);
    fg_counter_set(&record->heartbeat_ns, now_ns);
    fg_counter_add_owned(&record->generation, 1);
    fg_counter_set(&record->pid, pid);
}

uint32_t fg_kv_arena_reclaim_worker(struct fg_kv_arena *arena, uint32_t worker_index)
{
    uint32_t closed = 0;
    fg_kv_lock(arena);
    give_up_worker(arena, worker_index, false, 0, &closed);
    fg_kv_unlock(arena);
    return closed;
}

uint32_t fg_kv_arena_orphan_worker(struct fg_kv_arena *arena, uint32_t worker_index,
                                   uint64_t keep_until_ns)
{
    uint32_t closed = 0;
    fg_kv_lock(arena);
    uint32_t orphans = give_up_worker(arena, worker_index, true, keep_until_ns, &closed);
    fg_kv_unlock(arena);
    return orphans;
}

bool fg_kv_arena_try_orphan_worker(struct fg_kv_arena *arena, uint32_t worker_index,
                                   uint64_t keep_until_ns)
{
    uint32_t closed = 0;
    if (!fg_kv_try_lock(arena))
        return false;
    give_up_worker(arena, worker_index, true, keep_until_ns, &closed);
    fg_kv_unlock(arena);
    return true;
}

uint32_t fg_kv_arena_reclaim_orphans(struct fg_kv_arena *arena, uint64_t now_ns)
{
    uint32_t closed = 0;
    const struct fg_kv_head *head = arena->head;
    /* Nearly always there are none, and then there is nothing to lock for. */
    if (fg_counter_get(&head->orphaned) ==
        fg_counter_get(&head->adopted) + fg_counter_get(&head->orphans_expired))
        return 0;
    fg_kv_lock(arena);
    uint64_t left = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        struct fg_kv_slot *slot = &arena->slots[i];
        if (fg_kv_load(&slot->state) != FG_KV_SLOT_ORPHAN)
            continue;
        if (atomic_load_explicit(&slot->lease_until_ns, memory_order_relaxed) > now_ns) {
            left++;
            continue;
        }
        fg_kv_close_slot(arena, i);
        closed++;
    }
    /* By what is there, so that a death between a state and its counter is made good. */
    uint64_t orphaned = fg_counter_get(&head->orphaned);
    uint64_t gone = fg_counter_get(&head->adopted) + left;
    fg_counter_set(&arena->head->orphans_expired, orphaned > gone ? orphaned - gone : 0);
    fg_kv_unlock(arena);
    return closed;
}

void fg_kv_arena_sequence_hand_over(struct fg_kv_arena *arena, struct fg_kv_sequence_id id,
                                    uint64_t keep_until_ns)
{
    fg_kv_lock(arena);
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot != NULL)
        fg_kv_commit(&slot->step_end, 0);
    if (slot != NULL && is_worth_keeping(slot))
        orphan_slot(arena, id.slot, keep_until_ns);
    else if (slot != NULL)
        fg_kv_close_slot(arena, id.slot);
    fg_kv_unlock(arena);
}

static struct fg_kv_slot *find_stream(struct fg_kv_arena *arena, uint64_t stream_key,
                                      uint32_t *index)
{
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        struct fg_kv_slot *slot = &arena->slots[i];
        if (fg_kv_is_live(fg_kv_load(&slot->state)) && slot->info.stream_key == stream_key) {
            *index = i;
            return slot;
        }
    }
    return NULL;
}

/* What is recorded makes sense, and the table covers it. */
static bool read_orphan(struct fg_kv_arena *arena, uint32_t index, struct fg_kv_adopted *out,
                        uint32_t *blocks, uint32_t *tokens, uint32_t room)
{
    const struct fg_kv_slot *slot = &arena->slots[index];
    const uint32_t *table = fg_kv_table(arena, index);
    out->id = (struct fg_kv_sequence_id){index, fg_kv_load(&slot->generation)};
    out->info = slot->info;
    out->block_count = fg_kv_table_count(arena, slot);
    out->computed = fg_kv_load(&slot->computed);
    uint32_t recorded = fg_kv_load(&slot->token_count);
    if (recorded > room)
        return false;
    out->token_count = fg_kv_copy_tokens(arena, index, tokens, room);
    for (uint32_t i = 0; i < out->block_count; i++) {
        if (table[i] >= arena->geometry.block_count)
            return false;
        blocks[i] = table[i];
    }
    return out->info.is_resumable && fg_kv_load(&slot->table_count) > 0 &&
           out->token_count == recorded && out->token_count >= out->info.prompt_count &&
           out->computed < out->token_count;
}

enum fg_status fg_kv_arena_adopt(struct fg_kv_arena *arena, uint32_t worker_index,
                                 uint64_t stream_key, struct fg_kv_adopted *out, uint32_t *blocks,
                                 uint32_t *tokens, uint32_t room)
{
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    assert(record != NULL && stream_key != 0);
    uint32_t index = 0;
    enum fg_status status = FG_ERR_NOT_FOUND;
    fg_kv_lock(arena);
    struct fg_kv_slot *slot = find_stream(arena, stream_key, &index);
    out->info.blame = slot != NULL ? slot->info.blame : (struct fg_blame){0};
    if (slot != NULL && fg_kv_load(&slot->state) != FG_KV_SLOT_ORPHAN) {
        uint32_t step_end = fg_kv_load(&slot->step_end);
        if (step_end > 0)
            fg_blame_on_death(&out->info.blame, FG_BLAME_CRASHED, false, step_end);
        status = FG_ERR_BUSY;
    } else if (slot != NULL && !read_orphan(arena, index, out, blocks, tokens, room)) {
        fg_kv_close_slot(arena, index);
        fg_counter_add_owned(&arena->head->orphans_expired, 1);
    } else if (slot != NULL) {
        slot->worker_index = worker_index;
        slot->worker_generation = fg_counter_get(&record->generation);
        fg_kv_point(arena, FG_KV_POINT_ADOPTING);
        fg_kv_commit(&slot->state, FG_KV_SLOT_RUNNING);
        fg_kv_point(arena, FG_KV_POINT_ADOPTED);
        fg_counter_add_owned(&arena->head->adopted, 1);
        status = FG_OK;
    }
    fg_kv_unlock(arena);
    return status;
}
