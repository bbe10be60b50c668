/*
 * h2.c: the HTTP/2 server codec of one connection.
 * Job      settings, bytes in, what to do when all is out, idle and header time-outs, graceful
 *          shutdown. The framing is our own: what a library needs for any use of a connection (a
 *          session's buffers, its queues, a second look at every byte) cost more than all else
 *          that a cached answer takes; and 12 KiB a connection.
 * Thread   the loop's.
 * Memory   a few hundred bytes, from the loop's blocks a table of open streams, of the fields of
 *          heads each way (hpack.h, hpack_reader.h), and what waits in h2_output.c. Request bodies:
 *          at most FG_H2_CONNECTION_WINDOW bytes a connection (and limits.late_body_max while some
 *          go on behind their answers), FG_BODY_WINDOW a stream; answers:
 *          limits.connection_buffer_bytes and one write a stream.
 * Source   RFC 9113; RFC 9218 for the order in which streams are sent.
 */
#include "http/h2_internal.h"

#include "base/clock.h"
#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>

#define WINDOW_USUAL 65535 /* before anybody says otherwise (section 6.9.2) */

void fg_h2_fail(struct fg_h2 *h2, uint32_t error_code, const char *reason)
{
    struct fg_transport *transport = h2->codec.transport;
    if (h2->has_failed)
        return;
    h2->has_failed = true;
    h2->failure_code = error_code;
    fg_codec_note_error(transport, "h2", reason);
    transport->ops->close(transport, FG_CLOSE_LINGER);
}

void fg_h2_fail_flood(struct fg_h2 *h2, const char *reason)
{
    if (h2->has_failed)
        return;
    h2->codec.transport->has_flooded = true;
    fg_counter_add_owned(&h2->codec.transport->env->stats->h2_floods, 1);
    fg_h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, reason);
}

static size_t on_input(struct fg_codec *codec, const char *data, size_t len)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (h2->has_failed)
        return len;
    char gather[FG_GATHER_BYTES]; /* only small DATA is ever copied to it */
    h2->gather = gather;
    size_t taken = fg_h2_take_frames(h2, (const uint8_t *)data, len);
    fg_h2_flush_gathered(h2);
    h2->gather = NULL;
    if (h2->has_failed)
        return len;
    bool is_in_head = fg_h2_block_is_begun(&h2->block);
    if (is_in_head && !h2->is_head_timed) {
        h2->is_head_timed = true;
        transport->ops->arm(transport, FG_TIMEOUT_HEADER);
    } else if (!is_in_head && h2->is_head_timed) {
        h2->is_head_timed = false;
        transport->ops->disarm(transport);
    }
    fg_h2_wake(h2);
    return taken;
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

/* Their answers are in the socket, in a write of their own: see fg_h2_note_local_end. */
static void pay_resets(struct fg_h2 *h2)
{
    h2->owes_resets = false;
    FG_LIST_EACH_SAFE(it, after, &h2->streams)
    {
        struct fg_stream *stream = FG_CONTAINER_OF(it, struct fg_stream, link);
        bool is_due = stream->owes_reset && stream->wire.is_open;
        stream->owes_reset = false;
        if (is_due && fg_h2_drain_begin(h2, stream))
            fg_h2_settle(h2, stream);
        else if (is_due && may_linger(h2, stream))
            linger(h2, stream);
        else if (is_due)
            fg_h2_dismiss(h2, stream);
    }
}

static void on_flushed(struct fg_codec *codec)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (h2->long_head.data != NULL)
        return;
    if (h2->owes_resets)
        pay_resets(h2);
    if (!fg_list_is_empty(&h2->finished))
        finish_all(h2);
    bool is_idle = fg_list_is_empty(&h2->streams) && h2->wires.count == 0;
    if (h2->has_failed || fg_h2_has_output(h2))
        return;
    if (is_idle && (h2->has_heard_goaway || h2->shutdown == FG_H2_FINAL))
        transport->ops->close(transport, FG_CLOSE_LINGER); /* it still opens windows, or asks */
    else if (is_idle && !h2->is_head_timed)
        transport->ops->arm(transport,
                            h2->shutdown == FG_H2_NOTICED ? FG_TIMEOUT_LINGER : FG_TIMEOUT_IDLE);
}

static void cut_stream(struct fg_h2 *h2, struct fg_stream *stream, enum fg_gone_reason reason)
{
    if (stream->wire.is_open)
        fg_h2_wires_close(&h2->wires, &stream->wire);
    fg_h2_drop_heads(h2, stream);
    fg_list_remove(&stream->link);
    fg_stream_gone(stream, reason);
    stream->req.was_aborted = true;
    fg_stream_finish(stream);
}

static void on_cut(struct fg_codec *codec, enum fg_gone_reason reason)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    h2->has_failed = true;
    fg_h2_guard_close(h2);
    fg_h2_drain_forget_all(h2);
    finish_all(h2);
    while (!fg_list_is_empty(&h2->streams))
        cut_stream(h2, FG_CONTAINER_OF(h2->streams.next, struct fg_stream, link), reason);
}

/* A client that can open no window any more is as good as gone. */
static void on_eof(struct fg_codec *codec, bool may_listen)
{
    (void)may_listen;
    bool is_idle = fg_list_is_empty(&fg_h2_of(codec)->streams);
    codec->transport->ops->close(codec->transport, is_idle ? FG_CLOSE_FLUSH : FG_CLOSE_RESET);
}

void fg_h2_say_last_goaway(struct fg_h2 *h2)
{
    h2->shutdown = FG_H2_FINAL;
    fg_h2_say_goaway(h2, h2->served_id, NGHTTP2_NO_ERROR);
    fg_h2_wake(h2);
}

void fg_h2_shut_down(struct fg_h2 *h2)
{
    static const uint8_t nothing[8];
    if (h2->shutdown != FG_H2_RUNNING)
        return;
    h2->shutdown = FG_H2_NOTICED;
    /* In this order: there are clients (Python's h2) that take no ping behind a GOAWAY. */
    fg_h2_say(h2, NGHTTP2_PING, 0, 0, nothing, sizeof(nothing));
    fg_h2_say_goaway(h2, INT32_MAX, NGHTTP2_NO_ERROR);
    fg_h2_wake(h2);
}

static void on_timeout(struct fg_codec *codec, enum fg_timeout_class class)
{
    struct fg_h2 *h2 = fg_h2_of(codec);
    struct fg_transport *transport = codec->transport;
    if (class != FG_TIMEOUT_HEADER && !fg_list_is_empty(&h2->streams))
        return; /* armed before these streams; their end arms it again */
    fg_counter_add_owned(&transport->env->stats->timeouts, 1);
    if (class == FG_TIMEOUT_HEADER)
        fg_h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "a head that does not end");
    else
        fg_h2_say_last_goaway(h2);
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

static void write_setting(uint8_t *to, unsigned id, uint32_t value)
{
    to[0] = (uint8_t)(id >> 8);
    to[1] = (uint8_t)id;
    fg_h2_write_u32(to + 2, value);
}

/*
 * A client that never acknowledges is told once and no more: what waits to be acknowledged stays
 * in memory. Streams that it opens meanwhile beyond the new number are refused, to be tried again.
 */
void fg_h2_tell_streams_max(struct fg_h2 *h2)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    uint32_t most = streams_max_of(env);
    if (most == h2->streams_max || h2->awaits_ack || h2->has_failed || h2->shutdown == FG_H2_FINAL)
        return;
    uint8_t payload[FG_H2_SETTING_BYTES];
    write_setting(payload, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, most);
    fg_h2_say(h2, NGHTTP2_SETTINGS, 0, 0, payload, sizeof(payload));
    if (most < h2->streams_max)
        fg_pressure_acted(env->pressure, FG_OVERLOAD_FEWER_STREAMS);
    h2->streams_max = most;
    h2->awaits_ack = true;
    fg_h2_wake(h2);
}

/* 0: it is not the client that it waits for. */
static uint64_t stream_waits_since(const struct fg_h2 *h2, const struct fg_stream *stream)
{
    const struct fg_timeouts *timeouts = &h2->codec.transport->env->timeouts;
    if (stream->out.len == 0)
        return stream->is_lingering || fg_stream_awaits_client(stream) ? stream->moved_ns : 0;
    bool is_shut = h2->send_window <= 0 || stream->wire.send_window <= 0;
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
    assert(codec->awaited == 0);
    fg_h2_drain_forget_all(h2);
    fg_h2_wires_fini(&h2->wires);
    fg_h2_bytes_drop(h2, &h2->long_head);
    fg_h2_bytes_drop(h2, &h2->outbox);
    fg_hpack_fini(&h2->hpack);
    fg_hpack_reader_fini(&h2->reader);
    fg_h2_block_drop(&h2->block);
    free(h2->waiting);
    free(h2);
}

static const struct fg_codec_ops h2_ops = {
    .input = on_input,
    .produce = fg_h2_produce,
    .flushed = on_flushed,
    .on_eof = on_eof,
    .on_timeout = on_timeout,
    .on_cut = on_cut,
    .drain = on_drain,
    .waits_since = on_waits_since,
    .adjust = on_adjust,
    .destroy = on_destroy,
};

static void say_settings(struct fg_h2 *h2, const struct fg_limits_conf *limits)
{
    uint32_t list_max =
        limits->header_bytes_max > UINT32_MAX ? UINT32_MAX : (uint32_t)limits->header_bytes_max;
    const struct {
        uint16_t id;
        uint32_t value;
    } settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h2->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)FG_BODY_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, list_max},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    uint8_t payload[FG_H2_SETTING_BYTES * sizeof(settings) / sizeof(settings[0])];
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        write_setting(payload + FG_H2_SETTING_BYTES * i, settings[i].id, settings[i].value);
    fg_h2_say(h2, NGHTTP2_SETTINGS, 0, 0, payload, sizeof(payload));
}

struct fg_codec *fg_h2_create(struct fg_transport *transport)
{
    struct fg_codec_env *env = transport->env;
    struct fg_h2 *h2 = calloc(1, sizeof(*h2));
    if (h2 == NULL)
        return NULL;
    h2->codec.ops = &h2_ops;
    h2->codec.transport = transport;
    fg_list_init(&h2->streams);
    fg_list_init(&h2->finished);
    fg_list_init(&h2->drains);
    fg_h2_wires_init(&h2->wires, &env->blocks);
    fg_h2_block_init(&h2->block, &env->blocks, FG_H2_BOMB_HEADS * env->limits->header_bytes_max);
    fg_hpack_init(&h2->hpack, &env->blocks);
    fg_hpack_reader_init(&h2->reader, &env->blocks);
    fg_h2_guard_open(h2);
    h2->rests_since_ns = h2->opened_ns;
    h2->preface_left = NGHTTP2_CLIENT_MAGIC_LEN;
    h2->streams_max = streams_max_of(env);
    h2->awaits_ack = true;
    h2->send_window = h2->initial_window = h2->recv_left = WINDOW_USUAL;
    h2->returned = FG_H2_CONNECTION_WINDOW - WINDOW_USUAL;
    h2->owes_update = true;
    say_settings(h2, env->limits);
    fg_counter_add_owned(&env->stats->h2_connections, 1);
    transport->ops->arm(transport, FG_TIMEOUT_IDLE);
    fg_h2_wake(h2);
    return &h2->codec;
}
