/*
 * h2_request.c: what the client says, as requests.
 * Job      header blocks into heads, DATA into on_body, resets into on_gone; what a request may be
 *          (h2_check.h), content against its length; flow control by what handlers have consumed.
 * Thread   the loop's.
 * Never    looks at what frames are and when they may come: h2_frames.c does.
 */
#include "http/h2_internal.h"

#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"

#include <assert.h>

#define FIELD_OVERHEAD 32u /* of work, whatever it says; RFC 9113 section 6.5.2 counts it as well */
#define TEXT_ROOM ((size_t)2048) /* on the stack, for what Huffman's code says */

static void on_body_timeout(struct fg_timeout *timeout)
{
    struct fg_stream *stream = FG_CONTAINER_OF(timeout, struct fg_stream, body_timeout);
    struct fg_h2 *h2 = fg_h2_of(stream->codec);
    struct fg_codec_env *env = h2->codec.transport->env;
    if (stream->is_lingering)
        fg_h2_dismiss(h2, stream);
    if (stream->state != FG_STREAM_OPEN || stream->is_body_complete)
        return;
    bool is_handlers = stream->unconsumed >= FG_BODY_WINDOW / 2;
    if (is_handlers || !fg_stream_is_body_late(stream)) {
        fg_timeout_arm(&env->timeouts, timeout, FG_TIMEOUT_BODY);
        return;
    }
    fg_counter_add_owned(&env->stats->timeouts, 1);
    fg_stream_gone(stream, FG_GONE_TIMEOUT);
    stream->is_refusing = true;
    if (stream->is_head_sent)
        fg_h2_reset(h2, stream, NGHTTP2_CANCEL);
    else
        fg_stream_answer_error(stream, FG_HTTP_BODY_TIMEOUT);
}

/*
 * Nothing of this stream was sent for long. That is the client's doing when its window is shut;
 * where it is open, other streams may only have gone first.
 */
static void on_write_timeout(struct fg_timeout *timeout)
{
    struct fg_stream *stream = FG_CONTAINER_OF(timeout, struct fg_stream, write_timeout);
    struct fg_h2 *h2 = fg_h2_of(stream->codec);
    struct fg_codec_env *env = h2->codec.transport->env;
    if (stream->wire.send_window > 0 &&
        fg_loop_now_ns(env->loop) - h2->moved_ns < env->limits->write_timeout_ns) {
        fg_timeout_arm(&env->timeouts, timeout, FG_TIMEOUT_STREAM_WRITE);
        return;
    }
    fg_counter_add_owned(&env->stats->timeouts, 1);
    fg_stream_gone(stream, FG_GONE_TIMEOUT);
    stream->req.was_aborted = true;
    fg_h2_reset(h2, stream, NGHTTP2_CANCEL);
}

static void note_priority(struct fg_stream *stream, struct fg_span value)
{
    if (!stream->has_priority)
        stream->priority = FG_PRIORITY_FIELD_USUAL;
    stream->has_priority = true;
    stream->has_bad_priority |= !fg_priority_field_add(value, &stream->priority);
}

static enum fg_http_error add_to_head(struct fg_stream *stream, enum fg_h2_kind kind,
                                      const struct fg_hpack_item *item)
{
    struct fg_head *head = &stream->head;
    bool is_name_lasting = (item->static_index | item->static_name) != 0;
    switch (kind) {
    case FG_H2_METHOD:
        return fg_head_set_method(head, item->value);
    case FG_H2_PATH:
        return fg_head_set_target(head, item->value);
    case FG_H2_AUTHORITY:
        return fg_head_set_authority(head, item->value);
    case FG_H2_PROTOCOL:
        return fg_head_set_protocol(head, item->value);
    case FG_H2_SCHEME:
        /* The connection says better which of the two it is. */
        return fg_h2_check_has_known_scheme(&stream->check) ? FG_HTTP_OK : FG_HTTP_BAD_TARGET;
    default:
        return fg_head_add_checked(head, fg_h2_id_of_kind(kind), item->name, item->value,
                                   is_name_lasting);
    }
}

/* The client wants no table to hold it: not ours, and none behind us (RFC 7541 section 7.1.3). */
static void note_mark(struct fg_stream *stream, const struct fg_hpack_item *item)
{
    if (!item->is_never || stream->error != FG_HTTP_OK)
        return;
    struct fg_exchange *ex = &stream->req.ex;
    if (!fg_never_indexed_add(&ex->never_indexed, ex->arena, item->name))
        stream->error = FG_HTTP_NO_MEMORY;
}

/* The field is one that may stand there. */
static void take_field(struct fg_stream *stream, enum fg_h2_kind kind,
                       const struct fg_hpack_item *item, bool is_trailer)
{
    if (kind == FG_H2_PRIORITY && !is_trailer)
        note_priority(stream, item->value);
    if (stream->error != FG_HTTP_OK ||
        stream->state != (is_trailer ? FG_STREAM_OPEN : FG_STREAM_HEAD))
        return;
    if (!is_trailer)
        stream->error = add_to_head(stream, kind, item);
    else if (!stream->is_refusing)
        stream->error = fg_stream_trailer_error(
            fg_trailers_add(&stream->trailers, stream->req.ex.arena, item->name, item->value));
    note_mark(stream, item);
}

/*
 * A head that is somewhat too large is answered 431. But one byte can name a field of 4 KiB again,
 * or 100,000 bytes as many fields of next to nothing: what is far beyond any head is there to burn
 * time, and ends the connection in the middle of it.
 */
static void defuse(struct fg_h2 *h2)
{
    fg_h2_fail_flood(h2, "a head far beyond any");
}

/* The fields of trailers that nobody takes are checked all the same. NULL: it was not malformed. */
static const char *take_block(struct fg_h2 *h2, struct fg_stream *stream, struct fg_h2_check *check,
                              bool is_trailer, enum fg_hpack_found *found, uint64_t bytes_max)
{
    struct fg_hpack_item item;
    uint64_t bytes = 0;
    bool is_fine = true;
    while ((*found = fg_hpack_reader_next(&h2->reader, &item)) == FG_HPACK_FIELD) {
        bytes += item.name.len + item.value.len + FIELD_OVERHEAD;
        if (bytes > bytes_max)
            return NULL;
        if (check == NULL || !is_fine)
            continue;
        uint8_t note = fg_h2_note_of_item(&item);
        is_fine = fg_h2_check_field(check, note, item.value, is_trailer);
        if (is_fine && stream != NULL)
            take_field(stream, fg_h2_kind_of_note(note), &item, is_trailer);
    }
    bool is_end = (h2->block.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!is_fine)
        return "a field that may not stand there";
    if (check != NULL && h2->block.depends_on == h2->block.stream_id)
        return "a stream that depends on itself";
    if (check != NULL &&
        !(is_trailer ? fg_h2_check_trailers(check, is_end) : fg_h2_check_head(check, is_end)))
        return "fields that do not make a message";
    return NULL;
}

/*
 * Reads the whole block that is there: for its stream; for `check` alone, when its request is
 * answered; or for the table alone. False: the wire, if there is one, is reset, or the connection
 * has failed.
 */
static bool read_block(struct fg_h2 *h2, struct fg_h2_wire *wire, struct fg_stream *stream,
                       struct fg_h2_check *check, bool is_trailer)
{
    const struct fg_limits_conf *limits = h2->codec.transport->env->limits;
    char room[TEXT_ROOM];
    enum fg_hpack_found found;
    fg_hpack_reader_begin(&h2->reader, h2->block.data, h2->block.len, room, sizeof(room));
    uint64_t most = FG_H2_BOMB_HEADS * limits->header_bytes_max +
                    FIELD_OVERHEAD * (uint64_t)limits->header_count_max;
    const char *problem = take_block(h2, stream, check, is_trailer, &found, most);
    if (found == FG_HPACK_FIELD)
        defuse(h2);
    else if (found == FG_HPACK_NO_MEMORY)
        fg_h2_fail(h2, NGHTTP2_INTERNAL_ERROR, "no memory for a table of fields");
    else if (found == FG_HPACK_MALFORMED)
        fg_h2_fail(h2, NGHTTP2_COMPRESSION_ERROR, "a header block that is none");
    else if (problem != NULL)
        fg_h2_reset_for(h2, wire, NGHTTP2_PROTOCOL_ERROR, problem);
    return problem == NULL && !h2->has_failed;
}

void fg_h2_read_unwanted(struct fg_h2 *h2)
{
    (void)read_block(h2, NULL, NULL, NULL, false); /* or it has failed */
}

/* Of an open stream. */
static struct fg_h2_check *check_of(struct fg_h2_wire *wire)
{
    struct fg_stream *stream = fg_h2_stream_of(wire);
    return stream != NULL ? &stream->check : fg_h2_drain_check(wire);
}

static void arm_body(struct fg_h2 *h2, struct fg_stream *stream)
{
    fg_timeout_arm(&h2->codec.transport->env->timeouts, &stream->body_timeout, FG_TIMEOUT_BODY);
}

/*
 * Answered here, a request that is none meets no rate limit: the allowance is its only bound. One
 * client of a proxy must not end what is under way for all others; that one bounds its clients.
 */
static void refuse_request(struct fg_h2 *h2, struct fg_stream *stream, bool is_end)
{
    fg_counter_add_owned(&h2->codec.transport->env->stats->protocol_errors, 1);
    stream->is_body_complete = is_end;
    stream->is_refusing = true;
    fg_stream_answer_error(stream, stream->error);
    bool is_free = stream->error == FG_HTTP_NO_MEMORY || h2->codec.transport->is_shared;
    bool may_go_on = is_free || fg_h2_spend(h2, FG_H2_RESET_COST);
    assert(may_go_on || h2->has_failed);
}

static void begin_request(struct fg_h2 *h2, struct fg_stream *stream, bool is_end)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    h2->request_count++;
    fg_h2_apply_priority(h2, stream);
    if (stream->error == FG_HTTP_OK)
        stream->error = fg_stream_finish_head(stream);
    if (stream->error != FG_HTTP_OK) {
        refuse_request(h2, stream, is_end);
        return;
    }
    fg_counter_add_owned(&env->stats->requests_h2, 1);
    struct fg_exchange *ex = &stream->req.ex;
    ex->has_body = !is_end && ex->upgrade.data == NULL;
    if (is_end)
        ex->content_length = 0;
    stream->is_body_complete = is_end && ex->upgrade.data == NULL; /* a tunnel's end is told */
    fg_stream_begin(stream);
    uint32_t max = env->limits->requests_per_connection_max;
    bool is_running = h2->shutdown == FG_H2_RUNNING;
    if (is_running &&
        ((max != 0 && h2->request_count >= max) || fg_codec_must_close(h2->codec.transport)))
        fg_h2_shut_down(h2);
    if (is_end || stream->state != FG_STREAM_OPEN || ex->upgrade.data != NULL)
        return;
    if (ex->content_length > 0 && (uint64_t)ex->content_length > ex->body_bytes_max) {
        fg_stream_refuse_body(stream);
        return;
    }
    if (stream->head.has_expect && !stream->is_head_sent)
        fg_h2_send_continue(h2, stream);
    arm_body(h2, stream);
}

static bool takes_body(const struct fg_stream *stream)
{
    return stream != NULL && stream->state == FG_STREAM_OPEN && !stream->is_refusing &&
           !stream->check.is_broken;
}

void fg_h2_flush_gathered(struct fg_h2 *h2)
{
    struct fg_stream *stream = h2->gather_stream;
    size_t len = h2->gather_len;
    h2->gather_stream = NULL;
    h2->gather_len = 0;
    if (len > 0 && takes_body(stream))
        stream->req.handler->on_body(&stream->req, h2->gather, len, false);
}

/* To the handler, or behind what waits for the end of this input. */
static void pass_data(struct fg_h2 *h2, struct fg_stream *stream, const uint8_t *data, size_t len)
{
    if (h2->gather_stream != stream || len >= FG_SMALL_PIECE ||
        len > FG_GATHER_BYTES - h2->gather_len)
        fg_h2_flush_gathered(h2);
    if (len < FG_SMALL_PIECE) {
        h2->gather_stream = stream;
        memcpy(h2->gather + h2->gather_len, data, len);
        h2->gather_len += len;
    } else if (takes_body(stream)) {
        stream->req.handler->on_body(&stream->req, data, len, false);
    }
}

static void count_unwanted(struct fg_h2 *h2, struct fg_stream *stream, size_t len)
{
    stream->unwanted += len;
    if (stream->is_lingering && stream->unwanted > FG_H2_UNWANTED_MAX)
        fg_h2_dismiss(h2, stream);
}

/* Not the content that was announced (RFC 9113 section 8.1.1). */
static void reset_bad_length(struct fg_h2 *h2, struct fg_h2_wire *wire)
{
    check_of(wire)->is_broken = true;
    fg_h2_reset_for(h2, wire, NGHTTP2_PROTOCOL_ERROR, "content of another length than was said");
}

void fg_h2_take_data(struct fg_h2 *h2, struct fg_h2_wire *wire, const uint8_t *data, size_t len)
{
    struct fg_stream *stream = fg_h2_stream_of(wire);
    if (!wire->is_reset && !fg_h2_check_content(check_of(wire), len))
        reset_bad_length(h2, wire);
    bool is_wanted = !wire->is_reset && takes_body(stream);
    bool is_tunnel = is_wanted && stream->req.ex.upgrade.data != NULL;
    if (is_tunnel) {
        stream->req.bytes_in += len;
    } else if (is_wanted && !fg_stream_count_body(stream, len)) {
        fg_stream_refuse_body(stream);
        is_wanted = false;
    }
    if (!is_wanted) {
        /* The connection's window opens again, the stream's does not: that stops the client. */
        fg_h2_give_back_unread(h2, len);
        if (stream != NULL)
            count_unwanted(h2, stream, len);
        else
            (void)fg_h2_drain_note(h2, wire, len); /* or it has failed */
        return;
    }
    stream->unconsumed += len;
    if (!is_tunnel)
        arm_body(h2, stream);
    pass_data(h2, stream, data, len);
}

/* What stands behind the body cannot be taken: nor can the request. */
static void refuse_trailers(struct fg_h2 *h2, struct fg_stream *stream)
{
    fg_counter_add_owned(&h2->codec.transport->env->stats->protocol_errors, 1);
    stream->is_refusing = true;
    fg_stream_gone(stream, FG_GONE_PROTOCOL);
    if (stream->is_head_sent)
        fg_h2_reset(h2, stream, NGHTTP2_PROTOCOL_ERROR);
    else
        fg_stream_answer_error(stream, stream->error);
}

static void end_body(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (stream->is_body_complete)
        return;
    if (stream->state == FG_STREAM_OPEN && !stream->is_refusing && stream->error != FG_HTTP_OK) {
        stream->is_body_complete = true;
        refuse_trailers(h2, stream);
        return;
    }
    fg_stream_set_trailers(stream);
    size_t len = 0;
    if (h2->gather_stream == stream) {
        len = h2->gather_len;
        h2->gather_stream = NULL;
        h2->gather_len = 0;
    }
    stream->is_body_complete = true;
    fg_timeout_cancel(&stream->body_timeout);
    if (stream->state == FG_STREAM_OPEN && !stream->is_refusing)
        stream->req.handler->on_body(&stream->req, len > 0 ? h2->gather : "", len, true);
}

/* Another stream is one too many, or there is no memory for it: it may be tried again. */
static void refuse_stream(struct fg_h2 *h2, int32_t id)
{
    fg_h2_say_reset(h2, id, NGHTTP2_REFUSED_STREAM);
    if (fg_h2_blame(h2, "more streams than allowed"))
        fg_h2_read_unwanted(h2);
}

static struct fg_stream *open_stream(struct fg_h2 *h2, int32_t id)
{
    struct fg_stream *stream = fg_stream_acquire(&h2->codec, FG_HTTP_2, &fg_h2_response_ops);
    if (stream == NULL)
        return NULL;
    if (!fg_h2_wires_open(&h2->wires, &stream->wire, id, h2->initial_window,
                          (int32_t)FG_BODY_WINDOW)) {
        fg_stream_release(stream);
        return NULL;
    }
    stream->check = FG_H2_CHECK_INIT;
    stream->body_timeout.on_due = on_body_timeout;
    stream->write_timeout.on_due = on_write_timeout;
    fg_list_push_back(&h2->streams, &stream->link);
    return stream;
}

void fg_h2_begin_stream(struct fg_h2 *h2, int32_t id, bool is_end)
{
    fg_h2_note_opened(h2, id);
    if (h2->shutdown == FG_H2_FINAL) { /* ignored, as GOAWAY has said */
        fg_h2_resets_note(&h2->resets, id);
        if (fg_h2_spend(h2, FG_H2_LATE_COST))
            fg_h2_read_unwanted(h2);
        return;
    }
    struct fg_stream *stream = h2->wires.count < h2->streams_max ? open_stream(h2, id) : NULL;
    if (stream == NULL) {
        refuse_stream(h2, id);
        return;
    }
    h2->served_id = id;
    stream->wire.is_remote_ended = is_end;
    if (!read_block(h2, &stream->wire, stream, &stream->check, false))
        return;
    begin_request(h2, stream, is_end);
    if (is_end)
        end_body(h2, stream);
}

void fg_h2_take_trailers(struct fg_h2 *h2, struct fg_h2_wire *wire, bool is_end)
{
    struct fg_stream *stream = fg_h2_stream_of(wire);
    if (!read_block(h2, wire, stream, check_of(wire), true) || !is_end)
        return;
    if (stream != NULL && stream->req.ex.upgrade.data != NULL) { /* RFC 9113 section 8.5 */
        fg_h2_reset_for(h2, wire, NGHTTP2_PROTOCOL_ERROR, "a head in a tunnel");
        return;
    }
    if (stream != NULL)
        end_body(h2, stream);
    fg_h2_close_if_ended(h2, wire);
}

void fg_h2_end_data(struct fg_h2 *h2, struct fg_h2_wire *wire)
{
    struct fg_stream *stream = fg_h2_stream_of(wire);
    if (!fg_h2_check_end(check_of(wire))) {
        reset_bad_length(h2, wire);
        return;
    }
    if (stream != NULL)
        end_body(h2, stream);
    fg_h2_close_if_ended(h2, wire);
}

static enum fg_gone_reason reason_of(uint32_t error_code)
{
    switch (error_code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
        return FG_GONE_PROTOCOL;
    default:
        return FG_GONE_STREAM_RESET;
    }
}

void fg_h2_close_wire(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code)
{
    struct fg_stream *stream = fg_h2_stream_of(wire);
    if (h2->data_wire == wire)
        h2->data_wire = NULL;
    fg_h2_wires_close(&h2->wires, wire);
    fg_h2_drain_forget(h2, wire->id);
    if (stream == NULL)
        return;
    fg_h2_drop_heads(h2, stream);
    /* An answer without a body may be out before its handler has called end. */
    bool is_answered = stream->is_body_swallowed && error_code == NGHTTP2_NO_ERROR;
    if (!is_answered)
        fg_stream_gone(stream, reason_of(error_code));
    fg_h2_settle(h2, stream);
}

void fg_h2_close_if_ended(struct fg_h2 *h2, struct fg_h2_wire *wire)
{
    if (wire->is_open && !wire->is_reset && wire->is_remote_ended && wire->is_local_ended)
        fg_h2_close_wire(h2, wire, NGHTTP2_NO_ERROR);
}

void fg_h2_settle(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (stream->wire.is_open || stream->state == FG_STREAM_OPEN)
        return;
    fg_timeout_cancel(&stream->body_timeout);
    fg_timeout_cancel(&stream->write_timeout);
    if (stream->unconsumed > 0) {
        fg_h2_give_back_unread(h2, stream->unconsumed);
        stream->unconsumed = 0;
    }
    fg_list_remove(&stream->link);
    fg_list_push_back(&h2->finished, &stream->link);
}
