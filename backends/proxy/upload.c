/*
 * upload.c: the way of a request to the server's socket.
 * Job      head, what was kept and the new piece of the body go out in one sendmsg; what the socket
 *          does not take is kept in the thread's segments. The client's window opens again when
 *          less than UPLOAD_MARK waits, so a request holds at most the mark and one window.
 * Thread   the exchange's loop.
 * Never    ends the exchange or closes the connection; the caller does.
 */
#include "proxy_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define UPLOAD_MARK ((size_t)32768)
#define PIECES_MAX 4
#define IOV_MAX_USED 16

/* A piece of the body with its chunk framing. */
struct pieces {
    struct iovec iov[PIECES_MAX];
    size_t count;
    char size_line[24];
};

static void add_piece(struct pieces *pieces, const void *data, size_t len)
{
    if (len == 0)
        return;
    pieces->iov[pieces->count].iov_base = (void *)(uintptr_t)data;
    pieces->iov[pieces->count].iov_len = len;
    pieces->count++;
}

static void frame(const struct fg_proxy_request *request, const void *data, size_t len,
                  bool is_last, struct pieces *pieces)
{
    pieces->count = 0;
    if (!request->is_chunked) {
        add_piece(pieces, data, len);
        return;
    }
    if (len > 0) {
        int line = snprintf(pieces->size_line, sizeof(pieces->size_line), "%zx\r\n", len);
        add_piece(pieces, pieces->size_line, (size_t)line);
        add_piece(pieces, data, len);
    }
    if (len > 0)
        add_piece(pieces, "\r\n", 2);
    struct fg_span last =
        request->last_chunk.data != NULL ? request->last_chunk : FG_SPAN("0\r\n\r\n");
    if (is_last)
        add_piece(pieces, last.data, last.len);
}

static void publish_buffered(struct fg_proxy_thread *thread)
{
    uint64_t bytes = thread->segments.in_use * FG_SEGMENT_BYTES;
    fg_counter_set(&thread->metrics->upload_buffered_bytes, bytes);
    if (bytes > fg_counter_get(&thread->metrics->upload_buffered_bytes_most))
        fg_counter_set(&thread->metrics->upload_buffered_bytes_most, bytes);
}

/* Keeps the pieces but for their first `skip` bytes, which have left. */
static bool keep(struct fg_proxy_request *request, const struct pieces *pieces, size_t skip)
{
    struct fg_segment_pool *pool = &request->thread->segments;
    for (size_t i = 0; i < pieces->count; i++) {
        size_t len = pieces->iov[i].iov_len;
        size_t sent = skip < len ? skip : len;
        skip -= sent;
        if (!fg_byte_queue_append(&request->upload, pool,
                                  (const char *)pieces->iov[i].iov_base + sent, len - sent))
            return false;
    }
    publish_buffered(request->thread);
    return true;
}

/* Books `sent` bytes as gone; returns how many of them were of the new pieces. */
static size_t account(struct fg_proxy_request *request, size_t sent)
{
    size_t of_head = request->head.len - request->head_sent;
    if (of_head > sent)
        of_head = sent;
    request->head_sent += of_head;
    sent -= of_head;
    if (sent > 0)
        request->is_body_sent_any = true;
    size_t of_kept = sent < request->upload.len ? sent : request->upload.len;
    if (of_kept > 0) {
        fg_byte_queue_drop(&request->upload, &request->thread->segments, of_kept);
        publish_buffered(request->thread);
    }
    return sent - of_kept;
}

static bool may_send_body(const struct fg_proxy_request *request)
{
    return !request->is_upgrade || request->is_tunnel;
}

static size_t gather(const struct fg_proxy_request *request, const struct pieces *pieces,
                     struct iovec iov[IOV_MAX_USED], size_t *bytes)
{
    size_t count = 0;
    *bytes = request->head.len - request->head_sent;
    if (*bytes > 0) {
        iov[0].iov_base = (void *)(uintptr_t)(request->head.data + request->head_sent);
        iov[0].iov_len = *bytes;
        count = 1;
    }
    if (!may_send_body(request))
        return count;
    size_t kept =
        fg_byte_queue_peek(&request->upload, iov + count, IOV_MAX_USED - PIECES_MAX - count);
    size_t kept_bytes = 0;
    for (size_t i = 0; i < kept; i++)
        kept_bytes += iov[count + i].iov_len;
    count += kept;
    *bytes += kept_bytes;
    if (kept_bytes < request->upload.len)
        return count; /* the new pieces would overtake */
    for (size_t i = 0; i < pieces->count; i++) {
        iov[count++] = pieces->iov[i];
        *bytes += pieces->iov[i].iov_len;
    }
    return count;
}

static bool is_full(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM;
}

enum fg_send fg_upload_send(struct fg_proxy_request *request, const void *data, size_t len,
                            bool is_last)
{
    struct fg_upstream *upstream = request->upstream;
    struct pieces pieces;
    struct iovec iov[IOV_MAX_USED];
    size_t bytes = 0;
    frame(request, data, len, is_last, &pieces);
    if (upstream == NULL || upstream->state != FG_UPSTREAM_ACTIVE || upstream->is_write_armed)
        return keep(request, &pieces, 0) ? FG_SEND_OK : FG_SEND_NO_MEMORY;
    struct msghdr message = {.msg_iov = iov};
    message.msg_iovlen = gather(request, &pieces, iov, &bytes);
    if (bytes == 0)
        return keep(request, &pieces, 0) ? FG_SEND_OK : FG_SEND_NO_MEMORY;
    ssize_t sent;
    do {
        sent = sendmsg(upstream->fd, &message, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
    if (sent == -1 && !is_full(errno))
        return FG_SEND_BROKEN;
    size_t gone = sent == -1 ? 0 : (size_t)sent;
    fg_counter_add_owned(&request->thread->metrics->sent_bytes, gone);
    size_t of_pieces = account(request, gone);
    if (!keep(request, &pieces, of_pieces))
        return FG_SEND_NO_MEMORY;
    if (fg_upload_is_waiting(request))
        fg_upstream_await_room(upstream);
    return FG_SEND_OK;
}

bool fg_upload_is_waiting(const struct fg_proxy_request *request)
{
    return request->head_sent < request->head.len ||
           (request->upload.len > 0 && may_send_body(request));
}

bool fg_upload_is_done(const struct fg_proxy_request *request)
{
    return request->is_body_complete && !fg_upload_is_waiting(request);
}

void fg_upload_open_window(struct fg_proxy_request *request)
{
    if (request->body_unconsumed == 0 || request->upload.len > UPLOAD_MARK)
        return;
    size_t consumed = request->body_unconsumed;
    request->body_unconsumed = 0;
    fg_exchange_consumed(request->ex, consumed);
}

void fg_upload_drop(struct fg_proxy_request *request)
{
    fg_byte_queue_drop(&request->upload, &request->thread->segments, request->upload.len);
    publish_buffered(request->thread);
}
