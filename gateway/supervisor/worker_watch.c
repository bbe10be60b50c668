/*
 * worker_watch.c: see worker_watch.h.
 */
#include "supervisor/worker_watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "inference/kv/kv_arena_shared.h"

#include <assert.h>
#include <signal.h>
#include <sys/wait.h>

#define NOBODY_MS 5000 /* there are no workers to watch */
#define IDLE_MS 100
#define BUSY_MS 25 /* while one of them has sequences */
#define SOON_MS 5
/* A stop that lasts is a hang; one that a shell's job control ends at once is not. */
#define HALT_NS (50 * FG_MS)

_Static_assert(FG_KV_WORKERS_MAX <= 64, "a bit for each worker");

static uint64_t bit_of(const struct fg_child *child)
{
    return UINT64_C(1) << child->index;
}

void fg_worker_watch_on_change(struct fg_worker_watch *watch, struct fg_child *child, int status,
                               uint64_t now_ns)
{
    if (watch->arena == NULL)
        return;
    child->halted_ns = WIFSTOPPED(status) ? now_ns : 0;
}

static void bury(struct fg_worker_watch *watch, uint64_t now_ns)
{
    for (size_t i = 0; i < watch->worker_count; i++) {
        const struct fg_child *child = &watch->workers[i];
        if ((watch->dead & bit_of(child)) == 0)
            continue;
        if (child->pid != 0 || fg_kv_arena_try_orphan_worker(watch->arena, child->index,
                                                             now_ns + watch->conf->orphan_keep_ns))
            watch->dead &= ~bit_of(child); /* a successor tells the arena by itself */
    }
}

void fg_worker_watch_on_start(struct fg_worker_watch *watch, const struct fg_child *child)
{
    watch->replaced &= ~bit_of(child);
    if (watch->steps != NULL)
        watch->steps[child->index] = (struct fg_step_watch){0};
    if (watch->lives != NULL)
        watch->lives[child->index] = (struct fg_life_watch){0};
    if (fg_worker_program_is_new(&watch->program))
        watch->replaced |= bit_of(child);
}

bool fg_worker_watch_is_replaced(const struct fg_worker_watch *watch, const struct fg_child *child)
{
    return (watch->replaced & bit_of(child)) != 0;
}

/* Whether the process has told the arena that it is the one. */
static bool is_serving(const struct fg_worker_watch *watch, const struct fg_child *child, pid_t pid)
{
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(watch->arena, child->index);
    return pid != 0 && fg_counter_get(&record->pid) == (uint64_t)pid;
}

/* Whether it ended by itself, or had to be, for what it did: somebody else's kill is no sign. */
static bool has_crashed(const struct fg_worker_watch *watch, const struct fg_child *child)
{
    int status = child->last_status;
    if ((watch->stuck & bit_of(child)) != 0)
        return true;
    if (WIFEXITED(status))
        return WEXITSTATUS(status) != 0;
    return WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM;
}

void fg_worker_watch_on_exit(struct fg_worker_watch *watch, const struct fg_child *child, pid_t pid,
                             uint64_t now_ns)
{
    if (watch->arena == NULL)
        return;
    fg_counter_set(&fg_kv_arena_worker(watch->arena, child->index)->crashed,
                   has_crashed(watch, child));
    watch->stuck &= ~bit_of(child);
    watch->killed &= ~bit_of(child);
    if (fg_worker_watch_is_replaced(watch, child) && !is_serving(watch, child, pid))
        fg_worker_program_refuse(&watch->program);
    watch->dead |= bit_of(child);
    bury(watch, now_ns);
}

static bool is_halted(const struct fg_child *child, uint64_t now_ns)
{
    return child->halted_ns != 0 && now_ns - child->halted_ns >= HALT_NS;
}

/* Whether it computes and does not get on. */
static enum fg_step_verdict judge_step(struct fg_worker_watch *watch, const struct fg_child *child,
                                       uint64_t now_ns)
{
    struct fg_step_look look;
    const struct fg_kv_worker_record *record = fg_kv_arena_worker(watch->arena, child->index);
    if (watch->steps == NULL || !is_serving(watch, child, child->pid) ||
        !fg_step_look(&look, record, child->pid))
        return FG_STEP_FINE;
    return fg_step_watch_judge(&watch->steps[child->index], &look, now_ns);
}

/* Whether it, or one of its helpers, gives no sign of life for too long. */
static enum fg_life_verdict judge_life(struct fg_worker_watch *watch, const struct fg_child *child,
                                       uint64_t now_ns)
{
    if (watch->lives == NULL || watch->conf->worker_hang_ns == 0 ||
        child->state != FG_CHILD_RUNNING || !is_serving(watch, child, child->pid))
        return FG_LIFE_FINE;
    return fg_life_watch_worker(&watch->lives[child->index], watch->arena, child->index,
                                watch->conf->worker_hang_ns, now_ns);
}

/* Why it has to go; NULL: it does not. */
static const char *fault_of(struct fg_worker_watch *watch, const struct fg_child *child,
                            uint64_t now_ns)
{
    if (is_halted(child, now_ns))
        return "stopped";
    enum fg_step_verdict verdict = judge_step(watch, child, now_ns);
    if (verdict != FG_STEP_FINE)
        return fg_step_verdict_name(verdict);
    enum fg_life_verdict life = judge_life(watch, child, now_ns);
    return life != FG_LIFE_FINE ? fg_life_verdict_name(life) : NULL;
}

static void kill_hung(struct fg_worker_watch *watch, uint64_t now_ns)
{
    for (size_t i = 0; i < watch->worker_count; i++) {
        struct fg_child *child = &watch->workers[i];
        bool is_watched = child->pid != 0 && (watch->killed & bit_of(child)) == 0;
        const char *fault = is_watched ? fault_of(watch, child, now_ns) : NULL;
        if (fault == NULL)
            continue;
        uint64_t used_ns =
            watch->steps != NULL ? fg_step_watch_used_ns(&watch->steps[child->index]) : 0;
        fg_log(FG_LOG_WARN, "worker_hangs", "index=%u pid=%d reason=%s cpu_ms=%llu", child->index,
               (int)child->pid, fault, (unsigned long long)(used_ns / FG_MS));
        if (!is_halted(child, now_ns))
            watch->stuck |= bit_of(child);
        child->halted_ns = 0;
        watch->killed |= bit_of(child);
        fg_child_kill(child);
    }
}

void fg_worker_watch_exchange(struct fg_worker_watch *watch)
{
    if (watch->arena != NULL)
        watch->exchange_next = 0;
}

static bool all_serve(const struct fg_worker_watch *watch)
{
    for (size_t i = 0; i < watch->worker_count; i++) {
        const struct fg_child *child = &watch->workers[i];
        if (child->state != FG_CHILD_RUNNING || !is_serving(watch, child, child->pid))
            return false;
    }
    return true;
}

uint32_t fg_worker_watch_exchanged(const struct fg_worker_watch *watch)
{
    return watch->arena == NULL ? 0 : watch->exchange_next;
}

bool fg_worker_watch_is_settled(const struct fg_worker_watch *watch)
{
    return watch->arena == NULL ||
           (watch->exchange_next >= watch->worker_count && all_serve(watch));
}

/* The next one, once all the others serve: there is always one to hand over to, if there are two.
 */
static void exchange(struct fg_worker_watch *watch)
{
    if (watch->exchange_next >= watch->worker_count || !all_serve(watch))
        return;
    struct fg_child *child = &watch->workers[watch->exchange_next++];
    fg_log(FG_LOG_INFO, "worker_exchange", "index=%u pid=%d", child->index, (int)child->pid);
    fg_child_exchange(child);
}

static bool is_any_running(const struct fg_worker_watch *watch)
{
    for (size_t i = 0; i < watch->worker_count; i++) {
        const struct fg_kv_worker_record *record =
            fg_kv_arena_worker(watch->arena, watch->workers[i].index);
        assert(record != NULL);
        if (fg_counter_get(&record->running) > 0)
            return true;
    }
    return false;
}

int fg_worker_watch_tick(struct fg_worker_watch *watch, uint64_t now_ns)
{
    if (watch->arena == NULL)
        return NOBODY_MS;
    kill_hung(watch, now_ns);
    bury(watch, now_ns);
    exchange(watch);
    bool is_soon = watch->dead != 0 || watch->exchange_next < watch->worker_count;
    for (size_t i = 0; i < watch->worker_count; i++)
        is_soon |= watch->workers[i].halted_ns != 0;
    return is_soon ? SOON_MS : is_any_running(watch) ? BUSY_MS : IDLE_MS;
}
