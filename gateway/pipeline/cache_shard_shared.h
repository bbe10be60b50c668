/*
 * cache_shard_shared.h: what the files of the cache's store share: one shard, and what it holds.
 *
 *    slot[hash] --> object --> object     variants of one key stand in the same slot, newest first
 *    flights    --> flight --> flight     in the streams that carry them
 *    marks[hash % N] = (id, until)        keys whose answers turned out not to be sharable
 *    failures[hash % N] = (id, until)     keys whose origin has just failed
 *
 * Protocol  as cache_store_shared.h has it; every call below is for who holds the shard's lock,
 *           where it does not say otherwise.
 */
#ifndef FG_PIPELINE_CACHE_SHARD_SHARED_H
#define FG_PIPELINE_CACHE_SHARD_SHARED_H

#include "pipeline/cache_store_shared.h"
#include "policies/cache/cache_budget.h"

#include <pthread.h>
#include <stdatomic.h>

#define FG_CACHE_SHARDS_MAX 16u
#define FG_CACHE_SLOTS 4096u
#define FG_CACHE_OBJECTS_AT_ONCE 128u /* looked at under one lock: 60 us, where memory is slow */
#define FG_CACHE_FLIGHT_SLOTS 256u
#define FG_CACHE_MARKS 1024u

struct fg_cache_mark {
    uint64_t id;
    uint64_t until_ns;
};

struct fg_cache_shard {
    _Alignas(64) atomic_ullong changes; /* of what the slots hold, from 1 on; read by all */
    _Alignas(64) pthread_mutex_t lock;
    struct fg_cache_object *slots[FG_CACHE_SLOTS];
    struct fg_cache_flight *flights[FG_CACHE_FLIGHT_SLOTS];
    struct fg_s3_fifo fifo;
    struct fg_cache_mark marks[FG_CACHE_MARKS];
    struct fg_cache_mark failures[FG_CACHE_MARKS];
    struct fg_counter *held_bytes; /* the store's */
    atomic_ullong *pin_changes;    /* likewise */
    atomic_ullong *pin_losses;     /* likewise */
    uint64_t bytes_max;
    uint64_t pinned_bytes;
    uint64_t pinned_count;
    uint64_t flight_count;
    uint64_t stored_total;
    uint64_t refused_total;
    uint64_t purged_total;
    uint64_t invalidated_total;
};

struct fg_cache_store {
    struct fg_cache_conf conf;
    uint64_t seed; /* clients choose what is hashed, and must not know which of it collides */
    void *ghosts;
    unsigned shard_count;          /* a power of two */
    struct fg_cache_budget budget; /* of the thread that follows the pressure */
    struct fg_counter held_bytes;
    struct fg_counter awaiting_bytes; /* of bodies that are to have a variant */
    atomic_ullong short_ns;           /* when there last was no room to fetch; 0: never */
    atomic_ullong events[FG_CACHE_EVENT_COUNT];
    atomic_ullong pin_changes;     /* pinned objects that came, went or must be asked for */
    atomic_ullong pin_losses;      /* of these, what must not come back as it was */
    atomic_ullong purged_ns;       /* what was pinned up to then is given stale alone */
    fg_cache_pins_lost_fn on_lost; /* set while nobody else has the store */
    void *on_lost_arg;
    struct fg_cache_shard shards[];
};

/* Without a lock. */
static inline size_t fg_cache_shard_index(const struct fg_cache_store *store, uint64_t hash)
{
    return (hash >> 56) & (store->shard_count - 1);
}

static inline struct fg_cache_shard *fg_cache_store_shard(struct fg_cache_store *store,
                                                          uint64_t hash)
{
    return &store->shards[fg_cache_shard_index(store, hash)];
}

static inline struct fg_cache_object **fg_cache_shard_slot(struct fg_cache_shard *shard,
                                                           uint64_t hash)
{
    return &shard->slots[hash % FG_CACHE_SLOTS];
}

static inline bool fg_cache_is_of(const struct fg_cache_object *object, uint64_t hash,
                                  uint32_t route_index, struct fg_span key)
{
    return object->hash == hash && object->head.route_index == route_index &&
           fg_span_equal(object->head.key, key);
}

static inline bool fg_cache_is_in_fifo(const struct fg_cache_object *object)
{
    return object->entry.queue != FG_S3_NONE;
}

/* What is stored for this request; the table's reference. */
struct fg_cache_object *fg_cache_shard_find(struct fg_cache_shard *shard, uint64_t hash,
                                            const struct fg_cache_ask *ask);
/* Whatever else the request says: nothing of it selects, and nothing else has that key. */
bool fg_cache_shard_is_for_all(const struct fg_cache_shard *shard,
                               const struct fg_cache_object *object);

/*
 * What goes is put into the caller's chain with the table's reference, to be released without the
 * lock. The chain is NULL at first.
 */
void fg_cache_release_chain(struct fg_cache_object *chain);

/* What a new object replaces: the same key, route and selecting fields; and the oldest of too many
 * variants. */
void fg_cache_shard_make_way(struct fg_cache_shard *shard, const struct fg_cache_object *object,
                             struct fg_cache_object **chain);
/* Then: may it stay? `id` tells variants apart, for what is remembered of those that went. */
bool fg_cache_shard_admit(struct fg_cache_shard *shard, struct fg_cache_object *object, uint64_t id,
                          struct fg_cache_object **chain);
/* Then: into its slot. */
void fg_cache_shard_link(struct fg_cache_shard *shard, struct fg_cache_object *object);

/* Out of the slot and out of the accounts. */
void fg_cache_shard_take_out(struct fg_cache_shard *shard, struct fg_cache_object *object,
                             struct fg_cache_object **chain);
/* The same for what is not to be given any more, in no later process either. */
void fg_cache_shard_drop(struct fg_cache_shard *shard, struct fg_cache_object *object,
                         struct fg_cache_object **chain);
/* The same for those that the S3-FIFO has let go. */
void fg_cache_shard_take_evicted(struct fg_cache_shard *shard, struct fg_s3_entry *evicted,
                                 struct fg_cache_object **chain);

/* Nobody joins the flight any more. Harmless twice. */
void fg_cache_shard_unlist(struct fg_cache_shard *shard, struct fg_cache_flight *flight);

/* Without a lock: `before` is what pins().losses was. */
void fg_cache_store_tell_losses(const struct fg_cache_store *store, uint64_t before);

#endif
