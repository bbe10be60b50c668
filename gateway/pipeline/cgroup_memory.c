/*
 * cgroup_memory.c: in a container the own group is seen at the root of the mount, whatever path
 * /proc/self/cgroup says; so each part of the path is tried, and the root itself.
 */
#include "pipeline/cgroup_memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX FG_CGROUP_MEMBERSHIP_MAX /* memory.stat has some 40 lines */
#define NO_LIMIT_V1 (UINT64_C(1) << 62)   /* version 1 says it with a huge number */

/* The files of one version. */
struct layout {
    const char *mount; /* below the root */
    const char *line;  /* how the line of /proc/self/cgroup goes on behind its first ':' */
    const char *used;
    const char *limits[2];
    const char *cache_key;
};

static const struct layout layouts[] = {
    {"", ":", "memory.current", {"memory.max", "memory.high"}, "inactive_file "},
    {"/memory",
     "memory:",
     "memory.usage_in_bytes",
     {"memory.limit_in_bytes", NULL},
     "total_inactive_file "},
};

/* As a string; empty when it cannot be read. */
static void read_text(int fd, char *text, size_t bytes)
{
    ssize_t got = fd == -1 ? -1 : pread(fd, text, bytes - 1, 0);
    text[got > 0 ? got : 0] = '\0';
}

static uint64_t number_of(const char *text)
{
    unsigned long long number;
    return sscanf(text, "%llu", &number) == 1 ? number : 0; /* "max" is none */
}

static int open_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    return len > 0 && (size_t)len < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* 0: none */
static uint64_t limit_of(const char *folder, const struct layout *layout)
{
    uint64_t limit = 0;
    for (unsigned i = 0; i < 2 && layout->limits[i] != NULL; i++) {
        char text[64];
        int fd = open_file(folder, layout->limits[i]);
        read_text(fd, text, sizeof(text));
        if (fd != -1)
            close(fd);
        uint64_t one = number_of(text);
        if (one > 0 && one < NO_LIMIT_V1 && (limit == 0 || one < limit))
            limit = one;
    }
    return limit;
}

void fg_cgroup_find_path(const char *membership, const char *controllers, char *path, size_t bytes)
{
    path[0] = '\0';
    for (const char *line = membership; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        const char *rest = strchr(line, ':');
        size_t prefix = strlen(controllers);
        if (rest != NULL && (end == NULL || rest < end) &&
            strncmp(rest + 1, controllers, prefix) == 0) {
            rest += 1 + prefix;
            size_t len = end == NULL ? strlen(rest) : (size_t)(end - rest);
            if (len < bytes) {
                memcpy(path, rest, len);
                path[len] = '\0';
            }
            return;
        }
        line = end == NULL ? NULL : end + 1;
    }
}

/* Takes over the group in `folder` if its limit is the tightest so far. */
static void consider(struct fg_cgroup_memory *group, const char *folder,
                     const struct layout *layout)
{
    uint64_t limit = limit_of(folder, layout);
    if (limit == 0 || (group->used_fd != -1 && limit >= group->limit_bytes))
        return;
    int used_fd = open_file(folder, layout->used);
    if (used_fd == -1)
        return;
    fg_cgroup_memory_close(group);
    *group = (struct fg_cgroup_memory){.used_fd = used_fd,
                                       .stat_fd = open_file(folder, "memory.stat"),
                                       .cache_key = layout->cache_key,
                                       .limit_bytes = limit};
}

void fg_cgroup_memory_open(struct fg_cgroup_memory *group, const char *root, const char *membership)
{
    *group = (struct fg_cgroup_memory){.used_fd = -1, .stat_fd = -1};
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        const struct layout *layout = &layouts[i];
        char path[PATH_MAX / 2];
        char folder[PATH_MAX];
        fg_cgroup_find_path(membership, layout->line, path, sizeof(path));
        for (;;) {
            int len = snprintf(folder, sizeof(folder), "%s%s%s", root, layout->mount, path);
            if (len > 0 && (size_t)len < sizeof(folder))
                consider(group, folder, layout);
            char *last = strrchr(path, '/');
            if (last == NULL)
                break;
            *last = '\0';
        }
    }
}

void fg_cgroup_own_membership(char membership[FG_CGROUP_MEMBERSHIP_MAX])
{
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    read_text(fd, membership, FG_CGROUP_MEMBERSHIP_MAX);
    if (fd != -1)
        close(fd);
}

void fg_cgroup_memory_open_own(struct fg_cgroup_memory *group, const char *root)
{
    char membership[FG_CGROUP_MEMBERSHIP_MAX];
    fg_cgroup_own_membership(membership);
    fg_cgroup_memory_open(group, root, membership);
}

void fg_cgroup_memory_close(struct fg_cgroup_memory *group)
{
    if (group->used_fd != -1)
        close(group->used_fd);
    if (group->stat_fd != -1)
        close(group->stat_fd);
    group->used_fd = group->stat_fd = -1;
}

/* The number behind a key at the beginning of a line. */
static uint64_t number_at(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, key, len) == 0)
            return number_of(line + len);
    }
    return 0;
}

uint64_t fg_cgroup_memory_used(const struct fg_cgroup_memory *group)
{
    char text[TEXT_MAX];
    if (group->used_fd == -1)
        return 0;
    read_text(group->used_fd, text, sizeof(text));
    uint64_t used = number_of(text);
    read_text(group->stat_fd, text, sizeof(text));
    uint64_t cache = number_at(text, group->cache_key);
    return used > cache ? used - cache : 0;
}
