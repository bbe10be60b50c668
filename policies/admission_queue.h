/*
 * admission_queue.h: where requests wait for a slot: bounded, by class, each with a deadline.
 * Thread   one owner at a time. Entries are embedded in the caller's objects and stay theirs.
 */
#ifndef FG_POLICIES_ADMISSION_QUEUE_H
#define FG_POLICIES_ADMISSION_QUEUE_H

#include "policies/crowd.h"
#include "policies/deadline_heap.h"
#include "policies/fair_turns.h"
#include "policies/priority.h"
#include "policies/standing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an entry stands, and why it left. A zeroed entry is IDLE. */
enum fg_queue_entry_state {
    FG_QUEUE_ENTRY_IDLE,
    FG_QUEUE_ENTRY_QUEUED,
    FG_QUEUE_ENTRY_POPPED,    /* its turn came */
    FG_QUEUE_ENTRY_EXPIRED,   /* its deadline passed while it waited */
    FG_QUEUE_ENTRY_SHED,      /* waited too long while the queue was overloaded */
    FG_QUEUE_ENTRY_DISPLACED, /* gave its place to a higher class in a full queue */
    FG_QUEUE_ENTRY_REMOVED,   /* taken out by its owner */
};

/* What a request that waits holds, or will ask of the backend, beside its place. */
struct fg_queue_weight {
    uint64_t bytes;  /* of its body */
    uint64_t tokens; /* of a model, estimated (policies/token_scan) */
};

struct fg_queue_entry {
    /* links; `next` also chains the list of refused entries that pop and expire hand out */
    struct fg_queue_entry *prev;
    struct fg_queue_entry *next;
    struct fg_deadline_node deadline;
    struct fg_fair_turn turn; /* within its class */
    /* state */
    enum fg_queue_entry_state state;
    enum fg_priority priority;
    uint64_t enqueued_ns;
    uint64_t sequence; /* order of arrival within its class */
    struct fg_queue_weight weight;
    uint64_t owner;  /* whose it is, as for fg_crowd_add */
    uint32_t number; /* of policies/priority: the least goes first while the class is overloaded */
    bool is_heavy;   /* of somebody who asks for much: in a full queue gives way to who does not */
};

struct fg_queue_config {
    uint32_t capacity;      /* entries of all classes together; 0: nothing waits */
    uint64_t bytes_max;     /* what they weigh together; 0: not bounded */
    uint64_t tokens_max;    /* ... 0: not bounded */
    uint64_t ageing_ns;     /* a wait of this long counts as one class higher; 0: never */
    uint64_t target_ns;     /* tolerated standing delay; 0: never sheds, stays FIFO */
    uint64_t target_max_ns; /* a slow backend's service time is tolerated up to here; 0: not */
    bool is_shadow;         /* FIFO; sheds and foresees nobody, but counts; bounds hold */
    uint64_t interval_ns;   /* time within which the delay must once fall to the target */
};

struct fg_queue_class {
    struct fg_queue_entry *oldest;
    struct fg_queue_entry *newest;
    uint32_t count;
    struct fg_fair_turns turns; /* in which order they go while it is not newest first */
    bool is_overloaded;         /* the last whole interval had a standing delay */
    bool is_stuck;              /* it had one, and this is no burst that drains */
    bool is_interval_open;      /* false: the next pop starts a new minimum */
    uint64_t next_sequence;
    uint64_t interval_ends_ns;
    uint64_t served_at_ns; /* last pop, or when last nobody waited */
    uint64_t delay_min_ns; /* smallest wait of the oldest entry in this interval */
    uint64_t empty_ns;     /* of this interval, in which nobody waited */
    struct fg_standing standing;
};

struct fg_admission_queue {
    struct fg_queue_config config;
    struct fg_queue_class classes[FG_PRIORITY_COUNT];
    struct fg_deadline_heap deadlines;
    uint32_t count;
    struct fg_queue_weight held; /* of all entries */
    struct fg_crowd crowd;       /* who they are of */
    uint64_t target_ns;          /* in force: the configured one, or the backend's service time */
    uint64_t interval_ns;        /* in force: at least twice the target */
    unsigned pressed_from;       /* the first class under pressure; FG_PRIORITY_COUNT: none is */
    bool is_held;                /* by the slots: none comes free, for a while now */
    bool is_growing;             /* their number: that of answers tells nothing yet */
    uint32_t slots_taken;
    uint64_t service_ns; /* of the backend, up to a second; 0: not known */
    /* how fast the queue drains while somebody waits */
    uint64_t drained_at_ns;     /* last pop, or when the queue stopped being empty */
    uint64_t drain_busy_ns;     /* busy time in the sample that is being taken */
    uint32_t drain_pops;        /* pops in it */
    uint64_t drain_interval_ns; /* smoothed time a pop; valid if is_drain_known */
    bool is_drain_known;
    uint64_t pace_least_ns; /* a pop takes no less, as far as is known before it is measured; 0 */
    /* counters */
    uint64_t queued_total;
    uint64_t popped_total;
    uint64_t expired_total;
    uint64_t shed_total; /* or refused as that was foreseen; in shadow: would have been */
    uint64_t displaced_total;
    uint64_t full_total;       /* found no place */
    uint64_t full_bytes_total; /* found one, but weighed too much */
    uint64_t full_tokens_total;
    uint64_t cannot_meet_total;
};

enum fg_queue_verdict {
    FG_QUEUE_QUEUED,
    FG_QUEUE_FULL,
    FG_QUEUE_FULL_BYTES,
    FG_QUEUE_FULL_TOKENS,
    FG_QUEUE_CANNOT_MEET_DEADLINE,
    FG_QUEUE_FORESEEN, /* it would be shed, after a long wait */
};

void fg_admission_queue_init(struct fg_admission_queue *queue,
                             const struct fg_queue_config *config);

/*
 * How long the backend takes when nothing waits there. Nobody can wait less than until a slot comes
 * free, so a delay of that length is no overload, up to config.target_max_ns, and a pause of
 * that length in which nobody is served is no stall.
 */
void fg_admission_queue_set_service(struct fg_admission_queue *queue, uint64_t service_ns);

/* Before anybody has waited: how often slots come free at most. 0: not known. */
void fg_admission_queue_set_pace_least(struct fg_admission_queue *queue, uint64_t pace_ns);

/*
 * Newcomers of the classes from `pressed_from` on are being refused (FG_PRIORITY_COUNT: of none):
 * there is always another for a free slot, and so no use in keeping those that were passed by.
 */
void fg_admission_queue_set_pressure(struct fg_admission_queue *queue, unsigned pressed_from);

/* All slots are held, longer than answers take: that nobody is served is no sign that too many
 * come, and nobody is shed for it. */
void fg_admission_queue_set_held(struct fg_admission_queue *queue, bool is_held);

/* So many slots are taken; `is_growing`: more are opened all the time, since it is not known yet
 * how many there are, and by the pace so far nobody is refused. */
void fg_admission_queue_set_slots(struct fg_admission_queue *queue, uint32_t taken,
                                  bool is_growing);

/* One of the class has come and may not wait here: for who counts those that come. */
void fg_admission_queue_note_refused(struct fg_admission_queue *queue, enum fg_priority priority);

/*
 * How far `owner` is beyond what one may have waiting before it counts as a crowd: in 128ths of an
 * eighth of the queue, 0 when it is not.
 */
uint32_t fg_admission_queue_crowding(const struct fg_admission_queue *queue, uint64_t owner);

/*
 * Let `entry` (not queued anywhere), which weighs entry->weight, wait until `deadline_ns`. QUEUED:
 * it belongs to the queue until pop, expire, remove or another push hands it out. *refused is a
 * list as in pop, of entries that lost their place or had waited in vain.
 */
enum fg_queue_verdict fg_admission_queue_push(struct fg_admission_queue *queue,
                                              struct fg_queue_entry *entry,
                                              enum fg_priority priority, uint64_t now_ns,
                                              uint64_t deadline_ns,
                                              struct fg_queue_entry **refused);

/*
 * The entry whose turn it is, or NULL when none is left. *refused is a NULL-terminated list through
 * `next` of entries that expired or were shed on the way (their `state` says which); the caller
 * refuses them, reading `next` before it touches each.
 */
struct fg_queue_entry *fg_admission_queue_pop(struct fg_admission_queue *queue, uint64_t now_ns,
                                              struct fg_queue_entry **refused);

/* Takes out all entries whose deadline is now or past; the list is as in pop. Returns how many. */
size_t fg_admission_queue_expire(struct fg_admission_queue *queue, uint64_t now_ns,
                                 struct fg_queue_entry **refused);

/*
 * `entry`, which waits, turns out to weigh this. A bound that would be passed is the verdict, and
 * then nothing has changed: its owner takes it out. Else QUEUED.
 */
enum fg_queue_verdict fg_admission_queue_reweigh(struct fg_admission_queue *queue,
                                                 struct fg_queue_entry *entry,
                                                 struct fg_queue_weight weight);

/* Takes `entry`, which must be in this queue, out of it: its client has gone. */
void fg_admission_queue_remove(struct fg_admission_queue *queue, struct fg_queue_entry *entry);

/* When to call expire: the earliest deadline, or UINT64_MAX when nobody waits. */
uint64_t fg_admission_queue_next_expiry_ns(const struct fg_admission_queue *queue);

/*
 * At most how many are served before `entry`, ageing aside: higher classes and those before it in
 * its own. Entries that left from the middle may still be counted. Constant time.
 */
uint32_t fg_admission_queue_position(const struct fg_admission_queue *queue,
                                     const struct fg_queue_entry *entry, uint64_t now_ns);

/* How long `entry` can expect to wait from now on; UINT64_MAX while the pace is not known. */
uint64_t fg_admission_queue_estimated_wait_ns(const struct fg_admission_queue *queue,
                                              const struct fg_queue_entry *entry, uint64_t now_ns);

/* While the queue stands, a wait that was longer is not borne. */
uint64_t fg_admission_queue_borne_ns(const struct fg_admission_queue *queue);

/* The same for a request that would come now; what push compares with the deadline. */
uint64_t fg_admission_queue_expected_wait_ns(const struct fg_admission_queue *queue,
                                             enum fg_priority priority, uint64_t now_ns);

/* Time a pop takes now; UINT64_MAX while it is not known. A stall shows before it ends. */
uint64_t fg_admission_queue_pace_ns(const struct fg_admission_queue *queue, uint64_t now_ns);

/* Standing delay of the worst class as a share of twice the target, 0 to 100. */
uint32_t fg_admission_queue_load_percent(const struct fg_admission_queue *queue);

/* "queued", "full_bytes", "cannot_meet_deadline" and the entry states: constant strings. */
const char *fg_queue_verdict_name(enum fg_queue_verdict verdict);
const char *fg_queue_entry_state_name(enum fg_queue_entry_state state);

#endif
