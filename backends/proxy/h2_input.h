/*
 * h2_input.h: what a server says over HTTP/2, on its way to nghttp2's session.
 * Job      tell frames apart; show their heads to h2_watch.c before the session sees them; keep
 *          header blocks from the session, which gets empty ones in their place; see to it that
 *          every block is read, whether or not the session wants the stream, for the table of
 *          fields must stay in step. The order of frames and the states of streams stay the
 *          session's business.
 * Thread   the owner's loop.
 * Memory   a header block on its way in: backends/h2_block.h.
 * Source   RFC 9113 sections 4 and 6.
 *
 *    bytes --> head of a frame --> on_frame --> HEADERS, CONTINUATION ... --> whole --> session:
 *                                    |            on_begin_headers --> the owner reads the block
 *                                    |            `-- refused, late, past GOAWAY --> on_unread
 *                                    `--> other frames --> session, many in one call
 */
#ifndef FG_PROXY_H2_INPUT_H
#define FG_PROXY_H2_INPUT_H

#include "backends/h2_block.h"

#include <nghttp2/nghttp2.h>

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

    struct fg_h2_scan scan;
    size_t payload_left; /* of the present frame, if it is none of a header block */
    struct fg_h2_block block;
    bool is_unread;     /* of the block that is there: the owner clears it */
    bool has_bad_table; /* and says so when what was read cannot be: the connection ends */
    bool is_deaf;       /* the session is to send its last, and hears no more */

    /* while an input is taken */
    const uint8_t *given; /* the session has all that is before */
    const uint8_t *begin; /* of the present frame, as far as it lies in this input */
};

/* The rest outlives it; `session` may be set later. */
void fg_h2_input_init(struct fg_h2_input *input, const struct fg_h2_input_ops *ops,
                      struct fg_block_pool *pool, size_t block_bytes_max);
void fg_h2_input_fini(struct fg_h2_input *input);

/*
 * nghttp2_session_mem_recv behind a look at each frame's head. 0, or an error of the owner's or the
 * session's, among them NGHTTP2_ERR_FLOODED for blocks.
 */
int fg_h2_input_take(struct fg_h2_input *input, const uint8_t *data, size_t len);

/* The session is to see what came before the present frame. The same. */
int fg_h2_input_catch_up(struct fg_h2_input *input);
/* The session reads no more, as when it finds such an error itself. The same. */
int fg_h2_input_end(struct fg_h2_input *input, uint32_t error_code);

#endif
