/*
 * test_limit_table.c: buckets by key, who is forgotten when a set is full, and key floods.
 */
#include "policies/limit_table.h"
#include "policies/siphash.h"
#include "policy_test.h"

#define ONE_SET 8

struct fixture {
    struct fg_limit_table table;
    void *memory;
};

static void set_up_with(struct fixture *f, enum fg_limit_algorithm algorithm, size_t capacity,
                        uint64_t amount, uint64_t burst)
{
    const struct fg_limit_rule rule = {algorithm, amount, S, burst};
    size_t bytes = fg_limit_table_bytes(capacity);
    f->memory = calloc(1, bytes + 1);
    assert_non_null(f->memory);
    /* off by one byte: no alignment is asked for */
    fg_limit_table_init(&f->table, (char *)f->memory + 1, bytes, capacity, &rule);
}

static void set_up(struct fixture *f, size_t capacity, uint64_t amount, uint64_t burst)
{
    set_up_with(f, FG_LIMIT_TOKEN_BUCKET, capacity, amount, burst);
}

static bool take(struct fixture *f, uint64_t key, uint64_t now_ns, uint64_t cost)
{
    struct fg_limit_verdict verdict;
    return fg_limit_table_try_take(&f->table, key << 32, key, now_ns, cost, &verdict);
}

static void each_key_has_a_bucket_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_limit_verdict v;
    set_up(&f, 100, 10, 2);
    assert_true(fg_limit_table_try_take(&f.table, 1, 2, 0, 1, &v));
    assert_true(v.allowed);
    assert_int_equal(v.remaining, 1);
    assert_int_equal(v.reset_ns, 100 * MS);
    assert_int_equal(v.wait_ns, 0);
    assert_true(fg_limit_table_try_take(&f.table, 1, 2, 0, 1, &v));
    assert_false(fg_limit_table_try_take(&f.table, 1, 2, 0, 1, &v));
    assert_false(v.allowed);
    assert_int_equal(v.remaining, 0);
    assert_int_equal(v.reset_ns, 200 * MS);
    assert_int_equal(v.wait_ns, 100 * MS);
    assert_true(fg_limit_table_try_take(&f.table, 1, 3, 0, 1, &v)); /* half the key differs */
    assert_true(fg_limit_table_try_take(&f.table, 2, 2, 0, 1, &v));
    assert_true(fg_limit_table_try_take(&f.table, 0, 0, 0, 1, &v)); /* a key of zeros is a key */
    assert_false(fg_limit_table_try_take(&f.table, 1, 2, 100 * MS - 1, 1, &v));
    assert_true(fg_limit_table_try_take(&f.table, 1, 2, 100 * MS, 1, &v));
    assert_int_equal(f.table.keys.entries, 4);
    assert_int_equal(f.table.keys.evictions, 0);
    free(f.memory);
}

static void the_fullest_goes_and_then_the_oldest(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ONE_SET, 1, 10);
    for (uint64_t key = 0; key < 8; key++)
        assert_true(take(&f, key, 0, key == 3 ? 1 : 9)); /* 3 is the fullest */
    assert_true(take(&f, 100, 0, 9));
    assert_false(fg_limit_table_has(&f.table, UINT64_C(3) << 32, 3));
    assert_int_equal(f.table.keys.evictions, 1);
    assert_int_equal(f.table.keys.entries, 8);
    /* a minute later all are full again: the least recently used goes */
    for (uint64_t key = 0; key < 8; key++)
        assert_true(take(&f, key == 3 ? 100 : key, 60 * S + key, 0));
    assert_true(take(&f, 101, 120 * S, 1));
    assert_false(fg_limit_table_has(&f.table, 0, 0));
    assert_true(fg_limit_table_has(&f.table, UINT64_C(1) << 32, 1));
    free(f.memory);
}

static void without_a_rate_the_most_tokens_go(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ONE_SET, 0, 10);
    for (uint64_t key = 0; key < 8; key++)
        assert_true(take(&f, key, key, 10 - key % 5)); /* 4 has most tokens left */
    assert_true(take(&f, 50, 100, 1));
    assert_false(fg_limit_table_has(&f.table, UINT64_C(4) << 32, 4));
    free(f.memory);
}

static void flood(enum fg_limit_algorithm algorithm)
{
    struct fixture f;
    struct fg_siphash_key key = {1, 2};
    uint64_t seed = test_seed(3);
    struct fg_limit_verdict v;
    set_up_with(&f, algorithm, 64, 1, 100);
    assert_true(take(&f, 77, 0, 100)); /* drained */
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t hi;
        uint64_t lo;
        uint64_t name = test_random(&seed);
        fg_siphash_128(&key, &name, sizeof(name), &hi, &lo);
        assert_true(fg_limit_table_try_take(&f.table, hi, lo, i, 1, &v));
        assert_true(f.table.keys.entries <= 64);
    }
    assert_false(take(&f, 77, 20000, 1));
    assert_int_equal(f.table.keys.entries, 64);
    assert_int_equal(f.table.keys.evictions, 20001 - 64);
    free(f.memory);
}

/* Each key of the flood is as drained as the flooder's, and later: but none has been refused. */
static void flood_of_single_tokens(enum fg_limit_algorithm algorithm)
{
    struct fixture f;
    struct fg_limit_verdict verdict;
    set_up_with(&f, algorithm, 1000, 1, 1);
    assert_true(fg_limit_table_try_take(&f.table, 7, 7, 0, 1, &verdict));
    assert_false(fg_limit_table_try_take(&f.table, 7, 7, 1, 1, &verdict));
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t key = (i + 100) * UINT64_C(0x9e3779b97f4a7c15);
        (void)fg_limit_table_try_take(&f.table, key, i, 2 + i, 1, &verdict);
    }
    assert_true(fg_limit_table_has(&f.table, 7, 7));
    assert_false(fg_limit_table_try_take(&f.table, 7, 7, 200000, 1, &verdict));
    /* once it may pass again it is a bucket like any other */
    assert_true(fg_limit_table_try_take(&f.table, 7, 7, 10 * S, 1, &verdict));
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t key = (i + 200100) * UINT64_C(0x9e3779b97f4a7c15);
        (void)fg_limit_table_try_take(&f.table, key, i, 10 * S + i, 1, &verdict);
    }
    assert_false(fg_limit_table_has(&f.table, 7, 7));
    free(f.memory);
}

static void a_flood_of_keys_does_not_reset_a_drained_bucket(void **state)
{
    (void)state;
    flood(FG_LIMIT_TOKEN_BUCKET);
    flood(FG_LIMIT_GCRA);
    flood_of_single_tokens(FG_LIMIT_TOKEN_BUCKET);
    flood_of_single_tokens(FG_LIMIT_GCRA);
}

static void both_algorithms_decide_alike(void **state)
{
    (void)state;
    struct fixture bucket, gcra;
    struct fg_limit_verdict a, b;
    uint64_t seed = test_seed(5), now_ns = 0;
    set_up_with(&bucket, FG_LIMIT_TOKEN_BUCKET, 100, 7, 20);
    set_up_with(&gcra, FG_LIMIT_GCRA, 100, 7, 20);
    for (int i = 0; i < 20000; i++) {
        uint64_t key = test_below(&seed, 5);
        uint64_t cost = 1 + test_below(&seed, 4);
        now_ns += test_below(&seed, 200 * MS);
        fg_limit_table_try_take(&bucket.table, key << 32, key, now_ns, cost, &a);
        fg_limit_table_try_take(&gcra.table, key << 32, key, now_ns, cost, &b);
        assert_int_equal(a.allowed, b.allowed);
        assert_int_equal(a.remaining, b.remaining);
        assert_int_equal(a.wait_ns, b.wait_ns);
        assert_int_equal(a.reset_ns, b.reset_ns);
        if (!a.allowed || test_below(&seed, 4) > 0)
            continue;
        uint64_t more = test_below(&seed, 30);
        if (test_below(&seed, 2) == 0) {
            fg_limit_table_charge(&bucket.table, key << 32, key, now_ns, more);
            fg_limit_table_charge(&gcra.table, key << 32, key, now_ns, more);
        } else {
            fg_limit_table_give_back(&bucket.table, key << 32, key, now_ns, more);
            fg_limit_table_give_back(&gcra.table, key << 32, key, now_ns, more);
        }
    }
    free(bucket.memory);
    free(gcra.memory);
}

static void what_is_given_back_to_a_forgotten_key_is_nobodys(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ONE_SET, 1, 10);
    fg_limit_table_give_back(&f.table, UINT64_C(1) << 32, 1, 0, 5);
    assert_int_equal(f.table.keys.entries, 0);
    fg_limit_table_charge(&f.table, UINT64_C(1) << 32, 1, 0, 12); /* but what it owes is kept */
    assert_int_equal(f.table.keys.entries, 1);
    assert_false(take(&f, 1, 3 * S - 1, 1));
    assert_true(take(&f, 1, 3 * S, 1));
    free(f.memory);
}

static void what_can_never_pass_takes_no_place(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_limit_verdict v;
    set_up(&f, ONE_SET, 1, 10);
    assert_false(fg_limit_table_try_take(&f.table, 5, 5, 7, 11, &v));
    assert_true(v.wait_ns == UINT64_MAX);
    assert_int_equal(v.remaining, 10);
    assert_int_equal(v.reset_ns, 0);
    assert_int_equal(f.table.keys.entries, 0);
    free(f.memory);
    set_up(&f, ONE_SET, 1, 0); /* burst 0: a closed door, and no memory used for it */
    assert_false(take(&f, 1, YEAR, 1));
    assert_int_equal(f.table.keys.entries, 0);
    free(f.memory);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    assert_int_equal(fg_limit_table_bytes(SIZE_MAX), 0);
    assert_true(fg_limit_table_bytes(1) == fg_limit_table_bytes(8));
    assert_true(fg_limit_table_bytes(9) > fg_limit_table_bytes(8));
    assert_true(fg_limit_table_bytes(1000000) <= 41u * 1000000);
}

static void clocks_that_go_wrong_and_extremes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ONE_SET, UINT64_MAX, UINT32_MAX);
    assert_true(take(&f, 1, YEAR, UINT32_MAX));
    assert_false(take(&f, 1, 0, 1)); /* back a year: nothing is gained */
    assert_true(take(&f, 1, UINT64_MAX, UINT32_MAX));
    for (uint64_t key = 2; key < 40; key++)
        assert_true(take(&f, key, 5, 1)); /* eviction among entries from the future */
    assert_int_equal(f.table.keys.entries, 8);
    free(f.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_has_a_bucket_of_its_own),
        cmocka_unit_test(the_fullest_goes_and_then_the_oldest),
        cmocka_unit_test(without_a_rate_the_most_tokens_go),
        cmocka_unit_test(a_flood_of_keys_does_not_reset_a_drained_bucket),
        cmocka_unit_test(both_algorithms_decide_alike),
        cmocka_unit_test(what_is_given_back_to_a_forgotten_key_is_nobodys),
        cmocka_unit_test(what_can_never_pass_takes_no_place),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(clocks_that_go_wrong_and_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
