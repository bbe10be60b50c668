/*
 * flooders.h: what addresses owe for connections that flooded, and how often they may come again.
 * Job      write down what a connection has spent, and a burst more when it was closed for a flood;
 *          say what the next ones of its address begin with, and let those that say hello too often
 *          wait, or go, before they have cost a handshake (policies/flood_debt).
 * Thread   the loop's; the ledger is all threads'.
 * Never    counts anything against a trusted proxy, which is many clients.
 */
#ifndef FG_NET_FLOODERS_H
#define FG_NET_FLOODERS_H

#include "net/net_internal.h"

/* It has said hello, or that it speaks HTTP/2 in the clear: may it go on, now or at
 * connection->handshake_due_ns? Counts a refusal, which is the caller's to make, or a delay. */
bool fg_flooders_admit(struct fg_connection *connection);

/* What its address owes, in frames that bring nothing. */
uint64_t fg_flooders_owed(const struct fg_connection *connection);

/* It is closed: so many such frames are owed for it. */
void fg_flooders_note_spent(const struct fg_connection *connection, uint64_t spent);
/* It is closed for what it does to TLS. */
void fg_flooders_note_tls(const struct fg_connection *connection);

#endif
