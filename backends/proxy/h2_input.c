/*
 * h2_input.c: frames told apart by their heads.
 *
 * What is no header block goes to the session as it came, in as few calls as can be: `given` is how
 * far the session has read. A head that is cut by the end of an input is kept until it is whole.
 */
#include "h2_input.h"

#include <assert.h>

#define BEFORE_MAX ((size_t)256)

void fg_h2_input_init(struct fg_h2_input *input, const struct fg_h2_input_ops *ops,
                      struct fg_block_pool *pool, size_t block_bytes_max)
{
    *input = (struct fg_h2_input){.ops = ops};
    fg_h2_block_init(&input->block, pool, block_bytes_max);
}

void fg_h2_input_fini(struct fg_h2_input *input)
{
    fg_h2_block_drop(&input->block);
}

/* These bytes, for the session. */
static int give(struct fg_h2_input *input, const uint8_t *from, const uint8_t *to)
{
    if (from == to)
        return 0;
    ssize_t taken = nghttp2_session_mem_recv(input->session, from, (size_t)(to - from));
    return taken < 0 ? (int)taken : 0;
}

int fg_h2_input_catch_up(struct fg_h2_input *input)
{
    const uint8_t *from = input->given;
    input->given = input->begin;
    return give(input, from, input->begin);
}

int fg_h2_input_end(struct fg_h2_input *input, uint32_t error_code)
{
    int error = fg_h2_input_catch_up(input);
    if (error != 0)
        return error;
    fg_h2_block_drop(&input->block);
    input->is_deaf = true;
    return nghttp2_session_terminate_session(input->session, error_code);
}

static int end_for(struct fg_h2_input *input, uint32_t code)
{
    return code == NGHTTP2_ENHANCE_YOUR_CALM ? NGHTTP2_ERR_FLOODED : fg_h2_input_end(input, code);
}

/*
 * The frame that stands for the block, in one call with a little that came before it: between two
 * calls a session that has heard GOAWAY and has no stream stops to read.
 */
static int tell_session(struct fg_h2_input *input)
{
    const struct fg_h2_block *block = &input->block;
    uint8_t bytes[BEFORE_MAX + FG_H2_FRAME_HEAD];
    size_t before_len = (size_t)(input->begin - input->given);
    if (before_len > BEFORE_MAX) {
        int error = fg_h2_input_catch_up(input);
        if (error != 0)
            return error;
        before_len = 0;
    } else if (before_len > 0) {
        memcpy(bytes, input->given, before_len);
        input->given = input->begin;
    }
    uint8_t flags = (block->flags & NGHTTP2_FLAG_END_STREAM) | NGHTTP2_FLAG_END_HEADERS;
    fg_h2_write_head(bytes + before_len, 0, NGHTTP2_HEADERS, flags, block->stream_id);
    return give(input, bytes, bytes + before_len + FG_H2_FRAME_HEAD);
}

static int take_whole(struct fg_h2_input *input)
{
    input->is_unread = true;
    input->has_bad_table = false;
    int error = tell_session(input);
    if (error == 0 && input->is_unread)
        error = input->ops->on_unread(input);
    if (error == 0 && input->has_bad_table)
        error = fg_h2_input_end(input, NGHTTP2_COMPRESSION_ERROR);
    fg_h2_block_drop(&input->block);
    return error;
}

static int take_block(struct fg_h2_input *input, const uint8_t **at, const uint8_t *end)
{
    uint32_t code;
    int error;
    switch (fg_h2_block_take(&input->block, at, end, &code)) {
    case FG_H2_BLOCK_PART:
        error = fg_h2_input_catch_up(input);
        break;
    case FG_H2_BLOCK_WHOLE:
        error = take_whole(input);
        break;
    case FG_H2_BLOCK_BAD:
        return end_for(input, code);
    default:
        return NGHTTP2_ERR_NOMEM;
    }
    input->given = input->begin = *at;
    return error;
}

/* A frame's head is there, of which `early` bytes came with an earlier input. */
static int take_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd, size_t early,
                      const uint8_t **at, const uint8_t *end)
{
    input->begin = *at - (FG_H2_FRAME_HEAD - early);
    int error = input->ops->on_frame(input, hd);
    if (error != 0 || input->is_deaf)
        return error;
    if (input->block.is_open || hd->type == NGHTTP2_HEADERS) {
        uint32_t code = fg_h2_block_begin_frame(&input->block, hd);
        return code != NGHTTP2_NO_ERROR ? end_for(input, code) : take_block(input, at, end);
    }
    input->payload_left = hd->length;
    if (early == 0)
        return 0;
    assert(input->given == input->begin);
    input->given = *at;
    return give(input, input->scan.head, input->scan.head + FG_H2_FRAME_HEAD);
}

int fg_h2_input_take(struct fg_h2_input *input, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len;
    const uint8_t *at = data;
    int error = 0;
    input->given = input->begin = data;
    while (error == 0 && at < end && !input->is_deaf) {
        if (input->block.is_in_frame) {
            error = take_block(input, &at, end);
            continue;
        }
        if (input->payload_left > 0) {
            size_t there = (size_t)(end - at);
            size_t part = there < input->payload_left ? there : input->payload_left;
            at += part;
            input->payload_left -= part;
            continue;
        }
        size_t early = input->scan.head_len;
        struct fg_h2_frame_head hd;
        if (!fg_h2_scan_head(&input->scan, &at, end, &hd)) {
            end = at - (input->scan.head_len - early);
            break;
        }
        error = take_frame(input, &hd, early, &at, end);
    }
    return error != 0 || input->is_deaf ? error : give(input, input->given, end);
}
