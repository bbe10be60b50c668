/*
 * cache_store_shared.c: what is stored is found, comes and goes; what is pinned; figures.
 */
#include "cache_shard_shared.h"

#include "base/clock.h"
#include "base/local_hash.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

#define OBJECTS_A_SHARD 8u /* of the largest size: none fails for the shape of shards */
#define GHOSTS 4096u
#define HELD_SHARE 4u
#define AWAITING_SHARE 16u
#define SHORT_NS FG_S /* for so long it is remembered */

/* ---- life ---- */

static unsigned count_shards(const struct fg_cache_conf *conf)
{
    unsigned count = 1;
    while (count < FG_CACHE_SHARDS_MAX &&
           conf->bytes_max / (count * 2) >= conf->object_bytes_max * OBJECTS_A_SHARD)
        count *= 2;
    return count;
}

struct fg_cache_store *fg_cache_store_create(const struct fg_cache_conf *conf)
{
    unsigned count = count_shards(conf);
    size_t bytes = sizeof(struct fg_cache_store) + count * sizeof(struct fg_cache_shard);
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
        struct fg_cache_shard *shard = &store->shards[i];
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

/* ---- finding ---- */

struct fg_cache_object *fg_cache_store_get(struct fg_cache_store *store,
                                           const struct fg_cache_ask *ask, uint64_t *changes)
{
    uint64_t hash = fg_local_hash(ask->key, store->seed);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, hash);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *object = fg_cache_shard_find(shard, hash, ask);
    if (object != NULL) {
        if (fg_cache_is_in_fifo(object))
            fg_s3_fifo_touch(&object->entry);
        fg_cache_object_acquire(object);
    }
    if (changes != NULL)
        *changes = object != NULL && fg_cache_shard_is_for_all(shard, object)
                       ? atomic_load_explicit(&shard->changes, memory_order_relaxed)
                       : 0;
    pthread_mutex_unlock(&shard->lock);
    return object;
}

bool fg_cache_store_is_unchanged(const struct fg_cache_store *store,
                                 const struct fg_cache_object *object, uint64_t changes)
{
    const struct fg_cache_shard *shard = &store->shards[fg_cache_shard_index(store, object->hash)];
    return atomic_load_explicit(&shard->changes, memory_order_acquire) == changes;
}

bool fg_cache_store_has_other(struct fg_cache_store *store, const struct fg_cache_ask *ask)
{
    uint64_t hash = fg_local_hash(ask->key, store->seed);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, hash);
    pthread_mutex_lock(&shard->lock);
    const struct fg_cache_object *object = *fg_cache_shard_slot(shard, hash);
    while (object != NULL && !fg_cache_is_of(object, hash, ask->route_index, ask->key))
        object = object->next_same;
    pthread_mutex_unlock(&shard->lock);
    return object != NULL;
}

/* ---- coming and going ---- */

static uint64_t id_of(const struct fg_cache_store *store, const struct fg_cache_object *object)
{
    return object->hash ^
           (fg_local_hash(object->head.selects, store->seed) + object->head.route_index);
}

bool fg_cache_store_publish(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            struct fg_cache_object *object)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, flight->hash);
    struct fg_cache_object *chain = NULL;
    object->hash = flight->hash;
    pthread_mutex_lock(&shard->lock);
    bool is_stored = !flight->is_doomed;
    fg_cache_shard_unlist(shard, flight);
    if (is_stored) {
        fg_cache_shard_make_way(shard, object, &chain);
        is_stored = fg_cache_shard_admit(shard, object, id_of(store, object), &chain);
    }
    if (is_stored) {
        fg_cache_shard_link(shard, object);
        shard->stored_total++;
    } else {
        shard->refused_total++;
    }
    pthread_mutex_unlock(&shard->lock);
    fg_cache_release_chain(chain);
    return is_stored;
}

void fg_cache_store_remove(struct fg_cache_store *store, struct fg_cache_object *object)
{
    struct fg_cache_shard *shard = fg_cache_store_shard(store, object->hash);
    struct fg_cache_object *chain = NULL;
    uint64_t losses = atomic_load(&store->pin_losses);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *it = *fg_cache_shard_slot(shard, object->hash);
    while (it != NULL && it != object)
        it = it->next_same;
    if (it != NULL)
        fg_cache_shard_drop(shard, it, &chain);
    pthread_mutex_unlock(&shard->lock);
    fg_cache_release_chain(chain);
    fg_cache_store_tell_losses(store, losses);
}

bool fg_cache_store_reserve(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            uint64_t bytes)
{
    /* Two that ask at once may both pass: the bound is exceeded by one answer a loop at most. */
    if (fg_counter_get(&store->held_bytes) + bytes > store->conf.bytes_max / HELD_SHARE) {
        atomic_store_explicit(&store->short_ns, fg_clock_monotonic_ns(), memory_order_relaxed);
        return false;
    }
    fg_counter_add(&store->held_bytes, bytes);
    fg_cache_stream_hold(stream, &store->held_bytes, bytes);
    return true;
}

bool fg_cache_store_try_begin_variant(struct fg_cache_store *store, uint64_t bytes)
{
    /* A single one may be as large as it is; two at once may both pass, as above. */
    uint64_t awaiting = fg_counter_get(&store->awaiting_bytes);
    if (awaiting > 0 && awaiting + bytes > store->conf.bytes_max / AWAITING_SHARE)
        return false;
    fg_counter_add(&store->awaiting_bytes, bytes);
    return true;
}

void fg_cache_store_end_variant(struct fg_cache_store *store, uint64_t bytes)
{
    fg_counter_sub(&store->awaiting_bytes, bytes);
}

bool fg_cache_store_is_short(const struct fg_cache_store *store, uint64_t now_ns)
{
    uint64_t short_ns = atomic_load_explicit(&store->short_ns, memory_order_relaxed);
    return short_ns != 0 && now_ns < short_ns + SHORT_NS;
}

/* ---- what is pinned ---- */

/* Without a lock: `before` is what pins().losses was. */
void fg_cache_store_tell_losses(const struct fg_cache_store *store, uint64_t before)
{
    if (store->on_lost != NULL && atomic_load(&store->pin_losses) != before)
        store->on_lost(store->on_lost_arg);
}

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
    struct fg_cache_shard *shard = fg_cache_store_shard(store, object->hash);
    pthread_mutex_lock(&shard->lock);
    fg_cache_shard_make_way(shard, object, &chain);
    bool is_stored = fg_cache_shard_admit(shard, object, id_of(store, object), &chain);
    if (is_stored)
        fg_cache_shard_link(shard, object);
    pthread_mutex_unlock(&shard->lock);
    fg_cache_release_chain(chain);
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

static size_t list_pinned(struct fg_cache_shard *shard, struct fg_cache_object **objects,
                          size_t room)
{
    size_t count = 0;
    for (unsigned s = 0; s < FG_CACHE_SLOTS && count < room; s++) {
        for (struct fg_cache_object *it = shard->slots[s]; it != NULL && count < room;
             it = it->next_same) {
            if (fg_cache_is_in_fifo(it))
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

void fg_cache_store_count(struct fg_cache_store *store, enum fg_cache_event event, uint64_t amount)
{
    atomic_fetch_add_explicit(&store->events[event], amount, memory_order_relaxed);
}

/* Returns whether something had to go. */
static bool set_shard_max(struct fg_cache_shard *shard, uint64_t bytes_max)
{
    struct fg_cache_object *chain = NULL;
    struct fg_s3_entry *evicted = NULL;
    pthread_mutex_lock(&shard->lock);
    shard->bytes_max = bytes_max;
    fg_s3_fifo_set_max(&shard->fifo, fg_subtract_floor(bytes_max, shard->pinned_bytes), &evicted);
    bool is_less = evicted != NULL;
    fg_cache_shard_take_evicted(shard, evicted, &chain);
    pthread_mutex_unlock(&shard->lock);
    fg_cache_release_chain(chain);
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
        struct fg_cache_shard *shard = &store->shards[i];
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
