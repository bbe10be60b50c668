/*
 * kv_blame_shared.c: who was in the step that a worker died in, and whose prompt it prepared.
 * Job      marks before a step, taken off when its results are recorded; the same around what is
 *          done for a request before it has a sequence; blame for what is still marked when the
 *          worker is dead (policies/blame.h decides what comes of it). A death tells of one alone
 *          when that was all there was a mark of, of either kind.
 * Thread   begin and end: the worker that owns the marks, without the mutex. The dead worker's
 *          marks are read under it, by whoever gives the worker up: nobody writes them any more.
 *          Of what is being prepared each of the worker's threads takes a free word by
 *          compare-and-swap, and stores 0 into it at the end.
 * Memory   a word in each sequence's slot, a few in each worker's; a release store before the work,
 *          so that a death in it finds the mark in memory. Blame of streams without a sequence:
 *          FG_KV_PREPARE_BLAMES entries in the head, under the mutex; each stands for itself, so
 *          that a death under the mutex leaves nothing to repair.
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

static uint32_t count_marks(const struct fg_kv_arena *arena, uint32_t worker_index)
{
    const struct fg_kv_worker_slot *worker = fg_kv_worker_slot(arena, worker_index);
    uint32_t count = 0;
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++)
        count += is_marked(&arena->slots[i], worker_index);
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX; i++)
        count += atomic_load_explicit(&worker->preparing[i], memory_order_acquire) != 0;
    return count;
}

/* Tells the policy of a death, and counts who becomes suspect by it. */
static void blame(struct fg_kv_arena *arena, struct fg_blame *blamed, enum fg_blame_death death,
                  bool was_alone, uint32_t position)
{
    bool was_suspect = fg_blame_is_suspect(blamed);
    fg_blame_on_death(blamed, death, was_alone, position);
    if (!was_suspect && fg_blame_is_suspect(blamed))
        fg_counter_add_owned(&arena->head->suspects, 1);
}

static struct fg_kv_prepare_blame *find_prepare_blame(struct fg_kv_arena *arena,
                                                      uint64_t stream_key)
{
    for (uint32_t i = 0; i < FG_KV_PREPARE_BLAMES; i++) {
        if (arena->head->prepare_blames[i].stream_key == stream_key)
            return &arena->head->prepare_blames[i];
    }
    return NULL;
}

/* The stream's entry; a new one takes a free place, or that of the oldest. */
static struct fg_kv_prepare_blame *make_prepare_blame(struct fg_kv_arena *arena,
                                                      uint64_t stream_key)
{
    struct fg_kv_prepare_blame *entry = find_prepare_blame(arena, stream_key);
    if (entry == NULL) {
        entry = &arena->head->prepare_blames[0];
        for (uint32_t i = 1; i < FG_KV_PREPARE_BLAMES; i++) {
            struct fg_kv_prepare_blame *other = &arena->head->prepare_blames[i];
            if (other->order < entry->order) /* 0 where it is free */
                entry = other;
        }
        *entry = (struct fg_kv_prepare_blame){.stream_key = stream_key};
    }
    entry->order = ++arena->head->prepare_deaths;
    return entry;
}

void fg_kv_blame_worker(struct fg_kv_arena *arena, uint32_t worker_index)
{
    struct fg_kv_worker_slot *worker = fg_kv_worker_slot(arena, worker_index);
    enum fg_blame_death death =
        fg_counter_get(&worker->record.crashed) != 0 ? FG_BLAME_CRASHED : FG_BLAME_KILLED;
    uint32_t count = count_marks(arena, worker_index);
    fg_counter_set(&worker->record.crashed, 0);
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX; i++) {
        uint64_t key = atomic_load_explicit(&worker->preparing[i], memory_order_acquire);
        if (key == 0)
            continue;
        blame(arena, &make_prepare_blame(arena, key)->blame, death, count == 1, 0);
        atomic_store_explicit(&worker->preparing[i], 0, memory_order_release);
    }
    for (uint32_t i = 0; i < arena->geometry.sequence_count && count > 0; i++) {
        struct fg_kv_slot *slot = &arena->slots[i];
        if (!is_marked(slot, worker_index))
            continue;
        blame(arena, &slot->info.blame, death, count == 1, fg_kv_load(&slot->step_end));
        fg_kv_commit(&slot->step_end, 0);
    }
}

uint32_t fg_kv_arena_prepare_begin(struct fg_kv_arena *arena, uint32_t worker_index,
                                   uint64_t stream_key)
{
    struct fg_kv_worker_slot *worker = fg_kv_worker_slot(arena, worker_index);
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX && stream_key != 0; i++) {
        uint64_t expected = 0;
        if (!atomic_compare_exchange_strong(&worker->preparing[i], &expected, stream_key))
            continue;
        fg_kv_point(arena, FG_KV_POINT_PREPARING);
        return i;
    }
    return FG_KV_NONE;
}

void fg_kv_arena_prepare_end(struct fg_kv_arena *arena, uint32_t worker_index, uint32_t place)
{
    if (place < FG_KV_PREPARING_MAX)
        atomic_store_explicit(&fg_kv_worker_slot(arena, worker_index)->preparing[place], 0,
                              memory_order_release);
}

/* Whether a worker other than `but` prepares the stream, or died doing so. */
static bool is_preparing(const struct fg_kv_arena *arena, uint64_t stream_key, uint32_t but)
{
    bool is_found = false;
    for (uint32_t w = 0; w < arena->geometry.worker_count; w++) {
        const struct fg_kv_worker_slot *worker = fg_kv_worker_slot(arena, w);
        for (uint32_t i = 0; i < FG_KV_PREPARING_MAX && w != but; i++)
            is_found |=
                atomic_load_explicit(&worker->preparing[i], memory_order_acquire) == stream_key;
    }
    return is_found;
}

enum fg_status fg_kv_arena_prepare_blame(struct fg_kv_arena *arena, uint32_t worker_index,
                                         uint64_t stream_key, struct fg_blame *out)
{
    *out = (struct fg_blame){0};
    if (stream_key == 0)
        return FG_OK;
    fg_kv_lock(arena);
    const struct fg_kv_prepare_blame *entry = find_prepare_blame(arena, stream_key);
    if (entry != NULL)
        *out = entry->blame;
    bool is_busy = is_preparing(arena, stream_key, worker_index);
    fg_kv_unlock(arena);
    if (is_busy)
        fg_blame_on_death(out, FG_BLAME_CRASHED, false, 0);
    return is_busy ? FG_ERR_BUSY : FG_OK;
}

void fg_kv_arena_prepare_forgive(struct fg_kv_arena *arena, uint64_t stream_key)
{
    if (stream_key == 0)
        return;
    fg_kv_lock(arena);
    struct fg_kv_prepare_blame *entry = find_prepare_blame(arena, stream_key);
    if (entry != NULL)
        *entry = (struct fg_kv_prepare_blame){0};
    fg_kv_unlock(arena);
}

void fg_kv_arena_preparing(const struct fg_kv_arena *arena, uint32_t worker_index,
                           uint64_t keys[FG_KV_PREPARING_MAX])
{
    const struct fg_kv_worker_slot *worker = fg_kv_worker_slot(arena, worker_index);
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX; i++)
        keys[i] = atomic_load_explicit(&worker->preparing[i], memory_order_acquire);
}

bool fg_kv_arena_is_preparing(struct fg_kv_arena *arena, uint64_t stream_key)
{
    return is_preparing(arena, stream_key, FG_KV_NONE);
}
