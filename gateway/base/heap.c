/*
 * heap.c: see heap.h. With another C library than glibc there is nothing to ask, and nothing is
 * done.
 */
#include "base/heap.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define PAUSE_NS (2 * FG_S)
#define WORTH_BYTES (16 << 20)

#ifdef __GLIBC__
static size_t resident_bytes(void)
{
    size_t size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%zu %zu", &size, &resident) != 2)
        resident = 0;
    (void)fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Below zero where large blocks have not been written to yet. */
static int64_t held_bytes(const struct mallinfo2 *heap)
{
    return (int64_t)resident_bytes() - (int64_t)(heap->uordblks + heap->hblkhd);
}
#endif

bool fg_heap_trim(struct fg_heap_watch *watch, uint64_t now_ns)
{
    if (now_ns - watch->looked_ns < PAUSE_NS)
        return false;
    watch->looked_ns = now_ns;
#ifdef __GLIBC__
    struct mallinfo2 heap = mallinfo2();
    int64_t held = held_bytes(&heap);
    if (held < watch->held_bytes)
        watch->held_bytes = held;
    if (held - watch->held_bytes < WORTH_BYTES || heap.fordblks < WORTH_BYTES)
        return false;
    (void)malloc_trim(0);
    heap = mallinfo2();
    watch->held_bytes = held_bytes(&heap);
    return true;
#else
    return false;
#endif
}
