/*
 * h2_client.c: a socket, TLS and an nghttp2 client session on one event loop.
 *
 *    CONNECTING --> SHAKING (TLS) --> READY --.
 *        ^                |             |     | error, end, GOAWAY with nothing under way
 *        `---- pause -----'-------------'<----'
 */
#include "rehearse/live/h2_client.h"

#include "base/byte_queue.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#define FIELDS_MAX 32
#define SEGMENTS_KEPT 8
#define OUTPUT_MARK 65536u /* no more frames are made while so much waits for the socket */
#define WINDOW_BYTES (1 << 24)
#define READ_BYTES 16384
#define STREAMS_USUAL 100u

static const struct timeval retry_pause = {.tv_sec = 0, .tv_usec = 100000};

enum client_state { CLIENT_IDLE, CLIENT_CONNECTING, CLIENT_SHAKING, CLIENT_READY };

struct fg_h2_client {
    struct event_base *base;
    const struct fg_h2_target *target;
    fg_h2_done_fn on_done;
    void *object;
    enum client_state state;
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct event *readable;
    struct event *writable;
    struct event *pause;
    struct event *flush; /* frames made in this turn of the loop leave together */
    struct fg_segment_pool pool;
    struct fg_byte_queue output;
    struct fg_h2_call *calls;
    uint32_t load;
    bool is_broken;
    const char *problem;
};

/* ---- calls ---- */

static void link_call(struct fg_h2_client *client, struct fg_h2_call *call)
{
    call->client = client;
    call->prev = NULL;
    call->next = client->calls;
    if (client->calls != NULL)
        client->calls->prev = call;
    client->calls = call;
    client->load++;
}

static void unlink_call(struct fg_h2_client *client, struct fg_h2_call *call)
{
    if (call->prev == NULL)
        client->calls = call->next;
    else
        call->prev->next = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    call->client = NULL;
    client->load--;
}

static void connect_again(struct fg_h2_client *client)
{
    client->is_broken = false;
    event_del(client->readable);
    event_del(client->writable);
    event_del(client->flush);
    nghttp2_session_del(client->session);
    client->session = NULL;
    SSL_free(client->ssl);
    client->ssl = NULL;
    if (client->fd != -1)
        close(client->fd);
    client->fd = -1;
    fg_byte_queue_clear(&client->output, &client->pool);
    client->state = CLIENT_IDLE;
    while (client->calls != NULL) {
        struct fg_h2_call *call = client->calls;
        unlink_call(client, call);
        client->on_done(client->object, call, false);
    }
    evtimer_add(client->pause, &retry_pause);
}

static void break_off(struct fg_h2_client *client, const char *problem)
{
    client->problem = problem;
    client->is_broken = true; /* done once nghttp2 has returned */
}

/* ---- output ---- */

static ssize_t write_some(struct fg_h2_client *client, struct fg_span front)
{
    if (client->ssl == NULL) {
        ssize_t sent = send(client->fd, front.data, front.len, MSG_NOSIGNAL);
        return sent == -1 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
    }
    size_t sent = 0;
    ERR_clear_error();
    int ok = SSL_write_ex(client->ssl, front.data, front.len, &sent);
    if (ok == 1)
        return (ssize_t)sent;
    int error = SSL_get_error(client->ssl, ok);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

static bool make_frames(struct fg_h2_client *client)
{
    while (client->output.len < OUTPUT_MARK) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(client->session, &data);
        if (len < 0 ||
            (len > 0 && !fg_byte_queue_append(&client->output, &client->pool, data, (size_t)len))) {
            break_off(client, "the HTTP/2 session failed");
            return false;
        }
        if (len == 0)
            return true;
    }
    return true;
}

static void flush_output(struct fg_h2_client *client)
{
    while (make_frames(client) && client->output.len > 0) {
        ssize_t sent = write_some(client, fg_byte_queue_front(&client->output));
        if (sent == -1) {
            break_off(client, "the connection broke while writing");
            return;
        }
        if (sent == 0) {
            event_add(client->writable, NULL);
            return;
        }
        fg_byte_queue_drop(&client->output, &client->pool, (size_t)sent);
    }
}

static void settle(struct fg_h2_client *client)
{
    if (!client->is_broken && client->state == CLIENT_READY)
        flush_output(client);
    if (client->is_broken)
        connect_again(client);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    settle(arg);
}

/* ---- nghttp2's calls ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)flags;
    (void)arg;
    struct fg_h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct fg_span field = fg_span_make((const char *)name, name_len);
    struct fg_span text = fg_span_make((const char *)value, value_len);
    uint64_t number = 0;
    if (call == NULL)
        return 0;
    if (fg_span_equal(field, FG_SPAN(":status")) && fg_span_parse_u64(text, &number)) {
        call->status = (unsigned)number;
    } else if (fg_span_equal(field, FG_SPAN("retry-after")) && fg_span_parse_u64(text, &number)) {
        call->retry_after_s = number;
    } else if (fg_span_equal(field, FG_SPAN("x-floodgate-ticket")) &&
               text.len < sizeof(call->ticket)) {
        memcpy(call->ticket, text.data, text.len);
        call->ticket[text.len] = '\0';
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)flags;
    (void)arg;
    struct fg_h2_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL)
        return 0;
    size_t room = sizeof(call->answer) - call->answer_len;
    size_t kept = len < room ? len : room;
    memcpy(call->answer + call->answer_len, data, kept);
    call->answer_len += kept;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *arg)
{
    struct fg_h2_client *client = arg;
    struct fg_h2_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL)
        return 0;
    unlink_call(client, call);
    client->on_done(client->object, call, call->status != 0 && error_code == NGHTTP2_NO_ERROR);
    return 0;
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
                              uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct fg_h2_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t left = call->body.len - call->body_sent;
    size_t len = left < room ? left : room;
    memcpy(to, call->body.data + call->body_sent, len);
    call->body_sent += len;
    if (call->body_sent == call->body.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

static bool open_session(struct fg_h2_client *client)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int failed = nghttp2_session_client_new(&client->session, callbacks, client);
    nghttp2_session_callbacks_del(callbacks);
    if (failed != 0)
        return false;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
    };
    return nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, 2) == 0 &&
           nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0,
                                                 WINDOW_BYTES) == 0;
}

/* ---- input ---- */

static ssize_t read_some(struct fg_h2_client *client, uint8_t *to, size_t room)
{
    if (client->ssl == NULL) {
        ssize_t got = recv(client->fd, to, room, 0);
        if (got == 0)
            return -1;
        return got == -1 && (errno == EAGAIN || errno == EINTR) ? 0 : got;
    }
    size_t got = 0;
    ERR_clear_error();
    int ok = SSL_read_ex(client->ssl, to, room, &got);
    if (ok == 1)
        return (ssize_t)got;
    int error = SSL_get_error(client->ssl, ok);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void read_input(struct fg_h2_client *client)
{
    uint8_t buffer[READ_BYTES];
    ssize_t got;
    while ((got = read_some(client, buffer, sizeof(buffer))) > 0) {
        if (nghttp2_session_mem_recv(client->session, buffer, (size_t)got) < 0) {
            break_off(client, "the server broke HTTP/2");
            return;
        }
    }
    if (got == -1)
        break_off(client, "the server closed the connection");
    else if (!nghttp2_session_want_read(client->session) &&
             !nghttp2_session_want_write(client->session))
        break_off(client, "the server said goodbye");
}

/* ---- connecting ---- */

static void become_ready(struct fg_h2_client *client)
{
    if (!open_session(client)) {
        break_off(client, "no memory for the HTTP/2 session");
        return;
    }
    client->state = CLIENT_READY;
    client->problem = NULL;
    event_add(client->readable, NULL);
}

static void shake_hands(struct fg_h2_client *client)
{
    ERR_clear_error();
    int ok = SSL_do_handshake(client->ssl);
    int error = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(client->ssl, ok);
    const unsigned char *protocol = NULL;
    unsigned len = 0;
    event_add(client->readable, NULL);
    if (error == SSL_ERROR_WANT_WRITE)
        event_add(client->writable, NULL);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
        return;
    if (error != SSL_ERROR_NONE) {
        bool is_verify = SSL_get_verify_result(client->ssl) != X509_V_OK;
        break_off(client, is_verify ? "the server's certificate is not trusted (see --insecure)"
                                    : "the TLS handshake failed");
        return;
    }
    SSL_get0_alpn_selected(client->ssl, &protocol, &len);
    if (len != 2 || memcmp(protocol, "h2", 2) != 0) {
        break_off(client, "the server does not speak HTTP/2");
        return;
    }
    become_ready(client);
}

static bool is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static void end_connect(struct fg_h2_client *client)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 || error != 0) {
        break_off(client, "the target cannot be reached");
        return;
    }
    if (client->target->tls == NULL) {
        become_ready(client);
        return;
    }
    client->ssl = SSL_new(client->target->tls);
    if (client->ssl == NULL || SSL_set_fd(client->ssl, client->fd) != 1 ||
        (!is_address(client->target->host) && /* RFC 6066 section 3: no names */
         SSL_set_tlsext_host_name(client->ssl, client->target->host) != 1) ||
        SSL_set1_host(client->ssl, client->target->host) != 1) {
        break_off(client, "no memory for TLS");
        return;
    }
    SSL_set_connect_state(client->ssl);
    client->state = CLIENT_SHAKING;
    shake_hands(client);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct fg_h2_client *client = arg;
    if (client->state == CLIENT_CONNECTING)
        end_connect(client);
    else if (client->state == CLIENT_SHAKING)
        shake_hands(client);
    else if (client->state == CLIENT_READY && (what & EV_READ) != 0)
        read_input(client);
    settle(client);
}

static void start_connect(struct fg_h2_client *client)
{
    const struct fg_h2_target *target = client->target;
    int on = 1;
    client->state = CLIENT_CONNECTING;
    client->fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd == -1) {
        break_off(client, "no socket is left");
        return;
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    event_assign(client->readable, client->base, client->fd, EV_READ | EV_PERSIST, on_event,
                 client);
    event_assign(client->writable, client->base, client->fd, EV_WRITE, on_event, client);
    if (connect(client->fd, (const struct sockaddr *)&target->address, target->address_len) == -1 &&
        errno != EINPROGRESS) {
        break_off(client, "the target cannot be reached");
        return;
    }
    event_add(client->writable, NULL);
}

static void on_pause(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_h2_client *client = arg;
    start_connect(client);
    settle(client);
}

/* ---- public ---- */

struct fg_h2_client *fg_h2_client_create(struct event_base *base, const struct fg_h2_target *target,
                                         fg_h2_done_fn on_done, void *object)
{
    struct fg_h2_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    *client = (struct fg_h2_client){
        .base = base, .target = target, .on_done = on_done, .object = object, .fd = -1};
    fg_segment_pool_init(&client->pool, SEGMENTS_KEPT);
    client->readable = event_new(base, -1, EV_READ, on_event, client);
    client->writable = event_new(base, -1, EV_WRITE, on_event, client);
    client->pause = evtimer_new(base, on_pause, client);
    client->flush = evtimer_new(base, on_flush, client);
    if (client->readable == NULL || client->writable == NULL || client->pause == NULL ||
        client->flush == NULL) {
        fg_h2_client_destroy(client);
        return NULL;
    }
    event_active(client->pause, EV_TIMEOUT, 0);
    return client;
}

void fg_h2_client_destroy(struct fg_h2_client *client)
{
    if (client == NULL)
        return;
    while (client->calls != NULL)
        unlink_call(client, client->calls);
    nghttp2_session_del(client->session);
    SSL_free(client->ssl);
    struct event *events[] = {client->readable, client->writable, client->pause, client->flush};
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL)
            event_free(events[i]);
    }
    if (client->fd != -1)
        close(client->fd);
    fg_byte_queue_clear(&client->output, &client->pool);
    fg_segment_pool_fini(&client->pool);
    free(client);
}

static nghttp2_nv pair(struct fg_span name, struct fg_span value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.data,
                        .value = (uint8_t *)(uintptr_t)value.data,
                        .namelen = name.len,
                        .valuelen = value.len,
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

bool fg_h2_client_send(struct fg_h2_client *client, struct fg_h2_call *call,
                       const struct fg_h2_field *fields, size_t field_count)
{
    if (client->state != CLIENT_READY || client->is_broken)
        return false;
    assert(field_count <= FIELDS_MAX);
    nghttp2_nv all[FIELDS_MAX + 4] = {
        pair(FG_SPAN(":method"), call->method),
        pair(FG_SPAN(":scheme"), client->ssl == NULL ? FG_SPAN("http") : FG_SPAN("https")),
        pair(FG_SPAN(":authority"), fg_span_from_string(client->target->authority)),
        pair(FG_SPAN(":path"), call->path),
    };
    for (size_t i = 0; i < field_count; i++)
        all[4 + i] = pair(fields[i].name, fields[i].value);
    nghttp2_data_provider body = {.read_callback = on_body_wanted};
    int32_t id = nghttp2_submit_request(client->session, NULL, all, 4 + field_count,
                                        call->body.len > 0 ? &body : NULL, call);
    if (id < 0)
        return false;
    call->stream_id = id;
    link_call(client, call);
    event_active(client->flush, EV_TIMEOUT, 0);
    return true;
}

void fg_h2_client_cancel(struct fg_h2_client *client, struct fg_h2_call *call)
{
    assert(call->client == client);
    nghttp2_session_set_stream_user_data(client->session, call->stream_id, NULL);
    nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
    unlink_call(client, call);
    event_active(client->flush, EV_TIMEOUT, 0);
}

bool fg_h2_client_is_ready(const struct fg_h2_client *client)
{
    return client->state == CLIENT_READY && !client->is_broken &&
           nghttp2_session_check_request_allowed(client->session) != 0;
}

bool fg_h2_client_is_leaving(const struct fg_h2_client *client)
{
    return client->state == CLIENT_READY && !client->is_broken &&
           nghttp2_session_check_request_allowed(client->session) == 0;
}

uint32_t fg_h2_client_load(const struct fg_h2_client *client)
{
    return client->load;
}

uint32_t fg_h2_client_streams_max(const struct fg_h2_client *client)
{
    if (client->session == NULL)
        return STREAMS_USUAL;
    return nghttp2_session_get_remote_settings(client->session,
                                               NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

const char *fg_h2_client_problem(const struct fg_h2_client *client)
{
    return client->problem;
}
