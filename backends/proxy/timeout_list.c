/*
 * timeout_list.c: the timer is armed when the list was empty and, when it fires, for the wait that
 * is first then; a wait that was cleared or set again costs no call into the event loop.
 */
#include "timeout_list.h"

#include "base/clock.h"

#include <assert.h>

static struct fg_timeout_entry *entry_of(struct fg_list *link)
{
    return FG_CONTAINER_OF(link, struct fg_timeout_entry, link);
}

static void arm(struct fg_timeout_list *list, uint64_t now_ns)
{
    if (fg_list_is_empty(&list->waiting) || list->is_armed)
        return;
    const struct fg_timeout_entry *first = entry_of(list->waiting.next);
    uint64_t wait_ns = first->expires_ns > now_ns ? first->expires_ns - now_ns : 0;
    /* Rounded up, so that the first has expired when the timer fires. */
    uint64_t wait_us = wait_ns / FG_US + 1;
    const struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                                 .tv_usec = (suseconds_t)(wait_us % 1000000)};
    list->is_armed = event_add(&list->timer, &wait) == 0;
}

/*
 * What is set again by its owner waits for the next time, however short that is: its wait begins
 * with the turn, and where a turn has taken longer than that (the process was stopped, or the
 * machine had other things to do) it is over at once, and again, without end.
 */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct fg_timeout_list *list = arg;
    (void)fd;
    (void)what;
    struct fg_list due;
    list->is_armed = false;
    fg_list_init(&due);
    uint64_t now_ns = fg_clock_monotonic_ns();
    while (!fg_list_is_empty(&list->waiting) && entry_of(list->waiting.next)->expires_ns <= now_ns)
        fg_list_push_back(&due, fg_list_pop_front(&list->waiting));
    struct fg_list *link;
    while ((link = fg_list_pop_front(&due)) != NULL)
        list->on_expired(entry_of(link));
    arm(list, now_ns);
}

void fg_timeout_list_init(struct fg_timeout_list *list, struct event_base *base,
                          struct fg_turn_clock *clock, uint64_t duration_ns,
                          fg_timeout_fn on_expired)
{
    *list = (struct fg_timeout_list){
        .clock = clock, .duration_ns = duration_ns, .on_expired = on_expired};
    fg_list_init(&list->waiting);
    event_assign(&list->timer, base, -1, 0, on_timer, list);
}

void fg_timeout_list_fini(struct fg_timeout_list *list)
{
    assert(fg_list_is_empty(&list->waiting));
    event_del(&list->timer);
    list->is_armed = false;
}

void fg_timeout_entry_init(struct fg_timeout_entry *timeout)
{
    fg_list_init(&timeout->link);
    timeout->expires_ns = 0;
}

void fg_timeout_list_set(struct fg_timeout_list *list, struct fg_timeout_entry *timeout)
{
    uint64_t now_ns = fg_turn_clock_ns(list->clock);
    fg_list_remove(&timeout->link);
    timeout->expires_ns =
        list->duration_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + list->duration_ns;
    fg_list_push_back(&list->waiting, &timeout->link);
    arm(list, now_ns);
}

void fg_timeout_list_clear(struct fg_timeout_entry *timeout)
{
    fg_list_remove(&timeout->link);
}
