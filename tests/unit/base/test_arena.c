/*
 * test_arena.c: limits, alignment, cleanups, and that chunks come back.
 */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void gives_aligned_memory_up_to_its_limit(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 100);
    fg_arena_init(&arena, &pool, 64);
    char *a = fg_arena_try_alloc(&arena, 1);
    char *b = fg_arena_try_alloc(&arena, 17);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)b % 16, 0);
    memset(b, 1, 17);
    assert_non_null(fg_arena_try_alloc(&arena, 16));
    assert_null(fg_arena_try_alloc(&arena, 1)); /* 16 + 32 + 16 are used */
    assert_null(fg_arena_try_alloc(&arena, SIZE_MAX));
    fg_arena_fini(&arena);
    assert_int_equal(pool.chunks_in_use, 0);
    fg_arena_pool_fini(&pool);
}

static void takes_no_more_chunks_than_the_pool_allows(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena first, second;
    fg_arena_pool_init(&pool, 1);
    fg_arena_init(&first, &pool, 1 << 20);
    fg_arena_init(&second, &pool, 1 << 20);
    assert_non_null(fg_arena_try_alloc(&first, 100));
    assert_null(fg_arena_try_alloc(&second, 100));
    fg_arena_fini(&first);
    assert_non_null(fg_arena_try_alloc(&second, 100)); /* the same chunk again */
    assert_int_equal(pool.chunks_total, 1);
    fg_arena_fini(&second);
    fg_arena_pool_fini(&pool);
}

static void holds_blocks_larger_than_a_chunk(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 1 << 20);
    /* also every size around a chunk's payload, where pooled and own blocks meet */
    for (size_t bytes = FG_ARENA_CHUNK_BYTES - 64; bytes <= FG_ARENA_CHUNK_BYTES + 16; bytes++) {
        char *block = fg_arena_try_alloc(&arena, bytes);
        assert_non_null(block);
        memset(block, 0xab, bytes);
        fg_arena_fini(&arena);
        fg_arena_init(&arena, &pool, 1 << 20);
    }
    char *small = fg_arena_try_alloc(&arena, 10);
    char *large = fg_arena_try_alloc(&arena, 100000);
    char *next = fg_arena_try_alloc(&arena, 10);
    memset(large, 1, 100000);
    assert_ptr_equal(next, small + 16); /* the large one did not end the newest chunk */
    fg_arena_fini(&arena);
    assert_int_equal(pool.chunks_in_use, 0);
    fg_arena_pool_fini(&pool);
}

static void note(void *object)
{
    int **order = object;
    **order = *(*order - 1) + 1;
    (*order)++;
}

static void runs_cleanups_newest_first(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    int marks[3] = {0, 0, 0};
    int *at = &marks[1];
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 4096);
    assert_true(fg_arena_on_fini(&arena, note, &at));
    assert_true(fg_arena_on_fini(&arena, note, &at));
    fg_arena_fini(&arena);
    assert_int_equal(marks[1], 1);
    assert_int_equal(marks[2], 2);
    fg_arena_pool_fini(&pool);
}

static void formats_short_and_long_text(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 8192);
    struct fg_span text = fg_arena_try_printf(&arena, "%s-%d", "a", 7);
    assert_string_equal(text.data, "a-7");
    assert_int_equal(fg_arena_try_printf(&arena, "%*d", 2000, 1).len, 2000);
    assert_null(fg_arena_try_printf(&arena, "%*d", 20000, 1).data);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_aligned_memory_up_to_its_limit),
        cmocka_unit_test(takes_no_more_chunks_than_the_pool_allows),
        cmocka_unit_test(holds_blocks_larger_than_a_chunk),
        cmocka_unit_test(runs_cleanups_newest_first),
        cmocka_unit_test(formats_short_and_long_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
