/*
 * h2_response.c: turns a handler's calls into HEADERS and DATA.
 * Job      hand the head to h2_head.c; keep the body in the stream's queue until nghttp2 wants a
 *          DATA frame of it, and then copy it straight behind the frame's header in the
 *          connection's buffer.
 * Thread   the loop's.
 * Never    calls the handler from inside its own call.
 */
#include "http/h2_internal.h"

#include "config/config.h"
#include "http/fields.h"
#include "net/loop.h"

#include <assert.h>

#define FRAME_HEAD_BYTES ((size_t)9)
#define EARNED_BY_DATA 4 /* a window update for the stream, one for the connection, half a ping */
#define DRIBBLE_BYTES ((size_t)1024) /* no window of a client that means to read is so small */

static struct fg_h2 *h2_of(const struct fg_stream *stream)
{
    return fg_h2_of(stream->codec);
}

static void wake(struct fg_h2 *h2)
{
    h2->codec.transport->ops->wake(h2->codec.transport);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                         uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    (void)stream_id;
    (void)buf;
    struct fg_h2 *h2 = user_data;
    struct fg_stream *stream = source->ptr;
    bool has_ended = stream->state != FG_STREAM_OPEN;
    if (stream->out.len == 0 && !has_ended) {
        stream->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    assert(h2->room >= FG_H2_ROOM_MIN);
    size_t room = h2->room - FRAME_HEAD_BYTES;
    size_t len = stream->out.len;
    if (len > length)
        len = length;
    if (len > room)
        len = room;
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (has_ended && len == stream->out.len) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->response_trailer_count > 0 && fg_h2_say_trailers(h2, stream))
            *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)len;
}

static void tell_writable(struct fg_h2 *h2, struct fg_stream *stream)
{
    size_t limit = (size_t)h2->codec.transport->env->limits->connection_buffer_bytes;
    if (!stream->is_writer_blocked || stream->state != FG_STREAM_OPEN ||
        stream->out.len > limit / 2)
        return;
    stream->is_writer_blocked = false;
    stream->req.handler->on_writable(&stream->req);
}

/*
 * The answer is out; what the client still wants to send is of no use (RFC 9113 section 8.1): a
 * reset says so, when h2_drain.c does not read it and it does not end soon by itself. Not before,
 * because the session drops what is queued for a stream behind a reset; and not with it: clients
 * that find both in one read (curl before 8.1) take the answer for lost.
 */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    bool is_head = frame->hd.type == NGHTTP2_HEADERS;
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        fg_h2_note_reset_sent(user_data, frame->hd.stream_id, frame->rst_stream.error_code);
    if (!is_head && !(frame->hd.type == NGHTTP2_DATA && is_end))
        return 0;
    struct fg_stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    if (is_head)
        fg_h2_note_head(user_data, stream);
    if (is_end && !stream->is_body_complete) {
        stream->owes_reset = true;
        h2_of(stream)->owes_resets = true;
    }
    return 0;
}

/* Did the client's window make the frame so short? Whoever opens it by bytes earns nothing. */
static bool is_dribble(const struct fg_h2 *h2, const struct fg_stream *stream, size_t len)
{
    if (len >= DRIBBLE_BYTES || stream->out.len == 0)
        return false;
    int32_t window = nghttp2_session_get_stream_remote_window_size(h2->session, stream->id);
    int32_t all = nghttp2_session_get_remote_window_size(h2->session);
    return (size_t)(window < all ? window : all) <= len;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *user_data)
{
    (void)session;
    struct fg_h2 *h2 = user_data;
    struct fg_stream *stream = source->ptr;
    struct fg_codec_env *env = h2->codec.transport->env;
    assert(frame->data.padlen == 0);
    if (h2->room < FRAME_HEAD_BYTES + length)
        return NGHTTP2_ERR_WOULDBLOCK;
    memcpy(h2->to, framehd, FRAME_HEAD_BYTES);
    size_t taken =
        fg_byte_queue_take(&stream->out, &env->segments, h2->to + FRAME_HEAD_BYTES, length);
    assert(taken == length);
    h2->to += FRAME_HEAD_BYTES + length;
    h2->room -= FRAME_HEAD_BYTES + length;
    if (!is_dribble(h2, stream, length))
        fg_h2_earn(h2, EARNED_BY_DATA);
    h2->moved_ns = fg_loop_now_ns(env->loop);
    stream->taken += length;
    if (stream->out.len == 0) {
        fg_timeout_cancel(&stream->write_timeout);
    } else if (stream->taken >= FG_WRITE_PROGRESS_BYTES) {
        stream->taken = 0;
        fg_timeout_arm(&env->timeouts, &stream->write_timeout, FG_TIMEOUT_STREAM_WRITE);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        tell_writable(h2, stream);
    /* The session would go on to the next frame, whose length is settled before its room is known.
     */
    return h2->room < FG_H2_ROOM_MIN ? NGHTTP2_ERR_PAUSE : 0;
}

static void on_interim(struct fg_request *req, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    assert(!stream->is_head_sent && status > 101 && status < 200);
    if (!stream->is_closed && fg_h2_say_interim(h2, stream, status, fields, field_count))
        wake(h2);
}

void fg_h2_send_continue(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (fg_h2_say_interim(h2, stream, 100, NULL, 0))
        wake(h2);
}

static void on_head(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count, bool is_end)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    const nghttp2_data_provider body = {.source = {.ptr = stream}, .read_callback = read_body};
    assert(!stream->is_head_sent && status <= 599);
    assert(status >= 200 || (status == 101 && req->ex.upgrade.data != NULL && !is_end));
    bool is_bodyless = fg_stream_begin_answer(stream, status);
    stream->is_body_swallowed = is_end || is_bodyless;
    stream->may_drain = status < 400 && req->ex.upgrade.data == NULL;
    if (is_end)
        fg_h2_drain_open(h2, stream);
    stream->is_tunnel = status == 101;
    if (stream->is_tunnel)
        status = 200; /* RFC 8441 section 5 */
    if (!fg_h2_say_head(h2, stream, status, fields, field_count,
                        stream->is_body_swallowed ? NULL : &body))
        fg_h2_reset(h2, stream, NGHTTP2_INTERNAL_ERROR);
    req->first_byte_ns = fg_loop_now_ns(req->loop);
    if (is_end)
        fg_stream_set_state(stream, FG_STREAM_ENDED);
    fg_h2_settle(h2, stream);
    wake(h2);
}

static void resume(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (stream->is_deferred) {
        stream->is_deferred = false;
        nghttp2_session_resume_data(h2->session, stream->id);
    }
    wake(h2);
}

static bool after_write(struct fg_request *req, size_t len, bool is_appended)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    struct fg_codec_env *env = h2->codec.transport->env;
    if (!is_appended) {
        fg_h2_reset(h2, stream, NGHTTP2_INTERNAL_ERROR);
        return true;
    }
    req->bytes_out += len;
    if (stream->write_timeout.due_ns == 0) {
        stream->taken = 0;
        fg_timeout_arm(&env->timeouts, &stream->write_timeout, FG_TIMEOUT_STREAM_WRITE);
    }
    resume(h2, stream);
    /* Once false was returned it stays so until on_writable, which is then certain to come. */
    if (stream->out.len > env->limits->connection_buffer_bytes)
        stream->is_writer_blocked = true;
    return !stream->is_writer_blocked;
}

static bool on_write(struct fg_request *req, const void *data, size_t len)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_codec_env *env = stream->codec->transport->env;
    len = fg_stream_count_answer(stream, len);
    if (len == 0)
        return true;
    return after_write(req, len, fg_byte_queue_append(&stream->out, &env->segments, data, len));
}

static bool on_write_shared(struct fg_request *req, const void *data, size_t len,
                            void (*release)(void *owner), void *owner)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_codec_env *env = stream->codec->transport->env;
    len = fg_stream_count_answer(stream, len);
    if (len == 0) {
        release(owner);
        return true;
    }
    return after_write(
        req, len,
        fg_byte_queue_append_shared(&stream->out, &env->segments, data, len, release, owner));
}

void fg_h2_reset(struct fg_h2 *h2, struct fg_stream *stream, uint32_t error_code)
{
    stream->req.was_aborted = true;
    stream->is_body_swallowed = true;
    stream->is_refusing = true;
    fg_byte_queue_clear(&stream->out, &h2->codec.transport->env->segments);
    fg_timeout_cancel(&stream->write_timeout);
    if (!stream->is_closed)
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, error_code);
    wake(h2);
}

void fg_h2_dismiss(struct fg_h2 *h2, struct fg_stream *stream)
{
    stream->is_lingering = false;
    if (!stream->is_closed)
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
    wake(h2);
}

static void break_off(struct fg_request *req, uint32_t error_code)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    fg_stream_set_state(stream, FG_STREAM_ENDED);
    fg_h2_reset(h2, stream, error_code);
    fg_h2_settle(h2, stream);
}

/* A tunnel that breaks off behind us is cancelled: that is what a reset of TCP is there (RFC 8441
 * section 5). */
static void on_abort(struct fg_request *req)
{
    break_off(req, fg_stream_of(req)->is_tunnel ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
}

static void on_give_up(struct fg_request *req)
{
    break_off(req, NGHTTP2_CANCEL);
}

static uint64_t on_stalled_since(const struct fg_request *req)
{
    const struct fg_stream *stream = (const struct fg_stream *)req; /* its first member */
    return fg_timeout_armed_ns(&stream->codec->transport->env->timeouts, &stream->write_timeout,
                               FG_TIMEOUT_STREAM_WRITE);
}

static void on_trailers(struct fg_request *req, const struct fg_field *fields, size_t field_count)
{
    struct fg_stream *stream = fg_stream_of(req);
    assert(stream->is_head_sent && stream->response_trailer_count == 0);
    stream->response_trailers = fields;
    stream->response_trailer_count = field_count;
}

static void on_end(struct fg_request *req)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    assert(stream->is_head_sent);
    if (!stream->is_body_swallowed && stream->response_left > 0) {
        on_abort(req);
        return;
    }
    fg_stream_set_state(stream, FG_STREAM_ENDED);
    fg_h2_drain_open(h2, stream);
    resume(h2, stream);
    fg_h2_settle(h2, stream);
}

static void on_consumed(struct fg_request *req, size_t len)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    if (len > stream->unconsumed)
        len = stream->unconsumed; /* the rest was booked when the stream closed */
    if (len == 0)
        return;
    stream->unconsumed -= len;
    if (stream->is_closed)
        nghttp2_session_consume_connection(h2->session, len);
    else
        nghttp2_session_consume(h2->session, stream->id, len);
    wake(h2);
}

void fg_h2_set_response_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
}

const struct fg_response_ops fg_h2_response_ops = {
    .interim = on_interim,
    .head = on_head,
    .write = on_write,
    .write_shared = on_write_shared,
    .trailers = on_trailers,
    .end = on_end,
    .abort = on_abort,
    .out_of_memory = fg_stream_out_of_memory,
    .consumed = on_consumed,
    .stalled_since = on_stalled_since,
    .give_up = on_give_up,
};
