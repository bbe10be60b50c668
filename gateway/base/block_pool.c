/*
 * block_pool.c: free lists by power of two; a header in front of each block tells its class.
 */
#include "block_pool.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_WATCHED 1
#endif
#endif
#ifndef IS_WATCHED
#define IS_WATCHED 0
#endif

#define SMALLEST_SHIFT 5
#define CLASS_LARGE FG_BLOCK_POOL_CLASSES

struct fg_block {
    _Alignas(16) union {
        struct fg_block *next; /* while free */
        size_t payload_bytes;  /* while in use */
    };
    size_t class_index;
};

_Static_assert(sizeof(struct fg_block) == 16, "the payload must stay aligned");

static size_t class_bytes(size_t class_index)
{
    return (size_t)1 << (class_index + SMALLEST_SHIFT);
}

static size_t class_of(size_t bytes)
{
    if (bytes <= class_bytes(0))
        return 0;
    if (bytes > class_bytes(FG_BLOCK_POOL_CLASSES - 1) || IS_WATCHED)
        return CLASS_LARGE;
    return (size_t)(64 - __builtin_clzll((unsigned long long)bytes - 1)) - SMALLEST_SHIFT;
}

static struct fg_block *header_of(void *payload)
{
    return (struct fg_block *)payload - 1;
}

void fg_block_pool_init(struct fg_block_pool *pool, size_t kept_max)
{
    *pool = (struct fg_block_pool){.kept_max = IS_WATCHED ? 0 : kept_max};
}

void fg_block_pool_fini(struct fg_block_pool *pool)
{
    for (size_t i = 0; i < FG_BLOCK_POOL_CLASSES; i++) {
        while (pool->free[i] != NULL) {
            struct fg_block *block = pool->free[i];
            pool->free[i] = block->next;
            free(block);
        }
    }
    pool->kept_bytes = 0;
}

void *fg_block_pool_alloc(struct fg_block_pool *pool, size_t bytes)
{
    size_t class_index = class_of(bytes);
    struct fg_block *block = NULL;
    size_t room = class_index == CLASS_LARGE || IS_WATCHED ? bytes : class_bytes(class_index);
    if (class_index != CLASS_LARGE && pool->free[class_index] != NULL) {
        block = pool->free[class_index];
        pool->free[class_index] = block->next;
        pool->kept_bytes -= room;
    } else if (room <= SIZE_MAX - sizeof(*block)) {
        block = malloc(sizeof(*block) + room);
    }
    if (block == NULL)
        return NULL;
    block->payload_bytes = room;
    block->class_index = class_index;
    return block + 1;
}

void *fg_block_pool_calloc(struct fg_block_pool *pool, size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total))
        return NULL;
    void *payload = fg_block_pool_alloc(pool, total);
    if (payload != NULL)
        memset(payload, 0, total);
    return payload;
}

void fg_block_pool_free(struct fg_block_pool *pool, void *payload)
{
    if (payload == NULL)
        return;
    struct fg_block *block = header_of(payload);
    size_t class_index = block->class_index;
    assert(class_index <= CLASS_LARGE);
    size_t room = block->payload_bytes;
    if (class_index == CLASS_LARGE || room > pool->kept_max - pool->kept_bytes) {
        free(block);
        return;
    }
    pool->kept_bytes += room;
    block->next = pool->free[class_index];
    pool->free[class_index] = block;
}

void *fg_block_pool_realloc(struct fg_block_pool *pool, void *payload, size_t bytes)
{
    if (payload == NULL)
        return fg_block_pool_alloc(pool, bytes);
    size_t room = header_of(payload)->payload_bytes;
    if (bytes <= room && !IS_WATCHED)
        return payload;
    void *grown = fg_block_pool_alloc(pool, bytes);
    if (grown == NULL)
        return NULL;
    memcpy(grown, payload, bytes < room ? bytes : room);
    fg_block_pool_free(pool, payload);
    return grown;
}
