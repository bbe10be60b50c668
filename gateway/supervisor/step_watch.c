/*
 * step_watch.c: see step_watch.h.
 */
#include "supervisor/step_watch.h"

#include "base/clock.h"
#include "inference/kernels/pool_shared.h"
#include "inference/kv/kv_arena_shared.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The file's beginning as a string; false when there is none. */
static bool read_text(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return false;
    ssize_t got = read(fd, text, room - 1);
    close(fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

/* Field 14 and 15 of stat, in ticks: where the kernel keeps no schedstat. */
static bool cpu_of_stat(const char *stat, uint64_t *cpu_ns)
{
    const char *at = strrchr(stat, ')');
    unsigned long long user = 0, system = 0;
    if (at == NULL || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                             &user, &system) != 2)
        return false;
    long ticks = sysconf(_SC_CLK_TCK);
    *cpu_ns = (user + system) * (FG_S / (uint64_t)(ticks > 0 ? ticks : 100));
    return true;
}

static bool cpu_of(pid_t pid, const char *tid, uint64_t *cpu_ns)
{
    char path[320];
    char text[512];
    unsigned long long ran = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, tid);
    if (read_text(path, text, sizeof(text)) && sscanf(text, "%llu", &ran) == 1) {
        *cpu_ns = ran;
        return true;
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, tid);
    return read_text(path, text, sizeof(text)) && cpu_of_stat(text, cpu_ns);
}

/* A thread that runs or wants to (R), or waits for a disk (D) or a debugger (t), gets on. */
static bool gets_on(const char *stat)
{
    const char *at = strrchr(stat, ')');
    return at == NULL || at[1] != ' ' || strchr("RDt", at[2]) != NULL;
}

/* The first thread, and those of the pool that it shares a step out to. */
static bool computes(pid_t pid, const char *tid, const char *stat)
{
    return strtol(tid, NULL, 10) == (long)pid || strstr(stat, "(" FG_POOL_THREAD_NAME ")") != NULL;
}

/* Adds what the thread has used, and whether it is awake; true unless it cannot be seen. */
static bool look_at_thread(struct fg_step_look *look, pid_t pid, const char *tid)
{
    char path[320];
    char stat[512];
    uint64_t used_ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, tid);
    if (!read_text(path, stat, sizeof(stat)))
        return true; /* it has ended meanwhile */
    look->is_asleep &= !gets_on(stat);
    if (!computes(pid, tid, stat))
        return true;
    bool is_seen = cpu_of(pid, tid, &used_ns);
    look->cpu_ns += used_ns;
    return is_seen;
}

bool fg_step_look(struct fg_step_look *look, const struct fg_kv_worker_record *record, pid_t pid)
{
    char path[64];
    *look = (struct fg_step_look){
        .step = fg_counter_get(&record->computing),
        .beats = fg_counter_get(&record->beats),
        .expected_ns = fg_counter_get(&record->beat_cpu_ns),
        .is_asleep = true,
    };
    if (look->step == 0)
        return true;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return false;
    bool is_seen = true;
    struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL)
        is_seen &= entry->d_name[0] == '.' || look_at_thread(look, pid, entry->d_name);
    closedir(tasks);
    /* We may have been put aside for long between these reads: then they do not belong together. */
    if (fg_counter_get(&record->beats) != look->beats ||
        fg_counter_get(&record->computing) != look->step)
        look->step = 0;
    return is_seen;
}
