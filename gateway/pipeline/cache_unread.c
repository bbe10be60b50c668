/*
 * cache_unread.c: see cache_unread.h. Looked at now and then, while there are any: whoever is sent
 * something small is done before the first look.
 */
#include "cache_unread.h"

#include "cache_store_shared.h"
#include "flow.h"

#include <event2/event.h>

#define LOOKS 4u /* in slow_reader_max: so much later at most it is noticed */

static uint64_t patience_ns(const struct fg_pipeline_thread *thread)
{
    return thread->pipeline->config->cache.slow_reader_max_ns;
}

static void arm(struct fg_pipeline_thread *thread)
{
    if (thread->cache_look_is_due || fg_list_is_empty(&thread->cache_unread))
        return;
    const uint64_t us = patience_ns(thread) / LOOKS / FG_US + 1;
    const struct timeval pause = {.tv_sec = (time_t)(us / 1000000),
                                  .tv_usec = (suseconds_t)(us % 1000000)};
    thread->cache_look_is_due = event_add(thread->cache_look, &pause) == 0;
}

static bool holds_room(const struct fg_flow *flow)
{
    if (flow->cache_reader != NULL)
        return fg_cache_reader_holds_room(flow->cache_reader);
    const struct fg_cache_body *body =
        flow->cache_sent != NULL ? flow->cache_sent->body : flow->cache_shared;
    return body != NULL && fg_cache_body_is_lent(body);
}

static bool must_go(const struct fg_flow *flow, uint64_t now_ns)
{
    uint64_t since_ns = fg_response_stalled_since(flow->req);
    if (since_ns == 0 || now_ns < since_ns || now_ns - since_ns < patience_ns(flow->thread))
        return false;
    if (flow->cache_reader != NULL && fg_cache_reader_holds_up_others(flow->cache_reader))
        return true;
    return fg_cache_store_is_short(flow->thread->pipeline->cache, now_ns) && holds_room(flow);
}

static void give_up(struct fg_flow *flow)
{
    fg_cache_unread_forget(flow);
    fg_flow_note_slow_client(flow, "cache");
    if (flow->cache_reader != NULL)
        fg_cache_reader_leave(flow->cache_reader);
    flow->cache_reader = NULL;
    flow->is_answer_over = true;
    fg_response_give_up(flow->req);
}

/* Each once. One that goes may take others with it, of the same connection. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_pipeline_thread *thread = arg;
    uint64_t now_ns = fg_loop_now_ns(thread->loop);
    struct fg_list seen;
    fg_list_init(&seen);
    thread->cache_look_is_due = false;
    while (!fg_list_is_empty(&thread->cache_unread)) {
        struct fg_list *link = thread->cache_unread.next;
        struct fg_flow *flow = FG_CONTAINER_OF(link, struct fg_flow, in_cache_unread);
        if (must_go(flow, now_ns)) {
            give_up(flow);
            continue;
        }
        fg_list_remove(link);
        fg_list_push_back(&seen, link);
    }
    while (!fg_list_is_empty(&seen))
        fg_list_push_back(&thread->cache_unread, fg_list_pop_front(&seen));
    arm(thread);
}

bool fg_cache_unread_init(struct fg_pipeline_thread *thread)
{
    fg_list_init(&thread->cache_unread);
    thread->cache_look = evtimer_new(fg_loop_base(thread->loop), on_look, thread);
    return thread->cache_look != NULL;
}

void fg_cache_unread_fini(struct fg_pipeline_thread *thread)
{
    if (thread->cache_look != NULL)
        event_free(thread->cache_look);
}

void fg_cache_unread_add(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    if (patience_ns(thread) == 0)
        return;
    fg_list_push_back(&thread->cache_unread, &flow->in_cache_unread);
    arm(thread);
}

void fg_cache_unread_forget(struct fg_flow *flow)
{
    fg_list_remove(&flow->in_cache_unread);
}
