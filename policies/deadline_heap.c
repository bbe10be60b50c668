/*
 * deadline_heap.c: an intrusive pairing heap, earliest deadline at the root.
 * Job      find the next deadline of a queue, and take any entry out, without memory of its own.
 * Thread   the owner's.
 * Never    recurses: a long chain of children is folded in a loop.
 * Source   Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap" (Algorithmica 1986): push is
 *          constant, remove is O(log n) amortised (one removal can fold n children).
 *          A binary heap would need an array; a sorted list costs O(n) a push.
 */
#include "policies/deadline_heap.h"

#include <assert.h>
#include <stddef.h>

/* Two roots into one; on equal deadlines `a` stays on top. */
static struct fg_deadline_node *merge(struct fg_deadline_node *a, struct fg_deadline_node *b)
{
    if (b->deadline_ns < a->deadline_ns) {
        struct fg_deadline_node *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (a->child != NULL)
        a->child->prev = b;
    b->prev = a;
    a->child = b;
    a->next = NULL;
    a->prev = NULL;
    return a;
}

/* Siblings into one tree: merged two by two from the left, the results from the right. */
static struct fg_deadline_node *merge_siblings(struct fg_deadline_node *first)
{
    struct fg_deadline_node *pairs = NULL; /* chained by next, the last one first */
    while (first != NULL) {
        struct fg_deadline_node *a = first;
        struct fg_deadline_node *b = a->next;
        first = b == NULL ? NULL : b->next;
        a->next = NULL;
        a->prev = NULL;
        struct fg_deadline_node *pair = b == NULL ? a : merge(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct fg_deadline_node *root = NULL;
    while (pairs != NULL) {
        struct fg_deadline_node *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = root == NULL ? pair : merge(root, pair);
    }
    return root;
}

static void cut_from_siblings(struct fg_deadline_node *node)
{
    if (node->prev->child == node)
        node->prev->child = node->next;
    else
        node->prev->next = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
}

void fg_deadline_heap_push(struct fg_deadline_heap *heap, struct fg_deadline_node *node,
                           uint64_t deadline_ns)
{
    *node = (struct fg_deadline_node){.deadline_ns = deadline_ns};
    heap->root = heap->root == NULL ? node : merge(heap->root, node);
}

void fg_deadline_heap_remove(struct fg_deadline_heap *heap, struct fg_deadline_node *node)
{
    struct fg_deadline_node *below = merge_siblings(node->child);
    if (node == heap->root) {
        heap->root = below;
    } else {
        assert(node->prev != NULL);
        cut_from_siblings(node);
        if (below != NULL)
            heap->root = merge(heap->root, below);
    }
    *node = (struct fg_deadline_node){.deadline_ns = node->deadline_ns};
}
