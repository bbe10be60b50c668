/*
 * test_deadline_heap.c: the root is always the earliest, whatever is pushed and removed.
 */
#include "policies/deadline_heap.h"
#include "policy_test.h"

#define NODES 500

static void one_node_and_none(void **state)
{
    (void)state;
    struct fg_deadline_heap heap = {0};
    struct fg_deadline_node node;
    fg_deadline_heap_push(&heap, &node, UINT64_MAX);
    assert_ptr_equal(heap.root, &node);
    fg_deadline_heap_remove(&heap, &node);
    assert_null(heap.root);
}

static void comes_out_sorted(void **state)
{
    (void)state;
    static struct fg_deadline_node nodes[NODES];
    uint64_t seed = test_seed(2);
    struct fg_deadline_heap heap = {0};
    for (size_t i = 0; i < NODES; i++)
        fg_deadline_heap_push(&heap, &nodes[i], test_below(&seed, 100)); /* many are equal */
    uint64_t last_ns = 0;
    for (size_t i = 0; i < NODES; i++) {
        assert_non_null(heap.root);
        assert_true(heap.root->deadline_ns >= last_ns);
        last_ns = heap.root->deadline_ns;
        fg_deadline_heap_remove(&heap, heap.root);
    }
    assert_null(heap.root);
}

static void agrees_with_a_plain_search(void **state)
{
    (void)state;
    static struct fg_deadline_node nodes[NODES];
    static bool is_in[NODES];
    uint64_t seed = test_seed(4);
    struct fg_deadline_heap heap = {0};
    for (int step = 0; step < 20000; step++) {
        size_t i = (size_t)test_below(&seed, NODES);
        if (is_in[i])
            fg_deadline_heap_remove(&heap, &nodes[i]);
        else
            fg_deadline_heap_push(&heap, &nodes[i], test_random(&seed));
        is_in[i] = !is_in[i];
        uint64_t least_ns = UINT64_MAX;
        bool is_any = false;
        for (size_t k = 0; k < NODES; k++) {
            is_any |= is_in[k];
            if (is_in[k] && nodes[k].deadline_ns < least_ns)
                least_ns = nodes[k].deadline_ns;
        }
        assert_int_equal(heap.root != NULL, is_any);
        assert_true(!is_any || heap.root->deadline_ns == least_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node_and_none),
        cmocka_unit_test(comes_out_sorted),
        cmocka_unit_test(agrees_with_a_plain_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
