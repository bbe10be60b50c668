/*
 * reads.c: whose bytes are read when in a turn of the loop.
 * Job      read whoever has something to say as policies/read_turn has it: most at once; those
 *          whose bytes have been dear, who have more than one read takes, or who are not listened
 *          to any more behind everybody else's reads and answers, an address after the other, in
 *          what is left of it.
 * Thread   the loop's.
 * Never    forgets who waits: the socket stays readable, and says so in the next turn.
 * Memory   a node a connection.
 *
 *    readable --> due? --no--> (next turn)
 *                   `--> read now  |  last_readers --end of the turn--> read, while there is room
 *                           `--many requests--^
 */
#include "net/net_internal.h"

#include "base/clock.h"
#include "base/prefetch.h"
#include "http/stream.h"
#include "net/loop.h"

#include <errno.h>
#include <sys/socket.h>

#define CODEC_BYTES ((size_t)384) /* of either, what it begins a request with */

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

/* Its codec goes on behind the others. */
static bool is_held_back(const struct fg_connection *connection)
{
    return connection->held.len > 0 && fg_transport_gives_way(&connection->transport);
}

/* What it takes from now on is of a read of its own; what was done before it. */
static uint64_t begin(struct fg_connection *connection)
{
    connection->transport.begun = 0;
    connection->transport.begun_max =
        connection->net->read_turn.budget_ns > 0 ? FG_READ_TURN_BEGINS : 0;
    return connection->net->env.streams_moved;
}

/* Whoever has more to ask for asks for much; it answers when it has asked, or others want their
 * turn. */
static void end(struct fg_connection *connection, uint64_t moved, uint64_t more)
{
    struct fg_net *net = connection->net;
    bool has_more = is_held_back(connection);
    if (!has_more)
        fg_connection_settle(connection);
    uint64_t work = net->env.streams_moved - moved + more + (has_more ? FG_READ_TURN_MANY : 0);
    fg_read_turn_served(&net->read_turn, fg_loop_turn(net->env.loop), &connection->pace, work);
}

/* What a request's bytes will need; it comes while the kernel copies them. */
static void prefetch(const struct fg_connection *connection)
{
    fg_prefetch(connection->codec, CODEC_BYTES);
    fg_stream_prefetch(&connection->net->env);
    fg_tls_prefetch_read(&connection->tls);
}

static void read_now(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    fg_last_line_remove(&net->last_readers, &connection->last_read);
    uint64_t moved = begin(connection);
    prefetch(connection);
    ssize_t got = receive(connection);
    if (got > 0) {
        fg_counter_add_owned(&net->stats.bytes_read, (uint64_t)got);
        uint64_t turn = fg_loop_turn(net->env.loop);
        if (fg_read_turn_got(&net->read_turn, turn, &connection->pace, (size_t)got) &&
            is_listened_to(connection))
            take_measured(connection, (size_t)got);
        else
            fg_connection_take_bytes(connection, net->in, (size_t)got);
    } else if (got == 0) {
        fg_connection_end_input(connection);
    } else if (errno != EAGAIN && errno != EINTR) {
        fg_connection_cut(connection, FG_GONE_CLIENT_CLOSED);
    }
    end(connection, moved, got > 0 ? 0 : FG_READ_TURN_END);
}

static void take_held(struct fg_connection *connection)
{
    uint64_t moved = begin(connection);
    fg_connection_take_held(connection);
    end(connection, moved, 0);
}

static void put_last(struct fg_connection *connection)
{
    fg_last_line_add(&connection->net->last_readers, &connection->last_read,
                     fg_connection_owner(connection));
}

void fg_reads_cut(struct fg_connection *connection)
{
    fg_counter_add_owned(&connection->net->stats.reads_cut, 1);
    put_last(connection);
}

static void serve(struct fg_last_place *place)
{
    struct fg_connection *connection = FG_CONTAINER_OF(place, struct fg_connection, last_read);
    if (is_held_back(connection))
        take_held(connection);
    else if (connection->is_reading)
        read_now(connection);
}

void fg_reads_init(struct fg_net *net)
{
    fg_last_line_init(&net->last_readers, net->env.loop, fg_loop_last_share(net->env.loop), serve);
}

/* A hello waits in a line of its own, if it must; but hundreds that have said none may end at once.
 */
static bool may_go_last(const struct fg_connection *connection, uint64_t turn)
{
    if (connection->state == FG_CONNECTION_HANDSHAKE && !connection->has_said_hello)
        return fg_read_turn_is_crowded(&connection->net->read_turn, turn);
    return !is_listened_to(connection) || is_held_back(connection) ||
           fg_read_turn_goes_last(&connection->net->read_turn, turn, &connection->pace);
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
    if (may_go_last(connection, turn))
        put_last(connection);
    else
        read_now(connection);
}
