/*
 * writes.c: who is written to when in a turn of the loop.
 * Job      write what little there is to say at once, or with what else its client waits for, if
 *          that is likely to come; who has much to be sent goes on behind everybody else, an
 *          address after the other, in what is left of the turn.
 * Thread   the loop's.
 * Never    forgets who waits: the next turn comes at once.
 * Memory   a place in the line a connection.
 *
 *    something to say --> bulk? --no--> more soon? --no--> write: all, or what the turn has left
 *                           |               `--yes--> put off, until a turn brings no more of it
 *                           `--> last_writers --end of the turn--> a piece, while there is room
 *                                   ^------------ more to say ------'
 */
#include "net/net_internal.h"

#include "net/loop.h"

#define PIECE_LEAST FG_NET_PLAIN_BYTES /* a record */
#define PIECE_MOST FG_NET_OUT_BYTES    /* what the scratch buffer holds */
#define GATHERED_MOST (PIECE_MOST / 2) /* of bodies: a write of that size has no company to want */

static void serve(struct fg_last_place *place)
{
    fg_connection_write(FG_CONTAINER_OF(place, struct fg_connection, last_write), PIECE_MOST);
}

void fg_writes_init(struct fg_net *net)
{
    fg_last_line_init(&net->last_writers, net->env.loop, fg_loop_last_share(net->env.loop), serve);
}

static void put_last(struct fg_connection *connection)
{
    fg_last_line_add(&connection->net->last_writers, &connection->last_write,
                     fg_connection_owner(connection));
}

/*
 * While servers answer a client's many requests one by one, a turn of a loop that keeps pace with
 * them has an answer or two of it, and each write is a record, a segment and a waking of its own.
 * What the next turn does not go on with leaves: nobody waits for what is not there.
 */
static bool may_gather(const struct fg_connection *connection)
{
    const struct fg_codec *codec = connection->codec;
    return connection->state == FG_CONNECTION_OPEN && !connection->is_closing &&
           codec->awaited > 0 && !codec->has_urgent && codec->unsaid_bytes > 0 &&
           codec->unsaid_bytes < GATHERED_MOST;
}

static bool try_gather(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    uint64_t now_ns = fg_loop_now_ns(net->env.loop);
    bool is_first = connection->gathers_since_ns == 0;
    if (is_first)
        connection->gathers_since_ns = now_ns;
    if (now_ns - connection->gathers_since_ns >= net->env.limits->write_gather_ns)
        return false;
    if (is_first)
        fg_counter_add_owned(&net->stats.writes_gathered, 1);
    fg_loop_put_off(net->env.loop, &connection->work);
    return true;
}

void fg_writes_begin(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    if (connection->is_blocked)
        return;
    if (fg_write_turn_goes_last(&connection->write_pace)) {
        put_last(connection);
        return;
    }
    bool has_more = connection->has_more_to_say;
    connection->has_more_to_say = false;
    if (has_more && may_gather(connection) && try_gather(connection))
        return;
    connection->gathers_since_ns = 0;
    size_t most =
        fg_write_turn_ask(&net->write_turn, fg_loop_turn(net->env.loop), PIECE_LEAST, PIECE_MOST);
    fg_connection_write(connection, most);
}

void fg_writes_note(struct fg_connection *connection, size_t bytes, enum fg_said said)
{
    struct fg_net *net = connection->net;
    struct fg_write_pace *pace = &connection->write_pace;
    if (!fg_write_turn_goes_last(pace))
        fg_write_turn_note(&net->write_turn, fg_loop_turn(net->env.loop), bytes);
    fg_write_turn_judge(pace, bytes, PIECE_LEAST, said == FG_SAID_ALL);
    if (said != FG_SAID_SOME)
        return;
    fg_counter_add_owned(&net->stats.writes_cut, 1);
    put_last(connection);
}
