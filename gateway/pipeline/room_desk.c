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

/* An exchange: one question, and, when it watches, the stream that follows. */
struct call {
    struct fg_list list; /* alone while it does not watch */
    struct desk_thread *thread;
    struct fg_exchange *ex;
    struct fg_room_inquiry inquiry;
    bool is_asking;
    bool is_watching; /* the head of the stream has been sent */
    uint64_t due_ns;
    uint64_t written_ns;
    uint64_t position; /* as last written */
    bool is_blocked;
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
    bool is_full = result->place.status == FG_WAITING_ROOM_FULL;
    const struct fg_field fields[] = {
        {FG_SPAN("content-type"), FG_SPAN("application/json")},
        {FG_SPAN("content-length"), fg_arena_try_u64(ex->arena, text.len)},
        {FG_SPAN("cache-control"), FG_SPAN("no-store")},
        {FG_SPAN("retry-after"),
         fg_arena_try_u64(ex->arena, fg_clock_round_up_s(result->retry_after_ns))},
    };
    if (fields[1].value.data == NULL || fields[3].value.data == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    unsigned status = result->is_address_full ? 429 : is_full ? 503 : 200;
    fg_exchange_head(ex, status, fields, is_full ? 4 : 3);
    (void)fg_exchange_write(ex, text.data, text.len);
    fg_exchange_end(ex);
}

/* ---- streams ---- */

static void set_timer(struct desk_thread *thread)
{
    if (thread->is_timer_set || fg_list_is_empty(&thread->streams))
        return;
    const struct call *first = FG_CONTAINER_OF(thread->streams.next, struct call, list);
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t wait_us = first->due_ns > now_ns ? (first->due_ns - now_ns) / 1000 + 1 : 1;
    struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                           .tv_usec = (suseconds_t)(wait_us % 1000000)};
    thread->is_timer_set = evtimer_add(thread->timer, &wait) == 0;
}

/* The exchange is over, or about to be. */
static void let_go(struct call *call)
{
    call->ex->backend_state = NULL;
    if (call->is_asking)
        fg_room_ask_cancel(&call->inquiry);
    if (call->is_watching) {
        fg_list_remove(&call->list);
        call->thread->stream_count--;
    }
}

static void write_event(struct call *call, const char *name)
{
    const struct fg_room_visit *visit = &call->inquiry.visit;
    char buffer[EVENT_BYTES];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    fg_text_add(&text, FG_SPAN("event: "));
    fg_text_add(&text, fg_span_from_string(name));
    fg_text_add(&text, FG_SPAN("\ndata: "));
    fg_room_add_json(&text, visit);
    fg_text_add(&text, FG_SPAN("\n\n"));
    call->written_ns = fg_clock_monotonic_ns();
    call->position = visit->place.position;
    if (!fg_exchange_write(call->ex, text.data, text.len))
        call->is_blocked = true;
}

/* Tell who watches what has changed; may end the exchange. */
static void tell(struct call *call)
{
    const struct fg_waiting_room_place *place = &call->inquiry.visit.place;
    if (place->status == FG_WAITING_ROOM_WAITING) {
        uint64_t quiet_ns = fg_clock_monotonic_ns() - call->written_ns;
        if (!call->is_blocked && (place->position != call->position || quiet_ns >= QUIET_NS))
            write_event(call, "place");
        return;
    }
    struct fg_exchange *ex = call->ex;
    write_event(call, place->status == FG_WAITING_ROOM_ADMITTED ? "turn" : "lost");
    let_go(call);
    fg_exchange_end(ex);
}

static void on_answer(void *owner);

/* True: it is answered. */
static bool ask(struct call *call, enum fg_room_wish wish, struct fg_span paper)
{
    struct fg_flow *flow = fg_flow_of_exchange(call->ex);
    struct fg_room *room = room_of(flow);
    call->inquiry = (struct fg_room_inquiry){.room = room,
                                             .wish = wish,
                                             .caller = fg_room_caller_of(flow, room),
                                             .paper = call->paper,
                                             .on_done = on_answer,
                                             .owner = call};
    if (paper.data != NULL)
        call->inquiry.caller.paper = paper;
    call->is_asking = !fg_room_ask(&call->inquiry, flow->thread->shared_state);
    return !call->is_asking;
}

static void look(struct call *call)
{
    if (call->is_asking)
        return;
    struct fg_span newest = fg_span_make(call->paper, FG_ROOM_TICKET_TEXT);
    if (ask(call, FG_ROOM_LOOK, newest))
        tell(call);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct desk_thread *thread = arg;
    uint64_t now_ns = fg_clock_monotonic_ns();
    thread->is_timer_set = false;
    for (unsigned i = 0; i < LOOKS_AT_ONCE && !fg_list_is_empty(&thread->streams); i++) {
        struct call *call = FG_CONTAINER_OF(thread->streams.next, struct call, list);
        if (call->due_ns > now_ns)
            break;
        call->due_ns = now_ns + LOOK_NS;
        fg_list_remove(&call->list);
        fg_list_push_back(&thread->streams, &call->list);
        look(call);
    }
    set_timer(thread);
}

static void begin_stream(struct call *call)
{
    static const struct fg_field fields[] = {
        {FG_SPAN_LITERAL("content-type"), FG_SPAN_LITERAL("text/event-stream")},
        {FG_SPAN_LITERAL("cache-control"), FG_SPAN_LITERAL("no-store")},
    };
    struct desk_thread *thread = call->thread;
    const struct fg_room_visit *visit = &call->inquiry.visit;
    uint64_t most = fg_room_conf(call->inquiry.room)->streams_max;
    if (thread->stream_count >= (most + thread->thread_count - 1) / thread->thread_count) {
        call->ex->backend_state = NULL;
        fg_exchange_refuse(
            call->ex,
            &(struct fg_backend_refusal){
                .status = 503,
                .type = "overloaded",
                .code = "too_many_streams",
                .message = "as many clients watch their place as may; ask without a stream",
                .policy = "streams_max",
                .value = thread->stream_count,
                .limit = (most + thread->thread_count - 1) / thread->thread_count,
                .retry_after_ms = visit->retry_after_ns / FG_MS + 1,
            });
        return;
    }
    call->is_watching = true;
    call->due_ns = fg_clock_monotonic_ns() + LOOK_NS;
    fg_list_push_back(&thread->streams, &call->list);
    thread->stream_count++;
    fg_exchange_head(call->ex, 200, fields, 2);
    write_event(call, "place");
    set_timer(thread);
}

/* ---- the backend ---- */

/* The first question is answered. */
static void reply(struct call *call)
{
    struct fg_exchange *ex = call->ex;
    struct fg_flow *flow = fg_flow_of_exchange(ex);
    const struct fg_room_visit *visit = &call->inquiry.visit;
    struct fg_span accept = fg_exchange_field(ex, FG_SPAN("accept"));
    fg_room_give_paper(flow, call->inquiry.room, visit);
    if (ex->method == FG_METHOD_GET && visit->place.status == FG_WAITING_ROOM_WAITING &&
        visit->paper.len == FG_ROOM_TICKET_TEXT &&
        fg_span_equal(accept, FG_SPAN("text/event-stream"))) {
        begin_stream(call);
        return;
    }
    ex->backend_state = NULL;
    answer(ex, visit);
}

static void on_answer(void *owner)
{
    struct call *call = owner;
    call->is_asking = false;
    if (call->is_watching)
        tell(call);
    else
        reply(call);
}

static void start(struct fg_backend_thread *base, struct fg_exchange *ex)
{
    struct call *call = fg_arena_try_zalloc(ex->arena, sizeof(*call));
    if (call == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_NO_MEMORY, "request arena used up");
        return;
    }
    call->thread = (struct desk_thread *)base;
    call->ex = ex;
    fg_list_init(&call->list);
    ex->backend_state = call;
    enum fg_room_wish wish = ex->method == FG_METHOD_POST     ? FG_ROOM_JOIN
                             : ex->method == FG_METHOD_DELETE ? FG_ROOM_LEAVE
                                                              : FG_ROOM_LOOK;
    if (ask(call, wish, (struct fg_span){NULL, 0}))
        reply(call);
}

static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    (void)data;
    (void)is_last;
    fg_exchange_consumed(ex, len); /* it says nothing */
}

static void on_writable(struct fg_exchange *ex)
{
    struct call *call = ex->backend_state;
    if (call != NULL)
        call->is_blocked = false;
}

static void cancel(struct fg_exchange *ex)
{
    if (ex->backend_state != NULL)
        let_go(ex->backend_state);
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
