/*
 * event_heap.h: what happens next: events in the order of their time, those of one moment in the
 * order in which they were added, so that a run depends on nothing but its seed.
 * Thread   one owner.
 * Memory   16 bytes an event; grows by doubling. Without memory an event is lost and is_exhausted
 *          says so: the run cannot be trusted and is given up.
 */
#ifndef FG_REHEARSE_EVENT_HEAP_H
#define FG_REHEARSE_EVENT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_EVENT_INDEX_BITS 28
#define FG_EVENT_INDEX_MAX ((UINT32_C(1) << FG_EVENT_INDEX_BITS) - 1)

struct fg_event {
    uint64_t at_ns;
    uint32_t order; /* wraps; compared by difference */
    uint32_t what;  /* kind and index */
};

struct fg_event_heap {
    struct fg_event *events;
    size_t count;
    size_t capacity;
    uint32_t next_order;
    bool is_exhausted;
};

static inline uint32_t fg_event_kind(const struct fg_event *event)
{
    return event->what >> FG_EVENT_INDEX_BITS;
}

static inline uint32_t fg_event_index(const struct fg_event *event)
{
    return event->what & FG_EVENT_INDEX_MAX;
}

/* `kind` below 16, `index` up to FG_EVENT_INDEX_MAX. A zeroed heap is empty. */
void fg_event_heap_add(struct fg_event_heap *heap, uint64_t at_ns, uint32_t kind, uint32_t index);

/* Takes the earliest out. False when there is none. */
bool fg_event_heap_take(struct fg_event_heap *heap, struct fg_event *event);

void fg_event_heap_fini(struct fg_event_heap *heap);

#endif
