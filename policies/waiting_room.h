/*
 * waiting_room.h: a line of numbered places that advances at the rate the backends can bear.
 * Thread   one owner at a time. Places are plain numbers; signing them is the caller's business.
 */
#ifndef FG_POLICIES_WAITING_ROOM_H
#define FG_POLICIES_WAITING_ROOM_H

#include "policies/drain_rate.h"
#include "policies/forecast.h"
#include "policies/room_draw.h"
#include "policies/room_places.h"

#define FG_WAITING_ROOM_MARK_COUNT 32

struct fg_waiting_room_config {
    uint64_t admit_amount;    /* admitted every admit_period_ns; 0: closed until the pace is set */
    uint64_t admit_period_ns; /* at least 1 */
    uint64_t admit_burst;     /* direct passes saved up while nobody waits; at least 1 to pass */
    uint64_t waiting_max;     /* most people that wait; 0: direct passes only */
    uint64_t grace_ns;        /* who was admitted may come in for so long; 0: for ever */
    uint64_t keep_ns;         /* a place is kept so long after it was asked for; at least 1 */
    uint64_t draw_window_ns;  /* the order of those who come in one is drawn; 0: first come first */
};

/* All numbers below `floor` had their turn by then. */
struct fg_waiting_room_mark {
    uint64_t at_ns;
    uint64_t floor;
};

/* The line itself, without a pointer: it may lie in memory that processes share, or in a file. */
struct fg_waiting_room_line {
    struct fg_waiting_room_config config;
    uint64_t epoch; /* tells this line from others */
    uint64_t seed;  /* of its draws: secret */
    /* places: [expired, head) had their turn, [head, tail) wait or have left */
    uint64_t expired; /* numbers below it are forgotten */
    uint64_t head;
    uint64_t tail;    /* the next number to be issued */
    uint64_t waiting; /* people in [head, tail) */
    /* time: that of the line is the caller's plus an offset, and stands still between owners */
    uint64_t offset_ns;
    uint64_t updated_ns;
    uint64_t slot; /* of updated_ns, in eighths of keep_ns */
    uint64_t sweep_next;
    /* the pace */
    uint64_t saved;    /* direct passes */
    uint64_t fraction; /* further 1/admit_period_ns parts of an admission */
    struct fg_drain_rate drain;
    struct fg_room_windows windows;
    /* marks of the last grace_ns, oldest first from mark_first */
    struct fg_waiting_room_mark marks[FG_WAITING_ROOM_MARK_COUNT];
    uint32_t mark_first;
    uint32_t mark_count;
    /* counters */
    uint64_t direct_total;   /* passed without waiting */
    uint64_t full_total;     /* found no place */
    uint64_t admitted_total; /* had their turn */
    uint64_t used_total;     /* of them came in */
    uint64_t unused_total;   /* of them did not come in time: their turn was given to others */
    uint64_t left_total;     /* went, or were not heard of any more, before their turn */
};

struct fg_waiting_room {
    struct fg_waiting_room_line *line;
    struct fg_room_places places;
    struct fg_forecast forecast; /* of this owner: how well it has told so far */
};

enum fg_waiting_room_status {
    FG_WAITING_ROOM_ADMITTED,
    FG_WAITING_ROOM_WAITING,
    FG_WAITING_ROOM_EXPIRED, /* not asked for in time, given back, or not used in time */
    FG_WAITING_ROOM_USED,
    FG_WAITING_ROOM_UNKNOWN, /* never issued in this line: join */
    FG_WAITING_ROOM_FULL,    /* only from join: no place was issued */
};

struct fg_waiting_room_place {
    enum fg_waiting_room_status status;
    uint64_t number;         /* valid when ADMITTED after a wait, and when WAITING */
    bool is_direct;          /* ADMITTED by join, without a place in line */
    uint64_t position;       /* people ahead; when FULL, ahead of the next one to join */
    uint64_t position_error; /* two standard deviations; 0: it was counted */
    uint64_t eta_ns; /* until its turn, 0 if it came; UINT64_MAX: never. FULL: until it may join */
    uint64_t eta_error_ns; /* nine in ten come within it; not valid when eta_ns is UINT64_MAX */
};

/* How many places the ring needs: twice those who may wait, since places of people who left are
 * numbered too, and those who were let in and may still come. */
uint64_t fg_waiting_room_capacity(const struct fg_waiting_room_config *config);

/* A new line. `memory` is fg_room_places_bytes(capacity) long and zeroed; `seed` is secret. Starts
 * with a full burst. */
void fg_waiting_room_init(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                          void *memory, uint64_t capacity,
                          const struct fg_waiting_room_config *config, uint64_t epoch,
                          uint64_t seed, uint64_t now_ns);

/*
 * Go on with a line that an earlier or another owner has left: its time goes on where it stopped.
 * False, and nothing changed, when its numbers contradict each other.
 */
bool fg_waiting_room_resume(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                            void *memory, uint64_t capacity, uint64_t now_ns);

/* An owner has died in the middle of a step: make the line whole again. */
void fg_waiting_room_repair(struct fg_waiting_room *room);

/* Begin a line anew in which the places from `first` up to `tail` wait, as if each had been asked
 * after at `now_ns`, as far as the ring has room for them; returns where the next one begins. */
uint64_t fg_waiting_room_adopt(struct fg_waiting_room *room, uint64_t epoch, uint64_t first,
                               uint64_t tail, uint64_t now_ns);

/* What a line with these settings is expected to admit, until that is measured. */
void fg_waiting_room_expect(struct fg_drain_rate *rate, const struct fg_waiting_room_config *config,
                            uint64_t now_ns);

/* Copy a line into a larger ring, which becomes the room's. */
void fg_waiting_room_grow(struct fg_waiting_room *room, struct fg_waiting_room_line *line,
                          void *memory, uint64_t capacity);

/* Go on with other settings; people keep their places. */
void fg_waiting_room_configure(struct fg_waiting_room *room,
                               const struct fg_waiting_room_config *config, uint64_t now_ns);

/* The same for the pace alone, as often as one likes: what is measured of the line stands, unless
 * the pace is another altogether. */
void fg_waiting_room_set_pace(struct fg_waiting_room *room, uint64_t amount, uint64_t period_ns,
                              uint64_t burst, uint64_t now_ns);

/* A place: ADMITTED at once when nobody waits and the rate allows, else WAITING; or FULL. */
struct fg_waiting_room_place fg_waiting_room_join(struct fg_waiting_room *room, uint64_t now_ns);

/* Who joined and was ADMITTED at once found no room behind: the pass is back, and it has a place
 * like any other, or FULL. */
struct fg_waiting_room_place fg_waiting_room_send_back(struct fg_waiting_room *room,
                                                       uint64_t now_ns);

/* Would join let pass at once? */
bool fg_waiting_room_is_open(struct fg_waiting_room *room, uint64_t now_ns);

/* Where does it stand? Asking keeps the place. */
struct fg_waiting_room_place fg_waiting_room_status(struct fg_waiting_room *room, uint64_t number,
                                                    uint64_t now_ns);

/* The same, and who is ADMITTED comes in: the place is used. */
struct fg_waiting_room_place fg_waiting_room_enter(struct fg_waiting_room *room, uint64_t number,
                                                   uint64_t now_ns);

/* What came in was sent away again through no fault of its own: the place can be used once more. */
void fg_waiting_room_give_back(struct fg_waiting_room *room, uint64_t number, uint64_t now_ns);

/* Whoever had the place does not want it any more. */
void fg_waiting_room_leave(struct fg_waiting_room *room, uint64_t number, uint64_t now_ns);

/* Until the turn of who joins now, as it is told; zeroes when nobody waits. */
struct fg_drain_estimate fg_waiting_room_last(const struct fg_waiting_room *room);

/* How many wait now. */
uint64_t fg_waiting_room_waiting(struct fg_waiting_room *room, uint64_t now_ns);

/* "admitted", "waiting", "expired", "used", "unknown", "full": constant strings. */
const char *fg_waiting_room_status_name(enum fg_waiting_room_status status);

#endif
