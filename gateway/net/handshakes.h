/*
 * handshakes.h: who of those that say hello is answered in this turn of the loop.
 * Job      let new handshakes take a part of each turn and no more, so that a flood of them costs
 *          open connections a few milliseconds; who resumes a session goes first, since it costs a
 *          tenth; whoever owes for floods waits until it may come (flooders.h), also with HTTP/2 in
 *          the clear, and goes last; of who waits too long in too long a line, let go before any
 *          work is done.
 * Thread   the loop's.
 * Memory   a waiting connection holds the bytes of its hello (2 KiB, 16 at most) and no TLS work;
 *          at most tls.handshakes_waiting_max of them a loop.
 *
 *    hello --> owes? --no--> room in this turn? --yes--> handshake
 *                `--yes--.          `--no--> waiting[resumes | full] --next turn--> handshake
 *                         `--> waiting[owes] --its time, nobody else--^
 *                                  `-- line too long: the oldest --> closed
 */
#ifndef FG_NET_HANDSHAKES_H
#define FG_NET_HANDSHAKES_H

#include "base/list.h"
#include "net/loop.h"

struct event;
struct fg_connection;
struct fg_net;

/* In the order in which they go. */
enum fg_handshake_line {
    FG_HANDSHAKE_RESUMES,
    FG_HANDSHAKE_FULL,
    FG_HANDSHAKE_OWES, /* by when they may come */
    FG_HANDSHAKE_LINES,
};

struct fg_handshakes {
    struct fg_net *net;
    struct fg_list waiting[FG_HANDSHAKE_LINES];
    size_t waiting_count;
    size_t waiting_max;
    uint64_t turn_ns;  /* budget of one turn */
    uint64_t spent_ns; /* in this one */
    struct fg_deferred turn_end;
    struct event *next_turn;
};

/* `turn_ns` 0: no bound. FG_ERR_NO_MEMORY. */
enum fg_status fg_handshakes_init(struct fg_handshakes *handshakes, struct fg_net *net,
                                  uint64_t turn_ns, size_t waiting_max);
void fg_handshakes_fini(struct fg_handshakes *handshakes);

/* May a new handshake begin now? Otherwise it must queue. */
bool fg_handshakes_have_room(const struct fg_handshakes *handshakes);
/* So much was spent on one; any step of it. */
void fg_handshakes_spend(struct fg_handshakes *handshakes, uint64_t spent_ns);

/* Its turn comes in fg_connection_continue_handshake; FG_HANDSHAKE_OWES: not before
 * connection->handshake_due_ns. May close another connection, or this one, whose memory stays until
 * the end of the turn. */
void fg_handshakes_queue(struct fg_handshakes *handshakes, struct fg_connection *connection,
                         enum fg_handshake_line line);
/* It is closed; harmless when it does not wait. */
void fg_handshakes_forget(struct fg_handshakes *handshakes, struct fg_connection *connection);

#endif
