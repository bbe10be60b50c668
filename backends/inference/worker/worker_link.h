/*
 * worker_link.h: one accepted channel connection of a worker: bytes in to frames, frames out to
 * bytes.
 * Job      cut frames from the stream; gather what a turn of the loop wrote and send it at once.
 * Thread   the worker's loop.
 * Never    blocks, or lets a reader that does not read fill memory: beyond output_bytes_max the
 *          link is marked closing, as it is after a malformed frame or an error; the loop reaps it.
 * Memory   input grows to one frame (FG_CHANNEL_PAYLOAD_MAX) and shrinks again; output to its
 *          limit.
 */
#ifndef FG_INFERENCE_WORKER_LINK_H
#define FG_INFERENCE_WORKER_LINK_H

#include "inference/worker/channel.h"

#include <event2/event.h>

struct fg_worker_link;

/* One whole frame; spans die with the call. False: the frame is malformed, close the link. */
typedef bool (*fg_worker_link_frame_fn)(struct fg_worker_link *link,
                                        const struct fg_channel_header *header,
                                        struct fg_span payload, void *owner);

struct fg_worker_link_options {
    struct event_base *base;
    int fd;       /* non-blocking; the link's from now on */
    uint64_t key; /* of the connection, never used again */
    size_t output_bytes_max;
    fg_worker_link_frame_fn on_frame;
    void *owner;
};

/* NULL when memory is short; the fd is then closed. */
struct fg_worker_link *fg_worker_link_create(const struct fg_worker_link_options *options);
/* Closes at once; what was not sent is lost. NULL is fine. */
void fg_worker_link_destroy(struct fg_worker_link *link);

uint64_t fg_worker_link_key(const struct fg_worker_link *link);

/*
 * Room for a frame of at most `bytes`, to be followed by commit with what was used. NULL when the
 * link is closing, or is so from now on because its output is full.
 */
unsigned char *fg_worker_link_reserve(struct fg_worker_link *link, size_t bytes);
void fg_worker_link_commit(struct fg_worker_link *link, size_t bytes);

/* Send what there is; the rest goes when the socket takes it. Once a turn. */
void fg_worker_link_flush(struct fg_worker_link *link);

/* The other side broke the protocol; the link is closing from now on. */
void fg_worker_link_fail(struct fg_worker_link *link);
bool fg_worker_link_is_closing(const struct fg_worker_link *link);
bool fg_worker_link_is_flushed(const struct fg_worker_link *link);

#endif
