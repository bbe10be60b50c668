/*
 * room_shared.h: a route's waiting room for all loops, with tickets that cannot be forged or lent.
 * Protocol  policies/waiting_room under one mutex, held for one step of the line.
 * Ticket    "v1.EPOCH.NUMBER.MAC" (hex, hex, base64url): the MAC binds route, epoch, number and the
 *           user (or, without one, the client's address).
 */
#ifndef FG_PIPELINE_ROOM_SHARED_H
#define FG_PIPELINE_ROOM_SHARED_H

#include "base/arena.h"
#include "config/config.h"
#include "pipeline/jwt.h"
#include "policies/waiting_room.h"

struct fg_room;

/* `route_name` is bound into the tickets. NULL without memory. */
struct fg_room *fg_room_create(const struct fg_waiting_room_conf *conf, const char *route_name,
                               uint64_t epoch, uint64_t now_ns);
void fg_room_destroy(struct fg_room *room);

/*
 * Where does the bearer of `ticket` (empty: none yet) stand? A ticket that is not genuine, not the
 * holder's, or of an earlier epoch counts as none, and a new place at the end of the line is taken.
 * *issued is the ticket to hand out (arena memory) when place->status is WAITING, else empty.
 */
struct fg_waiting_room_place fg_room_visit(struct fg_room *room, struct fg_jwt_signer *signer,
                                           struct fg_arena *arena, struct fg_span ticket,
                                           struct fg_span holder, uint64_t now_ns,
                                           struct fg_span *issued);

struct fg_room_stats {
    uint64_t waiting;
    uint64_t direct_total;
    uint64_t full_total;
    uint64_t issued_total;
};
struct fg_room_stats fg_room_stats(struct fg_room *room, uint64_t now_ns);

#endif
