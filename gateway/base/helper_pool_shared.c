/*
 * helper_pool_shared.c: three bounded FIFOs of jobs under one mutex, threads that sleep on a
 * condition each. A thread serves one of them alone.
 */
#include "helper_pool_shared.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LOOKUP_THREADS 2u
#define LONG_THREADS 1u
#define LONG_NICE 10 /* a tenth of what a loop gets that wants the same core */

struct lane {
    struct fg_helper_pool *pool;
    pthread_cond_t work_waits;
    struct fg_helper_job *first;
    struct fg_helper_job *last;
    unsigned waiting;
    int nice; /* above that of the process */
};

struct fg_helper_pool {
    pthread_mutex_t lock;
    struct lane work;
    struct lane lookups;
    struct lane long_work;
    unsigned jobs_max; /* that wait in a lane */
    bool is_stopping;
    unsigned thread_count;
    pthread_t threads[];
};

static struct fg_helper_job *take(struct lane *lane)
{
    struct fg_helper_pool *pool = lane->pool;
    pthread_mutex_lock(&pool->lock);
    while (lane->first == NULL && !pool->is_stopping)
        pthread_cond_wait(&lane->work_waits, &pool->lock);
    struct fg_helper_job *job = lane->first; /* when stopping too: their replies free memory */
    if (job != NULL) {
        lane->first = job->next;
        lane->waiting--;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *run_helper(void *arg)
{
    struct lane *lane = arg;
    struct fg_helper_job *job;
    if (lane->nice > 0) /* on Linux this is the thread's alone, and anybody may raise it */
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + lane->nice);
    while ((job = take(lane)) != NULL) {
        job->work(job);
        fg_mailbox_post(job->reply_to, &job->message);
    }
    return NULL;
}

static void open_lane(struct lane *lane, struct fg_helper_pool *pool)
{
    lane->pool = pool;
    pthread_cond_init(&lane->work_waits, NULL);
}

struct fg_helper_pool *fg_helper_pool_create(unsigned work_threads, unsigned jobs_max)
{
    unsigned thread_count = work_threads + LOOKUP_THREADS + LONG_THREADS;
    struct fg_helper_pool *pool =
        calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    if (pool == NULL)
        return NULL;
    pool->jobs_max = jobs_max;
    pthread_mutex_init(&pool->lock, NULL);
    open_lane(&pool->work, pool);
    open_lane(&pool->lookups, pool);
    open_lane(&pool->long_work, pool);
    pool->long_work.nice = LONG_NICE;
    /* Signals are for the thread that runs the process's loop, never for a helper. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < thread_count; i++) {
        struct lane *lane = i < work_threads                    ? &pool->work
                            : i < work_threads + LOOKUP_THREADS ? &pool->lookups
                                                                : &pool->long_work;
        if (pthread_create(&pool->threads[i], NULL, run_helper, lane) != 0)
            break;
        pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->thread_count < thread_count) {
        fg_helper_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void fg_helper_pool_destroy(struct fg_helper_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->work.work_waits);
    pthread_cond_broadcast(&pool->lookups.work_waits);
    pthread_cond_broadcast(&pool->long_work.work_waits);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work.work_waits);
    pthread_cond_destroy(&pool->lookups.work_waits);
    pthread_cond_destroy(&pool->long_work.work_waits);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static enum fg_status submit(struct lane *lane, struct fg_helper_job *job)
{
    struct fg_helper_pool *pool = lane->pool;
    enum fg_status status = FG_ERR_BUSY;
    pthread_mutex_lock(&pool->lock);
    if (lane->waiting < pool->jobs_max && !pool->is_stopping) {
        job->next = NULL;
        if (lane->first == NULL)
            lane->first = job;
        else
            lane->last->next = job;
        lane->last = job;
        lane->waiting++;
        status = FG_OK;
        pthread_cond_signal(&lane->work_waits);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

enum fg_status fg_helper_pool_try_submit(struct fg_helper_pool *pool, struct fg_helper_job *job)
{
    return submit(&pool->work, job);
}

enum fg_status fg_helper_pool_try_look_up(struct fg_helper_pool *pool, struct fg_helper_job *job)
{
    return submit(&pool->lookups, job);
}

unsigned fg_helper_pool_jobs_max(const struct fg_helper_pool *pool)
{
    return pool->jobs_max;
}

enum fg_status fg_helper_pool_try_long(struct fg_helper_pool *pool, struct fg_helper_job *job)
{
    return submit(&pool->long_work, job);
}
