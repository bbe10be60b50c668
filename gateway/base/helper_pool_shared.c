/*
 * helper_pool_shared.c: a bounded FIFO of jobs under one mutex, threads that sleep on a condition.
 */
#include "helper_pool_shared.h"

#include <signal.h>
#include <stdlib.h>

struct fg_helper_pool {
    pthread_mutex_t lock;
    pthread_cond_t work_waits;
    struct fg_helper_job *first;
    struct fg_helper_job *last;
    unsigned waiting;
    unsigned jobs_max;
    bool is_stopping;
    unsigned thread_count;
    pthread_t threads[];
};

static struct fg_helper_job *take(struct fg_helper_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->first == NULL && !pool->is_stopping)
        pthread_cond_wait(&pool->work_waits, &pool->lock);
    struct fg_helper_job *job = pool->first; /* when stopping too: their replies free memory */
    if (job != NULL) {
        pool->first = job->next;
        pool->waiting--;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *run_helper(void *arg)
{
    struct fg_helper_pool *pool = arg;
    struct fg_helper_job *job;
    while ((job = take(pool)) != NULL) {
        job->work(job);
        fg_mailbox_post(job->reply_to, &job->message);
    }
    return NULL;
}

struct fg_helper_pool *fg_helper_pool_create(unsigned thread_count, unsigned jobs_max)
{
    struct fg_helper_pool *pool =
        calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    if (pool == NULL)
        return NULL;
    pool->jobs_max = jobs_max;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_waits, NULL);
    /* Signals are for the thread that runs the process's loop, never for a helper. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < thread_count; i++) {
        if (pthread_create(&pool->threads[i], NULL, run_helper, pool) != 0)
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
    pthread_cond_broadcast(&pool->work_waits);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work_waits);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

enum fg_status fg_helper_pool_try_submit(struct fg_helper_pool *pool, struct fg_helper_job *job)
{
    enum fg_status status = FG_ERR_BUSY;
    pthread_mutex_lock(&pool->lock);
    if (pool->waiting < pool->jobs_max && !pool->is_stopping) {
        job->next = NULL;
        if (pool->first == NULL)
            pool->first = job;
        else
            pool->last->next = job;
        pool->last = job;
        pool->waiting++;
        status = FG_OK;
        pthread_cond_signal(&pool->work_waits);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}
