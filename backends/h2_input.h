/*
 * h2_input.h: what the other side of an HTTP/2 connection says, on its way to nghttp2's session.
 *    h2_input.c     frames: their heads are shown to the owner before the session sees them
 *    h2_block.c     header blocks: the session gets empty ones in their place
 * Job      tell frames apart; gather HEADERS and its CONTINUATIONs until the block is whole; see to
 *          it that every block is read, whether or not the session wants the stream, for the table
 *          of fields must stay in step. The order of frames and the states of streams stay the
 *          session's business.
 * Thread   the owner's loop.
 * Memory   a block that came in one piece is read where it lies; another one is gathered in blocks
 *          of the loop's: a frame more than block_bytes_max.
 * Never    reads a field: that is the owner's, by backends/hpack_reader.h.
 * Source   RFC 9113 sections 4 and 6.
 *
 *    bytes --> head of a frame --> on_frame --> HEADERS, CONTINUATION ... --> whole --> session:
 *                                    |            on_begin_headers --> the owner reads the block
 *                                    |            `-- refused, late, past GOAWAY --> on_unread
 *                                    `--> other frames --> session, many in one call
 */
#ifndef FG_H2_INPUT_H
#define FG_H2_INPUT_H

#include "base/block_pool.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

#define FG_H2_FRAME_HEAD ((size_t)9)
#define FG_H2_FRAME_BYTES ((size_t)16384) /* of content; we allow no more */
#define FG_H2_DEPENDENCY ((size_t)4)      /* what a PRIORITY's payload begins with */
#define FG_H2_PRIORITY_BYTES ((size_t)5)  /* and what it is, by itself and in HEADERS */
#define FG_H2_BOMB_HEADS 4u               /* so many of the largest head in one head are none */

struct fg_h2_frame_head {
    uint32_t length;
    uint8_t type;
    uint8_t flags;
    int32_t stream_id;
    int32_t depends_on; /* of a PRIORITY of the right length */
};

/* Where in the other side's bytes the next frame begins. */
struct fg_h2_scan {
    size_t skip; /* bytes of the preface, or of the present frame's payload */
    size_t head_len;
    uint8_t head[FG_H2_FRAME_HEAD + FG_H2_DEPENDENCY]; /* the second part of a PRIORITY alone */
};

/* A header block on its way in. */
struct fg_h2_block {
    int32_t stream_id;
    uint8_t flags; /* of HEADERS; END_HEADERS also of what continues it */
    uint8_t priority[FG_H2_PRIORITY_BYTES];
    bool is_open;     /* it has begun, and the frame that ends it is not there */
    bool is_first;    /* the present frame is HEADERS */
    bool is_in_frame; /* `frame_left` bytes of it are to come */
    uint32_t frame_left;
    unsigned continuations;

    /* what has come and cannot be read yet */
    uint8_t *kept;
    size_t kept_len;
    size_t kept_room;
    size_t kept_from; /* where the present frame's payload begins */

    /* once it is whole */
    const uint8_t *data;
    size_t len;
    bool is_unread;     /* the owner clears it */
    bool has_bad_table; /* and says so when what was read cannot be: the connection ends */
};

struct fg_h2_input;

/* Each returns 0, or an error of nghttp2's: the connection can go on no more. */
struct fg_h2_input_ops {
    /*
     * The head of a frame is there. What came before it the session may not have seen before
     * fg_h2_input_catch_up. It may end the session.
     */
    int (*on_frame)(struct fg_h2_input *input, const struct fg_h2_frame_head *hd);
    /* Of the block that is there the session wants nothing; it is to be read all the same. */
    int (*on_unread)(struct fg_h2_input *input);
};

struct fg_h2_input {
    /* the owner's, who sets these */
    const struct fg_h2_input_ops *ops;
    nghttp2_session *session;
    struct fg_block_pool *pool;
    size_t block_bytes_max;

    struct fg_h2_scan scan;
    struct fg_h2_block block;
    bool is_deaf; /* the session is to send its last, and hears no more */

    /* while an input is taken */
    const uint8_t *given; /* the session has all that is before */
    const uint8_t *begin; /* of the present frame, as far as it lies in this input */
};

/*
 * Zeroed otherwise. `skip` bytes before the first frame are the session's. The rest outlives it;
 * `session` may be set later.
 */
void fg_h2_input_init(struct fg_h2_input *input, const struct fg_h2_input_ops *ops,
                      struct fg_block_pool *pool, size_t block_bytes_max, size_t skip);
void fg_h2_input_fini(struct fg_h2_input *input);

/*
 * nghttp2_session_mem_recv behind a look at each frame's head. 0, or an error of the owner's or the
 * session's, among them NGHTTP2_ERR_FLOODED and NGHTTP2_ERR_TOO_MANY_CONTINUATIONS for blocks.
 */
int fg_h2_input_take(struct fg_h2_input *input, const uint8_t *data, size_t len);

/* The session is to see what came before the present frame. The same. */
int fg_h2_input_catch_up(struct fg_h2_input *input);
/* The session reads no more, as when it finds such an error itself. The same. */
int fg_h2_input_end(struct fg_h2_input *input, uint32_t error_code);

/* Has a header block begun, and not ended? */
static inline bool fg_h2_input_is_in_head(const struct fg_h2_input *input)
{
    return input->block.is_open || input->block.is_in_frame;
}

/* ---- h2_block.c, for h2_input.c ---- */

/* The frame is HEADERS, or there must be CONTINUATION. */
int fg_h2_block_begin_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd);
/* Takes what there is of the frame's payload. */
int fg_h2_block_take(struct fg_h2_input *input, const uint8_t **at, const uint8_t *end);
void fg_h2_block_drop(struct fg_h2_input *input);
/* These bytes, for the session. */
int fg_h2_input_give(struct fg_h2_input *input, const uint8_t *from, const uint8_t *to);

/* ---- streams that we have reset ---- */

#define FG_H2_RESETS_NOTED ((size_t)32)

/* What comes for one was on its way, and is ignored (RFC 9113 section 5.1). Zeroed: none. */
struct fg_h2_resets {
    int32_t ids[FG_H2_RESETS_NOTED]; /* newest over oldest */
    size_t count;
};

static inline void fg_h2_resets_note(struct fg_h2_resets *resets, int32_t id)
{
    resets->ids[resets->count++ % FG_H2_RESETS_NOTED] = id;
}

/* Where too many were to be noted, that is taken for true. */
static inline bool fg_h2_resets_may_have(const struct fg_h2_resets *resets, int32_t id)
{
    for (size_t i = 0; i < FG_H2_RESETS_NOTED; i++) {
        if (resets->ids[i] == id)
            return true;
    }
    return resets->count > FG_H2_RESETS_NOTED;
}

#endif
