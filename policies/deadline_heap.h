/*
 * deadline_heap.h: which of many waiting objects runs out of time first, without any memory.
 * Thread   the owner's. Nodes are embedded in the caller's objects.
 */
#ifndef FG_POLICIES_DEADLINE_HEAP_H
#define FG_POLICIES_DEADLINE_HEAP_H

#include <stdint.h>

struct fg_deadline_node {
    struct fg_deadline_node *child; /* first of those that are due later */
    struct fg_deadline_node *next;  /* sibling */
    struct fg_deadline_node
        *prev; /* sibling before, or parent of a first child; NULL at the root */
    uint64_t deadline_ns;
};

/* Zeroed is empty. */
struct fg_deadline_heap {
    struct fg_deadline_node *root; /* the earliest, or NULL */
};

void fg_deadline_heap_push(struct fg_deadline_heap *heap, struct fg_deadline_node *node,
                           uint64_t deadline_ns);

/* `node` must be in `heap`. */
void fg_deadline_heap_remove(struct fg_deadline_heap *heap, struct fg_deadline_node *node);

#endif
