/*
 * test_request_table.c: against a plain array, with ids that collide, up to the limit.
 */
#include "inference/api/request_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static void finds_what_was_added(void **state)
{
    (void)state;
    int a, b;
    struct fg_request_table *table = fg_request_table_create(1);
    assert_null(fg_request_table_find(table, 0));
    assert_null(fg_request_table_find(table, 7));
    assert_true(fg_request_table_try_add(table, 7, &a));
    assert_false(fg_request_table_try_add(table, 8, &b));
    assert_ptr_equal(fg_request_table_find(table, 7), &a);
    assert_null(fg_request_table_find(table, 8));
    fg_request_table_remove(table, 7);
    assert_null(fg_request_table_find(table, 7));
    assert_true(fg_request_table_try_add(table, 8, &b));
    assert_int_equal(fg_request_table_count(table), 1);
    fg_request_table_destroy(table);
    fg_request_table_destroy(NULL);
}

/* Adds and removes in a fixed pseudo-random order; the array is the truth. */
static void agrees_with_a_plain_array(void **state)
{
    (void)state;
    enum { MAX = 61, ROUNDS = 20000 };
    struct fg_request_table *table = fg_request_table_create(MAX);
    uint64_t ids[MAX] = {0};
    char objects[MAX];
    uint64_t next_id = UINT64_C(1) << 48;
    uint64_t random = 88172645463325252u;
    uint32_t count = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t at = random % MAX;
        if (ids[at] == 0) {
            next_id += 1 + (random >> 60);
            ids[at] = next_id;
            assert_true(fg_request_table_try_add(table, next_id, &objects[at]));
            count++;
        } else {
            fg_request_table_remove(table, ids[at]);
            assert_null(fg_request_table_find(table, ids[at]));
            ids[at] = 0;
            count--;
        }
        assert_int_equal(fg_request_table_count(table), count);
        for (size_t i = 0; i < MAX; i++) {
            if (ids[i] != 0)
                assert_ptr_equal(fg_request_table_find(table, ids[i]), &objects[i]);
        }
    }
    fg_request_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(agrees_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
