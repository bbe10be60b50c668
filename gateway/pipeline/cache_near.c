/*
 * cache_near.c: see cache_near.h. The pages are few and most turns have one: they are looked
 * through in the order in which they came.
 */
#include "cache_near.h"

#include <assert.h>
#include <stdlib.h>

#define FREE_MAX 64u /* leases that are kept for the next turns */

/* ---- leases ---- */

/* Takes over the reference; with one user. NULL without memory, and then it is given up. */
static struct fg_cache_lease *make_lease(struct fg_cache_near *near, struct fg_cache_object *object)
{
    struct fg_cache_lease *lease = near->free;
    if (lease != NULL) {
        near->free = lease->next_free;
        near->free_count--;
    } else {
        lease = malloc(sizeof(*lease));
    }
    if (lease == NULL) {
        fg_cache_object_release(object);
        return NULL;
    }
    *lease = (struct fg_cache_lease){.object = object, .near = near, .users = 1};
    near->lease_count++;
    return lease;
}

void fg_cache_lease_release(void *arg)
{
    struct fg_cache_lease *lease = arg;
    struct fg_cache_near *near = lease->near;
    assert(lease->users > 0);
    if (--lease->users > 0)
        return;
    fg_cache_object_release(lease->object);
    near->lease_count--;
    if (near->free_count == FREE_MAX) {
        free(lease);
        return;
    }
    lease->next_free = near->free;
    near->free = lease;
    near->free_count++;
}

/* ---- the pages of this turn ---- */

static void forget_pages(struct fg_cache_near *near)
{
    while (near->page_count > 0)
        fg_cache_lease_release(near->pages[--near->page_count].lease);
}

static void on_turn_end(struct fg_deferred *deferred)
{
    forget_pages(FG_CONTAINER_OF(deferred, struct fg_cache_near, forget));
}

static void remember(struct fg_cache_near *near, struct fg_cache_lease *lease, uint64_t changes)
{
    if (near->page_count == FG_CACHE_NEAR_MAX)
        return;
    lease->users++;
    near->pages[near->page_count++] = (struct fg_cache_near_page){lease, changes};
    fg_loop_defer(near->loop, &near->forget);
}

static bool is_asked_for(const struct fg_cache_object *object, const struct fg_cache_ask *ask)
{
    return object->head.route_index == ask->route_index &&
           fg_span_equal(object->head.key, ask->key);
}

static struct fg_cache_near_page *find(struct fg_cache_near *near, const struct fg_cache_ask *ask)
{
    for (unsigned i = 0; i < near->page_count; i++) {
        if (is_asked_for(near->pages[i].lease->object, ask))
            return &near->pages[i];
    }
    return NULL;
}

struct fg_cache_lease *fg_cache_near_get(struct fg_cache_near *near, const struct fg_cache_ask *ask)
{
    struct fg_cache_near_page *page = find(near, ask);
    if (page != NULL) {
        struct fg_cache_lease *known = page->lease;
        if (fg_cache_store_is_unchanged(near->store, known->object, page->changes)) {
            known->users++;
            return known;
        }
        *page = near->pages[--near->page_count];
        fg_cache_lease_release(known);
    }
    uint64_t changes;
    struct fg_cache_object *object = fg_cache_store_get(near->store, ask, &changes);
    struct fg_cache_lease *lease = object == NULL ? NULL : make_lease(near, object);
    if (lease != NULL && changes != 0)
        remember(near, lease, changes);
    return lease;
}

/* ---- life ---- */

void fg_cache_near_init(struct fg_cache_near *near, struct fg_cache_store *store,
                        struct fg_loop *loop)
{
    *near = (struct fg_cache_near){.store = store, .loop = loop, .forget = {.run = on_turn_end}};
}

void fg_cache_near_fini(struct fg_cache_near *near)
{
    fg_loop_defer_cancel(near->loop, &near->forget);
    forget_pages(near);
    assert(near->lease_count == 0);
    while (near->free != NULL) {
        struct fg_cache_lease *lease = near->free;
        near->free = lease->next_free;
        free(lease);
    }
    near->free_count = 0;
}
