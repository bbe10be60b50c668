/*
 * process_look.c: see process_look.h.
 */
#include "supervisor/process_look.h"

#include "base/clock.h"
#include "inference/kernels/pool_shared.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/*
 * A thread that runs or wants to (R), or waits for a disk (D) or a debugger (t), gets on. One that
 * is stopped (T) is told of by SIGCHLD, and is not at fault for it.
 */
static bool gets_on(const char *stat)
{
    const char *at = strrchr(stat, ')');
    return at == NULL || at[1] != ' ' || strchr("RDtT", at[2]) != NULL;
}

/* The first thread, and those of the pool that it shares a step out to. */
static bool computes(pid_t pid, const char *tid, const char *stat)
{
    return strtol(tid, NULL, 10) == (long)pid || strstr(stat, "(" FG_POOL_THREAD_NAME ")") != NULL;
}

/* Adds what the thread has used, and whether it is awake; true unless it cannot be seen. */
static bool look_at_thread(struct fg_process_look *look, pid_t pid, const char *tid)
{
    char path[320];
    char stat[512];
    uint64_t used_ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, tid);
    if (!read_text(path, stat, sizeof(stat)))
        return true; /* it has ended meanwhile */
    struct fg_threads_look *of = computes(pid, tid, stat) ? &look->computing : &look->helpers;
    bool is_seen = cpu_of(pid, tid, &used_ns);
    of->is_asleep &= !gets_on(stat);
    of->cpu_ns += used_ns;
    return is_seen;
}

bool fg_process_look(struct fg_process_look *look, pid_t pid)
{
    char path[64];
    *look = (struct fg_process_look){{0, true}, {0, true}};
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return false;
    bool is_seen = true;
    struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL)
        is_seen &= entry->d_name[0] == '.' || look_at_thread(look, pid, entry->d_name);
    closedir(tasks);
    return is_seen;
}
