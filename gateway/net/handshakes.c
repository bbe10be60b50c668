/*
 * handshakes.c: three lists, and an event that makes the loop come round again while they hold
 * somebody, or when the time has come for the first of those that have one.
 */
#include "net/handshakes.h"

#include "net/net_internal.h"

#include "base/clock.h"

#include <event2/event.h>

static struct fg_connection *connection_at(struct fg_list *link)
{
    return FG_CONTAINER_OF(link, struct fg_connection, handshake_link);
}

/* Who is next, now or when its time has come. */
static struct fg_connection *first_waiting(struct fg_handshakes *handshakes)
{
    for (unsigned line = 0; line < FG_HANDSHAKE_LINES; line++) {
        if (!fg_list_is_empty(&handshakes->waiting[line]))
            return connection_at(handshakes->waiting[line].next);
    }
    return NULL;
}

/* For so long; 0: not at all. */
static uint64_t wait_of(const struct fg_handshakes *handshakes,
                        const struct fg_connection *connection)
{
    uint64_t now_ns = fg_loop_now_ns(handshakes->net->env.loop);
    return connection->handshake_due_ns > now_ns ? connection->handshake_due_ns - now_ns : 0;
}

static void on_next_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_handshakes *handshakes = arg;
    struct fg_connection *connection;
    while (handshakes->spent_ns < handshakes->turn_ns &&
           (connection = first_waiting(handshakes)) != NULL &&
           wait_of(handshakes, connection) == 0) {
        fg_handshakes_forget(handshakes, connection);
        fg_connection_continue_handshake(connection);
    }
    if (handshakes->waiting_count > 0)
        fg_loop_defer(handshakes->net->env.loop, &handshakes->turn_end);
}

static void on_turn_end(struct fg_deferred *deferred)
{
    struct fg_handshakes *handshakes = FG_CONTAINER_OF(deferred, struct fg_handshakes, turn_end);
    handshakes->spent_ns = 0;
    const struct fg_connection *connection = first_waiting(handshakes);
    if (connection == NULL)
        return;
    uint64_t wait_ns = wait_of(handshakes, connection);
    const struct timeval wait = {.tv_sec = (time_t)(wait_ns / FG_S),
                                 .tv_usec = (suseconds_t)(wait_ns % FG_S / 1000 + 1)};
    if (wait_ns == 0)
        event_active(handshakes->next_turn, EV_TIMEOUT, 1);
    else if (event_add(handshakes->next_turn, &wait) != 0)
        fg_connection_cut(first_waiting(handshakes), FG_GONE_TIMEOUT);
}

enum fg_status fg_handshakes_init(struct fg_handshakes *handshakes, struct fg_net *net,
                                  uint64_t turn_ns, size_t waiting_max)
{
    *handshakes = (struct fg_handshakes){.net = net,
                                         .waiting_max = waiting_max,
                                         .turn_ns = turn_ns == 0 ? UINT64_MAX : turn_ns,
                                         .turn_end = {.run = on_turn_end}};
    for (unsigned line = 0; line < FG_HANDSHAKE_LINES; line++)
        fg_list_init(&handshakes->waiting[line]);
    fg_list_init(&handshakes->turn_end.link);
    handshakes->next_turn = event_new(fg_loop_base(net->env.loop), -1, 0, on_next_turn, handshakes);
    return handshakes->next_turn == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

void fg_handshakes_fini(struct fg_handshakes *handshakes)
{
    if (handshakes->next_turn == NULL)
        return;
    fg_loop_defer_cancel(handshakes->net->env.loop, &handshakes->turn_end);
    event_free(handshakes->next_turn);
    handshakes->next_turn = NULL;
}

bool fg_handshakes_have_room(const struct fg_handshakes *handshakes)
{
    return fg_list_is_empty(&handshakes->waiting[FG_HANDSHAKE_RESUMES]) &&
           fg_list_is_empty(&handshakes->waiting[FG_HANDSHAKE_FULL]) &&
           handshakes->spent_ns < handshakes->turn_ns;
}

void fg_handshakes_spend(struct fg_handshakes *handshakes, uint64_t spent_ns)
{
    handshakes->spent_ns += spent_ns;
    fg_loop_defer(handshakes->net->env.loop, &handshakes->turn_end);
}

static void set_waiting(struct fg_handshakes *handshakes, size_t count)
{
    handshakes->waiting_count = count;
    fg_counter_set(&handshakes->net->stats.handshakes_waiting, count);
}

/* Behind those whose time is not later: mostly the last. */
static struct fg_list *place_of(struct fg_list *waiting, const struct fg_connection *connection)
{
    struct fg_list *before = waiting->prev;
    while (before != waiting &&
           connection_at(before)->handshake_due_ns > connection->handshake_due_ns)
        before = before->prev;
    return before->next;
}

/* The oldest full one has the least time left; its client will soon give up anyway. */
static void shed_one(struct fg_handshakes *handshakes)
{
    unsigned line = FG_HANDSHAKE_OWES;
    while (fg_list_is_empty(&handshakes->waiting[line]))
        line--;
    fg_counter_add_owned(&handshakes->net->stats.handshakes_shed, 1);
    fg_connection_cut(connection_at(handshakes->waiting[line].next), FG_GONE_TIMEOUT);
}

void fg_handshakes_queue(struct fg_handshakes *handshakes, struct fg_connection *connection,
                         enum fg_handshake_line line)
{
    connection->waits_for_handshake = true;
    fg_list_push_back(place_of(&handshakes->waiting[line], connection),
                      &connection->handshake_link);
    set_waiting(handshakes, handshakes->waiting_count + 1);
    fg_loop_defer(handshakes->net->env.loop, &handshakes->turn_end);
    if (handshakes->waiting_count > handshakes->waiting_max)
        shed_one(handshakes);
}

void fg_handshakes_forget(struct fg_handshakes *handshakes, struct fg_connection *connection)
{
    if (!connection->waits_for_handshake)
        return;
    connection->waits_for_handshake = false;
    fg_list_remove(&connection->handshake_link);
    set_waiting(handshakes, handshakes->waiting_count - 1);
}
