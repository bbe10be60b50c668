/*
 * byte_queue.h: bytes waiting to go on, in a chain of equal segments from the loop's pool.
 * Job      append by copy or by reference at the end, take from the front; an empty queue holds no
 *          memory.
 * Thread   the loop's.
 * Memory   segments of 16 KiB; a pool keeps up to keep_max free ones for reuse, the heap gets the
 * rest. How much may wait is for the owner of a queue to bound.
 */
#ifndef FG_BASE_BYTE_QUEUE_H
#define FG_BASE_BYTE_QUEUE_H

#include "base/span.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define FG_SEGMENT_BYTES ((size_t)16384) /* with its header */

struct fg_segment {
    struct fg_segment *next;
    unsigned begin; /* first byte not taken */
    unsigned end;   /* behind the last byte put in */
    /* bytes that somebody else owns stand in for those in `data`; NULL: none do */
    const char *shared;
    void (*release)(void *owner); /* or NULL */
    void *owner;
    char data[];
};

struct fg_segment_pool {
    struct fg_segment *free;
    size_t free_count;
    size_t keep_max;
    size_t in_use;
};

struct fg_byte_queue {
    struct fg_segment *first;
    struct fg_segment *last;
    size_t len;
};

void fg_segment_pool_init(struct fg_segment_pool *pool, size_t keep_max);
/* No queue may hold a segment of it any more. */
void fg_segment_pool_fini(struct fg_segment_pool *pool);

/* Copies all of `data`; false when the heap is used up, and then nothing was appended. */
FG_MUST_USE bool fg_byte_queue_append(struct fg_byte_queue *queue, struct fg_segment_pool *pool,
                                      const void *data, size_t len);

/*
 * The same by reference: `data` must stay until `release(owner)`, which is called once, also when
 * false is returned; where `release` is NULL, until the queue has no more of it. At most UINT_MAX
 * bytes.
 */
FG_MUST_USE bool fg_byte_queue_append_shared(struct fg_byte_queue *queue,
                                             struct fg_segment_pool *pool, const char *data,
                                             size_t len, void (*release)(void *owner), void *owner);

/*
 * A place for `len` bytes (at most 1024) at the end of the queue, to be filled and then counted
 * with fg_byte_queue_commit before anything else is done to the queue. NULL when the heap is used
 * up.
 */
char *fg_byte_queue_reserve(struct fg_byte_queue *queue, struct fg_segment_pool *pool, size_t len);
void fg_byte_queue_commit(struct fg_byte_queue *queue, size_t len);

/* The first run of bytes, without taking it; empty when the queue is. */
struct fg_span fg_byte_queue_front(const struct fg_byte_queue *queue);
/* The first runs of bytes as at most `iov_max` pieces for writev; returns how many it set. */
size_t fg_byte_queue_peek(const struct fg_byte_queue *queue, struct iovec *iov, size_t iov_max);
/* Forget `len` bytes at the front; at most queue->len. */
void fg_byte_queue_drop(struct fg_byte_queue *queue, struct fg_segment_pool *pool, size_t len);
/* Move up to `room` bytes from the front to `to`; returns how many. */
size_t fg_byte_queue_take(struct fg_byte_queue *queue, struct fg_segment_pool *pool, void *to,
                          size_t room);
/* Moves all of `rest` behind `queue`; both of one pool. */
void fg_byte_queue_join(struct fg_byte_queue *queue, struct fg_byte_queue *rest);
void fg_byte_queue_clear(struct fg_byte_queue *queue, struct fg_segment_pool *pool);

#endif
