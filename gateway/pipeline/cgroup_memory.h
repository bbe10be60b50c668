/*
 * cgroup_memory.h: how much memory the process's control group uses, and how much it may.
 * Job      find the group with the tightest limit, from the process's own up to the root; read it.
 * Thread   one at a time; reads files, so never a loop that serves clients.
 * Memory   the caller's; three descriptors.
 * Source   Documentation/admin-guide/cgroup-v2.rst (memory.current, memory.max, memory.high,
 *          memory.stat) and cgroup-v1/memory.rst (memory.usage_in_bytes, ...). Cache of files that
 *          nobody has used lately is taken off, as the kernel takes it back before it kills: the
 *          "working set" of Kubernetes.
 */
#ifndef FG_PIPELINE_CGROUP_MEMORY_H
#define FG_PIPELINE_CGROUP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_CGROUP_MEMBERSHIP_MAX 8192

/* The text of /proc/self/cgroup; empty where there are no control groups. */
void fg_cgroup_own_membership(char membership[FG_CGROUP_MEMBERSHIP_MAX]);

/* The group's path in it: what follows the hierarchy's number, ':' and `controllers` ("memory:", or
 * ":" for version 2) in its line; empty without such a line. */
void fg_cgroup_find_path(const char *membership, const char *controllers, char *path, size_t bytes);

struct fg_cgroup_memory {
    int used_fd; /* -1: there is no group with a limit */
    int stat_fd;
    const char *cache_key; /* of memory.stat; a constant */
    uint64_t limit_bytes;  /* as it was when found */
};

/*
 * `root` is where control groups are mounted ("/sys/fs/cgroup"), `membership` the text of
 * /proc/self/cgroup. Without any limit, or on a machine without control groups, used_fd is -1.
 */
void fg_cgroup_memory_open(struct fg_cgroup_memory *group, const char *root,
                           const char *membership);
/* The same for this process. */
void fg_cgroup_memory_open_own(struct fg_cgroup_memory *group, const char *root);
void fg_cgroup_memory_close(struct fg_cgroup_memory *group);

/* Bytes that cannot simply be taken back; 0 when they cannot be read. */
uint64_t fg_cgroup_memory_used(const struct fg_cgroup_memory *group);

#endif
