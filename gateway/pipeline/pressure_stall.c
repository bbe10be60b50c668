/*
 * pressure_stall.c: in a container the own group is seen at the root of the mount, whatever path
 * /proc/self/cgroup says; so each part of the path is tried, and the root itself. The root group
 * of a machine has no such files: then it is the machine's own.
 */
#include "pipeline/pressure_stall.h"

#include "pipeline/cgroup_memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 512

static const struct {
    const char *of_group;
    const char *of_machine;
    const char *line; /* how the line that counts begins */
} files[FG_STALL_COUNT] = {
    [FG_STALL_CPU] = {"cpu.pressure", "cpu", "some "},
    [FG_STALL_MEMORY] = {"memory.pressure", "memory", "full "},
    [FG_STALL_IO] = {"io.pressure", "io", "full "},
};

static int open_file(const char *folder, const char *group, const char *name)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s%s/%s", folder, group, name);
    return len > 0 && (size_t)len < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static int open_kind(enum fg_stall kind, const char *root, const char *membership,
                     const char *machine)
{
    char group[PATH_MAX / 2];
    fg_cgroup_find_path(membership, ":", group, sizeof(group));
    for (;;) {
        int fd = open_file(root, group, files[kind].of_group);
        if (fd != -1)
            return fd;
        char *last = strrchr(group, '/');
        if (last == NULL)
            return open_file(machine, "", files[kind].of_machine);
        *last = '\0';
    }
}

void fg_pressure_stall_open(struct fg_pressure_stall *stall, const char *root,
                            const char *membership, const char *machine)
{
    for (unsigned i = 0; i < FG_STALL_COUNT; i++)
        stall->fds[i] = open_kind((enum fg_stall)i, root, membership, machine);
}

void fg_pressure_stall_open_own(struct fg_pressure_stall *stall, const char *root)
{
    char membership[FG_CGROUP_MEMBERSHIP_MAX];
    fg_cgroup_own_membership(membership);
    fg_pressure_stall_open(stall, root, membership, "/proc/pressure");
}

void fg_pressure_stall_close(struct fg_pressure_stall *stall)
{
    for (unsigned i = 0; i < FG_STALL_COUNT; i++) {
        if (stall->fds[i] != -1)
            close(stall->fds[i]);
        stall->fds[i] = -1;
    }
}

/* "some avg10=1.25 avg60=...": hundredths of a percent. */
static uint64_t average_in(const char *line)
{
    unsigned whole, hundredths;
    if (sscanf(line, "%*s avg10=%3u.%2u", &whole, &hundredths) != 2 || whole > 100)
        return 0;
    uint64_t share = whole * UINT64_C(100) + hundredths;
    return share > FG_STALL_ALWAYS ? FG_STALL_ALWAYS : share;
}

uint64_t fg_pressure_stall_read(const struct fg_pressure_stall *stall, enum fg_stall kind)
{
    char text[TEXT_MAX];
    ssize_t got = stall->fds[kind] == -1 ? -1 : pread(stall->fds[kind], text, TEXT_MAX - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    size_t prefix = strlen(files[kind].line);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, files[kind].line, prefix) == 0)
            return average_in(line);
    }
    return 0;
}
