/*
 * h2_block.h: header blocks, gathered out of HEADERS and what continues them.
 * Job      take the payloads of one block's frames until it is whole; what surrounds the fields
 *          (padding, a priority) is taken off; a frame that may not stand in between is told.
 * Thread   the owner's loop.
 * Memory   a block that came in one piece is read where it lies; another one is gathered in blocks
 *          of the loop's: a frame more than bytes_max.
 * Never    reads a field: that is the owner's, by backends/hpack_reader.h.
 * Source   RFC 9113 sections 4.3, 6.2 and 6.10.
 */
#ifndef FG_H2_BLOCK_H
#define FG_H2_BLOCK_H

#include "backends/h2_frame.h"
#include "base/block_pool.h"

struct fg_h2_block {
    struct fg_block_pool *pool;
    size_t bytes_max;

    int32_t stream_id;
    int32_t depends_on; /* 0: on no stream */
    uint8_t flags;      /* of HEADERS; END_HEADERS also of what continues it */
    bool is_open;       /* it has begun, and the frame that ends it is not there */
    bool is_first;      /* the present frame is HEADERS */
    bool is_in_frame;   /* `frame_left` bytes of it are to come */
    uint32_t frame_left;
    unsigned continuations;

    /* what has come and cannot be read yet */
    uint8_t *kept;
    size_t kept_len;
    size_t kept_room;
    size_t kept_from; /* where the present frame's payload begins */

    /* once it is whole, until it is dropped */
    const uint8_t *data;
    size_t len;
};

/* `pool` outlives it. */
void fg_h2_block_init(struct fg_h2_block *block, struct fg_block_pool *pool, size_t bytes_max);
/* Forgets what has come, so that the next block may. */
void fg_h2_block_drop(struct fg_h2_block *block);

/*
 * The frame is HEADERS, or a block is open. An error code of HTTP/2 that ends the connection, 0
 * when there is none.
 */
uint32_t fg_h2_block_begin_frame(struct fg_h2_block *block, const struct fg_h2_frame_head *hd);

enum fg_h2_block_found {
    FG_H2_BLOCK_PART,  /* the rest is to come */
    FG_H2_BLOCK_WHOLE, /* `data` and `len` are it */
    FG_H2_BLOCK_BAD,   /* the connection ends with `*code` */
    FG_H2_BLOCK_NO_MEMORY,
};
/* Takes what there is of the present frame's payload. */
enum fg_h2_block_found fg_h2_block_take(struct fg_h2_block *block, const uint8_t **at,
                                        const uint8_t *end, uint32_t *code);

/* Has a header block begun, and not ended? */
static inline bool fg_h2_block_is_begun(const struct fg_h2_block *block)
{
    return block->is_open || block->is_in_frame;
}

#endif
