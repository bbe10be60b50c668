/*
 * cache_store_shared.h: stored responses of all event loops, and who is fetching what.
 *
 *    get(key, request) -> object (counted)        lead_or_join(key) -> LEAD | JOINED | TOO_MANY |
 * ALONE a leader's fetch:  publish(object) and close(stream), or mark(stream) when it may not be
 * shared
 *
 * Protocol  keys are spread over shards, each with a mutex that guards its table, its S3-FIFO, its
 *           marks and its flights; it is held for one lookup or one insertion. Objects are counted
 *           and immutable; the table holds one reference. Locks: shard, then stream, then mailbox.
 *           What a shard holds is numbered: the number goes up under the mutex, before anybody is
 *           told that something came or went, and is read without it.
 * Memory    at most bytes_max for objects with all that they cost (the allocator's slack, and as
 *           much again for the codings of what can be compressed); pinned ones up to half of it
 *           stay out of the S3-FIFO. What is outside the store, being fetched or evicted and still
 *           being sent, is counted apart: beyond a quarter of bytes_max nothing more is kept.
 */
#ifndef FG_PIPELINE_CACHE_STORE_SHARED_H
#define FG_PIPELINE_CACHE_STORE_SHARED_H

#include "config/config.h"
#include "pipeline/cache_stream_shared.h"

struct fg_cache_store;

/* `conf` is copied. NULL without memory. */
struct fg_cache_store *fg_cache_store_create(const struct fg_cache_conf *conf);
/* No reference and no flight is out any more. */
void fg_cache_store_destroy(struct fg_cache_store *store);

/* What a request asks for; `key` as fg_cache_key_make gives it. */
struct fg_cache_ask {
    const struct fg_exchange *ex;
    struct fg_span key;
    uint32_t route_index;
    bool has_authorization; /* kept apart while fetching: the answer may be its own */
    bool has_stale;         /* there is something to give while its origin fails */
};

/*
 * A reference to what is stored for this request, or NULL. Any thread. `changes` may be NULL;
 * otherwise it says as of when that is so for every request of this key and route; 0: it depends on
 * the request.
 */
struct fg_cache_object *fg_cache_store_get(struct fg_cache_store *store,
                                           const struct fg_cache_ask *ask, uint64_t *changes);
/* Is that still so? Any thread, without a lock. */
bool fg_cache_store_is_unchanged(const struct fg_cache_store *store,
                                 const struct fg_cache_object *object, uint64_t changes);
/* After that NULL: is something stored for the same target, but for other fields? Any thread. */
bool fg_cache_store_has_other(struct fg_cache_store *store, const struct fg_cache_ask *ask);

enum fg_cache_role {
    FG_CACHE_LEAD,     /* fetch it: *stream is a fresh one, the caller's reference; joined */
    FG_CACHE_JOINED,   /* somebody does; `reader` reads it */
    FG_CACHE_TOO_MANY, /* waiters_max wait already, or (without a reader) somebody does */
    FG_CACHE_ALONE,    /* not to be shared for the moment, or no memory: pass it through */
    FG_CACHE_FAILING,  /* its origin failed a moment ago: give what is stale instead of asking */
};
/*
 * Who fetches? `reader` NULL: nobody waits for it (a revalidation beside). `is_solo`: never share
 * this fetch, it is about a response that each request must ask for. A purge reaches each of them.
 */
enum fg_cache_role fg_cache_store_lead_or_join(struct fg_cache_store *store,
                                               const struct fg_cache_ask *ask, uint64_t now_ns,
                                               struct fg_loop *loop, bool is_solo,
                                               struct fg_cache_reader *reader,
                                               struct fg_cache_stream **stream);

/* Nobody joins the stream's flight any more, which is still one: a purge reaches what it brings. */
void fg_cache_store_part(struct fg_cache_store *store, struct fg_cache_stream *stream);
/* And it is over. Harmless twice. */
void fg_cache_store_close(struct fg_cache_store *store, struct fg_cache_stream *stream);
/* The same, and for a while its key is passed through. */
void fg_cache_store_mark(struct fg_cache_store *store, struct fg_cache_stream *stream,
                         uint64_t now_ns);
/* The fetch failed: for a second, who has a stale one does not ask again. */
void fg_cache_store_note_failure(struct fg_cache_store *store, struct fg_cache_stream *stream,
                                 uint64_t now_ns);
/*
 * Stores `object` (whole; the caller keeps its reference) in place of what it replaces and closes
 * the flight. False: it was purged on its way, or is too large.
 */
bool fg_cache_store_publish(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            struct fg_cache_object *object);
/* Takes one object out, if it is still there. */
void fg_cache_store_remove(struct fg_cache_store *store, struct fg_cache_object *object);

/*
 * `bytes` more of the answer that is being fetched into `stream`; false when too much is under way
 * already. Held until the stream is freed, or what was fetched is stored: its readers may be slower
 * than its fetch.
 */
bool fg_cache_store_reserve(struct fg_cache_store *store, struct fg_cache_stream *stream,
                            uint64_t bytes);

/*
 * A variant of a body of so many bytes is to be made; false when that has to wait. Those that wait
 * hold their bodies, also when these have been pushed out, so that without a bound nothing could be
 * fetched for all that is to be made. Any thread; what has begun must end.
 */
bool fg_cache_store_try_begin_variant(struct fg_cache_store *store, uint64_t bytes);
void fg_cache_store_end_variant(struct fg_cache_store *store, uint64_t bytes);

/* Was there too little room for that a moment ago? Any thread. */
bool fg_cache_store_is_short(const struct fg_cache_store *store, uint64_t now_ns);

/* An unsafe request has changed what `key` names: drop all variants, keep none under way. */
void fg_cache_store_invalidate(struct fg_cache_store *store, struct fg_span key);

enum fg_cache_purge_kind {
    FG_CACHE_PURGE_ALL,    /* what is pinned stays, but is given only if its origin fails */
    FG_CACHE_PURGE_PATH,   /* of any host, with any query */
    FG_CACHE_PURGE_PREFIX, /* of path and query */
    FG_CACHE_PURGE_TAG,
};
/* Returns how many objects went. */
uint64_t fg_cache_store_purge(struct fg_cache_store *store, enum fg_cache_purge_kind kind,
                              struct fg_span what);

/* Pinned, and purged with all others since: its origin is asked before it is given. Any thread. */
bool fg_cache_store_must_ask(const struct fg_cache_store *store,
                             const struct fg_cache_object *object);

/* For pinned_pages_shared: pinned objects and how they change. Any thread. */
struct fg_cache_store_pins {
    uint64_t changes; /* so far: came, went, was purged with all others */
    uint64_t losses;  /* of these: is not to be given any more, or not as it was */
    size_t count;     /* now */
};
struct fg_cache_store_pins fg_cache_store_pins(struct fg_cache_store *store);
/* References, the caller's, to at most `room` of them. */
size_t fg_cache_store_list_pinned(struct fg_cache_store *store, struct fg_cache_object **objects,
                                  size_t room);
/* Called behind a loss, on the thread that caused it. While no other thread has the store. */
typedef void (*fg_cache_pins_lost_fn)(void *arg);
void fg_cache_store_on_pins_lost(struct fg_cache_store *store, fg_cache_pins_lost_fn on_lost,
                                 void *arg);
/* Stores what an earlier process had; the caller keeps its reference. False: there is no room. */
bool fg_cache_store_restore(struct fg_cache_store *store, struct fg_cache_object *object);

/*
 * References, the caller's, to at most `room` objects whose path and query begin with `prefix`, in
 * no order. Returns how many. Any thread; for operators.
 */
size_t fg_cache_store_list(struct fg_cache_store *store, struct fg_span prefix,
                           struct fg_cache_object **objects, size_t room);

/* For counting what happens outside; any thread. */
enum fg_cache_event {
    FG_CACHE_EVENT_REVALIDATED,   /* a 304 made a stored response fresh again */
    FG_CACHE_EVENT_VARIANT,       /* a coding was made */
    FG_CACHE_EVENT_VARIANT_BYTES, /* saved by each of them */
    FG_CACHE_EVENT_COUNT,
};
void fg_cache_store_count(struct fg_cache_store *store, enum fg_cache_event event, uint64_t amount);

/*
 * Memory is short, or is not any more: what the cache may hold follows, a step a second
 * (policies/cache/cache_budget). True: it holds less now. One thread, often.
 */
bool fg_cache_store_follow(struct fg_cache_store *store, uint64_t now_ns, bool is_short);

struct fg_cache_store_stats {
    uint64_t objects;
    uint64_t bytes;
    uint64_t bytes_max; /* now; while memory is short less than what is configured */
    uint64_t pinned_objects;
    uint64_t pinned_bytes;
    uint64_t held_bytes; /* outside: being fetched, or evicted and still being sent */
    uint64_t fetches;    /* under way */
    uint64_t evicted_total;
    uint64_t stored_total;
    uint64_t refused_total; /* too large, or purged on its way */
    uint64_t purged_total;
    uint64_t invalidated_total;
    uint64_t events[FG_CACHE_EVENT_COUNT];
};
struct fg_cache_store_stats fg_cache_store_stats(struct fg_cache_store *store);

#endif
