/*
 * h2_drain.c: what still comes of a request's body when its answer is out already.
 * Job      read and throw away a bounded part of it, for a bounded time; then a reset says that
 *          nobody reads (RFC 9113 section 8.1). Many clients look at an answer only when their
 *          upload is done; some (curl 7.88) do not even read the frames behind the answer that
 *          would let them go on. So leave for all that is read goes out before the answer's end.
 * Thread   the loop's.
 * Never    keeps the request: it is done, and its memory given back, when its answer is out. Drains
 *          behind an answer that says no: who is refused is to stop at once.
 * Memory   a block a stream that drains, limits.streams_per_connection_max at most. The window of
 *          a connection is larger by limits.late_body_max at most, for all such streams together.
 *
 *    handler's end --open--> windows open --END_STREAM sent, begin--> draining, timed
 *        `-- not to be read: reset behind the answer        `-- all of its body --> gone
 *                                                           `-- too much, too late --> reset
 */
#include "http/h2_internal.h"

#include "config/config.h"
#include "net/listener.h"
#include "policies/wide_math.h"

#define SMALL_COST 1u /* as of DATA for a stream that we reset */

struct drain {
    struct fg_list link; /* h2->drains */
    struct fg_timeout timeout;
    struct fg_h2 *h2;
    uint32_t leave; /* bytes of the connection's window that it has enlarged */
    int32_t id;
    struct fg_h2_wire wire;   /* once it is answered: the stream's */
    struct fg_h2_check check; /* and what is left of its request */
};

static struct drain *drain_of(struct fg_list *link)
{
    return FG_CONTAINER_OF(link, struct drain, link);
}

static struct drain *find(struct fg_h2 *h2, int32_t id)
{
    FG_LIST_EACH_SAFE(it, after, &h2->drains)
    {
        if (drain_of(it)->id == id)
            return drain_of(it);
    }
    return NULL;
}

/* What is taken back of the connection's window is held back of later updates. */
static void enlarge_window(struct fg_h2 *h2, int64_t by)
{
    h2->returned += by;
    h2->owes_update |= by > 0;
}

static void forget(struct drain *drain)
{
    struct fg_h2 *h2 = drain->h2;
    fg_timeout_cancel(&drain->timeout);
    fg_list_remove(&drain->link);
    if (drain->wire.is_open)
        fg_h2_wires_close(&h2->wires, &drain->wire);
    h2->drains_leave -= drain->leave;
    enlarge_window(h2, -(int64_t)drain->leave);
    fg_block_pool_free(&h2->codec.transport->env->blocks, drain);
}

static void give_up(struct drain *drain)
{
    fg_h2_reset_wire(drain->h2, &drain->wire, NGHTTP2_NO_ERROR); /* and then it is forgotten */
    fg_h2_wake(drain->h2);
}

static void on_late(struct fg_timeout *timeout)
{
    give_up(FG_CONTAINER_OF(timeout, struct drain, timeout));
}

/* How much more may come; 0: it is not to be read. */
static uint32_t leave_for(const struct fg_h2 *h2, const struct fg_stream *stream)
{
    const struct fg_exchange *ex = &stream->req.ex;
    uint64_t most = h2->codec.transport->env->limits->late_body_max;
    most = fg_subtract_floor(most, h2->drains_leave);
    if (!stream->may_drain || stream->is_refusing || stream->is_body_complete ||
        h2->shutdown != FG_H2_RUNNING ||
        fg_pressure_asks(h2->codec.transport->env->pressure, FG_OVERLOAD_FEWER_STREAMS))
        return 0;
    if (ex->content_length <= 0)
        return (uint32_t)most;
    uint64_t length = (uint64_t)ex->content_length;
    uint64_t left = fg_subtract_floor(length, stream->req.bytes_in + stream->unwanted);
    return left > most ? 0 : (uint32_t)left;
}

void fg_h2_drain_open(struct fg_h2 *h2, struct fg_stream *stream)
{
    struct fg_codec_env *env = h2->codec.transport->env;
    uint32_t leave = leave_for(h2, stream);
    if (leave == 0 || !stream->wire.is_open || find(h2, stream->wire.id) != NULL)
        return;
    struct drain *drain = fg_block_pool_alloc(&env->blocks, sizeof(*drain));
    if (drain == NULL)
        return;
    *drain = (struct drain){
        .timeout = {.on_due = on_late}, .h2 = h2, .leave = leave, .id = stream->wire.id};
    fg_list_push_back(&h2->drains, &drain->link);
    h2->drains_leave += leave;
    enlarge_window(h2, leave);
    /* What its handler did not use has shut the window: that part opens again as well. */
    struct fg_h2_wire *wire = &stream->wire;
    int32_t shut = (int32_t)FG_BODY_WINDOW - wire->recv_left;
    wire->returned = (shut > 0 ? (uint32_t)shut : 0) + leave;
    wire->owes_update = true;
    fg_h2_wires_set_due(&h2->wires, wire);
}

bool fg_h2_drain_begin(struct fg_h2 *h2, struct fg_stream *stream)
{
    fg_h2_drain_open(h2, stream);
    struct drain *drain = find(h2, stream->wire.id);
    if (drain == NULL)
        return false;
    fg_h2_wires_move(&h2->wires, &stream->wire, &drain->wire);
    drain->wire.is_drain = true;
    drain->check = stream->check;
    if (h2->data_wire == &stream->wire)
        h2->data_wire = &drain->wire;
    fg_timeout_arm(&h2->codec.transport->env->timeouts, &drain->timeout, FG_TIMEOUT_LATE_BODY);
    return true;
}

bool fg_h2_drain_note(struct fg_h2 *h2, struct fg_h2_wire *wire, size_t len)
{
    if (wire->recv_left <= 0)
        give_up(FG_CONTAINER_OF(wire, struct drain, wire));
    return len >= FG_SMALL_PIECE || fg_h2_spend(h2, SMALL_COST);
}

struct fg_h2_check *fg_h2_drain_check(struct fg_h2_wire *wire)
{
    return &FG_CONTAINER_OF(wire, struct drain, wire)->check;
}

void fg_h2_drain_forget(struct fg_h2 *h2, int32_t id)
{
    struct drain *drain = find(h2, id);
    if (drain != NULL)
        forget(drain);
}

void fg_h2_drain_forget_all(struct fg_h2 *h2)
{
    while (!fg_list_is_empty(&h2->drains))
        forget(drain_of(h2->drains.next));
}
