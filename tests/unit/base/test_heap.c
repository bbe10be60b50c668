/*
 * test_heap.c: what the heap holds free goes back to the system, and only when it is worth it.
 */
#include "base/heap.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BLOCKS ((size_t)16384)
#define BLOCK_BYTES ((size_t)4096)

static char *blocks[BLOCKS];

/* Of the heap's (too small for a mapping of their own), with one in use above them all. */
static void take_blocks(void **guard)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BLOCK_BYTES);
    }
    *guard = malloc(BLOCK_BYTES);
    assert_non_null(*guard);
}

static void free_blocks(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        free(blocks[i]);
}

static void make_holes(void **guard)
{
    take_blocks(guard);
    free_blocks(0, BLOCKS);
}

static void trims_once_for_each_flood(void **state)
{
    struct fg_heap_watch watch = {0};
    uint64_t now_ns = 10 * FG_S;
    (void)state;
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    void *guard;
    (void)fg_heap_trim(&watch, now_ns);
    for (size_t flood = 0; flood < 2; flood++) {
        make_holes(&guard);
        assert_false(fg_heap_trim(&watch, now_ns + FG_S)); /* looked a moment ago */
        assert_true(fg_heap_trim(&watch, now_ns += 3 * FG_S));
        assert_false(fg_heap_trim(&watch, now_ns += 3 * FG_S)); /* the holes are there, but empty */
        free(guard);
    }
#else
    void *guard; /* the sanitiser's heap is not the library's: there is nothing to give back */
    make_holes(&guard);
    assert_false(fg_heap_trim(&watch, now_ns));
    free(guard);
#endif
}

/* The second half is free without the process having grown since. */
static void trims_again_what_was_in_use_at_the_first_time(void **state)
{
    (void)state;
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct fg_heap_watch watch = {0};
    uint64_t now_ns = 10 * FG_S;
    void *guard;
    (void)fg_heap_trim(&watch, now_ns);
    take_blocks(&guard);
    assert_false(fg_heap_trim(&watch, now_ns += 3 * FG_S)); /* all in use */
    free_blocks(0, BLOCKS / 2);
    assert_true(fg_heap_trim(&watch, now_ns += 3 * FG_S));
    free_blocks(BLOCKS / 2, BLOCKS);
    assert_true(fg_heap_trim(&watch, now_ns += 3 * FG_S));
    assert_false(fg_heap_trim(&watch, now_ns += 3 * FG_S));
    free(guard);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trims_once_for_each_flood),
        cmocka_unit_test(trims_again_what_was_in_use_at_the_first_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
