/*
 * step_watch.c: see step_watch.h.
 */
#include "supervisor/step_watch.h"

#include "base/clock.h"
#include "inference/kv/kv_arena_shared.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN_FACTOR 4u
#define SPIN_FLOOR_NS (100 * FG_MS)
#define BLOCKED_NS (100 * FG_MS)

enum fg_step_verdict fg_step_watch_judge(struct fg_step_watch *watch,
                                         const struct fg_step_look *look, uint64_t now_ns)
{
    struct fg_step_look last = watch->last;
    watch->last = *look;
    /* Twice in the same step: then what was read of it belongs together, too. */
    if (look->step == 0 || look->step != last.step || look->expected_ns == 0)
        return FG_STEP_FINE;
    uint64_t used_ns = look->cpu_ns > look->began_cpu_ns ? look->cpu_ns - look->began_cpu_ns : 0;
    uint64_t most_ns =
        look->expected_ns < UINT64_MAX / SPIN_FACTOR ? look->expected_ns * SPIN_FACTOR : UINT64_MAX;
    if (used_ns > most_ns && used_ns > SPIN_FLOOR_NS)
        return FG_STEP_SPINS;
    bool is_still = look->is_asleep && last.is_asleep && look->cpu_ns == last.cpu_ns;
    bool is_late = now_ns > look->began_ns && now_ns - look->began_ns > BLOCKED_NS;
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

static bool cpu_of(pid_t pid, uint64_t *cpu_ns)
{
    char path[64];
    char text[512];
    unsigned long long ran = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)pid);
    if (read_text(path, text, sizeof(text)) && sscanf(text, "%llu", &ran) == 1) {
        *cpu_ns = ran;
        return true;
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    return read_text(path, text, sizeof(text)) && cpu_of_stat(text, cpu_ns);
}

/* A thread that runs or wants to (R), or waits for a disk (D), gets on. */
static bool sleeps(pid_t pid, const char *tid)
{
    char path[320];
    char text[512];
    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, tid);
    if (!read_text(path, text, sizeof(text)))
        return true; /* it has ended meanwhile */
    const char *at = strrchr(text, ')');
    return at != NULL && at[1] == ' ' && at[2] != 'R' && at[2] != 'D';
}

static bool all_sleep(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return false;
    bool is_asleep = true;
    struct dirent *entry;
    while (is_asleep && (entry = readdir(tasks)) != NULL)
        is_asleep = entry->d_name[0] == '.' || sleeps(pid, entry->d_name);
    closedir(tasks);
    return is_asleep;
}

bool fg_step_look(struct fg_step_look *look, const struct fg_kv_worker_record *record, pid_t pid)
{
    *look = (struct fg_step_look){
        .step = fg_counter_get(&record->computing),
        .began_ns = fg_counter_get(&record->computing_since_ns),
        .began_cpu_ns = fg_counter_get(&record->computing_cpu_ns),
        .expected_ns = fg_counter_get(&record->computing_expected_ns),
    };
    if (look->step == 0)
        return true;
    if (!cpu_of(pid, &look->cpu_ns))
        return false;
    look->is_asleep = all_sleep(pid);
    return true;
}
