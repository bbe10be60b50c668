/*
 * process_look.h: what the threads of a worker have used of the processors, and whether they sleep.
 * Thread   the supervisor's only one.
 * Never    blocks, or believes a process that it cannot see.
 * Source   proc_pid_stat(5); schedstat: Documentation/scheduler/sched-stats.rst.
 *
 *    computing   the first thread and those that it shares a step out to (kernels/pool_shared.h)
 *    helpers     all others: they prepare prompts
 */
#ifndef FG_SUPERVISOR_PROCESS_LOOK_H
#define FG_SUPERVISOR_PROCESS_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fg_threads_look {
    uint64_t cpu_ns; /* that they have used, ever */
    bool is_asleep;  /* none runs, wants to, is stopped, or waits for a disk or a debugger */
};

struct fg_process_look {
    struct fg_threads_look computing;
    struct fg_threads_look helpers;
};

/* False when the process cannot be looked at. */
bool fg_process_look(struct fg_process_look *look, pid_t pid);

#endif
