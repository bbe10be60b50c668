/*
 * children.c: fork and its aftermath.
 */
#include "children.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (20 * FG_MS) /* a killed worker is back within a second */
#define BACKOFF_MAX_NS (5 * FG_S)
#define STABLE_NS (10 * FG_S) /* ran this long: the next restart is quick again */

const char *fg_child_role_name(enum fg_child_role role)
{
    static const char *const names[] = {
        [FG_CHILD_REDIS] = "redis",
        [FG_CHILD_WORKER] = "worker",
        [FG_CHILD_FULFIL] = "fulfil",
        [FG_CHILD_GATEWAY] = "gateway",
    };
    return names[role];
}

static void become_child(const struct fg_child *child, pid_t parent)
{
    char name[16];
    sigset_t none;
    snprintf(name, sizeof(name), "fg-%s-%u", fg_child_role_name(child->role), child->index);
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM); /* it died before prctl could tell us; still blocked, so seen below */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t fg_child_fork(struct fg_child *child, uint64_t now_ns)
{
    assert(child->pid == 0);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become_child(child, parent);
        return 0;
    }
    if (pid == -1)
        return -1;
    child->pid = pid;
    child->state = FG_CHILD_RUNNING;
    child->started_ns = now_ns;
    child->halted_ns = 0;
    fg_log(FG_LOG_INFO, "child_started", "role=%s index=%u pid=%d restarts=%u",
           fg_child_role_name(child->role), child->index, (int)pid, child->restarts);
    return pid;
}

static void log_exit(const struct fg_child *child, int status, bool is_wanted)
{
    enum fg_log_level level = is_wanted ? FG_LOG_WARN : FG_LOG_INFO;
    if (WIFSIGNALED(status))
        fg_log(level, "child_killed", "role=%s index=%u pid=%d signal=%d",
               fg_child_role_name(child->role), child->index, (int)child->pid, WTERMSIG(status));
    else
        fg_log(level, "child_exited", "role=%s index=%u pid=%d code=%d",
               fg_child_role_name(child->role), child->index, (int)child->pid, WEXITSTATUS(status));
}

void fg_child_exited(struct fg_child *child, int status, bool is_wanted, uint64_t now_ns)
{
    bool was_stopping = child->state == FG_CHILD_STOPPING;
    bool was_exchanging = child->state == FG_CHILD_EXCHANGING;
    log_exit(child, status, is_wanted && !was_stopping && !was_exchanging);
    child->pid = 0;
    child->halted_ns = 0;
    child->last_status = status;
    if (!is_wanted || was_stopping) {
        child->state = FG_CHILD_STOPPED;
        return;
    }
    if (was_exchanging) {
        child->restart_at_ns = now_ns;
        child->state = FG_CHILD_WAITING;
        return;
    }
    if (now_ns - child->started_ns >= STABLE_NS || child->backoff_ns == 0)
        child->backoff_ns = BACKOFF_FIRST_NS;
    else
        child->backoff_ns =
            child->backoff_ns * 3 > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : child->backoff_ns * 3;
    child->restart_at_ns = now_ns + child->backoff_ns;
    child->restarts++;
    child->state = FG_CHILD_WAITING;
}

void fg_child_exchange(struct fg_child *child)
{
    assert(child->state == FG_CHILD_RUNNING);
    kill(child->pid, SIGTERM);
    child->state = FG_CHILD_EXCHANGING;
}

void fg_child_stop(struct fg_child *child)
{
    if (child->state == FG_CHILD_EXCHANGING) {
        child->state = FG_CHILD_STOPPING;
    } else if (child->state == FG_CHILD_RUNNING) {
        kill(child->pid, SIGTERM);
        child->state = FG_CHILD_STOPPING;
    } else if (child->state == FG_CHILD_WAITING) {
        child->state = FG_CHILD_STOPPED;
    }
}

void fg_child_kill(struct fg_child *child)
{
    if (child->pid != 0)
        kill(child->pid, SIGKILL);
}
