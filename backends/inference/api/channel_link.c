/*
 * channel_link.c: one read and one write a wake-up; frames are handled where they lie in the
 * buffer.
 */
#include "channel_link.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IN_BYTES ((size_t)64 * 1024)
#define OUT_BYTES_KEPT ((size_t)256 * 1024) /* a larger buffer is freed once it is empty */
#define OUT_BYTES_FIRST ((size_t)4096)
#define PAUSE_MS_FIRST 10u
#define PAUSE_MS_MAX 250u

static void try_connect(struct fg_channel_link *link);

static void retry_later(struct fg_channel_link *link)
{
    struct timeval pause = {.tv_usec = (suseconds_t)link->pause_ms * 1000};
    link->pause_ms = link->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : link->pause_ms * 2;
    (void)event_add(link->retry_timer, &pause);
}

/* Closes the connection and frees what belongs to it alone. */
static void drop_connection(struct fg_channel_link *link)
{
    if (link->read_event != NULL)
        event_free(link->read_event);
    if (link->write_event != NULL)
        event_free(link->write_event);
    link->read_event = NULL;
    link->write_event = NULL;
    if (link->fd != -1)
        close(link->fd);
    link->fd = -1;
    link->state = FG_LINK_DOWN;
    link->is_cut = false;
    if (link->resume_timer != NULL)
        (void)event_del(link->resume_timer);
    link->in_len = 0;
    free(link->out);
    link->out = NULL;
    link->out_at = link->out_len = link->out_capacity = 0;
}

static void lose(struct fg_channel_link *link, const char *reason)
{
    bool was_ready = link->state == FG_LINK_READY;
    drop_connection(link);
    if (was_ready) {
        static struct fg_log_limit limit; /* a broken worker may come and go many times a second */
        fg_log_limited(&limit, 4, FG_LOG_WARN, "inference_worker_lost",
                       "worker=%u pid=%u reason=%s", link->worker_index, link->hello.pid, reason);
        link->pause_ms = PAUSE_MS_FIRST;
    }
    retry_later(link);
    if (was_ready)
        link->events->on_lost(link);
}

static bool take_hello(struct fg_channel_link *link, struct fg_span payload)
{
    if (fg_channel_read_hello(payload, &link->hello) != FG_OK)
        return false;
    if (link->hello.version != FG_CHANNEL_VERSION) {
        static struct fg_log_limit limit;
        fg_log_limited(&limit, 1, FG_LOG_ERROR, "inference_worker_version",
                       "worker=%u version=%u expected=%u", link->worker_index, link->hello.version,
                       FG_CHANNEL_VERSION);
        return false;
    }
    link->state = FG_LINK_READY;
    link->pause_ms = PAUSE_MS_FIRST;
    link->is_draining = false;
    link->events->on_ready(link);
    return true;
}

static bool take_frame(struct fg_channel_link *link, const struct fg_channel_header *header,
                       struct fg_span payload)
{
    switch (header->type) {
    case FG_CHANNEL_HELLO:
        return link->state == FG_LINK_CONNECTED && take_hello(link, payload);
    case FG_CHANNEL_TOKEN:
    case FG_CHANNEL_DONE:
    case FG_CHANNEL_REFUSED:
    case FG_CHANNEL_BEGUN:
        return link->state == FG_LINK_READY && link->events->on_frame(link, header, payload);
    case FG_CHANNEL_SUBMIT:
    case FG_CHANNEL_CANCEL:
    case FG_CHANNEL_TYPE_END:
        break;
    }
    return false;
}

/* The rest in the next turn, which begins with what all others have to say. */
static void resume_later(struct fg_channel_link *link)
{
    const struct timeval at_once = {0};
    link->is_cut = true;
    if (link->turns_cut != NULL)
        fg_counter_add_owned(link->turns_cut, 1);
    (void)event_add(link->resume_timer, &at_once);
}

/* Whole frames in the buffer, for turn_max_ns at most (0: all); false when the worker broke the
 * protocol. */
static bool take_frames(struct fg_channel_link *link, uint64_t turn_max_ns)
{
    uint64_t began_ns = turn_max_ns > 0 ? fg_clock_monotonic_ns() : 0;
    size_t at = 0;
    link->is_cut = false;
    while (link->in_len - at >= FG_CHANNEL_HEADER_BYTES) {
        if (at > 0 && turn_max_ns > 0 && fg_clock_monotonic_ns() - began_ns >= turn_max_ns) {
            resume_later(link);
            break;
        }
        struct fg_channel_header header;
        if (fg_channel_read_header(link->in + at, &header) != FG_OK ||
            header.payload_bytes > IN_BYTES - FG_CHANNEL_HEADER_BYTES)
            return false;
        size_t frame_bytes = FG_CHANNEL_HEADER_BYTES + header.payload_bytes;
        if (frame_bytes > link->in_len - at)
            break;
        const char *payload = (const char *)link->in + at + FG_CHANNEL_HEADER_BYTES;
        if (!take_frame(link, &header, fg_span_make(payload, header.payload_bytes)))
            return false;
        at += frame_bytes;
    }
    if (at > 0 && at < link->in_len)
        memmove(link->in, link->in + at, link->in_len - at);
    link->in_len -= at;
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fg_channel_link *link = arg;
    (void)what;
    if (link->in_len == IN_BYTES)
        return; /* until some of it was taken */
    ssize_t got = read(fd, link->in + link->in_len, IN_BYTES - link->in_len);
    if (got == -1) {
        if (errno != EAGAIN && errno != EINTR)
            lose(link, "read_failed");
        return;
    }
    if (got == 0) { /* what it said before counts */
        lose(link, take_frames(link, 0) ? "closed" : "protocol");
        return;
    }
    link->in_len += (size_t)got;
    if (!link->is_cut && !take_frames(link, link->turn_max_ns))
        lose(link, "protocol");
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct fg_channel_link *link = arg;
    (void)fd;
    (void)what;
    if (!take_frames(link, link->turn_max_ns))
        lose(link, "protocol");
}

static void on_can_write(evutil_socket_t fd, short what, void *arg)
{
    struct fg_channel_link *link = arg;
    (void)what;
    ssize_t sent = send(fd, link->out + link->out_at, link->out_len - link->out_at, MSG_NOSIGNAL);
    if (sent == -1 && errno != EAGAIN && errno != EINTR) {
        lose(link, "write_failed");
        return;
    }
    if (sent > 0)
        link->out_at += (size_t)sent;
    if (link->out_at < link->out_len) {
        (void)event_add(link->write_event, NULL);
        return;
    }
    link->out_at = link->out_len = 0;
    if (link->out_capacity > OUT_BYTES_KEPT) {
        free(link->out);
        link->out = NULL;
        link->out_capacity = 0;
    }
    link->events->on_room(link);
}

static int connect_socket(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t path_bytes = strlen(path) + 1;
    assert(path_bytes <= sizeof(addr.sun_path));
    memcpy(addr.sun_path, path, path_bytes);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == -1) {
        close(fd);
        return -1; /* nobody there, or the backlog is full: both pass */
    }
    return fd;
}

static void try_connect(struct fg_channel_link *link)
{
    assert(link->state == FG_LINK_DOWN && link->fd == -1);
    link->fd = connect_socket(link->path);
    if (link->fd != -1) {
        link->read_event = event_new(link->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
        link->write_event = event_new(link->base, link->fd, EV_WRITE, on_can_write, link);
    }
    if (link->fd == -1 || link->read_event == NULL || link->write_event == NULL ||
        event_add(link->read_event, NULL) == -1) {
        drop_connection(link);
        retry_later(link);
        return;
    }
    link->state = FG_LINK_CONNECTED;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    try_connect(arg);
}

enum fg_status fg_channel_link_open(struct fg_channel_link *link)
{
    link->fd = -1;
    link->state = FG_LINK_DOWN;
    link->pause_ms = PAUSE_MS_FIRST;
    fg_list_init(&link->choices);
    link->in = malloc(IN_BYTES);
    link->retry_timer = evtimer_new(link->base, on_retry, link);
    link->resume_timer = evtimer_new(link->base, on_resume, link);
    if (link->in == NULL || link->retry_timer == NULL || link->resume_timer == NULL) {
        fg_channel_link_close(link);
        return FG_ERR_NO_MEMORY;
    }
    try_connect(link);
    return FG_OK;
}

void fg_channel_link_close(struct fg_channel_link *link)
{
    if (link->events == NULL)
        return;
    assert(fg_list_is_empty(&link->choices));
    drop_connection(link);
    if (link->retry_timer != NULL)
        event_free(link->retry_timer);
    if (link->resume_timer != NULL)
        event_free(link->resume_timer);
    free(link->in);
    *link = (struct fg_channel_link){.fd = -1};
}

/* Room for `bytes` more behind out_len, of at most `most` in all. */
static bool make_room(struct fg_channel_link *link, size_t bytes, size_t most)
{
    size_t held = link->out_len - link->out_at;
    if (held > most || bytes > most - held)
        return false;
    if (bytes <= link->out_capacity - link->out_len)
        return true;
    if (bytes > link->out_capacity - held) {
        size_t capacity = link->out_capacity == 0 ? OUT_BYTES_FIRST : link->out_capacity * 2;
        if (capacity < held + bytes)
            capacity = held + bytes;
        unsigned char *grown = realloc(link->out, capacity);
        if (grown == NULL)
            return false;
        link->out = grown;
        link->out_capacity = capacity;
    }
    if (link->out_at > 0) {
        memmove(link->out, link->out + link->out_at, held);
        link->out_at = 0;
        link->out_len = held;
    }
    return true;
}

unsigned char *fg_channel_link_reserve(struct fg_channel_link *link, size_t bytes)
{
    if (link->state != FG_LINK_READY || !make_room(link, bytes, link->out_bytes_max))
        return NULL;
    return link->out + link->out_len;
}

void fg_channel_link_commit(struct fg_channel_link *link, size_t bytes)
{
    assert(link->state == FG_LINK_READY && bytes <= link->out_capacity - link->out_len);
    link->out_len += bytes;
    (void)event_add(link->write_event, NULL);
}

void fg_channel_link_cancel(struct fg_channel_link *link, uint64_t request_id)
{
    if (link->state != FG_LINK_READY)
        return;
    if (!make_room(link, FG_CHANNEL_HEADER_BYTES, link->out_bytes_max + link->cancel_bytes_max)) {
        /* The worker would work for nobody: end of file tells it to forget everything. */
        (void)shutdown(link->fd, SHUT_RDWR);
        return;
    }
    size_t bytes = fg_channel_write_cancel(link->out + link->out_len,
                                           link->out_capacity - link->out_len, request_id);
    fg_channel_link_commit(link, bytes);
}
