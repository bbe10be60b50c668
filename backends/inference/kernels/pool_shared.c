/*
 * pool_shared.c: fork and join with late joiners turned away.
 * Protocol  The owner writes the task fields, then opens `gate` (release). A helper that sees a new
 *           number in the gate joins by a compare-and-swap that counts it in (acquire: it now sees
 *           the task), takes portions from `next` until none is left, and adds one to `finished`
 *           (release). The owner works too, then closes the gate by one fetch-and, which tells how
 *           many joined; nobody can join after it. It waits until as many have finished (acquire).
 *           The task fields are written only while the gate is closed and all who joined are done.
 * Sleep     Helpers look at the gate for SPIN_ROUNDS, then sleep on a condition. The owner opens
 *           the gate before it reads `sleeping`; a sleeper adds itself before it looks again; both
 *           orders are seq_cst, so that one of the two sees the other.
 *
 *    gate: [ task number : 32 | open : 1 | joined : 31 ]
 */
#include "pool_shared.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* About 10 to 20 microseconds: the gap between two phases of a step, far below a sleep and wake. */
#define SPIN_ROUNDS 400

#define GATE_OPEN (UINT64_C(1) << 31)
#define GATE_JOINED(gate) ((uint32_t)((gate) & (GATE_OPEN - 1)))
#define GATE_NUMBER(gate) ((uint32_t)((gate) >> 32))

struct fg_pool {
    unsigned thread_count; /* with the owner */
    struct fg_counter *beats;
    struct fg_counter own_beats; /* where nobody else has a place for them */
    uint32_t task_number;        /* the owner's */

    /* Written by the owner while the gate is closed. */
    fg_pool_task_fn task;
    void *arg;
    size_t item_count;
    size_t grain;

    _Alignas(64) _Atomic uint64_t gate;
    _Alignas(64) _Atomic size_t next;
    _Alignas(64) _Atomic uint32_t finished;
    _Atomic uint32_t sleeping;
    _Atomic bool owner_waits;

    pthread_mutex_t lock;
    pthread_cond_t gate_opened;
    pthread_cond_t task_finished;
    bool is_stopping; /* under lock */
    pthread_t threads[];
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Who waits for this core goes first now, not when the scheduler's slice is over. Alone on a core
 * that is one system call. */
static void end_portion(struct fg_pool *pool)
{
    fg_counter_add(pool->beats, 1);
    sched_yield();
}

static void take_portions(struct fg_pool *pool)
{
    size_t item_count = pool->item_count, grain = pool->grain;
    for (;;) {
        size_t first = atomic_fetch_add_explicit(&pool->next, grain, memory_order_relaxed);
        if (first >= item_count)
            return;
        size_t end = item_count - first < grain ? item_count : first + grain;
        pool->task(pool->arg, first, end);
        end_portion(pool);
    }
}

static void run_alone(struct fg_pool *pool, fg_pool_task_fn task, void *arg, size_t item_count,
                      size_t grain)
{
    for (size_t first = 0; first < item_count;) {
        size_t end = item_count - first < grain ? item_count : first + grain;
        task(arg, first, end);
        end_portion(pool);
        first = end;
    }
}

/* Joins the open task with a number other than `seen`; false when there is none. */
static bool try_join(struct fg_pool *pool, uint32_t seen, uint32_t *number)
{
    uint64_t gate = atomic_load(&pool->gate);
    while ((gate & GATE_OPEN) != 0 && GATE_NUMBER(gate) != seen) {
        if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
            *number = GATE_NUMBER(gate);
            return true;
        }
    }
    return false;
}

/* True with a task joined, false when the pool stops. */
static bool wait_for_task(struct fg_pool *pool, uint32_t *number)
{
    uint32_t seen = *number;
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (try_join(pool, seen, number))
            return true;
        relax();
    }
    bool has_joined = false;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while (!pool->is_stopping && !(has_joined = try_join(pool, seen, number)))
        pthread_cond_wait(&pool->gate_opened, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
    return has_joined;
}

static void *run_helper(void *arg)
{
    struct fg_pool *pool = arg;
    uint32_t number = 0;
    (void)prctl(PR_SET_NAME, FG_POOL_THREAD_NAME);
    while (wait_for_task(pool, &number)) {
        take_portions(pool);
        atomic_fetch_add(&pool->finished, 1);
        if (atomic_load(&pool->owner_waits)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->task_finished);
            pthread_mutex_unlock(&pool->lock);
        }
    }
    return NULL;
}

static void wait_for_helpers(struct fg_pool *pool, uint32_t joined)
{
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (atomic_load(&pool->finished) == joined)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->owner_waits, true);
    while (atomic_load(&pool->finished) != joined)
        pthread_cond_wait(&pool->task_finished, &pool->lock);
    atomic_store(&pool->owner_waits, false);
    pthread_mutex_unlock(&pool->lock);
}

void fg_pool_run(struct fg_pool *pool, fg_pool_task_fn task, void *arg, size_t item_count,
                 size_t grain)
{
    assert(grain >= 1);
    if (item_count == 0)
        return;
    if (pool->thread_count == 1 || item_count <= grain) {
        run_alone(pool, task, arg, item_count, grain);
        return;
    }
    pool->task = task;
    pool->arg = arg;
    pool->item_count = item_count;
    pool->grain = grain;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    if (++pool->task_number == 0)
        pool->task_number = 1; /* 0 is what a helper has seen at first */
    atomic_store(&pool->gate, ((uint64_t)pool->task_number << 32) | GATE_OPEN);
    if (atomic_load(&pool->sleeping) != 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->gate_opened);
        pthread_mutex_unlock(&pool->lock);
    }
    take_portions(pool);
    uint64_t closed = atomic_fetch_and(&pool->gate, ~GATE_OPEN);
    wait_for_helpers(pool, GATE_JOINED(closed));
}

static bool start_helpers(struct fg_pool *pool, unsigned wanted)
{
    /* Signals are for the thread that owns the process's loop, never for a helper. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 1; i < wanted; i++) {
        if (pthread_create(&pool->threads[i - 1], NULL, run_helper, pool) != 0)
            break;
        pool->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->thread_count == wanted;
}

struct fg_pool *fg_pool_create(unsigned thread_count)
{
    assert(thread_count >= 1);
    size_t bytes = sizeof(struct fg_pool) + (thread_count - 1) * sizeof(pthread_t);
    struct fg_pool *pool = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (pool == NULL)
        return NULL;
    *pool = (struct fg_pool){.thread_count = 1};
    pool->beats = &pool->own_beats;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->gate_opened, NULL);
    pthread_cond_init(&pool->task_finished, NULL);
    if (!start_helpers(pool, thread_count)) {
        fg_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void fg_pool_destroy(struct fg_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->gate_opened);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 1; i < pool->thread_count; i++)
        pthread_join(pool->threads[i - 1], NULL);
    pthread_cond_destroy(&pool->task_finished);
    pthread_cond_destroy(&pool->gate_opened);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void fg_pool_set_beats(struct fg_pool *pool, struct fg_counter *beats)
{
    pool->beats = beats;
}

unsigned fg_pool_thread_count(const struct fg_pool *pool)
{
    return pool->thread_count;
}
