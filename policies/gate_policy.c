/*
 * gate_policy.c: concurrency limit, queue, level and breaker of one backend as one decision.
 * Job      in which order the three are asked, and who takes a slot that becomes free.
 * Thread   one owner at a time. Memory: the struct and the callers' entries.
 * Never    lets a newcomer past somebody who waits, or holds a free slot while somebody waits.
 * Law      enter: first those who wait, then the newcomer if nobody stands in line any more; else
 *          those at or above the admission level wait until min(deadline, now + wait_max_ns). One
 *          of a class may wait whatever the level, if ageing is on: no class starves. Nobody waits
 *          for a backend that the breaker has shut. While the level refuses newcomers, those of
 *          its class and below that have waited too long leave, too. Who waits for slots that are
 *          held and of which none comes back with a result has more of them opened
 *          (concurrency_limit): to be refused for want of room there has to be a sign that there
 *          is none.
 */
#include "policies/gate_policy.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <stddef.h>

#define SERVICE_WEIGHT_INVERSE 16
#define HELD_SAMPLE 16 /* requests */
#define HELD_WEIGHT_INVERSE 4
#define FAILING_SERVICES 10 /* service times after which an answer was not going to come, */
#define FAILING_LEAST_NS FG_POLICY_S /* ... and no less */
#define TARGET_OF_WAIT_MAX 4 /* a slow backend's delay is tolerated up to this part of wait_max */

static struct fg_gate_entry *entry_of(struct fg_queue_entry *queued)
{
    _Static_assert(offsetof(struct fg_gate_entry, queue) == 0, "a queue entry is where ours is");
    return (struct fg_gate_entry *)(void *)queued;
}

static void add_turn(struct fg_gate_turns *turns, struct fg_gate_entry *entry,
                     enum fg_gate_verdict verdict)
{
    entry->verdict = verdict;
    entry->next_turn = NULL;
    if (turns->first == NULL)
        turns->first = entry;
    else
        turns->last->next_turn = entry;
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

static struct fg_gate_place place_of(const struct fg_gate_policy *gate, enum fg_priority priority,
                                     uint64_t now_ns)
{
    uint64_t wait_ns = fg_admission_queue_expected_wait_ns(&gate->queue, priority, now_ns);
    if (wait_ns == 0) /* next in turn: the time until a slot comes free, if that is known */
        wait_ns = fg_admission_queue_pace_ns(&gate->queue, now_ns);
    return (struct fg_gate_place){.position = gate->queue.count,
                                  .wait_ns = wait_ns,
                                  .level = fg_admission_level_current(&gate->level),
                                  .held = gate->queue.held,
                                  .borne_ns = fg_admission_queue_borne_ns(&gate->queue)};
}

static enum fg_gate_verdict verdict_of_push(enum fg_queue_verdict verdict)
{
    static const enum fg_gate_verdict verdicts[] = {
        [FG_QUEUE_QUEUED] = FG_GATE_QUEUED,
        [FG_QUEUE_FULL] = FG_GATE_FULL,
        [FG_QUEUE_FULL_BYTES] = FG_GATE_FULL_BYTES,
        [FG_QUEUE_FULL_TOKENS] = FG_GATE_FULL_TOKENS,
        [FG_QUEUE_CANNOT_MEET_DEADLINE] = FG_GATE_CANNOT_MEET_DEADLINE,
        [FG_QUEUE_FORESEEN] = FG_GATE_SHED,
    };
    return verdicts[verdict];
}

/* Refused ones learn how the queue looks, for an honest Retry-After. */
static void add_refused(struct fg_gate_policy *gate, struct fg_gate_turns *turns,
                        struct fg_queue_entry *refused, uint64_t now_ns)
{
    while (refused != NULL) {
        struct fg_queue_entry *next = refused->next;
        entry_of(refused)->place = place_of(gate, refused->priority, now_ns);
        fg_admission_level_note_wait(&gate->level, fg_subtract_floor(now_ns, refused->enqueued_ns));
        add_turn(turns, entry_of(refused), verdict_of(refused->state));
        refused = next;
    }
}

/* One that nobody waits for. */
static bool is_slot_to_spare(const struct fg_gate_policy *gate)
{
    return gate->queue.count == 0 && fg_concurrency_limit_in_flight(&gate->limit) <
                                         fg_concurrency_limit_current(&gate->limit);
}

/* As many waiters as there are free slots. */
static void let_in(struct fg_gate_policy *gate, struct fg_gate_turns *turns, uint64_t now_ns)
{
    while (gate->queue.count > 0 && fg_concurrency_limit_try_acquire(&gate->limit)) {
        struct fg_queue_entry *refused = NULL;
        const uint64_t shed_before = gate->queue.shed_total;
        struct fg_queue_entry *queued = fg_admission_queue_pop(&gate->queue, now_ns, &refused);
        bool is_spared = gate->queue.config.is_shadow && gate->queue.shed_total > shed_before;
        add_refused(gate, turns, refused, now_ns);
        if (queued == NULL) {
            fg_concurrency_limit_release(&gate->limit, now_ns, 0, FG_CONCURRENCY_IGNORED);
            return;
        }
        entry_of(queued)->place =
            (struct fg_gate_place){.level = fg_admission_level_current(&gate->level),
                                   .borne_ns = fg_admission_queue_borne_ns(&gate->queue),
                                   .would_be = is_spared ? FG_GATE_SHED : FG_GATE_ADMITTED};
        fg_admission_level_note_served(&gate->level);
        fg_admission_level_note_wait(&gate->level, fg_subtract_floor(now_ns, queued->enqueued_ns));
        add_turn(turns, entry_of(queued), FG_GATE_ADMITTED);
    }
    if (is_slot_to_spare(gate))
        fg_concurrency_limit_note_spare(&gate->limit);
}

static void tell_slots(struct fg_gate_policy *gate, uint64_t now_ns)
{
    fg_admission_queue_set_held(&gate->queue, fg_concurrency_limit_is_held(&gate->limit, now_ns));
    fg_admission_queue_set_slots(&gate->queue, fg_concurrency_limit_in_flight(&gate->limit),
                                 fg_concurrency_limit_is_starting(&gate->limit));
}

/* Somebody waits: do slots come free at all? */
static void look_at_slots(struct fg_gate_policy *gate, uint64_t now_ns)
{
    tell_slots(gate, now_ns);
    (void)fg_concurrency_limit_note_wait(&gate->limit, now_ns);
}

/* Slots x time since the last call, for how long one is held (Little's law). */
static void account_held(struct fg_gate_policy *gate, uint64_t now_ns)
{
    uint64_t passed_ns = fg_subtract_floor(now_ns, gate->held_at_ns);
    gate->held_slot_ns += (double)passed_ns * fg_concurrency_limit_in_flight(&gate->limit);
    gate->held_at_ns = now_ns;
}

/* One has left. What all of them hold a slot for, shared among the slots, is the pace of a queue
 * that nobody has waited in yet. */
static void learn_held(struct fg_gate_policy *gate)
{
    if (++gate->held_ended < HELD_SAMPLE)
        return;
    double sample_ns = gate->held_slot_ns / gate->held_ended;
    gate->held_mean_ns +=
        gate->held_mean_ns > 0 ? (sample_ns - gate->held_mean_ns) / HELD_WEIGHT_INVERSE : sample_ns;
    gate->held_slot_ns = 0;
    gate->held_ended = 0;
    double pace_ns = gate->held_mean_ns / fg_concurrency_limit_current(&gate->limit);
    fg_admission_queue_set_pace_least(&gate->queue, (uint64_t)pace_ns);
}

/* What a wait is compared with: a backend of seconds frees no slot within milliseconds. */
static void learn_service(struct fg_gate_policy *gate, uint64_t latency_ns)
{
    uint64_t noload_ns = fg_concurrency_limit_noload_ns(&gate->limit);
    uint64_t mean_ns = gate->service_ns == 0 ? latency_ns : gate->service_ns;
    if (noload_ns > 0)
        mean_ns = noload_ns;
    else if (latency_ns > mean_ns)
        mean_ns += (latency_ns - mean_ns) / SERVICE_WEIGHT_INVERSE;
    else
        mean_ns -= (mean_ns - latency_ns) / SERVICE_WEIGHT_INVERSE;
    gate->service_ns = mean_ns;
    fg_admission_queue_set_service(&gate->queue, mean_ns);
    fg_admission_level_stretch(&gate->level, mean_ns, gate->queue.target_ns / 10 * 9,
                               gate->queue.interval_ns);
}

void fg_gate_policy_init(struct fg_gate_policy *gate, const struct fg_gate_policy_config *config,
                         uint64_t now_ns)
{
    gate->has_breaker = config->has_breaker;
    gate->is_level_shadow = config->is_level_shadow;
    gate->is_breaker_shadow = config->is_breaker_shadow;
    gate->wait_max_ns = config->wait_max_ns;
    fg_concurrency_limit_init(&gate->limit, &config->limit);
    gate->service_ns = 0;
    gate->held_at_ns = now_ns;
    gate->held_slot_ns = 0;
    gate->held_ended = 0;
    gate->held_mean_ns = 0;
    struct fg_queue_config queue = config->queue;
    queue.target_max_ns = config->wait_max_ns / TARGET_OF_WAIT_MAX;
    fg_admission_queue_init(&gate->queue, &queue);
    fg_admission_level_init(&gate->level, &config->level, now_ns);
    struct fg_breaker_config breaker =
        config->has_breaker ? config->breaker : fg_circuit_breaker_config_default();
    fg_circuit_breaker_init(&gate->breaker, &breaker, now_ns);
}

/* The classes in which newcomers are refused now. */
static unsigned pressed_from(const struct fg_gate_policy *gate)
{
    uint32_t level = fg_admission_level_current(&gate->level);
    bool is_lowered = level < FG_PRIORITY_COMPOUND_COUNT - 1 && !gate->is_level_shadow;
    return is_lowered ? (unsigned)fg_priority_class_of(level) : FG_PRIORITY_COUNT;
}

/* A slot was had; in shadow it may be one too many. */
static void note_over(const struct fg_gate_policy *gate, struct fg_gate_place *place)
{
    place->in_flight = fg_concurrency_limit_in_flight(&gate->limit);
    place->limit = fg_concurrency_limit_current(&gate->limit);
    if (place->in_flight > place->limit)
        place->would_be = FG_GATE_QUEUED;
}

/* The number of whoever has many waiting, or asks for much of all, is a worse one of its class. */
static uint32_t number_of(struct fg_gate_policy *gate, const struct fg_gate_arrival *arrival,
                          bool *is_heavy)
{
    uint32_t waiting = fg_admission_queue_crowding(&gate->queue, arrival->owner);
    uint32_t asking =
        fg_admission_level_ask(&gate->level, arrival->owner, arrival->compound, is_heavy);
    uint32_t cohort = arrival->compound % FG_PRIORITY_COHORT_COUNT;
    uint32_t left = FG_PRIORITY_COHORT_COUNT - 1 - cohort;
    uint32_t crowded = arrival->compound + (waiting < left ? waiting : left);
    return crowded > asking ? crowded : asking;
}

bool fg_gate_policy_try_enter(struct fg_gate_policy *gate, uint32_t compound, uint64_t now_ns,
                              uint32_t *level)
{
    if (!is_slot_to_spare(gate))
        return false;
    account_held(gate, now_ns);
    (void)fg_admission_level_arrive(&gate->level, now_ns, compound);
    *level = fg_admission_level_current(&gate->level);
    fg_admission_queue_set_pressure(&gate->queue, pressed_from(gate));
    bool is_acquired = fg_concurrency_limit_try_acquire(&gate->limit);
    assert(is_acquired);
    (void)is_acquired;
    fg_admission_level_note_served(&gate->level);
    fg_admission_level_note_wait(&gate->level, 0);
    return true;
}

bool fg_gate_policy_try_extra(struct fg_gate_policy *gate, uint64_t now_ns)
{
    account_held(gate, now_ns);
    return is_slot_to_spare(gate) && fg_concurrency_limit_try_acquire(&gate->limit);
}

bool fg_gate_policy_retake(struct fg_gate_policy *gate, bool passed_breaker, uint64_t now_ns)
{
    account_held(gate, now_ns);
    fg_concurrency_limit_retake(&gate->limit);
    return gate->has_breaker && passed_breaker && fg_circuit_breaker_resume(&gate->breaker, now_ns);
}

enum fg_gate_verdict fg_gate_policy_enter(struct fg_gate_policy *gate, struct fg_gate_entry *entry,
                                          const struct fg_gate_arrival *arrival, uint64_t now_ns,
                                          struct fg_gate_turns *turns, struct fg_gate_place *place)
{
    enum fg_priority priority = fg_priority_class_of(arrival->compound);
    account_held(gate, now_ns);
    bool is_heavy;
    uint32_t number = number_of(gate, arrival, &is_heavy);
    bool may_wait = fg_admission_level_arrive(&gate->level, now_ns, number);
    *place = (struct fg_gate_place){.level = fg_admission_level_current(&gate->level)};
    fg_admission_queue_set_pressure(&gate->queue, pressed_from(gate));
    if (gate->queue.count > 0) {
        look_at_slots(gate, now_ns);
        let_in(gate, turns, now_ns);
    }
    if (gate->queue.count == 0 && fg_concurrency_limit_try_acquire(&gate->limit)) {
        fg_admission_level_note_served(&gate->level);
        fg_admission_level_note_wait(&gate->level, 0);
        note_over(gate, place);
        return FG_GATE_ADMITTED;
    }
    if (gate->has_breaker && !gate->is_breaker_shadow &&
        fg_circuit_breaker_is_shut(&gate->breaker, priority, now_ns, &place->wait_ns))
        return FG_GATE_BREAKER_OPEN;
    fg_concurrency_limit_note_demand(&gate->limit);
    bool is_first_of_class =
        gate->queue.config.ageing_ns != 0 && gate->queue.classes[priority].count == 0;
    bool is_below = !may_wait && !is_first_of_class;
    if (is_below)
        gate->level.refused_total++;
    if (is_below && !gate->is_level_shadow) {
        fg_admission_queue_note_refused(&gate->queue, priority);
        *place = place_of(gate, priority, now_ns);
        return FG_GATE_BELOW_LEVEL;
    }
    const uint64_t late_before = gate->queue.cannot_meet_total;
    enum fg_queue_verdict queued = FG_QUEUE_FULL;
    if (entry != NULL) {
        struct fg_queue_entry *refused = NULL;
        uint64_t until_ns = fg_add_saturating(now_ns, gate->wait_max_ns);
        if (arrival->deadline_ns < until_ns)
            until_ns = arrival->deadline_ns;
        entry->queue.weight = arrival->weight;
        entry->queue.owner = arrival->owner;
        entry->queue.number = number;
        entry->queue.is_heavy = is_heavy;
        queued = fg_admission_queue_push(&gate->queue, &entry->queue, priority, now_ns, until_ns,
                                         &refused);
        add_refused(gate, turns, refused, now_ns);
    }
    (void)fg_concurrency_limit_note_wait(&gate->limit, now_ns); /* it begins to wait */
    *place = place_of(gate, priority, now_ns);
    if (queued == FG_QUEUE_FORESEEN)
        place->borne_ns = gate->queue.target_ns;
    if (is_below)
        place->would_be = FG_GATE_BELOW_LEVEL;
    else if (queued == FG_QUEUE_QUEUED && gate->queue.cannot_meet_total > late_before)
        place->would_be = FG_GATE_CANNOT_MEET_DEADLINE;
    return verdict_of_push(queued);
}

enum fg_gate_verdict fg_gate_policy_reweigh(struct fg_gate_policy *gate,
                                            struct fg_gate_entry *entry,
                                            struct fg_queue_weight weight, uint64_t now_ns,
                                            struct fg_gate_place *place)
{
    if (entry->queue.state != FG_QUEUE_ENTRY_QUEUED)
        return FG_GATE_QUEUED;
    enum fg_queue_verdict verdict = fg_admission_queue_reweigh(&gate->queue, &entry->queue, weight);
    *place = place_of(gate, entry->queue.priority, now_ns);
    return verdict_of_push(verdict);
}

bool fg_gate_policy_abandon(struct fg_gate_policy *gate, struct fg_gate_entry *entry,
                            uint64_t now_ns, struct fg_gate_turns *turns)
{
    bool was_waiting = entry->queue.state == FG_QUEUE_ENTRY_QUEUED;
    if (was_waiting)
        fg_admission_queue_remove(&gate->queue, &entry->queue);
    let_in(gate, turns, now_ns);
    return was_waiting;
}

enum fg_breaker_verdict fg_gate_policy_try_pass(struct fg_gate_policy *gate, uint32_t compound,
                                                uint64_t now_ns, uint64_t *retry_after_ns)
{
    *retry_after_ns = 0;
    if (!gate->has_breaker)
        return FG_BREAKER_PASS;
    enum fg_breaker_verdict verdict = fg_circuit_breaker_try_pass(
        &gate->breaker, fg_priority_class_of(compound), now_ns, retry_after_ns);
    return verdict == FG_BREAKER_REFUSE && gate->is_breaker_shadow ? FG_BREAKER_WOULD_REFUSE
                                                                   : verdict;
}

bool fg_gate_policy_try_pass_closed(struct fg_gate_policy *gate, uint32_t compound, uint64_t now_ns)
{
    uint64_t retry_after_ns;
    if (gate->has_breaker && fg_circuit_breaker_state(&gate->breaker, now_ns) != FG_BREAKER_CLOSED)
        return false;
    return fg_gate_policy_try_pass(gate, compound, now_ns, &retry_after_ns) == FG_BREAKER_PASS;
}

/*
 * A client that gives the backend less time than the route does may ask for an instant: then only
 * what no answer takes says that the backend fails.
 */
static enum fg_breaker_outcome breaker_outcome(const struct fg_gate_policy *gate,
                                               const struct fg_gate_result *result)
{
    uint64_t failing_ns = fg_multiply_divide(gate->service_ns, FAILING_SERVICES, 1);
    if (failing_ns < FAILING_LEAST_NS)
        failing_ns = FAILING_LEAST_NS;
    bool is_failure = result->breaker == FG_BREAKER_CUT_SHORT && result->latency_ns >= failing_ns;
    return is_failure ? FG_BREAKER_FAILURE : result->breaker;
}

void fg_gate_policy_leave(struct fg_gate_policy *gate, uint64_t now_ns,
                          const struct fg_gate_result *result, struct fg_gate_turns *turns)
{
    account_held(gate, now_ns);
    enum fg_breaker_outcome breaker = breaker_outcome(gate, result);
    fg_concurrency_limit_release(&gate->limit, now_ns, result->latency_ns, result->limit);
    tell_slots(gate, now_ns);
    learn_held(gate);
    if (result->limit == FG_CONCURRENCY_SUCCESS)
        learn_service(gate, result->latency_ns);
    if (result->passed_breaker && gate->has_breaker)
        fg_circuit_breaker_record(&gate->breaker, now_ns, result->was_probe, breaker,
                                  result->latency_ns);
    let_in(gate, turns, now_ns);
}

void fg_gate_policy_expire(struct fg_gate_policy *gate, uint64_t now_ns,
                           struct fg_gate_turns *turns)
{
    struct fg_queue_entry *refused = NULL;
    account_held(gate, now_ns);
    if (gate->queue.count > 0) {
        look_at_slots(gate, now_ns);
        let_in(gate, turns, now_ns);
    }
    fg_admission_queue_expire(&gate->queue, now_ns, &refused);
    add_refused(gate, turns, refused, now_ns);
}

uint64_t fg_gate_policy_next_expiry_ns(const struct fg_gate_policy *gate)
{
    if (gate->queue.count == 0)
        return FG_POLICY_NEVER;
    uint64_t expiry_ns = fg_admission_queue_next_expiry_ns(&gate->queue);
    uint64_t raised_ns = fg_concurrency_limit_held_until_ns(&gate->limit);
    return raised_ns < expiry_ns ? raised_ns : expiry_ns;
}

uint64_t fg_gate_policy_refused_total(const struct fg_gate_policy *gate)
{
    const struct fg_admission_queue *queue = &gate->queue;
    return queue->full_total + queue->full_bytes_total + queue->full_tokens_total +
           queue->expired_total + queue->shed_total + queue->displaced_total +
           queue->cannot_meet_total + gate->level.refused_total;
}
