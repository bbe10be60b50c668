/*
 * users.h: the virtual users: they arrive, go their journey request by request, wait, lose
 * patience, try again, invite others.
 * Job      the demand side of a rehearsal, the same for a simulated gateway and for a real one:
 *          who carries the requests is a port.
 * Thread   one owner. The driver takes events from the heap in their order and hands those of its
 *          kinds (below FG_USERS_EVENT_END) to fg_users_on_event.
 * Memory   72 bytes for each user who is there now; those who left are reused. Time is an argument:
 *          virtual, or real since the start.
 *
 *    ARRIVAL -> thinks -> asks --- good ------> next step ... -> gone (finished)
 *                 ^         |--- a place in line -> asks again with the ticket
 *                 `- pause -'--- refused, failed, late, out of patience -> gone (left)
 */
#ifndef FG_REHEARSE_USERS_H
#define FG_REHEARSE_USERS_H

#include "rehearse/event_heap.h"
#include "rehearse/tally.h"

enum {
    FG_USERS_ARRIVAL,         /* index: crowd */
    FG_USERS_INVITED,         /* index: crowd */
    FG_USERS_WAKE,            /* index: user */
    FG_USERS_OUT_OF_PATIENCE, /* index: crowd */
    FG_USERS_EVENT_END,
};

struct fg_users;

/* A request on its way out. */
struct fg_call {
    uint32_t user; /* index, below FG_EVENT_INDEX_MAX; used again once the user has gone */
    uint64_t user_id;
    uint64_t address_id;
    uint64_t number; /* of the request, for bodies that must differ */
    const struct fg_scenario_crowd *crowd;
    const struct fg_scenario_step *step;
    uint64_t due_ns;
    bool has_ticket; /* of the waiting room */
    uint64_t ticket; /* as the answer gave it */
};

struct fg_answer {
    enum fg_outcome outcome;
    unsigned reason;         /* when refused; see tally.h */
    uint64_t retry_after_ns; /* 0: none said */
    uint64_t ticket;         /* when in line */
};

/*
 * Who carries requests. `send` may answer before it returns. `abandon`: the client leaves a request
 * that was sent and not answered; it is never answered then.
 */
struct fg_users_port {
    void *object;
    void (*send)(void *object, const struct fg_call *call, uint64_t now_ns);
    void (*abandon)(void *object, uint32_t user, uint64_t now_ns);
};

/* All are borrowed and outlive it. NULL without memory. The first arrivals are in the heap then. */
struct fg_users *fg_users_create(const struct fg_scenario *scenario, const struct fg_config *config,
                                 struct fg_event_heap *heap, struct fg_tally *tally,
                                 const struct fg_users_port *port);
void fg_users_destroy(struct fg_users *users);

/* An event of a kind below FG_USERS_EVENT_END. */
void fg_users_on_event(struct fg_users *users, const struct fg_event *event);

/* The answer to what `user` asked last. */
void fg_users_answer(struct fg_users *users, uint32_t user, uint64_t now_ns,
                     const struct fg_answer *answer);

/* Users who are there now. */
uint64_t fg_users_active(const struct fg_users *users);

/* False: memory for a user was missing at some time, and the run cannot be trusted. */
bool fg_users_are_complete(const struct fg_users *users);

#endif
