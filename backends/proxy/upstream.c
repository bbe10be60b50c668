/*
 * upstream.c: connections to the servers of a cluster, kept by the event loop that opened them.
 * Job      connect; hand a ready connection to a request; keep it for the next; close what is old,
 *          closed by the server, or one too many.
 * Thread   the owning event loop, always. Nothing here is shared, so nothing here locks.
 * Never    blocks, resolves names, or retries (proxy_request.c decides).
 * Memory   objects come in blocks of 32, at most thread->upstreams_max, and are kept for reuse. A
 *          connection that is closed in its own callback goes back to the free list at once, and
 * may be opened again before the callback returns: a callback does nothing after the call that can
 * close it. Source   reuse rules: RFC 9112 section 9.3.
 *
 *    free --open--> connecting --> active <==try_reuse/release==> idle
 *      ^--------------- close, error, timeout, EOF ----------------'
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
    [FG_UPSTREAM_CONNECTING] = MOVE(FG_UPSTREAM_ACTIVE) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_ACTIVE] = MOVE(FG_UPSTREAM_IDLE) | MOVE(FG_UPSTREAM_FREE),
    [FG_UPSTREAM_IDLE] = MOVE(FG_UPSTREAM_ACTIVE) | MOVE(FG_UPSTREAM_FREE),
};

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
    fg_counter_set(&thread->metrics->connections_open, thread->upstreams_open);
    fg_counter_set(&thread->metrics->connections_idle, thread->upstreams_idle);
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
}

void fg_upstream_await_room(struct fg_upstream *upstream)
{
    if (upstream->is_write_armed)
        return;
    upstream->is_write_armed = true;
    event_add(&upstream->write_event, NULL);
}

/* An idle connection has nothing to say: it was closed, or what comes is nobody's answer. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fg_upstream *upstream = arg;
    (void)fd;
    (void)what;
    if (upstream->state == FG_UPSTREAM_IDLE)
        fg_upstream_close(upstream);
    else if (upstream->state == FG_UPSTREAM_ACTIVE)
        fg_proxy_request_on_readable(upstream->request);
}

static void become_active(struct fg_upstream *upstream)
{
    fg_timeout_list_clear(&upstream->timeout);
    set_state(upstream, FG_UPSTREAM_ACTIVE);
    fg_upstream_set_reading(upstream, true);
    fg_proxy_endpoint_note_connected(upstream->endpoint);
}

static void fail_connect(struct fg_upstream *upstream)
{
    struct fg_proxy_request *request = upstream->request;
    fg_proxy_endpoint_note_failed(upstream->endpoint);
    fg_upstream_close(upstream);
    fg_proxy_request_on_connect_failed(request);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct fg_upstream *upstream = arg;
    (void)what;
    upstream->is_write_armed = false;
    if (upstream->state == FG_UPSTREAM_ACTIVE) {
        fg_proxy_request_on_writable(upstream->request);
        return;
    }
    if (upstream->state != FG_UPSTREAM_CONNECTING)
        return;
    int error = 0;
    socklen_t error_bytes = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) == -1 || error != 0) {
        fail_connect(upstream);
        return;
    }
    become_active(upstream);
    fg_proxy_request_on_connected(upstream->request);
}

static void on_connect_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_upstream *upstream = FG_CONTAINER_OF(timeout, struct fg_upstream, timeout);
    fg_counter_add_owned(&upstream->endpoint->metrics->timeouts, 1);
    fail_connect(upstream);
}

static void on_request_timeout(struct fg_timeout_entry *timeout)
{
    struct fg_upstream *upstream = FG_CONTAINER_OF(timeout, struct fg_upstream, timeout);
    fg_proxy_request_on_timeout(upstream->request);
}

static void on_idle_timeout(struct fg_timeout_entry *timeout)
{
    fg_upstream_close(FG_CONTAINER_OF(timeout, struct fg_upstream, timeout));
}

/* ---- the slab ---- */

static bool add_block(struct fg_proxy_thread *thread)
{
    size_t count = thread->upstreams_max - thread->upstreams_made;
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
    fg_timeout_list_init(&thread->connect_timeouts, base, conf->connect_timeout_ns,
                         on_connect_timeout);
    fg_timeout_list_init(&thread->head_timeouts, base, conf->response_head_timeout_ns,
                         on_request_timeout);
    fg_timeout_list_init(&thread->body_timeouts, base, conf->response_idle_timeout_ns,
                         on_request_timeout);
    fg_timeout_list_init(&thread->idle_timeouts, base, conf->idle_timeout_ns, on_idle_timeout);
    return add_block(thread);
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
    assert(thread->upstreams_open == 0);
    fg_timeout_list_fini(&thread->connect_timeouts);
    fg_timeout_list_fini(&thread->head_timeouts);
    fg_timeout_list_fini(&thread->body_timeouts);
    fg_timeout_list_fini(&thread->idle_timeouts);
    while (thread->blocks != NULL) {
        struct fg_upstream_block *block = thread->blocks;
        thread->blocks = block->next;
        free(block);
    }
}

static struct fg_upstream *take_free(struct fg_proxy_thread *thread)
{
    if (thread->upstreams_open >= thread->upstreams_max) {
        if (thread->upstreams_idle == 0)
            return NULL;
        fg_upstream_close(oldest_idle(thread)); /* of another endpoint */
    }
    if (fg_list_is_empty(&thread->free) && !add_block(thread))
        return NULL;
    return FG_CONTAINER_OF(fg_list_pop_front(&thread->free), struct fg_upstream, link);
}

/* ---- opening and closing ---- */

struct fg_upstream *fg_upstream_try_reuse(struct fg_proxy_endpoint *endpoint,
                                          struct fg_proxy_request *request)
{
    struct fg_list *link = fg_list_pop_front(&endpoint->idle);
    if (link == NULL)
        return NULL;
    struct fg_upstream *upstream = FG_CONTAINER_OF(link, struct fg_upstream, link);
    fg_timeout_list_clear(&upstream->timeout);
    set_state(upstream, FG_UPSTREAM_ACTIVE);
    upstream->request = request;
    upstream->is_reused = true;
    fg_counter_add_owned(&upstream->thread->metrics->connections_reused, 1);
    return upstream;
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
    upstream->is_reading = false;
    upstream->is_write_armed = false;
    event_assign(&upstream->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, upstream);
    event_assign(&upstream->write_event, base, fd, EV_WRITE, on_writable, upstream);
}

enum fg_status fg_upstream_open(struct fg_proxy_thread *thread, struct fg_proxy_endpoint *endpoint,
                                struct fg_proxy_request *request, struct fg_upstream **upstream)
{
    *upstream = NULL;
    const struct fg_address *address = &endpoint->host->spec.address;
    struct fg_upstream *fresh = take_free(thread);
    if (fresh == NULL)
        return FG_ERR_BUSY;
    int fd = open_socket(address);
    if (fd == -1) { /* no descriptors: our trouble, not the endpoint's */
        fg_list_push_front(&thread->free, &fresh->link);
        return FG_ERR_BUSY;
    }
    if (connect(fd, (const struct sockaddr *)&address->storage, address->len) == -1 &&
        errno != EINPROGRESS) {
        close(fd);
        fg_list_push_front(&thread->free, &fresh->link);
        fg_proxy_endpoint_note_failed(endpoint);
        return FG_ERR_CLOSED;
    }
    attach(fresh, fd);
    fg_proxy_endpoint_hold(endpoint);
    fresh->endpoint = endpoint;
    fresh->request = request;
    set_state(fresh, FG_UPSTREAM_CONNECTING);
    fg_counter_add_owned(&thread->metrics->connections_opened, 1);
    fg_counter_add_owned(&endpoint->metrics->connections_opened, 1);
    if (address->storage.ss_family == AF_UNIX) {
        become_active(fresh); /* such a connect is never in progress */
    } else {
        fg_timeout_list_set(&thread->connect_timeouts, &fresh->timeout);
        fg_upstream_await_room(fresh);
    }
    *upstream = fresh;
    return FG_OK;
}

void fg_upstream_release(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert(upstream->state == FG_UPSTREAM_ACTIVE);
    if (thread->idle_max == 0 || upstream->endpoint->index == FG_BALANCE_NONE) {
        fg_upstream_close(upstream);
        return;
    }
    if (thread->upstreams_idle >= thread->idle_max)
        fg_upstream_close(oldest_idle(thread));
    upstream->request = NULL;
    if (upstream->is_write_armed) {
        event_del(&upstream->write_event);
        upstream->is_write_armed = false;
    }
    fg_upstream_set_reading(upstream, true); /* to see it closed */
    set_state(upstream, FG_UPSTREAM_IDLE);
    fg_list_push_front(&upstream->endpoint->idle, &upstream->link);
    fg_timeout_list_set(&thread->idle_timeouts, &upstream->timeout);
}

void fg_upstream_close(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    assert(upstream->fd != -1);
    fg_timeout_list_clear(&upstream->timeout);
    event_del(&upstream->read_event);
    event_del(&upstream->write_event);
    upstream->is_reading = false;
    upstream->is_write_armed = false;
    close(upstream->fd);
    upstream->fd = -1;
    if (upstream->state == FG_UPSTREAM_IDLE)
        fg_list_remove(&upstream->link);
    set_state(upstream, FG_UPSTREAM_FREE);
    struct fg_proxy_endpoint *endpoint = upstream->endpoint;
    upstream->request = NULL;
    upstream->endpoint = NULL;
    fg_list_push_front(&thread->free, &upstream->link);
    fg_proxy_endpoint_release(endpoint);
}

void fg_upstreams_close_idle(struct fg_proxy_endpoint *endpoint)
{
    while (!fg_list_is_empty(&endpoint->idle))
        fg_upstream_close(FG_CONTAINER_OF(endpoint->idle.next, struct fg_upstream, link));
}
