/*
 * proxy_request.c: one exchange: its body, its attempts one after another or two side by side, its
 * answer.
 * Job      keep the body while it may be needed; pass the answer of the first attempt that has a
 *          good one; decide by policies/retry whether another attempt is safe and wanted.
 * Thread   the exchange's loop.
 * Never    sends a request twice that may have been acted upon, unless its method is idempotent.
 *          Never ends an answer that broke off as if it were whole.
 * Memory   the exchange's arena; body bytes in the thread's segments.
 * Source   RFC 9110 section 9.2.2; hedging: Dean and Barroso, "The Tail at Scale", CACM 2013.
 *
 *    start --> [key in the body?] --> attempt --head--> answering --> end
 *                                       | `-- lost, bad status --> [pause] attempt again, or fail
 *                                       `-- slow --> a second one beside it; the first good head
 *                                                    wins, and a bad one asks the next
 *
 * A function that can end the exchange returns with `request` gone; it is the last thing its
 * caller does. Connections are put away before, since the gateway may start another exchange from
 * inside the end of this one.
 */
#include "proxy_internal.h"

#include "backends/grpc.h"
#include "base/clock.h"
#include "proxy/request_head.h"
#include "proxy/sticky_cookie.h"

#include <assert.h>

#define UPLOAD_MARK ((size_t)32768) /* less than this waits: the client may go on */
#define IOV_MAX_USED 64

static void count(struct fg_counter *counter)
{
    fg_counter_add_owned(counter, 1);
}

bool fg_method_is_idempotent(enum fg_method method)
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

struct fg_span fg_proxy_request_host(const struct fg_proxy_request *request)
{
    const struct fg_cluster_conf *conf = &request->thread->proxy->conf;
    return conf->host_header != NULL        ? fg_span_from_string(conf->host_header)
           : request->ex->authority.len > 0 ? request->ex->authority
                                            : FG_SPAN("localhost");
}

/* ---- bytes that wait ---- */

void fg_proxy_publish_buffered(struct fg_proxy_thread *thread)
{
    uint64_t bytes = thread->segments.in_use * FG_SEGMENT_BYTES;
    fg_counter_set(&thread->metrics->upload_buffered_bytes, bytes);
    if (bytes > fg_counter_get(&thread->metrics->upload_buffered_bytes_most))
        fg_counter_set(&thread->metrics->upload_buffered_bytes_most, bytes);
}

bool fg_proxy_copy_body(struct fg_proxy_request *request, struct fg_byte_queue *to)
{
    for (const struct fg_segment *segment = request->body.first; segment != NULL;
         segment = segment->next) {
        if (!fg_byte_queue_append(to, &request->thread->segments, segment->data + segment->begin,
                                  segment->end - segment->begin))
            return false;
    }
    return true;
}

/* The attempt that the body goes to; NULL while it has no connection yet. */
static struct fg_proxy_attempt *begun(const struct fg_proxy_request *request)
{
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        struct fg_proxy_attempt *attempt = request->attempts[i];
        if (attempt != NULL && attempt->endpoint != NULL && attempt->is_begun)
            return attempt;
    }
    return NULL;
}

bool fg_proxy_request_is_upload(const struct fg_proxy_request *request)
{
    const struct fg_proxy_attempt *attempt = begun(request);
    return attempt != NULL && request->answering == NULL && fg_attempt_is_clients_turn(attempt);
}

void fg_proxy_request_open_window(struct fg_proxy_request *request)
{
    const struct fg_proxy_attempt *attempt = begun(request);
    size_t waiting = attempt != NULL ? attempt->upload.len : request->body.len;
    if (request->body_unconsumed == 0 || waiting > UPLOAD_MARK)
        return;
    size_t consumed = request->body_unconsumed;
    request->body_unconsumed = 0;
    fg_exchange_consumed(request->ex, consumed);
}

/* ---- ending ---- */

static void give_budget(struct fg_proxy_request *request)
{
    fg_cluster_limits_give(&request->thread->proxy->limits, FG_CLUSTER_RETRIES);
    request->budget_held--;
}

struct fg_exchange *fg_proxy_request_let_go(struct fg_proxy_request *request)
{
    struct fg_exchange *ex = request->ex;
    struct fg_proxy_thread *thread = request->thread;
    fg_timeout_list_clear(&request->hedge_timeout);
    if (request->pause != NULL)
        event_del(request->pause);
    fg_stalled_forget(request);
    fg_tunnel_end(request);
    fg_attempt_stop_all(request);
    fg_byte_queue_clear(&request->body, &thread->segments);
    fg_proxy_publish_buffered(thread);
    for (size_t i = 0; i < request->wish.tried_count; i++)
        fg_proxy_endpoint_release(request->wish.tried[i]);
    if (request->pinned != NULL)
        fg_proxy_endpoint_release(request->pinned);
    while (request->budget_held > 0)
        give_budget(request);
    if (request->is_counted)
        fg_cluster_limits_give(&thread->proxy->limits, FG_CLUSTER_REQUESTS);
    ex->backend_state = NULL;
    return ex;
}

void fg_proxy_request_fail(struct fg_proxy_request *request, enum fg_failure failure,
                           const char *detail)
{
    struct fg_proxy_metrics *metrics = request->metrics;
    count(&metrics->failed);
    if (failure == FG_FAILURE_RESET)
        count(&metrics->resets);
    fg_exchange_fail(fg_proxy_request_let_go(request), failure, detail);
}

struct fg_proxy_attempt *fg_proxy_request_other(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        struct fg_proxy_attempt *other = request->attempts[i];
        if (other != NULL && other != attempt && other->endpoint != NULL)
            return other;
    }
    return NULL;
}

/* ---- who answers ---- */

/* For the log: the newest says most. */
static void tell_answerer(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    struct fg_exchange *ex = request->ex;
    ex->answerer.attempts = 1 + request->reconnects + request->retries + ex->answerer.was_hedged;
    if (attempt->endpoint != NULL)
        ex->answerer.endpoint =
            fg_arena_try_copy(ex->arena, fg_span_from_string(attempt->endpoint->host->spec.name));
}

/* For the log, where the exchange is given up: whose answer it waited for, if anybody was asked. */
static void tell_awaited(const struct fg_proxy_request *request)
{
    const struct fg_proxy_attempt *newest = NULL;
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        const struct fg_proxy_attempt *attempt = request->attempts[i];
        if (attempt != NULL && attempt->endpoint != NULL && !attempt->is_pending &&
            (newest == NULL || attempt->started_ns > newest->started_ns))
            newest = attempt;
    }
    if (newest != NULL)
        tell_answerer(newest);
}

/* ---- trying again ---- */

static void mark_tried(struct fg_proxy_request *request, struct fg_proxy_endpoint *endpoint)
{
    struct fg_proxy_wish *wish = &request->wish;
    for (size_t i = 0; i < wish->tried_count; i++) {
        if (wish->tried[i] == endpoint)
            return;
    }
    if (wish->tried_count == FG_TRIED_MAX)
        return;
    fg_proxy_endpoint_hold(endpoint);
    wish->tried[wish->tried_count++] = endpoint;
}

static bool try_take_budget(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    struct fg_proxy *proxy = thread->proxy;
    const struct fg_backend_env *env = &thread->env;
    bool is_shedding =
        fg_pressure_sheds(env->pressure) ||
        (env->shed_at_ns != NULL &&
         fg_retry_budget_is_shedding(fg_counter_get(env->shed_at_ns), fg_clock_monotonic_ns()));
    uint64_t active = fg_limit_used(&proxy->limits.limits[FG_CLUSTER_REQUESTS]);
    uint64_t budget = fg_retry_budget_limit(&proxy->budget, active, is_shedding);
    if (!fg_cluster_limits_try_take_retry(&proxy->limits, budget)) {
        count(&thread->metrics->retries_refused);
        return false;
    }
    request->budget_held++;
    return true;
}

/* Has the server said with its answer when to come again? */
static bool asks_for_pause(const struct fg_proxy_attempt *attempt, enum fg_retry_cause cause)
{
    const struct fg_upstream_response *response = &attempt->response;
    for (size_t i = 0; cause == FG_RETRY_STATUS_503 && i < response->field_count; i++) {
        if (fg_span_equal(response->fields[i].name, FG_SPAN("retry-after")))
            return !fg_span_equal(response->fields[i].value, FG_SPAN("0"));
    }
    return false;
}

static uint64_t time_left_ns(const struct fg_proxy_request *request)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    return request->ex->deadline_ns > now_ns ? request->ex->deadline_ns - now_ns : 0;
}

/* Books the further attempt that is allowed; false when none is. */
static bool may_try_again(struct fg_proxy_attempt *attempt, enum fg_retry_cause cause)
{
    struct fg_proxy_request *request = attempt->request;
    const struct fg_proxy *proxy = request->thread->proxy;
    if (request->pinned != NULL)
        return false; /* how it went at this host is the question */
    const struct fg_retry_conf conf = {
        .connect_retries_max = proxy->conf.connect_retries,
        .retries_max = proxy->conf.retries_max,
        .causes = proxy->conf.retry_causes != 0 ? proxy->conf.retry_causes : UINT32_MAX,
        .backoff_ns = proxy->conf.retry_backoff_ns,
        .backoff_max_ns = proxy->conf.retry_backoff_max_ns};
    const bool is_pause_asked = asks_for_pause(attempt, cause);
    const bool is_beside = fg_proxy_request_other(attempt) != NULL;
    const struct fg_retry_facts facts = {
        .cause = cause,
        .is_idempotent = fg_method_is_idempotent(request->ex->method) && !request->is_upgrade,
        .is_sent_any = attempt->is_sent_any,
        .is_body_at_hand = request->is_body_at_hand,
        .is_answer_begun = request->answering != NULL,
        .connect_retries = request->reconnects,
        .retries = request->retries,
        .is_pause_asked = is_pause_asked,
        .has_untried = is_pause_asked && fg_proxy_endpoint_has_untried(
                                             request->thread, &request->wish, attempt->endpoint),
        .pause_ns = is_beside ? 0
                              : fg_retry_pause_ns(&conf, request->retries,
                                                  fg_proxy_random(request->thread)),
        .time_left_ns = time_left_ns(request),
    };
    request->pause_ns = 0;
    request->booked = fg_retry_judge(&conf, &facts);
    switch (request->booked) {
    case FG_RETRY_NO:
        return false;
    case FG_RETRY_YES:
        request->reconnects++;
        break;
    case FG_RETRY_WITH_BUDGET:
        if (!try_take_budget(request))
            return false;
        request->retries++;
        request->pause_ns = facts.pause_ns;
        break;
    }
    /* A kept connection that was closed says nothing about its host. */
    if (cause == FG_RETRY_STALE)
        request->must_be_fresh = true;
    else
        mark_tried(request, attempt->endpoint);
    return true;
}

static void count_booked(struct fg_proxy_request *request)
{
    struct fg_proxy_metrics *metrics = request->metrics;
    count(request->booked == FG_RETRY_YES ? &metrics->reconnects : &metrics->retries);
}

/* There is no further attempt after all. */
static void cancel_booked(struct fg_proxy_request *request)
{
    if (request->booked == FG_RETRY_YES) {
        request->reconnects--;
        return;
    }
    request->retries--;
    give_budget(request);
}

static void arm_hedge(struct fg_proxy_request *request)
{
    struct fg_proxy_thread *thread = request->thread;
    const struct fg_exchange *ex = request->ex;
    if (thread->proxy->conf.hedge_delay_ns > 0 && !ex->has_body && !request->is_upgrade &&
        !ex->answerer.was_hedged && (ex->method == FG_METHOD_GET || ex->method == FG_METHOD_HEAD))
        fg_timeout_list_set(&thread->hedge_timeouts, &request->hedge_timeout);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct fg_proxy_request *request = arg;
    (void)fd;
    (void)what;
    arm_hedge(request);
    fg_attempt_start(request);
}

/* The attempt that may_try_again has booked: after its pause, in which there is none. */
static void try_again(struct fg_proxy_request *request)
{
    count_booked(request);
    if (request->pause_ns == 0) {
        fg_attempt_start(request);
        return;
    }
    if (request->pause == NULL) {
        request->pause = fg_arena_try_zalloc(request->ex->arena, sizeof(*request->pause));
        if (request->pause == NULL) {
            fg_proxy_request_fail(request, FG_FAILURE_NO_MEMORY, "no memory for the request");
            return;
        }
        event_assign(request->pause, request->thread->env.base, -1, 0, on_pause_over, request);
    }
    const struct timeval wait = {.tv_sec = (time_t)(request->pause_ns / FG_S),
                                 .tv_usec = (suseconds_t)(request->pause_ns % FG_S / FG_US)};
    fg_timeout_list_clear(&request->hedge_timeout);
    request->paused_ns += request->pause_ns;
    event_add(request->pause, &wait);
}

/*
 * One of two has failed, and the other may never answer: is the next one asked beside it, without a
 * pause, as hedging in gRPC does after a status that is not fatal? Books it.
 */
static bool may_ask_next(struct fg_proxy_attempt *attempt, enum fg_retry_cause cause)
{
    const struct fg_proxy_request *request = attempt->request;
    return fg_proxy_endpoint_has_untried(request->thread, &request->wish, attempt->endpoint) &&
           may_try_again(attempt, cause);
}

static void ask_next(struct fg_proxy_request *request)
{
    request->has_extra_slot = fg_exchange_try_extra_slot(request->ex);
    if (request->has_extra_slot && fg_attempt_start_hedge(request)) {
        count_booked(request);
        return;
    }
    fg_proxy_request_end_hedge(request);
    cancel_booked(request);
}

void fg_proxy_request_on_lost(struct fg_proxy_attempt *attempt, enum fg_retry_cause cause,
                              enum fg_failure failure, const char *detail)
{
    struct fg_proxy_request *request = attempt->request;
    bool is_answering = request->answering == attempt;
    tell_answerer(attempt);
    bool has_other = !is_answering && fg_proxy_request_other(attempt) != NULL;
    if (failure == FG_FAILURE_RESET && cause != FG_RETRY_UNHANDLED) /* that is how servers drain */
        count(&attempt->endpoint->metrics->resets);
    if (cause != FG_RETRY_STALE && cause != FG_RETRY_UNHANDLED &&
        !fg_attempt_is_slow_upload(attempt))
        fg_attempt_judge_host(attempt, true);
    bool goes_again = has_other ? may_ask_next(attempt, cause) : may_try_again(attempt, cause);
    fg_attempt_stop(attempt, false);
    if (goes_again && has_other)
        ask_next(request);
    else if (goes_again)
        try_again(request);
    else if (!has_other)
        fg_proxy_request_fail(request, failure, detail);
}

void fg_proxy_request_end_hedge(struct fg_proxy_request *request)
{
    if (request->has_extra_slot)
        fg_exchange_give_extra_slot(request->ex);
    request->has_extra_slot = false;
}

void fg_proxy_request_on_hedge_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_proxy_request *request =
        FG_CONTAINER_OF(timeout, struct fg_proxy_request, hedge_timeout);
    struct fg_proxy_thread *thread = request->thread;
    if (request->answering != NULL || !fg_exchange_try_extra_slot(request->ex))
        return;
    request->has_extra_slot = true;
    if (!try_take_budget(request)) {
        fg_proxy_request_end_hedge(request);
        return;
    }
    for (size_t i = 0; i < FG_ATTEMPTS_MAX; i++) {
        if (request->attempts[i] != NULL && request->attempts[i]->endpoint != NULL)
            mark_tried(request, request->attempts[i]->endpoint);
    }
    request->ex->answerer.was_hedged = fg_attempt_start_hedge(request);
    if (request->ex->answerer.was_hedged) {
        count(&thread->metrics->hedges);
        return;
    }
    fg_proxy_request_end_hedge(request);
    give_budget(request);
}

/* ---- the answer ---- */

/* An answer to the wish for a tunnel. */
static void settle_upgrade(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    if (attempt->response.status == 101) {
        request->is_tunnel = true;
        if (attempt->stream_id != 0)
            fg_h2_on_body(attempt);
        else if (attempt->upload.len > 0 || request->is_body_complete)
            fg_upstream_await_room(attempt->upstream);
        return;
    }
    /* An ordinary answer: what was meant for the tunnel has no reader. */
    fg_tunnel_end(request);
    request->is_body_complete = true;
    fg_byte_queue_clear(&attempt->upload, &request->thread->segments);
    if (attempt->stream_id != 0)
        fg_h2_on_body(attempt);
    fg_proxy_request_open_window(request);
}

/*
 * A server that waited too long for a request on a kept connection says 408 and closes (RFC 9110
 * section 15.5.9). Ours has crossed with it: the answer is not to it.
 */
static bool is_for_idleness(const struct fg_proxy_attempt *attempt)
{
    return attempt->response.status == 408 && attempt->is_reused && attempt->stream_id == 0 &&
           !attempt->response.may_keep_alive && fg_h1_is_sent(attempt);
}

/*
 * To a client of HTTP/2 any 2xx opens the tunnel that it asked for (RFC 8441 section 5), and one of
 * HTTP/1.1 in answer to an upgrade is a page: what it says would be read as frames of a WebSocket.
 */
static bool is_page_for_tunnel(const struct fg_proxy_attempt *attempt)
{
    const struct fg_proxy_request *request = attempt->request;
    return request->is_upgrade && request->ex->protocol == FG_SPOKEN_2 && attempt->stream_id == 0 &&
           attempt->response.status / 100 == 2;
}

/*
 * A status that is a cause to look elsewhere; of two that were asked, all that says no more than
 * how this server is. True: that is done, the attempt is over.
 */
static bool look_elsewhere(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    unsigned status = attempt->response.status;
    enum fg_retry_cause cause =
        is_for_idleness(attempt) ? FG_RETRY_STALE : fg_retry_cause_of_status(status);
    bool is_cause = cause != FG_RETRY_CAUSE_COUNT;
    bool has_other = fg_proxy_request_other(attempt) != NULL;
    if (has_other ? !is_cause && status < 500 && status != 429
                  : !is_cause || !may_try_again(attempt, cause))
        return false;
    bool is_next_asked = has_other && is_cause && may_ask_next(attempt, cause);
    if (cause != FG_RETRY_STALE)
        fg_attempt_judge_host(attempt, status >= 500);
    fg_attempt_stop(attempt, false);
    if (!has_other)
        try_again(request);
    else if (is_next_asked)
        ask_next(request);
    return true;
}

/* From here on this attempt alone counts. */
static void choose(struct fg_proxy_attempt *attempt)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_proxy_attempt *other = fg_proxy_request_other(attempt);
    fg_timeout_list_clear(&request->hedge_timeout);
    fg_timeout_list_clear(&attempt->try_timeout);
    request->answering = attempt;
    if (other == NULL)
        return;
    if (other == request->attempts[0])
        count(&request->metrics->hedges_won);
    fg_attempt_stop(other, false);
}

/*
 * Has the server failed? `fields` are the last of its answer. One that answers each call of gRPC
 * with 200 and UNAVAILABLE is no better than one that says 503.
 */
static bool is_bad_answer(const struct fg_proxy_attempt *attempt, const struct fg_field *fields,
                          size_t count)
{
    return attempt->response.status >= 500 ||
           (fg_grpc_is_fault(fields, count) && fg_grpc_is_call(attempt->request->ex));
}

bool fg_proxy_request_on_head(struct fg_proxy_attempt *attempt, bool is_end)
{
    struct fg_proxy_request *request = attempt->request;
    struct fg_exchange *ex = request->ex;
    struct fg_upstream_response *response = &attempt->response;
    if (look_elsewhere(attempt))
        return false;
    if (is_page_for_tunnel(attempt)) {
        fg_attempt_judge_host(attempt, false);
        fg_attempt_stop(attempt, false);
        fg_proxy_request_fail(request, FG_FAILURE_NO_TUNNEL, "a page in answer to an upgrade");
        return false;
    }
    choose(attempt);
    if (!is_end && !fg_tunnel_may_last(attempt)) {
        fg_attempt_judge_host(attempt, false);
        fg_proxy_request_on_tunnels(attempt);
        return false;
    }
    tell_answerer(attempt);
    ex->answer_never_indexed = response->never_indexed;
    fg_attempt_note_head(attempt);
    if (request->paused_ns > 0)
        fg_exchange_hop_time(ex, "backoff", request->paused_ns);
    if (attempt->connect_ns > 0)
        fg_exchange_hop_time(ex, "connect", attempt->connect_ns);
    uint64_t upstream_ns = attempt->head_ns - attempt->connect_ns;
    if (attempt->answer_ns < upstream_ns)
        upstream_ns = attempt->answer_ns; /* the client's time is not the server's */
    fg_exchange_hop_time(ex, "upstream", upstream_ns);
    fg_histogram_record(&request->metrics->head_ns, attempt->head_ns);
    bool is_bad = is_bad_answer(attempt, response->fields, is_end ? response->field_count : 0);
    if (attempt->is_probe || response->status == 101 || is_bad)
        fg_attempt_tell_breaker(attempt, is_bad); /* its end may never come */
    if (request->is_upgrade)
        settle_upgrade(attempt);
    if (request->new_cookie.data != NULL) {
        const struct fg_proxy *proxy = request->thread->proxy;
        fg_sticky_cookie_add(&proxy->conf.hash_cookie, ex, proxy->affinity.name,
                             request->new_cookie, &response->fields, &response->field_count);
    }
    if (!is_end) {
        fg_exchange_head(ex, response->status, response->fields, response->field_count);
        return true;
    }
    count(&request->metrics->completed);
    fg_attempt_judge_host(attempt, is_bad);
    fg_exchange_head_end(fg_proxy_request_let_go(request), response->status, response->fields,
                         response->field_count);
    return false;
}

void fg_proxy_request_on_interim(struct fg_proxy_attempt *attempt)
{
    const struct fg_upstream_response *response = &attempt->response;
    struct fg_exchange *ex = attempt->request->ex;
    if (fg_proxy_request_other(attempt) != NULL)
        return; /* of two, it is not known yet whose answer counts */
    ex->answer_never_indexed = response->never_indexed;
    fg_exchange_interim(ex, response->status, response->fields, response->field_count);
}

void fg_proxy_request_on_data(struct fg_proxy_attempt *attempt, struct fg_span data)
{
    struct fg_proxy_request *request = attempt->request;
    if (!fg_exchange_write(request->ex, data.data, data.len)) {
        request->is_paused = true;
        fg_stalled_watch(request);
    }
}

void fg_proxy_request_on_end(struct fg_proxy_attempt *attempt, bool is_reusable)
{
    struct fg_proxy_request *request = attempt->request;
    const struct fg_trailers *trailers = &attempt->response.trailers;
    request->ex->answer_never_indexed = attempt->response.never_indexed;
    if (trailers->count > 0)
        fg_exchange_trailers(request->ex, trailers->fields, trailers->count);
    count(&request->metrics->completed);
    fg_attempt_judge_host(attempt, is_bad_answer(attempt, trailers->fields, trailers->count));
    fg_attempt_stop(attempt, is_reusable);
    fg_exchange_end(fg_proxy_request_let_go(request));
}

/* ---- the gateway's calls ---- */

/* The server of the first request is that of all that follow with the cookie. */
static void make_cookie(struct fg_proxy_request *request)
{
    request->new_cookie = fg_sticky_cookie_make(request->ex, fg_proxy_random(request->thread));
    request->wish.has_key = request->new_cookie.data != NULL;
    request->wish.key_hash = fg_affinity_hash_key(request->new_cookie);
}

/* The next larger part of the body is looked at. */
static void look_for_prompt(struct fg_proxy_request *request)
{
    char text[FG_AFFINITY_BODY_BYTES];
    struct iovec iov[IOV_MAX_USED];
    size_t len = 0;
    size_t most = request->key_looked == 0 ? FG_AFFINITY_BODY_FIRST : 2 * request->key_looked;
    bool is_all = most == FG_AFFINITY_BODY_BYTES || request->body.len < most;
    size_t pieces = fg_byte_queue_peek(&request->body, iov, IOV_MAX_USED);
    for (size_t i = 0; i < pieces && len < most; i++) {
        size_t run = iov[i].iov_len < most - len ? iov[i].iov_len : most - len;
        memcpy(text + len, iov[i].iov_base, run);
        len += run;
    }
    request->key_looked = most;
    request->wish.has_key =
        fg_affinity_prompt_hash(fg_span_make(text, len), is_all, &request->wish.key_hash);
    request->is_key_wanted = !request->wish.has_key && !is_all;
}

static bool may_look(const struct fg_proxy_request *request)
{
    size_t next = request->key_looked == 0 ? FG_AFFINITY_BODY_FIRST : 2 * request->key_looked;
    return request->is_body_complete || request->body.len >= next;
}

/* False: the key is in the body, and there is too little of that yet. */
static bool find_key(struct fg_proxy_request *request)
{
    const struct fg_proxy *proxy = request->thread->proxy;
    if (proxy->conf.balance != FG_BALANCE_HASH)
        return true;
    if (proxy->affinity.kind == FG_AFFINITY_PROMPT) {
        request->is_key_wanted = true;
        while (request->is_key_wanted && may_look(request))
            look_for_prompt(request);
        return !request->is_key_wanted;
    }
    request->wish.has_key =
        fg_affinity_hash(&proxy->affinity, request->ex, &request->wish.key_hash);
    if (!request->wish.has_key && proxy->conf.has_hash_cookie)
        make_cookie(request);
    return true;
}

static struct fg_proxy_request *make_request(struct fg_proxy_thread *thread, struct fg_exchange *ex,
                                             struct fg_proxy_metrics *metrics)
{
    count(&metrics->started);
    struct fg_proxy_request *request = fg_arena_try_zalloc(ex->arena, sizeof(*request));
    if (request == NULL) {
        count(&metrics->failed);
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "no memory for the request");
        return NULL;
    }
    ex->backend_state = request;
    request->ex = ex;
    request->thread = thread;
    request->metrics = metrics;
    request->is_upgrade = ex->upgrade.data != NULL;
    request->is_body_at_hand = true;
    request->is_body_complete = !ex->has_body && !request->is_upgrade;
    request->is_chunked = ex->has_body && ex->content_length < 0;
    fg_timeout_entry_init(&request->hedge_timeout);
    fg_timeout_entry_init(&request->stall_look);
    return request;
}

void fg_proxy_request_start(struct fg_proxy_thread *thread, struct fg_exchange *ex)
{
    const enum fg_cluster_took took =
        fg_cluster_limits_try_take(&thread->proxy->limits, FG_CLUSTER_REQUESTS);
    if (took == FG_CLUSTER_TOOK_NONE) {
        fg_proxy_refuse_for_limit(ex, thread->proxy, FG_CLUSTER_REQUESTS);
        return;
    }
    if (took == FG_CLUSTER_TOOK_OVER)
        fg_proxy_tell_spared(ex, thread->proxy, FG_CLUSTER_REQUESTS);
    struct fg_proxy_request *request = make_request(thread, ex, thread->metrics);
    if (request == NULL) {
        fg_cluster_limits_give(&thread->proxy->limits, FG_CLUSTER_REQUESTS);
        return;
    }
    request->is_counted = true;
    request->wish.priority = ex->priority;
    arm_hedge(request);
    if (find_key(request))
        fg_attempt_start(request);
}

void fg_proxy_request_start_pinned(struct fg_proxy_thread *thread, struct fg_exchange *ex,
                                   struct fg_proxy_endpoint *endpoint)
{
    struct fg_proxy_request *request = make_request(thread, ex, &thread->check_metrics);
    if (request == NULL)
        return;
    fg_proxy_endpoint_hold(endpoint);
    request->pinned = endpoint;
    request->must_be_fresh = true;
    fg_attempt_start(request);
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

/* No connection is ready for it. */
static void keep(struct fg_proxy_request *request, const void *data, size_t len)
{
    if (!fg_byte_queue_append(&request->body, &request->thread->segments, data, len)) {
        fg_proxy_request_fail(request, FG_FAILURE_NO_MEMORY, "the upload buffers are used up");
        return;
    }
    fg_proxy_publish_buffered(request->thread);
    fg_proxy_request_open_window(request);
    if (request->is_key_wanted && find_key(request))
        fg_attempt_start(request);
}

void fg_proxy_request_on_body(struct fg_proxy_request *request, const void *data, size_t len,
                              bool is_last)
{
    request->body_unconsumed += len;
    if (request->is_upgrade && request->answering != NULL && !request->is_tunnel) {
        fg_proxy_request_open_window(request); /* the tunnel was refused: nobody wants it */
        return;
    }
    assert(!request->is_body_complete);
    request->body_received += len;
    request->body_at_ns = fg_turn_clock_ns(&request->thread->clock);
    if (!keeps_promise(request, is_last)) {
        fg_proxy_request_fail(request, FG_FAILURE_INTERNAL,
                              "the request's body is not as long as was stated");
        return;
    }
    request->is_body_complete = is_last;
    if (is_last && request->is_chunked && request->ex->trailer_count > 0)
        request->last_chunk = fg_request_last_chunk_make(request->ex);
    struct fg_proxy_attempt *attempt = begun(request);
    if (attempt != NULL && is_last)
        fg_attempt_take_up(attempt);
    if (attempt != NULL)
        fg_attempt_send(attempt, data, len, is_last);
    else
        keep(request, data, len);
}

void fg_proxy_request_set_aside(struct fg_proxy_request *request)
{
    struct fg_proxy_attempt *attempt = begun(request);
    if (attempt != NULL)
        fg_attempt_set_aside(attempt);
}

void fg_proxy_request_on_client_writable(struct fg_proxy_request *request)
{
    struct fg_proxy_attempt *attempt = request->answering;
    if (!request->is_paused || attempt == NULL)
        return;
    request->is_paused = false;
    fg_stalled_forget(request);
    fg_attempt_set_timeout(attempt);
    if (attempt->stream_id != 0)
        fg_h2_resume(attempt);
    else
        fg_upstream_set_reading(attempt->upstream, true);
}

void fg_proxy_request_cancel(struct fg_proxy_request *request)
{
    count(&request->metrics->cancelled);
    if (request->answering == NULL)
        tell_awaited(request);
    (void)fg_proxy_request_let_go(request);
}
