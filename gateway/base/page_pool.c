/*
 * page_pool.c: see page_pool.h.
 */
#include "page_pool.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_BLOCKS ((size_t)64)

void fg_page_pool_init(struct fg_page_pool *pool, size_t block_bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert(block_bytes > 0);
    *pool = (struct fg_page_pool){.block_bytes = (block_bytes + page - 1) / page * page};
}

void fg_page_pool_fini(struct fg_page_pool *pool)
{
    assert(pool->free_count == pool->slab_count * SLAB_BLOCKS);
    for (size_t i = 0; i < pool->slab_count; i++)
        munmap(pool->slabs[i], SLAB_BLOCKS * pool->block_bytes);
    free(pool->slabs);
    free(pool->free);
    *pool = (struct fg_page_pool){.block_bytes = pool->block_bytes};
}

/* Room in both arrays for one more slab. */
static bool grow_arrays(struct fg_page_pool *pool)
{
    size_t count = pool->slab_count + 1;
    void **slabs = realloc(pool->slabs, count * sizeof(*slabs));
    if (slabs == NULL)
        return false;
    pool->slabs = slabs;
    void **blocks = realloc(pool->free, count * SLAB_BLOCKS * sizeof(*blocks));
    if (blocks == NULL)
        return false;
    pool->free = blocks;
    return true;
}

static bool add_slab(struct fg_page_pool *pool)
{
    size_t bytes = SLAB_BLOCKS * pool->block_bytes;
    if (!grow_arrays(pool))
        return false;
    char *slab = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        return false;
    madvise(slab, bytes, MADV_NOHUGEPAGE); /* one byte touched would bring two megabytes */
    pool->slabs[pool->slab_count++] = slab;
    for (size_t i = SLAB_BLOCKS; i > 0; i--)
        pool->free[pool->free_count++] = slab + (i - 1) * pool->block_bytes;
    return true;
}

void *fg_page_pool_alloc(struct fg_page_pool *pool)
{
    if (pool->free_count == 0 && !add_slab(pool))
        return NULL;
    return pool->free[--pool->free_count];
}

void fg_page_pool_free(struct fg_page_pool *pool, void *block)
{
    assert(pool->free_count < pool->slab_count * SLAB_BLOCKS);
    if (pool->free_count >= FG_PAGE_POOL_WARM)
        fg_page_pool_rest(pool, block);
    pool->free[pool->free_count++] = block;
}

void fg_page_pool_rest(struct fg_page_pool *pool, void *block)
{
    madvise(block, pool->block_bytes, MADV_DONTNEED);
}
