/*
 * stream.c: the life of a request that is the same for both protocol versions.
 */
#include "http/stream.h"

#include "backends/grpc.h"
#include "base/clock.h"
#include "config/config.h"
#include "net/loop.h"
#include "policies/cache/http_date.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAMS_KEPT ((size_t)256) /* free ones, and twice as many as are in use */
#define MOVE(state) (1u << (state))

static const uint8_t legal_moves[FG_STREAM_STATE_COUNT] = {
    [FG_STREAM_HEAD] = MOVE(FG_STREAM_OPEN) | MOVE(FG_STREAM_ENDED) | MOVE(FG_STREAM_GONE),
    [FG_STREAM_OPEN] = MOVE(FG_STREAM_ENDED) | MOVE(FG_STREAM_GONE),
    [FG_STREAM_GONE] = MOVE(FG_STREAM_ENDED), /* the codec's own error answer */
    [FG_STREAM_ENDED] = 0,
};

void fg_stream_set_state(struct fg_stream *stream, enum fg_stream_state next)
{
    assert((legal_moves[stream->state] & MOVE(next)) != 0);
    stream->state = next;
    if (next == FG_STREAM_ENDED)
        stream->codec->unanswered--;
}

/* Of its answer, or there will be none. */
static void note_begun(struct fg_stream *stream)
{
    if (!stream->is_head_sent && stream->req.version == FG_HTTP_2)
        stream->codec->awaited--;
    stream->is_head_sent = true;
}

struct fg_stream *fg_stream_acquire(struct fg_codec *codec, enum fg_http_version version,
                                    const struct fg_response_ops *ops)
{
    struct fg_transport *transport = codec->transport;
    struct fg_codec_env *env = transport->env;
    struct fg_stream *stream = env->free_streams;
    if (stream != NULL) {
        env->free_streams = stream->next_free;
        env->free_stream_count--;
    } else {
        stream = malloc(sizeof(*stream));
        if (stream == NULL)
            return NULL;
    }
    env->stream_count++;
    env->streams_moved++;
    transport->begun++;
    memset(stream, 0, offsetof(struct fg_stream, head));
    stream->codec = codec;
    codec->unanswered++;
    codec->awaited += version == FG_HTTP_2;
    stream->response_left = -1;
    fg_list_init(&stream->link);
    struct fg_request *req = &stream->req;
    req->loop = env->loop;
    req->version = version;
    req->tls_version = transport->link.tls_version;
    req->is_tls = transport->is_tls;
    req->listener = transport->listener;
    req->client_user = transport->client_user;
    req->response_ops = ops;
    req->handler = transport->handler;
    req->handler_ctx = transport->handler_ctx;
    fg_arena_init(&req->arena_storage, fg_loop_arena_pool(env->loop),
                  env->limits->request_memory_max);
    struct fg_exchange *ex = &req->ex;
    ex->arena = &req->arena_storage;
    ex->started_ns = fg_loop_now_ns(env->loop);
    stream->moved_ns = ex->started_ns;
    ex->client_addr = transport->client_addr;
    ex->link = &transport->link;
    ex->scheme = transport->is_tls ? FG_SPAN("https") : FG_SPAN("http");
    ex->body_bytes_max = env->limits->body_bytes_max;
    ex->content_length = -1;
    fg_head_init(&stream->head, ex->arena, env->limits, &env->known_authority);
    return stream;
}

/*
 * A flood's streams lie between the rest of what it took: kept, they would keep the pages of all of
 * it. A few at a time: for each that is free again two more may be too many.
 */
static void keep(struct fg_codec_env *env, struct fg_stream *stream)
{
    stream->next_free = env->free_streams;
    env->free_streams = stream;
    env->free_stream_count++;
    for (unsigned most = 3; most > 0; most--) {
        if (env->free_stream_count <= STREAMS_KEPT + 2 * env->stream_count)
            return;
        struct fg_stream *dropped = env->free_streams;
        env->free_streams = dropped->next_free;
        env->free_stream_count--;
        free(dropped);
    }
}

bool fg_stream_is_body_late(struct fg_stream *stream)
{
    const struct fg_request *req = &stream->req;
    bool has_answered = stream->is_head_sent && req->bytes_out != stream->out_seen;
    stream->out_seen = req->bytes_out;
    return !has_answered && (!stream->is_head_sent || req->ex.stream_deadline_ns == 0);
}

void fg_stream_release(struct fg_stream *stream)
{
    struct fg_codec_env *env = stream->codec->transport->env;
    if (stream->state != FG_STREAM_ENDED)
        stream->codec->unanswered--;
    note_begun(stream);
    fg_timeout_cancel(&stream->body_timeout);
    fg_timeout_cancel(&stream->write_timeout);
    fg_list_remove(&stream->link);
    fg_byte_queue_clear(&stream->out, &env->segments);
    fg_arena_fini(&stream->req.arena_storage);
    env->stream_count--;
    env->streams_moved++;
    keep(env, stream);
}

/*
 * Nothing of what https promises has been kept (RFC 9110 section 7.4); http asks for nothing that
 * TLS has not. A trusted proxy may have it from its own connection. Of HTTP/2's :scheme the
 * connection knows better: there are clients that always say the same one.
 */
static bool wants_tls(const struct fg_stream *stream)
{
    return fg_span_equal(stream->head.target_scheme, FG_SPAN("https")) &&
           fg_span_equal(stream->req.ex.scheme, FG_SPAN("http")) &&
           !stream->codec->transport->is_shared;
}

enum fg_http_error fg_stream_finish_head(struct fg_stream *stream)
{
    static const enum fg_spoken protocols[] = {
        [FG_HTTP_1_0] = FG_SPOKEN_1_0,
        [FG_HTTP_1_1] = FG_SPOKEN_1_1,
        [FG_HTTP_2] = FG_SPOKEN_2,
    };
    struct fg_exchange *ex = &stream->req.ex;
    ex->protocol = protocols[stream->req.version];
    ex->request_id = stream->head.request_id;
    if (ex->request_id.data == NULL) {
        char *id = fg_arena_try_alloc(ex->arena, 32);
        if (id == NULL)
            return FG_HTTP_NO_MEMORY;
        fg_codec_make_request_id(stream->codec->transport->env, id);
        ex->request_id = fg_span_make(id, 32);
    }
    enum fg_http_error error = fg_head_finish(&stream->head, ex, stream->req.version);
    return error == FG_HTTP_OK && wants_tls(stream) ? FG_HTTP_WRONG_SCHEME : error;
}

void fg_stream_begin(struct fg_stream *stream)
{
    struct fg_request *req = &stream->req;
    fg_stream_set_state(stream, FG_STREAM_OPEN);
    stream->was_seen = true;
    req->handler->on_request(req->handler_ctx, req);
}

void fg_stream_gone(struct fg_stream *stream, enum fg_gone_reason reason)
{
    bool was_open = stream->state == FG_STREAM_OPEN;
    if (stream->state == FG_STREAM_ENDED || stream->state == FG_STREAM_GONE)
        return;
    fg_stream_set_state(stream, FG_STREAM_GONE);
    stream->req.was_aborted = true;
    if (was_open)
        stream->req.handler->on_gone(&stream->req, reason);
}

void fg_stream_finish(struct fg_stream *stream)
{
    if (stream->was_seen) {
        stream->was_seen = false;
        stream->req.handler->on_done(&stream->req);
    }
    fg_stream_release(stream);
}

/* What the route says of every answer holds for the codec's own. */
static void mark(struct fg_stream *stream, const struct fg_field **fields, size_t *count)
{
    const struct fg_request_handler *handler = stream->req.handler;
    if (stream->was_seen && handler->mark_codec_answer != NULL)
        handler->mark_codec_answer(&stream->req, fields, count);
}

/* Trailers only, as the pipeline's refusals of gRPC calls are (pipeline/answer.c). */
static void answer_grpc_error(struct fg_stream *stream, enum fg_http_error error,
                              struct fg_span date)
{
    const struct fg_field own[] = {
        {FG_SPAN("content-type"), FG_SPAN("application/grpc")},
        {FG_SPAN("grpc-status"), fg_grpc_status_of(fg_http_error_status(error))},
        {FG_SPAN("grpc-message"), fg_span_from_string(fg_http_error_message(error))},
        {FG_SPAN("date"), date},
        {FG_SPAN("x-request-id"), stream->req.ex.request_id},
    };
    const struct fg_field *fields = own;
    size_t count = sizeof(own) / sizeof(own[0]);
    mark(stream, &fields, &count);
    stream->req.response_ops->head(&stream->req, 200, fields, count, true);
}

static void answer_error(struct fg_stream *stream, enum fg_http_error error)
{
    static const struct fg_span json = FG_SPAN_LITERAL("application/json");
    assert(!stream->is_head_sent);
    if (fg_span_equal(stream->head.method, FG_SPAN("HEAD")))
        stream->req.ex.method = FG_METHOD_HEAD; /* the head may be wrong behind it */
    char body[FG_HTTP_ERROR_BODY_MAX];
    char length[24];
    char date[FG_HTTP_DATE_BYTES];
    const struct fg_span request_id = stream->req.ex.request_id;
    fg_http_date_format((int64_t)(fg_clock_wall_ns() / FG_S), date);
    if (fg_grpc_is_call(&stream->req.ex)) {
        answer_grpc_error(stream, error, fg_span_from_string(date));
        return;
    }
    const bool is_too_large = error == FG_HTTP_BODY_TOO_LARGE;
    size_t len = fg_http_error_body(error, request_id,
                                    is_too_large ? stream->req.ex.body_bytes_max : 0, body);
    int digits = snprintf(length, sizeof(length), "%zu", len);
    const struct fg_field own[] = {
        {FG_SPAN("content-type"), json},
        {FG_SPAN("content-length"), {length, (size_t)digits}},
        {FG_SPAN("cache-control"), FG_SPAN("no-store")},
        {FG_SPAN("date"), fg_span_from_string(date)},
        {FG_SPAN("x-request-id"), request_id},
        {FG_SPAN("retry-after"), FG_SPAN("1")},
    };
    unsigned status = fg_http_error_status(error);
    const struct fg_response_ops *ops = stream->req.response_ops;
    const struct fg_field *fields = own;
    size_t count = status == 503 ? 6 : 5;
    mark(stream, &fields, &count);
    ops->head(&stream->req, status, fields, count, false);
    ops->write(&stream->req, body, len);
    ops->end(&stream->req);
}

void fg_stream_answer_error(struct fg_stream *stream, enum fg_http_error error)
{
    struct fg_request *req = &stream->req;
    struct fg_exchange *ex = &req->ex;
    char id[32];
    assert(stream->state != FG_STREAM_OPEN);
    req->was_aborted = false;                         /* it is told why, and whole */
    const bool is_nameless = ex->request_id.len == 0; /* the head was not read to its end */
    if (is_nameless) {
        fg_codec_make_request_id(stream->codec->transport->env, id);
        ex->request_id = fg_span_make(id, sizeof(id));
    }
    if (ex->method_text.len == 0)
        ex->method_text = stream->head.method;
    if (ex->path.len == 0)
        ex->path = stream->head.target;
    if (req->handler->on_codec_answer != NULL)
        req->handler->on_codec_answer(req->handler_ctx, req, fg_http_error_status(error),
                                      fg_http_error_code(error));
    answer_error(stream, error);
    if (is_nameless)
        ex->request_id = fg_span_make(NULL, 0);
}

void fg_stream_out_of_memory(struct fg_request *req)
{
    answer_error(fg_stream_of(req), FG_HTTP_NO_MEMORY);
}

bool fg_stream_count_body(struct fg_stream *stream, size_t len)
{
    stream->req.bytes_in += len;
    stream->brought += len;
    if (stream->brought >= FG_WRITE_PROGRESS_BYTES) {
        stream->brought = 0;
        stream->moved_ns = fg_loop_now_ns(stream->req.loop);
    }
    if (stream->req.bytes_in <= stream->req.ex.body_bytes_max)
        return true;
    stream->has_too_large = true;
    return false;
}

bool fg_stream_awaits_client(const struct fg_stream *stream)
{
    if (stream->state == FG_STREAM_HEAD)
        return true;
    return stream->state == FG_STREAM_OPEN && !stream->is_body_complete && !stream->is_refusing &&
           !stream->is_tunnel && stream->req.ex.upgrade.data == NULL &&
           stream->unconsumed < FG_BODY_WINDOW / 2;
}

size_t fg_stream_count_answer(struct fg_stream *stream, size_t len)
{
    assert(stream->is_head_sent);
    if (stream->is_body_swallowed)
        return 0;
    if (stream->response_left != -1) {
        if ((uint64_t)len > (uint64_t)stream->response_left)
            len = (size_t)stream->response_left;
        stream->response_left -= (int64_t)len;
    }
    return len;
}

void fg_stream_refuse_body(struct fg_stream *stream)
{
    stream->is_refusing = true;
    stream->has_too_large = true;
    if (stream->state != FG_STREAM_OPEN)
        return;
    fg_stream_gone(stream, FG_GONE_TOO_LARGE);
    if (stream->is_head_sent)
        stream->req.response_ops->abort(&stream->req);
    else
        fg_stream_answer_error(stream, FG_HTTP_BODY_TOO_LARGE);
}

enum fg_http_error fg_stream_trailer_error(enum fg_status status)
{
    switch (status) {
    case FG_OK:
        return FG_HTTP_OK;
    case FG_ERR_LIMIT:
        return FG_HTTP_HEADER_TOO_LARGE;
    case FG_ERR_NO_MEMORY:
        return FG_HTTP_NO_MEMORY;
    default:
        return FG_HTTP_BAD_FIELD;
    }
}

void fg_stream_set_trailers(struct fg_stream *stream)
{
    stream->req.ex.trailers = stream->trailers.fields;
    stream->req.ex.trailer_count = stream->trailers.count;
}

bool fg_stream_begin_answer(struct fg_stream *stream, unsigned status)
{
    note_begun(stream);
    bool is_empty = status == 204 || status == 205;
    if (is_empty)
        stream->response_left = 0;
    return stream->req.ex.method == FG_METHOD_HEAD || is_empty || status == 304;
}
