/*
 * worker_link.c: two plain buffers and two events around a unix stream socket.
 * Thread   the worker's loop.
 * Never    frees itself: on_readable and on_writable only mark it closing.
 *
 *    open --EOF, error, bad frame, full output--> closing --reaped by the loop--> gone
 */
#include "inference/worker/worker_link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_BYTES_MIN ((size_t)64 << 10)
#define OUTPUT_BYTES_MIN ((size_t)16 << 10)

struct fg_worker_link {
    int fd;
    uint64_t key;
    size_t output_bytes_max;
    fg_worker_link_frame_fn on_frame;
    void *owner;
    struct event *readable;
    struct event *writable; /* added while the socket is full */
    bool is_closing;

    unsigned char *in; /* (in_room), in_used of them read and not yet cut */
    size_t in_used;
    size_t in_room;
    unsigned char *out; /* (out_room), out_start .. out_used not yet sent */
    size_t out_start;
    size_t out_used;
    size_t out_room;
};

/* No more events: a socket at its end would be readable for ever. */
static void start_closing(struct fg_worker_link *link)
{
    link->is_closing = true;
    event_del(link->readable);
    event_del(link->writable);
}

/* Makes room for a frame of `bytes` or more; the largest has a fixed limit. */
static bool size_input(struct fg_worker_link *link, size_t bytes)
{
    assert(bytes <= FG_CHANNEL_HEADER_BYTES + FG_CHANNEL_PAYLOAD_MAX);
    size_t room = bytes < INPUT_BYTES_MIN ? INPUT_BYTES_MIN : bytes;
    if (room == link->in_room || link->in_used > room)
        return true;
    unsigned char *in = realloc(link->in, room);
    if (in == NULL)
        return room < link->in_room;
    link->in = in;
    link->in_room = room;
    return true;
}

/* The frame that starts at `at`: its whole size, or 0 while too little is there to know. */
static bool frame_bytes(const struct fg_worker_link *link, size_t at,
                        struct fg_channel_header *header, size_t *bytes)
{
    *bytes = 0;
    if (link->in_used - at < FG_CHANNEL_HEADER_BYTES)
        return true;
    if (fg_channel_read_header(link->in + at, header) != FG_OK)
        return false;
    *bytes = FG_CHANNEL_HEADER_BYTES + header->payload_bytes;
    return true;
}

/* Hands over all whole frames and moves the rest to the front. False when the link must close. */
static bool cut_frames(struct fg_worker_link *link)
{
    size_t at = 0;
    size_t bytes;
    struct fg_channel_header header;
    for (;;) {
        if (!frame_bytes(link, at, &header, &bytes))
            return false;
        if (bytes == 0 || bytes > link->in_used - at)
            break;
        struct fg_span payload = fg_span_make((const char *)link->in + at + FG_CHANNEL_HEADER_BYTES,
                                              header.payload_bytes);
        if (!link->on_frame(link, &header, payload, link->owner) || link->is_closing)
            return false;
        at += bytes;
    }
    if (at > 0 && at < link->in_used)
        memmove(link->in, link->in + at, link->in_used - at);
    link->in_used -= at;
    return size_input(link, bytes);
}

static void on_readable(evutil_socket_t fd, short events, void *object)
{
    (void)events;
    struct fg_worker_link *link = object;
    ssize_t got = recv(fd, link->in + link->in_used, link->in_room - link->in_used, 0);
    if (got == -1 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (got <= 0) {
        start_closing(link);
        return;
    }
    link->in_used += (size_t)got;
    if (!cut_frames(link))
        start_closing(link);
}

void fg_worker_link_flush(struct fg_worker_link *link)
{
    if (link->is_closing || link->out_start == link->out_used)
        return;
    ssize_t sent = send(link->fd, link->out + link->out_start, link->out_used - link->out_start,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == -1 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        start_closing(link);
        return;
    }
    if (sent > 0)
        link->out_start += (size_t)sent;
    if (link->out_start == link->out_used) {
        link->out_start = 0;
        link->out_used = 0;
        event_del(link->writable);
    } else if (event_add(link->writable, NULL) == -1) {
        start_closing(link);
    }
}

static void on_writable(evutil_socket_t fd, short events, void *object)
{
    (void)fd;
    (void)events;
    fg_worker_link_flush(object);
}

struct fg_worker_link *fg_worker_link_create(const struct fg_worker_link_options *options)
{
    struct fg_worker_link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        close(options->fd);
        return NULL;
    }
    link->fd = options->fd;
    link->key = options->key;
    link->output_bytes_max = options->output_bytes_max;
    link->on_frame = options->on_frame;
    link->owner = options->owner;
    link->in = malloc(INPUT_BYTES_MIN);
    link->in_room = INPUT_BYTES_MIN;
    link->out = malloc(OUTPUT_BYTES_MIN);
    link->out_room = OUTPUT_BYTES_MIN;
    link->readable = event_new(options->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(options->base, link->fd, EV_WRITE | EV_PERSIST, on_writable, link);
    if (link->in == NULL || link->out == NULL || link->readable == NULL || link->writable == NULL ||
        event_add(link->readable, NULL) == -1) {
        fg_worker_link_destroy(link);
        return NULL;
    }
    return link;
}

void fg_worker_link_destroy(struct fg_worker_link *link)
{
    if (link == NULL)
        return;
    if (link->readable != NULL)
        event_free(link->readable);
    if (link->writable != NULL)
        event_free(link->writable);
    close(link->fd);
    free(link->in);
    free(link->out);
    free(link);
}

uint64_t fg_worker_link_key(const struct fg_worker_link *link)
{
    return link->key;
}

unsigned char *fg_worker_link_reserve(struct fg_worker_link *link, size_t bytes)
{
    if (link->is_closing)
        return NULL;
    size_t unsent = link->out_used - link->out_start;
    if (bytes > link->output_bytes_max || unsent > link->output_bytes_max - bytes) {
        start_closing(link);
        return NULL;
    }
    if (link->out_start > 0 && link->out_used + bytes > link->out_room) {
        memmove(link->out, link->out + link->out_start, unsent);
        link->out_start = 0;
        link->out_used = unsent;
    }
    if (link->out_used + bytes > link->out_room) {
        size_t room = link->out_room * 2;
        room = room < link->out_used + bytes ? link->out_used + bytes : room;
        unsigned char *out = realloc(link->out, room);
        if (out == NULL) {
            start_closing(link);
            return NULL;
        }
        link->out = out;
        link->out_room = room;
    }
    return link->out + link->out_used;
}

void fg_worker_link_commit(struct fg_worker_link *link, size_t bytes)
{
    assert(bytes <= link->out_room - link->out_used);
    link->out_used += bytes;
}

void fg_worker_link_fail(struct fg_worker_link *link)
{
    if (!link->is_closing)
        start_closing(link);
}

bool fg_worker_link_is_closing(const struct fg_worker_link *link)
{
    return link->is_closing;
}

bool fg_worker_link_is_flushed(const struct fg_worker_link *link)
{
    return link->is_closing || link->out_start == link->out_used;
}
