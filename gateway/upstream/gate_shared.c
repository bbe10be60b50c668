/*
 * gate_shared.c: the lock around the policies of one backend, and the way a turn travels.
 *
 *    ticket:  FREE --> WAITING --(popped, expired, shed)--> TURN_ON_THE_WAY --(message ran)--> FREE
 *                         `--(abandoned)--> FREE                `--(abandoned)--> ABANDONED -->
 * FREE
 *
 * The ticket's `object` and FREE/ABANDONED belong to the loop that entered. WAITING and
 * TURN_ON_THE_WAY change under the gate's lock, because any loop may pop. The mailbox hands the
 * ticket back to its loop (its mutex orders the memory).
 */
#include "gate_shared.h"

#include "base/list.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct fg_gate {
    pthread_mutex_t lock;
    struct fg_counter shed_at_ns;
    struct fg_counter waiting;    /* as the policy has it, for who does not lock */
    struct fg_gate_policy policy; /* guarded by lock */
};

struct fg_gate_ticket {
    struct fg_gate_entry entry; /* verdict and place are set before the message is posted */
    struct fg_message message;
    struct fg_gate_ticket *next_free;
    struct fg_gate_tickets *home;
    struct fg_gate *gate;
    struct fg_mailbox *mailbox;
    fg_gate_turn_fn on_turn;
    void *object; /* NULL: abandoned */
};

struct fg_gate *fg_gate_create(const struct fg_gate_policy_config *config, uint64_t now_ns)
{
    struct fg_gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL)
        return NULL;
    pthread_mutex_init(&gate->lock, NULL);
    fg_gate_policy_init(&gate->policy, config, now_ns);
    return gate;
}

void fg_gate_destroy(struct fg_gate *gate)
{
    if (gate == NULL)
        return;
    assert(gate->policy.queue.count == 0);
    pthread_mutex_destroy(&gate->lock);
    free(gate);
}

static void free_ticket(struct fg_gate_ticket *ticket)
{
    ticket->gate = NULL;
    ticket->object = NULL;
    ticket->next_free = ticket->home->free;
    ticket->home->free = ticket;
}

void fg_gate_tickets_fini(struct fg_gate_tickets *tickets)
{
    while (tickets->free != NULL) {
        struct fg_gate_ticket *ticket = tickets->free;
        tickets->free = ticket->next_free;
        free(ticket);
    }
}

static struct fg_gate_ticket *take_ticket(struct fg_gate_tickets *tickets)
{
    struct fg_gate_ticket *ticket = tickets->free;
    if (ticket != NULL)
        tickets->free = ticket->next_free;
    else
        ticket = malloc(sizeof(*ticket));
    if (ticket != NULL)
        *ticket = (struct fg_gate_ticket){.home = tickets};
    return ticket;
}

/* On the ticket's own loop: its turn, or its refusal, has arrived. */
static void on_message(struct fg_message *message)
{
    struct fg_gate_ticket *ticket = FG_CONTAINER_OF(message, struct fg_gate_ticket, message);
    struct fg_gate *gate = ticket->gate;
    void *object = ticket->object;
    fg_gate_turn_fn on_turn = ticket->on_turn;
    enum fg_gate_verdict verdict = ticket->entry.verdict;
    struct fg_gate_place place = ticket->entry.place;
    free_ticket(ticket);
    if (object != NULL) {
        on_turn(object, verdict, &place);
    } else if (verdict == FG_GATE_ADMITTED) {
        fg_gate_leave(gate, fg_clock_monotonic_ns(), 0, FG_CONCURRENCY_IGNORED, false, false,
                      FG_BREAKER_CANCELLED);
    }
}

static struct fg_gate_ticket *ticket_of(struct fg_gate_entry *entry)
{
    return FG_CONTAINER_OF(entry, struct fg_gate_ticket, entry);
}

static void note_verdict(struct fg_gate *gate, enum fg_gate_verdict verdict, uint64_t now_ns)
{
    if (verdict != FG_GATE_ADMITTED && verdict != FG_GATE_QUEUED && verdict != FG_GATE_BREAKER_OPEN)
        fg_counter_set(&gate->shed_at_ns, now_ns);
}

/* Without the lock: a posted ticket is its loop's, so the next one is read first. */
static void post_turns(struct fg_gate *gate, struct fg_gate_turns *turns, uint64_t now_ns)
{
    while (turns->first != NULL) {
        struct fg_gate_ticket *ticket = ticket_of(turns->first);
        turns->first = turns->first->next_turn;
        note_verdict(gate, ticket->entry.verdict, now_ns);
        ticket->message.may_wait = ticket->entry.verdict != FG_GATE_ADMITTED;
        fg_mailbox_post(ticket->mailbox, &ticket->message);
    }
}

static void unlock_changed(struct fg_gate *gate)
{
    fg_counter_set(&gate->waiting, gate->policy.queue.count);
    pthread_mutex_unlock(&gate->lock);
}

enum fg_gate_verdict fg_gate_enter(struct fg_gate *gate, struct fg_gate_tickets *tickets,
                                   struct fg_mailbox *mailbox,
                                   const struct fg_gate_arrival *arrival, uint64_t now_ns,
                                   fg_gate_turn_fn on_turn, void *object,
                                   struct fg_gate_ticket **ticket, struct fg_gate_place *place)
{
    struct fg_gate_turns turns = {NULL, NULL};
    struct fg_gate_ticket *mine = take_ticket(tickets);
    if (mine != NULL) {
        mine->gate = gate;
        mine->mailbox = mailbox;
        mine->message.run = on_message;
        mine->on_turn = on_turn;
        mine->object = object;
    }
    pthread_mutex_lock(&gate->lock);
    enum fg_gate_verdict verdict = fg_gate_policy_enter(
        &gate->policy, mine == NULL ? NULL : &mine->entry, arrival, now_ns, &turns, place);
    unlock_changed(gate);
    if (verdict == FG_GATE_QUEUED)
        *ticket = mine;
    else if (mine != NULL)
        free_ticket(mine);
    note_verdict(gate, verdict, now_ns);
    post_turns(gate, &turns, now_ns);
    return verdict;
}

bool fg_gate_try_enter(struct fg_gate *gate, uint32_t compound, uint64_t now_ns, uint32_t *level,
                       bool *has_passed)
{
    pthread_mutex_lock(&gate->lock);
    bool is_admitted = fg_gate_policy_try_enter(&gate->policy, compound, now_ns, level);
    *has_passed = is_admitted && fg_gate_policy_try_pass_closed(&gate->policy, compound, now_ns);
    pthread_mutex_unlock(&gate->lock);
    return is_admitted;
}

bool fg_gate_try_extra(struct fg_gate *gate, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    bool is_admitted = fg_gate_policy_try_extra(&gate->policy, now_ns);
    pthread_mutex_unlock(&gate->lock);
    return is_admitted;
}

bool fg_gate_retake(struct fg_gate *gate, bool passed_breaker, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    bool is_probe = fg_gate_policy_retake(&gate->policy, passed_breaker, now_ns);
    pthread_mutex_unlock(&gate->lock);
    return is_probe;
}

enum fg_gate_verdict fg_gate_reweigh(struct fg_gate_ticket *ticket, struct fg_queue_weight weight,
                                     uint64_t now_ns, struct fg_gate_place *place)
{
    struct fg_gate *gate = ticket->gate;
    pthread_mutex_lock(&gate->lock);
    enum fg_gate_verdict verdict =
        fg_gate_policy_reweigh(&gate->policy, &ticket->entry, weight, now_ns, place);
    unlock_changed(gate);
    note_verdict(gate, verdict, now_ns);
    return verdict;
}

void fg_gate_abandon(struct fg_gate_ticket *ticket, uint64_t now_ns)
{
    struct fg_gate *gate = ticket->gate;
    struct fg_gate_turns turns = {NULL, NULL};
    pthread_mutex_lock(&gate->lock);
    bool was_waiting = fg_gate_policy_abandon(&gate->policy, &ticket->entry, now_ns, &turns);
    unlock_changed(gate);
    if (was_waiting)
        free_ticket(ticket);
    else
        ticket->object = NULL; /* its message is on the way and will find nobody */
    post_turns(gate, &turns, now_ns);
}

enum fg_breaker_verdict fg_gate_breaker_try_pass(struct fg_gate *gate, uint32_t compound,
                                                 uint64_t now_ns, uint64_t *retry_after_ns)
{
    pthread_mutex_lock(&gate->lock);
    enum fg_breaker_verdict verdict =
        fg_gate_policy_try_pass(&gate->policy, compound, now_ns, retry_after_ns);
    unlock_changed(gate);
    return verdict;
}

struct fg_breaker_cause fg_gate_breaker_cause(struct fg_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    struct fg_breaker_cause cause = gate->policy.breaker.cause;
    pthread_mutex_unlock(&gate->lock);
    return cause;
}

void fg_gate_leave(struct fg_gate *gate, uint64_t now_ns, uint64_t latency_ns,
                   enum fg_concurrency_outcome limit_outcome, bool passed_breaker, bool was_probe,
                   enum fg_breaker_outcome breaker_outcome)
{
    struct fg_gate_turns turns = {NULL, NULL};
    pthread_mutex_lock(&gate->lock);
    fg_gate_policy_leave(&gate->policy, now_ns,
                         &(struct fg_gate_result){.latency_ns = latency_ns,
                                                  .limit = limit_outcome,
                                                  .breaker = breaker_outcome,
                                                  .passed_breaker = passed_breaker,
                                                  .was_probe = was_probe},
                         &turns);
    unlock_changed(gate);
    post_turns(gate, &turns, now_ns);
}

void fg_gate_expire(struct fg_gate *gate, uint64_t now_ns)
{
    struct fg_gate_turns turns = {NULL, NULL};
    pthread_mutex_lock(&gate->lock);
    fg_gate_policy_expire(&gate->policy, now_ns, &turns);
    unlock_changed(gate);
    post_turns(gate, &turns, now_ns);
}

uint64_t fg_gate_next_expiry_ns(struct fg_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    uint64_t next_ns = fg_gate_policy_next_expiry_ns(&gate->policy);
    pthread_mutex_unlock(&gate->lock);
    return next_ns;
}

const struct fg_counter *fg_gate_shed_at(const struct fg_gate *gate)
{
    return &gate->shed_at_ns;
}

const struct fg_counter *fg_gate_waiting(const struct fg_gate *gate)
{
    return &gate->waiting;
}

struct fg_gate_gauges fg_gate_gauges(struct fg_gate *gate, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    struct fg_gate_gauges gauges = {
        .in_flight = fg_concurrency_limit_in_flight(&gate->policy.limit),
        .limit = fg_concurrency_limit_current(&gate->policy.limit),
        .queued = gate->policy.queue.count,
        .held = gate->policy.queue.held,
        .level = fg_admission_level_current(&gate->policy.level),
        .breaker = gate->policy.has_breaker
                       ? fg_circuit_breaker_state(&gate->policy.breaker, now_ns)
                       : FG_BREAKER_CLOSED,
        .breaker_opened_total = gate->policy.breaker.opened_total,
        .queued_total = gate->policy.queue.queued_total,
        .refused_total = fg_gate_policy_refused_total(&gate->policy),
        .service_ns = gate->policy.service_ns,
    };
    pthread_mutex_unlock(&gate->lock);
    return gauges;
}

json_t *fg_gate_stats(struct fg_gate *gate, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    struct fg_admission_queue queue =
        gate->policy.queue; /* the counters; its links are not followed */
    struct fg_circuit_breaker breaker = gate->policy.breaker;
    uint32_t limit = fg_concurrency_limit_current(&gate->policy.limit);
    uint32_t in_flight = fg_concurrency_limit_in_flight(&gate->policy.limit);
    uint64_t over_limit = gate->policy.limit.refused_total;
    uint64_t noload_ns = fg_concurrency_limit_noload_ns(&gate->policy.limit);
    uint32_t level = fg_admission_level_current(&gate->policy.level);
    uint64_t level_refused = gate->policy.level.refused_total;
    uint64_t level_lowered = gate->policy.level.lowered_total;
    uint64_t expected_ns =
        fg_admission_queue_expected_wait_ns(&gate->policy.queue, FG_PRIORITY_NORMAL, now_ns);
    pthread_mutex_unlock(&gate->lock);
    return json_pack(
        "{s:{s:I,s:I,s:I,s:b,s:f},s:{s:s,s:I,s:I,s:I},"
        "s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o},"
        "s:{s:b,s:b,s:s,s:s,s:I,s:I,s:I}}",
        "concurrency", "limit", (json_int_t)limit, "in_flight", (json_int_t)in_flight,
        "over_limit_total", (json_int_t)over_limit, "shadow", gate->policy.limit.config.is_shadow,
        "noload_latency_s", (double)noload_ns / 1e9, "priority", "class",
        fg_priority_name(fg_priority_class_of(level)), "level", (json_int_t)level, "lowered_total",
        (json_int_t)level_lowered, "refused_total", (json_int_t)level_refused, "queue", "waiting",
        (json_int_t)queue.count, "bytes", (json_int_t)queue.held.bytes, "tokens",
        (json_int_t)queue.held.tokens, "queued_total", (json_int_t)queue.queued_total, "full_total",
        (json_int_t)queue.full_total, "full_bytes_total", (json_int_t)queue.full_bytes_total,
        "full_tokens_total", (json_int_t)queue.full_tokens_total, "expired_total",
        (json_int_t)queue.expired_total, "shed_total", (json_int_t)queue.shed_total,
        "displaced_total", (json_int_t)queue.displaced_total, "cannot_meet_total",
        (json_int_t)queue.cannot_meet_total, "shadow", queue.config.is_shadow, "expected_wait_s",
        expected_ns == UINT64_MAX ? json_null() : json_real((double)expected_ns / 1e9), "breaker",
        "enabled", gate->policy.has_breaker ? 1 : 0, "shadow", gate->policy.is_breaker_shadow,
        "state",
        gate->policy.has_breaker ? fg_breaker_state_name(fg_circuit_breaker_state(&breaker, now_ns))
                                 : "disabled",
        "opened_by", fg_breaker_rule_name(breaker.cause.rule), "opened_total",
        (json_int_t)breaker.opened_total, "refused_total", (json_int_t)breaker.refused_total,
        "probes_total", (json_int_t)breaker.probes_total);
}
