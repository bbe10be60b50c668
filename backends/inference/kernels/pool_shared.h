/*
 * pool_shared.h: threads that share out the items of one task at a time and sleep between tasks.
 * Thread   one owner creates, runs and destroys; the helpers belong to the pool.
 * Beats    each thread counts every portion that it has done, so that whoever watches can tell a
 *          pool that hangs from one that has little of the machine.
 * Never    makes the owner wait for a helper that has not started: one that wakes too late finds
 *          the task closed. With thread_count 1 no threads, locks or atomics are in play.
 * Protocol see pool_shared.c.
 */
#ifndef FG_INFERENCE_POOL_SHARED_H
#define FG_INFERENCE_POOL_SHARED_H

#include "base/counters_shared.h"

#include <stddef.h>

/* The name of the helpers, as /proc shows it. */
#define FG_POOL_THREAD_NAME "fg-compute"

struct fg_pool;

/* Work on items first .. end - 1. Runs on several threads at once, for items that do not overlap.
 */
typedef void (*fg_pool_task_fn)(void *arg, size_t first, size_t end);

/* `thread_count` >= 1 counts the owner. NULL when threads or memory are short. */
struct fg_pool *fg_pool_create(unsigned thread_count);
void fg_pool_destroy(struct fg_pool *pool);

/* Count beats here from now on; between runs only. Outlives the pool. */
void fg_pool_set_beats(struct fg_pool *pool, struct fg_counter *beats);

/*
 * Run `task` over item_count items in portions of `grain` (>= 1) items; returns when all are done
 * and everything the helpers wrote is visible. With one thread or one portion the caller runs all.
 */
void fg_pool_run(struct fg_pool *pool, fg_pool_task_fn task, void *arg, size_t item_count,
                 size_t grain);

unsigned fg_pool_thread_count(const struct fg_pool *pool);

#endif
