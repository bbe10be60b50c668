/*
 * heap.h: give the system back what the C library's heap holds free.
 * Job      after a flood the heap is mostly holes, which the process goes on owning: whoever judges
 *          by resident memory (the overload policy does, and the kernel when memory is short) takes
 *          it for in use, and would never see the flood end.
 * Thread   one, of those that may be late by some milliseconds: never a loop that serves clients.
 *          Others that want memory meanwhile may wait for as long.
 */
#ifndef FG_BASE_HEAP_H
#define FG_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct fg_heap_watch {
    uint64_t looked_ns;
    int64_t held_bytes; /* resident, less the heap's blocks in use: the least since the last trim */
};

/*
 * Call every now and then. Looks once in two seconds; trims, and returns true, when the heap holds
 * much free and the process owns much more that is not in use than after the last time. A flood
 * that is trimmed while it lasts may end without another byte of growth: resident memory alone
 * would not show that.
 */
bool fg_heap_trim(struct fg_heap_watch *watch, uint64_t now_ns);

#endif
