/*
 * h2_input.c: frames told apart by their heads.
 *
 * What is no header block goes to the session as it came, in as few calls as can be: `given` is how
 * far the session has read. A head that is cut by the end of an input is kept until it is whole.
 */
#include "backends/h2_input.h"

#include <assert.h>
#include <string.h>

void fg_h2_input_init(struct fg_h2_input *input, const struct fg_h2_input_ops *ops,
                      struct fg_block_pool *pool, size_t block_bytes_max, size_t skip)
{
    *input = (struct fg_h2_input){
        .ops = ops, .pool = pool, .block_bytes_max = block_bytes_max, .scan = {.skip = skip}};
}

void fg_h2_input_fini(struct fg_h2_input *input)
{
    fg_h2_block_drop(input);
}

int fg_h2_input_give(struct fg_h2_input *input, const uint8_t *from, const uint8_t *to)
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
    return fg_h2_input_give(input, from, input->begin);
}

int fg_h2_input_end(struct fg_h2_input *input, uint32_t error_code)
{
    int error = fg_h2_input_catch_up(input);
    if (error != 0)
        return error;
    input->block.is_open = false;
    input->block.is_in_frame = false;
    input->is_deaf = true;
    return nghttp2_session_terminate_session(input->session, error_code);
}

static uint32_t big_endian(const uint8_t *from, unsigned bytes)
{
    uint32_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | from[i];
    return number;
}

/* Takes bytes up to `wanted`; true when they are there. */
static bool collect(struct fg_h2_scan *scan, size_t wanted, const uint8_t **at, const uint8_t *end)
{
    size_t missing = wanted > scan->head_len ? wanted - scan->head_len : 0;
    size_t part = (size_t)(end - *at) < missing ? (size_t)(end - *at) : missing;
    memcpy(scan->head + scan->head_len, *at, part);
    *at += part;
    scan->head_len += part;
    return part == missing;
}

/* Takes bytes of a head; true when it is complete, and then `skip` is what is left of the frame. */
static bool collect_head(struct fg_h2_scan *scan, const uint8_t **at, const uint8_t *end,
                         struct fg_h2_frame_head *hd)
{
    const uint8_t *head = scan->head;
    if (!collect(scan, FG_H2_FRAME_HEAD, at, end))
        return false;
    *hd = (struct fg_h2_frame_head){
        .length = big_endian(head, 3),
        .type = head[3],
        .flags = head[4],
        .stream_id = (int32_t)(big_endian(head + 5, 4) & 0x7fffffff),
    };
    scan->skip = hd->length;
    if (hd->type == NGHTTP2_PRIORITY && hd->length == FG_H2_PRIORITY_BYTES) {
        if (!collect(scan, sizeof(scan->head), at, end)) {
            scan->skip = 0; /* not yet */
            return false;
        }
        hd->depends_on = (int32_t)(big_endian(head + FG_H2_FRAME_HEAD, 4) & 0x7fffffff);
        scan->skip -= FG_H2_DEPENDENCY;
    }
    scan->head_len = 0;
    return true;
}

/* A frame's head is there, of which `early` bytes came with an earlier input. */
static int take_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd, size_t early,
                      const uint8_t **at, const uint8_t *end)
{
    const struct fg_h2_scan *scan = &input->scan;
    size_t len = FG_H2_FRAME_HEAD + (hd->length - scan->skip);
    input->begin = *at - (len - early);
    int error = input->ops->on_frame(input, hd);
    if (error != 0 || input->is_deaf)
        return error;
    if (input->block.is_open || hd->type == NGHTTP2_HEADERS) {
        input->scan.skip = 0;
        error = fg_h2_block_begin_frame(input, hd);
        if (error == 0 && !input->is_deaf)
            error = fg_h2_block_take(input, at, end);
        input->given = *at;
        return error;
    }
    if (early == 0)
        return 0;
    assert(input->given == input->begin);
    input->given = *at;
    return fg_h2_input_give(input, scan->head, scan->head + len);
}

int fg_h2_input_take(struct fg_h2_input *input, const uint8_t *data, size_t len)
{
    struct fg_h2_scan *scan = &input->scan;
    const uint8_t *end = data + len;
    const uint8_t *at = data;
    int error = 0;
    input->given = input->begin = data;
    while (error == 0 && at < end && !input->is_deaf) {
        if (input->block.is_in_frame) {
            error = fg_h2_block_take(input, &at, end);
            input->given = input->begin = at;
            continue;
        }
        if (scan->skip > 0) {
            size_t part = (size_t)(end - at) < scan->skip ? (size_t)(end - at) : scan->skip;
            at += part;
            scan->skip -= part;
            continue;
        }
        size_t early = scan->head_len;
        struct fg_h2_frame_head hd;
        if (!collect_head(scan, &at, end, &hd)) {
            end = at - (scan->head_len - early);
            break;
        }
        error = take_frame(input, &hd, early, &at, end);
    }
    return error != 0 || input->is_deaf ? error : fg_h2_input_give(input, input->given, end);
}
