/*
 * fake_worker.c: blocking writes of small frames, reads as the loop says.
 */
#include "fake_worker.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#define IN_BYTES ((size_t)4 << 20)

static void take_submit(struct fake_worker *worker, uint64_t id, const unsigned char *payload,
                        size_t len)
{
    assert_true(worker->request_count < FAKE_WORKER_REQUESTS_MAX);
    struct fake_worker_request *request = &worker->requests[worker->request_count++];
    request->id = id;
    request->frame = malloc(len + 1);
    request->submit = calloc(1, sizeof(*request->submit));
    memcpy(request->frame, payload, len);
    assert_int_equal(
        fg_channel_read_submit(fg_span_make((char *)request->frame, len), request->submit), FG_OK);
    for (uint32_t i = 0; i < request->submit->resumed_count && i < 16; i++)
        memcpy(&request->resumed[i], request->submit->resumed + (size_t)i * 4, 4);
}

static void take_frames(struct fake_worker *worker)
{
    size_t at = 0;
    while (worker->in_len - at >= FG_CHANNEL_HEADER_BYTES) {
        struct fg_channel_header header;
        assert_int_equal(fg_channel_read_header(worker->in + at, &header), FG_OK);
        if (worker->in_len - at - FG_CHANNEL_HEADER_BYTES < header.payload_bytes)
            break;
        const unsigned char *payload = worker->in + at + FG_CHANNEL_HEADER_BYTES;
        if (header.type == FG_CHANNEL_SUBMIT) {
            unsigned first = worker->request_count;
            take_submit(worker, header.request_id, payload, header.payload_bytes);
            /* So many requests, which the test plays one by one. */
            uint32_t choices = worker->requests[first].submit->choice_count;
            for (uint32_t i = 1; i < choices; i++)
                take_submit(worker, header.request_id + i, payload, header.payload_bytes);
        } else {
            assert_int_equal(header.type, FG_CHANNEL_CANCEL);
            for (unsigned i = 0; i < worker->request_count; i++) {
                if (worker->requests[i].id == header.request_id)
                    worker->requests[i].is_cancelled = true;
            }
        }
        at += FG_CHANNEL_HEADER_BYTES + header.payload_bytes;
    }
    memmove(worker->in, worker->in + at, worker->in_len - at);
    worker->in_len -= at;
}

static void hang_up(struct fake_worker *worker)
{
    if (worker->read_event != NULL)
        event_free(worker->read_event);
    if (worker->fd != -1)
        close(worker->fd);
    worker->read_event = NULL;
    worker->fd = -1;
    worker->in_len = 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fake_worker *worker = arg;
    (void)what;
    ssize_t got = read(fd, worker->in + worker->in_len, IN_BYTES - worker->in_len);
    if (got <= 0) {
        hang_up(worker);
        return;
    }
    worker->in_len += (size_t)got;
    take_frames(worker);
}

void fake_worker_listen_up(struct fake_worker *worker)
{
    worker->is_deaf = false;
    worker->read_event =
        event_new(worker->base, worker->fd, EV_READ | EV_PERSIST, on_readable, worker);
    event_add(worker->read_event, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct fake_worker *worker = arg;
    (void)what;
    int connection = accept(fd, NULL, NULL);
    assert_int_not_equal(connection, -1);
    assert_int_equal(worker->fd, -1);
    worker->fd = connection;
    worker->connection_count++;
    if (!worker->is_deaf)
        fake_worker_listen_up(worker);
    if (!worker->is_silent)
        fake_worker_hello(worker);
}

void fake_worker_open(struct fake_worker *worker, struct event_base *base, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof(addr.sun_path) && strlen(path) < sizeof(worker->path));
    memcpy(addr.sun_path, path, strlen(path) + 1);
    memcpy(worker->path, path, strlen(path) + 1);
    worker->base = base;
    worker->fd = -1;
    if (worker->version == 0)
        worker->version = FG_CHANNEL_VERSION;
    if (worker->in == NULL)
        worker->in = malloc(IN_BYTES);
    unlink(path);
    worker->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(worker->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(worker->listen_fd, 8), 0);
    worker->accept_event =
        event_new(base, worker->listen_fd, EV_READ | EV_PERSIST, on_accept, worker);
    event_add(worker->accept_event, NULL);
}

void fake_worker_kill(struct fake_worker *worker)
{
    hang_up(worker);
    if (worker->accept_event != NULL) {
        event_free(worker->accept_event);
        close(worker->listen_fd);
        unlink(worker->path);
    }
    worker->accept_event = NULL;
}

void fake_worker_close(struct fake_worker *worker)
{
    fake_worker_kill(worker);
    for (unsigned i = 0; i < worker->request_count; i++) {
        free(worker->requests[i].frame);
        free(worker->requests[i].submit);
    }
    free(worker->in);
    *worker = (struct fake_worker){.fd = -1};
}

void fake_worker_send(struct fake_worker *worker, const void *bytes, size_t len, size_t piece)
{
    const char *at = bytes;
    if (piece == 0)
        piece = len;
    while (len > 0) {
        size_t most = piece < len ? piece : len;
        ssize_t sent = send(worker->fd, at, most, MSG_NOSIGNAL);
        assert_true(sent > 0);
        at += sent;
        len -= (size_t)sent;
    }
}

void fake_worker_hello(struct fake_worker *worker)
{
    unsigned char frame[64];
    const struct fg_channel_hello hello = {worker->version, 1234, 1000, 2048, true, FG_ROLE_ANY};
    size_t len = fg_channel_write_hello(frame, sizeof(frame), &hello);
    fake_worker_send(worker, frame, len, 0);
}

void fake_worker_token(struct fake_worker *worker, unsigned request, uint32_t index, uint32_t token,
                       const char *text)
{
    unsigned char frame[8192];
    const struct fg_channel_token message = {
        .index = index, .token = token, .text = fg_span_from_string(text)};
    size_t len =
        fg_channel_write_token(frame, sizeof(frame), worker->requests[request].id, &message);
    assert_true(len > 0);
    fake_worker_send(worker, frame, len, 0);
}

void fake_worker_begun(struct fake_worker *worker, unsigned request, uint32_t prompt_tokens)
{
    unsigned char frame[64];
    size_t len =
        fg_channel_write_begun(frame, sizeof(frame), worker->requests[request].id, prompt_tokens);
    assert_true(len > 0);
    fake_worker_send(worker, frame, len, 0);
}

void fake_worker_done(struct fake_worker *worker, unsigned request, enum fg_finish finish,
                      const char *text, uint32_t completion_tokens)
{
    unsigned char frame[8192];
    const struct fg_channel_done message = {
        finish, fg_span_from_string(text), 3, completion_tokens, 1000, 2000, 3000, 2};
    size_t len =
        fg_channel_write_done(frame, sizeof(frame), worker->requests[request].id, &message);
    assert_true(len > 0);
    fake_worker_send(worker, frame, len, 0);
}

void fake_worker_refuse(struct fake_worker *worker, unsigned request, enum fg_refusal reason,
                        uint32_t retry_after_ms, const char *message)
{
    unsigned char frame[1024];
    const struct fg_channel_refused refused = {.reason = reason,
                                               .retry_after_ms = retry_after_ms,
                                               .value = 7,
                                               .limit = 5,
                                               .message = fg_span_from_string(message)};
    size_t len =
        fg_channel_write_refused(frame, sizeof(frame), worker->requests[request].id, &refused);
    assert_true(len > 0);
    fake_worker_send(worker, frame, len, 0);
}
