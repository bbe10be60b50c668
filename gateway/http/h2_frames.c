/*
 * h2_frames.c: what the client says, frame by frame.
 * Job      the preface, frames and their order; settings, windows, pings and resets; content goes
 *          on to h2_request.c as it comes, heads when they are whole.
 * Thread   the loop's.
 * Memory   of a frame that is neither: up to FG_H2_SETTINGS_MAX settings, in the connection.
 * Never    goes on behind what ends the connection: then has_failed is set.
 * Source   RFC 9113 sections 3.4, 4, 5 and 6. Where it has a stream error the stream is reset, if
 *          it is open; the rest of the connection does not suffer.
 *
 *    preface --> head --guard--> HEADERS, CONTINUATION: h2_block.c --whole--> h2_request.c
 *                        |-----> DATA: windows --> h2_request.c, as it comes
 *                        |-----> others: control --whole--> here
 *                        `-----> unknown ones, and what nobody takes: skipped
 */
#include "http/h2_internal.h"

#include <assert.h>

#define UPDATE_BYTES_MAX ((size_t)128) /* a PRIORITY_UPDATE that is longer says nothing to us */
#define GOAWAY_BYTES ((size_t)8)

static void fail(struct fg_h2 *h2, uint32_t code, const char *reason)
{
    fg_h2_fail(h2, code, reason);
}

static bool is_idle(const struct fg_h2 *h2, int32_t id)
{
    return id % 2 == 0 || id > h2->newest_id;
}

/* ---- settings ---- */

static uint32_t check_setting(unsigned id, uint32_t value)
{
    switch (id) {
    case NGHTTP2_SETTINGS_ENABLE_PUSH:
    case NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL:
    case NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES:
        return value > 1 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
    case NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE:
        return value > INT32_MAX ? NGHTTP2_FLOW_CONTROL_ERROR : NGHTTP2_NO_ERROR;
    case NGHTTP2_SETTINGS_MAX_FRAME_SIZE:
        return value < FG_H2_FRAME_BYTES || value > 0xffffff ? NGHTTP2_PROTOCOL_ERROR
                                                             : NGHTTP2_NO_ERROR;
    default:
        return NGHTTP2_NO_ERROR;
    }
}

/* Section 6.9.2. */
static void set_initial_window(struct fg_h2 *h2, int32_t window)
{
    int32_t change = window - h2->initial_window;
    h2->initial_window = window;
    if (change == 0)
        return;
    if (!fg_h2_wires_shift_windows(&h2->wires, change)) {
        fail(h2, NGHTTP2_FLOW_CONTROL_ERROR, "an initial window that overflows a stream's");
        return;
    }
    FG_LIST_EACH_SAFE(it, after, &h2->streams)
    {
        fg_h2_offer(h2, FG_CONTAINER_OF(it, struct fg_stream, link));
    }
}

static void take_settings(struct fg_h2 *h2, const uint8_t *at, size_t len)
{
    int32_t window = h2->initial_window; /* streams are gone through but once */
    for (const uint8_t *end = at + len; at < end; at += FG_H2_SETTING_BYTES) {
        unsigned id = (unsigned)at[0] << 8 | at[1];
        uint32_t value = fg_h2_read_u32(at + 2);
        uint32_t code = check_setting(id, value);
        if (code != NGHTTP2_NO_ERROR) {
            fail(h2, code, "a setting that cannot be");
            return;
        }
        if (id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
            window = (int32_t)value;
        else if (id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE)
            fg_hpack_resize(&h2->hpack, value); /* each in turn: RFC 7541 section 4.2 */
    }
    set_initial_window(h2, window);
    if (!h2->has_failed)
        fg_h2_say(h2, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

static void take_settings_ack(struct fg_h2 *h2)
{
    h2->awaits_ack = false;
    fg_h2_tell_streams_max(h2);
}

/* ---- other small frames, whole ---- */

static void take_ping(struct fg_h2 *h2, const uint8_t *payload)
{
    if ((h2->frame.flags & NGHTTP2_FLAG_ACK) == 0)
        fg_h2_say(h2, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, payload, h2->frame.length);
    else if (h2->shutdown == FG_H2_NOTICED)
        fg_h2_say_last_goaway(h2);
}

/* The streams that it names would be ours, and there are none; only their order can be wrong. */
static void take_goaway(struct fg_h2 *h2, const uint8_t *payload)
{
    int32_t last_id = fg_h2_read_u31(payload);
    if (last_id % 2 != 0 && last_id != INT32_MAX)
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a GOAWAY that names a stream of the client's");
    h2->has_heard_goaway = true;
}

static void take_reset(struct fg_h2 *h2, const uint8_t *payload)
{
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, h2->frame.stream_id);
    if (is_idle(h2, h2->frame.stream_id))
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a reset of a stream that was never opened");
    else if (fg_h2_guard_reset(h2, wire) && wire != NULL)
        fg_h2_close_wire(h2, wire, fg_h2_read_u32(payload));
}

static bool grow_window(int32_t *window, int32_t by)
{
    if (by > INT32_MAX - (*window > 0 ? *window : 0))
        return false;
    *window += by;
    return true;
}

static void grow_stream_window(struct fg_h2 *h2, struct fg_h2_wire *wire, int32_t by)
{
    if (by == 0)
        fg_h2_reset_for(h2, wire, NGHTTP2_PROTOCOL_ERROR, "a window update of zero");
    else if (!grow_window(&wire->send_window, by))
        fg_h2_reset_for(h2, wire, NGHTTP2_FLOW_CONTROL_ERROR, "a window beyond 31 bits");
    else if (!wire->is_drain)
        fg_h2_offer(h2, fg_h2_stream_of(wire));
}

static void take_window_update(struct fg_h2 *h2, const uint8_t *payload)
{
    int32_t id = h2->frame.stream_id;
    int32_t by = fg_h2_read_u31(payload);
    if (id == 0 && by == 0)
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a window update of zero");
    else if (id == 0 && !grow_window(&h2->send_window, by))
        fail(h2, NGHTTP2_FLOW_CONTROL_ERROR, "a window beyond 31 bits");
    if (id == 0)
        return;
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, id);
    if (is_idle(h2, id))
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a window update for a stream that was never opened");
    else if (wire != NULL && !wire->is_reset)
        grow_stream_window(h2, wire, by);
}

/* What is wrong with a priority is its stream's affair; only an open one can be told so. */
static void refuse_priority(struct fg_h2 *h2, int32_t id, uint32_t code, const char *reason)
{
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, id);
    if (wire != NULL)
        fg_h2_reset_for(h2, wire, code, reason);
    else
        fail(h2, code, reason);
}

/* Priorities of RFC 7540 mean nothing any more; a stream that depends on itself never could be. */
static void take_priority(struct fg_h2 *h2, const uint8_t *payload)
{
    int32_t id = h2->frame.stream_id;
    if (fg_h2_read_u31(payload) == id)
        refuse_priority(h2, id, NGHTTP2_PROTOCOL_ERROR, "a stream that depends on itself");
}

static void take_control(struct fg_h2 *h2, const uint8_t *payload, size_t len)
{
    const struct fg_h2_frame_head *hd = &h2->frame;
    switch (hd->type) {
    case NGHTTP2_SETTINGS:
        if ((hd->flags & NGHTTP2_FLAG_ACK) != 0)
            take_settings_ack(h2);
        else
            take_settings(h2, payload, len);
        break;
    case NGHTTP2_PING:
        take_ping(h2, payload);
        break;
    case NGHTTP2_GOAWAY:
        take_goaway(h2, payload);
        break;
    case NGHTTP2_RST_STREAM:
        take_reset(h2, payload);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        take_window_update(h2, payload);
        break;
    case NGHTTP2_PRIORITY:
        take_priority(h2, payload);
        break;
    default:
        assert(hd->type == NGHTTP2_PRIORITY_UPDATE);
        fg_h2_take_update(h2, hd->stream_id, payload, len, len < hd->length);
        break;
    }
}

/* ---- heads of frames ---- */

/* How long such a frame is, and on what stream it stands. 0: as it should. */
static uint32_t check_form(const struct fg_h2_frame_head *hd)
{
    bool is_ack = (hd->flags & NGHTTP2_FLAG_ACK) != 0;
    bool is_of_stream = hd->stream_id != 0;
    bool is_fitting = true; /* in length */
    switch (hd->type) {
    case NGHTTP2_SETTINGS:
        is_of_stream = !is_of_stream;
        is_fitting = is_ack ? hd->length == 0 : hd->length % FG_H2_SETTING_BYTES == 0;
        break;
    case NGHTTP2_PING:
        is_of_stream = !is_of_stream;
        is_fitting = hd->length == 8;
        break;
    case NGHTTP2_GOAWAY:
        is_of_stream = !is_of_stream;
        is_fitting = hd->length >= GOAWAY_BYTES;
        break;
    case NGHTTP2_RST_STREAM:
        is_fitting = hd->length == 4;
        break;
    case NGHTTP2_WINDOW_UPDATE:
        is_of_stream = true; /* or the connection's */
        is_fitting = hd->length == 4;
        break;
    case NGHTTP2_PRIORITY:
        is_fitting = hd->length == FG_H2_PRIORITY_BYTES;
        break;
    default:
        return NGHTTP2_NO_ERROR;
    }
    if (!is_of_stream)
        return NGHTTP2_PROTOCOL_ERROR;
    return is_fitting ? NGHTTP2_NO_ERROR : NGHTTP2_FRAME_SIZE_ERROR;
}

/* How much of its payload is looked at. */
static size_t wanted_of(const struct fg_h2_frame_head *hd)
{
    switch (hd->type) {
    case NGHTTP2_GOAWAY:
        return GOAWAY_BYTES; /* and not what it says for people */
    case NGHTTP2_PRIORITY_UPDATE:
        return hd->length < UPDATE_BYTES_MAX ? hd->length : UPDATE_BYTES_MAX;
    default:
        return hd->length;
    }
}

static void begin_control(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    uint32_t code = check_form(hd);
    size_t wanted = wanted_of(hd);
    h2->control.len = 0;
    h2->control.wanted = 0;
    if (code == NGHTTP2_FRAME_SIZE_ERROR && hd->type == NGHTTP2_PRIORITY) {
        refuse_priority(h2, hd->stream_id, code, "a priority of the wrong length");
        return;
    }
    if (code != NGHTTP2_NO_ERROR) {
        fail(h2, code, "a frame of the wrong length, or on the wrong stream");
        return;
    }
    if (wanted > sizeof(h2->control.bytes)) {
        fg_h2_fail_flood(h2, "more settings than there are");
        return;
    }
    h2->control.wanted = (uint8_t)wanted;
    if (wanted == 0)
        take_control(h2, h2->control.bytes, 0);
}

/* Both windows are counted down, whether or not anybody takes what comes. */
static void begin_data(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    int32_t length = (int32_t)hd->length;
    bool is_padded = (hd->flags & NGHTTP2_FLAG_PADDED) != 0;
    h2->data_wire = NULL;
    h2->padding_left = 0;
    h2->awaits_padding = is_padded;
    if (is_idle(h2, hd->stream_id)) {
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "content of a stream that was never opened");
        return;
    }
    if (is_padded && length == 0) {
        fail(h2, NGHTTP2_FRAME_SIZE_ERROR, "padding in no payload");
        return;
    }
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, hd->stream_id);
    bool is_late = wire == NULL || wire->is_reset;
    if (is_late && !fg_h2_guard_gone(h2, hd))
        return;
    if (length > h2->recv_left) {
        fail(h2, NGHTTP2_FLOW_CONTROL_ERROR, "content beyond the connection's window");
        return;
    }
    h2->recv_left -= length;
    if (is_late)
        return;
    if (wire->is_remote_ended) {
        fg_h2_reset_for(h2, wire, NGHTTP2_STREAM_CLOSED, "content behind the end of a stream");
    } else if (length > wire->recv_left) {
        fg_h2_reset_for(h2, wire, NGHTTP2_FLOW_CONTROL_ERROR, "content beyond a stream's window");
    } else {
        wire->recv_left -= length;
        h2->data_wire = wire;
    }
}

static void end_data(struct fg_h2 *h2)
{
    struct fg_h2_wire *wire = h2->data_wire;
    h2->data_wire = NULL;
    if (wire == NULL || wire->is_reset || (h2->frame.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return;
    wire->is_remote_ended = true;
    fg_h2_end_data(h2, wire);
}

/* ---- header blocks ---- */

static void take_head(struct fg_h2 *h2)
{
    const struct fg_h2_block *block = &h2->block;
    int32_t id = block->stream_id;
    bool is_end = (block->flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, id);
    if (id > h2->newest_id) {
        fg_h2_begin_stream(h2, id, is_end);
    } else if (wire == NULL || wire->is_reset) {
        fg_h2_read_unwanted(h2);
    } else if (wire->is_remote_ended) {
        fg_h2_reset_for(h2, wire, NGHTTP2_STREAM_CLOSED, "a head behind the end of a stream");
        fg_h2_read_unwanted(h2);
    } else {
        wire->is_remote_ended = is_end;
        fg_h2_take_trailers(h2, wire, is_end);
    }
}

static void take_block(struct fg_h2 *h2, const uint8_t **at, const uint8_t *end)
{
    uint32_t code;
    switch (fg_h2_block_take(&h2->block, at, end, &code)) {
    case FG_H2_BLOCK_PART:
        break;
    case FG_H2_BLOCK_WHOLE:
        take_head(h2);
        fg_h2_block_drop(&h2->block);
        break;
    case FG_H2_BLOCK_BAD:
        fail(h2, code, "a head in a frame that cannot be");
        break;
    case FG_H2_BLOCK_NO_MEMORY:
        fail(h2, NGHTTP2_INTERNAL_ERROR, "no memory for a head");
        break;
    }
}

static void begin_block_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    if (!h2->block.is_open && hd->stream_id % 2 == 0) {
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a head on a stream that is none of a client's");
        return;
    }
    if (!h2->block.is_open && hd->stream_id <= h2->newest_id) {
        const struct fg_h2_wire *wire = fg_h2_wires_find(&h2->wires, hd->stream_id);
        if ((wire == NULL || wire->is_reset) && !fg_h2_guard_gone(h2, hd))
            return;
    }
    uint32_t code = fg_h2_block_begin_frame(&h2->block, hd);
    if (code == NGHTTP2_ENHANCE_YOUR_CALM)
        fg_h2_fail_flood(h2, "a head in too many pieces, or too large");
    else if (code != NGHTTP2_NO_ERROR)
        fail(h2, code, "a head that is interrupted");
}

/* ---- bytes ---- */

/* No payload of it has been looked at; of one without payload there is nothing else to come. */
static void begin_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    if (!fg_h2_guard_frame(h2, hd))
        return;
    if (h2->block.is_open || hd->type == NGHTTP2_HEADERS) {
        begin_block_frame(h2, hd);
        return;
    }
    h2->frame = *hd;
    h2->frame_left = hd->length;
    switch (hd->type) {
    case NGHTTP2_DATA:
        begin_data(h2, hd);
        if (hd->length == 0 && !h2->has_failed)
            end_data(h2);
        break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
    case NGHTTP2_GOAWAY:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_PRIORITY_UPDATE:
        begin_control(h2, hd);
        break;
    case NGHTTP2_CONTINUATION:
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "a head that goes on without a beginning");
        break;
    default:
        break; /* unknown: skipped (section 4.1) */
    }
}

static void give_back(struct fg_h2 *h2, size_t len)
{
    if (h2->data_wire != NULL)
        fg_h2_give_back(h2, h2->data_wire, len);
    else
        fg_h2_give_back_unread(h2, len);
}

static void take_padding_length(struct fg_h2 *h2, uint8_t length)
{
    h2->awaits_padding = false;
    h2->padding_left = length;
    give_back(h2, 1);
    if (length > h2->frame_left)
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "more padding than there is");
}

/* `part` bytes of what is left of the frame. */
static void take_data(struct fg_h2 *h2, const uint8_t *at, size_t part)
{
    if (h2->awaits_padding) {
        h2->frame_left--;
        part--;
        take_padding_length(h2, *at++);
        if (h2->has_failed)
            return;
    }
    size_t content_left = h2->frame_left - h2->padding_left;
    size_t content = part < content_left ? part : content_left;
    h2->frame_left -= part;
    h2->padding_left -= part - content;
    if (part > content)
        give_back(h2, part - content);
    if (content > 0 && h2->data_wire == NULL)
        fg_h2_give_back_unread(h2, content);
    else if (content > 0)
        fg_h2_take_data(h2, h2->data_wire, at, content);
    if (h2->frame_left == 0 && !h2->has_failed)
        end_data(h2);
}

static void take_payload(struct fg_h2 *h2, const uint8_t *at, size_t part)
{
    struct fg_h2_control *control = &h2->control;
    if (h2->frame.type == NGHTTP2_DATA) {
        take_data(h2, at, part);
        return;
    }
    h2->frame_left -= part;
    size_t missing = (size_t)control->wanted - control->len;
    if (missing == 0)
        return; /* of an unknown frame, or behind what is looked at */
    if (control->len == 0 && part >= missing) {
        control->len = control->wanted;
        take_control(h2, at, control->wanted);
        return;
    }
    size_t taken = part < missing ? part : missing;
    memcpy(control->bytes + control->len, at, taken);
    control->len = (uint8_t)(control->len + taken);
    if (taken == missing)
        take_control(h2, control->bytes, control->wanted);
}

static void take_preface(struct fg_h2 *h2, const uint8_t **at, const uint8_t *end)
{
    static const char preface[] = NGHTTP2_CLIENT_MAGIC;
    const char *rest = &preface[NGHTTP2_CLIENT_MAGIC_LEN - h2->preface_left];
    size_t there = (size_t)(end - *at);
    size_t part = there < h2->preface_left ? there : h2->preface_left;
    if (memcmp(*at, rest, part) != 0)
        fail(h2, NGHTTP2_PROTOCOL_ERROR, "not the preface of HTTP/2");
    *at += part;
    h2->preface_left -= part;
}

size_t fg_h2_take_frames(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len;
    const uint8_t *at = data;
    struct fg_h2_frame_head hd;
    while (!h2->has_failed && !fg_transport_gives_way(h2->codec.transport) &&
           (at < end || (h2->block.is_in_frame && h2->block.frame_left == 0))) {
        if (h2->block.is_in_frame) {
            take_block(h2, &at, end);
        } else if (h2->frame_left > 0) {
            size_t there = (size_t)(end - at);
            size_t part = there < h2->frame_left ? there : h2->frame_left;
            take_payload(h2, at, part);
            at += part;
        } else if (h2->preface_left > 0) {
            take_preface(h2, &at, end);
        } else if (fg_h2_scan_head(&h2->scan, &at, end, &hd)) {
            begin_frame(h2, &hd);
        }
    }
    return (size_t)(at - data);
}
