/*
 * life_watch.c: see life_watch.h.
 */
#include "supervisor/life_watch.h"

#include "base/clock.h"
#include "supervisor/process_look.h"

#define QUIET_NS FG_S /* five heartbeats are missed (worker.c) */
#define LOOK_MAX_NS (250 * FG_MS)

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool fg_life_judge(struct fg_life *life, const struct fg_life_look *look, uint64_t limit_ns,
                   uint64_t now_ns)
{
    struct fg_life before = *life;
    life->last = *look;
    life->looked_ns = now_ns;
    if (before.looked_ns == 0 || look->sign != before.last.sign || now_ns < before.looked_ns) {
        life->had_ns = 0;
        return false;
    }
    uint64_t passed_ns = now_ns - before.looked_ns;
    if (look->cpu_ns > before.last.cpu_ns) /* of several threads together, but not more than time */
        life->had_ns += smaller(look->cpu_ns - before.last.cpu_ns, passed_ns);
    else if (look->is_asleep && before.last.is_asleep)
        life->had_ns += smaller(passed_ns, LOOK_MAX_NS);
    return life->had_ns > limit_ns;
}

/* Whether it should long have said something: until then there is nothing to look at. */
static bool is_quiet(const struct fg_kv_worker_record *record, uint64_t now_ns)
{
    uint64_t beat_ns = fg_counter_get(&record->heartbeat_ns);
    return beat_ns < now_ns && now_ns - beat_ns >= QUIET_NS;
}

static bool is_silent(struct fg_life_watch *watch, struct fg_kv_arena *arena,
                      const struct fg_kv_worker_record *record, uint64_t limit_ns, uint64_t now_ns)
{
    struct fg_process_look threads;
    uint64_t pid = fg_counter_get(&record->pid);
    if (!is_quiet(record, now_ns) || !fg_process_look(&threads, (pid_t)pid)) {
        watch->worker = (struct fg_life){0};
        return false;
    }
    uint32_t holder = fg_kv_arena_lock_holder(arena);
    const struct fg_life_look look = {
        .sign = fg_counter_get(&record->heartbeat_ns) + fg_counter_get(&record->beats),
        .cpu_ns = threads.computing.cpu_ns,
        .is_asleep = threads.computing.is_asleep && (holder == 0 || holder == pid),
    };
    return fg_life_judge(&watch->worker, &look, limit_ns, now_ns);
}

/* Goes on from here without judging what passed since the last look. */
static void pass_over(struct fg_life *life, uint64_t key, uint64_t now_ns)
{
    if (key != life->last.sign)
        life->had_ns = 0;
    life->last = (struct fg_life_look){.sign = key, .cpu_ns = UINT64_MAX};
    life->looked_ns = key != 0 ? now_ns : 0;
}

/* The threads are looked at only when one prepares what it did at the last look. */
static bool prepares_for_ever(struct fg_life_watch *watch, struct fg_kv_arena *arena,
                              uint32_t worker_index, uint64_t limit_ns, uint64_t now_ns)
{
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    struct fg_process_look threads;
    uint64_t keys[FG_KV_PREPARING_MAX];
    bool has_old = false;
    bool is_found = false;
    fg_kv_arena_preparing(arena, worker_index, keys);
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX; i++)
        has_old |= keys[i] != 0 && keys[i] == watch->prepares[i].last.sign;
    /* While it is quiet it may be its first thread that prepares, in a turn that takes long. */
    bool is_judged = has_old && !is_quiet(record, now_ns) &&
                     fg_process_look(&threads, (pid_t)fg_counter_get(&record->pid));
    for (uint32_t i = 0; i < FG_KV_PREPARING_MAX; i++) {
        if (!is_judged || keys[i] == 0) {
            pass_over(&watch->prepares[i], keys[i], now_ns);
            continue;
        }
        const struct fg_life_look look = {keys[i], threads.helpers.cpu_ns,
                                          threads.helpers.is_asleep};
        is_found |= fg_life_judge(&watch->prepares[i], &look, limit_ns, now_ns);
    }
    return is_found;
}

enum fg_life_verdict fg_life_watch_worker(struct fg_life_watch *watch, struct fg_kv_arena *arena,
                                          uint32_t worker_index, uint64_t limit_ns, uint64_t now_ns)
{
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(arena, worker_index);
    if (is_silent(watch, arena, record, limit_ns, now_ns))
        return FG_LIFE_SILENT;
    return prepares_for_ever(watch, arena, worker_index, limit_ns, now_ns) ? FG_LIFE_PREPARES
                                                                           : FG_LIFE_FINE;
}

const char *fg_life_verdict_name(enum fg_life_verdict verdict)
{
    static const char *const names[] = {
        [FG_LIFE_FINE] = "fine", [FG_LIFE_SILENT] = "silent", [FG_LIFE_PREPARES] = "prepares"};
    return names[verdict];
}
