/*
 * arena.c: bump allocation over chunks of one size.
 *
 *    pool.free --> [chunk] --> [chunk] --> NULL          arena.chunks --> [newest] --> [older]
 *                                                            at ----^ end
 *    The pool keeps as many free chunks as a load that comes and goes needs; what a flood has left
 *    beyond that goes back to the heap as its requests end.
 *    A block larger than a chunk's payload is malloc'ed, put behind the newest chunk, and freed
 *    (not pooled) in fini; it counts as the chunks that it would fill. With the address sanitiser
 * on, bytes beyond `at` are poisoned, so that reading past an allocation is found as it would be
 * with malloc.
 */
#include "arena.h"

#include "base/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(at, bytes) ASAN_POISON_MEMORY_REGION((at), (bytes))
#define UNPOISON(at, bytes) ASAN_UNPOISON_MEMORY_REGION((at), (bytes))
#else
#define POISON(at, bytes) ((void)(at), (void)(bytes))
#define UNPOISON(at, bytes) ((void)(at), (void)(bytes))
#endif

#define ALIGN ((size_t)16)
#define U64_DIGITS_MAX ((size_t)20)
#define FREE_KEPT ((size_t)512) /* chunks, and twice as many as are in use */

struct fg_arena_chunk {
    struct fg_arena_chunk *next;
    size_t bytes; /* payload; FG_ARENA_CHUNK_BYTES less this header for a pooled one */
};

struct fg_arena_cleanup {
    struct fg_arena_cleanup *next;
    fg_arena_cleanup_fn fn;
    void *object;
};

#define CHUNK_PAYLOAD (FG_ARENA_CHUNK_BYTES - sizeof(struct fg_arena_chunk))
_Static_assert(sizeof(struct fg_arena_chunk) % 16 == 0, "payload must stay aligned");

static char *payload(struct fg_arena_chunk *chunk)
{
    return (char *)(chunk + 1);
}

void fg_arena_pool_init(struct fg_arena_pool *pool, size_t chunks_max)
{
    *pool = (struct fg_arena_pool){.chunks_max = chunks_max};
}

void fg_arena_pool_fini(struct fg_arena_pool *pool)
{
    assert(pool->chunks_in_use == 0);
    while (pool->free != NULL) {
        struct fg_arena_chunk *chunk = pool->free;
        pool->free = chunk->next;
        UNPOISON(payload(chunk), chunk->bytes);
        free(chunk);
    }
    pool->chunks_total = 0;
}

/* ---- accounts ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

void fg_arena_pool_guarantee(struct fg_arena_pool *pool, struct fg_arena_account *account,
                             size_t chunks, bool is_shadow)
{
    assert(account->used == 0 && account->wished == 0);
    assert(chunks <= pool->chunks_max - pool->wished);
    account->wished = chunks;
    account->guaranteed = is_shadow ? 0 : chunks;
    pool->wished += chunks;
    pool->standing += account->guaranteed;
}

size_t fg_arena_pool_share(const struct fg_arena_pool *pool, uint32_t permille)
{
    const size_t left = pool->chunks_max - pool->wished;
    const size_t share = (pool->chunks_max * permille + 999) / 1000;
    return share < left ? share : left;
}

static void set_used(struct fg_arena_pool *pool, struct fg_arena_account *account, size_t used)
{
    pool->standing -= larger(account->used, account->guaranteed);
    pool->wished -= larger(account->used, account->wished);
    account->used = used;
    pool->standing += larger(account->used, account->guaranteed);
    pool->wished += larger(account->used, account->wished);
    fg_counter_set(&account->used_now, used);
}

/* False: there are so many left, but not for this account. */
static bool try_charge(struct fg_arena_pool *pool, struct fg_arena_account *account, size_t chunks)
{
    size_t before = account->used;
    bool was_within = pool->wished <= pool->chunks_max;
    set_used(pool, account, before + chunks);
    bool is_refused = pool->standing > pool->chunks_max;
    if (is_refused || (was_within && pool->wished > pool->chunks_max))
        fg_counter_add_owned(&account->refused, 1);
    if (is_refused)
        set_used(pool, account, before);
    return !is_refused;
}

static bool try_take(struct fg_arena *arena, size_t chunks)
{
    struct fg_arena_pool *pool = arena->pool;
    if (!try_charge(pool, arena->is_borrowing ? &pool->rest : arena->account, chunks)) {
        arena->lacked_bytes = chunks * FG_ARENA_CHUNK_BYTES;
        arena->is_lack_own = false;
        return false;
    }
    *(arena->is_borrowing ? &arena->borrowed_count : &arena->chunk_count) += chunks;
    pool->chunks_in_use += chunks;
    return true;
}

/* The last that was taken could not be had. */
static void untake(struct fg_arena *arena, size_t chunks)
{
    struct fg_arena_account *account = arena->is_borrowing ? &arena->pool->rest : arena->account;
    set_used(arena->pool, account, account->used - chunks);
    *(arena->is_borrowing ? &arena->borrowed_count : &arena->chunk_count) -= chunks;
    arena->pool->chunks_in_use -= chunks;
}

/* All of it comes back at once. */
static void settle(struct fg_arena *arena)
{
    struct fg_arena_pool *pool = arena->pool;
    pool->chunks_in_use -= arena->chunk_count + arena->borrowed_count;
    set_used(pool, arena->account, arena->account->used - arena->chunk_count);
    set_used(pool, &pool->rest, pool->rest.used - arena->borrowed_count);
    arena->chunk_count = arena->borrowed_count = 0;
}

bool fg_arena_lack(const struct fg_arena *arena, struct fg_arena_lack *lack)
{
    const struct fg_arena_pool *pool = arena->pool;
    size_t used = arena->is_lack_own ? arena->bytes_used : pool->standing * FG_ARENA_CHUNK_BYTES;
    size_t most = SIZE_MAX - used;
    *lack = (struct fg_arena_lack){
        .is_own = arena->is_lack_own,
        .value = used + (arena->lacked_bytes < most ? arena->lacked_bytes : most),
        .limit = arena->is_lack_own ? arena->bytes_max : pool->chunks_max * FG_ARENA_CHUNK_BYTES};
    return arena->lacked_bytes > 0;
}

void fg_arena_borrow(struct fg_arena *arena)
{
    arena->is_borrowing = true;
}

bool fg_arena_charge(struct fg_arena *arena, struct fg_arena_account *account)
{
    struct fg_arena_account *before = arena->account;
    set_used(arena->pool, before, before->used - arena->chunk_count);
    bool is_charged = try_charge(arena->pool, account, arena->chunk_count);
    arena->account = is_charged ? account : before;
    if (!is_charged)
        set_used(arena->pool, before, before->used + arena->chunk_count);
    return is_charged;
}

/* ---- chunks ---- */

/* Makes room for a new one among those that may exist; what is in use leaves it. */
static void drop_free_chunks(struct fg_arena_pool *pool, size_t needed)
{
    while (pool->free != NULL && pool->chunks_total + needed > pool->chunks_max) {
        struct fg_arena_chunk *chunk = pool->free;
        pool->free = chunk->next;
        UNPOISON(payload(chunk), chunk->bytes);
        free(chunk);
        pool->chunks_total--;
    }
}

static struct fg_arena_chunk *take_chunk(struct fg_arena *arena)
{
    struct fg_arena_pool *pool = arena->pool;
    if (!try_take(arena, 1))
        return NULL;
    struct fg_arena_chunk *chunk = pool->free;
    if (chunk != NULL) {
        pool->free = chunk->next;
    } else {
        chunk = malloc(FG_ARENA_CHUNK_BYTES);
        if (chunk == NULL) {
            untake(arena, 1);
            return NULL;
        }
        chunk->bytes = CHUNK_PAYLOAD;
        pool->chunks_total++;
    }
    POISON(payload(chunk), chunk->bytes);
    return chunk;
}

void fg_arena_init(struct fg_arena *arena, struct fg_arena_pool *pool, size_t bytes_max)
{
    *arena = (struct fg_arena){.pool = pool, .account = &pool->rest, .bytes_max = bytes_max};
}

static size_t chunks_of(size_t bytes)
{
    return (sizeof(struct fg_arena_chunk) + bytes + FG_ARENA_CHUNK_BYTES - 1) /
           FG_ARENA_CHUNK_BYTES;
}

/* A few at a time: for each that is free again two more may be too many. */
static void shrink(struct fg_arena_pool *pool, size_t most)
{
    for (; most > 0 && pool->free != NULL; most--) {
        struct fg_arena_chunk *chunk = pool->free;
        if (pool->chunks_total - pool->chunks_in_use <= FREE_KEPT + 2 * pool->chunks_in_use)
            return;
        pool->free = chunk->next;
        UNPOISON(payload(chunk), chunk->bytes);
        free(chunk);
        pool->chunks_total--;
    }
}

static void give_back(struct fg_arena_pool *pool, struct fg_arena_chunk *chunk)
{
    if (chunk->bytes != CHUNK_PAYLOAD) {
        size_t count = chunks_of(chunk->bytes);
        UNPOISON(payload(chunk), chunk->bytes);
        free(chunk);
        pool->chunks_total -= count;
        return;
    }
    POISON(payload(chunk), chunk->bytes);
    chunk->next = pool->free;
    pool->free = chunk;
}

void fg_arena_fini(struct fg_arena *arena)
{
    while (arena->cleanups != NULL) {
        struct fg_arena_cleanup *cleanup = arena->cleanups;
        arena->cleanups = cleanup->next;
        cleanup->fn(cleanup->object);
    }
    while (arena->chunks != NULL) {
        struct fg_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        give_back(arena->pool, chunk);
    }
    size_t count = arena->chunk_count + arena->borrowed_count;
    if (count > 0) {
        settle(arena);
        shrink(arena->pool, 4 * count);
    }
    arena->at = NULL;
    arena->end = NULL;
    arena->bytes_used = 0;
}

/* A block of its own; it goes behind the newest chunk so that `at` stays valid. */
static void *alloc_large(struct fg_arena *arena, size_t bytes)
{
    struct fg_arena_pool *pool = arena->pool;
    size_t count = chunks_of(bytes);
    if (!try_take(arena, count))
        return NULL;
    struct fg_arena_chunk *chunk = malloc(sizeof(*chunk) + bytes);
    if (chunk == NULL) {
        untake(arena, count);
        return NULL;
    }
    chunk->bytes = bytes;
    drop_free_chunks(pool, count);
    pool->chunks_total += count;
    if (arena->chunks == NULL) {
        chunk->next = NULL;
        arena->chunks = chunk; /* at == end == NULL, so the next small one takes a chunk */
    } else {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    }
    return payload(chunk);
}

/* What does not fit behind the latest one; kept apart, so that what does costs few instructions. */
static __attribute__((noinline)) void *alloc_elsewhere(struct fg_arena *arena, size_t bytes)
{
    const size_t left = arena->bytes_max - arena->bytes_used;
    size_t rounded = bytes > left ? bytes : (bytes + ALIGN - 1) & ~(ALIGN - 1);
    if (rounded == 0)
        rounded = ALIGN;
    if (rounded > left) {
        arena->lacked_bytes = rounded;
        arena->is_lack_own = true;
        return NULL;
    }
    void *block;
    if (rounded <= (size_t)(arena->end - arena->at)) {
        block = arena->at;
        arena->at += rounded;
    } else if (rounded >= CHUNK_PAYLOAD) {
        /* Never exactly a chunk's payload: that size is how pooled chunks are told apart. */
        block = alloc_large(arena, rounded == CHUNK_PAYLOAD ? rounded + ALIGN : rounded);
    } else {
        struct fg_arena_chunk *chunk = take_chunk(arena);
        if (chunk == NULL)
            return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        block = payload(chunk);
        arena->at = payload(chunk) + rounded;
        arena->end = payload(chunk) + chunk->bytes;
    }
    if (block != NULL) {
        UNPOISON(block, bytes);
        arena->bytes_used += rounded;
    }
    return block;
}

void *fg_arena_try_alloc(struct fg_arena *arena, size_t bytes)
{
    /* 0 for none and for what is next to SIZE_MAX: one less than that fits nowhere. */
    const size_t rounded = (bytes + ALIGN - 1) & ~(ALIGN - 1);
    char *block = arena->at;
    if (rounded - 1 >= (size_t)(arena->end - block) ||
        rounded > arena->bytes_max - arena->bytes_used)
        return alloc_elsewhere(arena, bytes);
    UNPOISON(block, bytes);
    arena->at = block + rounded;
    arena->bytes_used += rounded;
    return block;
}

/* False: the arena's own limit is in the way. */
static bool has_room(struct fg_arena *arena, size_t more)
{
    if (more <= arena->bytes_max - arena->bytes_used)
        return true;
    arena->lacked_bytes = more;
    arena->is_lack_own = true;
    return false;
}

/* A block of its own moves, if it must, in the heap, which need not hold it twice. */
static void *grow_large(struct fg_arena *arena, struct fg_arena_chunk *chunk, size_t rounded)
{
    struct fg_arena_pool *pool = arena->pool;
    struct fg_arena_chunk **link = &arena->chunks;
    const size_t more = chunks_of(rounded) - chunks_of(chunk->bytes);
    while (*link != chunk)
        link = &(*link)->next;
    if (!try_take(arena, more))
        return NULL;
    struct fg_arena_chunk *grown = realloc(chunk, sizeof(*chunk) + rounded);
    if (grown == NULL) {
        untake(arena, more);
        return NULL;
    }
    grown->bytes = rounded;
    *link = grown;
    drop_free_chunks(pool, more);
    pool->chunks_total += more;
    return payload(grown);
}

void *fg_arena_try_grow(struct fg_arena *arena, void *block, size_t bytes, size_t wanted)
{
    assert(block != NULL && bytes <= wanted && wanted <= SIZE_MAX - ALIGN);
    const size_t before = (bytes + ALIGN - 1) & ~(ALIGN - 1);
    const size_t rounded = (wanted + ALIGN - 1) & ~(ALIGN - 1);
    if (rounded == before) {
        UNPOISON(block, wanted);
        return block;
    }
    if (before < CHUNK_PAYLOAD) {
        void *moved = fg_arena_try_alloc(arena, wanted);
        if (moved != NULL)
            memcpy(moved, block, bytes);
        return moved;
    }
    if (!has_room(arena, rounded - before))
        return NULL;
    void *grown = grow_large(arena, (struct fg_arena_chunk *)block - 1, rounded);
    if (grown != NULL)
        arena->bytes_used += rounded - before;
    return grown;
}

void *fg_arena_try_zalloc(struct fg_arena *arena, size_t bytes)
{
    void *block = fg_arena_try_alloc(arena, bytes);
    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

struct fg_span fg_arena_try_copy(struct fg_arena *arena, struct fg_span span)
{
    if (span.len == SIZE_MAX)
        return (struct fg_span){NULL, 0};
    char *copy = fg_arena_try_alloc(arena, span.len + 1);
    if (copy == NULL)
        return (struct fg_span){NULL, 0};
    if (span.len > 0)
        memcpy(copy, span.data, span.len);
    copy[span.len] = '\0';
    return (struct fg_span){copy, span.len};
}

struct fg_span fg_arena_try_u64(struct fg_arena *arena, uint64_t value)
{
    char *digits = fg_arena_try_alloc(arena, U64_DIGITS_MAX + 1);
    if (digits == NULL)
        return (struct fg_span){NULL, 0};
    struct fg_text text = fg_text_over(digits, U64_DIGITS_MAX);
    fg_text_add_u64(&text, value);
    digits[text.len] = '\0';
    return fg_text_span(&text);
}

struct fg_span fg_arena_try_printf(struct fg_arena *arena, const char *fmt, ...)
{
    char small[512];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (len < 0)
        return (struct fg_span){NULL, 0};
    if ((size_t)len < sizeof(small))
        return fg_arena_try_copy(arena, fg_span_make(small, (size_t)len));
    char *text = fg_arena_try_alloc(arena, (size_t)len + 1);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    va_start(args, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    va_end(args);
    return (struct fg_span){text, (size_t)len};
}

bool fg_arena_on_fini(struct fg_arena *arena, fg_arena_cleanup_fn fn, void *object)
{
    struct fg_arena_cleanup *cleanup = fg_arena_try_alloc(arena, sizeof(*cleanup));
    if (cleanup == NULL)
        return false;
    *cleanup = (struct fg_arena_cleanup){.next = arena->cleanups, .fn = fn, .object = object};
    arena->cleanups = cleanup;
    return true;
}
