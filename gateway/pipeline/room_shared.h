/*
 * room_shared.h: a route's waiting room for all loops, with tickets that cannot be forged or lent.
 * Protocol  policies/waiting_room under one mutex (room_store_shared.h), held for one step. Of a
 *           line in Redis (room_link.h) what its last answer said is kept under a mutex of its own,
 *           for the estimate and for going on alone; that one is always taken first.
 * Tickets   room_ticket.h: bound to route, line, place and holder; a place lets in once.
 * Places    one for each user, who keeps it without the ticket, too, and as many new ones for an
 *           address as the configuration says (room_book_shared.h).
 *
 * Alone     While the shared Redis is away this gateway goes on with a line of its own. It begins
 *           with the places that were waiting in the shared one, whose tickets are taken, at the
 *           whole rate: all gateways walk the same places, each meets the people who come to it.
 *           Once they are through, or after `keep`, when who waits elsewhere looks absent here, its
 *           own newcomers go on at alone_share of the rate. A place may then let in once at each
 *           gateway; nothing else is weaker. When Redis is back places of its line count again, and
 *           who joined meanwhile joins its end.
 */
#ifndef FG_PIPELINE_ROOM_SHARED_H
#define FG_PIPELINE_ROOM_SHARED_H

#include "config/config.h"
#include "pipeline/room_store_shared.h"
#include "pipeline/room_ticket.h"
#include "policies/admit_rate.h"
#include "policies/waiting_room.h"

#define FG_ROOM_SECRET_BYTES 32

struct fg_room;

/* `route_name` outlives the room and is bound into the tickets, whose keys are derived from
 * `secret`. `memory` is where the line lives without a state_file; NULL: in this process. NULL with
 * `error`. Start-up. */
struct fg_room *fg_room_create(const struct fg_waiting_room_conf *conf, const char *route_name,
                               const struct fg_room_memory *memory,
                               const unsigned char secret[FG_ROOM_SECRET_BYTES], uint64_t now_ns,
                               struct fg_error *error);
void fg_room_destroy(struct fg_room *room);

/* The line is in Redis, under keys that begin with `prefix`; script `index` takes a step. False: no
 * memory. Start-up. */
bool fg_room_share(struct fg_room *room, const char *prefix, unsigned script_index);

const struct fg_waiting_room_conf *fg_room_conf(const struct fg_room *room);
/* That of its route. */
const char *fg_room_name(const struct fg_room *room);

enum fg_room_wish {
    FG_ROOM_ENTER, /* come in, or else join the line */
    FG_ROOM_LOOK,  /* where do I stand? Keeps the place */
    FG_ROOM_JOIN,  /* the same, and joins when there is no place; where nobody waits the answer is
                      ADMITTED and is_direct, and nothing is taken: ENTER will let in */
    FG_ROOM_LEAVE, /* give the place back */
};

/* Who asks, and what it brings. */
struct fg_room_caller {
    struct fg_room_holder holder;
    struct fg_span paper; /* a ticket or a pass; empty: none */
    uint64_t lot;         /* spreads those who are told to come back */
    uint64_t now_ns;
    uint64_t now_s;         /* wall time */
    struct fg_span address; /* the client's; empty: of nobody */
};

/* A place that somebody came in with. */
struct fg_room_entry {
    bool is_shared; /* of the line in Redis */
    uint64_t epoch;
    uint64_t number;
};

/* What became of the ticket or pass that somebody brought, where it did not count. */
enum fg_room_fate {
    FG_ROOM_FATE_NONE,      /* it did, or there was none */
    FG_ROOM_FATE_NOT_VALID, /* changed, somebody else's, another route's, or too old */
    FG_ROOM_FATE_ENDED,     /* of a line that is no more */
    FG_ROOM_FATE_USED,
    FG_ROOM_FATE_EXPIRED, /* left, not asked after in time, or not used in time */
    FG_ROOM_FATE_GONE,    /* one of the two before */
};

/* What came of it. */
struct fg_room_visit {
    struct fg_waiting_room_place place;
    struct fg_room_entry entry; /* of a place in line */
    bool has_pass;              /* ADMITTED by a pass that was given earlier */
    bool is_address_full;       /* FULL, for this client's address alone */
    enum fg_room_fate fate;
    struct fg_span paper;    /* to hand out: the ticket of who waits or may come in, the pass of
                                   who came in; empty: none */
    uint64_t paper_for_ns;   /* how long it is worth keeping */
    uint64_t retry_after_ns; /* when to ask again; 0: no need */
};

/*
 * A paper that is not genuine, not the holder's, or of an earlier line counts as none. The one to
 * hand out is written to `paper`, which may be where the caller's lies. For a line that is here.
 */
void fg_room_visit(struct fg_room *room, enum fg_room_wish wish,
                   const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                   struct fg_room_visit *visit);

/* Who came in with that place was sent away for another reason: it may come in once more. */
void fg_room_give_back(struct fg_room *room, uint64_t number, uint64_t now_ns);

/* Who came in with that place, or directly (`entry` NULL), found no room behind, in a line that is
 * here: it has the place, or a new one, and *visit says so. False: there is none. */
bool fg_room_send_back(struct fg_room *room, const struct fg_room_entry *entry,
                       const struct fg_room_caller *caller, char paper[FG_ROOM_TICKET_TEXT],
                       struct fg_room_visit *visit);

/* ---- admit: auto ---- */

/* A request of the room's route was answered well by its backend. Any thread. */
void fg_room_note_done(struct fg_room *room);

/*
 * A step of policies/admit_rate with `sample`, whose `refused` is a total; `done`, `came` and
 * `has_line` are filled in here; the line goes on at that pace. When fg_room_is_due, which is once
 * a second, and never while the pace is configured. One thread.
 */
bool fg_room_is_due(struct fg_room *room, uint64_t now_ns);
void fg_room_follow(struct fg_room *room, uint64_t now_ns, struct fg_admit_sample *sample);

/* ---- for room_link.c: a line in Redis ---- */

/* The place that a genuine ticket claims, and the one that is known to be the user's. */
struct fg_room_claim {
    bool has_number;
    uint64_t epoch;
    uint64_t number;
    bool has_own; /* of the same line, valid where number is none or not good any more */
    uint64_t own;
    bool may_join; /* its address may take another place; if not, only after ... */
    uint64_t join_after_ns;
};

/* What an answer of Redis says of the line. */
struct fg_room_news {
    uint64_t epoch;
    uint64_t waiting;
    uint64_t tail;
    uint64_t first; /* the lowest number that waits; tail when none does */
    uint64_t admitted_total;
    uint64_t left_total;
};

/* True: the caller has a pass, and *visit is the answer. */
bool fg_room_read(const struct fg_room *room, const struct fg_room_caller *caller,
                  struct fg_room_claim *claim, struct fg_room_visit *visit);
/* Looks up claim->own, and pays for a new place, should the answer be one: claim->may_join. What
 * was not needed is given back by whoever answers. */
void fg_room_pay(struct fg_room *room, enum fg_room_wish wish, const struct fg_room_caller *caller,
                 struct fg_room_claim *claim);
/* Redis has answered. */
void fg_room_conclude(struct fg_room *room, enum fg_room_wish wish,
                      const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                      const struct fg_waiting_room_place *place, const struct fg_room_news *news,
                      char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit);
/* Redis is away. */
void fg_room_visit_alone(struct fg_room *room, enum fg_room_wish wish,
                         const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                         char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit);
/* Redis is there, but has too much to answer: who has a place keeps it and comes back, nobody
 * joins, and no line is begun for that. */
void fg_room_visit_busy(struct fg_room *room, enum fg_room_wish wish,
                        const struct fg_room_caller *caller, const struct fg_room_claim *claim,
                        char paper[FG_ROOM_TICKET_TEXT], struct fg_room_visit *visit);
/* state, line, seen, turn */
void fg_room_keys(const struct fg_room *room, struct fg_span keys[4]);
unsigned fg_room_script_index(const struct fg_room *room);
/* For a line that may have to be begun; not 0. */
uint64_t fg_room_new_epoch(struct fg_room *room);

struct fg_room_stats {
    bool is_alone; /* a shared room whose Redis is away */
    uint64_t waiting;
    uint64_t direct_total;
    uint64_t full_total;
    uint64_t issued_total;
    uint64_t admitted_total;
    uint64_t used_total;
    uint64_t unused_total;
    uint64_t left_total;
    double admitted_per_s;
    double pace_per_s;             /* admit: auto: what it is now; 0: configured */
    double drain_per_s;            /* ... the backend's, as measured; 0: not known */
    struct fg_drain_estimate last; /* for who would join now */
};
struct fg_room_stats fg_room_stats(struct fg_room *room, uint64_t now_ns);

#endif
