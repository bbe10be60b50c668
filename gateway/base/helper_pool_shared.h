/*
 * helper_pool_shared.h: a few threads for work that would hold up an event loop: file reads. What
 * may take seconds has threads of its own and leaves those to the rest: two for name lookups,
 * half a minute each when DNS is down, and one for compression of what is large, which gives way
 * to loops: it would else take half of a core that one of them wants.
 * Protocol  loops submit under the mutex; a helper runs `work`, then posts `done` to the loop's
 *           mailbox. The job belongs to the helper from submit until done runs.
 * Memory    intrusive jobs; at most `jobs_max` wait, one more is refused (FG_ERR_BUSY).
 */
#ifndef FG_BASE_HELPER_POOL_SHARED_H
#define FG_BASE_HELPER_POOL_SHARED_H

#include "mailbox_shared.h"

struct fg_helper_job;
typedef void (*fg_helper_work_fn)(struct fg_helper_job *job);

struct fg_helper_job {
    struct fg_message message; /* message.run is `done`: runs on the loop that owns `reply_to` */
    struct fg_helper_job *next;
    fg_helper_work_fn work; /* on a helper thread; may block */
    struct fg_mailbox *reply_to;
};

struct fg_helper_pool;

/* `work_threads` besides those for what may take long. NULL when threads or memory are short. */
struct fg_helper_pool *fg_helper_pool_create(unsigned work_threads, unsigned jobs_max);

/* Refuses new jobs, finishes the submitted ones (at most jobs_max) and joins the threads. Their
 * replies are in the mailboxes then, which the loops must still drain. NULL is fine. */
void fg_helper_pool_destroy(struct fg_helper_pool *pool);

/* A constant. */
unsigned fg_helper_pool_jobs_max(const struct fg_helper_pool *pool);

/* Any thread. FG_ERR_BUSY when jobs_max wait already: the job is still the caller's. */
FG_MUST_USE enum fg_status fg_helper_pool_try_submit(struct fg_helper_pool *pool,
                                                     struct fg_helper_job *job);
/* The same for a job that may wait for DNS. */
FG_MUST_USE enum fg_status fg_helper_pool_try_look_up(struct fg_helper_pool *pool,
                                                      struct fg_helper_job *job);
/* For one that may take long without waiting for anything: one at a time. */
FG_MUST_USE enum fg_status fg_helper_pool_try_long(struct fg_helper_pool *pool,
                                                   struct fg_helper_job *job);

#endif
