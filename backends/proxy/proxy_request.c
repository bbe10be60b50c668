/*
 * proxy_request.c: one exchange over one connection after another, until one has answered.
 * Job      choose endpoint and connection, send, pass the answer on piece by piece, decide whether
 *          another attempt is safe.
 * Thread   the exchange's loop.
 * Never    sends a request twice that may have been acted upon: after a byte of it has left, only
 *          one of an idempotent method on a kept connection that turned out dead, with no byte of
 *          its body gone. Never ends an answer that broke off as if it were whole.
 * Memory   the exchange's arena; body bytes in the thread's segments.
 * Source   RFC 9112 section 9.3.1 (retries), 9.5 (early answers).
 *
 *    start --> [attempt: connect or reuse --> send --> head --> body] --> end, connection kept
 *                  `-- connect failed, or dead before any answer --> attempt again, or fail
 *
 * A function that can end the exchange returns with `request` gone; it is the last thing its
 * caller does. The connection is put away before, since the gateway may start another exchange
 * from inside the end of this one.
 */
#include "proxy_internal.h"

#include "base/clock.h"
#include "proxy/request_head.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

static void start_attempt(struct fg_proxy_request *request);

static void count(struct fg_counter *counter)
{
    fg_counter_add_owned(counter, 1);
}

/* ---- ending ---- */

static void leave_endpoint(struct fg_proxy_request *request)
{
    struct fg_proxy_endpoint *endpoint = request->endpoint;
    request->endpoint = NULL;
    if (endpoint != NULL)
        fg_proxy_endpoint_ended(endpoint);
}

/* How the attempt went, as far as its host is concerned. */
static void judge_host(struct fg_proxy_request *request, bool is_error)
{
    struct fg_proxy_thread *thread = request->thread;
    if (request->endpoint != NULL)
        fg_hosts_note_answer(&thread->proxy->hosts, request->endpoint->host,
                             thread->env.thread_index, is_error, request->head_ns,
                             fg_clock_monotonic_ns());
}

/* Puts everything away but the exchange. */
static struct fg_exchange *let_go(struct fg_proxy_request *request, bool is_reusable)
{
    struct fg_exchange *ex = request->ex;
    struct fg_upstream *upstream = request->upstream;
    fg_list_remove(&request->unsent_link);
    fg_upload_drop(request);
    request->upstream = NULL;
    ex->backend_state = NULL;
    if (upstream != NULL && is_reusable)
        fg_upstream_release(upstream);
    else if (upstream != NULL)
        fg_upstream_close(upstream);
    leave_endpoint(request);
    for (size_t i = 0; i < request->wish.tried_count; i++)
        fg_proxy_endpoint_release(request->wish.tried[i]);
    return ex;
}

static void fail(struct fg_proxy_request *request, enum fg_failure failure, const char *detail)
{
    struct fg_proxy_metrics *metrics = request->thread->metrics;
    count(&metrics->failed);
    if (failure == FG_FAILURE_BUSY)
        count(&metrics->busy);
    if (failure == FG_FAILURE_RESET) {
        count(&metrics->resets);
        if (request->endpoint != NULL)
            count(&request->endpoint->metrics->resets);
    }
    if (failure == FG_FAILURE_RESET || failure == FG_FAILURE_TIMEOUT)
        judge_host(request, true);
    fg_exchange_fail(let_go(request, false), failure, detail);
}

static void complete(struct fg_proxy_request *request, bool is_clean)
{
    bool is_reusable = is_clean && request->response.may_keep_alive && fg_upload_is_done(request) &&
                       !request->is_write_broken;
    count(&request->thread->metrics->completed);
    judge_host(request, request->response.status >= 500);
    fg_exchange_end(let_go(request, is_reusable));
}

/* ---- trying again ---- */

static bool is_idempotent(enum fg_method method)
{
    switch (method) {
    case FG_METHOD_GET:
    case FG_METHOD_HEAD:
    case FG_METHOD_PUT:
    case FG_METHOD_DELETE:
    case FG_METHOD_OPTIONS:
    case FG_METHOD_TRACE:
        return true;
    case FG_METHOD_POST:
    case FG_METHOD_CONNECT:
    case FG_METHOD_PATCH:
    case FG_METHOD_OTHER:
        break;
    }
    return false;
}

static bool may_try_again(const struct fg_proxy_request *request)
{
    if (request->has_response_bytes || request->retries_left == 0)
        return false;
    if (request->head_sent == 0)
        return true;
    return request->upstream->is_reused && is_idempotent(request->ex->method) &&
           !request->is_body_sent_any && !request->is_write_broken;
}

/* The connection broke. */
static void on_lost(struct fg_proxy_request *request, const char *detail)
{
    if (!may_try_again(request)) {
        fail(request, FG_FAILURE_RESET, detail);
        return;
    }
    count(&request->thread->metrics->retries);
    request->retries_left--;
    request->must_be_fresh = true;
    request->head_sent = 0;
    fg_list_remove(&request->unsent_link);
    fg_upstream_close(request->upstream);
    request->upstream = NULL;
    leave_endpoint(request);
    start_attempt(request);
}

/* ---- waiting ---- */

/* Which silence is too long now? Called when something has moved. */
static void set_timeout(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    struct fg_upstream *upstream = request->upstream;
    if (upstream == NULL || upstream->state != FG_UPSTREAM_ACTIVE)
        return; /* connecting has its own */
    if (request->is_paused || request->is_tunnel)
        fg_timeout_list_clear(&upstream->timeout); /* of a tunnel the gateway watches the silence */
    else if (request->is_head_passed)
        fg_timeout_list_set(&thread->body_timeouts, &upstream->timeout);
    else if (request->is_body_complete || request->is_write_broken || request->is_upgrade ||
             fg_upload_is_waiting(request))
        fg_timeout_list_set(&thread->head_timeouts, &upstream->timeout);
    else
        fg_timeout_list_clear(&upstream->timeout); /* the client's turn; the gateway watches it */
}

/* ---- sending ---- */

/* The server takes no more: its answer may be in the socket all the same. */
static void on_send_broken(struct fg_proxy_request *request)
{
    if (may_try_again(request)) {
        on_lost(request, "the connection was closed before the request was sent");
        return;
    }
    request->is_write_broken = true;
    request->head_sent = request->head.len;
    fg_upload_drop(request);
    fg_upload_open_window(request);
    set_timeout(request);
    if (!request->is_paused)
        fg_proxy_request_on_readable(request);
}

static void send_piece(struct fg_proxy_request *request, const void *data, size_t len, bool is_last)
{
    fg_list_remove(&request->unsent_link);
    switch (fg_upload_send(request, data, len, is_last)) {
    case FG_SEND_OK:
        if (request->is_tunnel && fg_upload_is_done(request))
            shutdown(request->upstream->fd, SHUT_WR); /* the client has said its last */
        fg_upload_open_window(request);
        set_timeout(request);
        return;
    case FG_SEND_BROKEN:
        /* The piece is part of what a further attempt must send. */
        if (may_try_again(request) && len + is_last > 0) {
            struct fg_upstream *upstream = request->upstream;
            request->upstream = NULL; /* to have it kept */
            enum fg_send kept = fg_upload_send(request, data, len, is_last);
            request->upstream = upstream;
            if (kept != FG_SEND_OK) {
                fail(request, FG_FAILURE_NO_MEMORY, "the upload buffers are used up");
                return;
            }
        }
        on_send_broken(request);
        return;
    case FG_SEND_NO_MEMORY:
        fail(request, FG_FAILURE_NO_MEMORY, "the upload buffers are used up");
        return;
    }
}

static void begin_sending(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    if (request->is_body_complete || request->is_upgrade || request->upload.len > 0) {
        send_piece(request, NULL, 0, false);
        return;
    }
    /* The body may be at hand already: give it until the end of the turn, to leave with it. */
    fg_list_push_back(&thread->unsent, &request->unsent_link);
    event_active(&thread->flush_event, 0, 0);
}

void fg_proxy_request_flush_unsent(struct fg_proxy_thread *thread)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&thread->unsent)) != NULL)
        send_piece(FG_CONTAINER_OF(link, struct fg_proxy_request, unsent_link), NULL, 0, false);
}

/* ---- an attempt ---- */

/* A connect failed: on to another host, unless that was the last try, which fails the request. */
static bool go_elsewhere(struct fg_proxy_request *request)
{
    struct fg_proxy_wish *wish = &request->wish;
    judge_host(request, true);
    if (request->retries_left == 0) {
        fail(request, FG_FAILURE_CONNECT, "no endpoint could be connected to");
        return false;
    }
    request->retries_left--;
    count(&request->thread->metrics->retries);
    if (wish->tried_count < FG_TRIED_MAX) {
        fg_proxy_endpoint_hold(request->endpoint);
        wish->tried[wish->tried_count++] = request->endpoint;
    }
    leave_endpoint(request);
    return true;
}

static void start_attempt(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    for (;;) {
        request->attempt_ns = fg_clock_monotonic_ns();
        request->connect_ns = 0;
        request->endpoint = fg_proxy_endpoint_pick(thread, &request->wish, request->attempt_ns);
        if (request->endpoint == NULL) {
            fail(request, FG_FAILURE_CONNECT, "no endpoint is known");
            return;
        }
        fg_proxy_endpoint_started(request->endpoint);
        if (!request->must_be_fresh)
            request->upstream = fg_upstream_try_reuse(request->endpoint, request);
        if (request->upstream != NULL)
            break;
        enum fg_status status =
            fg_upstream_open(thread, request->endpoint, request, &request->upstream);
        if (status == FG_OK)
            break;
        if (status == FG_ERR_BUSY) {
            fail(request, FG_FAILURE_BUSY, "no connection is left for the cluster");
            return;
        }
        if (!go_elsewhere(request))
            return;
    }
    count(&request->endpoint->metrics->requests);
    if (request->upstream->state == FG_UPSTREAM_ACTIVE)
        begin_sending(request);
}

void fg_proxy_request_on_connected(struct fg_proxy_request *request)
{
    request->connect_ns = fg_clock_monotonic_ns() - request->attempt_ns;
    begin_sending(request);
}

void fg_proxy_request_on_connect_failed(struct fg_proxy_request *request)
{
    request->upstream = NULL;
    if (go_elsewhere(request))
        start_attempt(request);
}

/* ---- the answer ---- */

/* An answer to the wish for a tunnel. */
static void settle_upgrade(struct fg_proxy_request *request)
{
    if (request->response.status == 101) {
        request->is_tunnel = true;
        if (request->upload.len > 0 || request->is_body_complete)
            fg_upstream_await_room(request->upstream);
        return;
    }
    /* An ordinary answer: what was meant for the tunnel has no reader. */
    request->is_body_complete = true;
    fg_upload_drop(request);
    fg_upload_open_window(request);
}

static void pass_head(struct fg_proxy_request *request)
{
    struct fg_exchange *ex = request->ex;
    const struct fg_upstream_response *response = &request->response;
    uint64_t taken_ns = fg_clock_monotonic_ns() - request->attempt_ns;
    if (request->connect_ns > 0)
        fg_exchange_hop_time(ex, "connect", request->connect_ns);
    fg_exchange_hop_time(ex, "upstream", taken_ns - request->connect_ns);
    fg_histogram_record(&request->thread->metrics->head_ns, taken_ns);
    request->head_ns = taken_ns;
    request->is_head_passed = true;
    if (request->is_upgrade)
        settle_upgrade(request);
    fg_exchange_head(ex, response->status, response->fields, response->field_count);
}

static void take_input(struct fg_proxy_request *request, struct fg_span input)
{
    for (;;) {
        struct fg_span data;
        switch (fg_upstream_response_next(&request->response, &input, &data)) {
        case FG_UPSTREAM_MORE:
            if (request->is_paused)
                fg_upstream_set_reading(request->upstream, false);
            if (request->is_head_passed)
                set_timeout(request);
            return;
        case FG_UPSTREAM_INTERIM:
            fg_exchange_interim(request->ex, request->response.status, request->response.fields,
                                request->response.field_count);
            break;
        case FG_UPSTREAM_HEAD:
            pass_head(request);
            break;
        case FG_UPSTREAM_DATA:
            if (!fg_exchange_write(request->ex, data.data, data.len))
                request->is_paused = true;
            break;
        case FG_UPSTREAM_DONE:
            if (request->response.trailers.count > 0)
                fg_exchange_trailers(request->ex, request->response.trailers.fields,
                                     request->response.trailers.count);
            complete(request, input.len == 0);
            return;
        case FG_UPSTREAM_BAD:
            count(&request->thread->metrics->malformed);
            fail(request, FG_FAILURE_RESET, request->response.error);
            return;
        case FG_UPSTREAM_NO_MEMORY:
            fail(request, FG_FAILURE_NO_MEMORY, "no memory for the head of the answer");
            return;
        }
    }
}

void fg_proxy_request_on_readable(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    ssize_t got = read(request->upstream->fd, thread->read_buffer, FG_READ_BYTES);
    if (got > 0 && request->head_sent == 0) {
        /* Left over from before, such as a 408 for an idle connection: nobody asked yet. */
        on_lost(request, "the server answered before it was asked");
    } else if (got > 0) {
        request->has_response_bytes = true;
        fg_counter_add_owned(&thread->metrics->received_bytes, (uint64_t)got);
        take_input(request, fg_span_make(thread->read_buffer, (size_t)got));
    } else if (got == 0) {
        if (fg_upstream_response_ends_at_eof(&request->response))
            complete(request, false);
        else
            on_lost(request, "the server closed the connection before its answer was complete");
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        on_lost(request, "the connection to the server broke");
    }
}

void fg_proxy_request_on_writable(struct fg_proxy_request *request)
{
    send_piece(request, NULL, 0, false);
}

void fg_proxy_request_on_timeout(struct fg_proxy_request *request)
{
    count(&request->thread->metrics->timeouts);
    count(&request->endpoint->metrics->timeouts);
    fail(request, FG_FAILURE_TIMEOUT,
         request->is_head_passed ? "the server's answer stopped for too long"
                                 : "the server did not begin its answer in time");
}

/* ---- the gateway's calls ---- */

/* False: the key is in the body, and there is too little of that yet. */
static bool find_key(struct fg_proxy_request *request)
{
    const struct fg_proxy *proxy = request->thread->proxy;
    if (proxy->conf.balance != FG_BALANCE_HASH)
        return true;
    request->is_key_wanted = proxy->affinity.kind == FG_AFFINITY_PROMPT &&
                             !request->is_body_complete &&
                             request->key_len < FG_AFFINITY_BODY_BYTES;
    if (request->is_key_wanted)
        return false;
    request->wish.has_key = fg_affinity_hash(&proxy->affinity, request->ex,
                                             fg_span_make(request->key_text, request->key_len),
                                             &request->wish.key_hash);
    return true;
}

/* The body is framed when it is kept; the key is looked for in what came. */
static bool add_key_text(struct fg_proxy_request *request, const void *data, size_t len)
{
    if (request->key_text == NULL)
        request->key_text = fg_arena_try_alloc(request->ex->arena, FG_AFFINITY_BODY_BYTES);
    if (request->key_text == NULL)
        return false;
    size_t room = FG_AFFINITY_BODY_BYTES - request->key_len;
    size_t taken = len < room ? len : room;
    if (taken > 0)
        memcpy(request->key_text + request->key_len, data, taken);
    request->key_len += taken;
    return true;
}

static void keep_until_keyed(struct fg_proxy_request *request, const void *data, size_t len,
                             bool is_last)
{
    if (!add_key_text(request, data, len) ||
        fg_upload_send(request, data, len, is_last) != FG_SEND_OK) {
        fail(request, FG_FAILURE_NO_MEMORY, "the upload buffers are used up");
        return;
    }
    fg_upload_open_window(request);
    if (find_key(request))
        start_attempt(request);
}

void fg_proxy_request_start(struct fg_proxy_thread *thread, struct fg_exchange *ex)
{
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    count(&thread->metrics->started);
    struct fg_proxy_request *request = fg_arena_try_zalloc(ex->arena, sizeof(*request));
    if (request == NULL) {
        count(&thread->metrics->failed);
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return;
    }
    ex->backend_state = request;
    request->ex = ex;
    request->thread = thread;
    request->retries_left = conf->connect_retries;
    request->is_upgrade = ex->upgrade.data != NULL;
    request->is_body_complete = !ex->has_body && !request->is_upgrade;
    request->is_chunked = ex->has_body && ex->content_length < 0;
    fg_list_init(&request->unsent_link);
    fg_upstream_response_init(&request->response, ex->arena, (size_t)conf->header_bytes_max,
                              ex->method == FG_METHOD_HEAD);
    request->response.is_upgrade_request = request->is_upgrade;
    struct fg_span host = conf->host_header != NULL ? fg_span_from_string(conf->host_header)
                          : ex->authority.len > 0   ? ex->authority
                                                    : FG_SPAN("localhost");
    request->head = fg_request_head_make(ex, host, request->is_chunked, fg_clock_monotonic_ns());
    if (request->head.data == NULL)
        fail(request, FG_FAILURE_NO_MEMORY, "no memory for the head of the request");
    else if (find_key(request))
        start_attempt(request);
}

/* The length that went out in the head is a promise: with another, the next request's bytes would
 * be read as this one's. */
static bool keeps_promise(const struct fg_proxy_request *request, bool is_last)
{
    if (request->is_chunked || request->is_upgrade)
        return true;
    uint64_t promised = (uint64_t)request->ex->content_length;
    return is_last ? request->body_received == promised : request->body_received <= promised;
}

void fg_proxy_request_on_body(struct fg_proxy_request *request, const void *data, size_t len,
                              bool is_last)
{
    request->body_unconsumed += len;
    if (request->is_upgrade && request->is_head_passed && !request->is_tunnel) {
        fg_upload_open_window(request); /* the tunnel was refused: nobody wants it */
        return;
    }
    assert(!request->is_body_complete);
    request->body_received += len;
    if (!keeps_promise(request, is_last)) {
        fail(request, FG_FAILURE_INTERNAL, "the request's body is not as long as was stated");
        return;
    }
    request->is_body_complete = is_last;
    if (is_last && request->is_chunked && request->ex->trailer_count > 0)
        request->last_chunk = fg_request_last_chunk_make(request->ex);
    if (request->is_key_wanted)
        keep_until_keyed(request, data, len, is_last);
    else if (request->is_write_broken)
        fg_upload_open_window(request);
    else
        send_piece(request, data, len, is_last);
}

void fg_proxy_request_on_client_writable(struct fg_proxy_request *request)
{
    if (!request->is_paused)
        return;
    request->is_paused = false;
    fg_upstream_set_reading(request->upstream, true);
    set_timeout(request);
}

void fg_proxy_request_cancel(struct fg_proxy_request *request)
{
    count(&request->thread->metrics->cancelled);
    (void)let_go(request, false);
}
