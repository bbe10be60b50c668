/*
 * cache_shard_shared.c: see cache_shard_shared.h.
 */
#include "cache_shard_shared.h"

#include "cache_key.h"
#include "policies/wide_math.h"

#include <assert.h>

#define VARIANTS_MAX 16u /* stored responses of one key and route; the oldest goes */
#define PINNED_SHARE 2u

static bool answers(const struct fg_cache_object *object, const struct fg_exchange *ex)
{
    if (object->head.vary.len == 0)
        return true;
    char selects[FG_CACHE_SELECTS_MAX];
    size_t len = fg_cache_key_selects(ex, object->head.vary, selects);
    return len != SIZE_MAX && fg_span_equal(object->head.selects, fg_span_make(selects, len));
}

bool fg_cache_shard_is_for_all(const struct fg_cache_shard *shard,
                               const struct fg_cache_object *object)
{
    if (object->head.vary.len > 0)
        return false;
    for (const struct fg_cache_object *it = shard->slots[object->hash % FG_CACHE_SLOTS]; it != NULL;
         it = it->next_same) {
        if (it != object &&
            fg_cache_is_of(it, object->hash, object->head.route_index, object->head.key))
            return false;
    }
    return true;
}

struct fg_cache_object *fg_cache_shard_find(struct fg_cache_shard *shard, uint64_t hash,
                                            const struct fg_cache_ask *ask)
{
    for (struct fg_cache_object *object = *fg_cache_shard_slot(shard, hash); object != NULL;
         object = object->next_same) {
        if (fg_cache_is_of(object, hash, ask->route_index, ask->key) && answers(object, ask->ex))
            return object;
    }
    return NULL;
}

void fg_cache_shard_link(struct fg_cache_shard *shard, struct fg_cache_object *object)
{
    struct fg_cache_object **slot = fg_cache_shard_slot(shard, object->hash);
    object->next_same = *slot;
    *slot = object;
    fg_cache_object_acquire(object);
    fg_cache_body_enter_store(object->body);
    atomic_fetch_add_explicit(&shard->changes, 1, memory_order_release);
}

/* Out of the slot; the table's reference goes to the caller's chain. */
static void unlink_object(struct fg_cache_shard *shard, struct fg_cache_object *object,
                          struct fg_cache_object **chain)
{
    struct fg_cache_object **at = fg_cache_shard_slot(shard, object->hash);
    while (*at != object)
        at = &(*at)->next_same;
    *at = object->next_same;
    object->next_same = *chain;
    *chain = object;
    atomic_fetch_add_explicit(&shard->changes, 1, memory_order_release);
    fg_cache_body_leave_store(object->body, shard->held_bytes);
}

void fg_cache_shard_take_out(struct fg_cache_shard *shard, struct fg_cache_object *object,
                             struct fg_cache_object **chain)
{
    unlink_object(shard, object, chain);
    if (fg_cache_is_in_fifo(object)) {
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

void fg_cache_shard_drop(struct fg_cache_shard *shard, struct fg_cache_object *object,
                         struct fg_cache_object **chain)
{
    if (!fg_cache_is_in_fifo(object))
        atomic_fetch_add(shard->pin_losses, 1);
    fg_cache_shard_take_out(shard, object, chain);
}

void fg_cache_release_chain(struct fg_cache_object *chain)
{
    while (chain != NULL) {
        struct fg_cache_object *next = chain->next_same;
        chain->next_same = NULL;
        fg_cache_object_release(chain);
        chain = next;
    }
}

void fg_cache_shard_take_evicted(struct fg_cache_shard *shard, struct fg_s3_entry *evicted,
                                 struct fg_cache_object **chain)
{
    while (evicted != NULL) {
        struct fg_s3_entry *next = evicted->next;
        struct fg_cache_object *object = FG_CONTAINER_OF(evicted, struct fg_cache_object, entry);
        unlink_object(shard, object, chain);
        evicted = next;
    }
}

void fg_cache_shard_make_way(struct fg_cache_shard *shard, const struct fg_cache_object *object,
                             struct fg_cache_object **chain)
{
    unsigned count = 0;
    struct fg_cache_object *it = *fg_cache_shard_slot(shard, object->hash);
    while (it != NULL) {
        struct fg_cache_object *next = it->next_same;
        if (fg_cache_is_of(it, object->hash, object->head.route_index, object->head.key)) {
            bool is_same = fg_span_equal(it->head.vary, object->head.vary) &&
                           fg_span_equal(it->head.selects, object->head.selects);
            if (is_same || ++count >= VARIANTS_MAX)
                fg_cache_shard_take_out(shard, it, chain);
        }
        it = next;
    }
}

bool fg_cache_shard_admit(struct fg_cache_shard *shard, struct fg_cache_object *object, uint64_t id,
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
        fg_cache_shard_take_evicted(shard, evicted, chain);
        return true;
    }
    bool is_admitted = fg_s3_fifo_insert(&shard->fifo, &object->entry, id, bytes, &evicted);
    fg_cache_shard_take_evicted(shard, evicted, chain);
    return is_admitted;
}

void fg_cache_shard_unlist(struct fg_cache_shard *shard, struct fg_cache_flight *flight)
{
    if (!flight->is_listed)
        return;
    struct fg_cache_flight **at = &shard->flights[flight->hash % FG_CACHE_FLIGHT_SLOTS];
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    flight->is_listed = false;
    shard->flight_count--;
}
