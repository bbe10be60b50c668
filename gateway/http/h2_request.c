/*
 * h2_request.c: what the client says, as requests.
 * Job      header blocks into heads, DATA into on_body, resets into on_gone; what a request may be
 *          (h2_check.h), content against its length; flow control by what handlers have consumed.
 * Thread   the loop's, inside nghttp2_session_mem_recv (and, for closing streams, mem_send).
 * Never    takes part in what nghttp2 checks by itself: the states of streams. Of what is in a
 *          block that knows nothing: it gets empty ones, and is told to check no messages.
 */
#include "http/h2_internal.h"

#include "backends/hpack_settings.h"
#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"

#include <assert.h>

#define FIELD_OVERHEAD 32u /* of work, whatever it says; RFC 9113 section 6.5.2 counts it as well */
#define TEXT_ROOM ((size_t)2048) /* on the stack, for what Huffman's code says */

static struct fg_stream *stream_by_id(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static void on_body_timeout(struct fg_timeout *timeout)
{
    struct fg_stream *stream = FG_CONTAINER_OF(timeout, struct fg_stream, body_timeout);
    struct fg_h2 *h2 = fg_h2_of(stream->codec);
    struct fg_codec_env *env = h2->codec.transport->env;
    if (stream->is_lingering)
        fg_h2_dismiss(h2, stream);
    if (stream->state != FG_STREAM_OPEN || stream->is_body_complete)
        return;
    if (stream->unconsumed >= FG_BODY_WINDOW / 2) {
        fg_timeout_arm(&env->timeouts, timeout, FG_TIMEOUT_BODY); /* the handler is the slow one */
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
    bool is_shut = nghttp2_session_get_stream_remote_window_size(h2->session, stream->id) <= 0;
    if (!is_shut && fg_loop_now_ns(env->loop) - h2->moved_ns < env->limits->write_timeout_ns) {
        fg_timeout_arm(&env->timeouts, timeout, FG_TIMEOUT_STREAM_WRITE);
        return;
    }
    fg_counter_add_owned(&env->stats->timeouts, 1);
    fg_stream_gone(stream, FG_GONE_TIMEOUT);
    stream->req.was_aborted = true;
    fg_h2_reset(h2, stream, NGHTTP2_CANCEL);
}

/*
 * The session resets the stream for what it did not like, or we do: such resets cost as much as the
 * client's own. False: more than it has.
 */
static bool note_malformed(struct fg_h2 *h2, const char *reason)
{
    fg_codec_note_error(h2->codec.transport, "h2", reason);
    h2->resets_paid++;
    return fg_h2_spend(h2, FG_H2_RESET_COST);
}

static int reset_malformed(struct fg_h2 *h2, int32_t id, const char *reason)
{
    fg_h2_resets_note(&h2->resets, id);
    if (nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return note_malformed(h2, reason) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
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
static int defuse(struct fg_h2 *h2)
{
    fg_counter_add_owned(&h2->codec.transport->env->stats->h2_floods, 1);
    h2->failure_code = NGHTTP2_ENHANCE_YOUR_CALM;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
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
    bool is_end = (h2->input.block.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!is_fine)
        return "a field that may not stand there";
    if (check != NULL &&
        !(is_trailer ? fg_h2_check_trailers(check, is_end) : fg_h2_check_head(check, is_end)))
        return "fields that do not make a message";
    return NULL;
}

int fg_h2_read_block(struct fg_h2 *h2, int32_t id, struct fg_stream *stream,
                     struct fg_h2_check *check, bool is_trailer)
{
    struct fg_h2_block *block = &h2->input.block;
    const struct fg_limits_conf *limits = h2->codec.transport->env->limits;
    char room[TEXT_ROOM];
    enum fg_hpack_found found;
    block->is_unread = false;
    fg_hpack_reader_begin(&h2->reader, block->data, block->len, room, sizeof(room));
    uint64_t most = FG_H2_BOMB_HEADS * limits->header_bytes_max +
                    FIELD_OVERHEAD * (uint64_t)limits->header_count_max;
    const char *problem = take_block(h2, stream, check, is_trailer, &found, most);
    if (found == FG_HPACK_FIELD)
        return defuse(h2);
    if (found == FG_HPACK_NO_MEMORY)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    block->has_bad_table = found == FG_HPACK_MALFORMED;
    if (block->has_bad_table && check != NULL) /* nobody may take this for a head that is whole */
        return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id,
                                         NGHTTP2_COMPRESSION_ERROR);
    return problem == NULL || block->has_bad_table ? 0 : reset_malformed(h2, id, problem);
}

/* Of a stream that the session knows; NULL: it is about to be reset. */
static struct fg_h2_check *check_of(struct fg_h2 *h2, struct fg_stream *stream, int32_t id)
{
    return stream != NULL ? &stream->check : fg_h2_drain_check(h2, id);
}

static int begin_head(struct fg_h2 *h2, int32_t id)
{
    fg_h2_note_opened(h2, id);
    struct fg_stream *stream = fg_stream_acquire(&h2->codec, FG_HTTP_2, &fg_h2_response_ops);
    if (stream == NULL)
        return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id,
                                         NGHTTP2_REFUSED_STREAM) == 0
                   ? 0
                   : NGHTTP2_ERR_CALLBACK_FAILURE;
    stream->id = id;
    stream->check = FG_H2_CHECK_INIT;
    stream->body_timeout.on_due = on_body_timeout;
    stream->write_timeout.on_due = on_write_timeout;
    fg_list_push_back(&h2->streams, &stream->link);
    nghttp2_session_set_stream_user_data(h2->session, id, stream);
    return fg_h2_read_block(h2, id, stream, &stream->check, false);
}

/* The session wants what the block says. on_frame_recv is next, if the stream is not reset. */
static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return begin_head(h2, id);
    struct fg_stream *stream = stream_by_id(session, id);
    return fg_h2_read_block(h2, id, stream, check_of(h2, stream, id), true);
}

static void arm_body(struct fg_h2 *h2, struct fg_stream *stream)
{
    fg_timeout_arm(&h2->codec.transport->env->timeouts, &stream->body_timeout, FG_TIMEOUT_BODY);
}

static void begin_request(struct fg_h2 *h2, struct fg_stream *stream, bool is_end)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    h2->request_count++;
    fg_h2_apply_priority(h2, stream);
    if (stream->error == FG_HTTP_OK)
        stream->error = fg_stream_finish_head(stream);
    if (stream->error != FG_HTTP_OK) {
        fg_counter_add_owned(&env->stats->protocol_errors, 1);
        stream->is_body_complete = is_end;
        stream->is_refusing = true;
        fg_stream_answer_error(stream, stream->error);
        return;
    }
    fg_counter_add_owned(&env->stats->requests_h2, 1);
    struct fg_exchange *ex = &stream->req.ex;
    ex->has_body = !is_end && ex->upgrade.data == NULL;
    if (is_end)
        ex->content_length = 0;
    stream->is_body_complete = is_end;
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

/* Not the content that was announced (RFC 9113 section 8.1.1). False: no memory to say so. */
static bool reset_bad_length(struct fg_h2 *h2, struct fg_h2_check *check, int32_t id)
{
    check->is_broken = true;
    return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR) ==
           0;
}

static bool keeps_length(struct fg_h2 *h2, struct fg_h2_check *check, int32_t id, size_t len)
{
    return check == NULL || check->is_broken || fg_h2_check_content(check, len) ||
           reset_bad_length(h2, check, id);
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *user_data)
{
    (void)flags;
    struct fg_h2 *h2 = user_data;
    struct fg_stream *stream = stream_by_id(session, stream_id);
    if (!keeps_length(h2, check_of(h2, stream, stream_id), stream_id, len))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    bool is_wanted = takes_body(stream);
    bool is_tunnel = is_wanted && stream->req.ex.upgrade.data != NULL;
    if (is_tunnel) {
        stream->req.bytes_in += len;
    } else if (is_wanted && !fg_stream_count_body(stream, len)) {
        fg_stream_refuse_body(stream);
        is_wanted = false;
    }
    if (!is_wanted) {
        /* The connection's window opens again, the stream's does not: that stops the client. */
        nghttp2_session_consume_connection(session, len);
        if (stream != NULL)
            count_unwanted(h2, stream, len);
        return fg_h2_drain_note(h2, stream_id, len) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    stream->unconsumed += len;
    if (!is_tunnel)
        arm_body(h2, stream);
    pass_data(h2, stream, data, len);
    return 0;
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

/* False: no memory to say what is wrong. */
static bool end_data(struct fg_h2 *h2, int32_t id)
{
    struct fg_stream *stream = stream_by_id(h2->session, id);
    struct fg_h2_check *check = check_of(h2, stream, id);
    if (check != NULL && !fg_h2_check_end(check))
        return reset_bad_length(h2, check, id);
    if (stream != NULL)
        end_body(h2, stream);
    return true;
}

static void on_settings(struct fg_h2 *h2, const nghttp2_settings *settings)
{
    if ((settings->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        h2->awaits_ack = false;
        fg_h2_tell_streams_max(h2);
    }
    fg_hpack_take_settings(&h2->hpack, settings);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct fg_stream *stream;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        stream = stream_by_id(session, frame->hd.stream_id);
        if (stream == NULL)
            break;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            begin_request(h2, stream, is_end);
        else if (is_end)
            end_body(h2, stream); /* trailers */
        break;
    case NGHTTP2_DATA:
        if (is_end && !end_data(h2, frame->hd.stream_id))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_SETTINGS:
        on_settings(h2, &frame->settings);
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && h2->shutdown == FG_H2_NOTICED) {
            h2->shutdown = FG_H2_FINAL;
            nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                                  nghttp2_session_get_last_proc_stream_id(session),
                                  NGHTTP2_NO_ERROR, NULL, 0);
        }
        break;
    case NGHTTP2_PRIORITY_UPDATE:
        return fg_h2_take_update(h2, frame->hd.stream_id) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    default:
        break;
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    (void)session;
    struct fg_h2 *h2 = user_data;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        if (frame->hd.stream_id > h2->newest_id) /* refused before it began */
            fg_h2_note_opened(h2, frame->hd.stream_id);
        fg_h2_resets_note(&h2->resets, frame->hd.stream_id);
    }
    return note_malformed(h2, nghttp2_strerror(error)) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
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

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    struct fg_h2 *h2 = user_data;
    struct fg_stream *stream = stream_by_id(session, stream_id);
    fg_h2_drain_forget(h2, stream_id);
    if (stream == NULL)
        return 0;
    stream->is_closed = true;
    /* An answer without a body may be out before its handler has called end. */
    bool is_answered = stream->is_body_swallowed && error_code == NGHTTP2_NO_ERROR;
    if (!is_answered)
        fg_stream_gone(stream, reason_of(error_code));
    fg_h2_settle(h2, stream);
    return 0;
}

void fg_h2_settle(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (!stream->is_closed || stream->state == FG_STREAM_OPEN)
        return;
    fg_timeout_cancel(&stream->body_timeout);
    fg_timeout_cancel(&stream->write_timeout);
    if (stream->unconsumed > 0) {
        nghttp2_session_consume_connection(h2->session, stream->unconsumed);
        stream->unconsumed = 0;
    }
    fg_list_remove(&stream->link);
    fg_list_push_back(&h2->finished, &stream->link);
}

void fg_h2_set_request_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
