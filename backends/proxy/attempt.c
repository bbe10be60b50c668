/*
 * attempt.c: one try of a request at one host: get a connection, send, watch the time.
 * Job      the same for HTTP/1.1 and HTTP/2; what a server answers goes to proxy_request.c, which
 *          decides what comes after.
 * Thread   the exchange's loop.
 * Never    decides about another attempt.
 * Memory   the request's arena; body bytes in the thread's segments.
 *
 *    start --> waits for a connection --ready--> begun: head, body --> the answer --> stop
 *                  `-- cannot connect --> lost <-- broke, too slow --'
 */
#include "proxy_internal.h"

#include "base/clock.h"
#include "policies/wide_math.h"
#include "proxy/request_head.h"

#include <assert.h>

static void count(struct fg_counter *counter)
{
    fg_counter_add_owned(counter, 1);
}

static bool is_h2(const struct fg_proxy_attempt *attempt)
{
    return attempt->upstream->state == FG_UPSTREAM_SHARED;
}

/* ---- bodies that may be needed again ---- */

/* Will a further attempt want what this one is sent? */
static bool must_keep_body(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    const struct fg_cluster_conf *conf = &request->thread->proxy->conf;
    if (!request->is_body_at_hand || request->is_upgrade)
        return false;
    if (is_h2(attempt))
        return conf->connect_retries > 0; /* a refused stream may go again, whatever its method */
    return fg_method_is_idempotent(request->ex->method) &&
           (conf->retries_max > 0 || attempt->is_reused);
}

static void forget_body(struct fg_proxy_request *request)
{
    if (request->body_received > 0)
        request->is_body_at_hand = false;
    fg_byte_queue_clear(&request->body, &request->thread->segments);
    fg_proxy_publish_buffered(request->thread);
}

/* Past the limit the body is let go: the request is then sent once. */
static void bound_body(struct fg_proxy_request *request)
{
    if (request->body.len > request->thread->proxy->conf.retry_body_bytes_max)
        forget_body(request);
}

static bool remember(struct fg_proxy_request *request, const void *data, size_t len)
{
    if (!fg_byte_queue_append(&request->body, &request->thread->segments, data, len))
        return false;
    fg_proxy_publish_buffered(request->thread);
    return true;
}

static void fail_for_memory(struct fg_proxy_attempt *attempt)
{
    fg_proxy_request_fail(attempt->request, FG_FAILURE_NO_MEMORY, "the upload buffers are used up");
}

/* ---- waiting ---- */

static bool is_waiting_to_send(const struct fg_proxy_attempt *attempt)
{
    return is_h2(attempt) ? attempt->upload.len > 0 : fg_h1_is_waiting(attempt);
}

bool fg_attempt_is_clients_turn(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    return attempt->is_begun && !request->is_body_complete && !attempt->is_write_broken &&
           !request->is_upgrade && !is_waiting_to_send(attempt);
}

/* The gateway does, by the route's own times. */
static bool is_silence_watched(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    return request->is_tunnel || (attempt->head_ns > 0 && request->ex->stream_deadline_ns != 0);
}

void fg_attempt_set_timeout(struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_thread *thread = request->thread;
    if (!attempt->is_begun)
        return; /* connecting has its own */
    bool is_clients_turn = fg_attempt_is_clients_turn(attempt);
    if (is_clients_turn)
        fg_stalled_watch_upload(attempt->request);
    if (request->is_paused || is_silence_watched(attempt) || is_clients_turn)
        fg_timeout_list_clear(&attempt->timeout);
    else if (attempt->head_ns > 0)
        fg_timeout_list_set(&thread->body_timeouts, &attempt->timeout);
    else
        fg_timeout_list_set(&thread->head_timeouts, &attempt->timeout);
}

static void time_out(struct fg_proxy_attempt *attempt, const char *detail)
{
    count(&attempt->request->metrics->timeouts);
    count(&attempt->endpoint->metrics->timeouts);
    fg_proxy_request_on_lost(attempt, FG_RETRY_TIMEOUT, FG_FAILURE_TIMEOUT, detail);
}

void fg_attempt_on_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_proxy_attempt *attempt = FG_CONTAINER_OF(timeout, struct fg_proxy_attempt, timeout);
    const struct fg_cluster_conf *conf = &attempt->request->thread->proxy->conf;
    if (attempt->upstream != NULL && is_h2(attempt))
        fg_h2_doubt(attempt, attempt->head_ns > 0 ? conf->response_idle_timeout_ns
                                                  : conf->response_head_timeout_ns);
    time_out(attempt, attempt->head_ns > 0 ? "the server's answer stopped for too long"
                                           : "the server did not begin its answer in time");
}

void fg_attempt_on_try_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_proxy_attempt *attempt =
        FG_CONTAINER_OF(timeout, struct fg_proxy_attempt, try_timeout);
    if (fg_attempt_is_clients_turn(attempt)) /* not before it has the request can it be late */
        fg_timeout_list_set(&attempt->request->thread->try_timeouts, timeout);
    else
        time_out(attempt, "the server did not begin its answer in the time of one attempt");
}

/* ---- sending over HTTP/1.1 ---- */

/* The server takes no more: its answer may be in the socket all the same. */
static void on_send_broken(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_upstream *upstream = attempt->upstream;
    if (!attempt->is_sent_any) {
        fg_proxy_request_on_lost(attempt, attempt->is_reused ? FG_RETRY_STALE : FG_RETRY_RESET,
                                 FG_FAILURE_RESET,
                                 "the connection was closed before the request was sent");
        return;
    }
    attempt->is_write_broken = true;
    attempt->head_sent = attempt->head.len;
    fg_byte_queue_clear(&attempt->upload, &request->thread->segments);
    fg_proxy_request_open_window(request);
    fg_attempt_set_timeout(attempt);
    if (!request->is_paused)
        fg_h1_on_readable(upstream);
}

static void after_sending(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    if (request->is_tunnel && fg_h1_is_sent(attempt))
        fg_upstream_end_writing(attempt->upstream); /* the client has said its last */
    fg_proxy_request_open_window(request);
    fg_attempt_set_timeout(attempt);
}

/* Nothing has left: what was moved to the attempt, and this piece, is what a further one sends. */
static bool take_back(struct fg_proxy_attempt *attempt, const void *data, size_t len)
{
    struct fg_proxy_request *request = attempt->request;
    if (!request->is_chunked)
        fg_byte_queue_join(&request->body, &attempt->upload);
    return remember(request, data, len);
}

static void send_h1(struct fg_proxy_attempt *attempt, const void *data, size_t len, bool is_last,
                    bool is_kept)
{
    struct fg_proxy_request *request = attempt->request;
    fg_list_remove(&attempt->link);
    if (attempt->is_write_broken) {
        fg_proxy_request_open_window(request);
        return;
    }
    switch (fg_h1_send(attempt, data, len, is_last)) {
    case FG_SEND_OK:
        if (!is_kept && (len > 0 || attempt->is_sent_any))
            forget_body(request);
        after_sending(attempt);
        return;
    case FG_SEND_BROKEN:
        if (!is_kept && !attempt->is_sent_any && !take_back(attempt, data, len))
            fail_for_memory(attempt);
        else
            on_send_broken(attempt);
        return;
    case FG_SEND_NO_MEMORY:
        fail_for_memory(attempt);
        return;
    }
}

static void begin_h1(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_thread *thread = request->thread;
    if (request->is_upgrade && !fg_tunnel_try_begin(request)) {
        fg_proxy_request_on_tunnels(attempt);
        return;
    }
    uint64_t now_ns = fg_turn_clock_ns(&thread->clock);
    attempt->websocket_key = fg_request_websocket_key(request->ex, now_ns);
    const struct fg_request_head_conf conf = {.host = fg_proxy_request_host(request),
                                              .forwarded = thread->proxy->conf.forwarded,
                                              .websocket_key = attempt->websocket_key};
    attempt->head = fg_request_head_make(request->ex, &conf, now_ns);
    if (attempt->head.data == NULL || attempt->websocket_key.data == NULL) {
        fg_proxy_request_fail(request, FG_FAILURE_NO_MEMORY,
                              "no memory for the head of the request");
        return;
    }
    attempt->is_begun = true;
    if (!request->is_body_complete && !request->is_upgrade && request->body.len == 0) {
        /* The body may be at hand already: give it until the end of the turn, to leave with it. */
        fg_list_push_back(&thread->unsent, &attempt->link);
        event_active(&thread->flush_event, 0, 0);
        return;
    }
    bool is_kept = must_keep_body(attempt);
    if (!fg_h1_keep_body(attempt, request->is_body_complete, !is_kept && !request->is_chunked)) {
        fail_for_memory(attempt);
        return;
    }
    if (is_kept)
        bound_body(request);
    send_h1(attempt, NULL, 0, false, is_kept);
}

void fg_attempt_on_writable(struct fg_proxy_attempt *attempt)
{
    send_h1(attempt, NULL, 0, false, must_keep_body(attempt));
}

void fg_attempt_flush_unsent(struct fg_proxy_thread *thread)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&thread->unsent)) != NULL)
        fg_attempt_on_writable(FG_CONTAINER_OF(link, struct fg_proxy_attempt, link));
}

/* ---- sending over HTTP/2 ---- */

/* The connection is not for it, which has nothing of it yet. */
static void look_again(struct fg_proxy_attempt *attempt)
{
    attempt->upstream = NULL;
    fg_attempt_on_unplaced(attempt);
}

/* True: the server takes tunnels. Else the attempt waits, looks elsewhere, or is over. */
static bool may_tunnel(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    switch (fg_h2_tunnels(attempt->upstream->h2)) {
    case FG_H2_TUNNELS_TAKEN:
        return true;
    case FG_H2_TUNNELS_UNKNOWN:
        fg_timeout_list_set(&thread->head_timeouts, &attempt->timeout);
        fg_h2_await_settings(attempt);
        return false;
    case FG_H2_TUNNELS_REFUSED:
        break;
    }
    if (thread->proxy->conf.protocol == FG_PROTOCOL_H2)
        fg_proxy_request_on_lost(attempt, FG_RETRY_UNHANDLED, FG_FAILURE_NO_TUNNEL,
                                 "the server takes no extended CONNECT");
    else
        look_again(attempt); /* over HTTP/1.1, which the endpoint is known to need now */
    return false;
}

static void begin_h2(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_thread *thread = request->thread;
    if (request->is_upgrade && !may_tunnel(attempt))
        return;
    if (!fg_proxy_copy_body(request, &attempt->upload)) {
        fail_for_memory(attempt);
        return;
    }
    enum fg_status status = fg_h2_begin(attempt);
    if (status == FG_ERR_BUSY) {
        fg_byte_queue_clear(&attempt->upload, &thread->segments);
        look_again(attempt);
        return;
    }
    if (status != FG_OK) {
        fg_proxy_request_fail(request, FG_FAILURE_NO_MEMORY,
                              "no memory for the head of the request");
        return;
    }
    attempt->is_begun = true;
    if (must_keep_body(attempt))
        bound_body(request);
    else
        forget_body(request);
    fg_proxy_request_open_window(request);
    fg_attempt_set_timeout(attempt);
}

void fg_attempt_on_settings(struct fg_proxy_attempt *attempt)
{
    fg_timeout_list_clear(&attempt->timeout);
    begin_h2(attempt);
}

static void send_h2(struct fg_proxy_attempt *attempt, const void *data, size_t len)
{
    struct fg_proxy_request *request = attempt->request;
    if (!fg_byte_queue_append(&attempt->upload, &request->thread->segments, data, len)) {
        fail_for_memory(attempt);
        return;
    }
    fg_proxy_publish_buffered(request->thread);
    fg_h2_on_body(attempt);
    fg_proxy_request_open_window(request);
    fg_attempt_set_timeout(attempt);
}

void fg_attempt_send(struct fg_proxy_attempt *attempt, const void *data, size_t len, bool is_last)
{
    struct fg_proxy_request *request = attempt->request;
    bool is_kept = must_keep_body(attempt);
    if (is_kept) {
        if (!remember(request, data, len)) {
            fail_for_memory(attempt);
            return;
        }
        bound_body(request);
    }
    if (is_h2(attempt))
        send_h2(attempt, data, len);
    else
        send_h1(attempt, data, len, is_last, is_kept);
}

/* ---- getting a connection ---- */

void fg_attempt_on_ready(struct fg_proxy_attempt *attempt)
{
    struct fg_upstream *upstream = attempt->upstream;
    attempt->is_reused = upstream->is_reused;
    if (!upstream->is_reused)
        attempt->connect_ns = fg_clock_monotonic_ns() - attempt->started_ns;
    if (attempt->request->pinned == NULL)
        count(&attempt->endpoint->metrics->requests);
    if (is_h2(attempt))
        begin_h2(attempt);
    else
        begin_h1(attempt);
}

void fg_attempt_on_connect_failed(struct fg_proxy_attempt *attempt)
{
    fg_proxy_request_on_lost(attempt, FG_RETRY_CONNECT, FG_FAILURE_CONNECT,
                             "no endpoint could be connected to");
}

bool fg_attempt_is_h1_only(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    return request->is_upgrade && attempt->endpoint->takes_no_tunnels &&
           request->thread->proxy->conf.protocol != FG_PROTOCOL_H2;
}

void fg_attempt_on_unplaced(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    enum fg_status status = FG_ERR_LIMIT;
    if (fg_stalled_is_short(request->thread) && !fg_stalled_admits(request)) {
        fg_proxy_request_on_share(attempt);
        return;
    }
    if (request->is_upgrade && !fg_tunnel_may_ask(request)) {
        fg_proxy_request_on_tunnels(attempt);
        return;
    }
    bool may_pass = fg_list_is_empty(&request->thread->pending) || request->pinned != NULL;
    if (may_pass)
        status = fg_upstream_get(attempt, request->must_be_fresh, fg_attempt_is_h1_only(attempt));
    if (status != FG_ERR_LIMIT)
        fg_attempt_on_placed(attempt, status);
    else if (request->pinned != NULL) /* a check waits for nobody */
        fg_proxy_request_on_busy(attempt);
    else if (!fg_stalled_admits(request))
        fg_proxy_request_on_share(attempt);
    else if (!fg_pending_wait(attempt))
        fg_proxy_request_on_limit(attempt, FG_CLUSTER_PENDING);
}

void fg_attempt_on_placed(struct fg_proxy_attempt *attempt, enum fg_status status)
{
    if (status == FG_OK) {
        if (fg_upstream_is_ready(attempt->upstream))
            fg_attempt_on_ready(attempt);
    } else if (status == FG_ERR_BUSY) {
        fg_proxy_request_on_busy(attempt);
    } else if (status == FG_ERR_NO_MEMORY) {
        fg_proxy_request_fail(attempt->request, FG_FAILURE_NO_MEMORY, "no memory for a connection");
    } else {
        fg_attempt_on_connect_failed(attempt);
    }
}

static void start_at(struct fg_proxy_attempt *attempt, struct fg_proxy_endpoint *endpoint,
                     bool is_probe, uint64_t now_ns)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_thread *thread = request->thread;
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    *attempt = (struct fg_proxy_attempt){.request = request,
                                         .endpoint = endpoint,
                                         .started_ns = now_ns,
                                         .is_probe = is_probe,
                                         .is_breaker_owed = request->pinned == NULL};
    fg_list_init(&attempt->link);
    fg_timeout_entry_init(&attempt->timeout);
    fg_timeout_entry_init(&attempt->try_timeout);
    fg_upstream_response_init(&attempt->response, request->ex->arena,
                              (size_t)conf->header_bytes_max,
                              request->ex->method == FG_METHOD_HEAD);
    attempt->response.is_upgrade_request = request->is_upgrade;
    attempt->response.known = &thread->known_lines;
    fg_proxy_endpoint_started(endpoint);
    if (conf->try_timeout_ns > 0 && !request->is_upgrade)
        fg_timeout_list_set(&thread->try_timeouts, &attempt->try_timeout);
    fg_attempt_on_unplaced(attempt);
}

static struct fg_proxy_attempt *free_slot(struct fg_proxy_request *request)
{
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        struct fg_proxy_attempt *attempt = request->attempts[i];
        if (attempt == NULL) {
            attempt = fg_arena_try_zalloc(request->ex->arena, sizeof(*attempt));
            if (attempt == NULL)
                return NULL;
            attempt->request = request;
            request->attempts[i] = attempt;
        }
        if (attempt->endpoint == NULL)
            return attempt;
    }
    return NULL;
}

void fg_attempt_start(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    uint64_t now_ns = fg_clock_monotonic_ns();
    struct fg_proxy_attempt *attempt = free_slot(request);
    if (attempt == NULL) {
        fg_proxy_request_fail(request, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return;
    }
    struct fg_proxy_endpoint *endpoint = request->pinned;
    bool is_probe = false;
    uint64_t retry_after_ns = 0;
    if (endpoint == NULL)
        endpoint =
            fg_proxy_endpoint_pick(thread, &request->wish, now_ns, &is_probe, &retry_after_ns);
    if (endpoint != NULL && retry_after_ns > 0)
        fg_proxy_tell_spared_broken(request);
    if (endpoint != NULL)
        start_at(attempt, endpoint, is_probe, now_ns);
    else if (retry_after_ns > 0)
        fg_proxy_request_refuse_broken(request, retry_after_ns);
    else
        fg_proxy_request_fail(request, FG_FAILURE_CONNECT, "no endpoint is known");
}

bool fg_attempt_start_hedge(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    uint64_t now_ns = fg_clock_monotonic_ns();
    bool is_probe = false;
    uint64_t retry_after_ns = 0;
    struct fg_proxy_attempt *attempt = free_slot(request);
    if (attempt == NULL)
        return false;
    struct fg_proxy_endpoint *endpoint =
        fg_proxy_endpoint_pick(thread, &request->wish, now_ns, &is_probe, &retry_after_ns);
    bool is_other = endpoint != NULL;
    for (size_t i = 0; i < request->wish.tried_count; i++)
        is_other = is_other && request->wish.tried[i] != endpoint;
    if (!is_other) /* a probe is never one that was tried */
        return false;
    start_at(attempt, endpoint, is_probe, now_ns);
    return true;
}

/* ---- the end ---- */

/* Until its head, since its client last sent something; or until its end without one. */
static uint64_t latency_of(const struct fg_proxy_attempt *attempt)
{
    return attempt->head_ns > 0 ? attempt->answer_ns
                                : fg_clock_monotonic_ns() - attempt->started_ns;
}

void fg_attempt_note_head(struct fg_proxy_attempt *attempt)
{
    const uint64_t now_ns = fg_clock_monotonic_ns(), body_ns = attempt->request->body_at_ns;
    attempt->head_ns = now_ns - attempt->started_ns;
    attempt->answer_ns =
        body_ns > attempt->started_ns ? fg_subtract_floor(now_ns, body_ns) : attempt->head_ns;
}

bool fg_attempt_is_slow_upload(const struct fg_proxy_attempt *attempt)
{
    uint64_t since_ns = attempt->request->body_at_ns;
    if (attempt->started_ns > since_ns)
        since_ns = attempt->started_ns;
    return attempt->head_ns == 0 && fg_attempt_is_clients_turn(attempt) &&
           fg_subtract_floor(fg_clock_monotonic_ns(), since_ns) >= FG_SLOW_UPLOAD_NS;
}

static void tell_breaker(struct fg_proxy_attempt *attempt, enum fg_breaker_outcome outcome)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    if (!attempt->is_breaker_owed)
        return;
    attempt->is_breaker_owed = false;
    fg_hosts_note_breaker(&thread->proxy->hosts, attempt->endpoint->host, attempt->is_probe,
                          outcome, latency_of(attempt), fg_turn_clock_ns(&thread->clock));
}

void fg_attempt_set_aside(struct fg_proxy_attempt *attempt)
{
    if (!attempt->is_probe || !attempt->is_breaker_owed)
        return;
    tell_breaker(attempt, FG_BREAKER_CANCELLED);
    attempt->is_breaker_owed = true;
    attempt->is_probe = false;
    attempt->was_probe = true;
}

void fg_attempt_take_up(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    if (!attempt->was_probe || !attempt->is_breaker_owed)
        return;
    attempt->was_probe = false;
    attempt->is_probe = fg_hosts_resume_probe(&thread->proxy->hosts, attempt->endpoint->host,
                                              fg_turn_clock_ns(&thread->clock));
}

void fg_attempt_tell_breaker(struct fg_proxy_attempt *attempt, bool is_error)
{
    tell_breaker(attempt, is_error ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS);
}

void fg_attempt_judge_host(struct fg_proxy_attempt *attempt, bool is_error)
{
    struct fg_proxy_thread *thread = attempt->request->thread;
    if (attempt->request->pinned != NULL)
        return; /* a check tells for itself */
    fg_hosts_note_answer(&thread->proxy->hosts, attempt->endpoint->host, thread->env.thread_index,
                         is_error, latency_of(attempt), fg_turn_clock_ns(&thread->clock));
    fg_attempt_tell_breaker(attempt, is_error);
}

void fg_attempt_stop(struct fg_proxy_attempt *attempt, bool is_reusable)
{
    struct fg_upstream *upstream = attempt->upstream;
    struct fg_proxy_endpoint *endpoint = attempt->endpoint;
    struct fg_proxy_thread *thread = attempt->request->thread;
    if (endpoint == NULL)
        return;
    fg_timeout_list_clear(&attempt->timeout);
    fg_timeout_list_clear(&attempt->try_timeout);
    if (attempt->is_pending)
        fg_pending_leave(attempt);
    if (upstream != NULL && !fg_upstream_is_ready(upstream)) {
        fg_upstream_stop_waiting(attempt);
    } else if (upstream != NULL && is_h2(attempt)) {
        fg_h2_leave(attempt);
    } else if (upstream != NULL) {
        upstream->attempt = NULL;
        if (is_reusable)
            fg_upstream_release(upstream);
        else
            fg_upstream_close(upstream);
    }
    attempt->upstream = NULL;
    fg_list_remove(&attempt->link);
    if (attempt->is_breaker_owed)
        tell_breaker(attempt, FG_BREAKER_CANCELLED);
    fg_byte_queue_clear(&attempt->upload, &thread->segments);
    fg_proxy_publish_buffered(thread);
    attempt->endpoint = NULL;
    fg_proxy_endpoint_ended(endpoint);
    fg_proxy_request_end_hedge(attempt->request);
}

void fg_attempt_stop_all(struct fg_proxy_request *request)
{
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        if (request->attempts[i] != NULL)
            fg_attempt_stop(request->attempts[i], false);
    }
}
