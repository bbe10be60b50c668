/*
 * byte_chain.c: a singly linked list of equal segments, filled at the end and emptied at the front.
 */
#include "byte_chain.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct fg_chain_segment {
    struct fg_chain_segment *next;
    uint32_t begin;
    uint32_t end;
    char bytes[];
};

#define ROOM ((uint32_t)(FG_CHAIN_SEGMENT_BYTES - sizeof(struct fg_chain_segment)))

void fg_chain_pool_init(struct fg_chain_pool *pool, size_t segments_max)
{
    *pool = (struct fg_chain_pool){.segments_max = segments_max};
}

void fg_chain_pool_fini(struct fg_chain_pool *pool)
{
    assert(pool->segments_in_use == 0);
    while (pool->free != NULL) {
        struct fg_chain_segment *segment = pool->free;
        pool->free = segment->next;
        free(segment);
    }
    pool->segments_total = 0;
}

static struct fg_chain_segment *take(struct fg_chain_pool *pool)
{
    struct fg_chain_segment *segment = pool->free;
    if (segment != NULL) {
        pool->free = segment->next;
    } else {
        if (pool->segments_total >= pool->segments_max)
            return NULL;
        segment = malloc(FG_CHAIN_SEGMENT_BYTES);
        if (segment == NULL)
            return NULL;
        pool->segments_total++;
    }
    pool->segments_in_use++;
    segment->next = NULL;
    segment->begin = 0;
    segment->end = 0;
    return segment;
}

bool fg_byte_chain_append(struct fg_byte_chain *chain, struct fg_chain_pool *pool, const void *data,
                          size_t len)
{
    const char *from = data;
    while (len > 0) {
        struct fg_chain_segment *last = chain->last;
        if (last == NULL || last->end == ROOM) {
            last = take(pool);
            if (last == NULL)
                return false;
            if (chain->last == NULL)
                chain->first = last;
            else
                chain->last->next = last;
            chain->last = last;
        }
        uint32_t room = ROOM - last->end;
        uint32_t part = len < room ? (uint32_t)len : room;
        memcpy(last->bytes + last->end, from, part);
        last->end += part;
        chain->bytes += part;
        from += part;
        len -= part;
    }
    return true;
}

size_t fg_byte_chain_peek(const struct fg_byte_chain *chain, struct iovec *iov, size_t iov_max)
{
    size_t count = 0;
    for (struct fg_chain_segment *it = chain->first; it != NULL && count < iov_max; it = it->next) {
        iov[count].iov_base = it->bytes + it->begin;
        iov[count].iov_len = it->end - it->begin;
        count++;
    }
    return count;
}

void fg_byte_chain_drop(struct fg_byte_chain *chain, struct fg_chain_pool *pool, size_t len)
{
    assert(len <= chain->bytes);
    chain->bytes -= len;
    while (chain->first != NULL) {
        struct fg_chain_segment *first = chain->first;
        size_t held = first->end - first->begin;
        if (len < held) {
            first->begin += (uint32_t)len;
            return;
        }
        len -= held;
        chain->first = first->next;
        if (chain->first == NULL)
            chain->last = NULL;
        first->next = pool->free;
        pool->free = first;
        pool->segments_in_use--;
    }
}
