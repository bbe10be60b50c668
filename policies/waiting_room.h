/*
 * waiting_room.h: a line of numbered tickets that advances at the rate the backends can bear.
 * Thread   one owner at a time. Tickets are plain numbers; signing them is the caller's business.
 */
#ifndef FG_POLICIES_WAITING_ROOM_H
#define FG_POLICIES_WAITING_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#define FG_WAITING_ROOM_MARK_COUNT 32

struct fg_waiting_room_config {
    uint64_t admit_amount;    /* tickets admitted every admit_period_ns; 0: the room is closed */
    uint64_t admit_period_ns; /* at least 1 */
    uint64_t admit_burst;     /* direct passes saved up while nobody waits; at least 1 to pass */
    uint64_t waiting_max;     /* most tickets that wait; 0: direct passes only */
    uint64_t grace_ns;        /* an admitted ticket is good for this long; 0: for ever */
};

/* The head at a moment: all tickets below it had their turn by then. */
struct fg_waiting_room_mark {
    uint64_t at_ns;
    uint64_t head;
};

struct fg_waiting_room {
    struct fg_waiting_room_config config;
    /* the line: [0, expired) expired, [expired, head) admitted, [head, tail) waiting */
    uint64_t expired;
    uint64_t head;
    uint64_t tail; /* the next ticket to be issued */
    uint64_t epoch;
    /* the pace */
    uint64_t saved;    /* direct passes */
    uint64_t fraction; /* further 1/admit_period_ns parts of an admission */
    uint64_t updated_ns;
    /* marks of the last grace_ns, oldest first from mark_first */
    struct fg_waiting_room_mark marks[FG_WAITING_ROOM_MARK_COUNT];
    uint32_t mark_first;
    uint32_t mark_count;
    /* counters */
    uint64_t direct_total; /* passed without waiting */
    uint64_t full_total;
};

/* What survives a restart. */
struct fg_waiting_room_snapshot {
    uint64_t expired;
    uint64_t head;
    uint64_t tail;
    uint64_t epoch;
};

enum fg_waiting_room_status {
    FG_WAITING_ROOM_ADMITTED,
    FG_WAITING_ROOM_WAITING,
    FG_WAITING_ROOM_EXPIRED,
    FG_WAITING_ROOM_UNKNOWN, /* never issued in this epoch: join again */
    FG_WAITING_ROOM_FULL,    /* only from join: no ticket was issued */
};

struct fg_waiting_room_place {
    enum fg_waiting_room_status status;
    uint64_t ticket;   /* not valid when FULL */
    uint64_t position; /* tickets ahead; when FULL, ahead of the next one to be issued */
    uint64_t eta_ns; /* until its turn, 0 if it came; UINT64_MAX: never. FULL: until it may join */
};

/* `epoch` tells this line from earlier ones; starts with a full burst. */
void fg_waiting_room_init(struct fg_waiting_room *room, const struct fg_waiting_room_config *config,
                          uint64_t epoch, uint64_t now_ns);

/* A ticket: ADMITTED at once when nobody waits and the rate allows, else WAITING; or FULL. */
struct fg_waiting_room_place fg_waiting_room_join(struct fg_waiting_room *room, uint64_t now_ns);

struct fg_waiting_room_place fg_waiting_room_status(struct fg_waiting_room *room, uint64_t ticket,
                                                    uint64_t now_ns);

/* How many wait now. */
uint64_t fg_waiting_room_waiting(struct fg_waiting_room *room, uint64_t now_ns);

/* Go on with another rate; tickets keep their place. */
void fg_waiting_room_set_rate(struct fg_waiting_room *room, uint64_t admit_amount,
                              uint64_t admit_period_ns, uint64_t now_ns);

struct fg_waiting_room_snapshot fg_waiting_room_export(struct fg_waiting_room *room,
                                                       uint64_t now_ns);

/*
 * Go on where an earlier process stopped, without a burst. Tickets admitted then are good for
 * grace_ns from now. False, and nothing changed, when the numbers contradict each other.
 */
bool fg_waiting_room_import(struct fg_waiting_room *room,
                            const struct fg_waiting_room_snapshot *snapshot, uint64_t now_ns);

/* "admitted", "waiting", "expired", "unknown", "full": constant strings. */
const char *fg_waiting_room_status_name(enum fg_waiting_room_status status);

#endif
