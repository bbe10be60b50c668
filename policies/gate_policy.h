/*
 * gate_policy.h: what stands before one backend, put together: concurrency limit, bounded queue,
 * admission level and circuit breaker. The gateway wraps it in a lock (upstream/gate_shared), the
 * simulator in virtual time; both run this code.
 * Thread   one owner at a time. Entries are embedded in the caller's objects and stay theirs.
 *
 *    enter() ---- slot free ----------------------------> ADMITTED --- try_pass() -- call --
 * leave() |                                                     ^
 *       +-- no slot: QUEUED --- a slot came: turn ADMITTED ---'
 *       |                  '--- turn EXPIRED | SHED | DISPLACED
 *       '-- refused (full, cannot meet its deadline, below the level)
 */
#ifndef FG_POLICIES_GATE_POLICY_H
#define FG_POLICIES_GATE_POLICY_H

#include "policies/admission_level.h"
#include "policies/admission_queue.h"
#include "policies/circuit_breaker.h"
#include "policies/concurrency_limit.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_gate_verdict {
    FG_GATE_ADMITTED, /* the caller holds a slot */
    FG_GATE_QUEUED,   /* a turn will come, unless abandoned */
    FG_GATE_FULL,
    FG_GATE_FULL_BYTES,  /* the bodies of those who wait are too many bytes */
    FG_GATE_FULL_TOKENS, /* they will ask for too many tokens */
    FG_GATE_CANNOT_MEET_DEADLINE,
    FG_GATE_BREAKER_OPEN, /* would have to wait for a slot, only to be refused by the breaker */
    FG_GATE_BELOW_LEVEL,  /* would have to wait, and is less important than those who may */
    FG_GATE_EXPIRED,      /* only as a turn: waited as long as it was allowed to */
    FG_GATE_SHED,         /* the queue stands, so this one gives way, or need not wait for that */
    FG_GATE_DISPLACED,    /* only as a turn: a more important request took the place */
};

/* Who asks for a slot. */
struct fg_gate_arrival {
    uint32_t compound;             /* priority number */
    uint64_t owner;                /* who asks, hashed; 0: not known. See policies/crowd */
    uint64_t deadline_ns;          /* of the request */
    struct fg_queue_weight weight; /* should it have to wait */
};

/* Where a waiting request stands. */
struct fg_gate_place {
    uint32_t position; /* how many are ahead */
    uint64_t wait_ns;  /* estimate; UINT64_MAX when there is no measure yet; of BREAKER_OPEN: when
                          to ask again */
    uint32_t level;    /* the largest priority number that may wait now */
    struct fg_queue_weight held; /* by those who wait; not this one if it was refused */
    uint64_t borne_ns;           /* of SHED: a longer wait is not borne while the queue stands */
    /* in shadow: what would have been said, ADMITTED: nothing else; QUEUED: the slots were used */
    enum fg_gate_verdict would_be;
    uint32_t in_flight, limit; /* slots, of would_be QUEUED */
};

/* One who waits. A zeroed entry is not in any queue. */
struct fg_gate_entry {
    struct fg_queue_entry queue;
    /* valid once its turn came */
    struct fg_gate_entry *next_turn;
    enum fg_gate_verdict verdict;
    struct fg_gate_place place;
};

/* Those whose turn came in one call, oldest first, through next_turn. Zeroed is empty. */
struct fg_gate_turns {
    struct fg_gate_entry *first;
    struct fg_gate_entry *last;
};

struct fg_gate_policy_config {
    struct fg_concurrency_config limit;
    struct fg_queue_config queue;
    struct fg_admission_level_config level;
    struct fg_breaker_config breaker;
    bool has_breaker;
    bool is_level_shadow;   /* counts whom the level would have refused */
    bool is_breaker_shadow; /* counts whom the breaker would have refused */
    uint64_t wait_max_ns;   /* nobody waits longer, whatever the deadline */
};

/* Fields are read by others, written only here. */
struct fg_gate_policy {
    struct fg_concurrency_limit limit;
    struct fg_admission_queue queue;
    struct fg_admission_level level;
    struct fg_circuit_breaker breaker;
    bool has_breaker;
    bool is_level_shadow;
    bool is_breaker_shadow;
    uint64_t wait_max_ns;
    uint64_t service_ns; /* how long the backend takes for an answer; 0: not known */
    /* how long a slot is held: slots x time, over those who left */
    uint64_t held_at_ns;
    double held_slot_ns;
    uint32_t held_ended;
    double held_mean_ns; /* 0: not known */
};

/* How a call ended; see fg_gate_policy_leave. */
struct fg_gate_result {
    uint64_t latency_ns; /* handed over to response head */
    enum fg_concurrency_outcome limit;
    enum fg_breaker_outcome breaker;
    bool passed_breaker; /* fg_gate_policy_try_pass let it through */
    bool was_probe;      /* ... and how */
};

void fg_gate_policy_init(struct fg_gate_policy *gate, const struct fg_gate_policy_config *config,
                         uint64_t now_ns);

/*
 * Ask for a slot. An owner who has many waiting, or asks for much of all that is asked for, counts
 * as less important, within the class, the more there are: what a crowd of one's own costs, it
 * costs him first. ADMITTED: the caller leaves later. QUEUED: `entry` belongs to the gate until its
 * turn is handed out or fg_gate_policy_abandon. Otherwise *place says how it looks (for
 * Retry-After). `entry` may be NULL when there is no memory for one: then nothing waits. All calls
 * append to `turns`; the caller tells each of them.
 */
enum fg_gate_verdict fg_gate_policy_enter(struct fg_gate_policy *gate, struct fg_gate_entry *entry,
                                          const struct fg_gate_arrival *arrival, uint64_t now_ns,
                                          struct fg_gate_turns *turns, struct fg_gate_place *place);

/*
 * ADMITTED as by enter if a slot is free and nobody waits, else nothing has changed and the caller
 * enters: most requests need no entry, owner or weight.
 */
bool fg_gate_policy_try_enter(struct fg_gate_policy *gate, uint32_t compound, uint64_t now_ns,
                              uint32_t *level);

/*
 * A further slot for a request that has one and would ask a second server: only one that nobody
 * else wants. The caller leaves later, with an ignored result.
 */
bool fg_gate_policy_try_extra(struct fg_gate_policy *gate, uint64_t now_ns);

/* Who has left while its client was to send the rest of the request is back, as it has come: the
 * server has it, and works. In flight may be more than the limit then; nobody else is let in. True:
 * it leaves as a probe of the breaker, which had let it pass. */
bool fg_gate_policy_retake(struct fg_gate_policy *gate, bool passed_breaker, uint64_t now_ns);

/*
 * `entry`, which got QUEUED, turns out to weigh this. QUEUED: it waits on, or its turn was handed
 * out already. Else a bound would be passed: the caller abandons it.
 */
enum fg_gate_verdict fg_gate_policy_reweigh(struct fg_gate_policy *gate,
                                            struct fg_gate_entry *entry,
                                            struct fg_queue_weight weight, uint64_t now_ns,
                                            struct fg_gate_place *place);

/*
 * The client has gone. True: the entry waited and is the caller's again. False: its turn was handed
 * out before; who got ADMITTED leaves with an ignored result.
 */
bool fg_gate_policy_abandon(struct fg_gate_policy *gate, struct fg_gate_entry *entry,
                            uint64_t now_ns, struct fg_gate_turns *turns);

/* With a slot held: may the backend be called? On REFUSE the caller leaves at once (IGNORED). */
enum fg_breaker_verdict fg_gate_policy_try_pass(struct fg_gate_policy *gate, uint32_t compound,
                                                uint64_t now_ns, uint64_t *retry_after_ns);

/* The same where there is no doubt: the breaker is closed, or there is none. False: nothing has
 * happened, and the caller asks with try_pass. */
bool fg_gate_policy_try_pass_closed(struct fg_gate_policy *gate, uint32_t compound,
                                    uint64_t now_ns);

/* The call is over: gives the slot back, teaches limit and breaker, lets waiters in. */
void fg_gate_policy_leave(struct fg_gate_policy *gate, uint64_t now_ns,
                          const struct fg_gate_result *result, struct fg_gate_turns *turns);

/* All who got no slot: found no place, waited in vain, or were below the level. */
uint64_t fg_gate_policy_refused_total(const struct fg_gate_policy *gate);

/* Refuses those who have waited too long, and lets more in where slots are held and none comes
 * free; at or after next_expiry (UINT64_MAX: nobody waits). */
void fg_gate_policy_expire(struct fg_gate_policy *gate, uint64_t now_ns,
                           struct fg_gate_turns *turns);
uint64_t fg_gate_policy_next_expiry_ns(const struct fg_gate_policy *gate);

#endif
