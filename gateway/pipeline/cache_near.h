/*
 * cache_near.h: what a loop has of the cache: who uses it here, and what this turn asked for.
 * Job      let a page that everybody asks for cost its loop nothing that others touch, too. The
 *          store's lock and an object's count are one place in memory for all loops, which would
 *          wait for one another at each request: the store is asked once a turn, and requests are
 *          counted here.
 * Thread   the loop's.
 * Never    gives what the store would not give any more: whether anything has come or gone there
 *          since is looked at each time.
 * Memory   a lease for each object that requests use, from a list that is kept; of pages that were
 *          asked for, FG_CACHE_NEAR_MAX until the end of the turn.
 */
#ifndef FG_PIPELINE_CACHE_NEAR_H
#define FG_PIPELINE_CACHE_NEAR_H

#include "net/loop.h"
#include "pipeline/cache_store_shared.h"

#define FG_CACHE_NEAR_MAX 8u

struct fg_cache_near;

/* One reference to an object, for any number of a loop's requests. */
struct fg_cache_lease {
    struct fg_cache_object *object;
    struct fg_cache_near *near;
    struct fg_cache_lease *next_free;
    size_t users;
};

struct fg_cache_near {
    struct fg_cache_store *store;
    struct fg_loop *loop;
    struct fg_deferred forget;
    struct fg_cache_lease *free;
    size_t free_count;
    size_t lease_count; /* that are used */
    unsigned page_count;
    struct fg_cache_near_page {
        struct fg_cache_lease *lease; /* a use of it */
        uint64_t changes;             /* as fg_cache_store_get says */
    } pages[FG_CACHE_NEAR_MAX];
};

void fg_cache_near_init(struct fg_cache_near *near, struct fg_cache_store *store,
                        struct fg_loop *loop);
/* No request uses anything of it any more. Harmless for a zeroed one. */
void fg_cache_near_fini(struct fg_cache_near *near);

/*
 * What fg_cache_store_get would give; NULL also without memory. The use of it is the caller's. What
 * the store counts as asked for again, it counts once a turn.
 */
struct fg_cache_lease *fg_cache_near_get(struct fg_cache_near *near,
                                         const struct fg_cache_ask *ask);
/* Gives a use of a lease back; for fg_arena_on_fini, too. */
void fg_cache_lease_release(void *lease);

#endif
