/*
 * pending.c: attempts of one loop for which no connection is left in the cluster.
 * Job      keep them, the most important first; place them when a connection comes free, on this
 *          loop or another; give idle connections away while another loop has more need of them.
 * Thread   the owning event loop.
 * Never    lets a newcomer of the same importance past one who waits; waits longer than the
 *          request's deadline, which the gateway watches.
 * Memory   attempts are their requests'; how many wait is bounded by limits.pending.
 */
#include "proxy_internal.h"

static struct fg_proxy_attempt *attempt_of(struct fg_list *link)
{
    return FG_CONTAINER_OF(link, struct fg_proxy_attempt, link);
}

static unsigned index_of(const struct fg_proxy_thread *thread)
{
    return thread->env.thread_index;
}

static struct fg_cluster_limits *limits_of(const struct fg_proxy_thread *thread)
{
    return &thread->proxy->limits;
}

static uint32_t importance(const struct fg_proxy_attempt *attempt)
{
    return attempt->request->ex->priority_number; /* smaller goes first */
}

static void settle_wanting(struct fg_proxy_thread *thread)
{
    if (fg_list_is_empty(&thread->pending))
        fg_cluster_limits_want_no_more(limits_of(thread), index_of(thread));
}

bool fg_pending_wait(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    const enum fg_cluster_took took =
        fg_cluster_limits_try_take(limits_of(thread), FG_CLUSTER_PENDING);
    if (took == FG_CLUSTER_TOOK_NONE)
        return false;
    if (took == FG_CLUSTER_TOOK_OVER)
        fg_proxy_tell_spared(attempt->request->ex, thread->proxy, FG_CLUSTER_PENDING);
    struct fg_list *behind = thread->pending.prev;
    while (behind != &thread->pending && importance(attempt_of(behind)) > importance(attempt))
        behind = behind->prev;
    fg_list_push_front(behind, &attempt->link);
    attempt->is_pending = true;
    thread->pending_count++;
    fg_cluster_limits_want(limits_of(thread), index_of(thread));
    event_active(&thread->pending_event, 0, 0); /* one may have come free before we said so */
    return true;
}

static void take_out(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    attempt->is_pending = false;
    thread->pending_count--;
    fg_cluster_limits_give(limits_of(thread), FG_CLUSTER_PENDING);
}

void fg_pending_leave(struct fg_proxy_attempt *attempt)
{
    fg_list_remove(&attempt->link);
    take_out(attempt);
    settle_wanting(attempt->request->thread);
}

void fg_pending_wake(struct fg_proxy_thread *thread)
{
    if (!fg_list_is_empty(&thread->pending))
        event_active(&thread->pending_event, 0, 0);
}

/* In the end-of-turn event: each may end its exchange, so the list is looked at anew each time. */
static void place_all(struct fg_proxy_thread *thread)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&thread->pending)) != NULL) {
        struct fg_proxy_attempt *attempt = attempt_of(link);
        struct fg_proxy_request *request = attempt->request;
        if (!fg_stalled_admits(request)) { /* it has come to hold its share meanwhile */
            take_out(attempt);
            fg_proxy_request_on_share(attempt);
            continue;
        }
        enum fg_status status =
            fg_upstream_get(attempt, request->must_be_fresh, fg_attempt_is_h1_only(attempt));
        if (status == FG_ERR_LIMIT) {
            fg_list_push_front(&thread->pending, link);
            return;
        }
        take_out(attempt);
        fg_attempt_on_placed(attempt, status);
    }
    settle_wanting(thread);
}

static void on_pending_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    place_all(arg);
}

/* How many of ours are needed more elsewhere: those who wait there, ours excepted. */
static void on_told(void *object)
{
    struct fg_proxy_thread *thread = object;
    fg_pending_wake(thread);
    if (!fg_list_is_empty(&thread->pending) ||
        !fg_cluster_limits_is_wanted(limits_of(thread), index_of(thread)))
        return;
    uint32_t waiting = fg_limit_used(&limits_of(thread)->limits[FG_CLUSTER_PENDING]);
    for (uint32_t i = 0; i < waiting && thread->upstreams_idle > 0; i++)
        fg_upstreams_close_oldest_idle(thread);
}

bool fg_pending_keeps_idle(const struct fg_proxy_thread *thread)
{
    return !fg_list_is_empty(&thread->pending) ||
           !fg_cluster_limits_is_wanted(limits_of(thread), index_of(thread));
}

void fg_pending_init(struct fg_proxy_thread *thread)
{
    fg_list_init(&thread->pending);
    event_assign(&thread->pending_event, thread->env.base, -1, 0, on_pending_event, thread);
    fg_cluster_limits_join(limits_of(thread), index_of(thread), thread->env.mailbox, on_told,
                           thread);
}

void fg_pending_fini(struct fg_proxy_thread *thread)
{
    assert(fg_list_is_empty(&thread->pending));
    event_del(&thread->pending_event);
}
