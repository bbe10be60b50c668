/*
 * writes.c: who is written to when in a turn of the loop.
 * Job      write what little there is to say at once; who has much to be sent goes on behind
 *          everybody else, an address after the other, in what is left of the turn.
 * Thread   the loop's.
 * Never    forgets who waits: the next turn comes at once.
 * Memory   a place in the line a connection.
 *
 *    something to say --> bulk? --no--> write: all of it, or what the turn has left
 *                           `--> last_writers --end of the turn--> a piece, while there is room
 *                                   ^------------ more to say ------'
 */
#include "net/net_internal.h"

#include "net/loop.h"

#define PIECE_LEAST FG_NET_PLAIN_BYTES /* a record */
#define PIECE_MOST FG_NET_OUT_BYTES    /* what the scratch buffer holds */

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

void fg_writes_begin(struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    if (connection->is_blocked)
        return;
    if (fg_write_turn_goes_last(&connection->write_pace)) {
        put_last(connection);
        return;
    }
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
