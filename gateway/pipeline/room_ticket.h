/*
 * room_ticket.h: what a waiting room hands out, so that nobody can make, change or lend it.
 *
 *    "t2." or "p2." and base64url of:  key name 16 | first 8 | second 8 | MAC 16
 *
 * Ticket   first: the line's epoch; second: the place in it.
 * Pass     first: wall second until which its holder comes and goes without a ticket; second: 0.
 * MAC      HMAC-SHA256 under the key of that name over kind, both numbers, room and holder. Keys
 *          are derived from a secret and the time and rotate by themselves
 *          (net/ticket_keys_shared.h): what is under the present key or the one before is good,
 *          anything else is not.
 * Thread   any.
 */
#ifndef FG_PIPELINE_ROOM_TICKET_H
#define FG_PIPELINE_ROOM_TICKET_H

#include "base/span.h"
#include "net/ticket_keys_shared.h"

#define FG_ROOM_TICKET_TEXT 67 /* bytes of either */

/* Whose it is: a user, or, of nobody who is known, the client's address. */
struct fg_room_holder {
    bool is_user;
    struct fg_span name;
};

enum fg_room_paper { FG_ROOM_TICKET, FG_ROOM_PASS };

struct fg_room_paper_text {
    enum fg_room_paper kind;
    uint64_t first;
    uint64_t second;
};

/* False: no key, or OpenSSL failed. */
bool fg_room_ticket_write(struct fg_ticket_keys *keys, uint64_t now_s, const char *room,
                          const struct fg_room_holder *holder,
                          const struct fg_room_paper_text *paper, char text[FG_ROOM_TICKET_TEXT]);

/* False: it is not genuine, not of this room, not this holder's, or too old. */
bool fg_room_ticket_read(struct fg_ticket_keys *keys, uint64_t now_s, const char *room,
                         const struct fg_room_holder *holder, struct fg_span text,
                         struct fg_room_paper_text *paper);

#endif
