/*
 * byte_chain.h: bytes on their way to a socket, in segments from a pool of one thread.
 * Thread   the event loop that owns the pool.
 * Memory   at most pool->segments_max x FG_CHAIN_SEGMENT_BYTES; made on demand, kept for reuse.
 */
#ifndef FG_PROXY_BYTE_CHAIN_H
#define FG_PROXY_BYTE_CHAIN_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define FG_CHAIN_SEGMENT_BYTES ((size_t)16384)

struct fg_chain_segment;

struct fg_chain_pool {
    struct fg_chain_segment *free;
    size_t segments_total;
    size_t segments_in_use;
    size_t segments_max;
};

/* Zeroed is empty. */
struct fg_byte_chain {
    struct fg_chain_segment *first;
    struct fg_chain_segment *last;
    size_t bytes;
};

void fg_chain_pool_init(struct fg_chain_pool *pool, size_t segments_max);
/* All segments are back. */
void fg_chain_pool_fini(struct fg_chain_pool *pool);

/* Copies. False when the pool's limit or the heap is reached: a part may have been appended. */
FG_MUST_USE bool fg_byte_chain_append(struct fg_byte_chain *chain, struct fg_chain_pool *pool,
                                      const void *data, size_t len);

/* The first bytes as at most `iov_max` pieces; returns how many it set. */
size_t fg_byte_chain_peek(const struct fg_byte_chain *chain, struct iovec *iov, size_t iov_max);

/* Drops the first `len` bytes, which are there. */
void fg_byte_chain_drop(struct fg_byte_chain *chain, struct fg_chain_pool *pool, size_t len);

#endif
