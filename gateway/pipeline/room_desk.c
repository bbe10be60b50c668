/*
 * room_desk.c: answers about places, and the streams of those who watch theirs.
 * Streams  one timer a loop. All are due equally often, so that a list in the order of their turns
 *          needs no sorting: the first is due first, and goes to the end.
 * Memory   a stream's state is in its request's arena and does not grow; streams are bounded by
 *          streams_max of the room, in equal shares of all loops.
 */
#include "room_desk.h"

#include "base/list.h"
#include "room_client.h"

#include <event2/event.h>
#include <stdlib.h>

#define LOOK_NS FG_S         /* between two looks of a stream */
#define QUIET_NS (15 * FG_S) /* without a change something is written nevertheless */
#define LOOKS_AT_ONCE 256u   /* in one turn of the loop */
#define EVENT_BYTES (FG_ROOM_JSON_BYTES + 64)

struct desk_thread {
    struct fg_backend_thread base;
    struct event *timer;
    struct fg_list streams; /* in the order in which they are due */
    uint64_t stream_count;
    unsigned thread_count;
    bool is_timer_set;
};

struct stream {
    struct fg_list list;
    struct desk_thread *thread;
    struct fg_exchange *ex;
    uint64_t due_ns;
    uint64_t written_ns;
    uint64_t position; /* as last written */
    bool is_blocked;
    size_t paper_len;
    char paper[FG_ROOM_TICKET_TEXT]; /* the newest ticket: keys rotate while it is open */
};

static struct fg_room *room_of(const struct fg_flow *flow)
{
    return flow->thread->pipeline->rooms[flow->route->room_index];
}

/* ---- one answer ---- */

static void answer(struct fg_exchange *ex, const struct fg_room_visit *result)
{
    char buffer[FG_ROOM_JSON_BYTES];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    fg_room_add_json(&text, result);
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), FG_SPAN("application/json")},
        {FG_SPAN("content-length"), fg_arena_try_printf(ex->arena, "%zu", text.len)},
        {FG_SPAN("cache-control"), FG_SPAN("no-store")},
    };
    if (fields[1].value.data == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    bool is_full = result->place.status == FG_WAITING_ROOM_FULL;
    fg_exchange_head(ex, is_full ? 503 : 200, fields, 3);
    (void)fg_exchange_write(ex, text.data, text.len);
    fg_exchange_end(ex);
}

/* ---- streams ---- */

static void set_timer(struct desk_thread *thread)
{
    if (thread->is_timer_set || fg_list_is_empty(&thread->streams))
        return;
    const struct stream *first = FG_CONTAINER_OF(thread->streams.next, struct stream, list);
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t wait_us = first->due_ns > now_ns ? (first->due_ns - now_ns) / 1000 + 1 : 1;
    struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                           .tv_usec = (suseconds_t)(wait_us % 1000000)};
    thread->is_timer_set = evtimer_add(thread->timer, &wait) == 0;
}

static void close_stream(struct stream *stream)
{
    stream->ex->backend_state = NULL;
    fg_list_remove(&stream->list);
    stream->thread->stream_count--;
}

static void write_event(struct stream *stream, const char *name, const struct fg_room_visit *result)
{
    char buffer[EVENT_BYTES];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    fg_text_add(&text, FG_SPAN("event: "));
    fg_text_add(&text, fg_span_from_string(name));
    fg_text_add(&text, FG_SPAN("\ndata: "));
    fg_room_add_json(&text, result);
    fg_text_add(&text, FG_SPAN("\n\n"));
    stream->written_ns = fg_clock_monotonic_ns();
    stream->position = result->place.position;
    if (!fg_exchange_write(stream->ex, text.data, text.len))
        stream->is_blocked = true;
}

/* Tell the client what has changed; may end the exchange. */
static void look(struct stream *stream)
{
    struct fg_flow *flow = fg_flow_of_exchange(stream->ex);
    struct fg_room *room = room_of(flow);
    struct fg_room_caller caller = fg_room_caller_of(flow, room);
    struct fg_room_visit result;
    caller.paper = fg_span_make(stream->paper, stream->paper_len);
    fg_room_visit(room, FG_ROOM_LOOK, &caller, stream->paper, &result);
    stream->paper_len = result.paper.len;
    if (result.place.status == FG_WAITING_ROOM_WAITING) {
        uint64_t quiet_ns = caller.now_ns - stream->written_ns;
        if (!stream->is_blocked &&
            (result.place.position != stream->position || quiet_ns >= QUIET_NS))
            write_event(stream, "place", &result);
        return;
    }
    bool is_in = result.place.status == FG_WAITING_ROOM_ADMITTED;
    struct fg_exchange *ex = stream->ex;
    write_event(stream, is_in ? "turn" : "lost", &result);
    close_stream(stream);
    fg_exchange_end(ex);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct desk_thread *thread = arg;
    uint64_t now_ns = fg_clock_monotonic_ns();
    thread->is_timer_set = false;
    for (unsigned i = 0; i < LOOKS_AT_ONCE && !fg_list_is_empty(&thread->streams); i++) {
        struct stream *stream = FG_CONTAINER_OF(thread->streams.next, struct stream, list);
        if (stream->due_ns > now_ns)
            break;
        stream->due_ns = now_ns + LOOK_NS;
        fg_list_remove(&stream->list);
        fg_list_push_back(&thread->streams, &stream->list);
        look(stream);
    }
    set_timer(thread);
}

static void open_stream(struct desk_thread *thread, struct fg_exchange *ex,
                        const struct fg_room_visit *result)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/event-stream")},
        {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-store")},
    };
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    uint64_t most = fg_room_conf(room_of(flow))->streams_max;
    if (thread->stream_count >= (most + thread->thread_count - 1) / thread->thread_count) {
        fg_exchange_refuse(ex, 503, "overloaded", "too_many_streams",
                           "as many clients watch their place as may; ask without a stream",
                           result->retry_after_ns / FG_MS + 1);
        return;
    }
    struct stream *stream = fg_arena_try_zalloc(ex->arena, sizeof(*stream));
    if (stream == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    *stream = (struct stream){.thread = thread, .ex = ex, .paper_len = result->paper.len};
    if (result->paper.len > 0)
        memcpy(stream->paper, result->paper.data, result->paper.len);
    stream->due_ns = fg_clock_monotonic_ns() + LOOK_NS;
    fg_list_push_back(&thread->streams, &stream->list);
    thread->stream_count++;
    ex->backend_state = stream;
    fg_exchange_head(ex, 200, fields, 2);
    write_event(stream, "place", result);
    set_timer(thread);
}

/* ---- the backend ---- */

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    struct desk_thread *thread = (struct desk_thread *)base;
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    struct fg_room *room = room_of(flow);
    struct fg_room_caller caller = fg_room_caller_of(flow, room);
    struct fg_room_visit result;
    char *paper = fg_arena_try_alloc(ex->arena, FG_ROOM_TICKET_TEXT);
    if (paper == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    enum fg_room_wish wish = ex->method == FG_METHOD_POST     ? FG_ROOM_JOIN
                             : ex->method == FG_METHOD_DELETE ? FG_ROOM_LEAVE
                                                              : FG_ROOM_LOOK;
    fg_room_visit(room, wish, &caller, paper, &result);
    fg_room_give_paper(flow, room, &result);
    struct fg_span accept = fg_exchange_field(ex, FG_SPAN("accept"));
    if (ex->method == FG_METHOD_GET && result.place.status == FG_WAITING_ROOM_WAITING &&
        fg_span_equal(accept, FG_SPAN("text/event-stream")))
        open_stream(thread, ex, &result);
    else
        answer(ex, &result);
}

static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    (void)data;
    (void)is_last;
    fg_exchange_consumed(ex, len); /* it says nothing */
}

static void on_writable(struct fg_exchange *ex)
{
    struct stream *stream = ex->backend_state;
    if (stream != NULL)
        stream->is_blocked = false;
}

static void cancel(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        close_stream(ex->backend_state);
}

static void thread_close(struct fg_backend_thread *base)
{
    struct desk_thread *thread = (struct desk_thread *)base;
    if (thread->timer != NULL)
        event_free(thread->timer);
    free(thread);
}

static struct fg_backend_thread *
thread_open(struct fg_backend *backend, const struct fg_backend_env *env, struct fg_error *error)
{
    struct desk_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        fg_error_set(error, "no memory for the desk of the waiting rooms");
        return NULL;
    }
    thread->base.backend = backend;
    thread->thread_count = env->thread_count;
    fg_list_init(&thread->streams);
    thread->timer = evtimer_new(env->base, on_timer, thread);
    if (thread->timer == NULL) {
        fg_error_set(error, "no memory for the desk of the waiting rooms");
        thread_close(&thread->base);
        return NULL;
    }
    return &thread->base;
}

static bool is_ready(struct fg_backend *backend, const char **why)
{
    (void)backend;
    *why = "ready";
    return true;
}

static void stats(struct fg_backend *backend, json_t *into)
{
    (void)backend;
    (void)into; /* the rooms' own say it all */
}

static void destroy(struct fg_backend *backend)
{
    free(backend);
}

static const struct fg_backend_ops ops = {
    .kind = "room",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .cancel = cancel,
    .is_ready = is_ready,
    .stats = stats,
    .destroy = destroy,
};

struct fg_backend *fg_room_desk_create(void)
{
    struct fg_backend *backend = calloc(1, sizeof(*backend));
    if (backend != NULL)
        *backend = (struct fg_backend){.ops = &ops, .name = "room"};
    return backend;
}
