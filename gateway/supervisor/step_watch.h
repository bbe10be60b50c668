/*
 * step_watch.h: whether a worker that computes gets on, from what is seen of it now and then.
 * Job      tell a worker that spins or is blocked from one that only has little of a busy machine.
 * Thread   the supervisor's only one; pure but for fg_step_look, which reads /proc.
 * Never    judges by the time on the wall alone: who waits for a processor is not at fault. A step
 *          is done in portions of a millisecond or so, and each is a beat in the worker's record
 *          (kernels/pool_shared.h): what was used since the last one matters.
 *
 *    spins    its computing threads have used more processor time since the last beat than a
 *             portion can need: SPIN_FACTOR times what one of such a step was measured to take,
 *             SPIN_FLOOR_NS at least, and not at a stretch: a machine that stops for a moment, as
 *             a virtual one may, is seen once. The first step of all is not judged
 *    blocked  all its threads sleep, at two looks with no processor time between them, BLOCKED_NS
 *             after the last beat. Who waits for a processor, a page from disk or a debugger does
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
    uint64_t step;        /* number of the step that it computes; 0: none, or it got on just now */
    uint64_t beats;       /* portions that it has done, ever */
    uint64_t expected_ns; /* processor time that a portion needs; 0: not known */
    uint64_t cpu_ns;      /* of its computing threads, now */
    bool is_asleep;       /* no thread runs, wants to run, or waits for a disk */
};

enum fg_step_verdict { FG_STEP_FINE, FG_STEP_SPINS, FG_STEP_BLOCKED };

/* What was seen; zeroed at first, and for a new process. */
struct fg_step_watch {
    struct fg_step_look last;
    uint64_t beat_seen_ns;  /* the first look at the last beat */
    uint64_t beat_cpu_ns;   /* processor time then */
    uint32_t advance_count; /* looks since then that found some more of it used */
};

enum fg_step_verdict fg_step_watch_judge(struct fg_step_watch *watch,
                                         const struct fg_step_look *look, uint64_t now_ns);

/* Processor time that was seen to be used since the last beat. */
uint64_t fg_step_watch_used_ns(const struct fg_step_watch *watch);

/* False when the process cannot be looked at. `record` is the worker's in the arena. */
bool fg_step_look(struct fg_step_look *look, const struct fg_kv_worker_record *record, pid_t pid);

/* "spins", "blocked": constant. */
const char *fg_step_verdict_name(enum fg_step_verdict verdict);

#endif
