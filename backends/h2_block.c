/*
 * h2_block.c: header blocks, taken out of the other side's bytes before the session sees them.
 *
 * The session gets a HEADERS frame with the same flags and no fields in the place of a block and of
 * all its frames.
 */
#include "backends/h2_input.h"

#include <assert.h>
#include <string.h>

#define CONTINUATIONS_MAX 8u /* CVE-2024-27316 */
#define BEFORE_MAX ((size_t)256)
#define KEPT_FIRST ((size_t)512)

/* What is kept is at most twice as much as has come. */
static bool keep(struct fg_h2_input *input, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &input->block;
    if (len == 0)
        return true;
    if (len > block->kept_room - block->kept_len) {
        size_t room = block->kept_room == 0 ? KEPT_FIRST : 2 * block->kept_room;
        if (room - block->kept_len < len)
            room = block->kept_len + len;
        uint8_t *kept = fg_block_pool_realloc(input->pool, block->kept, room);
        if (kept == NULL)
            return false;
        block->kept = kept;
        block->kept_room = room;
    }
    memcpy(block->kept + block->kept_len, data, len);
    block->kept_len += len;
    return true;
}

void fg_h2_block_drop(struct fg_h2_input *input)
{
    struct fg_h2_block *block = &input->block;
    fg_block_pool_free(input->pool, block->kept);
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
static int tell_session(struct fg_h2_input *input)
{
    struct fg_h2_block *block = &input->block;
    uint8_t bytes[BEFORE_MAX + FG_H2_FRAME_HEAD + FG_H2_PRIORITY_BYTES];
    uint8_t *frame = bytes;
    size_t before_len = (size_t)(input->begin - input->given);
    if (before_len > BEFORE_MAX) {
        int error = fg_h2_input_catch_up(input);
        if (error != 0)
            return error;
    } else if (before_len > 0) {
        memcpy(bytes, input->given, before_len);
        frame += before_len;
        input->given = input->begin;
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
    return fg_h2_input_give(input, bytes, frame + sizeof(head) + len);
}

static int take_whole(struct fg_h2_input *input, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &input->block;
    block->is_open = false;
    block->data = data;
    block->len = len;
    block->is_unread = true;
    int error = tell_session(input);
    if (error == 0 && block->is_unread)
        error = input->ops->on_unread(input);
    if (error == 0 && block->has_bad_table)
        error = fg_h2_input_end(input, NGHTTP2_COMPRESSION_ERROR);
    fg_h2_block_drop(input);
    return error;
}

/* All of the frame's payload is there: at `data`, or behind `kept_from` in what was kept. */
static int end_frame(struct fg_h2_input *input, const uint8_t *data, size_t len)
{
    struct fg_h2_block *block = &input->block;
    bool is_kept = data == NULL;
    block->is_in_frame = false;
    if (is_kept) {
        data = block->kept + block->kept_from;
        len = block->kept_len - block->kept_from;
    }
    if (block->is_first) {
        uint32_t error = unwrap(block, &data, &len);
        if (error != NGHTTP2_NO_ERROR)
            return fg_h2_input_end(input, error);
    }
    bool is_last = (block->flags & NGHTTP2_FLAG_END_HEADERS) != 0;
    if (is_last && block->is_first)
        return take_whole(input, data, len);
    int error = fg_h2_input_catch_up(input);
    if (error != 0)
        return error;
    if (is_kept && len > 0) {
        memmove(block->kept + block->kept_from, data, len);
        block->kept_len = block->kept_from + len;
    } else if (is_kept) {
        block->kept_len = block->kept_from;
    } else if (!keep(input, data, len)) {
        return NGHTTP2_ERR_NOMEM;
    }
    block->is_first = false;
    return is_last ? take_whole(input, block->kept, block->kept_len) : 0;
}

int fg_h2_block_begin_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd)
{
    struct fg_h2_block *block = &input->block;
    if (block->is_open) {
        if (++block->continuations > CONTINUATIONS_MAX)
            return NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
        if (hd->type != NGHTTP2_CONTINUATION || hd->stream_id != block->stream_id)
            return fg_h2_input_end(input, NGHTTP2_PROTOCOL_ERROR);
        if (block->kept_len > input->block_bytes_max) /* more than any head that is answered has */
            return NGHTTP2_ERR_FLOODED;
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

int fg_h2_block_take(struct fg_h2_input *input, const uint8_t **at, const uint8_t *end)
{
    struct fg_h2_block *block = &input->block;
    const uint8_t *data = *at;
    size_t there = (size_t)(end - data);
    assert(block->is_in_frame);
    bool is_all = there >= block->frame_left;
    if (is_all && block->kept_from == block->kept_len) {
        *at += block->frame_left;
        return end_frame(input, data, block->frame_left);
    }
    int error = fg_h2_input_catch_up(input);
    if (error != 0)
        return error;
    size_t part = is_all ? block->frame_left : there;
    *at += part;
    if (!keep(input, data, part))
        return NGHTTP2_ERR_NOMEM;
    block->frame_left -= (uint32_t)part;
    return is_all ? end_frame(input, NULL, 0) : 0;
}
