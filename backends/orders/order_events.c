/*
 * order_events.c: channels found by name in every message, so that hiredis holds no pointer of ours
 * but the connection's. The campaign's own channel stays subscribed, because a connection without
 * any subscription leaves the mode in which messages are understood.
 */
#include "order_events.h"

#include "base/clock.h"

#include <event2/event.h>
#include <stdlib.h>

#define ID_LEN_MAX 64

struct fg_order_channel {
    struct fg_list list; /* of its bucket */
    struct fg_list watchers;
    bool is_subscribed; /* acknowledged on this connection */
    bool is_sent;
    bool is_busy; /* its watchers are being called: must stay */
    uint32_t watcher_count;
    size_t id_len;
    char id[ID_LEN_MAX + 1];
};

static struct fg_list *bucket_of(struct fg_order_events *events, struct fg_span id)
{
    return &events->buckets[fg_span_hash(id, 0) % FG_ORDER_CHANNEL_BUCKETS];
}

static struct fg_order_channel *find(struct fg_order_events *events, struct fg_span id)
{
    struct fg_list *bucket = bucket_of(events, id);
    FG_LIST_EACH_SAFE(it, after, bucket)
    {
        struct fg_order_channel *channel = FG_CONTAINER_OF(it, struct fg_order_channel, list);
        if (fg_span_equal(id, fg_span_make(channel->id, channel->id_len)))
            return channel;
    }
    return NULL;
}

/* ---- calling the watchers: any of them may leave, or a new one join, inside ---- */

struct call {
    bool is_ready; /* else a change */
    uint64_t version;
    struct fg_span status;
};

static void free_if_unwatched(struct fg_order_events *events, struct fg_order_channel *channel);

static void call_watchers(struct fg_order_events *events, struct fg_order_channel *channel,
                          const struct call *call)
{
    struct fg_list todo;
    struct fg_list *it;
    fg_list_init(&todo);
    while ((it = fg_list_pop_front(&channel->watchers)) != NULL)
        fg_list_push_back(&todo, it);
    channel->is_busy = true;
    while ((it = fg_list_pop_front(&todo)) != NULL) {
        struct fg_order_watcher *watcher = FG_CONTAINER_OF(it, struct fg_order_watcher, list);
        fg_list_push_back(&channel->watchers, it);
        if (call->is_ready)
            watcher->on_ready(watcher);
        else
            watcher->on_change(watcher, call->version, call->status);
    }
    channel->is_busy = false;
    free_if_unwatched(events, channel);
}

/* ---- messages ---- */

static struct fg_span text_of(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_STRING)
        return (struct fg_span){NULL, 0};
    return fg_span_make(reply->str, (size_t)reply->len);
}

static void on_message(redisAsyncContext *context, void *reply_object, void *private_data)
{
    struct fg_order_events *events = private_data;
    const redisReply *reply = reply_object;
    if (events->connector.context != context)
        return;
    if (reply == NULL) {
        fg_redis_connector_notice_loss(&events->connector, context);
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return;
    struct fg_span kind = text_of(reply->element[0]);
    struct fg_span name = text_of(reply->element[1]);
    size_t prefix_len = strlen(events->prefix) + 3; /* "ev:" */
    if (name.len < prefix_len)
        return;
    struct fg_order_channel *channel =
        find(events, fg_span_make(name.data + prefix_len, name.len - prefix_len));
    if (channel == NULL)
        return;
    struct call call = {.is_ready = fg_span_equal(kind, FG_SPAN("subscribe"))};
    if (call.is_ready) {
        channel->is_subscribed = channel->is_sent; /* a second one only means to read again */
    } else {
        call.status = text_of(reply->element[2]);
        struct fg_span version = fg_span_split(&call.status, ' ');
        if (!fg_span_equal(kind, FG_SPAN("message")) || !fg_span_parse_u64(version, &call.version))
            return;
    }
    call_watchers(events, channel, &call);
}

static void subscribe(struct fg_order_events *events, struct fg_order_channel *channel)
{
    channel->is_subscribed = false;
    channel->is_sent =
        redisAsyncCommand(events->connector.context, on_message, events, "SUBSCRIBE %sev:%s",
                          events->prefix, channel->id) == REDIS_OK;
}

static void free_if_unwatched(struct fg_order_events *events, struct fg_order_channel *channel)
{
    if (channel->is_busy || !fg_list_is_empty(&channel->watchers))
        return;
    if (channel->is_sent && events->connector.context != NULL)
        redisAsyncCommand(events->connector.context, NULL, NULL, "UNSUBSCRIBE %sev:%s",
                          events->prefix, channel->id);
    fg_list_remove(&channel->list);
    free(channel);
}

/* ---- the connection ---- */

static void on_open(void *owner)
{
    struct fg_order_events *events = owner;
    redisAsyncCommand(events->connector.context, on_message, events, "SUBSCRIBE %sev",
                      events->prefix);
    fg_redis_connector_settle(&events->connector);
    for (size_t i = 0; i < FG_ORDER_CHANNEL_BUCKETS; i++) {
        FG_LIST_EACH_SAFE(it, after, &events->buckets[i])
        subscribe(events, FG_CONTAINER_OF(it, struct fg_order_channel, list));
    }
}

static void on_lost(void *owner)
{
    struct fg_order_events *events = owner;
    for (size_t i = 0; i < FG_ORDER_CHANNEL_BUCKETS; i++) {
        FG_LIST_EACH_SAFE(it, after, &events->buckets[i])
        {
            struct fg_order_channel *channel = FG_CONTAINER_OF(it, struct fg_order_channel, list);
            channel->is_subscribed = false;
            channel->is_sent = false;
        }
    }
}

/* ---- public ---- */

enum fg_status fg_order_events_open(struct fg_order_events *events)
{
    for (size_t i = 0; i < FG_ORDER_CHANNEL_BUCKETS; i++)
        fg_list_init(&events->buckets[i]);
    events->connector.purpose = "events";
    events->connector.owner = events;
    events->connector.on_open = on_open;
    events->connector.on_lost = on_lost;
    return fg_redis_connector_init(&events->connector);
}

void fg_order_events_close(struct fg_order_events *events)
{
    fg_redis_connector_fini(&events->connector);
    for (size_t i = 0; i < FG_ORDER_CHANNEL_BUCKETS; i++) {
        struct fg_list *it;
        while ((it = fg_list_pop_front(&events->buckets[i])) != NULL)
            free(FG_CONTAINER_OF(it, struct fg_order_channel, list));
    }
}

enum fg_status fg_order_events_join(struct fg_order_events *events,
                                    struct fg_order_watcher *watcher, struct fg_span order_id,
                                    bool *is_ready)
{
    struct fg_order_channel *channel = find(events, order_id);
    if (order_id.len > ID_LEN_MAX)
        return FG_ERR_INVALID;
    if (channel == NULL) {
        channel = calloc(1, sizeof(*channel));
        if (channel == NULL)
            return FG_ERR_NO_MEMORY;
        memcpy(channel->id, order_id.data, order_id.len);
        channel->id_len = order_id.len;
        fg_list_init(&channel->watchers);
        fg_list_push_back(bucket_of(events, order_id), &channel->list);
    }
    if (channel->watcher_count >= FG_ORDER_WATCHERS_MAX)
        return FG_ERR_LIMIT;
    channel->watcher_count++;
    watcher->channel = channel;
    fg_list_push_back(&channel->watchers, &watcher->list);
    fg_redis_connector_start(&events->connector);
    *is_ready = channel->is_subscribed;
    if (events->connector.state == FG_CONNECTOR_SETTLED && !channel->is_sent)
        subscribe(events, channel);
    return FG_OK;
}

void fg_order_events_leave(struct fg_order_events *events, struct fg_order_watcher *watcher)
{
    struct fg_order_channel *channel = watcher->channel;
    if (channel == NULL)
        return;
    watcher->channel = NULL;
    channel->watcher_count--;
    fg_list_remove(&watcher->list);
    free_if_unwatched(events, channel);
}
