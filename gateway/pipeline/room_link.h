/*
 * room_link.h: asking a waiting room, whose line may be in a Redis that several gateways share.
 * Job      answer at once where the line is here; else run one script (lua/room.lua) and answer
 *          when its reply is in, or, when Redis is away, from the line that this gateway goes on
 *          with alone (room_shared.h).
 * Thread   the loop of whoever asks.
 * Memory   the inquiry, of whoever asks; it stays until it is answered or cancelled.
 *
 *    ask --> answered at once (true)
 *        `-> asked --reply, or Redis is away--> on_done
 *             `-- cancel
 */
#ifndef FG_PIPELINE_ROOM_LINK_H
#define FG_PIPELINE_ROOM_LINK_H

#include "redis/redis_link.h"
#include "room_shared.h"
#include "state/shared_state.h"

#define FG_ROOM_KEYS 4
#define FG_ROOM_ARGS 14

struct fg_room_inquiry {
    /* of whoever asks */
    struct fg_room *room;
    enum fg_room_wish wish;
    struct fg_room_caller caller;
    char *paper; /* FG_ROOM_TICKET_TEXT bytes for what is handed out */
    void (*on_done)(void *owner);
    void *owner;

    struct fg_room_visit visit; /* valid once answered */

    /* of room_link.c */
    struct fg_room_claim claim;
    struct fg_redis_command *command;
    struct fg_span args[FG_ROOM_KEYS + FG_ROOM_ARGS];
    char numbers[FG_ROOM_ARGS][24];
};

/* `link` NULL: none is configured. True: visit is valid; false: on_done will be called, not before
 * this returns. */
bool fg_room_ask(struct fg_room_inquiry *inquiry, struct fg_redis_link *link);
/* Harmless when it is answered. */
void fg_room_ask_cancel(struct fg_room_inquiry *inquiry);

/* As fg_room_give_back, wherever the line is. */
void fg_room_hand_back(struct fg_room *room, const struct fg_room_entry *entry,
                       struct fg_redis_link *link, uint64_t now_ns);

/* The script, for fg_shared_state_add_script. */
struct fg_redis_script fg_room_script(void);

#endif
