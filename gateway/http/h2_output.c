/*
 * h2_output.c: what goes out, and in which order.
 * Job      fill the connection's buffer with whole frames: small ones that belong to no open stream
 *          first, then what streams owe besides content (a reset, a window update, heads), then
 *          content by priority, as far as the windows allow.
 * Thread   the loop's.
 * Memory   the small frames that wait: OUTBOX_MAX bytes; a head that is too large for one frame.
 *          All else waits where it is counted, in its stream, and is made when there is room.
 * Never    calls the handler from inside its own call: a stream that is reset closes when the frame
 *          that says so is made.
 * Source   RFC 9113 sections 5.2, 6 and 6.9; RFC 9218 section 10.
 *
 *    long head --> outbox --> due: reset, or update and heads --> ready: DATA --> the last GOAWAY
 */
#include "http/h2_internal.h"

#include "config/config.h"

#include <assert.h>

#define OUTBOX_MAX ((size_t)32768) /* some 2,000 answers to pings that the client does not read */
#define OUTBOX_FIRST ((size_t)64)
#define SMALL_FRAME (FG_H2_FRAME_HEAD + 4)

/* ---- small frames ---- */

void fg_h2_bytes_drop(struct fg_h2 *h2, struct fg_h2_bytes *bytes)
{
    if (bytes->data != NULL)
        fg_block_pool_free(&h2->codec.transport->env->blocks, bytes->data);
    *bytes = (struct fg_h2_bytes){.data = NULL};
}

/* What is out makes room for what is to go out. */
static void compact(struct fg_h2_bytes *box)
{
    memmove(box->data, box->data + box->sent, box->len - box->sent);
    box->len -= box->sent;
    box->sent = 0;
}

/* Room for `len` bytes at the end of the outbox; NULL: the connection has failed. */
static uint8_t *reserve(struct fg_h2 *h2, size_t len)
{
    struct fg_h2_bytes *box = &h2->outbox;
    if (len > box->room - box->len && box->sent > 0)
        compact(box);
    if (len > box->room - box->len) {
        size_t room = box->room == 0 ? OUTBOX_FIRST : 2 * box->room;
        if (room > OUTBOX_MAX) {
            fg_h2_fail_flood(h2, "a client that does not read what it asked for");
            return NULL;
        }
        uint8_t *data = fg_block_pool_realloc(&h2->codec.transport->env->blocks, box->data, room);
        if (data == NULL) {
            fg_h2_fail(h2, NGHTTP2_INTERNAL_ERROR, "no memory for a frame");
            return NULL;
        }
        box->data = data;
        box->room = room;
    }
    uint8_t *at = box->data + box->len;
    box->len += len;
    return at;
}

void fg_h2_say(struct fg_h2 *h2, uint8_t type, uint8_t flags, int32_t id, const uint8_t *payload,
               size_t len)
{
    assert(FG_H2_FRAME_HEAD + len <= OUTBOX_FIRST);
    uint8_t *at = h2->has_failed ? NULL : reserve(h2, FG_H2_FRAME_HEAD + len);
    if (at == NULL)
        return;
    fg_h2_write_head(at, len, type, flags, id);
    if (len > 0)
        memcpy(at + FG_H2_FRAME_HEAD, payload, len);
}

void fg_h2_say_reset(struct fg_h2 *h2, int32_t id, uint32_t error_code)
{
    uint8_t payload[4];
    fg_h2_write_u32(payload, error_code);
    fg_h2_resets_note(&h2->resets, id);
    fg_h2_say(h2, NGHTTP2_RST_STREAM, 0, id, payload, sizeof(payload));
}

static void write_goaway(uint8_t payload[8], int32_t last_id, uint32_t error_code)
{
    fg_h2_write_u32(payload, (uint32_t)last_id);
    fg_h2_write_u32(payload + 4, error_code);
}

void fg_h2_say_goaway(struct fg_h2 *h2, int32_t last_id, uint32_t error_code)
{
    uint8_t payload[8];
    write_goaway(payload, last_id, error_code);
    fg_h2_say(h2, NGHTTP2_GOAWAY, 0, 0, payload, sizeof(payload));
}

/* ---- what streams owe ---- */

void fg_h2_reset_wire(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code)
{
    if (!wire->is_open || wire->is_reset)
        return;
    struct fg_stream *stream = fg_h2_stream_of(wire);
    wire->is_reset = true;
    wire->reset_code = error_code;
    h2->codec.has_urgent = true;
    if (stream != NULL)
        fg_h2_drop_heads(h2, stream);
    fg_h2_resets_note(&h2->resets, wire->id);
    fg_h2_wires_set_ready(&h2->wires, wire, false);
    fg_h2_wires_set_due(&h2->wires, wire);
}

void fg_h2_give_back_unread(struct fg_h2 *h2, size_t len)
{
    h2->returned += (int64_t)len;
    h2->owes_update |= h2->returned >= FG_H2_CONNECTION_WINDOW / 2;
}

void fg_h2_give_back(struct fg_h2 *h2, struct fg_h2_wire *wire, size_t len)
{
    fg_h2_give_back_unread(h2, len);
    wire->returned += (uint32_t)len;
    if (wire->returned < FG_BODY_WINDOW / 2 || wire->is_remote_ended || wire->owes_update)
        return;
    wire->owes_update = true;
    fg_h2_wires_set_due(&h2->wires, wire);
}

/* The content of a stream whose window is shut can have its end, if nothing is left of it. */
void fg_h2_offer(struct fg_h2 *h2, struct fg_stream *stream)
{
    struct fg_h2_wire *wire = &stream->wire;
    bool has_ended = stream->state != FG_STREAM_OPEN;
    if (!wire->is_open)
        return;
    bool has_body = stream->is_head_sent && !stream->is_body_swallowed && !wire->is_reset &&
                    !wire->is_local_ended && !stream->has_said_trailers;
    bool can_go = stream->out.len > 0 ? wire->send_window > 0 : has_ended;
    fg_h2_wires_set_ready(&h2->wires, wire, has_body && can_go);
}

static uint8_t *advance(struct fg_h2 *h2, size_t len)
{
    uint8_t *at = (uint8_t *)h2->to;
    h2->to += len;
    h2->room -= len;
    return at;
}

static void put_small(struct fg_h2 *h2, uint8_t type, int32_t id, uint32_t number)
{
    uint8_t *at = advance(h2, SMALL_FRAME);
    fg_h2_write_head(at, 4, type, 0, id);
    fg_h2_write_u32(at + FG_H2_FRAME_HEAD, number);
}

static void put_update(struct fg_h2 *h2, struct fg_h2_wire *wire)
{
    wire->owes_update = false;
    if (wire->is_remote_ended || wire->returned == 0)
        return;
    put_small(h2, NGHTTP2_WINDOW_UPDATE, wire->id, wire->returned);
    wire->recv_left += (int32_t)wire->returned;
    wire->returned = 0;
}

static void put_connection_update(struct fg_h2 *h2)
{
    h2->owes_update = false;
    if (h2->returned <= 0)
        return;
    assert(h2->returned <= INT32_MAX - h2->recv_left);
    put_small(h2, NGHTTP2_WINDOW_UPDATE, 0, (uint32_t)h2->returned);
    h2->recv_left += (int32_t)h2->returned;
    h2->returned = 0;
}

static void note_local_end(struct fg_h2 *h2, struct fg_stream *stream)
{
    stream->wire.is_local_ended = true;
    fg_h2_wires_set_ready(&h2->wires, &stream->wire, false);
    fg_h2_note_local_end(h2, stream);
    fg_h2_close_if_ended(h2, &stream->wire);
}

/* All heads of the stream that wait; false: the next has to wait for room. */
static bool put_heads(struct fg_h2 *h2, struct fg_stream *stream)
{
    while (stream->said_first != NULL) {
        bool is_last = false;
        enum fg_h2_put put = fg_h2_put_head(h2, stream, &is_last);
        if (put == FG_H2_PUT_NO_ROOM)
            return false;
        if (put == FG_H2_PUT_NO_MEMORY) {
            fg_h2_reset(h2, stream, NGHTTP2_INTERNAL_ERROR);
            return true;
        }
        if (is_last) {
            note_local_end(h2, stream);
            return true;
        }
        if (h2->long_head.data != NULL)
            return false;
    }
    return true;
}

/* The first stream that owes something: all of it. False: it has to wait for room. */
static bool put_due(struct fg_h2 *h2)
{
    struct fg_h2_wire *wire = FG_CONTAINER_OF(h2->wires.due.next, struct fg_h2_wire, due);
    if (h2->room < SMALL_FRAME)
        return false;
    if (wire->is_reset) {
        put_small(h2, NGHTTP2_RST_STREAM, wire->id, wire->reset_code);
        fg_h2_close_wire(h2, wire, wire->reset_code);
        return true;
    }
    if (wire->owes_update)
        put_update(h2, wire);
    struct fg_stream *stream = fg_h2_stream_of(wire);
    if (stream != NULL && !put_heads(h2, stream))
        return false;
    if (wire->is_open && !wire->is_reset)
        fg_list_remove(&wire->due);
    return true;
}

/* ---- content ---- */

/* Puts a frame of it; false: none can go. */
static bool put_data(struct fg_h2 *h2)
{
    struct fg_h2_wire *wire = fg_h2_wires_next(&h2->wires);
    if (wire == NULL)
        return false;
    struct fg_stream *stream = fg_h2_stream_of(wire);
    size_t len = stream->out.len;
    if (len > 0 && h2->send_window <= 0)
        return false;
    size_t most = FG_H2_FRAME_BYTES;
    most = h2->room - FG_H2_FRAME_HEAD < most ? h2->room - FG_H2_FRAME_HEAD : most;
    if (len > 0 && most > (size_t)wire->send_window)
        most = (size_t)wire->send_window;
    if (len > 0 && most > (size_t)h2->send_window)
        most = (size_t)h2->send_window;
    len = len < most ? len : most;
    bool is_end = stream->state != FG_STREAM_OPEN && len == stream->out.len;
    if (is_end && stream->response_trailer_count > 0 && fg_h2_say_trailers(h2, stream)) {
        is_end = false;
        if (len == 0) {
            fg_h2_offer(h2, stream);
            return true;
        }
    }
    if (wire->is_reset)
        return true;
    struct fg_codec_env *env = h2->codec.transport->env;
    uint8_t *at = advance(h2, FG_H2_FRAME_HEAD + len);
    fg_h2_write_head(at, len, NGHTTP2_DATA, is_end ? NGHTTP2_FLAG_END_STREAM : 0, wire->id);
    size_t taken = fg_byte_queue_take(&stream->out, &env->segments, at + FG_H2_FRAME_HEAD, len);
    assert(taken == len);
    wire->send_window -= (int32_t)len;
    h2->send_window -= (int32_t)len;
    fg_h2_wires_rotate(&h2->wires, wire);
    fg_h2_note_sent(h2, stream, len, is_end);
    if (is_end)
        note_local_end(h2, stream);
    else
        fg_h2_offer(h2, stream);
    return true;
}

/* ---- all of it ---- */

/* False: some of it is left. */
static bool put_bytes(struct fg_h2 *h2, struct fg_h2_bytes *bytes)
{
    size_t left = bytes->len - bytes->sent;
    size_t part = left < h2->room ? left : h2->room;
    if (part > 0)
        memcpy(advance(h2, part), bytes->data + bytes->sent, part);
    bytes->sent += part;
    if (part < left)
        return false;
    if (bytes->data != NULL)
        fg_h2_bytes_drop(h2, bytes);
    return true;
}

/* Behind the settings, which must come first (section 3.4): they went into the outbox before all
 * else. */
static void put_last_words(struct fg_h2 *h2)
{
    uint8_t *at = advance(h2, FG_H2_FRAME_HEAD + 8);
    fg_h2_write_head(at, 8, NGHTTP2_GOAWAY, 0, 0);
    write_goaway(at + FG_H2_FRAME_HEAD, h2->served_id, h2->failure_code);
    h2->has_said_why = true;
}

static void put_frames(struct fg_h2 *h2)
{
    while (!h2->has_failed) {
        if (!put_bytes(h2, &h2->long_head) || !put_bytes(h2, &h2->outbox))
            return;
        if (h2->owes_update && h2->room >= SMALL_FRAME)
            put_connection_update(h2);
        if (!fg_list_is_empty(&h2->wires.due)) {
            if (!put_due(h2) && h2->long_head.data == NULL)
                return;
        } else if (h2->room < FG_H2_ROOM_MIN || !put_data(h2)) {
            return;
        }
    }
}

size_t fg_h2_produce(struct fg_codec *codec, char *to, size_t room)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    h2->to = to;
    h2->room = room;
    h2->codec.unsaid_bytes = 0;
    h2->codec.has_urgent = false;
    if (!fg_list_is_empty(&h2->wires.due))
        fg_hpack_prefetch(&h2->hpack);
    put_frames(h2);
    bool is_last = h2->has_failed && !h2->has_said_why;
    if (is_last && put_bytes(h2, &h2->long_head) && put_bytes(h2, &h2->outbox) &&
        h2->room >= FG_H2_FRAME_HEAD + 8)
        put_last_words(h2);
    size_t made = (size_t)(h2->to - to);
    h2->to = NULL;
    h2->room = 0;
    return made;
}

bool fg_h2_has_output(const struct fg_h2 *h2)
{
    if (h2->long_head.data != NULL || h2->outbox.data != NULL)
        return true;
    if (h2->has_failed)
        return !h2->has_said_why;
    const struct fg_h2_wire *next = fg_h2_wires_next(&h2->wires);
    return h2->owes_update || !fg_list_is_empty(&h2->wires.due) ||
           (next != NULL &&
            (h2->send_window > 0 || FG_CONTAINER_OF(next, struct fg_stream, wire)->out.len == 0));
}
