/*
 * test_never_indexed.c: names that are kept, names that are too many, and no memory.
 */
#include "backends/never_indexed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

static void none_until_one_is_added(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_never_indexed *list = NULL;
    char name[] = "authorization";
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 65536);
    assert_false(fg_never_indexed_has(list, FG_SPAN("authorization")));
    assert_true(fg_never_indexed_add(&list, &arena, fg_span_from_string(name)));
    name[0] = 'x'; /* it was copied */
    assert_true(fg_never_indexed_has(list, FG_SPAN("authorization")));
    assert_false(fg_never_indexed_has(list, FG_SPAN("authorizatio")));
    assert_false(fg_never_indexed_has(list, FG_SPAN("cookie")));
    assert_true(fg_never_indexed_add(&list, &arena, FG_SPAN("authorization")));
    assert_int_equal(list->count, 1);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

static void more_than_it_keeps_mark_all(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_never_indexed *list = NULL;
    char name[8];
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 65536);
    for (unsigned i = 0; i < FG_NEVER_INDEXED_MAX; i++) {
        snprintf(name, sizeof(name), "x-%u", i);
        assert_true(fg_never_indexed_add(&list, &arena, fg_span_from_string(name)));
    }
    assert_false(fg_never_indexed_has(list, FG_SPAN("accept")));
    assert_true(fg_never_indexed_add(&list, &arena, FG_SPAN("one-more")));
    assert_true(fg_never_indexed_has(list, FG_SPAN("one-more")));
    assert_true(fg_never_indexed_has(list, FG_SPAN("accept")));
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_never_indexed *list = NULL;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 1);
    assert_false(fg_never_indexed_add(&list, &arena, FG_SPAN("cookie")));
    assert_null(list);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_until_one_is_added),
        cmocka_unit_test(more_than_it_keeps_mark_all),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
