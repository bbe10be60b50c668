/*
 * h2_block.c: header blocks, taken out of the client's bytes before the session sees them.
 * Job      gather HEADERS and its CONTINUATIONs until the block is whole; let the session have a
 *          HEADERS frame with the same flags and no fields in their place, so that the order of
 *          frames and the states of streams stay its business; and see to it that every block is
 *          read, whether or not the session wants the stream, for the table must stay in step.
 * Thread   the loop's.
 * Memory   a block that came in one piece is read where it lies; another one is gathered in memory
 *          of the loop's: a frame more than the limit for what fields may come to.
 *
 *    HEADERS, CONTINUATION ... --> whole --> session: on_begin_headers --> fields (h2_request.c)
 *                                              `-- refused, late, past GOAWAY --> read, and dropped
 */
#include "http/h2_internal.h"

#include "config/config.h"
#include "net/listener.h"

#include <assert.h>

#define CONTINUATIONS_MAX 8u /* CVE-2024-27316 */
#define BEFORE_MAX ((size_t)256)
#define KEPT_FIRST ((size_t)512)

int fg_h2_give(struct fg_h2 *h2, const uint8_t *from, const uint8_t *to)
{
    if (from == to)
        return 0;
    ssize_t taken = nghttp2_session_mem_recv(h2->session, from, (size_t)(to - from));
    return taken < 0 ? (int)taken : 0;
}

static int give_before(struct fg_h2 *h2)
{
    const uint8_t *before = h2->block.before;
    size_t len = h2->block.before_len;
    h2->block.before_len = 0;
    return len == 0 ? 0 : fg_h2_give(h2, before, before + len);
}

/* The session reads no more, as when it finds such an error itself. */
static int end_session(struct fg_h2 *h2, uint32_t error_code)
{
    int error = give_before(h2);
    if (error != 0)
        return error;
    h2->block.is_open = false;
    h2->block.is_in_frame = false;
    h2->is_deaf = true;
    return nghttp2_session_terminate_session(h2->session, error_code);
}

bool fg_h2_is_in_head(const struct fg_h2 *h2)
{
    return h2->block.is_open || h2->block.is_in_frame;
}

/* What is kept is at most twice as much as has come. */
static bool keep(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &h2->block;
    struct fg_block_pool *pool = &h2->codec.transport->env->blocks;
    if (len == 0)
        return true;
    if (len > block->kept_room - block->kept_len) {
        size_t room = block->kept_room == 0 ? KEPT_FIRST : 2 * block->kept_room;
        if (room - block->kept_len < len)
            room = block->kept_len + len;
        uint8_t *kept = fg_block_pool_realloc(pool, block->kept, room);
        if (kept == NULL)
            return false;
        block->kept = kept;
        block->kept_room = room;
    }
    memcpy(block->kept + block->kept_len, data, len);
    block->kept_len += len;
    return true;
}

void fg_h2_block_drop(struct fg_h2 *h2)
{
    struct fg_h2_block *block = &h2->block;
    fg_block_pool_free(&h2->codec.transport->env->blocks, block->kept);
    *block = (struct fg_h2_block){.kept = NULL};
}

/* Takes off what surrounds the fields in the payload of HEADERS (RFC 9113 section 6.2). */
static uint32_t unwrap(struct fg_h2_block *block, const uint8_t **data, size_t *len)
{
    size_t padding = 0;
    if ((block->flags & NGHTTP2_FLAG_PADDED) != 0) {
        if (*len < 1 || **data > *len - 1)
            return NGHTTP2_PROTOCOL_ERROR;
        padding = **data;
        (*data)++;
        (*len)--;
    }
    if ((block->flags & NGHTTP2_FLAG_PRIORITY) != 0) {
        if (*len < FG_H2_PRIORITY_BYTES)
            return NGHTTP2_FRAME_SIZE_ERROR;
        memcpy(block->priority, *data, FG_H2_PRIORITY_BYTES);
        *data += FG_H2_PRIORITY_BYTES;
        *len -= FG_H2_PRIORITY_BYTES;
    }
    if (padding > *len)
        return NGHTTP2_PROTOCOL_ERROR;
    *len -= padding;
    return NGHTTP2_NO_ERROR;
}

/*
 * The frame that stands for the block, in one call with a little that came before it: between two
 * calls a session that has heard GOAWAY and has no stream stops to read.
 */
static int tell_session(struct fg_h2 *h2)
{
    struct fg_h2_block *block = &h2->block;
    uint8_t input[BEFORE_MAX + FG_H2_FRAME_HEAD + FG_H2_PRIORITY_BYTES];
    uint8_t *frame = input;
    if (block->before_len > BEFORE_MAX) {
        int error = give_before(h2);
        if (error != 0)
            return error;
    } else if (block->before_len > 0) {
        memcpy(input, block->before, block->before_len);
        frame += block->before_len;
        block->before_len = 0;
    }
    uint8_t flags = block->flags & (NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_PRIORITY);
    size_t len = (flags & NGHTTP2_FLAG_PRIORITY) != 0 ? FG_H2_PRIORITY_BYTES : 0;
    uint32_t id = (uint32_t)block->stream_id;
    const uint8_t head[FG_H2_FRAME_HEAD] = {0,
                                            0,
                                            (uint8_t)len,
                                            NGHTTP2_HEADERS,
                                            flags | NGHTTP2_FLAG_END_HEADERS,
                                            (uint8_t)(id >> 24),
                                            (uint8_t)(id >> 16),
                                            (uint8_t)(id >> 8),
                                            (uint8_t)id};
    memcpy(frame, head, sizeof(head));
    memcpy(frame + sizeof(head), block->priority, len);
    return fg_h2_give(h2, input, frame + sizeof(head) + len);
}

static int take_whole(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &h2->block;
    block->is_open = false;
    block->data = data;
    block->len = len;
    block->is_unread = true;
    int error = tell_session(h2);
    if (error == 0 && block->is_unread)
        error = fg_h2_read_block(h2, block->stream_id, NULL, NULL, false);
    if (error == 0 && block->has_bad_table)
        error = end_session(h2, NGHTTP2_COMPRESSION_ERROR);
    fg_h2_block_drop(h2);
    return error;
}

/* All of the frame's payload is there: at `data`, or behind `kept_from` in what was kept. */
static int end_frame(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &h2->block;
    bool is_kept = data == NULL;
    block->is_in_frame = false;
    if (is_kept) {
        data = block->kept + block->kept_from;
        len = block->kept_len - block->kept_from;
    }
    if (block->is_first) {
        uint32_t error = unwrap(block, &data, &len);
        if (error != NGHTTP2_NO_ERROR)
            return end_session(h2, error);
    }
    bool is_last = (block->flags & NGHTTP2_FLAG_END_HEADERS) != 0;
    if (is_last && block->is_first)
        return take_whole(h2, data, len);
    int error = give_before(h2);
    if (error != 0)
        return error;
    if (is_kept && len > 0) {
        memmove(block->kept + block->kept_from, data, len);
        block->kept_len = block->kept_from + len;
    } else if (is_kept) {
        block->kept_len = block->kept_from;
    } else if (!keep(h2, data, len)) {
        return NGHTTP2_ERR_NOMEM;
    }
    block->is_first = false;
    return is_last ? take_whole(h2, block->kept, block->kept_len) : 0;
}

/* More bytes than the fields of any head that is answered could have. */
static bool is_too_long(struct fg_h2 *h2)
{
    const struct fg_codec_env *env = h2->codec.transport->env;
    if (h2->block.kept_len <= FG_H2_BOMB_HEADS * env->limits->header_bytes_max)
        return false;
    fg_counter_add_owned(&env->stats->h2_floods, 1);
    h2->failure_code = NGHTTP2_ENHANCE_YOUR_CALM;
    return true;
}

int fg_h2_block_begin_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd,
                            const uint8_t *before, size_t before_len)
{
    struct fg_h2_block *block = &h2->block;
    block->before = before;
    block->before_len = before_len;
    if (block->is_open) {
        if (++block->continuations > CONTINUATIONS_MAX)
            return NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
        if (hd->type != NGHTTP2_CONTINUATION || hd->stream_id != block->stream_id)
            return end_session(h2, NGHTTP2_PROTOCOL_ERROR);
        if (is_too_long(h2))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        block->flags |= hd->flags & NGHTTP2_FLAG_END_HEADERS;
    } else {
        block->is_open = true;
        block->is_first = true;
        block->stream_id = hd->stream_id;
        block->flags = hd->flags;
    }
    block->is_in_frame = true;
    block->frame_left = hd->length;
    block->kept_from = block->kept_len;
    return 0;
}

int fg_h2_block_take(struct fg_h2 *h2, const uint8_t **at, const uint8_t *end)
{
    struct fg_h2_block *block = &h2->block;
    const uint8_t *data = *at;
    size_t there = (size_t)(end - data);
    assert(block->is_in_frame);
    bool is_all = there >= block->frame_left;
    if (is_all && block->kept_from == block->kept_len) {
        *at += block->frame_left;
        return end_frame(h2, data, block->frame_left);
    }
    int error = give_before(h2);
    if (error != 0)
        return error;
    size_t part = is_all ? block->frame_left : there;
    *at += part;
    if (!keep(h2, data, part))
        return NGHTTP2_ERR_NOMEM;
    block->frame_left -= (uint32_t)part;
    return is_all ? end_frame(h2, NULL, 0) : 0;
}
