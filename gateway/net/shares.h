/*
 * shares.h: whose connections give way to others' when they run short.
 * Job      while overload asks for shares (step address_share) refuse further connections of an
 *          address that holds more than its own, and close what it has above it of connections
 *          that make no progress; of many that hold little, close who rests longest.
 * Thread   the loop's.
 */
#ifndef FG_NET_SHARES_H
#define FG_NET_SHARES_H

#include "net/net_internal.h"

/* How large shares are, and when there are any: once, when the net has its descriptors' mark. */
void fg_shares_init(struct fg_net *net);

/* May this address have one more connection, which came as descriptor `fd`? Counts a refusal. */
bool fg_shares_admit(struct fg_net *net, struct fg_ip_key key, int fd);

/* A newcomer has come as descriptor `fd`: where few places are left, whoever is longest with its
 * handshake goes, or else whoever is longest without a request, at the end of the turn. True:
 * somebody does. */
bool fg_shares_make_room(struct fg_net *net, int fd);

/* Is there anything to close? */
bool fg_shares_are_exceeded(const struct fg_net *net);

/* Look at one connection; if it must go, it may be among `picks` afterwards. */
void fg_shares_look_at(struct fg_connection *connection, struct fg_address_share_picks *picks);

/* Close what was picked, the longest without progress first, down to each address's share. At the
 * end of the turn they are gone. */
void fg_shares_close(struct fg_net *net, struct fg_address_share_picks *picks);

/* Remember whether a good part of all connections is above the shares: at every pulse. */
void fg_shares_note(struct fg_net *net);

/* May this one be spared what overload does to all, as it is others that hold too much? */
bool fg_shares_spare(struct fg_connection *connection);

#endif
