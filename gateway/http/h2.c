/*
 * h2.c: the HTTP/2 server codec of one connection, over an nghttp2 session.
 * Job      session with our limits, bytes in and out, idle and header time-outs, graceful shutdown.
 * Thread   the loop's.
 * Memory   nghttp2's own for the session and its streams (bounded by SETTINGS), and ours for the
 *          fields of heads each way (hpack.h, hpack_reader.h). Two of nghttp2's blocks are large
 *          and hardly touched: the buffer for frames (16 KiB) and the table of streams (4 KiB).
 *          They lie in pages of their own, which a connection that says nothing for a second
 *          gives back. Request bodies: at most FG_H2_CONNECTION_WINDOW bytes a connection (and
 *          limits.late_body_max while some go on behind their answers), FG_BODY_WINDOW a stream;
 *          answers: limits.connection_buffer_bytes and one write a stream.
 * Source   RFC 9113; RFC 9218 for the order in which streams are sent.
 */
#include "http/h2_internal.h"

#include "base/clock.h"
#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>

#define VERSION_KNOWN 0x013400 /* of nghttp2: 1.52.0, as Debian 12 has it */
#define RING_BYTES (128 * sizeof(void *))

/* The session can go on no more: say why, and let the client read it. */
static void fail_session(struct fg_h2 *h2, int error)
{
    struct fg_transport *transport = h2->codec.transport;
    if (h2->failure_code == NGHTTP2_NO_ERROR) {
        switch (error) {
        case NGHTTP2_ERR_FLOODED:
        case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
            h2->failure_code = NGHTTP2_ENHANCE_YOUR_CALM;
            break;
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            h2->failure_code = NGHTTP2_PROTOCOL_ERROR;
            break;
        default:
            h2->failure_code = NGHTTP2_INTERNAL_ERROR;
            break;
        }
    }
    h2->has_failed = true;
    fg_codec_note_error(transport, "h2", nghttp2_strerror(error));
    transport->ops->close(transport, FG_CLOSE_LINGER);
}

static size_t on_input(struct fg_codec *codec, const char *data, size_t len)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (h2->has_failed)
        return len;
    char gather[FG_GATHER_BYTES]; /* only small DATA is ever copied to it */
    h2->gather = gather;
    int error = fg_h2_guarded_recv(h2, (const uint8_t *)data, len);
    fg_h2_flush_gathered(h2);
    h2->gather = NULL;
    if (error != 0) {
        fail_session(h2, error);
        return len;
    }
    bool is_in_head = fg_h2_input_is_in_head(&h2->input);
    if (is_in_head && !h2->is_head_timed) {
        h2->is_head_timed = true;
        transport->ops->arm(transport, FG_TIMEOUT_HEADER);
    } else if (!is_in_head && h2->is_head_timed) {
        h2->is_head_timed = false;
        transport->ops->disarm(transport);
    }
    transport->ops->wake(transport);
    return len;
}

static void put(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    memcpy(h2->to, data, len);
    h2->to += len;
    h2->room -= len;
}

/* A GOAWAY by hand, behind the server's preface, which must come first (RFC 9113 section 3.4). */
static void put_last_words(struct fg_h2 *h2)
{
    static const uint8_t empty_settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
    uint32_t last_id = (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->session);
    uint8_t goaway[17] = {0, 0, 8, NGHTTP2_GOAWAY};
    for (unsigned i = 0; i < 4; i++) {
        goaway[9 + i] = (uint8_t)(last_id >> (24 - 8 * i));
        goaway[13 + i] = (uint8_t)(h2->failure_code >> (24 - 8 * i));
    }
    h2->has_said_why = true;
    if (!h2->has_spoken)
        put(h2, empty_settings, sizeof(empty_settings));
    put(h2, goaway, sizeof(goaway));
}

static size_t on_produce(struct fg_codec *codec, char *to, size_t room)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    h2->to = to;
    h2->room = room;
    if (h2->pending_len > 0) {
        size_t part = h2->pending_len < room ? h2->pending_len : room;
        put(h2, h2->pending, part);
        h2->pending += part;
        h2->pending_len -= part;
    }
    if (h2->due != NULL && !fg_h2_put_due(h2))
        assert(h2->to != to); /* a fresh buffer has room for every one */
    while (h2->room >= FG_H2_ROOM_MIN && h2->pending_len == 0 && h2->due == NULL &&
           !h2->has_failed) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(h2->session, &data);
        if (len < 0) {
            h2->has_failed = true;
            codec->transport->ops->close(codec->transport, FG_CLOSE_RESET);
            break;
        }
        if (len == 0)
            break;
        h2->has_spoken = true;
        h2->has_spoken_lately = true;
        if (h2->due != NULL) {
            assert((size_t)len > FG_H2_FRAME_HEAD);
            memcpy(h2->due_frame, data, FG_H2_FRAME_HEAD);
            (void)fg_h2_put_due(h2);
            continue;
        }
        size_t part = (size_t)len < h2->room ? (size_t)len : h2->room;
        put(h2, data, part);
        h2->pending = data + part;
        h2->pending_len = (size_t)len - part;
    }
    if (h2->has_failed && !h2->has_said_why && h2->room >= FG_H2_ROOM_MIN && h2->pending_len == 0 &&
        h2->due == NULL)
        put_last_words(h2);
    size_t made = (size_t)(h2->to - to);
    h2->to = NULL;
    h2->room = 0;
    return made;
}

static void finish_all(struct fg_h2 *h2)
{
    struct fg_list *link;
    uint64_t now_ns = fg_clock_monotonic_ns(); /* once for all that were flushed together */
    h2->rests_since_ns = fg_loop_now_ns(h2->codec.transport->env->loop);
    while ((link = fg_list_pop_front(&h2->finished)) != NULL) {
        struct fg_stream *stream = FG_CONTAINER_OF(link, struct fg_stream, link);
        if (stream->req.done_ns == 0)
            stream->req.done_ns = now_ns;
        fg_stream_finish(stream);
    }
}

static void arm_rest(struct fg_h2 *h2)
{
    h2->has_spoken_lately = false;
    fg_timeout_arm(&h2->codec.transport->env->timeouts, &h2->rest, FG_TIMEOUT_REST);
}

static bool is_zero(const void *table)
{
    const uint64_t *words = table;
    uint64_t any = 0;
    for (size_t i = 0; i < FG_STREAM_TABLE_BYTES / sizeof(*words); i++)
        any |= words[i];
    return any == 0;
}

/*
 * Between two frames the session's buffer holds nothing that is needed; and a table without streams
 * is as good as one of fresh pages.
 */
static void on_rest(struct fg_timeout *timeout)
{
    struct fg_h2 *h2 = FG_CONTAINER_OF(timeout, struct fg_h2, rest);
    struct fg_codec_env *env = h2->codec.transport->env;
    if (h2->has_spoken_lately || h2->pending_len > 0 || h2->due != NULL ||
        nghttp2_session_want_write(h2->session) != 0) {
        arm_rest(h2);
        return;
    }
    if (h2->frame_buffer != NULL)
        fg_page_pool_rest(&env->frames, h2->frame_buffer);
    if (h2->stream_table != NULL && is_zero(h2->stream_table))
        fg_page_pool_rest(&env->tables, h2->stream_table);
    fg_counter_add_owned(&env->stats->h2_rests, 1);
}

/*
 * The rest of a small body is often on its way already. Its frames still find their stream for a
 * second, so that what is wrong with them is told and what is not needs no reset.
 */
static bool may_linger(const struct fg_h2 *h2, const struct fg_stream *stream)
{
    return stream->req.bytes_in + stream->unwanted <= FG_H2_UNWANTED_MAX && !stream->is_refusing &&
           h2->shutdown == FG_H2_RUNNING &&
           !fg_pressure_asks(h2->codec.transport->env->pressure, FG_OVERLOAD_FEWER_STREAMS);
}

static void linger(struct fg_h2 *h2, struct fg_stream *stream)
{
    stream->is_lingering = true;
    stream->req.done_ns = fg_clock_monotonic_ns();
    fg_timeout_arm(&h2->codec.transport->env->timeouts, &stream->body_timeout, FG_TIMEOUT_REST);
}

/* Their answers are in the socket, in a write of their own: see on_frame_send in h2_response.c. */
static void pay_resets(struct fg_h2 *h2)
{
    h2->owes_resets = false;
    FG_LIST_EACH_SAFE(it, after, &h2->streams)
    {
        struct fg_stream *stream = FG_CONTAINER_OF(it, struct fg_stream, link);
        bool is_due = stream->owes_reset && !stream->is_closed;
        stream->owes_reset = false;
        if (is_due && fg_h2_drain_begin(h2, stream)) {
            stream->is_closed = true;
            fg_h2_settle(h2, stream);
        } else if (is_due && may_linger(h2, stream)) {
            linger(h2, stream);
        } else if (is_due) {
            fg_h2_dismiss(h2, stream);
        }
    }
}

static void on_flushed(struct fg_codec *codec)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (h2->pending_len > 0 || h2->due != NULL)
        return;
    if (h2->has_spoken_lately && h2->rest.due_ns == 0)
        arm_rest(h2);
    if (h2->owes_resets)
        pay_resets(h2);
    if (!fg_list_is_empty(&h2->finished))
        finish_all(h2);
    bool is_idle = fg_list_is_empty(&h2->streams) && fg_list_is_empty(&h2->drains);
    if (nghttp2_session_want_write(h2->session) != 0)
        return;
    /* The session reads no more once it had to say GOAWAY for an error: open streams are lost. */
    if (nghttp2_session_want_read(h2->session) == 0)
        transport->ops->close(transport, FG_CLOSE_LINGER);
    else if (is_idle && h2->shutdown == FG_H2_FINAL)
        transport->ops->close(transport, FG_CLOSE_FLUSH);
    else if (is_idle && !h2->is_head_timed)
        transport->ops->arm(transport,
                            h2->shutdown == FG_H2_NOTICED ? FG_TIMEOUT_LINGER : FG_TIMEOUT_IDLE);
}

static void cut_stream(struct fg_stream *stream, enum fg_gone_reason reason)
{
    fg_list_remove(&stream->link);
    fg_stream_gone(stream, reason);
    stream->req.was_aborted = true;
    fg_stream_finish(stream);
}

static void on_cut(struct fg_codec *codec, enum fg_gone_reason reason)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    h2->has_failed = true;
    h2->due = NULL;
    fg_h2_guard_close(h2);
    fg_h2_drain_forget_all(h2);
    finish_all(h2);
    while (!fg_list_is_empty(&h2->streams))
        cut_stream(FG_CONTAINER_OF(h2->streams.next, struct fg_stream, link), reason);
}

/* A client that can open no window any more is as good as gone. */
static void on_eof(struct fg_codec *codec, bool may_listen)
{
    (void)may_listen;
    bool is_idle = fg_list_is_empty(&fg_h2_of(codec)->streams);
    codec->transport->ops->close(codec->transport, is_idle ? FG_CLOSE_FLUSH : FG_CLOSE_RESET);
}

static void say_last_goaway(struct fg_h2 *h2)
{
    h2->shutdown = FG_H2_FINAL;
    nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
    h2->codec.transport->ops->wake(h2->codec.transport);
}

void fg_h2_shut_down(struct fg_h2 *h2)
{
    if (h2->shutdown != FG_H2_RUNNING)
        return;
    h2->shutdown = FG_H2_NOTICED;
    nghttp2_submit_shutdown_notice(h2->session);
    nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
    h2->codec.transport->ops->wake(h2->codec.transport);
}

static void on_timeout(struct fg_codec *codec, enum fg_timeout_class class)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (class != FG_TIMEOUT_HEADER && !fg_list_is_empty(&h2->streams))
        return; /* armed before these streams; their end arms it again */
    fg_counter_add_owned(&transport->env->stats->timeouts, 1);
    if (class == FG_TIMEOUT_HEADER) {
        nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
        transport->ops->close(transport, FG_CLOSE_LINGER);
        return;
    }
    say_last_goaway(h2);
}

static void on_drain(struct fg_codec *codec)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    if (h2->shutdown == FG_H2_FINAL)
        return;
    fg_h2_shut_down(h2);
    if (fg_list_is_empty(&h2->streams))
        codec->transport->ops->arm(codec->transport, FG_TIMEOUT_LINGER);
}

static uint32_t streams_max_of(const struct fg_codec_env *env)
{
    uint32_t most = env->limits->streams_per_connection_max;
    if (fg_pressure_asks(env->pressure, FG_OVERLOAD_FEWER_STREAMS) &&
        env->pressure->streams_max < most)
        return env->pressure->streams_max;
    return most;
}

/*
 * A client that never acknowledges is told once and no more: what waits to be acknowledged stays
 * in memory. Streams that it opens meanwhile beyond the new number are refused, to be tried again.
 */
void fg_h2_tell_streams_max(struct fg_h2 *h2)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    uint32_t most = streams_max_of(env);
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, most};
    if (most == h2->streams_max || h2->awaits_ack || h2->has_failed || h2->shutdown == FG_H2_FINAL)
        return;
    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, &entry, 1) != 0)
        return; /* no memory: the next change tries again */
    if (most < h2->streams_max)
        fg_pressure_acted(env->pressure, FG_OVERLOAD_FEWER_STREAMS);
    h2->streams_max = most;
    h2->awaits_ack = true;
    h2->codec.transport->ops->wake(h2->codec.transport);
}

/* 0: it is not the client that it waits for. */
static uint64_t stream_waits_since(const struct fg_h2 *h2, const struct fg_stream *stream)
{
    const struct fg_timeouts *timeouts = &h2->codec.transport->env->timeouts;
    if (stream->out.len == 0)
        return stream->is_lingering || fg_stream_awaits_client(stream) ? stream->moved_ns : 0;
    bool is_shut = nghttp2_session_get_remote_window_size(h2->session) <= 0 ||
                   nghttp2_session_get_stream_remote_window_size(h2->session, stream->id) <= 0;
    return is_shut ? fg_timeout_armed_ns(timeouts, &stream->write_timeout, FG_TIMEOUT_STREAM_WRITE)
                   : 0;
}

static uint64_t on_waits_since(struct fg_codec *codec, bool *is_idle)
{
    const struct fg_h2 *h2 = fg_h2_of(codec);
    uint64_t latest_ns = h2->rests_since_ns;
    FG_LIST_EACH_SAFE(it, after, &h2->streams)
    {
        uint64_t since_ns = stream_waits_since(h2, FG_CONTAINER_OF(it, struct fg_stream, link));
        if (since_ns == 0)
            return 0;
        if (since_ns > latest_ns)
            latest_ns = since_ns;
    }
    *is_idle = fg_list_is_empty(&h2->streams);
    return latest_ns;
}

static void on_adjust(struct fg_codec *codec)
{
    fg_h2_tell_streams_max(fg_h2_of(codec));
}

static void on_destroy(struct fg_codec *codec)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    assert(fg_list_is_empty(&h2->streams) && fg_list_is_empty(&h2->finished));
    assert(codec->unanswered == 0);
    fg_timeout_cancel(&h2->rest);
    fg_h2_drain_forget_all(h2);
    nghttp2_session_del(h2->session);
    fg_hpack_fini(&h2->hpack);
    fg_hpack_reader_fini(&h2->reader);
    fg_h2_input_fini(&h2->input);
    free(h2->waiting);
    free(h2);
}

static const struct fg_codec_ops h2_ops = {
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

static struct fg_block_pool *blocks_of(struct fg_h2 *h2)
{
    return &h2->codec.transport->env->blocks;
}

/*
 * The session's tables of fields stay empty both ways: blocks that come in are taken out
 * (backends/h2_block.c), heads that go out have nothing to remember (h2_head.c), a promise is
 * refused before it is read. So the rings that it makes for them, 1 KiB each, may be the same for
 * all connections; who writes there all the same dies of it at once. Of other versions nobody has
 * looked.
 */
static const _Alignas(16) uint8_t empty_ring[RING_BYTES];

static bool is_ring(const struct fg_h2 *h2, size_t bytes)
{
    return bytes == RING_BYTES && h2->session == NULL &&
           nghttp2_version(0)->version_num == VERSION_KNOWN;
}

/* Of blocks this large a session takes one while it is being made: the buffer for frames. */
static void *take_block(size_t bytes, void *ctx)
{
    struct fg_h2 *h2 = ctx;
    struct fg_page_pool *frames = &h2->codec.transport->env->frames;
    if (is_ring(h2, bytes))
        return (void *)(uintptr_t)empty_ring;
    if (h2->session != NULL || h2->frame_buffer != NULL || bytes < FG_H2_FRAME_BYTES ||
        bytes > frames->block_bytes)
        return fg_block_pool_alloc(blocks_of(h2), bytes);
    h2->frame_buffer = fg_page_pool_alloc(frames);
    return h2->frame_buffer;
}

static void give_block(void *block, void *ctx)
{
    struct fg_h2 *h2 = ctx;
    struct fg_codec_env *env = h2->codec.transport->env;
    if (block == NULL || block == empty_ring) {
        return;
    } else if (block == h2->frame_buffer) {
        h2->frame_buffer = NULL;
        fg_page_pool_free(&env->frames, block);
    } else if (block == h2->stream_table) {
        h2->stream_table = NULL;
        fg_page_pool_free(&env->tables, block);
    } else {
        fg_block_pool_free(&env->blocks, block);
    }
}

/* And of zeroed ones that are just a page: the first table of its streams. */
static void *take_zeroed(size_t count, size_t bytes, void *ctx)
{
    struct fg_h2 *h2 = ctx;
    if (h2->session != NULL || h2->stream_table != NULL || count == 0 ||
        bytes != FG_STREAM_TABLE_BYTES / count || FG_STREAM_TABLE_BYTES % count != 0)
        return fg_block_pool_calloc(blocks_of(h2), count, bytes);
    h2->stream_table = fg_page_pool_alloc(&h2->codec.transport->env->tables);
    if (h2->stream_table != NULL && !is_zero(h2->stream_table))
        memset(h2->stream_table, 0, FG_STREAM_TABLE_BYTES);
    return h2->stream_table;
}

static void *resize_block(void *block, size_t bytes, void *ctx)
{
    struct fg_h2 *h2 = ctx;
    if (block == NULL)
        return take_block(bytes, h2);
    assert(block != h2->frame_buffer && block != h2->stream_table && block != empty_ring);
    return fg_block_pool_realloc(blocks_of(h2), block, bytes);
}

static nghttp2_session *make_session(struct fg_h2 *h2)
{
    nghttp2_mem memory = {.mem_user_data = h2,
                          .malloc = take_block,
                          .free = give_block,
                          .calloc = take_zeroed,
                          .realloc = resize_block};
    nghttp2_session *session = NULL;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    fg_h2_set_request_callbacks(callbacks);
    fg_h2_set_priority_callbacks(callbacks);
    fg_h2_set_response_callbacks(callbacks);
    if (nghttp2_option_new(&option) == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_no_http_messaging(option, 1); /* h2_check.c does */
        nghttp2_option_set_user_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
        if (nghttp2_session_server_new3(&session, callbacks, h2, option, &memory) != 0)
            session = NULL;
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

static bool submit_settings(struct fg_h2 *h2, const struct fg_limits_conf *limits)
{
    uint32_t list_max =
        limits->header_bytes_max > UINT32_MAX ? UINT32_MAX : (uint32_t)limits->header_bytes_max;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h2->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)FG_BODY_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, list_max},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof(settings) / sizeof(settings[0])) == 0 &&
           nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                 FG_H2_CONNECTION_WINDOW) == 0;
}

struct fg_codec *fg_h2_create(struct fg_transport *transport)
{
    struct fg_h2 *h2 = calloc(1, sizeof(*h2));
    if (h2 == NULL)
        return NULL;
    h2->codec.ops = &h2_ops;
    h2->codec.transport = transport;
    h2->rest.on_due = on_rest;
    fg_list_init(&h2->streams);
    fg_list_init(&h2->finished);
    fg_list_init(&h2->drains);
    fg_h2_input_init(&h2->input, &fg_h2_guard_ops, &transport->env->blocks,
                     FG_H2_BOMB_HEADS * transport->env->limits->header_bytes_max,
                     NGHTTP2_CLIENT_MAGIC_LEN);
    fg_h2_guard_open(h2);
    h2->rests_since_ns = h2->opened_ns;
    fg_hpack_init(&h2->hpack, &transport->env->blocks);
    fg_hpack_reader_init(&h2->reader, &transport->env->blocks);
    h2->session = make_session(h2);
    if (h2->session == NULL)
        goto free_h2;
    h2->input.session = h2->session;
    h2->streams_max = streams_max_of(transport->env);
    h2->awaits_ack = true;
    if (!submit_settings(h2, transport->env->limits))
        goto free_session;
    fg_counter_add_owned(&transport->env->stats->h2_connections, 1);
    transport->ops->arm(transport, FG_TIMEOUT_IDLE);
    transport->ops->wake(transport);
    return &h2->codec;
free_session:
    nghttp2_session_del(h2->session);
free_h2:
    free(h2);
    return NULL;
}
