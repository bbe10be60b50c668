/*
 * cache_store_shared.h: cached responses of all event loops, and who is fetching what.
 *
 *    get() -> object (counted reference)         try_lead_or_wait() -> LEAD | WAITING | TOO_MANY
 *    leader:  finish(flight, object or NULL)  -> every waiter gets on_ready(object or NULL)
 *
 * Protocol  keys are spread over shards, each with a mutex that guards its table, its S3-FIFO and
 * its flights. Objects are immutable once published but for the gzip variant, which is set once
 * with release order and read with acquire order. References are counted atomically; the table
 * holds one. A waiter on another loop is told through its mailbox, outside the lock. Memory    at
 * most bytes_max for objects (a compressible one is charged twice its size for its variant); at
 * most waiters_max wait for one fetch.
 */
#ifndef FG_PIPELINE_CACHE_STORE_SHARED_H
#define FG_PIPELINE_CACHE_STORE_SHARED_H

#include "backends/backend.h"
#include "base/mailbox_shared.h"
#include "config/config.h"
#include "policies/cache/freshness.h"

struct fg_cache_store;
struct fg_cache_object;
struct fg_cache_flight;
struct fg_cache_waiter;

/* What an object is made from; everything is copied. */
struct fg_cache_draft {
    struct fg_span key;
    unsigned status;
    const struct fg_field *fields; /* end-to-end fields, without content-length and date */
    size_t field_count;
    struct fg_span body;
    struct fg_cache_response response; /* for judging freshness */
    uint32_t lifetime_s;
    uint64_t initial_age_ns;
    uint64_t stored_ns; /* monotonic */
    bool is_compressible;
};

/* A published object, read-only. */
struct fg_cache_view {
    unsigned status;
    const struct fg_field *fields;
    size_t field_count;
    struct fg_span body;
    struct fg_span gzip; /* data is NULL: no such variant (yet) */
    struct fg_span etag; /* data is NULL: none */
    struct fg_cache_response response;
    uint32_t lifetime_s;
    uint64_t initial_age_ns;
    uint64_t stored_ns;
};

/* NULL without memory. `conf` is copied; `helper` makes gzip variants and may be NULL. */
struct fg_cache_store *fg_cache_store_create(const struct fg_cache_conf *conf,
                                             struct fg_helper_pool *helper);
/* No reference, flight or waiter is out any more, and the helper pool has been destroyed. */
void fg_cache_store_destroy(struct fg_cache_store *store);

/* A counted reference to what is stored under `key`, or NULL. Any thread. */
struct fg_cache_object *fg_cache_store_get(struct fg_cache_store *store, struct fg_span key);
void fg_cache_object_release(struct fg_cache_object *object);
struct fg_cache_view fg_cache_object_view(const struct fg_cache_object *object);

/* Waiters of one loop that are not in use. Zeroed is empty. */
struct fg_cache_waiters {
    struct fg_cache_waiter *free;
};
void fg_cache_waiters_fini(struct fg_cache_waiters *waiters);

/*
 * On the waiter's loop: the fetch is over. `object` is a reference that the callee owns, or NULL
 * when nothing could be stored. `is_uncacheable`: the answer was fine but not for sharing, so
 * everyone fetches for himself; otherwise the leader failed or left and another may lead.
 */
typedef void (*fg_cache_ready_fn)(void *owner, struct fg_cache_object *object, bool is_uncacheable);

enum fg_cache_role { FG_CACHE_LEAD, FG_CACHE_WAITING, FG_CACHE_TOO_MANY, FG_CACHE_ALONE };

/*
 * Who fetches `key`? LEAD: *flight is the caller's until fg_cache_flight_finish. WAITING: *waiter
 * is set until on_ready runs or fg_cache_waiter_abandon. TOO_MANY: waiters_max wait already. ALONE:
 * the key is known to be uncacheable for the moment, or there is no memory: fetch without sharing.
 * With may_wait false a flight of somebody else gives TOO_MANY.
 */
enum fg_cache_role
fg_cache_store_lead_or_wait(struct fg_cache_store *store, struct fg_span key, uint64_t now_ns,
                            bool may_wait, struct fg_cache_waiters *waiters,
                            struct fg_mailbox *mailbox, fg_cache_ready_fn on_ready, void *owner,
                            struct fg_cache_flight **flight, struct fg_cache_waiter **waiter);
void fg_cache_waiter_abandon(struct fg_cache_waiter *waiter);

/*
 * The leader is done: publishes `draft` when it is not NULL and fits, and wakes the waiters.
 * `is_uncacheable` is remembered for a short time so that the next requests do not queue up.
 * `mailbox` is the caller's loop's, where the gzip helper reports back.
 */
void fg_cache_flight_finish(struct fg_cache_store *store, struct fg_cache_flight *flight,
                            const struct fg_cache_draft *draft, bool is_uncacheable,
                            uint64_t now_ns, struct fg_mailbox *mailbox);

/* Drops everything, or what lies under the path `prefix` of any host; returns how many objects. */
uint64_t fg_cache_store_purge(struct fg_cache_store *store, struct fg_span prefix);

struct fg_cache_store_stats {
    uint64_t objects;
    uint64_t bytes;
    uint64_t bytes_max;
    uint64_t evicted_total;
    uint64_t stored_total;
    uint64_t gzip_total;
};
struct fg_cache_store_stats fg_cache_store_stats(struct fg_cache_store *store);

#endif
