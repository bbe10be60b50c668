/*
 * h1.c: the HTTP/1.0 and 1.1 server codec of one connection.
 * Job      cut the client's bytes into heads and bodies, one request at a time; pipelined requests
 *          are answered in order, each parsed when the answer before it is complete in the queue.
 * Thread   the loop's.
 * Never    holds input: what cannot be used yet stays with the connection, which stops reading.
 * Memory   the answers' queue (bounded by limits.connection_buffer_bytes and one write of the
 *          handler's) and, while a head comes in pieces, that head.
 *
 *    READING_HEAD --> READING_LENGTH | READING_CHUNKED --> READING_NOTHING --answer complete-->
 *    READING_HEAD. An answer that is complete first leaves the rest of the body to be discarded.
 *    READING_NOTHING --101--> READING_TUNNEL, which ends with the connection.
 */
#include "http/h1_internal.h"

#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>

/* Unwanted body that is worth reading to keep the connection; beyond it the connection closes. */
#define DISCARD_MAX ((size_t)65536)
#define PROBES_MAX 2 /* the first is answered by a reset, the second fails of it */

static void done_with_body(struct fg_h1 *h1)
{
    h1->reading = h1->current != NULL ? FG_H1_READING_NOTHING : FG_H1_READING_HEAD;
    h1->is_body_stalled = false;
    if (h1->current != NULL)
        fg_timeout_cancel(&h1->current->body_timeout);
}

void fg_h1_close_after(struct fg_h1 *h1, enum fg_close_mode mode)
{
    if (!h1->is_closing || mode > h1->close_mode)
        h1->close_mode = mode;
    h1->is_closing = true;
}

enum fg_close_mode fg_h1_end_mode(const struct fg_h1 *h1)
{
    return h1->wants_keep_alive && !h1->has_ended ? FG_CLOSE_LINGER : FG_CLOSE_FLUSH;
}

void fg_h1_detach(struct fg_h1 *h1)
{
    struct fg_stream *stream = h1->current;
    fg_timeout_cancel(&stream->body_timeout);
    h1->is_body_stalled = false; /* that was its handler: what is left is read for nobody */
    stream->ends_at = h1->said + h1->out.len;
    fg_list_push_back(&h1->finished, &stream->link);
    h1->finished_count++;
    h1->current = NULL;
    if (h1->reading == FG_H1_READING_NOTHING || h1->reading == FG_H1_READING_TUNNEL) {
        h1->reading = FG_H1_READING_HEAD;
    } else if (h1->reading != FG_H1_READING_HEAD) {
        /* The body was not read to its end. If the client may never send it, nor can we wait. */
        bool is_hopeless = stream->owes_continue ||
                           (h1->reading == FG_H1_READING_LENGTH && h1->body_left > DISCARD_MAX);
        if (is_hopeless || h1->is_closing)
            fg_h1_close_after(h1, FG_CLOSE_LINGER);
    }
    h1->codec.transport->ops->resume_input(h1->codec.transport);
}

/* Its client is told why, if nothing was answered yet. */
static void fail_stream(struct fg_stream *stream, enum fg_gone_reason reason,
                        enum fg_http_error error)
{
    fg_stream_gone(stream, reason);
    if (stream->is_head_sent)
        stream->req.response_ops->abort(&stream->req);
    else
        fg_stream_answer_error(stream, error);
}

/* An error in what the client sent: answer it if nothing was answered yet, and read no more. */
static void refuse_connection(struct fg_h1 *h1, enum fg_http_error error)
{
    struct fg_stream *stream = h1->current;
    fg_h1_close_after(h1, FG_CLOSE_LINGER);
    fg_h1_head_clear(h1);
    if (stream == NULL) { /* it is in a body that nobody wants */
        fg_codec_note_error(h1->codec.transport, "h1", fg_http_error_code(error));
        h1->codec.transport->ops->wake(h1->codec.transport);
        return;
    }
    fg_counter_add_owned(&h1->codec.transport->env->stats->protocol_errors, 1);
    fail_stream(stream, FG_GONE_PROTOCOL, error);
}

static void on_body_timeout(struct fg_timeout *timeout)
{
    struct fg_stream *stream = FG_CONTAINER_OF(timeout, struct fg_stream, body_timeout);
    struct fg_h1 *h1 = fg_h1_of(stream->codec);
    struct fg_codec_env *env = h1->codec.transport->env;
    if (!fg_stream_is_body_late(stream)) {
        fg_timeout_arm(&env->timeouts, timeout, FG_TIMEOUT_BODY);
        return;
    }
    fg_counter_add_owned(&env->stats->timeouts, 1);
    fg_h1_close_after(h1, FG_CLOSE_LINGER);
    fail_stream(stream, FG_GONE_TIMEOUT, FG_HTTP_BODY_TIMEOUT);
}

static void arm_body(struct fg_h1 *h1)
{
    fg_timeout_arm(&h1->codec.transport->env->timeouts, &h1->current->body_timeout,
                   FG_TIMEOUT_BODY);
}

static void begin_body(struct fg_h1 *h1, struct fg_stream *stream)
{
    h1->discarded = 0;
    h1->is_body_stalled = false;
    h1->chunked = (struct fg_chunked){0};
    if (!stream->req.ex.has_body) {
        stream->is_body_complete = true;
        h1->reading = FG_H1_READING_NOTHING;
    } else if (stream->head.has_transfer_encoding) {
        h1->reading = FG_H1_READING_CHUNKED;
    } else {
        h1->reading = FG_H1_READING_LENGTH;
        h1->body_left = (uint64_t)stream->req.ex.content_length;
    }
}

/* The handler has seen the head; what it has not decided is decided here. */
static void after_begin(struct fg_h1 *h1, struct fg_stream *stream)
{
    if (h1->current != stream)
        return; /* answered already */
    struct fg_exchange *ex = &stream->req.ex;
    if (!ex->has_body)
        return;
    if (ex->content_length > 0 && (uint64_t)ex->content_length > ex->body_bytes_max) {
        fg_h1_close_after(h1, FG_CLOSE_LINGER);
        fg_stream_refuse_body(stream);
        return;
    }
    if (stream->owes_continue && !stream->is_head_sent) {
        stream->owes_continue = false;
        fg_h1_send_continue(h1);
    }
    arm_body(h1);
}

static bool wants_keep_alive(const struct fg_stream *stream)
{
    const struct fg_head *head = &stream->head;
    bool is_1_1 = stream->req.version == FG_HTTP_1_1;
    if (head->connection == NULL)
        return is_1_1;
    return !fg_head_connection_has(head, FG_SPAN("close")) &&
           (is_1_1 || fg_head_connection_has(head, FG_SPAN("keep-alive")));
}

/*
 * A client that sends what is no request is not listened to any longer, but one client of a proxy
 * must not end what all others use: each bad request would cost it a handshake. Where the message
 * ends is known all the same. Behind a CONNECT comes what is no HTTP.
 */
static bool may_stay_open(const struct fg_h1 *h1, enum fg_http_error error)
{
    return h1->codec.transport->is_shared && h1->current->req.ex.method != FG_METHOD_CONNECT &&
           (error == FG_HTTP_BAD_TARGET || error == FG_HTTP_BAD_METHOD ||
            error == FG_HTTP_BAD_EXPECTATION);
}

static void begin_request(struct fg_h1 *h1, struct fg_span text)
{
    struct fg_transport *transport = h1->codec.transport;
    struct fg_stream *stream = fg_stream_acquire(&h1->codec, FG_HTTP_1_1, &fg_h1_response_ops);
    if (stream == NULL) {
        fg_h1_close_after(h1, FG_CLOSE_RESET);
        transport->ops->close(transport, FG_CLOSE_RESET);
        return;
    }
    stream->body_timeout.on_due = on_body_timeout;
    stream->req.ex.started_ns = h1->head_started_ns;
    h1->current = stream;
    h1->request_count++;
    h1->wants_keep_alive = false;
    h1->is_until_close = false;
    enum fg_http_error error = fg_h1_head_parse(stream, text);
    const bool is_whole = error == FG_HTTP_OK;
    if (is_whole)
        error = fg_stream_finish_head(stream);
    if (error != FG_HTTP_OK && !(is_whole && may_stay_open(h1, error))) {
        refuse_connection(h1, error);
        return;
    }
    h1->wants_keep_alive = wants_keep_alive(stream);
    begin_body(h1, stream);
    const struct fg_head *head = &stream->head;
    stream->owes_continue = (head->has_expect || head->has_bad_expectation) &&
                            stream->req.version == FG_HTTP_1_1 && stream->req.ex.has_body;
    if (error != FG_HTTP_OK) {
        fg_counter_add_owned(&transport->env->stats->protocol_errors, 1);
        fg_stream_answer_error(stream, error);
        return;
    }
    fg_counter_add_owned(&transport->env->stats->requests_h1, 1);
    fg_stream_begin(stream);
    after_begin(h1, stream);
}

/* The answer to a head that nobody could take apart: one to HEAD has no content, whatever else. */
static struct fg_stream *acquire_for_error(struct fg_h1 *h1, struct fg_span input)
{
    struct fg_stream *stream = fg_stream_acquire(&h1->codec, FG_HTTP_1_1, &fg_h1_response_ops);
    if (h1->head_len > 0)
        input = fg_span_make(h1->head, h1->head_len);
    while (input.len > 0 && (input.data[0] == '\r' || input.data[0] == '\n'))
        input = fg_span_make(input.data + 1, input.len - 1);
    if (stream != NULL && fg_span_starts_with(input, FG_SPAN("HEAD ")))
        stream->req.ex.method = FG_METHOD_HEAD;
    return stream;
}

static size_t read_head(struct fg_h1 *h1, struct fg_span input)
{
    struct fg_transport *transport = h1->codec.transport;
    struct fg_span text;
    bool is_complete;
    enum fg_http_error error;
    bool was_open = h1->head_len > 0;
    size_t taken = fg_h1_head_collect(h1, input, &text, &is_complete, &error);
    if (error != FG_HTTP_OK) {
        struct fg_stream *stream = acquire_for_error(h1, input);
        if (stream != NULL)
            h1->current = stream;
        refuse_connection(h1, error);
        return input.len;
    }
    if (is_complete) {
        begin_request(h1, text);
        fg_h1_head_clear(h1);
        if (was_open)
            transport->ops->disarm(transport);
    } else if (!was_open && h1->head_len > 0) {
        transport->ops->arm(transport, FG_TIMEOUT_HEADER);
    }
    return taken;
}

/* Body that nobody wants any more; false when it is too much. */
static bool discard(struct fg_h1 *h1, size_t len)
{
    h1->discarded += len;
    if (h1->discarded <= DISCARD_MAX)
        return true;
    fg_h1_close_after(h1, FG_CLOSE_LINGER);
    h1->codec.transport->ops->wake(h1->codec.transport);
    return false;
}

static void refuse_body(struct fg_h1 *h1, struct fg_stream *stream)
{
    fg_h1_close_after(h1, FG_CLOSE_LINGER);
    fg_stream_refuse_body(stream);
}

static void deliver(struct fg_h1 *h1, struct fg_span data, bool is_last)
{
    struct fg_stream *stream = h1->current;
    if (stream == NULL || stream->is_refusing) {
        if (discard(h1, data.len) && is_last)
            done_with_body(h1);
        return;
    }
    if (!fg_stream_count_body(stream, data.len)) {
        refuse_body(h1, stream);
        return;
    }
    stream->unconsumed += data.len;
    if (is_last) {
        stream->is_body_complete = true;
        done_with_body(h1);
    } else {
        arm_body(h1);
    }
    stream->req.handler->on_body(&stream->req, data.data, data.len, is_last);
}

static struct fg_span take_gathered(struct fg_h1 *h1)
{
    struct fg_span data = {h1->gather, h1->gather_len};
    h1->gather_len = 0;
    return data;
}

static void flush_gathered(struct fg_h1 *h1)
{
    if (h1->gather_len > 0)
        deliver(h1, take_gathered(h1), false);
}

/* A run of chunk data, behind what was gathered. */
static void take_chunk(struct fg_h1 *h1, struct fg_span data)
{
    if (data.len >= FG_SMALL_PIECE || data.len > FG_GATHER_BYTES - h1->gather_len)
        flush_gathered(h1);
    if (data.len >= FG_SMALL_PIECE) {
        deliver(h1, data, false);
        return;
    }
    memcpy(h1->gather + h1->gather_len, data.data, data.len);
    h1->gather_len += data.len;
}

/* A run of the trailer section; gathered only for a handler that will hear of the body's end. */
static void take_trailers(struct fg_h1 *h1, struct fg_span run)
{
    struct fg_stream *stream = h1->current;
    if (stream == NULL || stream->is_refusing) {
        (void)discard(h1, run.len);
        return;
    }
    enum fg_status status = fg_trailers_add_text(&stream->trailers, stream->req.ex.arena, run);
    if (status != FG_OK)
        refuse_connection(h1, fg_stream_trailer_error(status));
}

static void end_chunked(struct fg_h1 *h1)
{
    struct fg_stream *stream = h1->current;
    if (stream != NULL && !stream->is_refusing) {
        enum fg_status status = fg_trailers_finish_text(&stream->trailers, stream->req.ex.arena);
        if (status != FG_OK) {
            refuse_connection(h1, fg_stream_trailer_error(status));
            return;
        }
        fg_stream_set_trailers(stream);
    }
    deliver(h1, take_gathered(h1), true);
}

/* How much the handler may be given now. */
static size_t body_credit(struct fg_h1 *h1)
{
    struct fg_stream *stream = h1->current;
    if (stream == NULL || stream->is_refusing)
        return SIZE_MAX;
    return FG_BODY_WINDOW > stream->unconsumed ? FG_BODY_WINDOW - stream->unconsumed : 0;
}

/* With what its chunk has announced behind `data`, would the body be too large? */
static bool exceeds(struct fg_h1 *h1, struct fg_span data)
{
    struct fg_stream *stream = h1->current;
    if (stream == NULL || stream->is_refusing)
        return false;
    uint64_t bytes = stream->req.bytes_in + h1->gather_len + data.len + h1->chunked.left;
    if (bytes <= stream->req.ex.body_bytes_max)
        return false;
    stream->req.bytes_chunked = bytes;
    return true;
}

static size_t read_chunked(struct fg_h1 *h1, struct fg_span input, size_t credit)
{
    struct fg_span rest = input;
    struct fg_span data = {NULL, 0};
    switch (fg_chunked_next(&h1->chunked, &rest, credit, &data)) {
    case FG_CHUNKED_MORE:
        break;
    case FG_CHUNKED_DATA:
        if (exceeds(h1, data)) {
            h1->gather_len = 0;
            refuse_body(h1, h1->current);
            return input.len;
        }
        take_chunk(h1, data);
        break;
    case FG_CHUNKED_TRAILER:
        take_trailers(h1, data);
        break;
    case FG_CHUNKED_DONE:
        end_chunked(h1);
        break;
    case FG_CHUNKED_BAD:
        h1->gather_len = 0;
        refuse_connection(h1, FG_HTTP_BAD_CHUNK);
        return input.len;
    }
    return input.len - rest.len;
}

static size_t read_body(struct fg_h1 *h1, struct fg_span input)
{
    if (body_credit(h1) <= h1->gather_len)
        flush_gathered(h1);
    size_t credit = body_credit(h1);
    if (credit == 0) {
        /* The handler is the slow one: the client's clock stops. */
        h1->is_body_stalled = true;
        fg_timeout_cancel(&h1->current->body_timeout);
        return 0;
    }
    if (h1->is_body_stalled) {
        h1->is_body_stalled = false;
        if (h1->reading != FG_H1_READING_TUNNEL)
            arm_body(h1);
    }
    if (h1->reading == FG_H1_READING_CHUNKED)
        return read_chunked(h1, input, credit - (credit < SIZE_MAX ? h1->gather_len : 0));
    size_t len = input.len < credit ? input.len : credit;
    if (h1->reading == FG_H1_READING_TUNNEL) {
        struct fg_stream *stream = h1->current;
        stream->req.bytes_in += len;
        stream->unconsumed += len;
        stream->req.handler->on_body(&stream->req, input.data, len, false);
        return len;
    }
    if (len > h1->body_left)
        len = (size_t)h1->body_left;
    h1->body_left -= len;
    deliver(h1, fg_span_make(input.data, len), h1->body_left == 0);
    return len;
}

/* Its client has enough to read before it asks for more; each answer holds its request's memory. */
static bool is_full(const struct fg_h1 *h1)
{
    const struct fg_limits_conf *limits = h1->codec.transport->env->limits;
    return h1->out.len > limits->connection_buffer_bytes ||
           h1->finished_count >= limits->streams_per_connection_max;
}

static size_t read_input(struct fg_h1 *h1, const char *data, size_t len)
{
    struct fg_span left = {data, len};
    while (left.len > 0) {
        if (h1->is_closing && h1->current == NULL)
            return len; /* nothing said after the last request matters */
        if (h1->reading == FG_H1_READING_NOTHING)
            break;
        if (h1->reading == FG_H1_READING_HEAD &&
            (is_full(h1) || fg_transport_gives_way(h1->codec.transport)))
            break;
        size_t taken =
            h1->reading == FG_H1_READING_HEAD ? read_head(h1, left) : read_body(h1, left);
        if (taken == 0)
            break;
        left.data += taken;
        left.len -= taken;
    }
    return len - left.len;
}

static size_t on_input(struct fg_codec *codec, const char *data, size_t len)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    char gather[FG_GATHER_BYTES]; /* only small chunks are ever copied to it */
    h1->gather = gather;
    size_t taken = read_input(h1, data, len);
    flush_gathered(h1);
    h1->gather = NULL;
    return taken;
}

static size_t on_produce(struct fg_codec *codec, char *to, size_t room)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    struct fg_codec_env *env = codec->transport->env;
    if (h1->out.len == 0)
        return 0;
    bool was_full = is_full(h1);
    size_t len = fg_byte_queue_take(&h1->out, &env->segments, to, room);
    h1->said += len;
    struct fg_stream *stream = h1->current;
    if (stream != NULL && stream->is_head_sent && stream->req.first_byte_ns == 0)
        stream->req.first_byte_ns = fg_loop_now_ns(env->loop);
    if (was_full && !is_full(h1) && h1->reading == FG_H1_READING_HEAD)
        codec->transport->ops->resume_input(codec->transport);
    if (stream != NULL && stream->is_writer_blocked && stream->state == FG_STREAM_OPEN &&
        h1->out.len <= env->limits->connection_buffer_bytes / 2) {
        stream->is_writer_blocked = false;
        stream->req.handler->on_writable(&stream->req);
    }
    return len;
}

/* Of those answered, whoever's answer is over by then: a client that always has more to read would
 * else have all of them kept. */
static void finish_until(struct fg_h1 *h1, uint64_t said)
{
    struct fg_codec_env *env = h1->codec.transport->env;
    while (!fg_list_is_empty(&h1->finished)) {
        struct fg_stream *stream = FG_CONTAINER_OF(h1->finished.next, struct fg_stream, link);
        if (stream->ends_at > said)
            return;
        fg_list_remove(&stream->link);
        h1->finished_count--;
        if (stream->is_head_sent && stream->req.first_byte_ns == 0)
            stream->req.first_byte_ns = fg_loop_now_ns(env->loop);
        fg_stream_finish(stream);
    }
}

/* The client says no more, but may go on listening. */
static void end_of_tunnel(struct fg_h1 *h1)
{
    struct fg_stream *stream = h1->current;
    h1->reading = FG_H1_READING_NOTHING;
    h1->close_mode = FG_CLOSE_FLUSH;
    if (stream == NULL || stream->is_body_complete)
        return;
    stream->is_body_complete = true;
    if (stream->state == FG_STREAM_OPEN)
        stream->req.handler->on_body(&stream->req, "", 0, true);
}

static void on_flushed(struct fg_codec *codec)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    struct fg_transport *transport = codec->transport;
    if (!fg_list_is_empty(&h1->finished))
        h1->rests_since_ns = fg_loop_now_ns(transport->env->loop);
    bool was_full = is_full(h1);
    finish_until(h1, h1->said);
    if (was_full && !is_full(h1) && h1->reading == FG_H1_READING_HEAD)
        transport->ops->resume_input(transport);
    if (h1->out.len > 0)
        return;
    if (h1->has_ended && h1->reading == FG_H1_READING_TUNNEL)
        end_of_tunnel(h1); /* that was before it opened */
    if (h1->current != NULL)
        return;
    if (h1->is_closing)
        transport->ops->close(transport, h1->close_mode);
    else if (h1->head_len == 0)
        transport->ops->arm(transport, h1->is_draining ? FG_TIMEOUT_LINGER : FG_TIMEOUT_IDLE);
}

static void on_cut(struct fg_codec *codec, enum fg_gone_reason reason)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    h1->is_closing = true;
    finish_until(h1, h1->said);
    FG_LIST_EACH_SAFE(it, after, &h1->finished)
    FG_CONTAINER_OF(it, struct fg_stream, link)->req.was_aborted = true;
    finish_until(h1, UINT64_MAX);
    struct fg_stream *stream = h1->current;
    if (stream != NULL) {
        h1->current = NULL;
        fg_stream_gone(stream, reason);
        fg_stream_finish(stream);
    }
}

void fg_h1_open_tunnel(struct fg_h1 *h1, struct fg_stream *stream)
{
    stream->is_tunnel = true;
    stream->is_body_complete = false;
    h1->reading = FG_H1_READING_TUNNEL;
    h1->is_until_close = true;
    fg_h1_close_after(h1, fg_h1_end_mode(h1));
    h1->codec.transport->ops->resume_input(h1->codec.transport);
}

/*
 * Has a client that says no more left? Whatever is sent to it then is answered by a reset, on which
 * the next thing sent fails. An interim answer is understood by all clients of HTTP/1.1 that wait
 * (RFC 9110 section 15.2), and 100 even by those that know only one.
 */
static void probe(struct fg_h1 *h1)
{
    const struct fg_stream *stream = h1->current;
    if (stream == NULL || stream->is_head_sent || stream->req.version != FG_HTTP_1_1)
        return;
    fg_h1_send_continue(h1);
    if (++h1->probe_count < PROBES_MAX)
        h1->codec.transport->ops->arm(h1->codec.transport, FG_TIMEOUT_PROBE);
}

/*
 * The rest of the body will never come: the work ends, and the client is told, if it is there to
 * read it (RFC 9112 section 8). Behind the head of an answer its missing end says so.
 */
static void cut_body(struct fg_h1 *h1)
{
    struct fg_stream *stream = h1->current;
    if (stream->is_head_sent) {
        h1->codec.transport->ops->close(h1->codec.transport, FG_CLOSE_RESET);
        return;
    }
    h1->reading = FG_H1_READING_NOTHING;
    fg_timeout_cancel(&stream->body_timeout);
    fail_stream(stream, FG_GONE_CLIENT_CLOSED, FG_HTTP_BODY_CUT);
}

/*
 * Whoever has made a whole request and closes its side alone still gets the answer. It may also
 * have left: over TLS that shows, in the clear it is found out. A body that was cut short is no
 * request.
 */
static void on_eof(struct fg_codec *codec, bool may_listen)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    struct fg_transport *transport = codec->transport;
    h1->has_ended = true;
    fg_h1_close_after(h1, FG_CLOSE_FLUSH);
    if (h1->reading == FG_H1_READING_TUNNEL) {
        end_of_tunnel(h1);
        return;
    }
    bool is_whole = h1->reading == FG_H1_READING_NOTHING;
    if (h1->current == NULL)
        transport->ops->wake(transport);
    else if (!may_listen || h1->current->req.ends_with_input)
        transport->ops->close(transport, FG_CLOSE_RESET); /* nobody is left to answer */
    else if (!is_whole)
        cut_body(h1);
    else if (!transport->is_tls)
        transport->ops->arm(transport, FG_TIMEOUT_PROBE);
}

static void on_timeout(struct fg_codec *codec, enum fg_timeout_class class)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    struct fg_transport *transport = codec->transport;
    if (class == FG_TIMEOUT_PROBE) {
        probe(h1);
        return;
    }
    if (h1->current != NULL || h1->out.len > 0) {
        /* Idle was armed before this request, and will be after it; a head goes on waiting. */
        if (class == FG_TIMEOUT_HEADER)
            transport->ops->arm(transport, class);
        return;
    }
    fg_counter_add_owned(&transport->env->stats->timeouts, 1);
    if (class == FG_TIMEOUT_HEADER && h1->head_len > 0) {
        h1->current = acquire_for_error(h1, FG_SPAN(""));
        fg_h1_close_after(h1, FG_CLOSE_LINGER);
        if (h1->current != NULL) {
            fg_h1_head_clear(h1);
            fg_stream_answer_error(h1->current, FG_HTTP_HEADER_TIMEOUT);
            return;
        }
    }
    fg_h1_close_after(h1, FG_CLOSE_FLUSH);
    transport->ops->wake(transport);
}

static void on_drain(struct fg_codec *codec)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    h1->is_draining = true;
    if (h1->current != NULL || h1->head_len > 0)
        return;
    /* A request may be on its way, which clients repeat neither on a connection that they have just
     * opened nor, as a POST, anywhere: it is answered, and told to be the last. */
    codec->transport->ops->arm(codec->transport, FG_TIMEOUT_LINGER);
}

static uint64_t on_waits_since(struct fg_codec *codec, bool *is_idle)
{
    const struct fg_h1 *h1 = fg_h1_of(codec);
    const struct fg_stream *stream = h1->current;
    if (stream != NULL)
        return fg_stream_awaits_client(stream) && !h1->is_body_stalled ? stream->moved_ns : 0;
    if (h1->out.len > 0)
        return 0; /* the socket takes it, or else the connection knows */
    *is_idle = h1->head_len == 0;
    return *is_idle ? h1->rests_since_ns : h1->head_started_ns;
}

static void on_adjust(struct fg_codec *codec)
{
    (void)codec; /* it looks when it answers */
}

static void on_destroy(struct fg_codec *codec)
{
    struct fg_h1 *h1 = fg_h1_of(codec);
    assert(h1->current == NULL && fg_list_is_empty(&h1->finished));
    assert(codec->unanswered == 0);
    assert(codec->awaited == 0);
    fg_byte_queue_clear(&h1->out, &codec->transport->env->segments);
    fg_h1_head_clear(h1);
    free(h1);
}

static const struct fg_codec_ops h1_ops = {
    .input = on_input,
    .produce = on_produce,
    .flushed = on_flushed,
    .on_eof = on_eof,
    .on_timeout = on_timeout,
    .on_cut = on_cut,
    .drain = on_drain,
    .waits_since = on_waits_since,
    .adjust = on_adjust,
    .destroy = on_destroy,
};

struct fg_codec *fg_h1_create(struct fg_transport *transport)
{
    struct fg_h1 *h1 = calloc(1, sizeof(*h1));
    if (h1 == NULL)
        return NULL;
    h1->codec.ops = &h1_ops;
    h1->codec.transport = transport;
    h1->rests_since_ns = fg_loop_now_ns(transport->env->loop);
    fg_list_init(&h1->finished);
    transport->ops->arm(transport, FG_TIMEOUT_IDLE);
    return &h1->codec;
}
