/*
 * order_stream.c: one order's states as server-sent events: the state now, then each change, until
 * a final one.
 * Thread   the exchange's loop.
 * Never    misses a change: the channel is subscribed before the state is read, what is published
 *          in between is kept, and after a lost connection the state is read again.
 * Source   WHATWG HTML, server-sent events.
 *
 *    joined --on_ready--> reading --reply--> live --final--> ended
 *                            ^------ on_ready again ------'
 */
#include "orders_internal.h"

#include "backends/client_owner.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STATUS_LEN_MAX 31
#define KEEP_ALIVE_NS (15 * FG_S)
#define TICKS_AT_ONCE 64u /* a keep-alive takes 2 us */

struct fg_order_stream {
    struct fg_order_watcher watcher; /* first */
    struct fg_list list;             /* of thread->streams */
    struct fg_orders_call *call;
    struct fg_order order; /* valid once is_live; its spans are in the arena or in `status` */
    char status[STATUS_LEN_MAX + 1];
    size_t status_len;
    uint64_t published_version; /* the newest heard of while not live; 0: none */
    char published[STATUS_LEN_MAX + 1];
    size_t published_len;
    uint64_t owner;      /* its client's address */
    uint64_t written_ns; /* or joined, while not live */
    bool is_live;        /* the head has been sent */
    bool is_blocked;
    bool is_stale; /* the state must be read again */
};

/* May end the exchange; false then. */
static bool send_state(struct fg_order_stream *stream)
{
    struct fg_orders_call *call = stream->call;
    json_t *json = fg_orders_order_json(&stream->order);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    char event[512];
    json_decref(json);
    int len = text == NULL ? -1
                           : snprintf(event, sizeof(event), "id: %" PRIu64 "\ndata: %s\n\n",
                                      stream->order.version, text);
    free(text);
    stream->written_ns = fg_clock_monotonic_ns();
    if (len > 0 && (size_t)len < sizeof(event) && !fg_exchange_write(call->ex, event, (size_t)len))
        stream->is_blocked = true;
    if (!fg_orders_is_final(stream->order.status))
        return true;
    struct fg_exchange *ex = call->ex;
    fg_order_stream_leave(call);
    ex->backend_state = NULL;
    fg_exchange_end(ex);
    return false;
}

static void set_status(struct fg_order_stream *stream, uint64_t version, struct fg_span status)
{
    stream->status_len = status.len > STATUS_LEN_MAX ? STATUS_LEN_MAX : status.len;
    memcpy(stream->status, status.data, stream->status_len);
    stream->order.status = fg_span_make(stream->status, stream->status_len);
    stream->order.version = version;
}

static void on_change(struct fg_order_watcher *watcher, uint64_t version, struct fg_span status)
{
    struct fg_order_stream *stream = (struct fg_order_stream *)watcher;
    if (status.len == 0 || status.len > STATUS_LEN_MAX)
        return;
    if (!stream->is_live) {
        if (version > stream->published_version) {
            stream->published_version = version;
            stream->published_len = status.len;
            memcpy(stream->published, status.data, status.len);
        }
        return;
    }
    if (version <= stream->order.version)
        return;
    set_status(stream, version, status);
    (void)send_state(stream);
}

static void read_state(struct fg_order_stream *stream)
{
    struct fg_orders_call *call = stream->call;
    stream->is_stale = true; /* until the reply */
    if (call->command != NULL)
        return; /* under way: its reply may be too early, so that it is read once more */
    stream->is_stale = false;
    fg_orders_submit_order_read(call);
}

static void on_ready(struct fg_order_watcher *watcher)
{
    read_state((struct fg_order_stream *)watcher);
}

static bool copy_order(struct fg_order_stream *stream, const struct fg_order *order)
{
    stream->order = *order;
    stream->order.sku = fg_arena_try_copy(stream->call->ex->arena, order->sku);
    stream->order.user = stream->call->ex->user_id;
    set_status(stream, order->version, order->status);
    return stream->order.sku.data != NULL;
}

static void go_live(struct fg_order_stream *stream)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/event-stream")},
        {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-store")},
    };
    fg_exchange_hop_time(stream->call->ex, "redis",
                         fg_clock_monotonic_ns() - stream->call->submitted_ns);
    fg_exchange_head(stream->call->ex, 200, fields, 2);
    fg_exchange_release_slot(stream->call->ex);
    stream->is_live = true;
    if (stream->published_version > stream->order.version)
        set_status(stream, stream->published_version,
                   fg_span_make(stream->published, stream->published_len));
    (void)send_state(stream);
}

void fg_order_stream_answer(struct fg_orders_call *call, const redisReply *reply)
{
    struct fg_order_stream *stream = call->stream;
    struct fg_order order;
    bool is_known = fg_orders_parse_order(reply, call->parameter, &order) &&
                    fg_span_equal(order.user, call->ex->user_id);
    if (stream->is_live) {
        if (is_known && order.version > stream->order.version) {
            set_status(stream, order.version, order.status);
            if (!send_state(stream))
                return;
        }
    } else if (!is_known) {
        fg_orders_refuse(call, 404, "order_unknown", "you have no order with this id");
        return;
    } else if (stream->is_stale) {
        /* read once more below */
    } else if (!copy_order(stream, &order)) {
        fg_orders_no_memory(call);
        return;
    } else {
        go_live(stream);
        return;
    }
    if (stream->is_stale)
        read_state(stream);
}

/* While there are few left, one client cannot have them all. */
static bool is_admitted(struct fg_orders_call *call, uint64_t owner)
{
    const struct fg_orders_thread *thread = call->thread;
    uint64_t used = fg_counter_get(&thread->metrics->event_streams);
    uint64_t most = thread->conf->redis.commands_in_flight_max;
    uint32_t held = fg_crowd_count(&thread->stream_owners, owner);
    if (used >= most)
        fg_orders_busy(call);
    else if (used >= most / 2 && !fg_address_share_admits(&thread->stream_share, held))
        fg_orders_too_many_streams(call, "orders.event_streams_share", held,
                                   thread->stream_share.connections);
    else
        return true;
    return false;
}

void fg_order_stream_begin(struct fg_orders_call *call)
{
    struct fg_orders_thread *thread = call->thread;
    uint64_t owner = fg_client_owner(&thread->owner_key, call->ex->client_addr);
    if (!is_admitted(call, owner))
        return;
    struct fg_order_stream *stream = fg_arena_try_zalloc(call->ex->arena, sizeof(*stream));
    if (stream == NULL) {
        fg_orders_no_memory(call);
        return;
    }
    stream->call = call;
    stream->owner = owner;
    stream->watcher.on_ready = on_ready;
    stream->watcher.on_change = on_change;
    fg_list_init(&stream->list);
    bool is_ready = false;
    switch (fg_order_events_join(&thread->events, &stream->watcher, call->parameter, &is_ready)) {
    case FG_OK:
        break;
    case FG_ERR_LIMIT:
        fg_orders_too_many_streams(call, "order_watchers", FG_ORDER_WATCHERS_MAX,
                                   FG_ORDER_WATCHERS_MAX);
        return;
    default:
        fg_orders_no_memory(call);
        return;
    }
    call->stream = stream;
    stream->written_ns = fg_clock_monotonic_ns();
    fg_list_push_back(&thread->streams, &stream->list);
    fg_crowd_add(&thread->stream_owners, owner);
    fg_counter_add_owned(&thread->metrics->event_streams, 1);
    if (is_ready)
        read_state(stream);
}

void fg_order_stream_unavailable(struct fg_orders_call *call, const char *message)
{
    if (call->stream->is_live)
        call->stream->is_stale = true; /* read again at the next tick, or when subscribed anew */
    else
        fg_orders_unavailable(call, message);
}

/* A stream that never came to life is given up; a quiet one gets a comment, so that whatever lies
 * between does not take it for dead. */
static void tick(struct fg_order_stream *stream, uint64_t now_ns)
{
    struct fg_orders_call *call = stream->call;
    uint64_t quiet_ns = now_ns - stream->written_ns;
    if (!stream->is_live) {
        if (call->command == NULL && quiet_ns >= call->thread->conf->redis.command_timeout_ns)
            fg_orders_unavailable(call, "the order store does not answer; try again");
        return;
    }
    if (quiet_ns >= KEEP_ALIVE_NS && !stream->is_blocked) {
        stream->written_ns = now_ns;
        if (!fg_exchange_write(call->ex, ":\n\n", 3))
            stream->is_blocked = true;
    }
    if (stream->is_stale && call->command == NULL)
        read_state(stream);
}

bool fg_order_stream_tick(struct fg_orders_thread *thread)
{
    uint64_t now_ns = fg_clock_monotonic_ns();
    struct fg_list *it;
    if (thread->ticks_left == 0)
        thread->ticks_left = fg_counter_get(&thread->metrics->event_streams);
    for (unsigned i = 0; i < TICKS_AT_ONCE && thread->ticks_left > 0; i++) {
        thread->ticks_left--;
        it = fg_list_pop_front(&thread->streams);
        if (it == NULL) /* some have gone meanwhile */
            thread->ticks_left = 0;
        else
            fg_list_push_back(&thread->streams, it);
        if (it != NULL)
            tick(FG_CONTAINER_OF(it, struct fg_order_stream, list), now_ns);
    }
    return thread->ticks_left == 0;
}

void fg_order_stream_writable(struct fg_orders_call *call)
{
    if (call->stream != NULL)
        call->stream->is_blocked = false;
}

void fg_order_stream_leave(struct fg_orders_call *call)
{
    struct fg_order_stream *stream = call->stream;
    if (stream == NULL)
        return;
    call->stream = NULL;
    if (call->command != NULL)
        fg_redis_command_detach(call->command);
    call->command = NULL;
    fg_order_events_leave(&call->thread->events, &stream->watcher);
    fg_list_remove(&stream->list);
    fg_crowd_remove(&call->thread->stream_owners, stream->owner);
    fg_counter_set(&call->thread->metrics->event_streams,
                   fg_counter_get(&call->thread->metrics->event_streams) - 1);
}
