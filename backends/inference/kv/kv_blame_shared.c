/*
 * kv_blame_shared.c: who was in the step that a worker died in.
 * Job      marks before a step, taken off when its results are recorded; blame for what is still
 *          marked when the worker is dead (policies/blame.h decides what comes of it).
 * Thread   begin and end: the worker that owns the sequences, without the mutex. The dead worker's
 *          marks are read under it, by whoever gives the worker up: nobody writes them any more.
 * Memory   a word in each sequence's slot; a release store before the step, so that a death in it
 *          finds the mark in memory.
 */
#include "inference/kv/kv_arena_layout_shared.h"

void fg_kv_arena_step_begin(struct fg_kv_arena *arena, const struct fg_kv_step_part *parts,
                            uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct fg_kv_slot *slot = fg_kv_find_slot(arena, parts[i].id);
        if (slot != NULL)
            fg_kv_commit(&slot->step_end, parts[i].end);
    }
    fg_kv_point(arena, FG_KV_POINT_STEP_BEGUN);
}

bool fg_kv_arena_step_end(struct fg_kv_arena *arena, struct fg_kv_sequence_id id, uint32_t computed)
{
    struct fg_kv_slot *slot = fg_kv_find_slot(arena, id);
    if (slot == NULL)
        return false;
    bool is_cleared = fg_blame_on_progress(&slot->info.blame, computed);
    fg_kv_commit(&slot->step_end, 0);
    return is_cleared;
}

bool fg_kv_arena_is_in_step(struct fg_kv_arena *arena, uint64_t stream_key)
{
    bool is_found = false;
    for (uint32_t i = 0; i < arena->geometry.sequence_count && !is_found; i++) {
        const struct fg_kv_slot *slot = &arena->slots[i];
        is_found = fg_kv_is_live(fg_kv_load(&slot->state)) && slot->info.stream_key == stream_key &&
                   fg_kv_load(&slot->step_end) > 0;
    }
    return is_found;
}

static bool is_marked(const struct fg_kv_slot *slot, uint32_t worker_index)
{
    uint32_t state = fg_kv_load(&slot->state);
    return slot->worker_index == worker_index && fg_kv_load(&slot->step_end) > 0 &&
           (state == FG_KV_SLOT_RUNNING || state == FG_KV_SLOT_WAITING);
}

void fg_kv_blame_worker(struct fg_kv_arena *arena, uint32_t worker_index)
{
    struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    enum fg_blame_death death =
        fg_counter_get(&record->crashed) != 0 ? FG_BLAME_CRASHED : FG_BLAME_KILLED;
    uint32_t count = 0;
    fg_counter_set(&record->crashed, 0);
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++)
        count += is_marked(&arena->slots[i], worker_index);
    for (uint32_t i = 0; i < arena->geometry.sequence_count && count > 0; i++) {
        struct fg_kv_slot *slot = &arena->slots[i];
        if (!is_marked(slot, worker_index))
            continue;
        bool was_suspect = fg_blame_is_suspect(&slot->info.blame);
        fg_blame_on_death(&slot->info.blame, death, count == 1, fg_kv_load(&slot->step_end));
        if (!was_suspect && fg_blame_is_suspect(&slot->info.blame))
            fg_counter_add_owned(&arena->head->suspects, 1);
        fg_kv_commit(&slot->step_end, 0);
    }
}
