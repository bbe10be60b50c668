/*
 * worker_watch.h: what the supervisor does about inference workers beyond starting them: tells the
 * arena that one is dead, kills one that is stopped or hangs, and exchanges them one by one.
 * Thread   the supervisor's only one.
 * Never    waits for the arena's mutex: its holder may be stopped, and only we would see that.
 *          Never calls a worker dead whose process has not been reaped: it could still write.
 *
 *    SIGKILL, crash --SIGCHLD, reaped--> its sequences are orphans, others adopt them
 *    SIGSTOP --SIGCHLD, for HALT_NS--> killed --> as above
 *    computes, and does not get on (step_watch.h) --> killed --> as above
 *    no sign of life, with worker_hang of time for one (life_watch.h) --> killed --> as above
 *    exchange --> one asked to end (it hands over what runs), the next one when its successor
 * serves
 */
#ifndef FG_SUPERVISOR_WORKER_WATCH_H
#define FG_SUPERVISOR_WORKER_WATCH_H

#include "inference/inference_conf.h"
#include "supervisor/children.h"
#include "supervisor/life_watch.h"
#include "supervisor/step_watch.h"
#include "supervisor/worker_program.h"

#include <stddef.h>

struct fg_kv_arena;

struct fg_worker_watch {
    struct fg_child *workers; /* (worker_count), by index; the supervisor's */
    size_t worker_count;
    struct fg_kv_arena *arena;            /* NULL: no inference, and nothing to do */
    const struct fg_inference_conf *conf; /* the one in force */
    uint64_t dead;     /* bit by index: reaped, and the arena does not know yet */
    uint64_t replaced; /* bit by index: runs the new file of the program */
    uint64_t stuck;    /* bit by index: killed because it did not get on */
    uint64_t killed;   /* bit by index: may take its time to die */
    struct fg_worker_program program;
    struct fg_step_watch *steps; /* (worker_count); NULL: they are not watched */
    struct fg_life_watch *lives; /* the same */
    uint32_t exchange_next;      /* the next to be exchanged; worker_count: none */
};

/* Whether one was stopped or goes on (waitpid with WUNTRACED and WCONTINUED). */
void fg_worker_watch_on_change(struct fg_worker_watch *watch, struct fg_child *child, int status,
                               uint64_t now_ns);
/* Before it is forked: decides which program it will run. */
void fg_worker_watch_on_start(struct fg_worker_watch *watch, const struct fg_child *child);
bool fg_worker_watch_is_replaced(const struct fg_worker_watch *watch, const struct fg_child *child);
/* It was reaped; `pid` was its. */
void fg_worker_watch_on_exit(struct fg_worker_watch *watch, const struct fg_child *child, pid_t pid,
                             uint64_t now_ns);

/* Let new processes, with the configuration and the program that are there now, take over. */
void fg_worker_watch_exchange(struct fg_worker_watch *watch);

/* How many of the exchange that was last begun are asked to end or have been replaced. */
uint32_t fg_worker_watch_exchanged(const struct fg_worker_watch *watch);
/* Whether all workers serve, and none is left to be exchanged. */
bool fg_worker_watch_is_settled(const struct fg_worker_watch *watch);

/* What is due. Returns after how many milliseconds at most it wants to be called again. */
int fg_worker_watch_tick(struct fg_worker_watch *watch, uint64_t now_ns);

#endif
