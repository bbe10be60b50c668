/*
 * slow_readers.c: answers whose clients take nothing, while others wait for their places.
 * Job      a paused answer keeps its place in the concurrency limit, which bounds open files and
 *          what is buffered: count those of each client, look now and then at each of them, and let
 *          it go when policies/give_way says so.
 * Thread   the owning event loop; shares are divided among the loops.
 * Never    lets one go whose client takes 4 KiB now and then, or minds while nobody waits and
 *          descriptors are plenty.
 */
#include "static_internal.h"

#include "backends/client_owner.h"
#include "base/clock.h"

#include <sys/random.h>

#define SETTLE_NS FG_S /* by then whoever waits has a place, or lost it */

static uint32_t waiting(const struct fg_static_thread *thread)
{
    const struct fg_counter *count = thread->env.waiting;
    return count == NULL ? 0 : (uint32_t)fg_counter_get(count);
}

static uint64_t owner_of(struct fg_static_request *request)
{
    if (request->owner == 0)
        request->owner = fg_client_owner(&request->thread->owner_key, request->ex->client_addr);
    return request->owner;
}

uint32_t fg_static_held(struct fg_static_request *request)
{
    return fg_crowd_count(&request->thread->unread, owner_of(request));
}

bool fg_static_may_start(struct fg_static_request *request)
{
    struct fg_static_thread *thread = request->thread;
    fg_give_way_taken(&thread->give_way);
    return (waiting(thread) == 0 && !fg_pressure_is_short(thread->env.pressure)) ||
           fg_give_way_admits(&thread->give_way, fg_static_held(request));
}

static void arm(struct fg_static_thread *thread)
{
    const uint64_t look_ns = fg_give_way_look_ns(&thread->give_way);
    const uint64_t us = look_ns / FG_US + 1;
    const struct timeval pause = {.tv_sec = (time_t)(us / 1000000),
                                  .tv_usec = (suseconds_t)(us % 1000000)};
    if (look_ns > 0 && !fg_list_is_empty(&thread->paused) &&
        !event_pending(&thread->look, EV_TIMEOUT, NULL))
        event_add(&thread->look, &pause);
}

void fg_static_watch(struct fg_static_request *request)
{
    struct fg_static_thread *thread = request->thread;
    if (!fg_list_is_empty(&request->paused_link))
        return;
    fg_crowd_add(&thread->unread, owner_of(request));
    fg_list_push_back(&thread->paused, &request->paused_link);
    arm(thread);
}

void fg_static_forget(struct fg_static_request *request)
{
    if (fg_list_is_empty(&request->paused_link))
        return;
    fg_list_remove(&request->paused_link);
    fg_crowd_remove(&request->thread->unread, request->owner);
}

static bool must_go(struct fg_static_request *request, uint64_t now_ns)
{
    struct fg_static_thread *thread = request->thread;
    const struct fg_give_way_need need = {.waiting = waiting(thread),
                                          .is_short = fg_pressure_is_short(thread->env.pressure),
                                          .held = fg_static_held(request)};
    return (need.waiting > 0 || need.is_short) &&
           fg_give_way_decide(&thread->give_way, now_ns, fg_exchange_stalled_since(request->ex),
                              need);
}

/* Each once, in the order in which they paused; one that goes may take others with it. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_static_thread *thread = arg;
    uint64_t now_ns = fg_clock_monotonic_ns();
    struct fg_list seen;
    fg_list_init(&seen);
    while (!fg_list_is_empty(&thread->paused)) {
        struct fg_list *link = thread->paused.next;
        struct fg_static_request *request =
            FG_CONTAINER_OF(link, struct fg_static_request, paused_link);
        if (must_go(request, now_ns)) {
            fg_static_request_give_way(request);
            continue;
        }
        fg_list_remove(link);
        fg_list_push_back(&seen, link);
    }
    while (!fg_list_is_empty(&seen)) {
        struct fg_list *link = fg_list_pop_front(&seen);
        fg_list_push_back(&thread->paused, link);
    }
    arm(thread);
}

bool fg_static_slow_readers_init(struct fg_static_thread *thread)
{
    const struct fg_static_conf *conf = &thread->files->conf;
    fg_list_init(&thread->paused);
    event_assign(&thread->look, thread->env.base, -1, 0, on_look, thread);
    fg_give_way_init(&thread->give_way, conf->slow_reader_max_ns, SETTLE_NS);
    fg_give_way_set_share(&thread->give_way, thread->env.slots, conf->slow_reader_permille,
                          thread->env.thread_count, conf->slow_reader_grace_ns);
    return getrandom(&thread->owner_key, sizeof(thread->owner_key), 0) == sizeof(thread->owner_key);
}

void fg_static_slow_readers_fini(struct fg_static_thread *thread)
{
    event_del(&thread->look);
}
