/*
 * children.h: the processes that the supervisor runs: started, watched, restarted.
 * Job      fork, remember, reap, decide when to start again (soon at first, then backing off).
 * Thread   the supervisor's only one.
 * Never    blocks, and never kills by name: only pids it forked itself.
 *
 *    stopped --start--> running --exited, wanted--> waiting (back-off) --due--> running
 *                          |--stop--> stopping --exited--> stopped
 *                          `--exchange--> exchanging --exited--> waiting, due at once
 */
#ifndef FG_SUPERVISOR_CHILDREN_H
#define FG_SUPERVISOR_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum fg_child_role { FG_CHILD_REDIS, FG_CHILD_WORKER, FG_CHILD_FULFIL, FG_CHILD_GATEWAY };

enum fg_child_state {
    FG_CHILD_STOPPED,
    FG_CHILD_RUNNING,
    FG_CHILD_WAITING,
    FG_CHILD_STOPPING,
    FG_CHILD_EXCHANGING, /* asked to end, so that another can take its place */
};

struct fg_child {
    enum fg_child_role role;
    unsigned index; /* among its role */
    enum fg_child_state state;
    pid_t pid; /* 0 unless it runs, or is about to end */
    uint64_t started_ns;
    uint64_t halted_ns;     /* since when SIGSTOP holds it; 0: it does not */
    uint64_t restart_at_ns; /* valid while WAITING */
    uint64_t backoff_ns;
    uint32_t restarts;
    int last_status; /* of waitpid */
};

const char *fg_child_role_name(enum fg_child_role role);

/*
 * Fork. In the child returns 0, with signals at their defaults, the process named after its role,
 * and SIGTERM coming when the parent dies. In the parent returns the pid, or -1 with errno.
 */
pid_t fg_child_fork(struct fg_child *child, uint64_t now_ns);

/* waitpid told of this child. A wanted one goes to WAITING, with restart_at_ns set. */
void fg_child_exited(struct fg_child *child, int status, bool is_wanted, uint64_t now_ns);

/* Ask it to end, for another to be started in its place at once. Only while RUNNING. */
void fg_child_exchange(struct fg_child *child);

/* Ask it to end (SIGTERM). Harmless unless RUNNING or WAITING. */
void fg_child_stop(struct fg_child *child);

/* SIGKILL, for one that hangs or outlived its time. */
void fg_child_kill(struct fg_child *child);

#endif
