/*
 * h1.c: one attempt over an HTTP/1.1 connection of its own.
 * Job      head, what was kept and the new piece of the body go out in one call; what the socket
 *          does not take is kept in the thread's segments. The answer is read and taken apart, and
 *          told to the request.
 * Thread   the exchange's loop.
 * Never    ends an answer that broke off as if it were whole; reads behind the answer's end into
 *          the next one's.
 * Source   RFC 9112 sections 6, 7 and 9.5 (an answer may come before the request's end).
 */
#include "proxy_internal.h"

#include "base/prefetch.h"
#include "proxy/gather.h"
#include "proxy/read_pace.h"
#include "proxy/request_head.h"

#include <assert.h>
#include <stdio.h>

#define PIECES_MAX 4
#define IOV_MAX_USED 16

/* A piece of the body with its chunk framing. */
struct pieces {
    struct iovec iov[PIECES_MAX];
    size_t count;
    char size_line[24];
};

/* ---- sending ---- */

static void add_piece(struct pieces *pieces, const void *data, size_t len)
{
    if (len == 0)
        return;
    pieces->iov[pieces->count].iov_base = (void *)(uintptr_t)data;
    pieces->iov[pieces->count].iov_len = len;
    pieces->count++;
}

static void add_size_line(struct pieces *pieces, size_t len)
{
    int line = snprintf(pieces->size_line, sizeof(pieces->size_line), "%zx\r\n", len);
    add_piece(pieces, pieces->size_line, (size_t)line);
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
        add_size_line(pieces, len);
        add_piece(pieces, data, len);
        add_piece(pieces, "\r\n", 2);
    }
    struct fg_span last =
        request->last_chunk.data != NULL ? request->last_chunk : FG_SPAN("0\r\n\r\n");
    if (is_last)
        add_piece(pieces, last.data, last.len);
}

/* Keeps the pieces but for their first `skip` bytes, which have left. */
static bool keep(struct fg_proxy_attempt *attempt, const struct pieces *pieces, size_t skip)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    for (size_t i = 0; i < pieces->count; i++) {
        size_t len = pieces->iov[i].iov_len;
        size_t sent = skip < len ? skip : len;
        skip -= sent;
        if (!fg_byte_queue_append(&attempt->upload, &thread->segments,
                                  (const char *)pieces->iov[i].iov_base + sent, len - sent))
            return false;
    }
    fg_proxy_publish_buffered(thread);
    return true;
}

bool fg_h1_keep_body(struct fg_proxy_attempt *attempt, bool is_last, bool is_moved)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_thread *thread = request->thread;
    struct pieces pieces = {.count = 0};
    if (is_moved) {
        fg_byte_queue_join(&attempt->upload, &request->body);
        return true;
    }
    if (request->is_chunked && request->body.len > 0)
        add_size_line(&pieces, request->body.len);
    if (!keep(attempt, &pieces, 0) || !fg_proxy_copy_body(request, &attempt->upload))
        return false;
    pieces.count = 0;
    if (request->is_chunked && request->body.len > 0)
        add_piece(&pieces, "\r\n", 2);
    struct pieces end;
    frame(request, NULL, 0, is_last, &end);
    if (end.count > 0)
        add_piece(&pieces, end.iov[0].iov_base, end.iov[0].iov_len);
    fg_proxy_publish_buffered(thread);
    return keep(attempt, &pieces, 0);
}

/* Books `sent` bytes as gone; returns how many of them were of the new pieces. */
static size_t account(struct fg_proxy_attempt *attempt, size_t sent)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    size_t of_head = attempt->head.len - attempt->head_sent;
    if (of_head > sent)
        of_head = sent;
    attempt->head_sent += of_head;
    if (sent > 0)
        attempt->is_sent_any = true;
    sent -= of_head;
    size_t of_kept = sent < attempt->upload.len ? sent : attempt->upload.len;
    if (of_kept > 0) {
        fg_byte_queue_drop(&attempt->upload, &thread->segments, of_kept);
        fg_proxy_publish_buffered(thread);
    }
    return sent - of_kept;
}

static bool may_send_body(const struct fg_proxy_request *request)
{
    return !request->is_upgrade || request->is_tunnel;
}

static size_t gather(const struct fg_proxy_attempt *attempt, const struct pieces *pieces,
                     struct iovec iov[IOV_MAX_USED], size_t *bytes)
{
    size_t count = 0;
    *bytes = attempt->head.len - attempt->head_sent;
    if (*bytes > 0) {
        iov[0].iov_base = (void *)(uintptr_t)(attempt->head.data + attempt->head_sent);
        iov[0].iov_len = *bytes;
        count = 1;
    }
    if (!may_send_body(attempt->request))
        return count;
    size_t kept =
        fg_byte_queue_peek(&attempt->upload, iov + count, IOV_MAX_USED - PIECES_MAX - count);
    size_t kept_bytes = 0;
    for (size_t i = 0; i < kept; i++)
        kept_bytes += iov[count + i].iov_len;
    count += kept;
    *bytes += kept_bytes;
    if (kept_bytes < attempt->upload.len)
        return count; /* the new pieces would overtake */
    for (size_t i = 0; i < pieces->count; i++) {
        iov[count++] = pieces->iov[i];
        *bytes += pieces->iov[i].iov_len;
    }
    return count;
}

enum fg_send fg_h1_send(struct fg_proxy_attempt *attempt, const void *data, size_t len,
                        bool is_last)
{
    struct fg_upstream *upstream = attempt->upstream;
    struct pieces pieces;
    struct iovec iov[IOV_MAX_USED];
    size_t bytes = 0;
    frame(attempt->request, data, len, is_last, &pieces);
    if (upstream->is_write_armed)
        return keep(attempt, &pieces, 0) ? FG_SEND_OK : FG_SEND_NO_MEMORY;
    size_t count = gather(attempt, &pieces, iov, &bytes);
    if (bytes == 0)
        return keep(attempt, &pieces, 0) ? FG_SEND_OK : FG_SEND_NO_MEMORY;
    ssize_t sent = fg_upstream_write(upstream, iov, count);
    if (sent == -1)
        return FG_SEND_BROKEN;
    if (!keep(attempt, &pieces, account(attempt, (size_t)sent)))
        return FG_SEND_NO_MEMORY;
    if (fg_h1_is_waiting(attempt))
        fg_upstream_await_room(upstream);
    return FG_SEND_OK;
}

bool fg_h1_is_waiting(const struct fg_proxy_attempt *attempt)
{
    return attempt->head_sent < attempt->head.len ||
           (attempt->upload.len > 0 && may_send_body(attempt->request));
}

bool fg_h1_is_sent(const struct fg_proxy_attempt *attempt)
{
    return attempt->request->is_body_complete && !fg_h1_is_waiting(attempt);
}

/* ---- the answer ---- */

static void end_well(struct fg_proxy_attempt *attempt, bool is_clean)
{
    bool is_reusable = is_clean && attempt->response.may_keep_alive && fg_h1_is_sent(attempt) &&
                       !attempt->is_write_broken;
    fg_proxy_request_on_end(attempt, is_reusable);
}

static void lose(struct fg_proxy_attempt *attempt, const char *detail)
{
    bool is_stale = attempt->is_reused && !attempt->has_response_bytes;
    fg_proxy_request_on_lost(attempt, is_stale ? FG_RETRY_STALE : FG_RETRY_RESET, FG_FAILURE_RESET,
                             detail);
}

static void hand_on_gathered(struct fg_proxy_attempt *attempt, struct fg_gather *gather)
{
    if (gather->len > 0)
        fg_proxy_request_on_data(attempt, fg_gather_take(gather));
}

/* Only chunks can be many and small in one read. */
static void take_data(struct fg_proxy_attempt *attempt, struct fg_gather *gather,
                      struct fg_span data)
{
    bool is_chunk = attempt->response.framing == FG_UPSTREAM_CHUNKED;
    if (fg_gather_is_full(gather, data))
        hand_on_gathered(attempt, gather);
    if (!is_chunk || !fg_gather_add(gather, data))
        fg_proxy_request_on_data(attempt, data);
}

static void fail_for_memory(struct fg_proxy_attempt *attempt)
{
    fg_proxy_request_fail(attempt->request, FG_FAILURE_NO_MEMORY,
                          "no memory for the head of the answer");
}

static void lose_malformed(struct fg_proxy_attempt *attempt, const char *detail)
{
    fg_counter_add_owned(&attempt->request->metrics->malformed, 1);
    fg_proxy_request_on_lost(attempt, FG_RETRY_RESET, FG_FAILURE_RESET, detail);
}

/* Takes the proof that the server has read our key out of the head. False: it is not that one. */
static bool take_proof(struct fg_upstream_response *response, struct fg_span accept)
{
    size_t kept = 0, proofs = 0, others = 0;
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_field field = response->fields[i];
        if (!fg_span_equal(field.name, FG_SPAN("sec-websocket-accept")))
            response->fields[kept++] = field;
        else if (fg_span_equal(field.value, accept))
            proofs++;
        else
            others++;
    }
    response->field_count = kept;
    return proofs == 1 && others == 0;
}

/*
 * A client that has no key cannot look whether the server has read one, nor is it told: we look.
 * What answers a key of the client's is for the client to judge. False: the attempt is over.
 */
static bool take_head(struct fg_proxy_attempt *attempt)
{
    struct fg_upstream_response *response = &attempt->response;
    if (response->status != 101 || attempt->websocket_key.len == 0)
        return fg_proxy_request_on_head(attempt, false);
    struct fg_span accept = fg_request_websocket_accept(response->arena, attempt->websocket_key);
    if (accept.data == NULL) {
        fail_for_memory(attempt);
        return false;
    }
    if (!take_proof(response, accept)) {
        lose_malformed(attempt, "a WebSocket without the proof that it was asked for");
        return false;
    }
    return fg_proxy_request_on_head(attempt, false);
}

/* False: the attempt is over. */
static bool take_input(struct fg_proxy_attempt *attempt, struct fg_span input)
{
    struct fg_gather gather;
    gather.len = 0;
    for (;;) {
        struct fg_span data;
        enum fg_upstream_result result =
            fg_upstream_response_next(&attempt->response, &input, &data);
        if (result != FG_UPSTREAM_DATA)
            hand_on_gathered(attempt, &gather);
        switch (result) {
        case FG_UPSTREAM_MORE:
            if (attempt->request->is_paused)
                fg_upstream_set_reading(attempt->upstream, false);
            if (attempt->head_ns > 0)
                fg_attempt_set_timeout(attempt);
            return true;
        case FG_UPSTREAM_INTERIM:
            fg_proxy_request_on_interim(attempt);
            break;
        case FG_UPSTREAM_HEAD:
            if (!take_head(attempt))
                return false;
            break;
        case FG_UPSTREAM_DATA:
            take_data(attempt, &gather, data);
            break;
        case FG_UPSTREAM_DONE:
            end_well(attempt, input.len == 0 && !fg_upstream_has_pending(attempt->upstream));
            return false;
        case FG_UPSTREAM_BAD:
            lose_malformed(attempt, attempt->response.error);
            return false;
        case FG_UPSTREAM_NO_MEMORY:
            fail_for_memory(attempt);
            return false;
        }
    }
}

/* False: the attempt is over, or there is nothing more to read. */
static bool read_some(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    struct fg_upstream *upstream = attempt->upstream;
    ssize_t got = fg_upstream_read(upstream, thread->read_buffer, fg_read_pace_room(upstream));
    if (got == -1)
        return false;
    if (got > 0 && attempt->head_sent == 0) {
        /* Left over from before, such as a 408 for an idle connection: nobody asked yet. */
        lose(attempt, "the server answered before it was asked");
        return false;
    }
    if (got > 0) {
        attempt->has_response_bytes = true;
        fg_counter_add_owned(&thread->metrics->received_bytes, (uint64_t)got);
        uint64_t begun_ns = fg_read_pace_begin(upstream, (size_t)got);
        if (!take_input(attempt, fg_span_make(thread->read_buffer, (size_t)got)))
            return false;
        fg_read_pace_end(upstream, (size_t)got, begun_ns);
        return true;
    }
    if (got == 0 && fg_upstream_response_ends_at_eof(&attempt->response))
        end_well(attempt, false);
    else
        lose(attempt, got == 0 ? "the server closed the connection before its answer was complete"
                               : "the connection to the server broke");
    return false;
}

/* What the answer will need; it comes while the kernel copies that. */
static void prefetch(const struct fg_proxy_attempt *attempt)
{
    fg_prefetch(attempt, sizeof(*attempt));
    fg_prefetch(attempt->request, sizeof(*attempt->request));
    fg_prefetch(attempt->request->ex, sizeof(*attempt->request->ex));
}

void fg_h1_read(struct fg_upstream *upstream)
{
    struct fg_proxy_attempt *attempt = upstream->attempt;
    prefetch(attempt);
    fg_read_pace_ask(upstream);
    while (read_some(attempt)) {
        if (attempt->request->is_paused || !fg_read_pace_goes_on(upstream))
            return;
    }
}

void fg_h1_on_readable(struct fg_upstream *upstream)
{
    if (fg_read_pace_is_due(upstream))
        fg_h1_read(upstream);
}
