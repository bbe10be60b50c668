/*
 * h2_block.c: see h2_block.h.
 */
#include "backends/h2_block.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>

#define CONTINUATIONS_MAX 8u /* CVE-2024-27316 */
#define KEPT_FIRST ((size_t)512)

void fg_h2_block_init(struct fg_h2_block *block, struct fg_block_pool *pool, size_t bytes_max)
{
    *block = (struct fg_h2_block){.pool = pool, .bytes_max = bytes_max};
}

void fg_h2_block_drop(struct fg_h2_block *block)
{
    if (block->kept != NULL)
        fg_block_pool_free(block->pool, block->kept);
    fg_h2_block_init(block, block->pool, block->bytes_max);
}

/* What is kept is at most twice as much as has come. */
static bool keep(struct fg_h2_block *block, const uint8_t *data, size_t len)
{
    if (len == 0)
        return true;
    if (len > block->kept_room - block->kept_len) {
        size_t room = block->kept_room == 0 ? KEPT_FIRST : 2 * block->kept_room;
        if (room - block->kept_len < len)
            room = block->kept_len + len;
        uint8_t *kept = fg_block_pool_realloc(block->pool, block->kept, room);
        if (kept == NULL)
            return false;
        block->kept = kept;
        block->kept_room = room;
    }
    memcpy(block->kept + block->kept_len, data, len);
    block->kept_len += len;
    return true;
}

/* Takes off what surrounds the fields in the payload of HEADERS (RFC 9113 section 6.2). */
static uint32_t unwrap(struct fg_h2_block *block, const uint8_t **data, size_t *len)
{
    size_t padding = 0;
    if ((block->flags & NGHTTP2_FLAG_PADDED) != 0) {
        if (*len < 1) /* RFC 9113 section 4.2 */
            return NGHTTP2_FRAME_SIZE_ERROR;
        if (**data > *len - 1)
            return NGHTTP2_PROTOCOL_ERROR;
        padding = **data;
        (*data)++;
        (*len)--;
    }
    if ((block->flags & NGHTTP2_FLAG_PRIORITY) != 0) {
        if (*len < FG_H2_PRIORITY_BYTES)
            return NGHTTP2_FRAME_SIZE_ERROR;
        block->depends_on = fg_h2_read_u31(*data);
        *data += FG_H2_PRIORITY_BYTES;
        *len -= FG_H2_PRIORITY_BYTES;
    }
    if (padding > *len)
        return NGHTTP2_PROTOCOL_ERROR;
    *len -= padding;
    return NGHTTP2_NO_ERROR;
}

static enum fg_h2_block_found be_whole(struct fg_h2_block *block, const uint8_t *data, size_t len)
{
    block->is_open = false;
    block->data = data;
    block->len = len;
    return FG_H2_BLOCK_WHOLE;
}

/* All of the frame's payload is there: at `data`, or, if NULL, behind `kept_from` in what is kept.
 */
static enum fg_h2_block_found end_frame(struct fg_h2_block *block, const uint8_t *data, size_t len,
                                        uint32_t *code)
{
    bool is_kept = data == NULL;
    bool was_first = block->is_first;
    bool is_last = (block->flags & NGHTTP2_FLAG_END_HEADERS) != 0;
    block->is_in_frame = false;
    block->is_first = false;
    if (is_kept) {
        data = block->kept + block->kept_from;
        len = block->kept_len - block->kept_from;
    }
    if (was_first) {
        *code = unwrap(block, &data, &len);
        if (*code != NGHTTP2_NO_ERROR)
            return FG_H2_BLOCK_BAD;
        if (is_last)
            return be_whole(block, data, len);
    }
    if (is_kept) {
        if (len > 0)
            memmove(block->kept + block->kept_from, data, len);
        block->kept_len = block->kept_from + len;
    } else if (!keep(block, data, len)) {
        return FG_H2_BLOCK_NO_MEMORY;
    }
    return is_last ? be_whole(block, block->kept, block->kept_len) : FG_H2_BLOCK_PART;
}

uint32_t fg_h2_block_begin_frame(struct fg_h2_block *block, const struct fg_h2_frame_head *hd)
{
    if (block->is_open) {
        if (++block->continuations > CONTINUATIONS_MAX)
            return NGHTTP2_ENHANCE_YOUR_CALM;
        if (hd->type != NGHTTP2_CONTINUATION || hd->stream_id != block->stream_id)
            return NGHTTP2_PROTOCOL_ERROR;
        if (block->kept_len > block->bytes_max) /* more than any head that is answered has */
            return NGHTTP2_ENHANCE_YOUR_CALM;
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
    return NGHTTP2_NO_ERROR;
}

enum fg_h2_block_found fg_h2_block_take(struct fg_h2_block *block, const uint8_t **at,
                                        const uint8_t *end, uint32_t *code)
{
    static const uint8_t nothing[1];
    const uint8_t *data = *at;
    size_t there = (size_t)(end - data);
    assert(block->is_in_frame);
    bool is_all = there >= block->frame_left;
    if (is_all && block->kept_from == block->kept_len) {
        *at += block->frame_left;
        return end_frame(block, block->frame_left == 0 ? nothing : data, block->frame_left, code);
    }
    size_t part = is_all ? block->frame_left : there;
    *at += part;
    if (!keep(block, data, part))
        return FG_H2_BLOCK_NO_MEMORY;
    block->frame_left -= (uint32_t)part;
    return is_all ? end_frame(block, NULL, 0, code) : FG_H2_BLOCK_PART;
}
