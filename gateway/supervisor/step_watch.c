/*
 * step_watch.c: see step_watch.h.
 */
#include "supervisor/step_watch.h"

#include "base/clock.h"
#include "inference/kv/kv_arena_shared.h"
#include "supervisor/process_look.h"

#define SPIN_FACTOR 16u
#define SPIN_FLOOR_NS (6 * FG_MS)
#define SPIN_ADVANCES_MIN 2u
#define BLOCKED_NS (75 * FG_MS)

uint64_t fg_step_watch_used_ns(const struct fg_step_watch *watch)
{
    uint64_t now_ns = watch->last.cpu_ns;
    return now_ns > watch->beat_cpu_ns ? now_ns - watch->beat_cpu_ns : 0;
}

enum fg_step_verdict fg_step_watch_judge(struct fg_step_watch *watch,
                                         const struct fg_step_look *look, uint64_t now_ns)
{
    struct fg_step_look last = watch->last;
    watch->last = *look;
    if (look->step == 0 || look->step != last.step || look->beats != last.beats ||
        look->expected_ns == 0) {
        watch->beat_seen_ns = now_ns;
        watch->beat_cpu_ns = look->cpu_ns;
        watch->advance_count = 0;
        return FG_STEP_FINE;
    }
    watch->advance_count += look->cpu_ns > last.cpu_ns;
    uint64_t used_ns = fg_step_watch_used_ns(watch);
    uint64_t most_ns =
        look->expected_ns < UINT64_MAX / SPIN_FACTOR ? look->expected_ns * SPIN_FACTOR : UINT64_MAX;
    if (used_ns > most_ns && used_ns > SPIN_FLOOR_NS && watch->advance_count >= SPIN_ADVANCES_MIN)
        return FG_STEP_SPINS;
    bool is_still = look->is_asleep && last.is_asleep && look->cpu_ns == last.cpu_ns;
    bool is_late = now_ns > watch->beat_seen_ns && now_ns - watch->beat_seen_ns > BLOCKED_NS;
    return is_still && is_late ? FG_STEP_BLOCKED : FG_STEP_FINE;
}

const char *fg_step_verdict_name(enum fg_step_verdict verdict)
{
    static const char *const names[] = {
        [FG_STEP_FINE] = "fine", [FG_STEP_SPINS] = "spins", [FG_STEP_BLOCKED] = "blocked"};
    return names[verdict];
}

bool fg_step_look(struct fg_step_look *look, const struct fg_kv_worker_record *record, pid_t pid)
{
    struct fg_process_look threads;
    *look = (struct fg_step_look){
        .step = fg_counter_get(&record->computing),
        .beats = fg_counter_get(&record->beats),
        .expected_ns = fg_counter_get(&record->beat_cpu_ns),
    };
    if (look->step == 0)
        return true;
    bool is_seen = fg_process_look(&threads, pid);
    look->cpu_ns = threads.computing.cpu_ns;
    look->is_asleep = threads.computing.is_asleep && threads.helpers.is_asleep;
    /* We may have been put aside for long between these reads: then they do not belong together. */
    if (fg_counter_get(&record->beats) != look->beats ||
        fg_counter_get(&record->computing) != look->step)
        look->step = 0;
    return is_seen;
}
