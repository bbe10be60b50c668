/*
 * room_book_shared.h: who has which place in a waiting room, and how many places an address
 * took: nobody gets another place for coming without the ticket, or with one that is used up.
 * Protocol  policies/room_holders and policies/limit_table under one mutex, held for one look.
 * Thread    any.
 * Memory    16 bytes a person who may wait, and what 16,384 addresses take, from the start; pages
 *           that are not needed are not there.
 */
#ifndef FG_PIPELINE_ROOM_BOOK_SHARED_H
#define FG_PIPELINE_ROOM_BOOK_SHARED_H

#include "base/span.h"
#include "policies/room_holders.h"

#include <stdbool.h>
#include <stdint.h>

struct fg_room_book;

/* For `holders` people, 0: none are remembered; an address takes `places` of them in `period_ns`.
 * NULL without memory. Start-up. */
struct fg_room_book *fg_room_book_create(uint64_t holders, uint64_t places, uint64_t period_ns);
void fg_room_book_destroy(struct fg_room_book *book);

/* As fg_room_holders_find and _put, for a user. */
bool fg_room_book_find(struct fg_room_book *book, struct fg_span user, uint64_t epoch,
                       uint64_t *number);
void fg_room_book_note(struct fg_room_book *book, struct fg_span user, uint64_t epoch,
                       uint64_t number, uint64_t now_s);

/* A new place for that address (of IPv6: its /64)? False: it has taken its share; may again after
 * *wait_ns. What is no address may always. */
bool fg_room_book_try_place(struct fg_room_book *book, struct fg_span client_addr, uint64_t now_ns,
                            uint64_t *wait_ns);
/* It was not needed. */
void fg_room_book_return_place(struct fg_room_book *book, struct fg_span client_addr,
                               uint64_t now_ns);

#endif
