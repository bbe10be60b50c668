/*
 * kv_peak.c: for each moment at which a sequence ends, what all that are left hold then.
 */
#include "inference/kv/kv_peak.h"

#include "inference/kv/kv_layout.h"

#include <stdlib.h>

static int by_remaining(const void *a, const void *b)
{
    uint32_t left = ((const struct fg_kv_demand *)a)->remaining;
    uint32_t right = ((const struct fg_kv_demand *)b)->remaining;
    return left < right ? -1 : left > right;
}

/* Its own blocks once it has `more` tokens more. */
static uint64_t own_after(const struct fg_kv_demand *demand, uint32_t more)
{
    uint64_t tokens = (uint64_t)demand->tokens + more;
    uint64_t blocks = (tokens + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS;
    uint64_t grown = blocks > demand->blocks ? blocks - demand->blocks : 0;
    return demand->blocks_own + grown;
}

uint64_t fg_kv_peak(struct fg_kv_demand *demands, uint32_t count, uint64_t blocks_shared)
{
    uint64_t peak = blocks_shared;
    if (count > 0)
        qsort(demands, count, sizeof(*demands), by_remaining);
    for (uint32_t ends = 0; ends < count; ends++) {
        if (ends + 1 < count && demands[ends + 1].remaining == demands[ends].remaining)
            continue; /* they end together: the first of them counts all */
        uint64_t need = blocks_shared;
        uint32_t first = ends;
        while (first > 0 && demands[first - 1].remaining == demands[ends].remaining)
            first--;
        for (uint32_t i = first; i < count; i++)
            need += own_after(&demands[i], demands[ends].remaining);
        peak = need > peak ? need : peak;
    }
    return peak;
}
