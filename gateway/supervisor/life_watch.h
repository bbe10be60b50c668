/*
 * life_watch.h: whether a worker that gives no sign of life hangs, or has none of the machine.
 * Job      two questions: of the worker as a whole, whose heartbeat and portions of steps are its
 *          signs; and of each prompt that its helpers prepare, whose end is the only sign.
 * Thread   the supervisor's only one; pure but for fg_life_watch_worker, which looks at /proc.
 * Never    judges by the time on the wall: what counts is time that the threads had and made
 *          nothing of. Who waits for a processor, a disk or a debugger had none; nor had a machine
 *          that stopped as a whole, of which no more than LOOK_MAX_NS is seen between two looks.
 *
 *    had, between two looks    processor time that was used; or all of it, asleep at both with
 *                              none used, unless another worker holds the arena's mutex
 *    silent                    the worker had more than the limit since its last sign
 *    prepares                  its helpers had, since one was seen to begin with the same prompt
 */
#ifndef FG_SUPERVISOR_LIFE_WATCH_H
#define FG_SUPERVISOR_LIFE_WATCH_H

#include "inference/kv/kv_arena_shared.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One look at some threads. */
struct fg_life_look {
    uint64_t sign;   /* another number is a sign of life */
    uint64_t cpu_ns; /* that they have used, ever */
    bool is_asleep;  /* all of them, and for no other's fault */
};

/* What was seen; zeroed at first. */
struct fg_life {
    uint64_t looked_ns; /* 0: never */
    struct fg_life_look last;
    uint64_t had_ns; /* since the sign */
};

/* Whether they have had more than `limit_ns` since their last sign. */
bool fg_life_judge(struct fg_life *life, const struct fg_life_look *look, uint64_t limit_ns,
                   uint64_t now_ns);

enum fg_life_verdict { FG_LIFE_FINE, FG_LIFE_SILENT, FG_LIFE_PREPARES };

/* Of one worker; zeroed at first, and for a new process. */
struct fg_life_watch {
    struct fg_life worker;
    struct fg_life prepares[FG_KV_PREPARING_MAX];
};

/* Of the process that serves as the arena's worker by now. */
enum fg_life_verdict fg_life_watch_worker(struct fg_life_watch *watch, struct fg_kv_arena *arena,
                                          uint32_t worker_index, uint64_t limit_ns,
                                          uint64_t now_ns);

/* "silent", "prepares": constant. */
const char *fg_life_verdict_name(enum fg_life_verdict verdict);

#endif
