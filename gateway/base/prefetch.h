/*
 * prefetch.h: asks the caches for memory before it is needed.
 *
 * After the loop has slept, or others have had the core, what a request touches lies far away, and
 * each piece is found by the one before it: their times add up. What is asked for together comes
 * together, best while the kernel works for us.
 */
#ifndef FG_PREFETCH_H
#define FG_PREFETCH_H

#include <stddef.h>
#include <stdint.h>

#define FG_LINE_BYTES ((size_t)64)

/* Memory that will be written. It may lie anywhere: none of it is read. */
static inline void fg_prefetch(const void *memory, size_t bytes)
{
    uintptr_t first = (uintptr_t)memory;
    for (uintptr_t at = first; at < first + bytes; at += FG_LINE_BYTES)
        __builtin_prefetch((const void *)at, 1);
}

#endif
