/*
 * reads.c: whose bytes are read when in a turn of the loop.
 * Job      read whoever has something to say as policies/read_turn has it: most at once; those
 *          whose bytes have been dear, who have more than one read takes, or who are not listened
 *          to any more behind everybody else's reads and answers, by turns, in what is left of it.
 * Thread   the loop's.
 * Never    forgets who waits: the socket stays readable, and says so in the next turn.
 * Memory   a link a connection.
 *
 *    readable --> due? --no--> (next turn)
 *                   `--> read now  |  last_readers --end of the turn--> read, while there is room
 */
#include "net/net_internal.h"

#include "base/clock.h"
#include "net/loop.h"

#include <errno.h>
#include <sys/socket.h>

/* How much of it the next turns take depends on what this cost. The connection lives until the end
 * of the turn. */
static void take_measured(struct fg_connection *connection, size_t len)
{
    struct fg_net *net = connection->net;
    uint64_t started_ns = fg_clock_thread_ns();
    fg_connection_take_bytes(connection, net->in, len);
    if (fg_read_turn_note(&net->read_turn, fg_loop_turn(net->env.loop), &connection->pace,
                          sizeof(net->in), len, fg_clock_thread_ns() - started_ns))
        fg_counter_add_owned(&net->stats.dear_reads, 1);
}

static bool is_listened_to(const struct fg_connection *connection)
{
    return connection->state != FG_CONNECTION_LINGERING;
}

static ssize_t receive(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    fg_counter_add_owned(&net->stats.reads, 1);
    if (!is_listened_to(connection)) /* TCP throws it away without a copy */
        return recv(connection->fd, net->in, sizeof(net->in), MSG_TRUNC);
    size_t most = fg_read_turn_ask(&net->read_turn, fg_loop_turn(net->env.loop), &connection->pace,
                                   sizeof(net->in));
    return recv(connection->fd, net->in, most, 0);
}

static void read_now(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    fg_list_remove(&connection->last_link);
    ssize_t got = receive(connection);
    if (got > 0) {
        fg_counter_add_owned(&net->stats.bytes_read, (uint64_t)got);
        if (fg_read_turn_got(&connection->pace, (size_t)got) && is_listened_to(connection))
            take_measured(connection, (size_t)got);
        else
            fg_connection_take_bytes(connection, net->in, (size_t)got);
    } else if (got == 0) {
        fg_connection_end_input(connection);
    } else if (errno != EAGAIN && errno != EINTR) {
        fg_connection_cut(connection, FG_GONE_CLIENT_CLOSED);
    }
    fg_connection_settle(connection);
}

/* What all others took meanwhile is theirs. One at least, so that nobody waits for ever. */
static void on_last_reads(struct fg_deferred *deferred)
{
    struct fg_net *net = FG_CONTAINER_OF(deferred, struct fg_net, last_reads);
    uint64_t before_ns = fg_clock_thread_ns();
    struct fg_list *link;
    while ((link = fg_list_pop_front(&net->last_readers)) != NULL) {
        struct fg_connection *connection = FG_CONTAINER_OF(link, struct fg_connection, last_link);
        if (!connection->is_reading)
            continue;
        read_now(connection);
        uint64_t now_ns = fg_clock_thread_ns(), took_ns = now_ns - before_ns;
        if (now_ns + took_ns - net->last_since_ns > net->read_turn.budget_ns)
            break; /* the next one would not fit */
        before_ns = now_ns;
    }
}

void fg_reads_init(struct fg_net *net)
{
    fg_list_init(&net->last_readers);
    net->last_reads.run = on_last_reads;
}

void fg_reads_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_connection *connection = arg;
    struct fg_net *net = connection->net;
    uint64_t turn = fg_loop_turn(net->env.loop);
    if (!fg_read_turn_is_due(&net->read_turn, turn, &connection->pace))
        return;
    if (is_listened_to(connection) && !fg_read_turn_goes_last(&net->read_turn, &connection->pace)) {
        read_now(connection);
        return;
    }
    if (fg_list_is_empty(&connection->last_link))
        fg_list_push_back(&net->last_readers, &connection->last_link);
    if (net->last_reads.is_pending)
        return;
    net->last_since_ns = fg_clock_thread_ns();
    fg_loop_defer_late(net->env.loop, &net->last_reads);
}
