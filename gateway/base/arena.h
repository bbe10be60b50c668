/*
 * arena.h: memory that lives and dies with one owner (a request), taken from a thread's free list
 * of equal chunks, so that the steady state never touches the general heap.
 * Thread   one event loop: the pool, its accounts and every arena over it.
 * Memory   bounded by pool->chunks_max x FG_ARENA_CHUNK_BYTES and arena->bytes_max. Blocks larger
 * than a chunk count as so many chunks. Accounts each arena is charged to one. What an account is
 * guaranteed and does not use counts as used, for everybody else: sum of max(used, guaranteed) <=
 * chunks_max.
 */
#ifndef FG_BASE_ARENA_H
#define FG_BASE_ARENA_H

#include "counters_shared.h"
#include "prefetch.h"
#include "span.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_ARENA_CHUNK_BYTES ((size_t)4096)

struct fg_arena_chunk;

/* Whose memory it is. Zeroed is one without a guarantee. It outlives the arenas charged to it. */
struct fg_arena_account {
    size_t guaranteed; /* chunks; see fg_arena_pool_guarantee */
    size_t wished;     /* the same, in shadow too */
    size_t used;
    /* written by the pool's thread, read by any */
    struct fg_counter used_now;
    struct fg_counter refused; /* for somebody else's guarantee; in shadow: would have been */
};

/* Free chunks of one thread. Zeroed plus init is empty; chunks are made on demand, and most
 * are kept. */
struct fg_arena_pool {
    struct fg_arena_chunk *free;
    size_t chunks_total; /* made and not given back to the heap, large blocks included */
    size_t chunks_in_use;
    size_t chunks_max;
    size_t standing;              /* sum of max(used, guaranteed) over all accounts */
    size_t wished;                /* sum of max(used, wished) */
    struct fg_arena_account rest; /* of arenas that are charged to none */
};

typedef void (*fg_arena_cleanup_fn)(void *object);

struct fg_arena_cleanup;

struct fg_arena {
    struct fg_arena_pool *pool;
    struct fg_arena_account *account;
    size_t chunk_count;    /* charged to it */
    size_t borrowed_count; /* charged to pool->rest */
    bool is_borrowing;
    struct fg_arena_chunk *chunks; /* newest first */
    struct fg_arena_cleanup *cleanups;
    char *at; /* next free byte of the newest chunk */
    char *end;
    size_t bytes_used;
    size_t bytes_max;
    /* what could not be had, last */
    size_t lacked_bytes; /* 0: there was all */
    bool is_lack_own;    /* bytes_max was in the way, not the pool's limit */
};

/* Which limit an allocation has met; both in bytes, the one that could not be had among `value`. */
struct fg_arena_lack {
    bool is_own; /* the arena's, else the pool's */
    uint64_t value;
    uint64_t limit;
};

void fg_arena_pool_init(struct fg_arena_pool *pool, size_t chunks_max);

/*
 * From now on so many chunks are `account`'s alone (&pool->rest: of arenas charged to none). In
 * shadow they are not, and who would have been refused for them is counted. Once an account, before
 * it is used; all together at most chunks_max.
 */
void fg_arena_pool_guarantee(struct fg_arena_pool *pool, struct fg_arena_account *account,
                             size_t chunks, bool is_shadow);

/* A share of the pool, rounded up so that a small one of a small pool is something; no more than
 * what is guaranteed to nobody yet. */
size_t fg_arena_pool_share(const struct fg_arena_pool *pool, uint32_t permille);

/* Gives all free chunks to the heap; asserts that no arena still holds one. */
void fg_arena_pool_fini(struct fg_arena_pool *pool);

/* The begin of the chunk that is taken next. */
static inline void fg_arena_pool_prefetch(const struct fg_arena_pool *pool)
{
    fg_prefetch(pool->free, 2 * FG_LINE_BYTES);
}

/* `bytes_max` bounds this one arena; nothing is taken yet. */
void fg_arena_init(struct fg_arena *arena, struct fg_arena_pool *pool, size_t bytes_max);

/*
 * Charge what the arena holds, and will, to `account`. False: others' guarantees leave no room for
 * it there, and nothing has changed.
 */
FG_MUST_USE bool fg_arena_charge(struct fg_arena *arena, struct fg_arena_account *account);

/* The limit that the last refused allocation met. False: none did, or the heap was empty. */
bool fg_arena_lack(const struct fg_arena *arena, struct fg_arena_lack *lack);

/*
 * What it takes from now on is charged to pool->rest, whatever is left to its own account: for the
 * answer that says that there is no more.
 */
void fg_arena_borrow(struct fg_arena *arena);

/* Runs the cleanups, newest first, and gives every chunk back. A zeroed arena is fine. */
void fg_arena_fini(struct fg_arena *arena);

/*
 * `bytes` of uninitialised memory, aligned for any type, valid until fini. NULL when bytes_max or
 * the pool's limit is reached or the heap is: the caller answers 503. A request larger than a
 * chunk gets a block of its own.
 */
void *fg_arena_try_alloc(struct fg_arena *arena, size_t bytes);

/* As above, zeroed. */
void *fg_arena_try_zalloc(struct fg_arena *arena, size_t bytes);

/*
 * A block of `bytes` from try_alloc becomes one of `wanted`, no fewer, and may move; it keeps what
 * it held. One that is larger than a chunk is never there twice; a smaller one stays as it was, for
 * nobody, until fini. NULL as above, and `block` is what it was.
 */
void *fg_arena_try_grow(struct fg_arena *arena, void *block, size_t bytes, size_t wanted);

/* Copies `span` and adds a NUL behind it (not counted). data is NULL when there is no memory. */
struct fg_span fg_arena_try_copy(struct fg_arena *arena, struct fg_span span);

/* `value` in decimal, for fields; data is NULL when there is no memory. */
struct fg_span fg_arena_try_u64(struct fg_arena *arena, uint64_t value);

/* printf into the arena; data is NULL when there is no memory. */
struct fg_span fg_arena_try_printf(struct fg_arena *arena, const char *fmt, ...) FG_PRINTF(2, 3);

/* Calls `fn(object)` in fini. False when there is no memory, and then the caller must undo. */
FG_MUST_USE bool fg_arena_on_fini(struct fg_arena *arena, fg_arena_cleanup_fn fn, void *object);

#endif
