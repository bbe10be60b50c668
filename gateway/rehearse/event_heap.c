/*
 * event_heap.c: a heap with four children a node: half as deep as a binary one, and the four stand
 * in one cache line.
 */
#include "rehearse/event_heap.h"

#include <assert.h>
#include <stdlib.h>

#define CHILDREN 4
#define CAPACITY_FIRST 1024

static bool is_before(const struct fg_event *a, const struct fg_event *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && (int32_t)(a->order - b->order) < 0);
}

static bool grow(struct fg_event_heap *heap)
{
    size_t capacity = heap->capacity == 0 ? CAPACITY_FIRST : heap->capacity * 2;
    struct fg_event *events = reallocarray(heap->events, capacity, sizeof(*events));
    if (events == NULL) {
        heap->is_exhausted = true;
        return false;
    }
    heap->events = events;
    heap->capacity = capacity;
    return true;
}

void fg_event_heap_add(struct fg_event_heap *heap, uint64_t at_ns, uint32_t kind, uint32_t index)
{
    assert(kind < 16 && index <= FG_EVENT_INDEX_MAX);
    if (heap->count == heap->capacity && !grow(heap))
        return;
    struct fg_event event = {at_ns, heap->next_order++, kind << FG_EVENT_INDEX_BITS | index};
    size_t at = heap->count++;
    while (at > 0) {
        size_t parent = (at - 1) / CHILDREN;
        if (!is_before(&event, &heap->events[parent]))
            break;
        heap->events[at] = heap->events[parent];
        at = parent;
    }
    heap->events[at] = event;
}

bool fg_event_heap_take(struct fg_event_heap *heap, struct fg_event *event)
{
    if (heap->count == 0)
        return false;
    *event = heap->events[0];
    struct fg_event last = heap->events[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = at * CHILDREN + 1;
        size_t end = child + CHILDREN < heap->count ? child + CHILDREN : heap->count;
        if (child >= end)
            break;
        size_t best = child;
        for (child++; child < end; child++) {
            if (is_before(&heap->events[child], &heap->events[best]))
                best = child;
        }
        if (!is_before(&heap->events[best], &last))
            break;
        heap->events[at] = heap->events[best];
        at = best;
    }
    if (heap->count > 0)
        heap->events[at] = last;
    return true;
}

void fg_event_heap_fini(struct fg_event_heap *heap)
{
    free(heap->events);
    *heap = (struct fg_event_heap){0};
}
