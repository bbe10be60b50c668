/*
 * step_watch.h: whether a worker that computes gets on, from what is seen of it now and then.
 * Job      tell a worker that spins or is blocked from one that only has little of a busy machine.
 * Thread   the supervisor's only one; pure but for fg_step_look, which reads /proc.
 * Never    judges by the time on the wall alone: a worker that waits for a processor is not at
 *          fault. Nor by a heartbeat: what beats need not get on.
 *
 *    spins    its first thread has used more processor time since the step began than it can need:
 *             SPIN_FACTOR times what steps of that size have been measured to take, SPIN_FLOOR_NS
 *             at least (scheduler/step_bound.h); a step of a size never seen is not judged
 *    blocked  all its threads sleep, at two looks at the same step with no processor time between
 *             them, BLOCKED_NS after it began. Who waits for a processor or a page from disk does
 *             not look like that; and a step takes no lock of the arena.
 */
#ifndef FG_SUPERVISOR_STEP_WATCH_H
#define FG_SUPERVISOR_STEP_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fg_kv_worker_record;

/* One look at a worker. */
struct fg_step_look {
    uint64_t step; /* number of the step that it computes; 0: none */
    uint64_t began_ns;
    uint64_t began_cpu_ns; /* processor time of its first thread then */
    uint64_t expected_ns;  /* processor time that the step needs; 0: not known */
    uint64_t cpu_ns;       /* of its first thread, now */
    bool is_asleep;        /* no thread runs, wants to run, or waits for a disk */
};

enum fg_step_verdict { FG_STEP_FINE, FG_STEP_SPINS, FG_STEP_BLOCKED };

/* What was seen last; zeroed at first, and for a new process. */
struct fg_step_watch {
    struct fg_step_look last;
};

enum fg_step_verdict fg_step_watch_judge(struct fg_step_watch *watch,
                                         const struct fg_step_look *look, uint64_t now_ns);

/* False when the process cannot be looked at. `record` is the worker's in the arena. */
bool fg_step_look(struct fg_step_look *look, const struct fg_kv_worker_record *record, pid_t pid);

/* "spins", "blocked": constant. */
const char *fg_step_verdict_name(enum fg_step_verdict verdict);

#endif
