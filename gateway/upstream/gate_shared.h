/*
 * gate_shared.h: the gate before one backend, or one route, shared by all event loops, so that a
 * limit of 8 means 8. What it decides is policies/gate_policy; here are the lock and the way a turn
 * travels.
 * Protocol  the policy is guarded by one mutex a gate; a critical section is a few hundred
 *           nanoseconds and makes no system call. Another loop's waiter is told through its
 *           mailbox, outside the lock.
 * Memory    tickets come from a per-loop free list; at most queue.requests_max of them can wait.
 * Ends      a ticket whose request has gone while its turn is on the way gives the slot back by
 *           itself: fg_gate_abandon never leaves a slot behind.
 */
#ifndef FG_UPSTREAM_GATE_SHARED_H
#define FG_UPSTREAM_GATE_SHARED_H

#include "base/clock.h"
#include "base/counters_shared.h"
#include "base/mailbox_shared.h"
#include "policies/gate_policy.h"

#include <jansson.h>

struct fg_gate;
struct fg_gate_ticket;

/* Tickets of one loop that are not in use. Zeroed is empty. */
struct fg_gate_tickets {
    struct fg_gate_ticket *free;
};

/* On the loop that entered, never from inside a gate call. `object` is what enter was given. */
typedef void (*fg_gate_turn_fn)(void *object, enum fg_gate_verdict verdict,
                                const struct fg_gate_place *place);

/* NULL without memory. `config` is copied. */
struct fg_gate *fg_gate_create(const struct fg_gate_policy_config *config, uint64_t now_ns);
/* No ticket is out any more. */
void fg_gate_destroy(struct fg_gate *gate);

/*
 * Ask for a slot. ADMITTED: the caller calls fg_gate_leave later. QUEUED: *ticket is set, and valid
 * until on_turn runs or fg_gate_abandon is called. Otherwise *place says how it looks (for
 * Retry-After). The wait is bounded by queue.wait_max, too.
 */
enum fg_gate_verdict fg_gate_enter(struct fg_gate *gate, struct fg_gate_tickets *tickets,
                                   struct fg_mailbox *mailbox,
                                   const struct fg_gate_arrival *arrival, uint64_t now_ns,
                                   fg_gate_turn_fn on_turn, void *object,
                                   struct fg_gate_ticket **ticket, struct fg_gate_place *place);

/*
 * ADMITTED at once, as by fg_gate_enter, or nothing has happened: then the caller enters.
 * *has_passed: a breaker that is closed has let it pass by the way, as by
 * fg_gate_breaker_try_pass; all of that is one look at what the loops share.
 */
bool fg_gate_try_enter(struct fg_gate *gate, uint32_t compound, uint64_t now_ns, uint32_t *level,
                       bool *has_passed);

/* A further slot for who has one, if nobody else wants it; left with an ignored result. */
bool fg_gate_try_extra(struct fg_gate *gate, uint64_t now_ns);
/* Back after fg_gate_leave, whose work has come (fg_gate_policy_retake); leaves again later. */
bool fg_gate_retake(struct fg_gate *gate, bool passed_breaker, uint64_t now_ns);

/* The waiting request turns out to weigh this; unless QUEUED the caller abandons it and refuses. */
enum fg_gate_verdict fg_gate_reweigh(struct fg_gate_ticket *ticket, struct fg_queue_weight weight,
                                     uint64_t now_ns, struct fg_gate_place *place);

/* The waiting request has gone; on_turn will not be called. The loop that entered. */
void fg_gate_abandon(struct fg_gate_ticket *ticket, uint64_t now_ns);

/* With a slot held: may the backend be called? On REFUSE the caller leaves at once (IGNORED). */
enum fg_breaker_verdict fg_gate_breaker_try_pass(struct fg_gate *gate, uint32_t compound,
                                                 uint64_t now_ns, uint64_t *retry_after_ns);

/* Why the breaker opened last, for who is refused by it. Any thread. */
struct fg_breaker_cause fg_gate_breaker_cause(struct fg_gate *gate);

/*
 * The call is over: gives the slot back, lets waiters in, and teaches limit and breaker.
 * `passed_breaker` says whether fg_gate_breaker_try_pass let it through, `was_probe` how.
 * `latency_ns`: handed over to response head.
 */
void fg_gate_leave(struct fg_gate *gate, uint64_t now_ns, uint64_t latency_ns,
                   enum fg_concurrency_outcome limit_outcome, bool passed_breaker, bool was_probe,
                   enum fg_breaker_outcome breaker_outcome);

/* Refuses those who have waited too long. Any loop, at or after fg_gate_next_expiry_ns. */
void fg_gate_expire(struct fg_gate *gate, uint64_t now_ns);
uint64_t fg_gate_next_expiry_ns(struct fg_gate *gate);

/* When it last refused somebody for want of room, 0: never. Lives as long as the gate. */
const struct fg_counter *fg_gate_shed_at(const struct fg_gate *gate);
/* How many wait, as of the last change. Lives as long as the gate. */
const struct fg_counter *fg_gate_waiting(const struct fg_gate *gate);

/* Gauges and totals as JSON: state, limit, in flight, queue. Any thread. */
json_t *fg_gate_stats(struct fg_gate *gate, uint64_t now_ns);

/* How many wait, and the breaker's state: for metrics. Any thread. */
struct fg_gate_gauges {
    uint32_t in_flight;
    uint32_t limit;
    uint32_t queued;
    struct fg_queue_weight held; /* by those */
    uint32_t level;              /* the largest priority number that may wait */
    enum fg_breaker_state breaker;
    uint64_t breaker_opened_total;
    uint64_t queued_total;
    uint64_t refused_total; /* found no slot, but for the breaker's */
    uint64_t service_ns;    /* how long the backend takes for an answer; 0: not known */
};
struct fg_gate_gauges fg_gate_gauges(struct fg_gate *gate, uint64_t now_ns);

/* Frees the loop's spare tickets. */
void fg_gate_tickets_fini(struct fg_gate_tickets *tickets);

#endif
