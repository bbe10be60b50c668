/*
 * h2_wire.h: the streams of one HTTP/2 connection as their frames have them.
 * Job      which streams are open, how much may be sent and received on each and on all together,
 *          and which is the next to have something sent.
 * Thread   the loop's.
 * Memory   a wire is part of what owns it; a table of pointers to them, from the loop's blocks, as
 *          large as the most streams that were open since there were none.
 * Never    makes frames or reads them: h2_output.c, h2_frames.c.
 * Source   RFC 9113 sections 5.1, 5.2 and 6.9; RFC 9218 section 10 for the order.
 *
 *    opened --> open --END_STREAM of both, or a reset--> closed: not in the table
 *                |`-- due: a head, a window update or a reset is to go out, first come first served
 *                 `-- ready: content can go out; by urgency, then in the order of their ids,
 *                     incremental ones a frame each in turn
 */
#ifndef FG_HTTP_H2_WIRE_H
#define FG_HTTP_H2_WIRE_H

#include "base/block_pool.h"
#include "base/list.h"
#include "http/priority_field.h"

#include <stdint.h>

#define FG_H2_URGENCIES 8

struct fg_h2_wire {
    int32_t id;

    /* flow control, in bytes */
    int32_t send_window; /* that the client has opened; it may take more back than is left */
    int32_t recv_left;   /* that it may still send */
    uint32_t returned;   /* of what it has sent: done with, and it has not been told */

    /* state */
    bool is_open;
    bool is_drain;        /* it belongs to one of h2_drain.c's, not to a struct fg_stream */
    bool is_remote_ended; /* the client has sent END_STREAM */
    bool is_local_ended;  /* we have */
    bool is_reset;        /* RST_STREAM is due; what comes is ignored until it is out */
    bool owes_update;     /* WINDOW_UPDATE is due */
    uint32_t reset_code;

    /* order */
    struct fg_priority_field priority;
    struct fg_list due;
    struct fg_list ready;
};

struct fg_h2_wires {
    struct fg_block_pool *pool;
    struct fg_h2_wire **slots; /* NULL: there are none */
    uint32_t mask;             /* slots, less one */
    uint32_t count;
    struct fg_list due;
    struct fg_list ready[FG_H2_URGENCIES];
    unsigned ready_urgencies; /* bit n: some are in ready[n] */
};

/* `pool` outlives it. */
void fg_h2_wires_init(struct fg_h2_wires *wires, struct fg_block_pool *pool);
/* Forgets all wires, which need not be closed. */
void fg_h2_wires_fini(struct fg_h2_wires *wires);

/* `wire` gets this id and windows; false: no memory for it. The id is not in the table. */
bool fg_h2_wires_open(struct fg_h2_wires *wires, struct fg_h2_wire *wire, int32_t id,
                      int32_t send_window, int32_t recv_window);
/* An open one, which then is neither due nor ready. */
void fg_h2_wires_close(struct fg_h2_wires *wires, struct fg_h2_wire *wire);
/* `to` takes the place of an open one, which then is closed. */
void fg_h2_wires_move(struct fg_h2_wires *wires, struct fg_h2_wire *from, struct fg_h2_wire *to);
/* NULL: it is not open. */
struct fg_h2_wire *fg_h2_wires_find(const struct fg_h2_wires *wires, int32_t id);

/* The client's window for all streams to come has changed: for those that are open by as much.
 * False: one of them would become larger than any may be. */
bool fg_h2_wires_shift_windows(struct fg_h2_wires *wires, int32_t change);

/* Something that is no content is to go out. */
static inline void fg_h2_wires_set_due(struct fg_h2_wires *wires, struct fg_h2_wire *wire)
{
    if (fg_list_is_empty(&wire->due))
        fg_list_push_back(&wires->due, &wire->due);
}

/* Content can go out, or cannot any more. */
void fg_h2_wires_set_ready(struct fg_h2_wires *wires, struct fg_h2_wire *wire, bool is_ready);
/* The next to send content; NULL: there is none. */
struct fg_h2_wire *fg_h2_wires_next(const struct fg_h2_wires *wires);
/* It has sent a frame, and is still ready: others have their turn, if it shares. */
void fg_h2_wires_rotate(struct fg_h2_wires *wires, struct fg_h2_wire *wire);
void fg_h2_wires_prioritize(struct fg_h2_wires *wires, struct fg_h2_wire *wire,
                            struct fg_priority_field priority);

#endif
