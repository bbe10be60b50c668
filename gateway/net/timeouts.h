/*
 * timeouts.h: many timeouts of few durations, at the price of two pointer writes each.
 * Job      one list a class; all of a class last equally long, so that a list is in order of due
 *          time by itself; one libevent timer ticks while any list holds something.
 * Thread   the loop's.
 * Memory   intrusive: a timeout is part of the object that waits.
 * Accuracy late by one tick (100 ms) at most, never early, but for the pressure's sake.
 */
#ifndef FG_NET_TIMEOUTS_H
#define FG_NET_TIMEOUTS_H

#include "base/list.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct event;
struct fg_loop;
struct fg_limits_conf;
struct fg_pressure;

enum fg_timeout_class {
    FG_TIMEOUT_HANDSHAKE,
    FG_TIMEOUT_HEADER,       /* connection: first byte to complete head */
    FG_TIMEOUT_IDLE,         /* connection: no request open */
    FG_TIMEOUT_WRITE,        /* connection: the socket takes nothing */
    FG_TIMEOUT_LINGER,       /* connection: last words said, the client still sends */
    FG_TIMEOUT_BODY,         /* stream: the next piece of a request body */
    FG_TIMEOUT_LATE_BODY,    /* stream: what comes of its request's body behind the answer */
    FG_TIMEOUT_STREAM_WRITE, /* stream: its flow window stays shut */
    FG_TIMEOUT_REST,         /* connection: nothing was said; it can do with less memory */
    FG_TIMEOUT_PROBE,        /* connection: the client said its last; does it still listen? */
    FG_TIMEOUT_CLASS_COUNT,
};

/*
 * What a client must take for FG_TIMEOUT_WRITE and FG_TIMEOUT_STREAM_WRITE to begin anew, if it
 * does not take all: a byte now and then is no progress.
 */
#define FG_WRITE_PROGRESS_BYTES ((size_t)4096)

/* Zeroed is not armed. */
struct fg_timeout {
    struct fg_list link;
    uint64_t due_ns; /* 0: not armed */
    void (*on_due)(struct fg_timeout *timeout);
};

struct fg_timeouts {
    struct fg_loop *loop;
    struct event *tick;
    bool is_ticking;
    struct fg_list lists[FG_TIMEOUT_CLASS_COUNT];
    uint64_t durations_ns[FG_TIMEOUT_CLASS_COUNT];
    /* While it asks for shorter idle times, a part of those of HANDSHAKE, HEADER and IDLE counts,
     * of what is armed already too; NULL: never. */
    struct fg_pressure *pressure;
};

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_timeouts_init(struct fg_timeouts *timeouts, struct fg_loop *loop,
                                            const struct fg_limits_conf *limits);
/* Nothing may be armed. */
void fg_timeouts_fini(struct fg_timeouts *timeouts);

/* Take durations from `limits`; those running keep the time they had. */
void fg_timeouts_set_limits(struct fg_timeouts *timeouts, const struct fg_limits_conf *limits);

/* Start, or start again; `timeout` may be armed in any class. */
void fg_timeout_arm(struct fg_timeouts *timeouts, struct fg_timeout *timeout,
                    enum fg_timeout_class class);
void fg_timeout_cancel(struct fg_timeout *timeout);
/* When `timeout`, which is armed in this class, was; 0: it is not armed. */
uint64_t fg_timeout_armed_ns(const struct fg_timeouts *timeouts, const struct fg_timeout *timeout,
                             enum fg_timeout_class class);

/* Fires what is due at `now_ns`, 8 or a tenth of a millisecond of it at most; true: there are more.
 * The tick calls it, tests call it with a time of their own. */
bool fg_timeouts_run(struct fg_timeouts *timeouts, uint64_t now_ns);

#endif
