/*
 * h2_response.c: turns a handler's calls into HEADERS and DATA.
 * Job      hand the head to h2_head.c; keep the body in the stream's queue, from which h2_output.c
 *          copies it straight behind the frame's head in the connection's buffer; tell the handler
 *          when it may go on.
 * Thread   the loop's.
 * Never    calls the handler from inside its own call.
 */
#include "http/h2_internal.h"

#include "config/config.h"
#include "http/fields.h"
#include "net/loop.h"

#include <assert.h>

#define EARNED_BY_DATA 6 /* window updates for the stream and the connection, and a ping */
#define DRIBBLE_BYTES ((size_t)1024) /* no window of a client that means to read is so small */

static struct fg_h2 *h2_of(const struct fg_stream *stream)
{
    return fg_h2_of(stream->codec);
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
 * reset says so, when h2_drain.c does not read it and it does not end soon by itself. Not with it:
 * clients that find both in one read (curl before 8.1) take the answer for lost.
 */
void fg_h2_note_local_end(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (stream->is_body_complete)
        return;
    stream->owes_reset = true;
    h2->owes_resets = true;
}

/* Did the client's window make the frame so short? Whoever opens it by bytes earns nothing. */
static bool is_dribble(const struct fg_h2 *h2, const struct fg_stream *stream, size_t len)
{
    return len < DRIBBLE_BYTES && stream->out.len > 0 &&
           (stream->wire.send_window <= 0 || h2->send_window <= 0);
}

void fg_h2_note_sent(struct fg_h2 *h2, struct fg_stream *stream, size_t len, bool is_end)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    if (!is_dribble(h2, stream, len))
        fg_h2_earn(h2, EARNED_BY_DATA);
    h2->moved_ns = fg_loop_now_ns(env->loop);
    stream->taken += len;
    if (stream->out.len == 0) {
        fg_timeout_cancel(&stream->write_timeout);
    } else if (stream->taken >= FG_WRITE_PROGRESS_BYTES) {
        stream->taken = 0;
        fg_timeout_arm(&env->timeouts, &stream->write_timeout, FG_TIMEOUT_STREAM_WRITE);
    }
    if (!is_end)
        tell_writable(h2, stream);
}

/* Or else what is said is for nobody. */
static bool may_say(const struct fg_stream *stream)
{
    return stream->wire.is_open && !stream->wire.is_reset;
}

static void on_interim(struct fg_request *req, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    assert(!stream->is_head_sent && status > 101 && status < 200);
    if (may_say(stream) && fg_h2_say_interim(h2, stream, status, fields, field_count))
        fg_h2_wake(h2);
}

void fg_h2_send_continue(struct fg_h2 *h2, struct fg_stream *stream)
{
    if (fg_h2_say_interim(h2, stream, 100, NULL, 0))
        fg_h2_wake(h2);
}

static void on_head(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count, bool is_end)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
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
    if (may_say(stream) &&
        !fg_h2_say_head(h2, stream, status, fields, field_count, stream->is_body_swallowed))
        fg_h2_reset(h2, stream, NGHTTP2_INTERNAL_ERROR);
    req->first_byte_ns = fg_loop_now_ns(req->loop);
    h2->codec.unsaid_bytes++;
    if (is_end)
        fg_stream_set_state(stream, FG_STREAM_ENDED);
    fg_h2_settle(h2, stream);
    fg_h2_wake(h2);
}

static void resume(struct fg_h2 *h2, struct fg_stream *stream)
{
    fg_h2_offer(h2, stream);
    fg_h2_wake(h2);
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
    h2->codec.unsaid_bytes += len;
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
    len = stream->wire.is_open ? fg_stream_count_answer(stream, len) : 0;
    if (len == 0)
        return true;
    return after_write(req, len, fg_byte_queue_append(&stream->out, &env->segments, data, len));
}

static bool on_write_shared(struct fg_request *req, const void *data, size_t len,
                            void (*release)(void *owner), void *owner)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_codec_env *env = stream->codec->transport->env;
    len = stream->wire.is_open ? fg_stream_count_answer(stream, len) : 0;
    if (len == 0) {
        if (release != NULL)
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
    fg_h2_reset_wire(h2, &stream->wire, error_code);
    fg_h2_wake(h2);
}

void fg_h2_dismiss(struct fg_h2 *h2, struct fg_stream *stream)
{
    stream->is_lingering = false;
    fg_h2_reset_wire(h2, &stream->wire, NGHTTP2_NO_ERROR);
    fg_h2_wake(h2);
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
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h2 *h2 = h2_of(stream);
    if (stream->state != FG_STREAM_ENDED) {
        break_off(req, NGHTTP2_CANCEL);
    } else if (stream->wire.is_open) { /* it is over, but not read */
        fg_h2_reset(h2, stream, NGHTTP2_CANCEL);
        fg_h2_settle(h2, stream);
    }
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
    if (!stream->wire.is_open)
        fg_h2_give_back_unread(h2, len);
    else
        fg_h2_give_back(h2, &stream->wire, len);
    fg_h2_wake(h2);
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
