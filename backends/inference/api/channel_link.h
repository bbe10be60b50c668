/*
 * channel_link.h: one event loop's connection to one inference worker.
 * Job      connect, and again with a growing pause while the worker is away; frames in and out.
 * Thread   the owning event loop. No call blocks.
 * Never    knows what a request is (generation.c does), reads more than its buffer holds, or takes
 *          more of a turn of the loop than turn_max_ns: what is left comes in the next turn, after
 *          everybody else's.
 * Memory   64 KiB for what comes in; at most out_bytes_max, and room for cancels, for what goes
 * out.
 *
 *    down --connect--> connected --HELLO--> ready
 *     ^ `-- pause 10 ms, doubling to 250 ms --'|
 *     `------ end of file, error, bad frame ---'
 *
 * The listening socket outlives a worker, so a connection may be made long before HELLO arrives.
 */
#ifndef FG_INFERENCE_CHANNEL_LINK_H
#define FG_INFERENCE_CHANNEL_LINK_H

#include "base/counters_shared.h"
#include "base/list.h"
#include "inference/worker/channel.h"

#include <event2/event.h>

struct fg_channel_link;

/* What the owner is told; none of them may close the link. */
struct fg_channel_link_events {
    void (*on_ready)(struct fg_channel_link *link);
    /* It was ready, and everything said over it that had no last word is lost. */
    void (*on_lost)(struct fg_channel_link *link);
    /* TOKEN, DONE or REFUSED; the payload lives until it returns. False: the worker broke
     * the protocol, and the link is dropped. */
    bool (*on_frame)(struct fg_channel_link *link, const struct fg_channel_header *header,
                     struct fg_span payload);
    void (*on_room)(struct fg_channel_link *link); /* all that waited to go out has gone */
};

enum fg_channel_link_state { FG_LINK_DOWN, FG_LINK_CONNECTED, FG_LINK_READY };

struct fg_channel_link {
    /* identity */
    unsigned worker_index;
    const char *path; /* of the worker's socket; borrowed */
    void *owner;
    const struct fg_channel_link_events *events;

    /* connection */
    enum fg_channel_link_state state;
    int fd;
    struct event_base *base;
    struct event *read_event;
    struct event *write_event;
    struct event *retry_timer;
    struct event *resume_timer;
    uint64_t turn_max_ns;         /* for frames in one turn; 0: no bound */
    struct fg_counter *turns_cut; /* times that it was reached; NULL: not counted */
    bool is_cut;                  /* frames wait for resume_timer */
    uint32_t pause_ms;
    struct fg_channel_hello hello; /* valid while ready */

    /* the owner's: requests that this worker has, and that it takes no more */
    struct fg_list choices;
    bool is_draining;

    /* buffers */
    unsigned char *in;
    size_t in_len;
    unsigned char *out; /* [out_at, out_len) waits to be written */
    size_t out_at;
    size_t out_len;
    size_t out_capacity;
    size_t out_bytes_max;
    size_t cancel_bytes_max;
};

/*
 * Over a zeroed link with worker_index, path, owner, events, base, out_bytes_max,
 * cancel_bytes_max, and turn_max_ns and turns_cut as wanted, filled in; the first attempt to
 * connect is made at once. FG_ERR_NO_MEMORY leaves nothing to close.
 */
FG_MUST_USE enum fg_status fg_channel_link_open(struct fg_channel_link *link);

/* Without on_lost. A zeroed link is fine. */
void fg_channel_link_close(struct fg_channel_link *link);

/*
 * Room for a frame of `bytes`, which then goes out at the end of this turn of the loop; NULL when
 * the link is not ready, out_bytes_max would be passed or there is no memory. What is written there
 * counts once fg_channel_link_commit was called with its size.
 */
unsigned char *fg_channel_link_reserve(struct fg_channel_link *link, size_t bytes);
void fg_channel_link_commit(struct fg_channel_link *link, size_t bytes);

/* Tell a ready worker to forget a request. Without memory for it the link is given up later. */
void fg_channel_link_cancel(struct fg_channel_link *link, uint64_t request_id);

#endif
