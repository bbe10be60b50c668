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
    /* guarded by lock */
    struct fg_concurrency_limit limit;
    struct fg_admission_queue queue;
    struct fg_circuit_breaker breaker;
    /* constant */
    bool has_breaker;
    uint64_t wait_max_ns;
};

struct fg_gate_ticket {
    struct fg_queue_entry entry;
    struct fg_message message;
    struct fg_gate_ticket *next_free;
    struct fg_gate_tickets *home;
    struct fg_gate *gate;
    struct fg_mailbox *mailbox;
    fg_gate_turn_fn on_turn;
    void *object; /* NULL: abandoned */
    /* set before the message is posted */
    enum fg_gate_verdict verdict;
    struct fg_gate_place place;
};

struct fg_gate *fg_gate_create(const struct fg_backend_conf *conf, uint64_t now_ns)
{
    struct fg_gate *gate = calloc(1, sizeof(*gate));
    if (gate == NULL)
        return NULL;
    pthread_mutex_init(&gate->lock, NULL);
    struct fg_concurrency_config limit =
        fg_concurrency_limit_config_default(conf->concurrency.kind);
    limit.limit_initial = conf->concurrency.limit;
    if (conf->concurrency.kind != FG_CONCURRENCY_FIXED) {
        limit.limit_min = conf->concurrency.limit_min;
        limit.limit_max = conf->concurrency.limit_max;
    }
    fg_concurrency_limit_init(&gate->limit, &limit);
    fg_admission_queue_init(&gate->queue,
                            &(struct fg_queue_config){.capacity = conf->queue.requests_max,
                                                      .ageing_ns = conf->queue.ageing_ns,
                                                      .target_ns = conf->queue.target_ns,
                                                      .interval_ns = conf->queue.interval_ns});
    gate->wait_max_ns = conf->queue.wait_max_ns;
    gate->has_breaker = conf->breaker.enabled;
    struct fg_breaker_config breaker = {
        .consecutive_failures = conf->breaker.consecutive_failures,
        .error_permille = conf->breaker.error_permille,
        .min_requests = conf->breaker.min_requests,
        .half_open_probes = conf->breaker.half_open_probes,
        .window_ns = conf->breaker.window_ns,
        .open_ns = conf->breaker.open_ns,
        .open_max_ns = conf->breaker.open_max_ns,
    };
    if (!gate->has_breaker)
        breaker = fg_circuit_breaker_config_default();
    fg_circuit_breaker_init(&gate->breaker, &breaker, now_ns);
    return gate;
}

void fg_gate_destroy(struct fg_gate *gate)
{
    if (gate == NULL)
        return;
    assert(gate->queue.count == 0);
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
    enum fg_gate_verdict verdict = ticket->verdict;
    struct fg_gate_place place = ticket->place;
    free_ticket(ticket);
    if (object != NULL) {
        on_turn(object, verdict, &place);
    } else if (verdict == FG_GATE_ADMITTED) {
        fg_gate_leave(gate, fg_clock_monotonic_ns(), 0, FG_CONCURRENCY_IGNORED, false, false,
                      FG_BREAKER_CANCELLED);
    }
}

/* A chain of tickets whose turn came, through entry.next; posted once the lock is released. */
struct turns {
    struct fg_queue_entry *first;
    struct fg_queue_entry *last;
};

static struct fg_gate_ticket *ticket_of(struct fg_queue_entry *entry)
{
    return FG_CONTAINER_OF(entry, struct fg_gate_ticket, entry);
}

static void add_turn(struct turns *turns, struct fg_queue_entry *entry,
                     enum fg_gate_verdict verdict)
{
    ticket_of(entry)->verdict = verdict;
    entry->next = NULL;
    if (turns->first == NULL)
        turns->first = entry;
    else
        turns->last->next = entry;
    turns->last = entry;
}

static enum fg_gate_verdict verdict_of(enum fg_queue_entry_state state)
{
    switch (state) {
    case FG_QUEUE_ENTRY_POPPED:
        return FG_GATE_ADMITTED;
    case FG_QUEUE_ENTRY_EXPIRED:
        return FG_GATE_EXPIRED;
    case FG_QUEUE_ENTRY_SHED:
        return FG_GATE_SHED;
    case FG_QUEUE_ENTRY_DISPLACED:
        return FG_GATE_DISPLACED;
    case FG_QUEUE_ENTRY_IDLE:
    case FG_QUEUE_ENTRY_QUEUED:
    case FG_QUEUE_ENTRY_REMOVED:
        break;
    }
    /* Nobody may see an entry in these states once it has left the queue. */
    assert(state == FG_QUEUE_ENTRY_POPPED);
    return FG_GATE_EXPIRED;
}

/* With the lock held. Refused ones learn how the queue looks, for an honest Retry-After. */
static void add_refused(struct fg_gate *gate, struct turns *turns, struct fg_queue_entry *refused,
                        uint64_t now_ns)
{
    while (refused != NULL) {
        struct fg_queue_entry *next = refused->next;
        ticket_of(refused)->place =
            (struct fg_gate_place){.position = gate->queue.count,
                                   .wait_ns = fg_admission_queue_expected_wait_ns(
                                       &gate->queue, refused->priority, now_ns)};
        add_turn(turns, refused, verdict_of(refused->state));
        refused = next;
    }
}

/* With the lock held: as many waiters as there are free slots. */
static void let_in(struct fg_gate *gate, struct turns *turns, uint64_t now_ns)
{
    while (gate->queue.count > 0 && fg_concurrency_limit_try_acquire(&gate->limit)) {
        struct fg_queue_entry *refused = NULL;
        struct fg_queue_entry *entry = fg_admission_queue_pop(&gate->queue, now_ns, &refused);
        add_refused(gate, turns, refused, now_ns);
        if (entry == NULL) {
            fg_concurrency_limit_release(&gate->limit, now_ns, 0, FG_CONCURRENCY_IGNORED);
            return;
        }
        add_turn(turns, entry, FG_GATE_ADMITTED);
    }
}

/* Without the lock. */
static void post_turns(struct turns *turns)
{
    while (turns->first != NULL) {
        struct fg_gate_ticket *ticket = ticket_of(turns->first);
        turns->first = turns->first->next;
        fg_mailbox_post(ticket->mailbox, &ticket->message);
    }
}

enum fg_gate_verdict fg_gate_enter(struct fg_gate *gate, struct fg_gate_tickets *tickets,
                                   struct fg_mailbox *mailbox, enum fg_priority priority,
                                   uint64_t now_ns, uint64_t deadline_ns, fg_gate_turn_fn on_turn,
                                   void *object, struct fg_gate_ticket **ticket,
                                   struct fg_gate_place *place)
{
    enum fg_gate_verdict verdict = FG_GATE_ADMITTED;
    struct turns turns = {NULL, NULL};
    struct fg_gate_ticket *mine = NULL;
    *place = (struct fg_gate_place){0, 0};
    pthread_mutex_lock(&gate->lock);
    /* Who waits goes first: a newcomer takes a slot only when nobody stands in line. */
    if (gate->queue.count > 0)
        let_in(gate, &turns, now_ns);
    if (gate->queue.count > 0 || !fg_concurrency_limit_try_acquire(&gate->limit)) {
        mine = take_ticket(tickets);
        struct fg_queue_entry *displaced = NULL;
        uint64_t wait_until_ns = now_ns + gate->wait_max_ns;
        enum fg_queue_verdict queued =
            mine == NULL
                ? FG_QUEUE_FULL
                : fg_admission_queue_push(&gate->queue, &mine->entry, priority, now_ns,
                                          wait_until_ns < deadline_ns ? wait_until_ns : deadline_ns,
                                          &displaced);
        if (displaced != NULL) {
            displaced->next = NULL;
            add_refused(gate, &turns, displaced, now_ns);
        }
        *place = (struct fg_gate_place){
            .position = gate->queue.count,
            .wait_ns = fg_admission_queue_expected_wait_ns(&gate->queue, priority, now_ns)};
        verdict = queued == FG_QUEUE_QUEUED ? FG_GATE_QUEUED
                  : queued == FG_QUEUE_FULL ? FG_GATE_FULL
                                            : FG_GATE_CANNOT_MEET_DEADLINE;
        if (verdict == FG_GATE_QUEUED) {
            mine->gate = gate;
            mine->mailbox = mailbox;
            mine->message.run = on_message;
            mine->on_turn = on_turn;
            mine->object = object;
            *ticket = mine;
        }
    }
    pthread_mutex_unlock(&gate->lock);
    if (mine != NULL && verdict != FG_GATE_QUEUED)
        free_ticket(mine);
    post_turns(&turns);
    return verdict;
}

void fg_gate_abandon(struct fg_gate_ticket *ticket, uint64_t now_ns)
{
    struct fg_gate *gate = ticket->gate;
    struct turns turns = {NULL, NULL};
    pthread_mutex_lock(&gate->lock);
    bool was_waiting = ticket->entry.state == FG_QUEUE_ENTRY_QUEUED;
    if (was_waiting)
        fg_admission_queue_remove(&gate->queue, &ticket->entry);
    let_in(gate, &turns, now_ns);
    pthread_mutex_unlock(&gate->lock);
    if (was_waiting)
        free_ticket(ticket);
    else
        ticket->object = NULL; /* its message is on the way and will find nobody */
    post_turns(&turns);
}

enum fg_breaker_verdict fg_gate_breaker_try_pass(struct fg_gate *gate, uint64_t now_ns,
                                                 uint64_t *retry_after_ns)
{
    *retry_after_ns = 0;
    if (!gate->has_breaker)
        return FG_BREAKER_PASS;
    pthread_mutex_lock(&gate->lock);
    enum fg_breaker_verdict verdict =
        fg_circuit_breaker_try_pass(&gate->breaker, now_ns, retry_after_ns);
    pthread_mutex_unlock(&gate->lock);
    return verdict;
}

void fg_gate_leave(struct fg_gate *gate, uint64_t now_ns, uint64_t latency_ns,
                   enum fg_concurrency_outcome limit_outcome, bool passed_breaker, bool was_probe,
                   enum fg_breaker_outcome breaker_outcome)
{
    struct turns turns = {NULL, NULL};
    pthread_mutex_lock(&gate->lock);
    fg_concurrency_limit_release(&gate->limit, now_ns, latency_ns, limit_outcome);
    if (passed_breaker && gate->has_breaker)
        fg_circuit_breaker_record(&gate->breaker, now_ns, was_probe, breaker_outcome);
    let_in(gate, &turns, now_ns);
    pthread_mutex_unlock(&gate->lock);
    post_turns(&turns);
}

void fg_gate_expire(struct fg_gate *gate, uint64_t now_ns)
{
    struct turns turns = {NULL, NULL};
    struct fg_queue_entry *refused = NULL;
    pthread_mutex_lock(&gate->lock);
    fg_admission_queue_expire(&gate->queue, now_ns, &refused);
    add_refused(gate, &turns, refused, now_ns);
    pthread_mutex_unlock(&gate->lock);
    post_turns(&turns);
}

uint64_t fg_gate_next_expiry_ns(struct fg_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    uint64_t next_ns = fg_admission_queue_next_expiry_ns(&gate->queue);
    pthread_mutex_unlock(&gate->lock);
    return next_ns;
}

struct fg_gate_gauges fg_gate_gauges(struct fg_gate *gate, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    struct fg_gate_gauges gauges = {
        .in_flight = fg_concurrency_limit_in_flight(&gate->limit),
        .limit = fg_concurrency_limit_current(&gate->limit),
        .queued = gate->queue.count,
        .breaker = gate->has_breaker ? fg_circuit_breaker_state(&gate->breaker, now_ns)
                                     : FG_BREAKER_CLOSED,
        .breaker_opened_total = gate->breaker.opened_total,
        .queued_total = gate->queue.queued_total,
    };
    pthread_mutex_unlock(&gate->lock);
    return gauges;
}

json_t *fg_gate_stats(struct fg_gate *gate, uint64_t now_ns)
{
    pthread_mutex_lock(&gate->lock);
    struct fg_admission_queue queue = gate->queue; /* the counters; its links are not followed */
    struct fg_circuit_breaker breaker = gate->breaker;
    uint32_t limit = fg_concurrency_limit_current(&gate->limit);
    uint32_t in_flight = fg_concurrency_limit_in_flight(&gate->limit);
    uint64_t expected_ns =
        fg_admission_queue_expected_wait_ns(&gate->queue, FG_PRIORITY_NORMAL, now_ns);
    pthread_mutex_unlock(&gate->lock);
    return json_pack(
        "{s:{s:I,s:I},s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o},s:{s:b,s:s,s:I,s:I,s:I}}", "concurrency",
        "limit", (json_int_t)limit, "in_flight", (json_int_t)in_flight, "queue", "waiting",
        (json_int_t)queue.count, "queued_total", (json_int_t)queue.queued_total, "full_total",
        (json_int_t)queue.full_total, "expired_total", (json_int_t)queue.expired_total,
        "shed_total", (json_int_t)queue.shed_total, "displaced_total",
        (json_int_t)queue.displaced_total, "cannot_meet_total", (json_int_t)queue.cannot_meet_total,
        "expected_wait_s",
        expected_ns == UINT64_MAX ? json_null() : json_real((double)expected_ns / 1e9), "breaker",
        "enabled", gate->has_breaker ? 1 : 0, "state",
        gate->has_breaker ? fg_breaker_state_name(fg_circuit_breaker_state(&breaker, now_ns))
                          : "disabled",
        "opened_total", (json_int_t)breaker.opened_total, "refused_total",
        (json_int_t)breaker.refused_total, "probes_total", (json_int_t)breaker.probes_total);
}
