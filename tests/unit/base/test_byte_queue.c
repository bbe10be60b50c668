/*
 * test_byte_queue.c: bytes come out as they went in, and no segment is lost.
 */
#include "base/byte_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void gives_back_what_it_got(void **state)
{
    (void)state;
    struct fg_segment_pool pool;
    struct fg_byte_queue queue = {0};
    unsigned next_in = 0;
    unsigned next_out = 0;
    unsigned seed = 7;
    static unsigned char block[50000];
    fg_segment_pool_init(&pool, 2);
    for (unsigned round = 0; round < 2000; round++) {
        seed = seed * 1103515245u + 12345u;
        size_t len = (seed >> 8) % (round % 10 == 0 ? 50000 : 700);
        if (round % 3 == 2 && len <= 1024) {
            char *place = fg_byte_queue_reserve(&queue, &pool, 1024);
            assert_non_null(place);
            for (size_t i = 0; i < len; i++)
                place[i] = (char)(next_in++ & 0xff);
            fg_byte_queue_commit(&queue, len);
        } else {
            for (size_t i = 0; i < len; i++)
                block[i] = (unsigned char)(next_in++ & 0xff);
            assert_true(fg_byte_queue_append(&queue, &pool, block, len));
        }
        size_t got = fg_byte_queue_take(&queue, &pool, block, (seed >> 4) % 6000);
        for (size_t i = 0; i < got; i++)
            assert_int_equal(block[i], next_out++ & 0xff);
        assert_int_equal(queue.len, next_in - next_out);
    }
    while (queue.len > 0) {
        struct fg_span front = fg_byte_queue_front(&queue);
        assert_true(front.len > 0);
        assert_int_equal((unsigned char)front.data[0], next_out & 0xff);
        next_out += (unsigned)front.len;
        fg_byte_queue_drop(&queue, &pool, front.len);
    }
    assert_int_equal(next_in, next_out);
    assert_int_equal(pool.in_use, 0);
    assert_true(pool.free_count <= 2);
    fg_segment_pool_fini(&pool);
}

static void joins(void **state)
{
    (void)state;
    struct fg_segment_pool pool;
    struct fg_byte_queue a = {0};
    struct fg_byte_queue b = {0};
    char text[8] = {0};
    fg_segment_pool_init(&pool, 4);
    fg_byte_queue_join(&a, &b);
    assert_int_equal(a.len, 0);
    assert_true(fg_byte_queue_append(&b, &pool, "cd", 2));
    fg_byte_queue_join(&a, &b);
    assert_true(fg_byte_queue_append(&b, &pool, "ef", 2));
    fg_byte_queue_join(&a, &b);
    assert_int_equal(fg_byte_queue_take(&a, &pool, text, sizeof(text)), 4);
    assert_string_equal(text, "cdef");
    assert_int_equal(b.len, 0);
    fg_segment_pool_fini(&pool);
}

static void count_release(void *owner)
{
    (*(unsigned *)owner)++;
}

static void lends_bytes_and_gives_them_back_once(void **state)
{
    (void)state;
    struct fg_segment_pool pool;
    struct fg_byte_queue queue = {0};
    unsigned released = 0;
    char text[16] = {0};
    fg_segment_pool_init(&pool, 4);
    assert_true(fg_byte_queue_append(&queue, &pool, "ab", 2));
    assert_true(fg_byte_queue_append_shared(&queue, &pool, "cdef", 4, count_release, &released));
    assert_true(fg_byte_queue_append(&queue, &pool, "gh", 2)); /* never into what was lent */
    char *place = fg_byte_queue_reserve(&queue, &pool, 1);
    *place = 'i';
    fg_byte_queue_commit(&queue, 1);
    struct iovec pieces[4];
    assert_int_equal(fg_byte_queue_peek(&queue, pieces, 4), 3);
    assert_memory_equal(pieces[1].iov_base, "cdef", 4);
    assert_int_equal(fg_byte_queue_take(&queue, &pool, text, 4), 4);
    assert_int_equal(released, 0);
    assert_int_equal(fg_byte_queue_take(&queue, &pool, text + 4, sizeof(text)), 5);
    assert_string_equal(text, "abcdefghi");
    assert_int_equal(released, 1);
    assert_true(fg_byte_queue_append_shared(&queue, &pool, "x", 1, count_release, &released));
    fg_byte_queue_clear(&queue, &pool);
    assert_int_equal(released, 2);
    assert_true(fg_byte_queue_append_shared(&queue, &pool, "", 0, count_release, &released));
    assert_int_equal(released, 3);
    /* what outlives the queue is given back by nobody */
    assert_true(fg_byte_queue_append_shared(&queue, &pool, "lasts", 5, NULL, NULL));
    assert_true(fg_byte_queue_append_shared(&queue, &pool, "", 0, NULL, NULL));
    memset(text, 0, sizeof(text));
    assert_int_equal(fg_byte_queue_take(&queue, &pool, text, sizeof(text)), 5);
    assert_string_equal(text, "lasts");
    assert_int_equal(queue.len, 0);
    fg_segment_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_it_got),
        cmocka_unit_test(joins),
        cmocka_unit_test(lends_bytes_and_gives_them_back_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
