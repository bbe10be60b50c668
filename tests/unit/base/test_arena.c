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
    fg_arena_pool_init(&pool, 64);
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

static void blocks_grow_and_keep_what_they_held(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 1000);
    fg_arena_init(&arena, &pool, 1 << 20);
    char *small = fg_arena_try_alloc(&arena, 100);
    char *first = fg_arena_try_alloc(&arena, FG_ARENA_CHUNK_BYTES); /* others of its kind around */
    char *block = fg_arena_try_alloc(&arena, 1);
    char *last = fg_arena_try_alloc(&arena, FG_ARENA_CHUNK_BYTES);
    memset(small, 3, 100);
    memset(first, 4, FG_ARENA_CHUNK_BYTES);
    memset(last, 5, FG_ARENA_CHUNK_BYTES);
    block[0] = 0;
    /* one byte at a time, across the size at which a block becomes one of its own */
    for (size_t bytes = 1; bytes < 6000; bytes++) {
        block = fg_arena_try_grow(&arena, block, bytes, bytes + 1);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        block[bytes] = (char)(bytes % 127);
    }
    for (size_t i = 0; i < 6000; i++)
        assert_int_equal(block[i], i % 127);
    assert_true(small[99] == 3 && first[FG_ARENA_CHUNK_BYTES - 1] == 4 && last[0] == 5);
    fg_arena_fini(&arena);
    assert_int_equal(pool.chunks_in_use, 0);
    fg_arena_pool_fini(&pool);
}

static void a_large_block_that_grows_counts_once(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_arena_account account = {0};
    struct fg_arena_lack lack;
    fg_arena_pool_init(&pool, 16);
    fg_arena_init(&arena, &pool, 60000);
    assert_true(fg_arena_charge(&arena, &account));
    char *block = fg_arena_try_alloc(&arena, 10000);
    assert_int_equal(account.used, 3);
    block = fg_arena_try_grow(&arena, block, 10000, 50000);
    assert_int_equal(account.used, 13);
    assert_int_equal(arena.bytes_used, 50000);
    block[0] = 7;
    assert_null(fg_arena_try_grow(&arena, block, 50000, 60016));
    assert_true(fg_arena_lack(&arena, &lack) && lack.is_own && lack.value == 60016);
    arena.bytes_max = 1 << 20;
    assert_null(fg_arena_try_grow(&arena, block, 50000, 70000)); /* 18 chunks */
    assert_true(fg_arena_lack(&arena, &lack) && !lack.is_own);
    assert_true(block[0] == 7 && account.used == 13 && pool.chunks_total == 13);
    assert_int_equal(arena.bytes_used, 50000);
    block = fg_arena_try_grow(&arena, block, 50000, 65000); /* all 16 */
    assert_true(block != NULL && block[0] == 7 && pool.chunks_in_use == 16);
    fg_arena_fini(&arena);
    assert_true(pool.chunks_in_use == 0 && pool.chunks_total == 0 && account.used == 0);
    fg_arena_pool_fini(&pool);
}

static void large_blocks_count_against_the_pool(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena first, second;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&first, &pool, 1 << 20);
    fg_arena_init(&second, &pool, 1 << 20);
    for (unsigned i = 0; i < 3; i++) /* leave free chunks behind */
        assert_non_null(fg_arena_try_alloc(&first, 3000));
    fg_arena_fini(&first);
    fg_arena_init(&first, &pool, 1 << 20);
    assert_non_null(fg_arena_try_alloc(&first, 3 * FG_ARENA_CHUNK_BYTES - 64));
    assert_int_equal(pool.chunks_in_use, 3);
    assert_true(pool.chunks_total <= 4);
    assert_null(fg_arena_try_alloc(&second, FG_ARENA_CHUNK_BYTES + 1));
    assert_non_null(fg_arena_try_alloc(&second, 100));
    assert_null(fg_arena_try_alloc(&first, FG_ARENA_CHUNK_BYTES));
    fg_arena_fini(&first);
    fg_arena_fini(&second);
    assert_int_equal(pool.chunks_in_use, 0);
    assert_int_equal(pool.standing, 0);
    fg_arena_pool_fini(&pool);
    assert_int_equal(pool.chunks_total, 0);
}

/* ---- accounts ---- */

static void what_is_guaranteed_is_there(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena flood[8], order;
    struct fg_arena_account orders = {0}, floods = {0};
    fg_arena_pool_init(&pool, 8);
    fg_arena_pool_guarantee(&pool, &orders, 3, false);
    for (unsigned i = 0; i < 8; i++) {
        fg_arena_init(&flood[i], &pool, 1 << 20);
        assert_true(fg_arena_charge(&flood[i], &floods));
        assert_int_equal(fg_arena_try_alloc(&flood[i], 3000) != NULL, i < 5);
    }
    assert_int_equal(fg_counter_get(&floods.refused), 3);
    fg_arena_init(&order, &pool, 1 << 20);
    assert_null(fg_arena_try_alloc(&order, 3000)); /* nobody's yet */
    assert_true(fg_arena_charge(&order, &orders));
    for (unsigned i = 0; i < 3; i++)
        assert_non_null(fg_arena_try_alloc(&order, 3000));
    assert_null(fg_arena_try_alloc(&order, 3000)); /* above its guarantee it is as the others */
    fg_arena_fini(&flood[0]);
    assert_non_null(fg_arena_try_alloc(&order, 3000));
    fg_arena_fini(&order);
    assert_int_equal(fg_counter_get(&orders.used_now), 0);
    for (unsigned i = 1; i < 8; i++)
        fg_arena_fini(&flood[i]);
    assert_int_equal(pool.standing, 3);
    fg_arena_pool_fini(&pool);
}

static void a_small_share_of_a_small_pool_is_something(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena_account accounts[3] = {0};
    fg_arena_pool_init(&pool, 16);
    assert_int_equal(fg_arena_pool_share(&pool, 0), 0);
    assert_int_equal(fg_arena_pool_share(&pool, 1), 1);
    assert_int_equal(fg_arena_pool_share(&pool, 500), 8);
    assert_int_equal(fg_arena_pool_share(&pool, 501), 9);
    fg_arena_pool_guarantee(&pool, &accounts[0], fg_arena_pool_share(&pool, 900), false);
    assert_int_equal(accounts[0].guaranteed, 15);
    fg_arena_pool_guarantee(&pool, &accounts[1], fg_arena_pool_share(&pool, 100), true);
    assert_int_equal(accounts[1].wished, 1); /* not two: that is all there is */
    assert_int_equal(fg_arena_pool_share(&pool, 1000), 0);
    fg_arena_pool_fini(&pool);
    fg_arena_pool_init(&pool, 0); /* more loops than chunks */
    assert_int_equal(fg_arena_pool_share(&pool, 900), 0);
    fg_arena_pool_fini(&pool);
}

static void an_arena_moves_with_what_it_holds_or_not_at_all(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena head, other;
    struct fg_arena_account floods = {0};
    fg_arena_pool_init(&pool, 4);
    fg_arena_pool_guarantee(&pool, &pool.rest, 2, false);
    fg_arena_init(&head, &pool, 1 << 20);
    fg_arena_init(&other, &pool, 1 << 20);
    assert_true(fg_arena_charge(&other, &floods));
    assert_non_null(fg_arena_try_alloc(&other, 2 * FG_ARENA_CHUNK_BYTES - 64));
    assert_non_null(fg_arena_try_alloc(&head, 3000));
    assert_false(fg_arena_charge(&head, &floods));
    assert_ptr_equal(head.account, &pool.rest);
    assert_int_equal(pool.rest.used, 1);
    assert_int_equal(floods.used, 2);
    assert_non_null(fg_arena_try_alloc(&head, 3000)); /* enough to say so */
    fg_arena_fini(&other);
    assert_true(fg_arena_charge(&head, &floods));
    assert_int_equal(floods.used, 2);
    assert_int_equal(pool.rest.used, 0);
    fg_arena_fini(&head);
    fg_arena_pool_fini(&pool);
}

static void who_is_refused_can_be_told(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena flood;
    struct fg_arena_account floods = {0};
    fg_arena_pool_init(&pool, 4);
    fg_arena_pool_guarantee(&pool, &pool.rest, 1, false);
    fg_arena_init(&flood, &pool, 1 << 20);
    assert_true(fg_arena_charge(&flood, &floods));
    for (unsigned i = 0; i < 3; i++)
        assert_non_null(fg_arena_try_alloc(&flood, 3000));
    assert_null(fg_arena_try_alloc(&flood, 3000));
    fg_arena_borrow(&flood);
    assert_non_null(fg_arena_try_alloc(&flood, 3000));
    assert_int_equal(floods.used, 3);
    assert_int_equal(pool.rest.used, 1);
    fg_arena_fini(&flood);
    assert_int_equal(pool.rest.used + floods.used + pool.chunks_in_use, 0);
    fg_arena_pool_fini(&pool);
}

static void the_limit_in_the_way_is_known(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena small, large;
    struct fg_arena_lack lack;
    fg_arena_pool_init(&pool, 2);
    fg_arena_init(&small, &pool, 1000);
    fg_arena_init(&large, &pool, SIZE_MAX);
    assert_non_null(fg_arena_try_alloc(&small, 800));
    assert_false(fg_arena_lack(&small, &lack));
    assert_null(fg_arena_try_alloc(&small, 300));
    assert_true(fg_arena_lack(&small, &lack) && lack.is_own);
    assert_int_equal(lack.value, 1100);
    assert_int_equal(lack.limit, 1000);
    assert_null(fg_arena_try_alloc(&small, SIZE_MAX));
    assert_true(fg_arena_lack(&small, &lack) && lack.value == SIZE_MAX);
    assert_null(fg_arena_try_alloc(&large, 3 * FG_ARENA_CHUNK_BYTES));
    assert_true(fg_arena_lack(&large, &lack) && !lack.is_own);
    assert_int_equal(lack.value, 5 * FG_ARENA_CHUNK_BYTES);
    assert_int_equal(lack.limit, 2 * FG_ARENA_CHUNK_BYTES);
    fg_arena_fini(&small);
    fg_arena_fini(&large);
    fg_arena_pool_fini(&pool);
}

static void in_shadow_a_guarantee_is_only_counted(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_arena_account orders = {0}, floods = {0};
    fg_arena_pool_init(&pool, 4);
    fg_arena_pool_guarantee(&pool, &orders, 2, true);
    fg_arena_init(&arena, &pool, 1 << 20);
    assert_true(fg_arena_charge(&arena, &floods));
    for (unsigned i = 0; i < 4; i++)
        assert_non_null(fg_arena_try_alloc(&arena, 3000));
    assert_int_equal(fg_counter_get(&floods.refused), 1); /* the step over the line */
    assert_null(fg_arena_try_alloc(&arena, 3000));
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

/* Whoever takes and gives: the pool's limit holds, and within its guarantee nobody is refused. */
static void guarantees_hold_whatever_happens(void **state)
{
    (void)state;
    enum { ACCOUNTS = 4, ARENAS = 24, CHUNKS = 40 };
    const size_t guarantees[ACCOUNTS] = {10, 5, 0, 0};
    struct fg_arena_pool pool;
    struct fg_arena arenas[ARENAS];
    struct fg_arena_account accounts[ACCOUNTS] = {0};
    uint32_t seed = 7;
    fg_arena_pool_init(&pool, CHUNKS);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        fg_arena_pool_guarantee(&pool, &accounts[i], guarantees[i], false);
    for (unsigned i = 0; i < ARENAS; i++) {
        fg_arena_init(&arenas[i], &pool, 1 << 20);
        assert_true(fg_arena_charge(&arenas[i], &accounts[i % ACCOUNTS]));
    }
    for (unsigned i = 0; i < 100000; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned at = (seed >> 8) % ARENAS;
        struct fg_arena_account *account = &accounts[at % ACCOUNTS];
        size_t chunks = 1 + (seed >> 16) % 3;
        if ((seed >> 24 & 3) == 0) {
            fg_arena_fini(&arenas[at]);
            fg_arena_init(&arenas[at], &pool, 1 << 20);
            assert_true(fg_arena_charge(&arenas[at], account));
            continue;
        }
        bool is_due = account->used + chunks <= account->guaranteed;
        bool has_it = fg_arena_try_alloc(&arenas[at], chunks * FG_ARENA_CHUNK_BYTES - 32) != NULL;
        assert_true(has_it || !is_due);
        size_t used = 0, standing = 0;
        for (unsigned a = 0; a < ACCOUNTS; a++) {
            used += accounts[a].used;
            standing += accounts[a].used > guarantees[a] ? accounts[a].used : guarantees[a];
        }
        assert_int_equal(used, pool.chunks_in_use);
        assert_int_equal(standing, pool.standing);
        assert_true(standing <= CHUNKS && pool.chunks_total <= CHUNKS);
    }
    for (unsigned i = 0; i < ARENAS; i++)
        fg_arena_fini(&arenas[i]);
    fg_arena_pool_fini(&pool);
}

/* After a flood only what a usual load takes is kept. */
static void a_pool_gives_back_what_a_flood_took(void **state)
{
    enum { MANY = 20000, USUAL = 600 };
    static struct fg_arena arenas[MANY];
    struct fg_arena_pool pool;
    (void)state;
    fg_arena_pool_init(&pool, 2 * MANY);
    for (size_t i = 0; i < MANY; i++) {
        fg_arena_init(&arenas[i], &pool, 1 << 20);
        assert_non_null(fg_arena_try_alloc(&arenas[i], 100));
    }
    assert_int_equal(pool.chunks_total, MANY);
    for (size_t i = 0; i < MANY; i++)
        fg_arena_fini(&arenas[i]);
    assert_int_equal(pool.chunks_in_use, 0);
    assert_in_range(pool.chunks_total, 1, 512);
    /* a load that comes and goes finds its chunks again: none is made or given back */
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < USUAL; i++) {
            fg_arena_init(&arenas[i], &pool, 1 << 20);
            assert_non_null(fg_arena_try_alloc(&arenas[i], 100));
        }
        size_t total = pool.chunks_total;
        for (size_t i = 0; i < USUAL / 2; i++)
            fg_arena_fini(&arenas[i]);
        assert_int_equal(pool.chunks_total, total);
        for (size_t i = USUAL / 2; i < USUAL; i++)
            fg_arena_fini(&arenas[i]);
    }
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
        cmocka_unit_test(blocks_grow_and_keep_what_they_held),
        cmocka_unit_test(a_large_block_that_grows_counts_once),
        cmocka_unit_test(large_blocks_count_against_the_pool),
        cmocka_unit_test(what_is_guaranteed_is_there),
        cmocka_unit_test(a_small_share_of_a_small_pool_is_something),
        cmocka_unit_test(an_arena_moves_with_what_it_holds_or_not_at_all),
        cmocka_unit_test(who_is_refused_can_be_told),
        cmocka_unit_test(the_limit_in_the_way_is_known),
        cmocka_unit_test(in_shadow_a_guarantee_is_only_counted),
        cmocka_unit_test(guarantees_hold_whatever_happens),
        cmocka_unit_test(a_pool_gives_back_what_a_flood_took),
        cmocka_unit_test(runs_cleanups_newest_first),
        cmocka_unit_test(formats_short_and_long_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
