/*
 * cache_purge_shared.c: what is not to be given any more, and what an operator looks at.
 */
#include "cache_shard_shared.h"

#include "base/clock.h"
#include "base/local_hash.h"
#include "cache_key.h"

#include <sched.h>

void fg_cache_store_invalidate(struct fg_cache_store *store, struct fg_span key)
{
    uint64_t hash = fg_local_hash(key, store->seed);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, hash);
    struct fg_cache_object *chain = NULL;
    uint64_t losses = atomic_load(&store->pin_losses);
    pthread_mutex_lock(&shard->lock);
    struct fg_cache_object *it = *fg_cache_shard_slot(shard, hash);
    while (it != NULL) {
        struct fg_cache_object *next = it->next_same;
        if (it->hash == hash && fg_span_equal(it->head.key, key)) { /* of every route */
            fg_cache_shard_drop(shard, it, &chain);
            shard->invalidated_total++;
        }
        it = next;
    }
    for (struct fg_cache_flight *flight = shard->flights[hash % FG_CACHE_FLIGHT_SLOTS];
         flight != NULL; flight = flight->next)
        flight->is_doomed |= flight->hash == hash && fg_span_equal(flight->key, key);
    pthread_mutex_unlock(&shard->lock);
    fg_cache_release_chain(chain);
    fg_cache_store_tell_losses(store, losses);
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
static uint64_t purge_part(struct fg_cache_shard *shard, unsigned *slot,
                           enum fg_cache_purge_kind kind, struct fg_span what,
                           struct fg_cache_object **chain)
{
    uint64_t count = 0;
    for (unsigned s = 0; s < FG_CACHE_FLIGHT_SLOTS; s++) {
        for (struct fg_cache_flight *it = shard->flights[s]; it != NULL; it = it->next)
            it->is_doomed |= is_purged(kind, what, it->key, (struct fg_span){NULL, 0}, false);
    }
    for (unsigned looked = 0; *slot < FG_CACHE_SLOTS && looked < FG_CACHE_OBJECTS_AT_ONCE;
         ++*slot) {
        struct fg_cache_object *it = shard->slots[*slot];
        for (; it != NULL; looked++) {
            struct fg_cache_object *next = it->next_same;
            if (is_purged(kind, what, it->head.key, it->head.tags, true) &&
                (kind != FG_CACHE_PURGE_ALL || fg_cache_is_in_fifo(it))) {
                fg_cache_shard_drop(shard, it, chain);
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
    unsigned slots[FG_CACHE_SHARDS_MAX] = {0};
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
            if (slots[i] == FG_CACHE_SLOTS)
                continue;
            pthread_mutex_lock(&store->shards[i].lock);
            count += purge_part(&store->shards[i], &slots[i], kind, what, &chain);
            pthread_mutex_unlock(&store->shards[i].lock);
            fg_cache_release_chain(chain);
            is_more |= slots[i] < FG_CACHE_SLOTS;
        }
        sched_yield();
    }
    fg_cache_store_tell_losses(store, losses);
    return count;
}

/* ---- looking at what is there ---- */

static size_t list_part(struct fg_cache_shard *shard, unsigned *slot, struct fg_span prefix,
                        struct fg_cache_object **objects, size_t room)
{
    size_t count = 0;
    for (unsigned looked = 0; *slot < FG_CACHE_SLOTS && looked < FG_CACHE_OBJECTS_AT_ONCE;
         ++*slot) {
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
    unsigned slots[FG_CACHE_SHARDS_MAX] = {0};
    size_t count = 0;
    bool is_more = true;
    while (is_more && count < room) {
        is_more = false;
        for (unsigned i = 0; i < store->shard_count; i++) {
            pthread_mutex_lock(&store->shards[i].lock);
            count += list_part(&store->shards[i], &slots[i], prefix, objects + count, room - count);
            pthread_mutex_unlock(&store->shards[i].lock);
            is_more |= slots[i] < FG_CACHE_SLOTS;
        }
        sched_yield();
    }
    return count;
}
