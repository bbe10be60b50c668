/*
 * test_s3_fifo.c: what is kept and what goes, ghosts, and that bytes and entries always add up.
 */
#include "policies/cache/s3_fifo.h"
#include "policy_test.h"

struct fixture {
    struct fg_s3_fifo cache;
    void *memory;
};

static void set_up(struct fixture *f, uint64_t bytes_max, size_t ghosts)
{
    size_t bytes = fg_s3_fifo_bytes(ghosts);
    f->memory = malloc(bytes + 1);
    assert_non_null(f->memory);
    fg_s3_fifo_init(&f->cache, bytes_max, (char *)f->memory + 1, bytes, ghosts);
}

static size_t list_length(const struct fg_s3_entry *entry)
{
    size_t count = 0;
    for (; entry != NULL; entry = entry->next)
        count++;
    return count;
}

static void one_hit_wonders_leave_first(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_s3_entry e[12] = {0};
    struct fg_s3_entry *out;
    set_up(&f, 100, 64);
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(fg_s3_fifo_insert(&f.cache, &e[i], i, 10, &out));
        assert_null(out);
    }
    fg_s3_fifo_touch(&e[0]); /* twice: worth keeping */
    fg_s3_fifo_touch(&e[0]);
    fg_s3_fifo_touch(&e[1]); /* once: not */
    assert_true(fg_s3_fifo_insert(&f.cache, &e[10], 10, 10, &out));
    assert_ptr_equal(out, &e[1]);
    assert_null(out->next);
    assert_int_equal(out->queue, FG_S3_NONE);
    assert_int_equal(e[0].queue, FG_S3_MAIN);
    assert_int_equal(f.cache.promoted_total, 1);
    assert_int_equal(fg_s3_fifo_bytes_used(&f.cache), 100);
    free(f.memory);
}

static void a_ghost_that_returns_goes_to_main(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_s3_entry e[40] = {0};
    struct fg_s3_entry *out;
    set_up(&f, 100, 64);
    for (uint64_t i = 0; i < 11; i++)
        fg_s3_fifo_insert(&f.cache, &e[i], i, 10, &out);
    assert_ptr_equal(out, &e[0]);
    assert_true(fg_s3_fifo_insert(&f.cache, &e[0], 0, 10, &out));
    assert_int_equal(e[0].queue, FG_S3_MAIN);
    assert_int_equal(f.cache.ghost_hits_total, 1);
    /* a ghost is forgotten after as many bytes as the main queue holds */
    for (uint64_t i = 11; i < 30; i++)
        fg_s3_fifo_insert(&f.cache, &e[i], i, 10, &out);
    assert_true(fg_s3_fifo_insert(&f.cache, &e[1], 1, 10, &out));
    assert_int_equal(e[1].queue, FG_S3_SMALL);
    free(f.memory);
}

static void main_gives_rounds_for_hits(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_s3_entry e[200] = {0};
    struct fg_s3_entry *out;
    set_up(&f, 100, 64);
    for (uint64_t i = 0; i < 10; i++) {
        fg_s3_fifo_insert(&f.cache, &e[i], i, 10, &out);
        fg_s3_fifo_touch(&e[i]);
        fg_s3_fifo_touch(&e[i]);
    }
    fg_s3_fifo_insert(&f.cache, &e[10], 10, 10, &out); /* all ten move on; the oldest goes */
    assert_int_equal(list_length(out), 1);
    assert_ptr_equal(out, &e[0]);
    for (int i = 0; i < 9; i++)
        fg_s3_fifo_touch(&e[5]); /* counted up to 3 */
    assert_int_equal(e[5].frequency, 3);
    for (uint64_t i = 11; i < 200; i++)
        fg_s3_fifo_insert(&f.cache, &e[i], i, 10, &out);
    assert_int_equal(e[5].queue, FG_S3_MAIN); /* a scan does not push it out */
    free(f.memory);
}

static void sizes_that_do_not_fit(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_s3_entry e[3] = {0};
    struct fg_s3_entry *out;
    set_up(&f, 100, 8);
    assert_true(fg_s3_fifo_insert(&f.cache, &e[0], 0, 100, &out));
    assert_false(fg_s3_fifo_insert(&f.cache, &e[1], 1, 101, &out));
    assert_null(out);
    assert_false(fg_s3_fifo_insert(&f.cache, &e[1], 1, UINT64_MAX, &out));
    assert_int_equal(f.cache.refused_total, 2);
    assert_true(fg_s3_fifo_insert(&f.cache, &e[1], 1, 1, &out));
    assert_ptr_equal(out, &e[0]);
    free(f.memory);
    fg_s3_fifo_init(&f.cache, 0, NULL, 0, 0); /* no cache at all */
    assert_false(fg_s3_fifo_insert(&f.cache, &e[2], 2, 1, &out));
    fg_s3_fifo_init(&f.cache, UINT64_MAX, NULL, 0, 0); /* no bound, no ghosts */
    assert_true(fg_s3_fifo_insert(&f.cache, &e[2], 2, UINT64_MAX, &out));
    assert_int_equal(fg_s3_fifo_bytes(0), 0);
    assert_int_equal(fg_s3_fifo_bytes(SIZE_MAX), 0);
}

static void removed_entries_can_come_back(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_s3_entry e[3] = {0};
    struct fg_s3_entry *out;
    set_up(&f, 100, 8);
    for (uint64_t i = 0; i < 3; i++)
        fg_s3_fifo_insert(&f.cache, &e[i], i, 30, &out);
    fg_s3_fifo_remove(&f.cache, &e[1]);
    assert_int_equal(fg_s3_fifo_count(&f.cache), 2);
    assert_int_equal(fg_s3_fifo_bytes_used(&f.cache), 60);
    assert_true(fg_s3_fifo_insert(&f.cache, &e[1], 1, 40, &out));
    assert_null(out);
    assert_int_equal(f.cache.ghost_hits_total, 0);
    free(f.memory);
}

#define MANY 500

static void bytes_and_entries_always_add_up(void **state)
{
    (void)state;
    uint64_t seed = test_seed(13);
    static struct fg_s3_entry e[MANY];
    static const uint64_t sizes[] = {1, 9, 1000, 20000};
    for (size_t round = 0; round < 4; round++) {
        struct fixture f;
        uint64_t bytes_max = sizes[round];
        uint64_t count = 0;
        memset(e, 0, sizeof(e));
        set_up(&f, bytes_max, round * 50);
        for (int i = 0; i < 50000; i++) {
            /* skewed: the smaller the index, the more often */
            uint64_t k = test_below(&seed, 1 + test_below(&seed, MANY));
            struct fg_s3_entry *out = NULL;
            if (e[k].queue == FG_S3_NONE) {
                uint64_t bytes = 1 + test_below(&seed, 200);
                bool is_in = fg_s3_fifo_insert(&f.cache, &e[k], k * 7919, bytes, &out);
                assert_int_equal(is_in, bytes <= bytes_max);
                count += is_in;
                count -= list_length(out);
            } else if (test_below(&seed, 20) == 0) {
                fg_s3_fifo_remove(&f.cache, &e[k]);
                count--;
            } else {
                fg_s3_fifo_touch(&e[k]);
            }
            assert_true(fg_s3_fifo_bytes_used(&f.cache) <= bytes_max);
            assert_int_equal(fg_s3_fifo_count(&f.cache), count);
        }
        uint64_t bytes = 0;
        for (size_t k = 0; k < MANY; k++)
            bytes += e[k].queue == FG_S3_NONE ? 0 : e[k].bytes;
        assert_int_equal(bytes, fg_s3_fifo_bytes_used(&f.cache));
        free(f.memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hit_wonders_leave_first),
        cmocka_unit_test(a_ghost_that_returns_goes_to_main),
        cmocka_unit_test(main_gives_rounds_for_hits),
        cmocka_unit_test(sizes_that_do_not_fit),
        cmocka_unit_test(removed_entries_can_come_back),
        cmocka_unit_test(bytes_and_entries_always_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
