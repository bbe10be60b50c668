/*
 * upstream.c: connections to the servers of a cluster, kept by the event loop that opened them.
 * Job      connect, secure, find out which protocol is spoken; hand a ready connection to an
 *          attempt, or share one among many; close what is old, closed by the server, or one too
 *          many.
 * Thread   the owning event loop, always. Nothing here is shared, so nothing here locks.
 * Never    blocks, resolves names, or retries (proxy_request.c decides).
 * Memory   objects come in blocks of 32, at most max_connections, and are kept for reuse. A
 *          connection that is closed in its own callback goes back to the free list at once, and
 *          may be opened again before the callback returns: a callback does nothing after the call
 *          that can close it.
 *          The PROXY header that a connection began with is kept beside it, on the heap.
 * Source   reuse rules: RFC 9112 section 9.3; RFC 9113 section 9.1. PROXY protocol: a connection is
 *          for those alone who would begin it with the same header.
 *
 *    free --> connecting --> [securing] --> active <==try_reuse/release==> idle      HTTP/1.1
 *      ^                         `--------> shared, with any number of streams        HTTP/2
 *      `------------- close, error, timeout, EOF ------------------------'
 */
#include "proxy_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_UPSTREAMS ((size_t)32)
#define MOVE(state) (1u << (state))

static const uint8_t legal_moves[FG_UPSTREAM_STATE_COUNT] = {
    [FG_UPSTREAM_FREE] = MOVE(FG_UPSTREAM_CONNECTING),
    [FG_UPSTREAM_CONNECTING] = MOVE(FG_UPSTREAM_SECURING) | MOVE(FG_UPSTREAM_ACTIVE) |
                               MOVE(FG_UPSTREAM_SHARED) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_SECURING] = MOVE(FG_UPSTREAM_ACTIVE) | MOVE(FG_UPSTREAM_IDLE) |
                             MOVE(FG_UPSTREAM_SHARED) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_ACTIVE] = MOVE(FG_UPSTREAM_IDLE) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_IDLE] = MOVE(FG_UPSTREAM_ACTIVE) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_SHARED] = MOVE(FG_UPSTREAM_FREE),
};

static void publish(const struct fg_proxy_thread *thread)
{
    fg_counter_set(&thread->metrics->connections_open, thread->upstreams_open);
    fg_counter_set(&thread->metrics->connections_idle, thread->upstreams_idle);
}

static void set_state(struct fg_upstream *upstream, enum fg_upstream_state next)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert((legal_moves[upstream->state] & MOVE(next)) != 0);
    if (upstream->state == FG_UPSTREAM_FREE)
        thread->upstreams_open++;
    if (upstream->state == FG_UPSTREAM_IDLE)
        thread->upstreams_idle--;
    if (next == FG_UPSTREAM_FREE)
        thread->upstreams_open--;
    if (next == FG_UPSTREAM_IDLE)
        thread->upstreams_idle++;
    upstream->state = next;
    publish(thread);
}

/* ---- events ---- */

void fg_upstream_set_reading(struct fg_upstream *upstream, bool is_reading)
{
    if (upstream->is_reading == is_reading)
        return;
    if (is_reading)
        event_add(&upstream->read_event, NULL);
    else
        event_del(&upstream->read_event);
    upstream->is_reading = is_reading;
    if (is_reading && fg_upstream_has_pending(upstream))
        fg_upstream_read_again(upstream); /* above the socket, which is empty */
}

/* By a timer: an event that is made active is looked at before the loop looks at anything new. */
void fg_upstream_read_again(struct fg_upstream *upstream)
{
    static const struct timeval at_once = {0};
    struct fg_proxy_thread *thread = upstream->thread;
    if (!fg_list_is_empty(&upstream->again))
        return;
    fg_list_push_back(&thread->again, &upstream->again);
    event_add(&thread->again_event, &at_once);
}

/* One of each client goes in a round; a connection that many share is like one client's. */
void fg_upstream_read_last(struct fg_upstream *upstream)
{
    struct fg_last_reads *reads = upstream->thread->env.reads;
    uint64_t owner =
        upstream->attempt == NULL ? 0 : fg_proxy_request_owner(upstream->attempt->request);
    reads->add(reads, &upstream->last, owner);
}

/* Its client may have stopped to take meanwhile. */
static void on_last_read(struct fg_last_read *read)
{
    struct fg_upstream *upstream = FG_CONTAINER_OF(read, struct fg_upstream, last);
    if (!upstream->is_reading)
        return;
    fg_counter_add_owned(&upstream->thread->metrics->last_reads, 1);
    if (upstream->state == FG_UPSTREAM_ACTIVE)
        fg_h1_read(upstream);
    else if (upstream->state == FG_UPSTREAM_SHARED)
        fg_h2_read(upstream);
}

static void leave_last(struct fg_upstream *upstream)
{
    if (upstream->last.place.is_taken)
        upstream->thread->env.reads->remove(upstream->thread->env.reads, &upstream->last);
}

void fg_upstream_await_room(struct fg_upstream *upstream)
{
    if (upstream->is_write_armed)
        return;
    upstream->is_write_armed = true;
    event_add(&upstream->write_event, NULL);
}

/* ---- getting ready ---- */

static struct fg_proxy_attempt *pop_waiting(struct fg_upstream *upstream)
{
    struct fg_list *link = fg_list_pop_front(&upstream->waiting);
    if (link == NULL)
        return NULL;
    upstream->waiting_count--;
    return FG_CONTAINER_OF(link, struct fg_proxy_attempt, link);
}

/* All who wait are told, one by one, after the connection has gone. */
static void fail_connect(struct fg_upstream *upstream)
{
    struct fg_list failed;
    struct fg_list *link;
    fg_list_init(&failed);
    while ((link = fg_list_pop_front(&upstream->waiting)) != NULL) {
        struct fg_proxy_attempt *attempt = FG_CONTAINER_OF(link, struct fg_proxy_attempt, link);
        attempt->upstream = NULL;
        fg_list_push_back(&failed, link);
    }
    upstream->waiting_count = 0;
    fg_proxy_endpoint_note_failed(upstream->endpoint);
    fg_upstream_close(upstream);
    while ((link = fg_list_pop_front(&failed)) != NULL)
        fg_attempt_on_connect_failed(FG_CONTAINER_OF(link, struct fg_proxy_attempt, link));
}

static void begin_attempt(struct fg_upstream *upstream, struct fg_proxy_attempt *attempt)
{
    upstream->attempt = attempt;
    set_state(upstream, FG_UPSTREAM_ACTIVE);
    fg_attempt_on_ready(attempt);
}

/* Several may have waited for what turned out to speak HTTP/1.1: one gets it, the rest look again.
 */
static void become_h1(struct fg_upstream *upstream)
{
    struct fg_list others;
    struct fg_list *link;
    struct fg_proxy_attempt *first = pop_waiting(upstream);
    fg_list_init(&others);
    while ((link = fg_list_pop_front(&upstream->waiting)) != NULL) {
        FG_CONTAINER_OF(link, struct fg_proxy_attempt, link)->upstream = NULL;
        fg_list_push_back(&others, link);
    }
    upstream->waiting_count = 0;
    if (first == NULL) { /* whoever it was opened for has gone */
        fg_upstream_close(upstream);
        return;
    }
    begin_attempt(upstream, first);
    while ((link = fg_list_pop_front(&others)) != NULL)
        fg_attempt_on_unplaced(FG_CONTAINER_OF(link, struct fg_proxy_attempt, link));
}

static void become_h2(struct fg_upstream *upstream)
{
    struct fg_list waiting;
    struct fg_list *link;
    if (!fg_h2_open(upstream)) {
        fail_connect(upstream);
        return;
    }
    fg_list_init(&waiting);
    while ((link = fg_list_pop_front(&upstream->waiting)) != NULL)
        fg_list_push_back(&waiting, link);
    upstream->waiting_count = 0;
    set_state(upstream, FG_UPSTREAM_SHARED);
    fg_list_push_front(&upstream->endpoint->shared, &upstream->link);
    while ((link = fg_list_pop_front(&waiting)) != NULL)
        fg_attempt_on_ready(FG_CONTAINER_OF(link, struct fg_proxy_attempt, link));
    /* The flush at the end of the turn settles whether it is idle. */
}

static void become_ready(struct fg_upstream *upstream)
{
    struct fg_proxy_endpoint *endpoint = upstream->endpoint;
    enum fg_upstream_protocol protocol = upstream->thread->proxy->conf.protocol;
    bool is_h2 = upstream->ssl != NULL ? fg_upstream_tls_chose_h2(upstream)
                                       : protocol == FG_PROTOCOL_H2 && !upstream->is_h1_only;
    if (!upstream->is_h1_only)
        endpoint->speaks_h1 = !is_h2;
    fg_timeout_list_clear(&upstream->timeout);
    fg_list_remove(&upstream->link);
    fg_upstream_set_reading(upstream, true);
    fg_proxy_endpoint_note_connected(endpoint);
    if (is_h2)
        become_h2(upstream);
    else
        become_h1(upstream);
}

static void secure(struct fg_upstream *upstream)
{
    switch (fg_upstream_tls_step(upstream)) {
    case FG_TLS_DONE:
        become_ready(upstream);
        return;
    case FG_TLS_WANT_READ:
        fg_upstream_set_reading(upstream, true);
        return;
    case FG_TLS_WANT_WRITE:
        fg_upstream_await_room(upstream);
        return;
    case FG_TLS_FAILED:
        fail_connect(upstream);
        return;
    }
}

static void on_connected(struct fg_upstream *upstream)
{
    if (upstream->header.data != NULL && !fg_upstream_send_header(upstream)) {
        fail_connect(upstream);
        return;
    }
    if (!upstream->thread->proxy->conf.has_tls) {
        become_ready(upstream);
        return;
    }
    if (!fg_upstream_tls_attach(upstream)) {
        fail_connect(upstream);
        return;
    }
    set_state(upstream, FG_UPSTREAM_SECURING);
    secure(upstream);
}

/*
 * An idle connection has nothing to say: it was closed, or what comes is nobody's answer. Over TLS
 * there may be a ticket first.
 */
static void on_idle_readable(struct fg_upstream *upstream)
{
    char byte;
    if (upstream->ssl == NULL || fg_upstream_read(upstream, &byte, 1) != -1)
        fg_upstream_close(upstream);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fg_upstream *upstream = arg;
    (void)fd;
    (void)what;
    switch (upstream->state) {
    case FG_UPSTREAM_SECURING:
        secure(upstream);
        return;
    case FG_UPSTREAM_ACTIVE:
        fg_h1_on_readable(upstream);
        return;
    case FG_UPSTREAM_SHARED:
        fg_h2_on_readable(upstream);
        return;
    case FG_UPSTREAM_IDLE:
        on_idle_readable(upstream);
        return;
    case FG_UPSTREAM_FREE:
    case FG_UPSTREAM_CONNECTING:
    case FG_UPSTREAM_STATE_COUNT:
        return;
    }
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct fg_proxy_thread *thread = arg;
    struct fg_list due;
    struct fg_list *link;
    fg_list_init(&due);
    while ((link = fg_list_pop_front(&thread->again)) != NULL)
        fg_list_push_back(&due, link);
    while ((link = fg_list_pop_front(&due)) != NULL) {
        struct fg_upstream *upstream = FG_CONTAINER_OF(link, struct fg_upstream, again);
        if (upstream->is_reading) /* else it is asked for when it is again */
            on_readable(fd, what, upstream);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct fg_upstream *upstream = arg;
    int error = 0;
    socklen_t error_bytes = sizeof(error);
    (void)what;
    upstream->is_write_armed = false;
    switch (upstream->state) {
    case FG_UPSTREAM_CONNECTING:
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) == -1 || error != 0)
            fail_connect(upstream);
        else
            on_connected(upstream);
        return;
    case FG_UPSTREAM_SECURING:
        secure(upstream);
        return;
    case FG_UPSTREAM_ACTIVE:
        fg_attempt_on_writable(upstream->attempt);
        return;
    case FG_UPSTREAM_SHARED:
        fg_h2_on_writable(upstream);
        return;
    case FG_UPSTREAM_FREE:
    case FG_UPSTREAM_IDLE:
    case FG_UPSTREAM_STATE_COUNT:
        return;
    }
}

static void on_connect_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_upstream *upstream = FG_CONTAINER_OF(timeout, struct fg_upstream, timeout);
    fg_counter_add_owned(&upstream->endpoint->metrics->timeouts, 1);
    fail_connect(upstream);
}

static void on_idle_timeout(struct fg_timeout_entry *timeout)
{
    fg_upstream_close(FG_CONTAINER_OF(timeout, struct fg_upstream, timeout));
}

/* ---- the slab ---- */

static bool add_block(struct fg_proxy_thread *thread)
{
    size_t count = thread->proxy->conf.max_connections - thread->upstreams_made;
    if (count > BLOCK_UPSTREAMS)
        count = BLOCK_UPSTREAMS;
    struct fg_upstream_block *block =
        calloc(1, sizeof(*block) + count * sizeof(block->upstreams[0]));
    if (block == NULL)
        return false;
    block->next = thread->blocks;
    thread->blocks = block;
    thread->upstreams_made += count;
    for (size_t i = 0; i < count; i++) {
        struct fg_upstream *upstream = &block->upstreams[i];
        upstream->thread = thread;
        upstream->fd = -1;
        upstream->last.serve = on_last_read;
        fg_list_init(&upstream->waiting);
        fg_list_init(&upstream->again);
        fg_timeout_entry_init(&upstream->timeout);
        fg_list_push_back(&thread->free, &upstream->link);
    }
    return true;
}

bool fg_upstreams_init(struct fg_proxy_thread *thread)
{
    const struct fg_cluster_conf *conf = &thread->proxy->conf;
    struct event_base *base = thread->env.base;
    fg_list_init(&thread->free);
    fg_list_init(&thread->again);
    event_assign(&thread->again_event, base, -1, 0, on_again, thread);
    fg_timeout_list_init(&thread->connect_timeouts, base, &thread->clock, conf->connect_timeout_ns,
                         on_connect_timeout);
    fg_timeout_list_init(&thread->head_timeouts, base, &thread->clock,
                         conf->response_head_timeout_ns, fg_attempt_on_timeout);
    fg_timeout_list_init(&thread->body_timeouts, base, &thread->clock,
                         conf->response_idle_timeout_ns, fg_attempt_on_timeout);
    fg_timeout_list_init(&thread->try_timeouts, base, &thread->clock, conf->try_timeout_ns,
                         fg_attempt_on_try_timeout);
    fg_timeout_list_init(&thread->hedge_timeouts, base, &thread->clock, conf->hedge_delay_ns,
                         fg_proxy_request_on_hedge_timeout);
    fg_timeout_list_init(&thread->idle_timeouts, base, &thread->clock, conf->idle_timeout_ns,
                         on_idle_timeout);
    fg_timeout_list_init(&thread->silences, base, &thread->clock, conf->keepalive_interval_ns,
                         fg_h2_on_silence);
    fg_timeout_list_init(&thread->ping_timeouts, base, &thread->clock, conf->keepalive_timeout_ns,
                         fg_h2_on_ping_timeout);
    fg_tunnels_init(thread);
    return fg_stalled_init(thread) && add_block(thread);
}

static struct fg_upstream *oldest_idle(struct fg_proxy_thread *thread)
{
    assert(!fg_list_is_empty(&thread->idle_timeouts.waiting));
    struct fg_list *link = thread->idle_timeouts.waiting.next;
    return FG_CONTAINER_OF(link, struct fg_upstream, timeout.link);
}

void fg_upstreams_fini(struct fg_proxy_thread *thread)
{
    while (thread->upstreams_idle > 0)
        fg_upstream_close(oldest_idle(thread));
    assert(thread->upstreams_open == 0 && fg_list_is_empty(&thread->again));
    event_del(&thread->again_event);
    fg_timeout_list_fini(&thread->connect_timeouts);
    fg_timeout_list_fini(&thread->head_timeouts);
    fg_timeout_list_fini(&thread->body_timeouts);
    fg_timeout_list_fini(&thread->idle_timeouts);
    fg_timeout_list_fini(&thread->try_timeouts);
    fg_timeout_list_fini(&thread->hedge_timeouts);
    fg_timeout_list_fini(&thread->silences);
    fg_timeout_list_fini(&thread->ping_timeouts);
    fg_stalled_fini(thread);
    while (thread->blocks != NULL) {
        struct fg_upstream_block *block = thread->blocks;
        thread->blocks = block->next;
        free(block);
    }
}

void fg_upstreams_close_oldest_idle(struct fg_proxy_thread *thread)
{
    fg_upstream_close(oldest_idle(thread));
}

static struct fg_cluster_limits *limits_of(const struct fg_proxy_thread *thread)
{
    return &thread->proxy->limits;
}

/* A free one, and a place among the cluster's connections for it. */
static enum fg_status take_free(struct fg_proxy_thread *thread, struct fg_upstream **out)
{
    while (!fg_cluster_limits_try_take(limits_of(thread), FG_CLUSTER_CONNECTIONS)) {
        if (thread->upstreams_idle == 0)
            return FG_ERR_LIMIT;
        fg_upstream_close(oldest_idle(thread)); /* of another endpoint */
    }
    if (fg_list_is_empty(&thread->free) && !add_block(thread)) {
        fg_cluster_limits_give_connection(limits_of(thread), thread->env.thread_index);
        return FG_ERR_NO_MEMORY;
    }
    *out = FG_CONTAINER_OF(fg_list_pop_front(&thread->free), struct fg_upstream, link);
    return FG_OK;
}

/* What came of it was nothing. */
static void put_back(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    fg_list_push_front(&thread->free, &upstream->link);
    fg_cluster_limits_give_connection(limits_of(thread), thread->env.thread_index);
}

/* ---- opening and closing ---- */

/*
 * Has the server closed the idle connection, or said what nobody asked for (408), which the loop
 * was not told yet? Asked for requests that could not be sent twice.
 */
static bool is_dead(struct fg_upstream *upstream)
{
    char byte;
    if (upstream->ssl != NULL)
        return fg_upstream_read(upstream, &byte, 1) != -1; /* a goodbye is data to the socket */
    ssize_t got = recv(upstream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got != -1 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Something has come on it in this turn, which its own event is still to look at. */
static bool is_told_of(const struct fg_upstream *upstream)
{
    return (upstream->read_event.ev_evcallback.evcb_flags & EVLIST_ACTIVE) != 0;
}

/* Whose connection it is was said once, at its begin. */
static bool is_for(const struct fg_upstream *upstream, struct fg_span header)
{
    return fg_span_equal(upstream->header, header);
}

static bool try_reuse(struct fg_proxy_attempt *attempt, struct fg_span header)
{
    struct fg_proxy_endpoint *endpoint = attempt->endpoint;
    bool is_checked = !fg_method_is_idempotent(attempt->request->ex->method);
    FG_LIST_EACH_SAFE(it, after, &endpoint->idle)
    {
        struct fg_upstream *upstream = FG_CONTAINER_OF(it, struct fg_upstream, link);
        if (!is_for(upstream, header))
            continue;
        if ((is_checked || is_told_of(upstream)) && is_dead(upstream)) {
            fg_upstream_close(upstream);
            continue;
        }
        fg_list_remove(&upstream->link);
        fg_timeout_list_clear(&upstream->timeout);
        set_state(upstream, FG_UPSTREAM_ACTIVE);
        upstream->attempt = attempt;
        upstream->is_reused = true;
        attempt->upstream = upstream;
        fg_counter_add_owned(&upstream->thread->metrics->connections_reused, 1);
        return true;
    }
    return false;
}

static void wait_for(struct fg_upstream *upstream, struct fg_proxy_attempt *attempt)
{
    attempt->upstream = upstream;
    fg_list_push_back(&upstream->waiting, &attempt->link);
    upstream->waiting_count++;
}

/* An HTTP/2 connection that has room, or may become one that has. */
static bool try_share(struct fg_proxy_attempt *attempt, struct fg_span header)
{
    struct fg_proxy_endpoint *endpoint = attempt->endpoint;
    const struct fg_cluster_conf *conf = &endpoint->thread->proxy->conf;
    /* A tunnel that this connection is not for may be had over HTTP/1.1. */
    bool is_elsewhere = attempt->request->is_upgrade && conf->protocol != FG_PROTOCOL_H2;
    for (struct fg_list *it = endpoint->shared.next; it != &endpoint->shared; it = it->next) {
        struct fg_upstream *upstream = FG_CONTAINER_OF(it, struct fg_upstream, link);
        if (!is_for(upstream, header) || !fg_h2_has_room(upstream->h2) ||
            (is_elsewhere && fg_h2_tunnels(upstream->h2) == FG_H2_TUNNELS_REFUSED))
            continue;
        attempt->upstream = upstream;
        upstream->is_reused = true;
        fg_counter_add_owned(&upstream->thread->metrics->connections_reused, 1);
        return true;
    }
    for (struct fg_list *it = endpoint->opening.next; it != &endpoint->opening; it = it->next) {
        struct fg_upstream *upstream = FG_CONTAINER_OF(it, struct fg_upstream, link);
        if (!is_for(upstream, header) || upstream->is_h1_only ||
            upstream->waiting_count >= conf->max_streams)
            continue;
        wait_for(upstream, attempt);
        return true;
    }
    return false;
}

static int open_socket(const struct fg_address *address)
{
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd != -1 && family != AF_UNIX) {
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    return fd;
}

static void attach(struct fg_upstream *upstream, int fd)
{
    struct event_base *base = upstream->thread->env.base;
    upstream->fd = fd;
    upstream->is_reused = false;
    fg_read_turn_greet(&upstream->thread->env.reads->law, &upstream->pace);
    upstream->is_reading = false;
    upstream->is_write_armed = false;
    event_assign(&upstream->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, upstream);
    event_assign(&upstream->write_event, base, fd, EV_WRITE, on_writable, upstream);
}

/* What the server is to be told first, if anything; false: no memory for it. */
static bool set_header(struct fg_upstream *upstream, struct fg_span header)
{
    if (header.data == NULL)
        return true;
    char *copy = malloc(header.len);
    if (copy == NULL)
        return false;
    memcpy(copy, header.data, header.len);
    upstream->header = fg_span_make(copy, header.len);
    return true;
}

static void forget_header(struct fg_upstream *upstream)
{
    free((void *)(uintptr_t)upstream->header.data);
    upstream->header = (struct fg_span){NULL, 0};
}

/* A free one with a socket on its way to the endpoint. */
static enum fg_status open_fresh(struct fg_proxy_endpoint *endpoint, struct fg_span header,
                                 struct fg_upstream **out)
{
    struct fg_proxy_thread *thread = endpoint->thread;
    const struct fg_address *address = &endpoint->host->spec.address;
    struct fg_upstream *fresh = NULL;
    enum fg_status status = take_free(thread, &fresh);
    if (status != FG_OK)
        return status;
    int fd = open_socket(address);
    if (fd == -1 || !set_header(fresh, header)) { /* our trouble, not the endpoint's */
        if (fd != -1)
            close(fd);
        put_back(fresh);
        return fd == -1 ? FG_ERR_BUSY : FG_ERR_NO_MEMORY;
    }
    if (connect(fd, (const struct sockaddr *)&address->storage, address->len) == -1 &&
        errno != EINPROGRESS) {
        close(fd);
        forget_header(fresh);
        put_back(fresh);
        fg_proxy_endpoint_note_failed(endpoint);
        return FG_ERR_CLOSED;
    }
    fg_pressure_note_fd(thread->env.pressure, fd);
    attach(fresh, fd);
    fg_proxy_endpoint_hold(endpoint);
    fresh->endpoint = endpoint;
    set_state(fresh, FG_UPSTREAM_CONNECTING);
    fg_list_push_back(&endpoint->opening, &fresh->link);
    fg_counter_add_owned(&thread->metrics->connections_opened, 1);
    fg_counter_add_owned(&endpoint->metrics->connections_opened, 1);
    *out = fresh;
    return FG_OK;
}

/* The header for the attempt's client, in `to`; data NULL: the cluster's servers want none. */
static struct fg_span header_for(const struct fg_proxy_attempt *attempt, bool may_be_h2,
                                 char to[FG_CLIENT_HEADER_BYTES_MAX])
{
    const struct fg_proxy *proxy = attempt->request->thread->proxy;
    const struct fg_cluster_conf *conf = &proxy->conf;
    if (conf->proxy_version == FG_PROXY_OFF)
        return (struct fg_span){NULL, 0};
    bool is_agreed_in_tls = conf->has_tls && conf->protocol == FG_PROTOCOL_AUTO;
    struct fg_span alpn = is_agreed_in_tls ? FG_SPAN("")
                          : may_be_h2      ? FG_SPAN("h2")
                                           : FG_SPAN("http/1.1");
    return fg_span_make(to, fg_client_header_make(attempt->request->ex, conf, alpn, to));
}

enum fg_status fg_upstream_get(struct fg_proxy_attempt *attempt, bool must_be_fresh,
                               bool is_h1_only)
{
    struct fg_proxy_endpoint *endpoint = attempt->endpoint;
    struct fg_proxy_thread *thread = endpoint->thread;
    enum fg_upstream_protocol protocol = thread->proxy->conf.protocol;
    bool may_be_h2 =
        !is_h1_only &&
        (protocol == FG_PROTOCOL_H2 ||
         (protocol == FG_PROTOCOL_AUTO && thread->proxy->conf.has_tls && !endpoint->speaks_h1));
    char text[FG_CLIENT_HEADER_BYTES_MAX];
    struct fg_span header = header_for(attempt, may_be_h2, text);
    if (!must_be_fresh && try_reuse(attempt, header))
        return FG_OK;
    if (may_be_h2 && try_share(attempt, header))
        return FG_OK;
    struct fg_upstream *fresh = NULL;
    enum fg_status status = open_fresh(endpoint, header, &fresh);
    if (status != FG_OK)
        return status;
    fresh->is_h1_only = is_h1_only;
    wait_for(fresh, attempt);
    fg_timeout_list_set(&thread->connect_timeouts, &fresh->timeout);
    fg_upstream_await_room(fresh);
    return FG_OK;
}

void fg_upstream_stop_waiting(struct fg_proxy_attempt *attempt)
{
    struct fg_upstream *upstream = attempt->upstream;
    fg_list_remove(&attempt->link);
    attempt->upstream = NULL;
    upstream->waiting_count--;
    if (fg_list_is_empty(&upstream->waiting))
        fg_upstream_close(upstream); /* nobody wants it any more */
}

/* With a request's own id at its begin nobody else can use it. */
static bool is_worth_keeping(const struct fg_upstream *upstream)
{
    const struct fg_proxy_thread *thread = upstream->thread;
    bool is_for_one = upstream->header.data != NULL &&
                      (thread->proxy->conf.proxy_tlvs & 1u << FG_PROXY_TLV_UNIQUE_ID) != 0;
    return thread->idle_max > 0 && upstream->endpoint->index != FG_BALANCE_NONE && !is_for_one &&
           fg_pending_keeps_idle(thread);
}

static void make_room_for_idle(struct fg_proxy_thread *thread)
{
    if (thread->upstreams_idle >= thread->idle_max && thread->upstreams_idle > 0)
        fg_upstream_close(oldest_idle(thread));
}

void fg_upstream_release(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert(upstream->state == FG_UPSTREAM_ACTIVE);
    upstream->attempt = NULL;
    upstream->pace.wants_more = false; /* of this answer there is no more */
    fg_pending_wake(thread);
    if (!is_worth_keeping(upstream)) {
        fg_upstream_close(upstream);
        return;
    }
    make_room_for_idle(thread);
    if (upstream->is_write_armed) {
        event_del(&upstream->write_event);
        upstream->is_write_armed = false;
    }
    fg_upstream_set_reading(upstream, true); /* to see it closed */
    set_state(upstream, FG_UPSTREAM_IDLE);
    fg_list_push_front(&upstream->endpoint->idle, &upstream->link);
    fg_timeout_list_set(&thread->idle_timeouts, &upstream->timeout);
}

void fg_upstream_set_idle(struct fg_upstream *upstream, bool is_idle_now)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert(upstream->state == FG_UPSTREAM_SHARED);
    if (is_idle_now == upstream->is_parked)
        return;
    if (!is_idle_now) {
        fg_timeout_list_clear(&upstream->timeout);
        upstream->is_parked = false;
        thread->upstreams_idle--;
    } else if (!is_worth_keeping(upstream)) {
        fg_upstream_close(upstream);
        return;
    } else {
        make_room_for_idle(thread);
        fg_timeout_list_set(&thread->idle_timeouts, &upstream->timeout);
        upstream->is_parked = true;
        thread->upstreams_idle++;
    }
    publish(thread);
}

void fg_upstream_close(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert(upstream->fd != -1 && fg_list_is_empty(&upstream->waiting));
    if (upstream->is_parked) /* its timeout may have fired, and is in no list any more */
        thread->upstreams_idle--;
    upstream->is_parked = false;
    fg_timeout_list_clear(&upstream->timeout);
    if (upstream->h2 != NULL)
        fg_h2_close(upstream);
    fg_upstream_tls_detach(upstream);
    event_del(&upstream->read_event);
    event_del(&upstream->write_event);
    upstream->is_reading = false;
    upstream->is_write_armed = false;
    close(upstream->fd);
    upstream->fd = -1;
    forget_header(upstream);
    fg_list_remove(&upstream->link);
    fg_list_remove(&upstream->again);
    leave_last(upstream);
    set_state(upstream, FG_UPSTREAM_FREE);
    struct fg_proxy_endpoint *endpoint = upstream->endpoint;
    upstream->attempt = NULL;
    upstream->endpoint = NULL;
    put_back(upstream);
    fg_pending_wake(thread);
    fg_proxy_endpoint_release(endpoint);
}

void fg_upstreams_close_idle(struct fg_proxy_endpoint *endpoint)
{
    while (!fg_list_is_empty(&endpoint->idle))
        fg_upstream_close(FG_CONTAINER_OF(endpoint->idle.next, struct fg_upstream, link));
    FG_LIST_EACH_SAFE(it, after, &endpoint->shared)
    {
        struct fg_upstream *upstream = FG_CONTAINER_OF(it, struct fg_upstream, link);
        if (upstream->is_parked)
            fg_upstream_close(upstream);
    }
}
