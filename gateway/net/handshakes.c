/*
 * handshakes.c: two lists, and an event that makes the loop come round again while they hold
 * somebody.
 */
#include "net/handshakes.h"

#include "net/net_internal.h"

#include <event2/event.h>

static struct fg_connection *first_waiting(struct fg_handshakes *handshakes)
{
    for (unsigned kind = 2; kind-- > 0;) {
        if (!fg_list_is_empty(&handshakes->waiting[kind]))
            return FG_CONTAINER_OF(handshakes->waiting[kind].next, struct fg_connection,
                                   handshake_link);
    }
    return NULL;
}

static void on_next_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_handshakes *handshakes = arg;
    struct fg_connection *connection;
    while (handshakes->spent_ns < handshakes->turn_ns &&
           (connection = first_waiting(handshakes)) != NULL) {
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
    if (handshakes->waiting_count > 0)
        event_active(handshakes->next_turn, EV_TIMEOUT, 1);
}

enum fg_status fg_handshakes_init(struct fg_handshakes *handshakes, struct fg_net *net,
                                  uint64_t turn_ns, size_t waiting_max)
{
    *handshakes = (struct fg_handshakes){.net = net,
                                         .waiting_max = waiting_max,
                                         .turn_ns = turn_ns == 0 ? UINT64_MAX : turn_ns,
                                         .turn_end = {.run = on_turn_end}};
    fg_list_init(&handshakes->waiting[0]);
    fg_list_init(&handshakes->waiting[1]);
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
    return handshakes->waiting_count == 0 && handshakes->spent_ns < handshakes->turn_ns;
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

void fg_handshakes_queue(struct fg_handshakes *handshakes, struct fg_connection *connection,
                         bool resumes)
{
    connection->waits_for_handshake = true;
    fg_list_push_back(&handshakes->waiting[resumes ? 1 : 0], &connection->handshake_link);
    set_waiting(handshakes, handshakes->waiting_count + 1);
    fg_loop_defer(handshakes->net->env.loop, &handshakes->turn_end);
    if (handshakes->waiting_count <= handshakes->waiting_max)
        return;
    /* The oldest full one has the least time left; its client will soon give up anyway. */
    struct fg_list *from = &handshakes->waiting[fg_list_is_empty(&handshakes->waiting[0]) ? 1 : 0];
    fg_counter_add_owned(&handshakes->net->stats.handshakes_shed, 1);
    fg_connection_cut(FG_CONTAINER_OF(from->next, struct fg_connection, handshake_link),
                      FG_GONE_TIMEOUT);
}

void fg_handshakes_forget(struct fg_handshakes *handshakes, struct fg_connection *connection)
{
    if (!connection->waits_for_handshake)
        return;
    connection->waits_for_handshake = false;
    fg_list_remove(&connection->handshake_link);
    set_waiting(handshakes, handshakes->waiting_count - 1);
}
