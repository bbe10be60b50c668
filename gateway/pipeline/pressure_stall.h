/*
 * pressure_stall.h: for what share of the time work stood still for want of CPU, memory or disk, as
 * the kernel measures it.
 * Job      find the files of the process's control group, or the machine's; read them.
 * Thread   one at a time; reads files, so never a loop that serves clients.
 * Memory   the caller's; three descriptors.
 * Source   Documentation/accounting/psi.rst: avg10, a mean over ten seconds. Of CPU `some` (part of
 *          the work waited for a core), of memory and disk `full` (all of it stood still), which is
 *          what the machine as a whole loses.
 */
#ifndef FG_PIPELINE_PRESSURE_STALL_H
#define FG_PIPELINE_PRESSURE_STALL_H

#include <stdint.h>

enum fg_stall { FG_STALL_CPU, FG_STALL_MEMORY, FG_STALL_IO, FG_STALL_COUNT };

/* Standing still all of the time. */
#define FG_STALL_ALWAYS UINT64_C(10000)

struct fg_pressure_stall {
    int fds[FG_STALL_COUNT]; /* -1: the kernel does not say */
};

/*
 * `root` is where control groups are mounted, `membership` the text of /proc/self/cgroup; each
 * group from the process's own up to the root is tried, then `machine` ("/proc/pressure").
 */
void fg_pressure_stall_open(struct fg_pressure_stall *stall, const char *root,
                            const char *membership, const char *machine);
/* The same for this process and machine. */
void fg_pressure_stall_open_own(struct fg_pressure_stall *stall, const char *root);
void fg_pressure_stall_close(struct fg_pressure_stall *stall);

/* 0 to FG_STALL_ALWAYS; 0 when it cannot be read. */
uint64_t fg_pressure_stall_read(const struct fg_pressure_stall *stall, enum fg_stall kind);

#endif
