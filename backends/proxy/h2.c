/*
 * h2.c: attempts as streams of a shared HTTP/2 connection (the client's side).
 * Job      begin streams, feed them bodies as their windows allow; write all frames of a loop turn
 *          in one call. A client that takes no more keeps its stream's window shut, never the
 *          connection's. What the server says is h2_answer.c's.
 * Thread   the owning event loop.
 * Never    closes the session from inside its own callbacks (is_in_session), where only streams are
 *          ended.
 * Memory   one session a connection; what the socket does not take in segments, and then nothing
 *          more is asked of the session.
 * Source   RFC 9113 sections 5.1.2 (concurrency), 6.7 (PING), 6.8 (GOAWAY).
 *
 *    silent (in silences) --interval--> PING sent (in ping_timeouts) --timeout--> closed
 *           ^------ any bytes of the server's ------'
 */
#include "h2_internal.h"

#include "base/clock.h"
#include "proxy/gather.h"
#include "proxy/read_pace.h"
#include "proxy/request_head.h"

#include <assert.h>
#include <stdlib.h>

#define FRAME_BYTES_MAX ((size_t)16384 + 9) /* the session sends no larger ones */
#define IOV_MAX_USED 16

struct fg_proxy_attempt *fg_h2_attempt_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static void mark_dirty(struct fg_h2 *h2)
{
    struct fg_proxy_thread *thread = h2->upstream->thread;
    if (!fg_list_is_empty(&h2->dirty))
        return;
    fg_list_push_back(&thread->dirty, &h2->dirty);
    event_active(&thread->flush_event, 0, 0);
}

/* ---- streams ---- */

void fg_h2_forget(struct fg_h2 *h2, struct fg_proxy_attempt *attempt)
{
    if (attempt->stream_id == 0)
        return;
    nghttp2_session_set_stream_user_data(h2->session, attempt->stream_id, NULL);
    attempt->stream_id = 0;
    fg_list_remove(&attempt->link);
    h2->stream_count--;
    fg_pending_wake(h2->upstream->thread);
    fg_counter_sub_owned(&h2->upstream->thread->metrics->streams_open, 1);
}

void fg_h2_reset_stream(struct fg_h2 *h2, int32_t stream_id, uint32_t code)
{
    nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream_id, code);
    mark_dirty(h2);
}

static void lose(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, enum fg_retry_cause cause,
                 uint32_t code, const char *detail)
{
    int32_t stream_id = attempt->stream_id;
    fg_h2_forget(h2, attempt);
    fg_h2_reset_stream(h2, stream_id, code); /* or takes back what has not left */
    fg_proxy_request_on_lost(attempt, cause, FG_FAILURE_RESET, detail);
}

void fg_h2_lose(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, enum fg_retry_cause cause,
                const char *detail)
{
    lose(h2, attempt, cause, NGHTTP2_CANCEL, detail);
}

void fg_h2_lose_malformed(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, const char *detail)
{
    fg_counter_add_owned(&attempt->request->metrics->malformed, 1);
    lose(h2, attempt, FG_RETRY_RESET, NGHTTP2_PROTOCOL_ERROR, detail);
}

/* ---- callbacks: what we say ---- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    if (frame->hd.type == NGHTTP2_DATA)
        fg_h2_watch_earn(h2, FG_H2_EARNED_BY_DATA);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    fg_h2_watch_earn(h2, FG_H2_EARNED_BY_HEAD);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2->newest_id = frame->hd.stream_id;
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, frame->hd.stream_id);
    if (attempt != NULL)
        fg_h2_head_note(h2, attempt);
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
                         uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    struct fg_h2 *h2 = user_data;
    struct fg_proxy_thread *thread = h2->upstream->thread;
    struct fg_proxy_attempt *attempt = fg_h2_attempt_of(session, stream_id);
    (void)source;
    if (attempt == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nobody's any more: resets it */
    struct fg_proxy_request *request = attempt->request;
    if (request->is_upgrade && !request->is_tunnel && request->answering == NULL)
        return NGHTTP2_ERR_DEFERRED; /* nothing for the tunnel before there is one */
    size_t len = fg_byte_queue_take(&attempt->upload, &thread->segments, to, room);
    fg_proxy_publish_buffered(thread);
    fg_proxy_request_open_window(request);
    if (attempt->upload.len == 0) /* whose turn it is may have changed */
        fg_attempt_set_timeout(attempt);
    if (attempt->upload.len > 0 || !request->is_body_complete)
        return len > 0 ? (ssize_t)len : NGHTTP2_ERR_DEFERRED;
    *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    if (fg_h2_head_submit_trailers(h2, attempt))
        *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return (ssize_t)len;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    fg_h2_set_answer_callbacks(callbacks);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    return callbacks;
}

/* ---- the connection ---- */

static void *take_block(size_t bytes, void *blocks)
{
    return fg_block_pool_alloc(blocks, bytes);
}

static void give_block(void *block, void *blocks)
{
    fg_block_pool_free(blocks, block);
}

static void *take_zeroed(size_t count, size_t bytes, void *blocks)
{
    return fg_block_pool_calloc(blocks, count, bytes);
}

static void *resize_block(void *block, size_t bytes, void *blocks)
{
    return fg_block_pool_realloc(blocks, block, bytes);
}

static int open_session(struct fg_h2 *h2)
{
    nghttp2_mem memory = {.mem_user_data = &h2->upstream->thread->small_blocks,
                          .malloc = take_block,
                          .free = give_block,
                          .calloc = take_zeroed,
                          .realloc = resize_block};
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = NULL;
    const struct fg_cluster_conf *conf = &h2->upstream->thread->proxy->conf;
    if (callbacks == NULL || nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return -1;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_http_messaging(option, 1); /* h2_answer.c does */
    nghttp2_option_set_peer_max_concurrent_streams(option, conf->max_streams);
    int error = nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &memory);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (error != 0)
        return -1;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, FG_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)conf->header_bytes_max},
    };
    error = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                    sizeof(settings) / sizeof(settings[0]));
    if (error == 0)
        error = nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                      (int32_t)FG_H2_CONNECTION_WINDOW);
    return error;
}

/* Something was heard: it lives, and the silence begins anew. */
static void note_heard(struct fg_h2 *h2)
{
    struct fg_proxy_thread *thread = h2->upstream->thread;
    h2->heard_ns = fg_turn_clock_ns(&h2->upstream->thread->clock);
    if (thread->proxy->conf.keepalive_interval_ns > 0)
        fg_timeout_list_set(&thread->silences, &h2->keepalive);
}

bool fg_h2_open(struct fg_upstream *upstream)
{
    struct fg_h2 *h2 = calloc(1, sizeof(*h2));
    if (h2 == NULL)
        return false;
    h2->upstream = upstream;
    fg_hpack_init(&h2->hpack, &upstream->thread->small_blocks);
    fg_hpack_reader_init(&h2->reader, &upstream->thread->small_blocks);
    fg_h2_input_init(&h2->input, &fg_h2_watch_ops, &upstream->thread->small_blocks,
                     FG_H2_BOMB_HEADS * upstream->thread->proxy->conf.header_bytes_max);
    fg_timeout_entry_init(&h2->keepalive);
    fg_list_init(&h2->dirty);
    fg_list_init(&h2->streams);
    fg_list_init(&h2->tunnels);
    if (open_session(h2) != 0) {
        nghttp2_session_del(h2->session);
        free(h2);
        return false;
    }
    h2->input.session = h2->session;
    upstream->h2 = h2;
    note_heard(h2);
    fg_h2_watch_open(h2);
    mark_dirty(h2);
    return true;
}

/* What its connection's end means for an attempt. */
static enum fg_retry_cause cause_of_end(const struct fg_proxy_attempt *attempt)
{
    if (!attempt->is_on_wire) /* the head has not left: nobody can have acted upon it */
        return attempt->is_reused ? FG_RETRY_UNHANDLED : FG_RETRY_CONNECT;
    return attempt->is_reused && !attempt->has_response_bytes ? FG_RETRY_STALE : FG_RETRY_RESET;
}

/* Every stream's attempt is lost: another try, or the end of its exchange. */
static void lose_all(struct fg_h2 *h2, const char *detail)
{
    struct fg_list *link;
    h2->is_draining = true;
    while ((link = fg_list_pop_front(&h2->tunnels)) != NULL) {
        struct fg_proxy_attempt *attempt = FG_CONTAINER_OF(link, struct fg_proxy_attempt, link);
        attempt->upstream = NULL;
        fg_attempt_on_connect_failed(attempt); /* nothing of it was sent */
    }
    while (!fg_list_is_empty(&h2->streams)) {
        struct fg_proxy_attempt *attempt =
            FG_CONTAINER_OF(h2->streams.next, struct fg_proxy_attempt, link);
        enum fg_retry_cause cause = cause_of_end(attempt);
        fg_h2_forget(h2, attempt);
        fg_proxy_request_on_lost(attempt, cause, FG_FAILURE_RESET, detail);
    }
}

void fg_h2_close(struct fg_upstream *upstream)
{
    struct fg_h2 *h2 = upstream->h2;
    assert(!h2->is_in_session && h2->stream_count == 0 && fg_list_is_empty(&h2->tunnels));
    fg_list_remove(&h2->dirty);
    fg_timeout_list_clear(&h2->keepalive);
    fg_byte_queue_clear(&h2->out, &upstream->thread->segments);
    fg_hpack_fini(&h2->hpack);
    fg_hpack_reader_fini(&h2->reader);
    fg_h2_input_fini(&h2->input);
    nghttp2_session_del(h2->session);
    upstream->h2 = NULL;
    free(h2);
}

static void break_off(struct fg_h2 *h2, const char *detail)
{
    struct fg_upstream *upstream = h2->upstream;
    h2->is_broken = true;
    fg_upstream_set_idle(upstream, false);
    lose_all(h2, detail);
    fg_upstream_close(upstream);
}

static uint32_t most_streams(const struct fg_h2 *h2)
{
    const struct fg_cluster_conf *conf = &h2->upstream->thread->proxy->conf;
    uint32_t most =
        nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return most < conf->max_streams ? most : conf->max_streams;
}

/* By its own settings. Kept, such connections would only become more with each request. */
static bool takes_none(const struct fg_h2 *h2)
{
    return h2->has_settings && most_streams(h2) == 0;
}

/* After anything has moved: idle, in use, or of no further use. May close the connection. */
static void settle(struct fg_h2 *h2)
{
    if (h2->is_in_session || h2->is_broken)
        return;
    bool is_over = nghttp2_session_want_read(h2->session) == 0 &&
                   nghttp2_session_want_write(h2->session) == 0 && h2->out.len == 0;
    bool is_used = h2->stream_count > 0 || !fg_list_is_empty(&h2->tunnels);
    if (is_over && is_used) {
        break_off(h2, "the server broke the rules of HTTP/2");
    } else if (is_used) {
        fg_upstream_set_idle(h2->upstream, false);
    } else if (h2->is_draining || is_over || takes_none(h2)) {
        fg_upstream_set_idle(h2->upstream, false);
        fg_upstream_close(h2->upstream);
    } else {
        fg_upstream_set_idle(h2->upstream, true);
    }
}

bool fg_h2_has_room(const struct fg_h2 *h2)
{
    return !h2->is_draining && !h2->is_broken && h2->stream_count < most_streams(h2) &&
           nghttp2_session_check_request_allowed(h2->session) != 0;
}

/*
 * A new connection was given streams before its settings came, and may take fewer: those whose head
 * has not left would wait for the others. They look elsewhere.
 */
static void move_excess(struct fg_h2 *h2)
{
    while (h2->stream_count > most_streams(h2)) {
        struct fg_proxy_attempt *attempt =
            FG_CONTAINER_OF(h2->streams.prev, struct fg_proxy_attempt, link);
        if (attempt->is_on_wire)
            return; /* the older ones are as well */
        fg_h2_lose(h2, attempt, FG_RETRY_UNHANDLED, "the server takes fewer streams");
    }
}

enum fg_h2_tunnels fg_h2_tunnels(const struct fg_h2 *h2)
{
    if (!h2->has_settings)
        return FG_H2_TUNNELS_UNKNOWN;
    return nghttp2_session_get_remote_settings(h2->session,
                                               NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
               ? FG_H2_TUNNELS_TAKEN
               : FG_H2_TUNNELS_REFUSED;
}

void fg_h2_await_settings(struct fg_proxy_attempt *attempt)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    fg_list_push_back(&h2->tunnels, &attempt->link);
    fg_upstream_set_idle(h2->upstream, false);
}

/* Those who waited for the settings go on, here or elsewhere. */
static void place_tunnels(struct fg_h2 *h2)
{
    struct fg_list *link;
    while ((h2->has_settings || h2->is_draining) &&
           (link = fg_list_pop_front(&h2->tunnels)) != NULL)
        fg_attempt_on_settings(FG_CONTAINER_OF(link, struct fg_proxy_attempt, link));
}

/* ---- writing ---- */

/* False: the connection broke. */
static bool write_out(struct fg_h2 *h2)
{
    struct fg_upstream *upstream = h2->upstream;
    while (h2->out.len > 0) {
        struct iovec iov[IOV_MAX_USED];
        size_t count = fg_byte_queue_peek(&h2->out, iov, IOV_MAX_USED);
        ssize_t sent = fg_upstream_write(upstream, iov, count);
        if (sent == -1)
            return false;
        fg_byte_queue_drop(&h2->out, &upstream->thread->segments, (size_t)sent);
        if (sent == 0) {
            fg_upstream_await_room(upstream);
            return true;
        }
    }
    return true;
}

/* Frames of the session into the thread's buffer, as many as there are or fit; -1: broken. */
static ssize_t collect(struct fg_h2 *h2, char *to)
{
    size_t len = 0;
    while (len + FRAME_BYTES_MAX <= FG_WRITE_BYTES) {
        const uint8_t *data = NULL;
        ssize_t got = nghttp2_session_mem_send(h2->session, &data);
        if (got < 0) {
            h2->due = NULL;
            return -1;
        }
        if (got == 0)
            break;
        assert(len + (size_t)got <= FG_WRITE_BYTES);
        if (h2->due != NULL)
            got = (ssize_t)fg_h2_head_put(h2, data, (uint8_t *)to + len);
        else
            memcpy(to + len, data, (size_t)got);
        len += (size_t)got;
    }
    return (ssize_t)len;
}

/* False: the connection broke. */
static bool flush(struct fg_h2 *h2)
{
    struct fg_upstream *upstream = h2->upstream;
    struct fg_proxy_thread *thread = upstream->thread;
    while (!upstream->is_write_armed) {
        if (!write_out(h2))
            return false;
        if (upstream->is_write_armed)
            return true;
        h2->is_in_session = true;
        ssize_t len = collect(h2, thread->write_buffer);
        h2->is_in_session = false;
        if (len <= 0)
            return len == 0;
        struct iovec iov = {thread->write_buffer, (size_t)len};
        ssize_t sent = fg_upstream_write(upstream, &iov, 1);
        if (sent == -1 || !fg_byte_queue_append(&h2->out, &thread->segments,
                                                thread->write_buffer + sent, (size_t)(len - sent)))
            return false;
        if (sent < len)
            fg_upstream_await_room(upstream);
    }
    return true;
}

static void flush_and_settle(struct fg_h2 *h2)
{
    fg_list_remove(&h2->dirty);
    if (flush(h2))
        settle(h2);
    else
        break_off(h2, "the connection to the server broke");
}

void fg_h2_flush_dirty(struct fg_proxy_thread *thread)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&thread->dirty)) != NULL)
        flush_and_settle(FG_CONTAINER_OF(link, struct fg_h2, dirty));
}

void fg_h2_on_writable(struct fg_upstream *upstream)
{
    flush_and_settle(upstream->h2);
}

/* ---- reading ---- */

static int take_input(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    struct fg_gather gather;
    gather.len = 0;
    h2->gather = &gather;
    h2->is_in_session = true;
    int error = fg_h2_watch_take(h2, data, len);
    fg_h2_hand_on_gathered(h2);
    h2->is_in_session = false;
    h2->gather = NULL;
    return error;
}

void fg_h2_read(struct fg_upstream *upstream)
{
    struct fg_h2 *h2 = upstream->h2;
    char *buffer = upstream->thread->read_buffer;
    fg_read_pace_ask(upstream);
    do {
        ssize_t got = fg_upstream_read(upstream, buffer, fg_read_pace_room(upstream));
        if (got == -1)
            break;
        if (got == 0 || got == -2) {
            break_off(h2, got == 0
                              ? "the server closed the connection before its answer was complete"
                              : "the connection to the server broke");
            return;
        }
        note_heard(h2);
        uint64_t begun_ns = fg_read_pace_begin(upstream, (size_t)got);
        int error = take_input(h2, (const uint8_t *)buffer, (size_t)got);
        fg_read_pace_end(upstream, (size_t)got, begun_ns);
        if (error != 0) {
            break_off(h2, "the server broke the rules of HTTP/2");
            return;
        }
    } while (fg_read_pace_goes_on(upstream));
    move_excess(h2);
    place_tunnels(h2);
    flush_and_settle(h2);
}

void fg_h2_on_readable(struct fg_upstream *upstream)
{
    if (fg_read_pace_is_due(upstream))
        fg_h2_read(upstream);
}

/* ---- what attempts ask for ---- */

enum fg_status fg_h2_begin(struct fg_proxy_attempt *attempt)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    struct fg_proxy_request *request = attempt->request;
    const struct fg_exchange *ex = request->ex;
    const struct fg_request_head_conf conf = {.host = fg_proxy_request_host(request),
                                              .forwarded = request->thread->proxy->conf.forwarded,
                                              .is_h2 = true,
                                              .is_tunnel = request->is_upgrade,
                                              .has_tls = attempt->upstream->ssl != NULL};
    size_t count = 0;
    if (!fg_h2_has_room(h2))
        return FG_ERR_BUSY;
    const struct fg_field *fields =
        fg_request_fields_make(ex, &conf, fg_turn_clock_ns(&request->thread->clock), &count);
    if (fields == NULL)
        return FG_ERR_NO_MEMORY;
    const nghttp2_data_provider body = {.read_callback = read_body};
    bool has_body =
        request->is_upgrade || (ex->has_body && (!request->is_body_complete ||
                                                 attempt->upload.len > 0 || ex->trailer_count > 0));
    int32_t id = fg_h2_head_submit(h2, attempt, fields, count, has_body ? &body : NULL);
    if (id < 0) {
        h2->is_draining = true; /* ids are used up: this connection is done */
        return FG_ERR_BUSY;
    }
    attempt->stream_id = id;
    attempt->is_early = !h2->has_settings;
    attempt->is_sent_any = true;
    fg_list_remove(&attempt->link);
    fg_list_push_back(&h2->streams, &attempt->link);
    h2->stream_count++;
    fg_counter_add_owned(&h2->upstream->thread->metrics->streams_open, 1);
    fg_upstream_set_idle(h2->upstream, false);
    mark_dirty(h2);
    return FG_OK;
}

void fg_h2_on_body(struct fg_proxy_attempt *attempt)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    (void)nghttp2_session_resume_data(h2->session, attempt->stream_id);
    mark_dirty(h2);
}

void fg_h2_resume(struct fg_proxy_attempt *attempt)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    size_t len = attempt->unconsumed;
    attempt->unconsumed = 0;
    nghttp2_session_consume_stream(h2->session, attempt->stream_id, len);
    mark_dirty(h2);
}

/*
 * One slow answer is its stream's affair. But from a host that is gone, or a connection that
 * something on the way has forgotten, there is no end either: without this every request that is
 * put on it would wait in vain until the kernel gives up, a quarter of an hour later.
 */
void fg_h2_doubt(struct fg_proxy_attempt *attempt, uint64_t silence_ns)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    if (fg_clock_monotonic_ns() - h2->heard_ns < silence_ns)
        return;
    h2->is_draining = true;
    mark_dirty(h2);
}

void fg_h2_on_silence(struct fg_timeout_entry *timeout)
{
    struct fg_h2 *h2 = FG_CONTAINER_OF(timeout, struct fg_h2, keepalive);
    struct fg_proxy_thread *thread = h2->upstream->thread;
    if (nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL) != 0) {
        fg_timeout_list_set(&thread->silences, timeout); /* no memory: later */
        return;
    }
    fg_counter_add_owned(&thread->metrics->pings, 1);
    fg_timeout_list_set(&thread->ping_timeouts, timeout);
    mark_dirty(h2);
}

void fg_h2_on_ping_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_h2 *h2 = FG_CONTAINER_OF(timeout, struct fg_h2, keepalive);
    fg_counter_add_owned(&h2->upstream->thread->metrics->pings_lost, 1);
    break_off(h2, "the server did not answer a PING in time");
}

void fg_h2_leave(struct fg_proxy_attempt *attempt)
{
    struct fg_h2 *h2 = attempt->upstream->h2;
    int32_t stream_id = attempt->stream_id;
    if (stream_id == 0)
        return;
    fg_h2_forget(h2, attempt);
    fg_h2_reset_stream(h2, stream_id, NGHTTP2_CANCEL);
}
