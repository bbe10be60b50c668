/*
 * h1_response.c: turns a handler's calls into bytes in the connection's out queue.
 * Job      status line, fields, framing: content-length as promised, chunked for HTTP/1.1
 *          otherwise, until close for HTTP/1.0; interim answers; trailers behind chunks; 101 and
 *          the tunnel.
 * Thread   the loop's.
 * Never    calls the handler; all that follows from a call happens at the end of the turn.
 */
#include "http/h1_internal.h"

#include "config/config.h"
#include "http/fields.h"

#include <assert.h>
#include <stdio.h>

/* Text on its way into the queue, gathered so that a head is one append in most cases. */
struct writer {
    struct fg_h1 *h1;
    size_t len;
    bool has_failed;
    char text[2048];
};

static void begin_writer(struct writer *writer, struct fg_h1 *h1)
{
    writer->h1 = h1;
    writer->len = 0;
    writer->has_failed = false; /* the text is left as it is: it is large */
}

static void put_raw(struct fg_h1 *h1, bool *has_failed, const char *data, size_t len)
{
    if (!fg_byte_queue_append(&h1->out, &h1->codec.transport->env->segments, data, len))
        *has_failed = true;
}

static void flush_writer(struct writer *writer)
{
    put_raw(writer->h1, &writer->has_failed, writer->text, writer->len);
    writer->len = 0;
}

static void put(struct writer *writer, const char *data, size_t len)
{
    if (len > sizeof(writer->text) - writer->len)
        flush_writer(writer);
    if (len > sizeof(writer->text)) {
        put_raw(writer->h1, &writer->has_failed, data, len);
        return;
    }
    if (len > 0)
        memcpy(writer->text + writer->len, data, len);
    writer->len += len;
}

static char *copy(char *to, struct fg_span span)
{
    if (span.len > 0)
        memcpy(to, span.data, span.len);
    return to + span.len;
}

static void put_field(struct writer *writer, struct fg_span name, struct fg_span value)
{
    size_t room = sizeof(writer->text) - writer->len;
    if (name.len > room || value.len > room || name.len + value.len + 4 > room) {
        put(writer, name.data, name.len);
        put(writer, ": ", 2);
        put(writer, value.data, value.len);
        put(writer, "\r\n", 2);
        return;
    }
    char *at = copy(writer->text + writer->len, name);
    memcpy(at, ": ", 2);
    at = copy(at + 2, value);
    memcpy(at, "\r\n", 2);
    writer->len = (size_t)(at - writer->text) + 2;
}

static void put_status_line(struct writer *writer, unsigned status)
{
    assert(status >= 100 && status <= 599);
    const char *reason = fg_http_reason(status);
    char digits[4] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                      (char)('0' + status % 10), ' '};
    put(writer, "HTTP/1.1 ", 9);
    put(writer, digits, 4);
    put(writer, reason, strlen(reason));
    put(writer, "\r\n", 2);
}

/* Framing is ours; a value that could break the message apart is not passed on. */
static void put_handler_field(struct writer *writer, struct fg_stream *stream, unsigned status,
                              const struct fg_field *field)
{
    enum fg_field_id id = fg_field_identify(field->name);
    if (status == 426 && id == FG_FIELD_UPGRADE) {
        /* Such an answer says what to switch to (RFC 9110 sections 7.8 and 15.5.22). */
        put_field(writer, FG_SPAN("connection"), FG_SPAN("upgrade"));
        if (fg_field_value_is_valid(field->value))
            put_field(writer, field->name, field->value);
        return;
    }
    bool is_in_vain = id == FG_FIELD_TRAILER && !stream->req.ex.accepts_trailers;
    if (fg_field_is_hop_by_hop(id) || is_in_vain || !fg_field_value_is_valid(field->value))
        return;
    if (id == FG_FIELD_CONTENT_LENGTH) {
        int64_t length;
        if (stream->response_left != -1 || !fg_field_parse_length(field->value, &length))
            return;
        stream->response_left = length;
    }
    put_field(writer, field->name, field->value);
}

/* Fields of a part that has no body of its own: an interim answer, a switch, trailers. */
static void put_unframed(struct writer *writer, const struct fg_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++) {
        enum fg_field_id id = fg_field_identify(fields[i].name);
        if (!fg_field_is_hop_by_hop(id) && id != FG_FIELD_CONTENT_LENGTH &&
            fg_field_value_is_valid(fields[i].value))
            put_field(writer, fields[i].name, fields[i].value);
    }
}

static bool may_keep_alive(const struct fg_h1 *h1, const struct fg_stream *stream)
{
    struct fg_codec_env *env = h1->codec.transport->env;
    uint32_t max = env->limits->requests_per_connection_max;
    return h1->wants_keep_alive && !h1->is_closing && !h1->is_draining && !env->is_draining &&
           !stream->is_refusing && !stream->owes_continue &&
           (max == 0 || h1->request_count < max) && !fg_codec_must_close(h1->codec.transport);
}

/* How will the client know where the body ends? */
static void put_framing(struct writer *writer, struct fg_stream *stream, unsigned status,
                        bool is_end, bool *keep_alive)
{
    struct fg_h1 *h1 = writer->h1;
    if (status ==
        205) { /* whatever its server has said, or without a word (RFC 9112 section 6.3) */
        put_field(writer, FG_SPAN("content-length"), FG_SPAN("0"));
    } else if (stream->response_left == -1 && !stream->is_body_swallowed) {
        if (is_end) {
            stream->response_left = 0;
            put_field(writer, FG_SPAN("content-length"), FG_SPAN("0"));
        } else if (stream->req.version == FG_HTTP_1_1) {
            stream->is_chunked = true;
            put_field(writer, FG_SPAN("transfer-encoding"), FG_SPAN("chunked"));
        } else {
            h1->is_until_close = true;
            *keep_alive = false;
        }
    }
    if (!*keep_alive)
        put_field(writer, FG_SPAN("connection"), FG_SPAN("close"));
    else if (stream->req.version == FG_HTTP_1_0)
        put_field(writer, FG_SPAN("connection"), FG_SPAN("keep-alive"));
}

static void fail(struct fg_h1 *h1)
{
    fg_h1_close_after(h1, FG_CLOSE_RESET);
    h1->codec.transport->ops->close(h1->codec.transport, FG_CLOSE_RESET);
}

/* The answer is in the queue, or as much of it as there will be. */
static void finish(struct fg_h1 *h1, struct fg_stream *stream)
{
    if (stream->state != FG_STREAM_ENDED)
        fg_stream_set_state(stream, FG_STREAM_ENDED);
    fg_h1_detach(h1);
    h1->codec.transport->ops->wake(h1->codec.transport);
}

/* Hop-by-hop fields that a 101 must have; those of the handler's are about its own hop. */
static void put_switch(struct writer *writer, struct fg_stream *stream,
                       const struct fg_field *fields, size_t field_count)
{
    put_unframed(writer, fields, field_count);
    put_field(writer, FG_SPAN("connection"), FG_SPAN("upgrade"));
    put_field(writer, FG_SPAN("upgrade"), stream->req.ex.upgrade);
    fg_h1_open_tunnel(writer->h1, stream);
}

static void on_interim(struct fg_request *req, unsigned status, const struct fg_field *fields,
                       size_t field_count)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(h1->current == stream && !stream->is_head_sent && status > 101 && status < 200);
    if (req->version != FG_HTTP_1_1 ||
        h1->out.len > h1->codec.transport->env->limits->connection_buffer_bytes)
        return;
    struct writer writer;
    begin_writer(&writer, h1);
    put_status_line(&writer, status);
    put_unframed(&writer, fields, field_count);
    put(&writer, "\r\n", 2);
    flush_writer(&writer);
    if (writer.has_failed)
        fail(h1);
    h1->codec.transport->ops->wake(h1->codec.transport);
}

static void on_head(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count, bool is_end)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(h1->current == stream && !stream->is_head_sent);
    assert(status >= 200 || (status == 101 && req->ex.upgrade.data != NULL && !is_end));
    struct writer writer;
    begin_writer(&writer, h1);
    bool keep_alive = may_keep_alive(h1, stream);
    stream->is_body_swallowed = fg_stream_begin_answer(stream, status);
    put_status_line(&writer, status);
    if (status == 101) {
        put_switch(&writer, stream, fields, field_count);
    } else {
        for (size_t i = 0; i < field_count; i++)
            put_handler_field(&writer, stream, status, &fields[i]);
        put_framing(&writer, stream, status, is_end, &keep_alive);
    }
    put(&writer, "\r\n", 2);
    flush_writer(&writer);
    if (!keep_alive)
        fg_h1_close_after(h1, fg_h1_end_mode(h1));
    if (writer.has_failed)
        fail(h1);
    if (is_end) {
        if (!stream->is_body_swallowed && stream->response_left > 0) {
            req->was_aborted = true;
            fail(h1);
        }
        finish(h1, stream);
    } else {
        h1->codec.transport->ops->wake(h1->codec.transport);
    }
}

static void put_chunk(struct fg_h1 *h1, bool *has_failed, const void *data, size_t len)
{
    struct fg_segment_pool *pool = &h1->codec.transport->env->segments;
    static const char digits[] = "0123456789abcdef";
    char line[18];
    size_t at = sizeof(line);
    line[--at] = '\n';
    line[--at] = '\r';
    for (size_t rest = len; rest > 0; rest >>= 4)
        line[--at] = digits[rest & 15];
    char *small = len + 32 <= 1024 ? fg_byte_queue_reserve(&h1->out, pool, len + 32) : NULL;
    if (small != NULL) {
        size_t size_len = sizeof(line) - at;
        memcpy(small, line + at, size_len);
        memcpy(small + size_len, data, len);
        memcpy(small + size_len + len, "\r\n", 2);
        fg_byte_queue_commit(&h1->out, size_len + len + 2);
        return;
    }
    put_raw(h1, has_failed, line + at, sizeof(line) - at);
    put_raw(h1, has_failed, data, len);
    put_raw(h1, has_failed, "\r\n", 2);
}

static bool after_write(struct fg_request *req, size_t len, bool has_failed)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(h1->current == stream);
    req->bytes_out += len;
    if (has_failed)
        fail(h1);
    h1->codec.transport->ops->wake(h1->codec.transport);
    /* Once false was returned it stays so until on_writable, which is then certain to come. */
    if (h1->out.len > h1->codec.transport->env->limits->connection_buffer_bytes)
        stream->is_writer_blocked = true;
    return !stream->is_writer_blocked;
}

static bool on_write(struct fg_request *req, const void *data, size_t len)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    bool has_failed = false;
    len = fg_stream_count_answer(stream, len);
    if (len == 0)
        return true;
    if (stream->is_chunked)
        put_chunk(h1, &has_failed, data, len);
    else
        put_raw(h1, &has_failed, data, len);
    return after_write(req, len, has_failed);
}

static bool on_write_shared(struct fg_request *req, const void *data, size_t len,
                            void (*release)(void *owner), void *owner)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    if (release == NULL)
        return on_write(req, data, len); /* its queue outlives the request */
    if (stream->is_chunked || stream->is_body_swallowed) {
        bool may_go_on = on_write(req, data, len);
        release(owner);
        return may_go_on;
    }
    len = fg_stream_count_answer(stream, len);
    bool is_appended = fg_byte_queue_append_shared(&h1->out, &h1->codec.transport->env->segments,
                                                   data, len, release, owner);
    return after_write(req, len, !is_appended);
}

static void break_off(struct fg_request *req, enum fg_close_mode mode)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(h1->current == stream);
    req->was_aborted = true;
    h1->is_closing = true; /* before detach, which would wait for the rest of the body */
    h1->close_mode = mode;
    if (mode == FG_CLOSE_RESET)
        h1->codec.transport->ops->close(h1->codec.transport, mode);
    finish(h1, stream);
}

static void on_abort(struct fg_request *req)
{
    const struct fg_h1 *h1 = fg_h1_of(fg_stream_of(req)->codec);
    break_off(req, h1->is_until_close ? FG_CLOSE_RESET : fg_h1_end_mode(h1));
}

static void on_give_up(struct fg_request *req)
{
    struct fg_h1 *h1 = fg_h1_of(fg_stream_of(req)->codec);
    if (h1->current == fg_stream_of(req)) {
        break_off(req, FG_CLOSE_RESET);
        return;
    }
    req->was_aborted = true; /* it is over, but not read; with it goes what stands behind it */
    h1->codec.transport->ops->close(h1->codec.transport, FG_CLOSE_RESET);
}

static uint64_t on_stalled_since(const struct fg_request *req)
{
    const struct fg_transport *transport = ((const struct fg_stream *)req)->codec->transport;
    return transport->ops->stalled_since(transport);
}

static void on_trailers(struct fg_request *req, const struct fg_field *fields, size_t field_count)
{
    struct fg_stream *stream = fg_stream_of(req);
    assert(stream->is_head_sent && stream->response_trailer_count == 0);
    if (!stream->is_chunked || !req->ex.accepts_trailers)
        return;
    stream->response_trailers = fields;
    stream->response_trailer_count = field_count;
}

static void put_last_chunk(struct fg_h1 *h1, struct fg_stream *stream, bool *has_failed)
{
    if (stream->response_trailer_count == 0) {
        put_raw(h1, has_failed, "0\r\n\r\n", 5);
        return;
    }
    struct writer writer;
    begin_writer(&writer, h1);
    put(&writer, "0\r\n", 3);
    put_unframed(&writer, stream->response_trailers, stream->response_trailer_count);
    put(&writer, "\r\n", 2);
    flush_writer(&writer);
    *has_failed |= writer.has_failed;
}

static void on_end(struct fg_request *req)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(h1->current == stream && stream->is_head_sent);
    bool has_failed = false;
    if (!stream->is_body_swallowed && stream->response_left > 0) {
        on_abort(req);
        return;
    }
    if (stream->is_chunked)
        put_last_chunk(h1, stream, &has_failed);
    if (has_failed)
        fail(h1);
    finish(h1, stream);
}

static void on_consumed(struct fg_request *req, size_t len)
{
    struct fg_stream *stream = fg_stream_of(req);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    assert(len <= stream->unconsumed);
    stream->unconsumed -= len;
    if (h1->is_body_stalled && h1->current == stream && stream->unconsumed < FG_BODY_WINDOW)
        h1->codec.transport->ops->resume_input(h1->codec.transport);
}

void fg_h1_send_continue(struct fg_h1 *h1)
{
    bool has_failed = false;
    put_raw(h1, &has_failed, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (has_failed)
        fail(h1);
    h1->codec.transport->ops->wake(h1->codec.transport);
}

const struct fg_response_ops fg_h1_response_ops = {
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
