/*
 * test_page_pool.c: blocks do not overlap, hold memory only once touched, and give it back.
 */
#include "base/page_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define BLOCK_BYTES ((size_t)16394)
#define BLOCKS ((size_t)200) /* several slabs */

/* Pages of the block that memory stands behind. */
static size_t resident(const struct fg_page_pool *pool, void *block)
{
    unsigned char pages[64];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = 0;
    assert_true(pool->block_bytes / page <= sizeof(pages));
    assert_int_equal(mincore(block, pool->block_bytes, pages), 0);
    for (size_t i = 0; i < pool->block_bytes / page; i++)
        count += pages[i] & 1u;
    return count;
}

static void blocks_are_whole_and_apart(void **state)
{
    (void)state;
    struct fg_page_pool pool;
    unsigned char *blocks[BLOCKS];
    fg_page_pool_init(&pool, BLOCK_BYTES);
    assert_true(pool.block_bytes >= BLOCK_BYTES);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = fg_page_pool_alloc(&pool);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % (size_t)sysconf(_SC_PAGESIZE), 0);
        memset(blocks[i], (int)i, BLOCK_BYTES);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_int_equal(blocks[i][0], (unsigned char)i);
        assert_int_equal(blocks[i][BLOCK_BYTES - 1], (unsigned char)i);
        fg_page_pool_free(&pool, blocks[i]);
    }
    fg_page_pool_fini(&pool);
}

static void a_page_is_there_once_it_is_touched(void **state)
{
    (void)state;
    struct fg_page_pool pool;
    fg_page_pool_init(&pool, BLOCK_BYTES);
    unsigned char *block = fg_page_pool_alloc(&pool);
    assert_int_equal(resident(&pool, block), 0);
    block[0] = 1;
    assert_int_equal(resident(&pool, block), 1);
    fg_page_pool_free(&pool, block);
    fg_page_pool_fini(&pool);
}

static void a_block_at_rest_holds_nothing_and_can_be_used_again(void **state)
{
    (void)state;
    struct fg_page_pool pool;
    fg_page_pool_init(&pool, BLOCK_BYTES);
    unsigned char *block = fg_page_pool_alloc(&pool);
    memset(block, 7, BLOCK_BYTES);
    fg_page_pool_rest(&pool, block);
    assert_int_equal(resident(&pool, block), 0);
    assert_int_equal(block[BLOCK_BYTES - 1], 0);
    block[BLOCK_BYTES - 1] = 9;
    assert_int_equal(block[BLOCK_BYTES - 1], 9);
    fg_page_pool_free(&pool, block);
    fg_page_pool_fini(&pool);
}

static void free_blocks_keep_little(void **state)
{
    (void)state;
    struct fg_page_pool pool;
    unsigned char *blocks[BLOCKS];
    fg_page_pool_init(&pool, BLOCK_BYTES);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = fg_page_pool_alloc(&pool);
        blocks[i][0] = 1;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        fg_page_pool_free(&pool, blocks[i]);
    size_t pages = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        pages += resident(&pool, blocks[i]);
    assert_true(pages <= FG_PAGE_POOL_WARM);
    fg_page_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_whole_and_apart),
        cmocka_unit_test(a_page_is_there_once_it_is_touched),
        cmocka_unit_test(a_block_at_rest_holds_nothing_and_can_be_used_again),
        cmocka_unit_test(free_blocks_keep_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
