/*
 * test_key_table.c: keys are found again, the worst one of a full set goes, and nothing else does.
 */
#include "policies/key_table.h"
#include "policy_test.h"

#include <sys/mman.h>

struct entry {
    struct fg_key_entry key;
    uint64_t worth;
};

static bool is_worth_less(const void *context, const struct fg_key_entry *a,
                          const struct fg_key_entry *b, uint64_t now_ns)
{
    (void)now_ns;
    assert_ptr_equal(context, "context");
    return ((const struct entry *)a)->worth < ((const struct entry *)b)->worth;
}

static void *set_up(struct fg_key_table *table, size_t capacity)
{
    size_t bytes = fg_key_table_bytes(capacity, sizeof(struct entry));
    char *memory = calloc(1, bytes);
    assert_non_null(memory);
    fg_key_table_init(table, memory, bytes, capacity, sizeof(struct entry), is_worth_less,
                      "context");
    return memory;
}

static struct entry *find(const struct fg_key_table *table, uint64_t hi, uint64_t lo)
{
    return (struct entry *)fg_key_table_find(table, hi, lo);
}

static struct entry *insert(struct fg_key_table *table, uint64_t hi, uint64_t lo, uint64_t worth)
{
    struct entry *entry = (struct entry *)fg_key_table_insert(table, hi, lo, 0);
    entry->worth = worth;
    return entry;
}

static void keys_are_found_again(void **state)
{
    (void)state;
    struct fg_key_table table;
    void *memory = set_up(&table, 1000);
    uint64_t seed = test_seed(9);
    uint64_t keys[100][2];
    for (size_t i = 0; i < 100; i++) {
        keys[i][0] = test_random(&seed);
        keys[i][1] = test_random(&seed);
        assert_null(find(&table, keys[i][0], keys[i][1]));
        insert(&table, keys[i][0], keys[i][1], i);
    }
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(find(&table, keys[i][0], keys[i][1])->worth, i);
        assert_null(find(&table, keys[i][0], keys[i][1] + 1));
        assert_null(find(&table, keys[i][0] + 1, keys[i][1]));
    }
    assert_int_equal(table.entries, 100);
    assert_int_equal(table.evictions, 0);
    free(memory);
}

static void zeros_are_keys_too(void **state)
{
    (void)state;
    struct fg_key_table table;
    void *memory = set_up(&table, 8);
    assert_null(find(&table, 0, 0));
    insert(&table, 0, 0, 7);
    assert_int_equal(find(&table, 0, 0)->worth, 7);
    insert(&table, 1, 0, 8);
    assert_int_equal(find(&table, 1, 0)->worth, 8);
    assert_int_equal(table.entries, 2);
    free(memory);
}

static void the_worst_of_a_full_set_goes(void **state)
{
    (void)state;
    struct fg_key_table table;
    void *memory = set_up(&table, 8);
    for (uint64_t i = 1; i <= 8; i++)
        insert(&table, i, i, i == 5 ? 1 : 10 + i);
    insert(&table, 9, 9, 100);
    assert_null(find(&table, 5, 5));
    insert(&table, 10, 10, 100);
    assert_null(find(&table, 1, 1));
    assert_non_null(find(&table, 2, 2));
    assert_int_equal(table.entries, 8);
    assert_int_equal(table.evictions, 2);
    free(memory);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    assert_int_equal(fg_key_table_bytes(SIZE_MAX, 32), 0);
    assert_int_equal(fg_key_table_bytes(8, 16), 192 + 63); /* whole cache lines */
    assert_int_equal(fg_key_table_bytes(1, 32), fg_key_table_bytes(8, 32));
}

/* A limit of a hundred million keys is there at once, and costs what is in it. */
static void a_table_is_not_touched_before_it_is_used(void **state)
{
    (void)state;
    struct fg_key_table table;
    size_t capacity = 100000000;
    size_t bytes = fg_key_table_bytes(capacity, sizeof(struct entry));
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    fg_key_table_init(&table, memory, bytes, capacity, sizeof(struct entry), is_worth_less,
                      "context");
    assert_null(find(&table, UINT64_MAX, 1));
    assert_int_equal(table.entries, 0);
    assert_int_equal(munmap(memory, bytes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_again),
        cmocka_unit_test(zeros_are_keys_too),
        cmocka_unit_test(the_worst_of_a_full_set_goes),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(a_table_is_not_touched_before_it_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
