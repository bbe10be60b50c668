/*
 * cache_store_shared.c: shards of (hash table + S3-FIFO + flights + marks).
 *
 *    slot[hash] --> object --> object     variants of one key stand in the same slot, newest first
 *    flights    --> flight --> flight     in the streams that carry them
 *    marks[hash % N] = (id, until)        keys whose answers turned out not to be sharable
 *    failures[hash % N] = (id, until)     keys whose origin has just failed
 */
#include "cache_store_shared.h"

#include "base/clock.h"
#include "base/local_hash.h"
#include "cache_key.h"
#include "policies/cache/cache_budget.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHARDS_MAX 16u
#define OBJECTS_A_SHARD                                                                            \
    8u /* of the largest size: an object never fails for the shape of shards                       \
        */
#define SLOTS 4096u
#define OBJECTS_AT_ONCE 128u /* looked at under one lock: 60 us, where memory is slow */
#define FLIGHT_SLOTS 256u
#define MARKS 1024u
#define MARK_NS (5 * FG_S)
#define FAILING_NS FG_S
#define GHOSTS 4096u
#define VARIANTS_MAX 16u /* stored responses of one key and route; the oldest goes */
#define HELD_SHARE 4u
#define PINNED_SHARE 2u

struct mark {
    uint64_t id;
    uint64_t until_ns;
};

struct shard {
    _Alignas(64) atomic_ullong changes; /* of what the slots hold, from 1 on; read by all */
    _Alignas(64) pthread_mutex_t lock;
    struct fg_cache_object *slots[SLOTS];
    struct fg_cache_flight *flights[FLIGHT_SLOTS];
    struct fg_s3_fifo fifo;
    struct mark marks[MARKS];
    struct mark failures[MARKS];
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
    atomic_ullong events[FG_CACHE_EVENT_COUNT];
    atomic_ullong pin_changes;     /* pinned objects that came, went or must be asked for */
    atomic_ullong pin_losses;      /* of these, what must not come back as it was */
    atomic_ullong purged_ns;       /* what was pinned up to then is given stale alone */
    fg_cache_pins_lost_fn on_lost; /* set while nobody else has the store */
    void *on_lost_arg;
    struct shard shards[];
};

/* ---- life ---- */

static unsigned count_shards(const struct fg_cache_conf *conf)
{
    unsigned count = 1;
    while (count < SHARDS_MAX &&
           conf->bytes_max / (count * 2) >= conf->object_bytes_max * OBJECTS_A_SHARD)
        count *= 2;
    return count;
}

struct fg_cache_store *fg_cache_store_create(const struct fg_cache_conf *conf)
{
    unsigned count = count_shards(conf);
    size_t bytes = sizeof(struct fg_cache_store) + count * sizeof(struct shard);
    struct fg_cache_store *store = aligned_alloc(64, bytes);
    if (store == NULL)
        return NULL;
    memset(store, 0, bytes);
    store->conf = *conf;
    store->shard_count = count;
    fg_cache_budget_init(&store->budget, fg_clock_monotonic_ns());
    size_t ghost_bytes = fg_s3_fifo_bytes(GHOSTS);
    store->ghosts = calloc(count, ghost_bytes);
    if (store->ghosts == NULL ||
        getrandom(&store->seed, sizeof(store->seed), 0) != sizeof(store->seed)) {
        free(store->ghosts);
        free(store);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        atomic_init(&shard->changes, 1);
        shard->bytes_max = conf->bytes_max / count;
        shard->held_bytes = &store->held_bytes;
        shard->pin_changes = &store->pin_changes;
        shard->pin_losses = &store->pin_losses;
        fg_s3_fifo_init(&shard->fifo, shard->bytes_max, (char *)store->ghosts + i * ghost_bytes,
                        ghost_bytes, GHOSTS);
    }
    return store;
}

void fg_cache_store_destroy(struct fg_cache_store *store)
{
    if (store == NULL)
        return;
    fg_cache_store_purge(store, FG_CACHE_PURGE_PREFIX, FG_SPAN("")); /* all, pinned or not */
    for (unsigned i = 0; i < store->shard_count; i++) {
        assert(store->shards[i].flight_count == 0);
        pthread_mutex_destroy(&store->shards[i].lock);
    }
    free(store->ghosts);
    free(store);
}

/* ---- the table; with the lock held ---- */

static size_t shard_index(const struct fg_cache_store *store, uint64_t hash)
{
    return (hash >> 56) & (store->shard_count - 1);
}

static struct shard *shard_of(struct fg_cache_store *store, uint64_t hash)
{
    return &store->shards[shard_index(store, hash)];
}

static struct fg_cache_object **slot_of(struct shard *shard, uint64_t hash)
{
    return &shard->slots[hash % SLOTS];
}

static bool is_of(const struct fg_cache_object *object, uint64_t hash, uint32_t route_index,
                  struct fg_span key)
{
    return object->hash == hash && object->head.route_index == route_index &&
           fg_span_equal(object->head.key, key);
}

static bool answers(const struct fg_cache_object *object, const struct fg_exchange *ex)
{
    if (object->head.vary.len == 0)
        return true;
    char selects[FG_CACHE_SELECTS_MAX];
    size_t len = fg_cache_key_selects(ex, object->head.vary, selects);
    return len != SIZE_MAX && fg_span_equal(object->head.selects, fg_span_make(selects, len));
}

/* Whatever else the request says: nothing of it selects, and nothing else has that key. */
static bool is_for_all(const struct shard *shard, const struct fg_cache_object *object)
{
    if (object->head.vary.len > 0)
        return false;
    for (const struct fg_cache_object *it = shard->slots[object->hash % SLOTS]; it != NULL;
         it = it->next_same) {
        if (it != object && is_of(it, object->hash, object->head.route_index, object->head.key))
            return false;
    }
    return true;
}

static struct fg_cache_object *find(struct shard *shard, uint64_t hash,
                                    const struct fg_cache_ask *ask)
{
    for (struct fg_cache_object *object = *slot_of(shard, hash); object != NULL;
         object = object->next_same) {
        if (is_of(object, hash, ask->route_index, ask->key) && answers(object, ask->ex))
            return object;
    }
    return NULL;
}

static void link_object(struct shard *shard, struct fg_cache_object *object)
{
    struct fg_cache_object **slot = slot_of(shard, object->hash);
    object->next_same = *slot;
    *slot = object;
    fg_cache_object_acquire(object);
    fg_cache_body_enter_store(object->body);
    atomic_fetch_add_explicit(&shard->changes, 1, memory_order_release);
}

static bool is_in_fifo(const struct fg_cache_object *object)
{
    return object->entry.queue != FG_S3_NONE;
}

/* Out of the slot; the table's reference goes to the caller's chain. */
static void unlink_object(struct shard *shard, struct fg_cache_object *object,
                          struct fg_cache_object **chain)
{
    struct fg_cache_object **at = slot_of(shard, object->hash);
    while (*at != object)
        at = &(*at)->next_same;
    *at = object->next_same;
    object->next_same = *chain;
    *chain = object;
    atomic_fetch_add_explicit(&shard->changes, 1, memory_order_release);
    fg_cache_body_leave_store(object->body, shard->held_bytes);
}

/* Out of the slot and out of the accounts. */
static void take_out(struct shard *shard, struct fg_cache_object *object,
                     struct fg_cache_object **chain)
{
    unlink_object(shard, object, chain);
    if (is_in_fifo(object)) {
        fg_s3_fifo_remove(&shard->fifo, &object->entry);
        return;
    }
    struct fg_s3_entry *none = NULL;
    shard->pinned_bytes -= object->entry.bytes;
    shard->pinned_count--;
    atomic_fetch_add(shard->pin_changes, 1);
    fg_s3_fifo_set_max(&shard->fifo, fg_subtract_floor(shard->bytes_max, shard->pinned_bytes),
                       &none);
    assert(none == NULL); /* there is more room now */
}

/* The same for what is not to be given any more, in no later process either. */
static void drop(struct shard *shard, struct fg_cache_object *object,
                 struct fg_cache_object **chain)
{
    if (!is_in_fifo(object))
        atomic_fetch_add(shard->pin_losses, 1);
    take_out(shard, object, chain);
}

/* Without a lock: `before` is what pins().losses was. */
static void tell_losses(const struct fg_cache_store *store, uint64_t before)
{
    if (store->on_lost != NULL && atomic_load(&store->pin_losses) != before)
        store->on_lost(store->on_lost_arg);
}

static void release_chain(struct fg_cache_object *chain)
{
    while (chain != NULL) {
        struct fg_cache_object *next = chain->next_same;
        chain->next_same = NULL;
        fg_cache_object_release(chain);
        chain = next;
    }
}

static void take_out_evicted(struct shard *shard, struct fg_s3_entry *evicted,
                             struct fg_cache_object **chain)
{
    while (evicted != NULL) {
        struct fg_s3_entry *next = evicted->next;
        struct fg_cache_object *object = FG_CONTAINER_OF(evicted, struct fg_cache_object, entry);
        unlink_object(shard, object, chain);
        evicted = next;
    }
}

struct fg_cache_object *fg_cache_store_get(struct fg_cache_store *store,
                                           const struct fg_cache_ask *ask, uint64_t *changes)
{
    uint64_t hash = fg_local_hash(ask->key, store->seed);
    struct shard *shard = shard_of(store, hash);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *object = find(shard, hash, ask);
    if (object != NULL) {
        if (is_in_fifo(object))
            fg_s3_fifo_touch(&object->entry);
        fg_cache_object_acquire(object);
    }
    if (changes != NULL)
        *changes = object != NULL && is_for_all(shard, object)
                       ? atomic_load_explicit(&shard->changes, memory_order_relaxed)
                       : 0;
    pthread_mutex_unlock(&shard->lock);
    return object;
}

bool fg_cache_store_is_unchanged(const struct fg_cache_store *store,
                                 const struct fg_cache_object *object, uint64_t changes)
{
    const struct shard *shard = &store->shards[shard_index(store, object->hash)];
    return atomic_load_explicit(&shard->changes, memory_order_acquire) == changes;
}

bool fg_cache_store_has_other(struct fg_cache_store *store, const struct fg_cache_ask *ask)
{
    uint64_t hash = fg_local_hash(ask->key, store->seed);
    struct shard *shard = shard_of(store, hash);
    pthread_mutex_lock(&shard->lock);
    const struct fg_cache_object *object = *slot_of(shard, hash);
    while (object != NULL && !is_of(object, hash, ask->route_index, ask->key))
        object = object->next_same;
    pthread_mutex_unlock(&shard->lock);
    return object != NULL;
}

/* ---- storing ---- */

/* What the new one replaces: the same key, route and selecting fields; and the oldest beyond
 * VARIANTS_MAX. */
static void make_way(struct shard *shard, const struct fg_cache_object *object,
                     struct fg_cache_object **chain)
{
    unsigned count = 0;
    struct fg_cache_object *it = *slot_of(shard, object->hash);
    while (it != NULL) {
        struct fg_cache_object *next = it->next_same;
        if (is_of(it, object->hash, object->head.route_index, object->head.key)) {
            bool is_same = fg_span_equal(it->head.vary, object->head.vary) &&
                           fg_span_equal(it->head.selects, object->head.selects);
            if (is_same || ++count >= VARIANTS_MAX)
                take_out(shard, it, chain);
        }
        it = next;
    }
}

static bool admit(struct fg_cache_store *store, struct shard *shard, struct fg_cache_object *object,
                  struct fg_cache_object **chain)
{
    uint64_t bytes = fg_cache_object_bytes(object);
    struct fg_s3_entry *evicted = NULL;
    if (object->head.is_pinned && shard->pinned_bytes + bytes <= shard->bytes_max / PINNED_SHARE) {
        shard->pinned_bytes += bytes;
        shard->pinned_count++;
        atomic_fetch_add(shard->pin_changes, 1);
        fg_s3_fifo_set_max(&shard->fifo, fg_subtract_floor(shard->bytes_max, shard->pinned_bytes),
                           &evicted);
        object->entry = (struct fg_s3_entry){.hash = object->hash, .bytes = bytes};
        take_out_evicted(shard, evicted, chain);
        return true;
    }
    uint64_t id = object->hash ^
                  (fg_local_hash(object->head.selects, store->seed) + object->head.route_index);
    bool is_admitted = fg_s3_fifo_insert(&shard->fifo, &object->entry, id, bytes, &evicted);
    take_out_evicted(shard, evicted, chain);
    return is_admitted;
}

static void unlist(struct shard *shard, struct fg_cache_flight *flight)
{
    if (!flight->is_listed)
        return;
    struct fg_cache_flight **at = &shard->flights[flight->hash % FLIGHT_SLOTS];
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    flight->is_listed = false;
    shard->flight_count--;
}

bool fg_cache_store_publish(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            struct fg_cache_object *object)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct shard *shard = shard_of(store, flight->hash);
    struct fg_cache_object *chain = NULL;
    object->hash = flight->hash;
    pthread_mutex_lock(&shard->lock);
    bool is_stored = !flight->is_doomed;
    unlist(shard, flight);
    if (is_stored) {
        make_way(shard, object, &chain);
        is_stored = admit(store, shard, object, &chain);
    }
    if (is_stored) {
        link_object(shard, object);
        shard->stored_total++;
    } else {
        shard->refused_total++;
    }
    pthread_mutex_unlock(&shard->lock);
    release_chain(chain);
    return is_stored;
}

void fg_cache_store_remove(struct fg_cache_store *store, struct fg_cache_object *object)
{
    struct shard *shard = shard_of(store, object->hash);
    struct fg_cache_object *chain = NULL;
    uint64_t losses = atomic_load(&store->pin_losses);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *it = *slot_of(shard, object->hash);
    while (it != NULL && it != object)
        it = it->next_same;
    if (it != NULL)
        drop(shard, it, &chain);
    pthread_mutex_unlock(&shard->lock);
    release_chain(chain);
    tell_losses(store, losses);
}

/* ---- flights ---- */

static uint64_t mark_id(const struct fg_cache_flight *flight)
{
    return flight->hash ^ flight->route_index * UINT64_C(0x9e3779b97f4a7c15) ^
           (flight->variant & 1);
}

static bool is_marked(const struct mark *marks, const struct fg_cache_flight *flight,
                      uint64_t now_ns)
{
    const struct mark *mark = &marks[flight->hash % MARKS];
    return mark->id == mark_id(flight) && now_ns < mark->until_ns;
}

/* Requests that are known to differ in what selects, or in whose they are, fetch side by side. The
 * lowest bit says whose. */
static uint64_t variant_of(struct fg_cache_store *store, struct shard *shard, uint64_t hash,
                           const struct fg_cache_ask *ask)
{
    uint64_t variant = 0;
    for (struct fg_cache_object *it = *slot_of(shard, hash); it != NULL; it = it->next_same) {
        if (!is_of(it, hash, ask->route_index, ask->key) || it->head.vary.len == 0)
            continue;
        char selects[FG_CACHE_SELECTS_MAX];
        size_t len = fg_cache_key_selects(ask->ex, it->head.vary, selects);
        variant = len == SIZE_MAX ? 2 : fg_local_hash(fg_span_make(selects, len), store->seed) | 2;
        break;
    }
    return (variant & ~UINT64_C(1)) | ask->has_authorization;
}

static struct fg_cache_flight *find_flight(struct shard *shard, const struct fg_cache_flight *as,
                                           struct fg_span key)
{
    struct fg_cache_flight *flight = shard->flights[as->hash % FLIGHT_SLOTS];
    while (flight != NULL && (flight->hash != as->hash || flight->route_index != as->route_index ||
                              flight->variant != as->variant || flight->is_doomed ||
                              flight->is_alone || !fg_span_equal(flight->key, key)))
        flight = flight->next;
    return flight;
}

static enum fg_cache_role lead(struct fg_cache_store *store, struct shard *shard,
                               const struct fg_cache_ask *ask, struct fg_loop *loop,
                               const struct fg_cache_flight *as, struct fg_cache_reader *reader,
                               struct fg_cache_stream **stream)
{
    uint32_t waiters_max = store->conf.waiters_max;
    *stream = fg_cache_stream_create(loop, ask->key,
                                     waiters_max == UINT32_MAX ? waiters_max : waiters_max + 1,
                                     store->conf.unshared_at_once);
    if (*stream == NULL)
        return FG_CACHE_ALONE;
    struct fg_cache_flight *flight = fg_cache_stream_flight(*stream);
    flight->hash = as->hash;
    flight->variant = as->variant;
    flight->route_index = as->route_index;
    flight->is_alone = as->is_alone;
    struct fg_cache_flight **first = &shard->flights[as->hash % FLIGHT_SLOTS];
    flight->next = *first;
    *first = flight;
    flight->is_listed = true;
    shard->flight_count++;
    if (reader != NULL)
        (void)fg_cache_stream_join(*stream, reader, true);
    return FG_CACHE_LEAD;
}

enum fg_cache_role fg_cache_store_lead_or_join(struct fg_cache_store *store,
                                               const struct fg_cache_ask *ask, uint64_t now_ns,
                                               struct fg_loop *loop, bool is_solo,
                                               struct fg_cache_reader *reader,
                                               struct fg_cache_stream **stream)
{
    struct fg_cache_flight as = {.hash = fg_local_hash(ask->key, store->seed),
                                 .route_index = ask->route_index,
                                 .is_alone = is_solo};
    struct shard *shard = shard_of(store, as.hash);
    enum fg_cache_role role;
    pthread_mutex_lock(&shard->lock);
    as.variant = variant_of(store, shard, as.hash, ask);
    struct fg_cache_flight *other = is_solo ? NULL : find_flight(shard, &as, ask->key);
    if (ask->has_stale && is_marked(shard->failures, &as, now_ns))
        role = FG_CACHE_FAILING;
    else if (is_marked(shard->marks, &as, now_ns))
        role = FG_CACHE_ALONE;
    else if (other == NULL)
        role = lead(store, shard, ask, loop, &as, reader, stream);
    else if (reader == NULL || !fg_cache_stream_join(fg_cache_stream_of(other), reader, false))
        role = FG_CACHE_TOO_MANY;
    else
        role = FG_CACHE_JOINED;
    pthread_mutex_unlock(&shard->lock);
    return role;
}

void fg_cache_store_part(struct fg_cache_store *store, struct fg_cache_stream *stream)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct shard *shard = shard_of(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    flight->is_alone = true;
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_close(struct fg_cache_store *store, struct fg_cache_stream *stream)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct shard *shard = shard_of(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    unlist(shard, flight);
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_mark(struct fg_cache_store *store, struct fg_cache_stream *stream,
                         uint64_t now_ns)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct shard *shard = shard_of(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    unlist(shard, flight);
    shard->marks[flight->hash % MARKS] = (struct mark){mark_id(flight), now_ns + MARK_NS};
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_note_failure(struct fg_cache_store *store, struct fg_cache_stream *stream,
                                 uint64_t now_ns)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct shard *shard = shard_of(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    unlist(shard, flight);
    shard->failures[flight->hash % MARKS] = (struct mark){mark_id(flight), now_ns + FAILING_NS};
    pthread_mutex_unlock(&shard->lock);
}

bool fg_cache_store_reserve(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            uint64_t bytes)
{
    /* Two that ask at once may both pass: the bound is exceeded by one answer a loop at most. */
    if (fg_counter_get(&store->held_bytes) + bytes > store->conf.bytes_max / HELD_SHARE)
        return false;
    fg_counter_add(&store->held_bytes, bytes);
    fg_cache_stream_hold(stream, &store->held_bytes, bytes);
    return true;
}

/* ---- dropping ---- */

void fg_cache_store_invalidate(struct fg_cache_store *store, struct fg_span key)
{
    uint64_t hash = fg_local_hash(key, store->seed);
    struct shard *shard = shard_of(store, hash);
    struct fg_cache_object *chain = NULL;
    uint64_t losses = atomic_load(&store->pin_losses);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *it = *slot_of(shard, hash);
    while (it != NULL) {
        struct fg_cache_object *next = it->next_same;
        if (it->hash == hash && fg_span_equal(it->head.key, key)) { /* of every route */
            drop(shard, it, &chain);
            shard->invalidated_total++;
        }
        it = next;
    }
    for (struct fg_cache_flight *flight = shard->flights[hash % FLIGHT_SLOTS]; flight != NULL;
         flight = flight->next)
        flight->is_doomed |= flight->hash == hash && fg_span_equal(flight->key, key);
    pthread_mutex_unlock(&shard->lock);
    release_chain(chain);
    tell_losses(store, losses);
}

static bool has_tag(struct fg_span tags, struct fg_span tag)
{
    while (tags.data != NULL) {
        if (fg_span_equal(fg_span_split(&tags, ' '), tag))
            return true;
    }
    return false;
}

static bool is_path(struct fg_span path_and_query, struct fg_span path)
{
    return fg_span_starts_with(path_and_query, path) &&
           (path_and_query.len == path.len || path_and_query.data[path.len] == '?');
}

/* What is still on its way may have any tag. */
static bool is_purged(enum fg_cache_purge_kind kind, struct fg_span what, struct fg_span key,
                      struct fg_span tags, bool are_tags_known)
{
    switch (kind) {
    case FG_CACHE_PURGE_PATH:
        return is_path(fg_cache_key_path(key), what);
    case FG_CACHE_PURGE_PREFIX:
        return fg_span_starts_with(fg_cache_key_path(key), what);
    case FG_CACHE_PURGE_TAG:
        return !are_tags_known || has_tag(tags, what);
    case FG_CACHE_PURGE_ALL:
        break;
    }
    return true;
}

/* With what is on its way to them, some slots from *slot on, which moves behind them. */
static uint64_t purge_part(struct shard *shard, unsigned *slot, enum fg_cache_purge_kind kind,
                           struct fg_span what, struct fg_cache_object **chain)
{
    uint64_t count = 0;
    for (unsigned s = 0; s < FLIGHT_SLOTS; s++) {
        for (struct fg_cache_flight *it = shard->flights[s]; it != NULL; it = it->next)
            it->is_doomed |= is_purged(kind, what, it->key, (struct fg_span){NULL, 0}, false);
    }
    for (unsigned looked = 0; *slot < SLOTS && looked < OBJECTS_AT_ONCE; ++*slot) {
        struct fg_cache_object *it = shard->slots[*slot];
        for (; it != NULL; looked++) {
            struct fg_cache_object *next = it->next_same;
            if (is_purged(kind, what, it->head.key, it->head.tags, true) &&
                (kind != FG_CACHE_PURGE_ALL || is_in_fifo(it))) {
                drop(shard, it, chain);
                count++;
            }
            it = next;
        }
    }
    shard->purged_total += count;
    return count;
}

/*
 * In parts, and of all shards by turns, as a shard that has had one is left to the loops meanwhile.
 * A fetch that began behind the first part may still bring back (by a 304) what has not been
 * reached: it is either over when its slot is, and goes then, or is doomed in the same turn.
 */
uint64_t fg_cache_store_purge(struct fg_cache_store *store, enum fg_cache_purge_kind kind,
                              struct fg_span what)
{
    unsigned slots[SHARDS_MAX] = {0};
    uint64_t count = 0;
    uint64_t losses = atomic_load(&store->pin_losses);
    if (kind == FG_CACHE_PURGE_ALL) {
        atomic_store(&store->purged_ns, fg_clock_monotonic_ns());
        atomic_fetch_add(&store->pin_losses, 1); /* they may come back, but not as they were */
        atomic_fetch_add(&store->pin_changes, 1);
    }
    bool is_more = true;
    while (is_more) {
        is_more = false;
        for (unsigned i = 0; i < store->shard_count; i++) {
            struct fg_cache_object *chain = NULL;
            if (slots[i] == SLOTS)
                continue;
            pthread_mutex_lock(&store->shards[i].lock);
            count += purge_part(&store->shards[i], &slots[i], kind, what, &chain);
            pthread_mutex_unlock(&store->shards[i].lock);
            release_chain(chain);
            is_more |= slots[i] < SLOTS;
        }
        sched_yield();
    }
    tell_losses(store, losses);
    return count;
}

/* ---- what is pinned ---- */

bool fg_cache_store_must_ask(const struct fg_cache_store *store,
                             const struct fg_cache_object *object)
{
    return object->head.is_pinned &&
           (object->head.must_ask || object->head.stored_ns <= atomic_load(&store->purged_ns));
}

bool fg_cache_store_restore(struct fg_cache_store *store, struct fg_cache_object *object)
{
    struct fg_cache_object *chain = NULL;
    object->hash = fg_local_hash(object->head.key, store->seed);
    struct shard *shard = shard_of(store, object->hash);
    pthread_mutex_lock(&shard->lock);
    make_way(shard, object, &chain);
    bool is_stored = admit(store, shard, object, &chain);
    if (is_stored)
        link_object(shard, object);
    pthread_mutex_unlock(&shard->lock);
    release_chain(chain);
    return is_stored;
}

void fg_cache_store_on_pins_lost(struct fg_cache_store *store, fg_cache_pins_lost_fn on_lost,
                                 void *arg)
{
    store->on_lost = on_lost;
    store->on_lost_arg = arg;
}

struct fg_cache_store_pins fg_cache_store_pins(struct fg_cache_store *store)
{
    struct fg_cache_store_pins pins = {.changes = atomic_load(&store->pin_changes),
                                       .losses = atomic_load(&store->pin_losses)};
    for (unsigned i = 0; i < store->shard_count; i++) {
        pthread_mutex_lock(&store->shards[i].lock);
        pins.count += (size_t)store->shards[i].pinned_count;
        pthread_mutex_unlock(&store->shards[i].lock);
    }
    return pins;
}

static size_t list_pinned(struct shard *shard, struct fg_cache_object **objects, size_t room)
{
    size_t count = 0;
    for (unsigned s = 0; s < SLOTS && count < room; s++) {
        for (struct fg_cache_object *it = shard->slots[s]; it != NULL && count < room;
             it = it->next_same) {
            if (is_in_fifo(it))
                continue;
            fg_cache_object_acquire(it);
            objects[count++] = it;
        }
    }
    return count;
}

size_t fg_cache_store_list_pinned(struct fg_cache_store *store, struct fg_cache_object **objects,
                                  size_t room)
{
    size_t count = 0;
    for (unsigned i = 0; i < store->shard_count; i++) {
        pthread_mutex_lock(&store->shards[i].lock);
        if (store->shards[i].pinned_count > 0)
            count += list_pinned(&store->shards[i], objects + count, room - count);
        pthread_mutex_unlock(&store->shards[i].lock);
    }
    return count;
}

/* ---- figures ---- */

static size_t list_part(struct shard *shard, unsigned *slot, struct fg_span prefix,
                        struct fg_cache_object **objects, size_t room)
{
    size_t count = 0;
    for (unsigned looked = 0; *slot < SLOTS && looked < OBJECTS_AT_ONCE; ++*slot) {
        struct fg_cache_object *it = shard->slots[*slot];
        for (; it != NULL && count < room; it = it->next_same) {
            looked++;
            if (!fg_span_starts_with(fg_cache_key_path(it->head.key), prefix))
                continue;
            fg_cache_object_acquire(it);
            objects[count++] = it;
        }
    }
    return count;
}

size_t fg_cache_store_list(struct fg_cache_store *store, struct fg_span prefix,
                           struct fg_cache_object **objects, size_t room)
{
    unsigned slots[SHARDS_MAX] = {0};
    size_t count = 0;
    bool is_more = true;
    while (is_more && count < room) {
        is_more = false;
        for (unsigned i = 0; i < store->shard_count; i++) {
            pthread_mutex_lock(&store->shards[i].lock);
            count += list_part(&store->shards[i], &slots[i], prefix, objects + count, room - count);
            pthread_mutex_unlock(&store->shards[i].lock);
            is_more |= slots[i] < SLOTS;
        }
        sched_yield();
    }
    return count;
}

void fg_cache_store_count(struct fg_cache_store *store, enum fg_cache_event event, uint64_t amount)
{
    atomic_fetch_add_explicit(&store->events[event], amount, memory_order_relaxed);
}

/* Returns whether something had to go. */
static bool set_shard_max(struct shard *shard, uint64_t bytes_max)
{
    struct fg_cache_object *chain = NULL;
    struct fg_s3_entry *evicted = NULL;
    pthread_mutex_lock(&shard->lock);
    shard->bytes_max = bytes_max;
    fg_s3_fifo_set_max(&shard->fifo, fg_subtract_floor(bytes_max, shard->pinned_bytes), &evicted);
    bool is_less = evicted != NULL;
    take_out_evicted(shard, evicted, &chain);
    pthread_mutex_unlock(&shard->lock);
    release_chain(chain);
    return is_less;
}

bool fg_cache_store_follow(struct fg_cache_store *store, uint64_t now_ns, bool is_short)
{
    bool is_less = false;
    uint64_t used = 0, whole = store->conf.bytes_max;
    if (is_short)
        used = fg_cache_store_stats(store).bytes;
    uint32_t used_permille = whole == 0 ? 0 : (uint32_t)fg_multiply_divide(used, 1000, whole);
    if (!fg_cache_budget_step(&store->budget, now_ns, is_short, used_permille))
        return false;
    uint64_t bytes_max =
        fg_multiply_divide(whole / store->shard_count, store->budget.permille, FG_CACHE_BUDGET_ALL);
    for (unsigned i = 0; i < store->shard_count; i++)
        is_less |= set_shard_max(&store->shards[i], bytes_max);
    return is_less;
}

struct fg_cache_store_stats fg_cache_store_stats(struct fg_cache_store *store)
{
    struct fg_cache_store_stats stats = {.bytes_max = 0};
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats.bytes_max += shard->bytes_max;
        stats.objects += fg_s3_fifo_count(&shard->fifo) + shard->pinned_count;
        stats.bytes += fg_s3_fifo_bytes_used(&shard->fifo) + shard->pinned_bytes;
        stats.pinned_objects += shard->pinned_count;
        stats.pinned_bytes += shard->pinned_bytes;
        stats.fetches += shard->flight_count;
        stats.evicted_total += shard->fifo.evicted_total;
        stats.stored_total += shard->stored_total;
        stats.refused_total += shard->refused_total;
        stats.purged_total += shard->purged_total;
        stats.invalidated_total += shard->invalidated_total;
        pthread_mutex_unlock(&shard->lock);
    }
    stats.held_bytes = fg_counter_get(&store->held_bytes);
    for (unsigned i = 0; i < FG_CACHE_EVENT_COUNT; i++)
        stats.events[i] = atomic_load_explicit(&store->events[i], memory_order_relaxed);
    return stats;
}
