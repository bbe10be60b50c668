/*
 * page_pool.h: large blocks of one size that hold memory only while they are in use.
 * Job      hand out blocks that begin at a page, from mapped slabs; a page is there once it has
 *          been touched, and gone again when its block rests.
 * Thread   the owner's alone.
 * Memory   of a block in use what was touched of it; of free ones at most FG_PAGE_POOL_WARM blocks.
 *          Slabs are address space, and stay until fini.
 *
 *    slab = [ block | block | ... ]       free: a stack outside of the blocks, so that none is
 *                                         touched for being free
 */
#ifndef FG_BASE_PAGE_POOL_H
#define FG_BASE_PAGE_POOL_H

#include <stddef.h>

#define FG_PAGE_POOL_WARM 32

struct fg_page_pool {
    size_t block_bytes; /* whole pages */
    void **slabs;
    size_t slab_count;
    void **free; /* newest last */
    size_t free_count;
};

/* Takes nothing yet. Blocks have at least `block_bytes`. */
void fg_page_pool_init(struct fg_page_pool *pool, size_t block_bytes);
/* Every block has been freed. */
void fg_page_pool_fini(struct fg_page_pool *pool);

/* Of any contents; NULL when memory is short. */
void *fg_page_pool_alloc(struct fg_page_pool *pool);
void fg_page_pool_free(struct fg_page_pool *pool, void *block);

/* The block's contents are of no use any more: it stays the caller's, all zeroes, without memory.
 */
void fg_page_pool_rest(struct fg_page_pool *pool, void *block);

#endif
