/*
 * block_pool.h: malloc for a library that allocates small blocks all the time, one owner's.
 * Job      keep freed blocks by size and hand them out again without a visit to the heap.
 * Thread   the owner's alone.
 * Memory   blocks in use are the user's to bound; freed ones are kept up to kept_max bytes, the
 *          rest goes back to the heap.
 *
 *    block = [ size class | 16-byte aligned payload ]     classes: 32, 64, ... 2048 bytes, larger
 *
 * With the address sanitiser on every block is the heap's own, so that it can watch each.
 */
#ifndef FG_BASE_BLOCK_POOL_H
#define FG_BASE_BLOCK_POOL_H

#include <stddef.h>

#define FG_BLOCK_POOL_CLASSES 7

struct fg_block_pool {
    struct fg_block *free[FG_BLOCK_POOL_CLASSES];
    size_t kept_bytes;
    size_t kept_max;
};

void fg_block_pool_init(struct fg_block_pool *pool, size_t kept_max);
/* Every block has been freed. */
void fg_block_pool_fini(struct fg_block_pool *pool);

/* As malloc, calloc, realloc and free: NULL when memory is short, aligned to 16. */
void *fg_block_pool_alloc(struct fg_block_pool *pool, size_t bytes);
void *fg_block_pool_calloc(struct fg_block_pool *pool, size_t count, size_t bytes);
void *fg_block_pool_realloc(struct fg_block_pool *pool, void *block, size_t bytes);
void fg_block_pool_free(struct fg_block_pool *pool, void *block);

#endif
