/*
 * test_early_body.c: a body that comes in pieces is one piece, and takes little more than it has.
 */
#include "pipeline/early_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct kept {
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_early_body body;
};

static void open_kept(struct kept *kept, size_t memory_max)
{
    *kept = (struct kept){0};
    fg_arena_pool_init(&kept->pool, 100000);
    fg_arena_init(&kept->arena, &kept->pool, memory_max);
}

static void close_kept(struct kept *kept)
{
    fg_arena_fini(&kept->arena);
    assert_int_equal(kept->pool.chunks_in_use, 0);
    fg_arena_pool_fini(&kept->pool);
}

static char byte_at(size_t index)
{
    return (char)(index % 251);
}

static void pieces_of_any_size_become_one(void **state)
{
    static const size_t sizes[] = {1, 2, 1000, 4079, 4080, 4096, 65536};
    static char piece[65536];
    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct kept kept;
        open_kept(&kept, 1 << 20);
        while (kept.body.len < 3 * sizes[s]) {
            for (size_t i = 0; i < sizes[s]; i++)
                piece[i] = byte_at(kept.body.len + i);
            assert_true(fg_early_body_try_add(&kept.body, &kept.arena, piece, sizes[s], 1 << 30));
        }
        for (size_t i = 0; i < kept.body.len; i++)
            assert_int_equal(kept.body.data[i], byte_at(i));
        close_kept(&kept);
    }
}

static void what_is_announced_takes_no_memory(void **state)
{
    (void)state;
    struct kept kept;
    open_kept(&kept, 1 << 20);
    for (size_t i = 0; i < 100000; i++) {
        assert_true(fg_early_body_try_add(&kept.body, &kept.arena, "x", 1, UINT64_C(1) << 40));
        assert_true(kept.arena.bytes_used <= 2 * (i + 1) + 3072);
    }
    close_kept(&kept);
}

static void no_more_is_taken_than_the_body_can_be(void **state)
{
    static char piece[5000];
    (void)state;
    struct kept kept;
    open_kept(&kept, 10016);
    assert_true(fg_early_body_try_add(&kept.body, &kept.arena, piece, 5000, 10000));
    assert_true(fg_early_body_try_add(&kept.body, &kept.arena, piece, 4999, 10000));
    assert_true(fg_early_body_try_add(&kept.body, &kept.arena, "x", 1, 10000));
    assert_true(kept.body.len == 10000 && kept.arena.bytes_used == 10000);
    assert_false(fg_early_body_try_add(&kept.body, &kept.arena, piece, 5000, 20000));
    assert_true(kept.body.len == 10000 && kept.body.data[9999] == 'x');
    close_kept(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size_become_one),
        cmocka_unit_test(what_is_announced_takes_no_memory),
        cmocka_unit_test(no_more_is_taken_than_the_body_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
