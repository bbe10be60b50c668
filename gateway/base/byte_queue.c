/*
 * byte_queue.c: a singly linked chain of segments.
 *
 *    first --> [taken|bytes] --> [bytes] --> last: [bytes|room]
 */
#include "base/byte_queue.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#define SEGMENT_ROOM ((unsigned)(FG_SEGMENT_BYTES - sizeof(struct fg_segment)))
#define RESERVE_MAX ((size_t)1024)

void fg_segment_pool_init(struct fg_segment_pool *pool, size_t keep_max)
{
    *pool = (struct fg_segment_pool){.keep_max = keep_max};
}

void fg_segment_pool_fini(struct fg_segment_pool *pool)
{
    assert(pool->in_use == 0);
    while (pool->free != NULL) {
        struct fg_segment *segment = pool->free;
        pool->free = segment->next;
        free(segment);
    }
    pool->free_count = 0;
}

static struct fg_segment *take_segment(struct fg_segment_pool *pool)
{
    struct fg_segment *segment = pool->free;
    if (segment != NULL) {
        pool->free = segment->next;
        pool->free_count--;
    } else {
        segment = malloc(FG_SEGMENT_BYTES);
        if (segment == NULL)
            return NULL;
    }
    pool->in_use++;
    segment->next = NULL;
    segment->begin = 0;
    segment->end = 0;
    segment->shared = NULL;
    return segment;
}

static void let_go(void (*release)(void *owner), void *owner)
{
    if (release != NULL)
        release(owner);
}

static void give_segment(struct fg_segment_pool *pool, struct fg_segment *segment)
{
    if (segment->shared != NULL)
        let_go(segment->release, segment->owner);
    pool->in_use--;
    if (pool->free_count >= pool->keep_max) {
        free(segment);
        return;
    }
    segment->next = pool->free;
    pool->free = segment;
    pool->free_count++;
}

static void link_segment(struct fg_byte_queue *queue, struct fg_segment *segment)
{
    if (queue->last == NULL)
        queue->first = segment;
    else
        queue->last->next = segment;
    queue->last = segment;
}

/* As many fresh segments as `len` bytes need behind the room that is left; all or none. */
static bool take_chain(struct fg_segment_pool *pool, size_t len, struct fg_segment **chain)
{
    *chain = NULL;
    for (size_t covered = 0; covered < len; covered += SEGMENT_ROOM) {
        struct fg_segment *segment = take_segment(pool);
        if (segment == NULL) {
            while (*chain != NULL) {
                segment = *chain;
                *chain = segment->next;
                give_segment(pool, segment);
            }
            return false;
        }
        segment->next = *chain;
        *chain = segment;
    }
    return true;
}

/* What may still be put into the queue's last segment. */
static size_t room_of(const struct fg_segment *segment)
{
    return segment == NULL || segment->shared != NULL ? 0 : SEGMENT_ROOM - segment->end;
}

static const char *bytes_of(const struct fg_segment *segment)
{
    return (segment->shared != NULL ? segment->shared : segment->data) + segment->begin;
}

static size_t put(struct fg_segment *segment, const char *data, size_t len)
{
    size_t room = SEGMENT_ROOM - segment->end;
    size_t part = len < room ? len : room;
    memcpy(segment->data + segment->end, data, part);
    segment->end += (unsigned)part;
    return part;
}

bool fg_byte_queue_append(struct fg_byte_queue *queue, struct fg_segment_pool *pool,
                          const void *data, size_t len)
{
    const char *at = data;
    if (len == 0)
        return true;
    size_t room = room_of(queue->last);
    struct fg_segment *chain = NULL;
    if (len > room && !take_chain(pool, len - room, &chain))
        return false;
    queue->len += len;
    if (room > 0) {
        size_t part = put(queue->last, at, len);
        at += part;
        len -= part;
    }
    while (len > 0) {
        struct fg_segment *segment = chain;
        chain = segment->next;
        segment->next = NULL;
        link_segment(queue, segment);
        size_t part = put(segment, at, len);
        at += part;
        len -= part;
    }
    return true;
}

bool fg_byte_queue_append_shared(struct fg_byte_queue *queue, struct fg_segment_pool *pool,
                                 const char *data, size_t len, void (*release)(void *owner),
                                 void *owner)
{
    assert(len <= UINT_MAX);
    struct fg_segment *segment = len == 0 ? NULL : take_segment(pool);
    if (segment == NULL) {
        let_go(release, owner);
        return len == 0;
    }
    segment->shared = data;
    segment->end = (unsigned)len;
    segment->release = release;
    segment->owner = owner;
    link_segment(queue, segment);
    queue->len += len;
    return true;
}

char *fg_byte_queue_reserve(struct fg_byte_queue *queue, struct fg_segment_pool *pool, size_t len)
{
    assert(len <= RESERVE_MAX);
    if (room_of(queue->last) < len || queue->last == NULL) {
        struct fg_segment *segment = take_segment(pool);
        if (segment == NULL)
            return NULL;
        link_segment(queue, segment);
    }
    return queue->last->data + queue->last->end;
}

void fg_byte_queue_commit(struct fg_byte_queue *queue, size_t len)
{
    assert(room_of(queue->last) >= len);
    queue->last->end += (unsigned)len;
    queue->len += len;
}

/* Gives the first segment back; what was reserved and never filled goes with it. */
static void drop_first(struct fg_byte_queue *queue, struct fg_segment_pool *pool)
{
    struct fg_segment *segment = queue->first;
    queue->first = segment->next;
    if (queue->first == NULL)
        queue->last = NULL;
    give_segment(pool, segment);
}

struct fg_span fg_byte_queue_front(const struct fg_byte_queue *queue)
{
    /* A segment that was reserved and not used may stand empty before the one with the bytes. */
    for (const struct fg_segment *it = queue->first; it != NULL; it = it->next) {
        if (it->end > it->begin)
            return fg_span_make(bytes_of(it), it->end - it->begin);
    }
    return (struct fg_span){NULL, 0};
}

size_t fg_byte_queue_peek(const struct fg_byte_queue *queue, struct iovec *iov, size_t iov_max)
{
    size_t count = 0;
    for (struct fg_segment *it = queue->first; it != NULL && count < iov_max; it = it->next) {
        iov[count].iov_base = (void *)(uintptr_t)bytes_of(it);
        iov[count].iov_len = it->end - it->begin;
        count++;
    }
    return count;
}

void fg_byte_queue_drop(struct fg_byte_queue *queue, struct fg_segment_pool *pool, size_t len)
{
    assert(len <= queue->len);
    queue->len -= len;
    while (len > 0) {
        struct fg_segment *segment = queue->first;
        size_t have = segment->end - segment->begin;
        size_t part = len < have ? len : have;
        segment->begin += (unsigned)part;
        len -= part;
        if (segment->begin == segment->end)
            drop_first(queue, pool);
    }
    if (queue->len == 0)
        fg_byte_queue_clear(queue, pool);
}

size_t fg_byte_queue_take(struct fg_byte_queue *queue, struct fg_segment_pool *pool, void *to,
                          size_t room)
{
    char *at = to;
    while (room > 0 && queue->len > 0) {
        struct fg_span front = fg_byte_queue_front(queue);
        size_t part = front.len < room ? front.len : room;
        memcpy(at, front.data, part);
        fg_byte_queue_drop(queue, pool, part);
        at += part;
        room -= part;
    }
    return (size_t)(at - (char *)to);
}

void fg_byte_queue_join(struct fg_byte_queue *queue, struct fg_byte_queue *rest)
{
    if (rest->first == NULL)
        return;
    if (queue->last == NULL)
        queue->first = rest->first;
    else
        queue->last->next = rest->first;
    queue->last = rest->last;
    queue->len += rest->len;
    *rest = (struct fg_byte_queue){0};
}

void fg_byte_queue_clear(struct fg_byte_queue *queue, struct fg_segment_pool *pool)
{
    while (queue->first != NULL)
        drop_first(queue, pool);
    queue->len = 0;
}
