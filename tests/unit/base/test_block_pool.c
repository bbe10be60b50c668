/*
 * test_block_pool.c: blocks of all sizes, their contents through a realloc, and the bound on what
 * is kept.
 */
#include "base/block_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void blocks_are_aligned_and_hold_what_was_asked_for(void **state)
{
    (void)state;
    struct fg_block_pool pool;
    fg_block_pool_init(&pool, 65536);
    void *blocks[200];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 200; i++) {
            size_t bytes = i * 17 % 4096;
            blocks[i] = fg_block_pool_alloc(&pool, bytes);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], (int)i, bytes);
        }
        for (size_t i = 0; i < 200; i++) {
            const unsigned char *bytes = blocks[i];
            for (size_t at = 0; at < i * 17 % 4096; at++)
                assert_int_equal(bytes[at], (unsigned char)i);
            fg_block_pool_free(&pool, blocks[i]);
        }
        assert_true(pool.kept_bytes <= 65536);
    }
    fg_block_pool_fini(&pool);
}

static void realloc_keeps_the_contents(void **state)
{
    (void)state;
    struct fg_block_pool pool;
    fg_block_pool_init(&pool, 65536);
    unsigned char *block = fg_block_pool_realloc(&pool, NULL, 1);
    block[0] = 7;
    for (size_t bytes = 2; bytes < 10000; bytes = bytes * 3 / 2) {
        block = fg_block_pool_realloc(&pool, block, bytes);
        assert_non_null(block);
        assert_int_equal(block[0], 7);
        memset(block, 7, bytes);
    }
    block = fg_block_pool_realloc(&pool, block, 3);
    assert_int_equal(block[2], 7);
    fg_block_pool_free(&pool, block);
    fg_block_pool_free(&pool, NULL);
    fg_block_pool_fini(&pool);
}

static void calloc_gives_zeroes_and_minds_overflow(void **state)
{
    (void)state;
    struct fg_block_pool pool;
    fg_block_pool_init(&pool, 65536);
    unsigned char *block = fg_block_pool_alloc(&pool, 64);
    memset(block, 0xff, 64);
    fg_block_pool_free(&pool, block);
    block = fg_block_pool_calloc(&pool, 8, 8);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(block[i], 0);
    fg_block_pool_free(&pool, block);
    assert_null(fg_block_pool_calloc(&pool, SIZE_MAX / 2, 3));
    assert_null(fg_block_pool_alloc(&pool, SIZE_MAX));
    fg_block_pool_fini(&pool);
}

static void no_more_is_kept_than_allowed(void **state)
{
    (void)state;
    struct fg_block_pool pool;
    fg_block_pool_init(&pool, 100);
    void *first = fg_block_pool_alloc(&pool, 64), *second = fg_block_pool_alloc(&pool, 64);
    fg_block_pool_free(&pool, first);
    fg_block_pool_free(&pool, second);
    assert_true(pool.kept_bytes <= 100);
    fg_block_pool_fini(&pool);
    assert_int_equal(pool.kept_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_hold_what_was_asked_for),
        cmocka_unit_test(realloc_keeps_the_contents),
        cmocka_unit_test(calloc_gives_zeroes_and_minds_overflow),
        cmocka_unit_test(no_more_is_kept_than_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
