/*
 * admission_queue.c: where requests wait for a slot: bounded, by class, each with a deadline.
 * Job      who may wait, whose turn it is, who has waited in vain; refuse early what cannot be in
 *          time.
 * Thread   one owner at a time. Memory: links embedded in the caller's objects; counts of owners in
 *          the struct (policies/crowd).
 * Never    holds more than `capacity`, `bytes_max` or `tokens_max`, loses an entry, hands one out
 *          after its deadline, or sheds the last one of a class: a free slot always finds somebody
 *          if anybody waits.
 * Source   CoDel as in folly/executors/Codel.cpp (no sqrt schedule) and adaptive LIFO: Maurer,
 *          "Fail at Scale" (ACM Queue 2015).
 *
 *    push -> class lists: critical | high | normal | low   -> pop, or refused: expired, shed,
 *            oldest ... newest, and one heap of deadlines      displaced (by a higher class)
 *
 * Laws     class     effective = class - waited / ageing_ns of the entry that would be taken; the
 *                    smallest goes first, on a tie the one that came first
 *          overload  per class: smallest wait of its oldest entry over the last interval > target,
 *                    and more come than are served (policies/standing): a burst drains unshed
 *          order     one of each owner a round (policies/fair_turns), and so FIFO where each has
 *                    one; newest first while overloaded, and as soon as the oldest has waited more
 *                    than the slough time of 2 x target: the old ones will miss their deadline
 *                    anyway, serving them in order would make everybody late. Under pressure from
 *                    the target on, but for a slow backend, whose target is stretched
 *          steady    per class, while it keeps its length (the same): a closed loop, as most that
 *                    measures load is. First come, first served, and nobody is shed
 *          lots      newest first is by number (policies/priority) first, among those that came
 *                    within 1.5 targets: who got in once gets in again
 *          stuck     per class, from when it stands and does not drain (the same) until it stands
 *                    no more: a load of 1.0 to 1.2 times what can be served. Of those passed by
 *                    newer ones whoever has waited three slough times is shed; they would have
 *                    their turn when they have aged, a second later, and be what p99 is made of
 *          shed      while overloaded, all that waited longer than the slough time, at once,
 *                    whether a slot comes free or not; but for the last one, and for the oldest if
 *                    the class is not served at all. So too in classes under pressure (set by
 *                    whoever refuses newcomers of theirs): those that were passed by would be
 *                    served in the next lull, after all who came later, and be what p99 is made of
 *          wait      entries ahead x smoothed time a pop, taken only while somebody waits
 *          patient   a queue whose target is longer than PATIENT_NS: who could not be served within
 *                    the target is refused when it comes, so that it stays first come, first
 *                    served; only twice the target is a standing delay, or four times a slough
 *          full      by count, bytes or tokens: lower classes give way, the newest of the lowest
 *                    first, those that hold nothing of what is short left alone; within a class
 *                    who has many waiting to one who has less than half as many
 *          target    the configured one, or what the backend's service time is
 *                    longer than three of it
 *          held      while all slots are held, and none comes free for longer than answers take, it
 *                    is not known whether too much is asked for: nobody is shed, nothing is
 *                    counted, and no wait is foreseen
 * Departs  Overload is judged per class and by the oldest entry: under LIFO the newest wait tells
 *          nothing, and a starving low class must not make critical ones be shed. A class that was
 *          served empty counts as delay 0. While a class is LIFO its newest entry decides its turn.
 *          The oldest of a class that higher ones keep out is spared so that ageing can bring it
 *          in: no class starves.
 */
#include "policies/admission_queue.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>

#define DRAIN_SAMPLE_NS (100 * FG_POLICY_MS)    /* a sample of the pace takes this much busy time */
#define DRAIN_SAMPLE_POPS 64                    /* ... or so many pops, */
#define DRAIN_SAMPLE_MIN_NS (10 * FG_POLICY_MS) /* but no less than this: pops come in bursts; */
#define SERVICE_MAX_NS FG_POLICY_S /* ... nor than twice the service time, up to this */
#define SLOW_TARGETS 3             /* a backend slower than so many targets stretches the target */
#define PATIENT_NS (100 * FG_POLICY_MS) /* a refusal that takes longer is none to be glad of */
#define STUCK_SLOUGHS 3                 /* with less, chance empties the slots */
#define SPARED_SHARE 4                  /* places in the queue for each that is spared */
#define LOOKS_MAX 64                    /* entries looked at for those that could give way */
#define DRAIN_WEIGHT_INVERSE 4          /* new samples count a quarter */
#define CROWD_SHARE 64u                 /* one may have a 64th of all places, */
#define CROWD_LEAST 4u                  /* but for a short queue */
#define CROWD_WHOLE_SHARE 8u            /* and is all crowd with an eighth more */
#define CROWD_WHOLE_LEAST 16u

/* Refused entries in the order in which they left. */
struct refused_list {
    struct fg_queue_entry *first;
    struct fg_queue_entry *last;
};

static void refuse(struct refused_list *list, struct fg_queue_entry *entry)
{
    entry->next = NULL;
    if (list->last == NULL)
        list->first = entry;
    else
        list->last->next = entry;
    list->last = entry;
}

static uint64_t waited_ns(const struct fg_queue_entry *entry, uint64_t now_ns)
{
    return fg_subtract_floor(now_ns, entry->enqueued_ns);
}

/* --- class lists --- */

static void put_in(struct fg_admission_queue *queue, struct fg_queue_entry *entry)
{
    struct fg_queue_class *class = &queue->classes[entry->priority];
    entry->sequence = class->next_sequence++;
    entry->state = FG_QUEUE_ENTRY_QUEUED;
    entry->next = NULL;
    entry->prev = class->newest;
    if (class->newest == NULL)
        class->oldest = entry;
    else
        class->newest->next = entry;
    class->newest = entry;
    class->count++;
    fg_fair_turns_add(&class->turns, &entry->turn, entry->owner);
    queue->count++;
    queue->held.bytes += entry->weight.bytes;
    queue->held.tokens += entry->weight.tokens;
    fg_crowd_add(&queue->crowd, entry->owner);
}

static void take_out(struct fg_admission_queue *queue, struct fg_queue_entry *entry,
                     enum fg_queue_entry_state state)
{
    assert(entry->state == FG_QUEUE_ENTRY_QUEUED);
    struct fg_queue_class *class = &queue->classes[entry->priority];
    if (entry->prev == NULL)
        class->oldest = entry->next;
    else
        entry->prev->next = entry->next;
    if (entry->next == NULL)
        class->newest = entry->prev;
    else
        entry->next->prev = entry->prev;
    assert(class->count > 0);
    class->count--;
    fg_fair_turns_remove(&class->turns, &entry->turn);
    queue->count--;
    queue->held.bytes -= entry->weight.bytes;
    queue->held.tokens -= entry->weight.tokens;
    fg_crowd_remove(&queue->crowd, entry->owner);
    fg_deadline_heap_remove(&queue->deadlines, &entry->deadline);
    entry->prev = NULL;
    entry->next = NULL;
    entry->state = state;
}

/* Waits are so long that who is to be refused must hear it when it comes. */
static bool is_patient(const struct fg_admission_queue *queue)
{
    return queue->target_ns > PATIENT_NS && !queue->config.is_shadow;
}

/* A patient queue is never as long as its target by design: what stood there when a flood began may
 * have its turn. */
static uint64_t tolerated_ns(const struct fg_admission_queue *queue)
{
    uint64_t twice_ns = fg_add_saturating(queue->target_ns, queue->target_ns);
    return is_patient(queue) ? twice_ns : queue->target_ns;
}

static uint64_t slough_ns(const struct fg_admission_queue *queue)
{
    return fg_add_saturating(tolerated_ns(queue), tolerated_ns(queue));
}

uint64_t fg_admission_queue_borne_ns(const struct fg_admission_queue *queue)
{
    return slough_ns(queue);
}

/* Newcomers are refused. Not of a slow backend: of its few answers none is to spare. */
static bool is_pressed(const struct fg_admission_queue *queue, const struct fg_queue_class *class)
{
    bool is_stretched = queue->target_ns > queue->config.target_ns;
    return !is_stretched && !is_patient(queue) &&
           class - queue->classes >= (ptrdiff_t)queue->pressed_from;
}

static bool is_newest_first(const struct fg_admission_queue *queue,
                            const struct fg_queue_class *class, uint64_t now_ns)
{
    if (queue->target_ns == 0 || queue->config.is_shadow || class->oldest == NULL)
        return false;
    if (class->is_overloaded)
        return true;
    bool is_under_pressure = is_pressed(queue, class);
    uint64_t borne_ns = is_under_pressure ? queue->target_ns : slough_ns(queue);
    return waited_ns(class->oldest, now_ns) > borne_ns &&
           (is_under_pressure || !class->standing.is_steady);
}

/* So long may one of the class have waited: whoever has waited longer is shed. */
static uint64_t wait_max_ns(const struct fg_admission_queue *queue,
                            const struct fg_queue_class *class)
{
    if (class->is_overloaded || is_pressed(queue, class))
        return slough_ns(queue);
    bool is_stuck = class->is_stuck && !is_patient(queue);
    return is_stuck ? fg_multiply_divide(slough_ns(queue), STUCK_SLOUGHS, 1) : FG_POLICY_NEVER;
}

/* By turns of the owners, or NULL. */
static struct fg_queue_entry *first_of(const struct fg_queue_class *class)
{
    struct fg_fair_turn *turn = fg_fair_turns_first(&class->turns);
    if (turn == NULL)
        return NULL;
    char *entry = (char *)turn - offsetof(struct fg_queue_entry, turn);
    return (struct fg_queue_entry *)(void *)entry;
}

/* Of longer waits p99 would be made; a slow backend has no better. */
static uint64_t choice_ns(const struct fg_admission_queue *queue)
{
    bool is_stretched = queue->target_ns > queue->config.target_ns;
    return is_stretched ? FG_POLICY_NEVER
                        : fg_add_saturating(queue->target_ns, queue->target_ns / 2);
}

/*
 * The most important of those that came last, on a tie the newest. What is passed by is shed, so it
 * is the users with the worst lots who wait in vain, and each time the same ones.
 */
static struct fg_queue_entry *best_of(const struct fg_admission_queue *queue,
                                      const struct fg_queue_class *class, uint64_t now_ns)
{
    struct fg_queue_entry *best = class->newest;
    struct fg_queue_entry *entry = best;
    for (unsigned i = 0; i < LOOKS_MAX && entry != NULL; i++, entry = entry->prev) {
        if (best->number == 0 || waited_ns(entry, now_ns) > choice_ns(queue))
            break;
        if (entry->number < best->number)
            best = entry;
    }
    return best;
}

/* The entry of the class that pop would take. */
static struct fg_queue_entry *candidate_of(const struct fg_admission_queue *queue,
                                           const struct fg_queue_class *class, uint64_t now_ns)
{
    struct fg_queue_entry *first = first_of(class);
    if (first == NULL || !is_newest_first(queue, class, now_ns))
        return first;
    bool has_aged =
        queue->config.ageing_ns != 0 && waited_ns(class->oldest, now_ns) >= queue->config.ageing_ns;
    if (has_aged)
        return class->oldest;
    struct fg_queue_entry *best = best_of(queue, class, now_ns);
    bool is_of_many = best->turn.round > first->turn.round;
    return is_of_many && waited_ns(first, now_ns) <= slough_ns(queue) ? first : best;
}

static uint64_t effective_class(const struct fg_admission_queue *queue,
                                const struct fg_queue_entry *entry, uint64_t now_ns)
{
    if (queue->config.ageing_ns == 0)
        return entry->priority;
    return fg_subtract_floor(entry->priority, waited_ns(entry, now_ns) / queue->config.ageing_ns);
}

static struct fg_queue_entry *choose(const struct fg_admission_queue *queue, uint64_t now_ns)
{
    struct fg_queue_entry *best = NULL;
    uint64_t best_class = 0;
    for (size_t i = 0; i < FG_PRIORITY_COUNT; i++) {
        struct fg_queue_entry *entry = candidate_of(queue, &queue->classes[i], now_ns);
        if (entry == NULL)
            continue;
        uint64_t class = effective_class(queue, entry, now_ns);
        if (best == NULL || class < best_class ||
            (class == best_class && entry->enqueued_ns < best->enqueued_ns)) {
            best = entry;
            best_class = class;
        }
    }
    return best;
}

/* --- standing delay --- */

/* Before the class is changed: how long has its oldest entry waited, at the least, of late? */
static void observe_delay(const struct fg_admission_queue *queue, struct fg_queue_class *class,
                          uint64_t now_ns)
{
    uint64_t standing_ns = class->oldest == NULL ? 0 : waited_ns(class->oldest, now_ns);
    if (class->is_interval_open &&
        fg_subtract_floor(class->interval_ends_ns, now_ns) > queue->interval_ns)
        class->is_interval_open = false; /* the clock went back */
    if (!class->is_interval_open || now_ns > class->interval_ends_ns) {
        if (class->is_interval_open) {
            bool has_stood = class->delay_min_ns > tolerated_ns(queue) && !queue->is_held;
            if (queue->is_held)
                class->standing.arrived = 0;
            uint64_t passed_ns = fg_subtract_floor(
                now_ns, fg_subtract_floor(class->interval_ends_ns, queue->interval_ns));
            fg_standing_end_period(&class->standing, has_stood || class->is_stuck,
                                   class->empty_ns > passed_ns / 2, queue->slots_taken);
            class->is_overloaded = has_stood && class->standing.is_fed;
            class->is_stuck = has_stood && (class->is_stuck || class->standing.does_not_drain);
        }
        class->is_interval_open = true;
        class->empty_ns = 0;
        class->interval_ends_ns = fg_add_saturating(now_ns, queue->interval_ns);
        class->delay_min_ns = standing_ns;
    }
    if (standing_ns < class->delay_min_ns)
        class->delay_min_ns = standing_ns;
}

/* Sheds what has waited in vain in an overloaded class; but for the oldest, if none is served. */
static void shed_slough(struct fg_admission_queue *queue, enum fg_priority priority,
                        uint64_t now_ns, struct refused_list *list)
{
    struct fg_queue_class *class = &queue->classes[priority];
    if (queue->target_ns == 0)
        return;
    if (class->count == 0) { /* nobody waits: nobody starves */
        class->empty_ns += fg_subtract_floor(now_ns, class->served_at_ns);
        class->served_at_ns = now_ns;
    }
    observe_delay(queue, class, now_ns);
    bool is_starving = queue->config.ageing_ns != 0 &&
                       fg_subtract_floor(now_ns, class->served_at_ns) > slough_ns(queue);
    while (class->count > 1 && !queue->config.is_shadow && !queue->is_held) {
        struct fg_queue_entry *entry = is_starving ? class->oldest->next : class->oldest;
        if (waited_ns(entry, now_ns) <= wait_max_ns(queue, class))
            return;
        take_out(queue, entry, FG_QUEUE_ENTRY_SHED);
        queue->shed_total++;
        refuse(list, entry);
    }
}

/* --- pace --- */

static uint64_t longer(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns : b_ns;
}

static uint64_t busy_ns(const struct fg_admission_queue *queue, uint64_t now_ns)
{
    uint64_t since_ns = queue->count == 0 ? 0 : fg_subtract_floor(now_ns, queue->drained_at_ns);
    return fg_add_saturating(queue->drain_busy_ns, since_ns);
}

/* Before anything is pushed or taken: the time since the last change was busy if somebody waited.
 */
static void account_busy(struct fg_admission_queue *queue, uint64_t now_ns)
{
    queue->drain_busy_ns = busy_ns(queue, now_ns);
    queue->drained_at_ns = now_ns;
}

static void account_pop(struct fg_admission_queue *queue)
{
    queue->drain_pops++;
    bool is_sampled = queue->drain_busy_ns >= longer(DRAIN_SAMPLE_NS, 2 * queue->service_ns) ||
                      (queue->drain_pops >= DRAIN_SAMPLE_POPS &&
                       queue->drain_busy_ns >= longer(DRAIN_SAMPLE_MIN_NS, queue->service_ns));
    if (!is_sampled)
        return;
    uint64_t sample_ns = queue->drain_busy_ns / queue->drain_pops;
    uint64_t mean_ns = queue->drain_interval_ns;
    if (!queue->is_drain_known)
        mean_ns = sample_ns;
    else if (sample_ns > mean_ns)
        mean_ns += (sample_ns - mean_ns) / DRAIN_WEIGHT_INVERSE;
    else
        mean_ns -= (mean_ns - sample_ns) / DRAIN_WEIGHT_INVERSE;
    queue->drain_interval_ns = mean_ns;
    queue->is_drain_known = true;
    queue->drain_busy_ns = 0;
    queue->drain_pops = 0;
}

static uint64_t wait_behind(const struct fg_admission_queue *queue, uint32_t ahead, uint64_t now_ns)
{
    if (ahead == 0)
        return 0;
    uint64_t pace = fg_admission_queue_pace_ns(queue, now_ns);
    return pace == FG_POLICY_NEVER ? FG_POLICY_NEVER : fg_multiply_divide(pace, ahead, 1);
}

static uint32_t count_above(const struct fg_admission_queue *queue, enum fg_priority priority)
{
    uint32_t count = 0;
    for (size_t i = 0; i < (size_t)priority; i++)
        count += queue->classes[i].count;
    return count;
}

/* --- deadlines --- */

static struct fg_queue_entry *earliest(const struct fg_admission_queue *queue)
{
    struct fg_deadline_node *node = queue->deadlines.root;
    if (node == NULL)
        return NULL;
    char *entry = (char *)node - offsetof(struct fg_queue_entry, deadline);
    return (struct fg_queue_entry *)(void *)entry;
}

static struct fg_queue_entry *take_expired(struct fg_admission_queue *queue, uint64_t now_ns)
{
    struct fg_queue_entry *entry = earliest(queue);
    if (entry == NULL || entry->deadline.deadline_ns > now_ns)
        return NULL;
    take_out(queue, entry, FG_QUEUE_ENTRY_EXPIRED);
    queue->expired_total++;
    return entry;
}

static size_t expire_into(struct fg_admission_queue *queue, uint64_t now_ns,
                          struct refused_list *list)
{
    size_t count = 0;
    struct fg_queue_entry *entry;
    while ((entry = take_expired(queue, now_ns)) != NULL) {
        refuse(list, entry);
        count++;
    }
    return count;
}

/* --- full queue --- */

/* Is there room for `weight` more in what is left of `max` beside `held`? 0: there always is. */
static bool has_room(uint64_t max, uint64_t held, uint64_t weight)
{
    return max == 0 || (weight <= max && held <= max - weight);
}

/* What keeps one more of this weight out, with so many entries that weigh `held`; QUEUED: nothing.
 */
static enum fg_queue_verdict shortage(const struct fg_queue_config *config, uint32_t count,
                                      struct fg_queue_weight held, struct fg_queue_weight weight)
{
    if (count >= config->capacity)
        return FG_QUEUE_FULL;
    if (!has_room(config->bytes_max, held.bytes, weight.bytes))
        return FG_QUEUE_FULL_BYTES;
    if (!has_room(config->tokens_max, held.tokens, weight.tokens))
        return FG_QUEUE_FULL_TOKENS;
    return FG_QUEUE_QUEUED;
}

static bool helps(const struct fg_queue_entry *entry, enum fg_queue_verdict shortage)
{
    return shortage == FG_QUEUE_FULL ||
           (shortage == FG_QUEUE_FULL_BYTES && entry->weight.bytes > 0) ||
           (shortage == FG_QUEUE_FULL_TOKENS && entry->weight.tokens > 0);
}

/* Entries that together make room. */
struct victims {
    struct fg_queue_entry *entries[LOOKS_MAX];
    size_t count;
};

/* So many may be one's own and nobody minds. */
static uint32_t crowd_free(const struct fg_queue_config *config)
{
    uint32_t share = config->capacity / CROWD_SHARE;
    return share > CROWD_LEAST ? share : CROWD_LEAST;
}

/* Does `entry` give way to one of its own class, whose owner has `mine` waiting? */
static bool gives_way(const struct fg_admission_queue *queue, const struct fg_queue_entry *entry,
                      const struct fg_queue_entry *arrival, uint32_t mine)
{
    if (entry->is_heavy && !arrival->is_heavy)
        return true;
    uint32_t theirs = fg_crowd_count(&queue->crowd, entry->owner);
    return theirs > crowd_free(&queue->config) && theirs / 2 > mine;
}

/*
 * Who gives way to `arrival`, one of `priority`: the newest of the lowest class first, in its own
 * class only those of a crowd or of who asks for much. With ageing the only one of a class keeps
 * its place, or it would never grow old; but for a queue so short that such places are most of it.
 * The verdict is what is short still, QUEUED: room can be made.
 */
static enum fg_queue_verdict choose_victims(const struct fg_admission_queue *queue,
                                            enum fg_priority priority,
                                            const struct fg_queue_entry *arrival,
                                            struct victims *victims)
{
    const struct fg_queue_config *config = &queue->config;
    const struct fg_queue_weight weight = arrival->weight;
    bool is_only_spared =
        config->ageing_ns != 0 && config->capacity > SPARED_SHARE * FG_PRIORITY_COUNT;
    uint32_t mine = fg_crowd_count(&queue->crowd, arrival->owner);
    uint32_t count = queue->count;
    struct fg_queue_weight held = queue->held;
    enum fg_queue_verdict lacking = shortage(config, count, held, weight);
    size_t looks = 0;
    for (size_t i = FG_PRIORITY_COUNT; i-- > (size_t)priority;) {
        const struct fg_queue_class *class = &queue->classes[i];
        struct fg_queue_entry *entry = class->newest;
        for (; lacking != FG_QUEUE_QUEUED && entry != NULL && looks < LOOKS_MAX; looks++) {
            bool is_spared = (is_only_spared && entry == class->oldest) ||
                             (i == (size_t)priority && !gives_way(queue, entry, arrival, mine));
            if (helps(entry, lacking) && !is_spared) {
                victims->entries[victims->count++] = entry;
                held.bytes -= entry->weight.bytes;
                held.tokens -= entry->weight.tokens;
                lacking = shortage(config, --count, held, weight);
            }
            entry = entry->prev;
        }
    }
    return lacking;
}

/* How long one of `owner` would wait that came now. */
static uint64_t wait_of_newcomer(const struct fg_admission_queue *queue, enum fg_priority priority,
                                 uint64_t owner, uint64_t now_ns)
{
    const struct fg_queue_class *class = &queue->classes[priority];
    bool is_lifo = is_newest_first(queue, class, now_ns);
    uint32_t own = is_lifo ? 0 : fg_fair_turns_ahead(&class->turns, owner);
    return wait_behind(queue, count_above(queue, priority) + own, now_ns);
}

static void displace(struct fg_admission_queue *queue, const struct victims *victims,
                     struct refused_list *list)
{
    for (size_t i = 0; i < victims->count; i++) {
        take_out(queue, victims->entries[i], FG_QUEUE_ENTRY_DISPLACED);
        queue->displaced_total++;
        refuse(list, victims->entries[i]);
    }
}

static void count_full(struct fg_admission_queue *queue, enum fg_queue_verdict verdict)
{
    queue->full_total += verdict == FG_QUEUE_FULL;
    queue->full_bytes_total += verdict == FG_QUEUE_FULL_BYTES;
    queue->full_tokens_total += verdict == FG_QUEUE_FULL_TOKENS;
}

/*
 * A patient queue is first come, first served, and no longer than can be served within the target:
 * whoever came to a longer one would be shed after a wait, and hears it at once. But for the only
 * one of a class.
 */
static bool is_foreseen(const struct fg_admission_queue *queue, enum fg_priority priority,
                        uint64_t owner, uint64_t now_ns)
{
    const struct fg_queue_class *class = &queue->classes[priority];
    bool is_by_design = queue->config.target_ns > PATIENT_NS;
    if (!is_patient(queue) || class->count == 0 || (!is_by_design && !class->standing.is_fed))
        return false;
    uint32_t ahead = count_above(queue, priority) + fg_fair_turns_ahead(&class->turns, owner);
    uint64_t wait_ns = wait_behind(queue, ahead, now_ns);
    if (wait_ns == FG_POLICY_NEVER)
        wait_ns = fg_multiply_divide(queue->pace_least_ns, ahead, 1);
    return wait_ns > queue->target_ns;
}

/* --- public --- */

void fg_admission_queue_init(struct fg_admission_queue *queue, const struct fg_queue_config *config)
{
    assert(config->target_ns == 0 || config->interval_ns >= config->target_ns);
    *queue = (struct fg_admission_queue){
        .config = *config,
        .target_ns = config->target_ns,
        .interval_ns = config->interval_ns,
        .pressed_from = FG_PRIORITY_COUNT,
    };
}

void fg_admission_queue_set_pressure(struct fg_admission_queue *queue, unsigned pressed_from)
{
    queue->pressed_from = pressed_from;
}

void fg_admission_queue_set_held(struct fg_admission_queue *queue, bool is_held)
{
    queue->is_held = is_held;
}

void fg_admission_queue_set_slots(struct fg_admission_queue *queue, uint32_t taken, bool is_growing)
{
    queue->slots_taken = taken;
    queue->is_growing = is_growing;
}

void fg_admission_queue_set_pace_least(struct fg_admission_queue *queue, uint64_t pace_ns)
{
    queue->pace_least_ns = pace_ns;
}

void fg_admission_queue_set_service(struct fg_admission_queue *queue, uint64_t service_ns)
{
    const struct fg_queue_config *config = &queue->config;
    queue->service_ns = service_ns < SERVICE_MAX_NS ? service_ns : SERVICE_MAX_NS;
    if (config->target_ns == 0)
        return;
    uint64_t more_ns =
        fg_subtract_floor(service_ns, fg_multiply_divide(config->target_ns, SLOW_TARGETS, 1));
    queue->target_ns = more_ns < config->target_max_ns ? more_ns : config->target_max_ns;
    if (queue->target_ns < config->target_ns)
        queue->target_ns = config->target_ns;
    uint64_t twice_ns = fg_add_saturating(queue->target_ns, queue->target_ns);
    queue->interval_ns = twice_ns > config->interval_ns ? twice_ns : config->interval_ns;
}

void fg_admission_queue_note_refused(struct fg_admission_queue *queue, enum fg_priority priority)
{
    queue->classes[priority].standing.arrived++;
    queue->classes[priority].empty_ns = 0; /* somebody would be waiting */
}

uint32_t fg_admission_queue_crowding(const struct fg_admission_queue *queue, uint64_t owner)
{
    uint32_t whole = queue->config.capacity / CROWD_WHOLE_SHARE;
    uint64_t beyond =
        fg_subtract_floor(fg_crowd_count(&queue->crowd, owner), crowd_free(&queue->config));
    return (uint32_t)fg_multiply_divide(beyond, FG_PRIORITY_COHORT_COUNT,
                                        whole > CROWD_WHOLE_LEAST ? whole : CROWD_WHOLE_LEAST);
}

enum fg_queue_verdict fg_admission_queue_push(struct fg_admission_queue *queue,
                                              struct fg_queue_entry *entry,
                                              enum fg_priority priority, uint64_t now_ns,
                                              uint64_t deadline_ns, struct fg_queue_entry **refused)
{
    assert(entry->state != FG_QUEUE_ENTRY_QUEUED);
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    struct refused_list list = {NULL, NULL};
    account_busy(queue, now_ns);
    shed_slough(queue, priority, now_ns, &list);
    queue->classes[priority].standing.arrived++;
    struct victims victims = {.count = 0};
    if (shortage(&queue->config, queue->count, queue->held, entry->weight) != FG_QUEUE_QUEUED)
        expire_into(queue, now_ns, &list); /* who is out of time gives way to anybody */
    *refused = list.first;
    enum fg_queue_verdict lacking = choose_victims(queue, priority, entry, &victims);
    if (lacking != FG_QUEUE_QUEUED) {
        count_full(queue, lacking);
        return lacking;
    }
    uint64_t wait_ns = wait_of_newcomer(queue, priority, entry->owner, now_ns);
    bool is_wait_known = wait_ns != FG_POLICY_NEVER && !queue->is_held && !queue->is_growing;
    bool is_over = deadline_ns <= now_ns;
    if (is_over || (is_wait_known && wait_ns > deadline_ns - now_ns)) {
        queue->cannot_meet_total++;
        if (is_over || !queue->config.is_shadow)
            return FG_QUEUE_CANNOT_MEET_DEADLINE;
    }
    if (is_foreseen(queue, priority, entry->owner, now_ns)) {
        queue->shed_total++;
        return FG_QUEUE_FORESEEN;
    }
    displace(queue, &victims, &list);
    *refused = list.first;
    entry->priority = priority;
    entry->enqueued_ns = now_ns;
    fg_deadline_heap_push(&queue->deadlines, &entry->deadline, deadline_ns);
    put_in(queue, entry);
    queue->queued_total++;
    return FG_QUEUE_QUEUED;
}

struct fg_queue_entry *fg_admission_queue_pop(struct fg_admission_queue *queue, uint64_t now_ns,
                                              struct fg_queue_entry **refused)
{
    struct refused_list list = {NULL, NULL};
    account_busy(queue, now_ns);
    expire_into(queue, now_ns, &list);
    for (unsigned i = 0; i < FG_PRIORITY_COUNT; i++)
        shed_slough(queue, (enum fg_priority)i, now_ns, &list);
    struct fg_queue_entry *entry = choose(queue, now_ns);
    if (entry != NULL) {
        struct fg_queue_class *class = &queue->classes[entry->priority];
        take_out(queue, entry, FG_QUEUE_ENTRY_POPPED);
        queue->popped_total++;
        class->served_at_ns = now_ns;
        class->standing.served++;
        if (queue->config.is_shadow && waited_ns(entry, now_ns) > wait_max_ns(queue, class))
            queue->shed_total++;
        if (class->count == 0)
            class->delay_min_ns = 0; /* served empty: no standing delay in this interval */
        account_pop(queue);
    }
    *refused = list.first;
    return entry;
}

size_t fg_admission_queue_expire(struct fg_admission_queue *queue, uint64_t now_ns,
                                 struct fg_queue_entry **refused)
{
    struct refused_list list = {NULL, NULL};
    account_busy(queue, now_ns);
    size_t count = expire_into(queue, now_ns, &list);
    *refused = list.first;
    return count;
}

enum fg_queue_verdict fg_admission_queue_reweigh(struct fg_admission_queue *queue,
                                                 struct fg_queue_entry *entry,
                                                 struct fg_queue_weight weight)
{
    assert(entry->state == FG_QUEUE_ENTRY_QUEUED);
    struct fg_queue_weight others = {queue->held.bytes - entry->weight.bytes,
                                     queue->held.tokens - entry->weight.tokens};
    enum fg_queue_verdict lacking = shortage(&queue->config, queue->count - 1, others, weight);
    count_full(queue, lacking);
    if (lacking != FG_QUEUE_QUEUED)
        return lacking;
    entry->weight = weight;
    queue->held.bytes = others.bytes + weight.bytes;
    queue->held.tokens = others.tokens + weight.tokens;
    return FG_QUEUE_QUEUED;
}

void fg_admission_queue_remove(struct fg_admission_queue *queue, struct fg_queue_entry *entry)
{
    queue->classes[entry->priority].standing.served++; /* it needs no slot any more */
    take_out(queue, entry, FG_QUEUE_ENTRY_REMOVED);
}

uint64_t fg_admission_queue_next_expiry_ns(const struct fg_admission_queue *queue)
{
    const struct fg_queue_entry *entry = earliest(queue);
    return entry == NULL ? FG_POLICY_NEVER : entry->deadline.deadline_ns;
}

uint32_t fg_admission_queue_position(const struct fg_admission_queue *queue,
                                     const struct fg_queue_entry *entry, uint64_t now_ns)
{
    assert(entry->state == FG_QUEUE_ENTRY_QUEUED);
    const struct fg_queue_class *class = &queue->classes[entry->priority];
    bool is_lifo = is_newest_first(queue, class, now_ns);
    uint64_t ahead = is_lifo ? class->newest->sequence - entry->sequence
                             : entry->sequence - class->oldest->sequence;
    if (ahead > class->count - 1)
        ahead = class->count - 1;
    return count_above(queue, entry->priority) + (uint32_t)ahead;
}

uint64_t fg_admission_queue_estimated_wait_ns(const struct fg_admission_queue *queue,
                                              const struct fg_queue_entry *entry, uint64_t now_ns)
{
    return wait_behind(queue, fg_admission_queue_position(queue, entry, now_ns), now_ns);
}

uint64_t fg_admission_queue_expected_wait_ns(const struct fg_admission_queue *queue,
                                             enum fg_priority priority, uint64_t now_ns)
{
    assert((unsigned)priority < FG_PRIORITY_COUNT);
    const struct fg_queue_class *class = &queue->classes[priority];
    bool is_lifo = is_newest_first(queue, class, now_ns);
    uint32_t own = is_lifo ? 0 : class->count; /* newest first: nobody of its own */
    return wait_behind(queue, count_above(queue, priority) + own, now_ns);
}

uint64_t fg_admission_queue_pace_ns(const struct fg_admission_queue *queue, uint64_t now_ns)
{
    uint64_t pace = queue->is_drain_known ? queue->drain_interval_ns : FG_POLICY_NEVER;
    uint64_t current_ns = busy_ns(queue, now_ns);
    if (current_ns < longer(DRAIN_SAMPLE_NS, 2 * queue->service_ns))
        return pace;
    current_ns /= (uint64_t)queue->drain_pops + 1;
    return !queue->is_drain_known || current_ns > pace ? current_ns : pace;
}

uint32_t fg_admission_queue_load_percent(const struct fg_admission_queue *queue)
{
    if (queue->target_ns == 0)
        return 0;
    uint64_t worst_ns = 0;
    for (size_t i = 0; i < FG_PRIORITY_COUNT; i++) {
        if (queue->classes[i].count > 0 && queue->classes[i].delay_min_ns > worst_ns)
            worst_ns = queue->classes[i].delay_min_ns;
    }
    uint64_t percent = fg_multiply_divide(worst_ns, 100, slough_ns(queue));
    return percent > 100 ? 100 : (uint32_t)percent;
}

const char *fg_queue_verdict_name(enum fg_queue_verdict verdict)
{
    static const char *const names[] = {
        "queued", "full", "full_bytes", "full_tokens", "cannot_meet_deadline", "foreseen"};
    assert((size_t)verdict < sizeof(names) / sizeof(names[0]));
    return names[verdict];
}

const char *fg_queue_entry_state_name(enum fg_queue_entry_state state)
{
    static const char *const names[] = {"idle", "queued",    "popped", "expired",
                                        "shed", "displaced", "removed"};
    assert((size_t)state < sizeof(names) / sizeof(names[0]));
    return names[state];
}
