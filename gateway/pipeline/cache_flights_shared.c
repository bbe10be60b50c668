/*
 * cache_flights_shared.c: who is fetching what, so that others read along, and what is known of
 * keys whose answers cannot be shared or whose origin has just failed.
 */
#include "cache_shard_shared.h"

#include "base/clock.h"
#include "base/local_hash.h"
#include "cache_key.h"

#define MARK_NS (5 * FG_S)
#define FAILING_NS FG_S

static uint64_t mark_id(const struct fg_cache_flight *flight)
{
    return flight->hash ^ flight->route_index * UINT64_C(0x9e3779b97f4a7c15) ^
           (flight->variant & 1);
}

static bool is_marked(const struct fg_cache_mark *marks, const struct fg_cache_flight *flight,
                      uint64_t now_ns)
{
    const struct fg_cache_mark *mark = &marks[flight->hash % FG_CACHE_MARKS];
    return mark->id == mark_id(flight) && now_ns < mark->until_ns;
}

/* Requests that are known to differ in what selects, or in whose they are, fetch side by side. The
 * lowest bit says whose. */
static uint64_t variant_of(struct fg_cache_store *store, struct fg_cache_shard *shard,
                           uint64_t hash, const struct fg_cache_ask *ask)
{
    uint64_t variant = 0;
    for (struct fg_cache_object *it = *fg_cache_shard_slot(shard, hash); it != NULL;
         it = it->next_same) {
        if (!fg_cache_is_of(it, hash, ask->route_index, ask->key) || it->head.vary.len == 0)
            continue;
        char selects[FG_CACHE_SELECTS_MAX];
        size_t len = fg_cache_key_selects(ask->ex, it->head.vary, selects);
        variant = len == SIZE_MAX ? 2 : fg_local_hash(fg_span_make(selects, len), store->seed) | 2;
        break;
    }
    return (variant & ~UINT64_C(1)) | ask->has_authorization;
}

static struct fg_cache_flight *find_flight(struct fg_cache_shard *shard,
                                           const struct fg_cache_flight *as, struct fg_span key)
{
    struct fg_cache_flight *flight = shard->flights[as->hash % FG_CACHE_FLIGHT_SLOTS];
    while (flight != NULL && (flight->hash != as->hash || flight->route_index != as->route_index ||
                              flight->variant != as->variant || flight->is_doomed ||
                              flight->is_alone || !fg_span_equal(flight->key, key)))
        flight = flight->next;
    return flight;
}

static enum fg_cache_role lead(struct fg_cache_store *store, struct fg_cache_shard *shard,
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
    struct fg_cache_flight **first = &shard->flights[as->hash % FG_CACHE_FLIGHT_SLOTS];
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
    struct fg_cache_shard *shard = fg_cache_store_shard(store, as.hash);
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
    struct fg_cache_shard *shard = fg_cache_store_shard(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    flight->is_alone = true;
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_close(struct fg_cache_store *store, struct fg_cache_stream *stream)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    fg_cache_shard_unlist(shard, flight);
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_mark(struct fg_cache_store *store, struct fg_cache_stream *stream,
                         uint64_t now_ns)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    fg_cache_shard_unlist(shard, flight);
    shard->marks[flight->hash % FG_CACHE_MARKS] =
        (struct fg_cache_mark){mark_id(flight), now_ns + MARK_NS};
    pthread_mutex_unlock(&shard->lock);
}

void fg_cache_store_note_failure(struct fg_cache_store *store, struct fg_cache_stream *stream,
                                 uint64_t now_ns)
{
    struct fg_cache_flight *flight = fg_cache_stream_flight(stream);
    struct fg_cache_shard *shard = fg_cache_store_shard(store, flight->hash);
    pthread_mutex_lock(&shard->lock);
    fg_cache_shard_unlist(shard, flight);
    shard->failures[flight->hash % FG_CACHE_MARKS] =
        (struct fg_cache_mark){mark_id(flight), now_ns + FAILING_NS};
    pthread_mutex_unlock(&shard->lock);
}
