/*
 * loop.c: one turn is: wait for events, run their callbacks, run what they deferred.
 * Job      wrap libevent's base; keep the deferred list, the clock of the turn and the lag.
 * Thread   the loop's own; the lag is a counter that anyone may read.
 * Never    runs deferred work inside an event callback, so an object may defer its own end.
 * Memory   one object; the deferred list is intrusive.
 *
 *    wait --> callbacks --> deferred (until the list is empty) --> late --> deferred --> wait
 *     |   `-- not if something is late already: it is the next turn's --------------------'
 *     `-- a look only while something is put off to the end of this turn, and behind a pause
 *         where the loop is busy, so that the look finds more (policies/gather_pause)
 */
#include "net/loop.h"

#include "base/clock.h"
#include "policies/gather_pause.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define LAG_PERIOD_NS (100 * FG_MS)
/*
 * A queue that is shed at once is thousands of refusals; what each is in all, with its answer,
 * takes some four times as long as its message. Others want their turn between.
 */
#define REFUSALS_NS (FG_MS / 10)
#define LAG_SHIFT 3           /* each sample weighs an eighth */
#define TIMER_SLACK_NS 1000ul /* Linux adds 50 us to a pause otherwise */

struct fg_loop {
    unsigned index;
    bool is_stopping;
    bool has_owner;
    pthread_t owner;
    struct event_base *base;
    struct event *mailbox_event;
    struct fg_deferred more_messages; /* that may wait, and do until the next turn */
    struct event *lag_event;
    struct fg_mailbox mailbox;
    struct fg_arena_pool arena_pool;
    struct fg_list deferred;
    struct fg_list late;    /* behind all of these */
    struct fg_list put_off; /* until the end of the next turn */
    struct fg_last_share last_share;
    struct fg_gather_pause pause;
    uint64_t turn;
    uint64_t now_ns;
    uint64_t began_ns;       /* the turn, valid unless is_now_stale */
    bool is_now_stale;       /* the loop may have slept since now_ns was read */
    uint64_t wall_offset_ns; /* from monotonic to wall time, as of the last look at the lag */
    uint64_t lag_due_ns;
    struct fg_counter lag_ns;
    struct fg_counter request_bytes; /* in arenas; published with the lag */
    struct fg_counter pauses;
};

static void on_mailbox(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *loop = arg;
    if (fg_mailbox_drain_some(&loop->mailbox, REFUSALS_NS))
        fg_loop_defer(loop, &loop->more_messages);
}

/* Not from within the callback: libevent would run it again in this turn. */
static void on_more_messages(struct fg_deferred *deferred)
{
    struct fg_loop *loop = FG_CONTAINER_OF(deferred, struct fg_loop, more_messages);
    event_active(loop->mailbox_event, EV_READ, 1);
}

static void note_wall(struct fg_loop *loop, uint64_t now_ns)
{
    loop->wall_offset_ns = fg_clock_wall_ns() - now_ns;
}

static void on_lag_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_loop *loop = arg;
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t late_ns = now_ns > loop->lag_due_ns ? now_ns - loop->lag_due_ns : 0;
    uint64_t lag_ns = fg_counter_get(&loop->lag_ns);
    lag_ns = lag_ns - (lag_ns >> LAG_SHIFT) + (late_ns >> LAG_SHIFT);
    fg_counter_set(&loop->lag_ns, lag_ns);
    loop->lag_due_ns = now_ns + LAG_PERIOD_NS;
    note_wall(loop, now_ns);
    fg_counter_set(&loop->request_bytes, loop->arena_pool.chunks_in_use * FG_ARENA_CHUNK_BYTES);
}

static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static bool start_events(struct fg_loop *loop)
{
    loop->mailbox_event =
        event_new(loop->base, loop->mailbox.event_fd, EV_READ | EV_PERSIST, on_mailbox, loop);
    loop->lag_event = event_new(loop->base, -1, EV_PERSIST, on_lag_timer, loop);
    if (loop->mailbox_event == NULL || loop->lag_event == NULL)
        return false;
    const struct timeval period = {.tv_usec = (suseconds_t)(LAG_PERIOD_NS / FG_US)};
    return event_add(loop->mailbox_event, NULL) == 0 && event_add(loop->lag_event, &period) == 0;
}

static void free_events(struct fg_loop *loop)
{
    if (loop->mailbox_event != NULL)
        event_free(loop->mailbox_event);
    if (loop->lag_event != NULL)
        event_free(loop->lag_event);
}

struct fg_loop *fg_loop_create(unsigned index, size_t request_chunks_max)
{
    struct fg_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return NULL;
    loop->index = index;
    loop->is_now_stale = true;
    loop->more_messages.run = on_more_messages;
    note_wall(loop, fg_clock_monotonic_ns());
    fg_list_init(&loop->deferred);
    fg_list_init(&loop->late);
    fg_list_init(&loop->put_off);
    fg_arena_pool_init(&loop->arena_pool, request_chunks_max);
    if (fg_mailbox_init(&loop->mailbox) != FG_OK)
        goto free_loop;
    loop->base = make_base();
    if (loop->base == NULL)
        goto fini_mailbox;
    if (!start_events(loop))
        goto free_base;
    return loop;
free_base:
    free_events(loop);
    event_base_free(loop->base);
fini_mailbox:
    fg_mailbox_fini(&loop->mailbox);
free_loop:
    free(loop);
    return NULL;
}

static void run_all(struct fg_list *list)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(list)) != NULL) {
        struct fg_deferred *deferred = FG_CONTAINER_OF(link, struct fg_deferred, link);
        deferred->is_pending = false;
        deferred->is_put_off = false;
        deferred->run(deferred);
    }
}

static void run_late(struct fg_loop *loop)
{
    if (fg_list_is_empty(&loop->late))
        return;
    struct fg_list late = loop->late; /* what is late from now on is the next turn's */
    late.next->prev = &late;
    late.prev->next = &late;
    fg_list_init(&loop->late);
    run_all(&late);
    run_all(&loop->deferred);
}

/* To the end of the list of what is deferred. */
static void resume_put_off(struct fg_loop *loop)
{
    struct fg_list *link;
    while ((link = fg_list_pop_front(&loop->put_off)) != NULL) {
        FG_CONTAINER_OF(link, struct fg_deferred, link)->is_put_off = false;
        fg_list_push_back(&loop->deferred, link);
    }
}

void fg_loop_run_deferred(struct fg_loop *loop)
{
    resume_put_off(loop);
    run_all(&loop->deferred);
    run_late(loop);
}

void fg_loop_destroy(struct fg_loop *loop)
{
    if (loop == NULL)
        return;
    fg_loop_run_deferred(loop);
    free_events(loop);
    event_base_free(loop->base);
    fg_mailbox_fini(&loop->mailbox);
    fg_arena_pool_fini(&loop->arena_pool);
    free(loop);
}

/* What is put off wants company; what is late wants its turn. */
static void pause_if_it_pays(struct fg_loop *loop)
{
    if (!loop->is_now_stale)
        fg_gather_pause_note(&loop->pause, loop->began_ns, fg_clock_monotonic_ns());
    if (fg_list_is_empty(&loop->put_off) || !fg_list_is_empty(&loop->late))
        return;
    uint64_t pause_ns = fg_gather_pause_ask(&loop->pause);
    if (pause_ns == 0)
        return;
    assert(pause_ns < FG_S);
    const struct timespec pause = {.tv_nsec = (long)pause_ns};
    nanosleep(&pause, NULL); /* not in epoll, where the first event would end it */
    fg_counter_add_owned(&loop->pauses, 1);
}

/* Waits for events, and runs their callbacks; not for what may never come while others wait. */
static int take_events(struct fg_loop *loop)
{
    bool has_work = !fg_list_is_empty(&loop->late) || !fg_list_is_empty(&loop->put_off);
    return event_base_loop(loop->base, EVLOOP_ONCE | (has_work ? EVLOOP_NONBLOCK : 0));
}

void fg_loop_run(struct fg_loop *loop)
{
    loop->owner = pthread_self();
    loop->has_owner = true;
    loop->is_stopping = false;
    uint64_t started_ns = fg_clock_monotonic_ns();
    loop->lag_due_ns = started_ns + LAG_PERIOD_NS;
    note_wall(loop, started_ns);
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS); /* a longer pause is no fault */
    fg_loop_run_deferred(loop);
    while (!loop->is_stopping) {
        loop->is_now_stale = true;
        loop->turn++;
        if (take_events(loop) != 0)
            break;
        fg_loop_run_deferred(loop);
        pause_if_it_pays(loop);
    }
    loop->has_owner = false;
}

void fg_loop_stop(struct fg_loop *loop)
{
    fg_loop_assert_owner(loop);
    loop->is_stopping = true;
}

unsigned fg_loop_index(const struct fg_loop *loop)
{
    return loop->index;
}

struct event_base *fg_loop_base(struct fg_loop *loop)
{
    return loop->base;
}

struct fg_mailbox *fg_loop_mailbox(struct fg_loop *loop)
{
    return &loop->mailbox;
}

struct fg_arena_pool *fg_loop_arena_pool(struct fg_loop *loop)
{
    return &loop->arena_pool;
}

uint64_t fg_loop_turn(const struct fg_loop *loop)
{
    return loop->turn;
}

const uint64_t *fg_loop_turn_place(const struct fg_loop *loop)
{
    return &loop->turn;
}

struct fg_last_share *fg_loop_last_share(struct fg_loop *loop)
{
    return &loop->last_share;
}

void fg_loop_set_gather_pause(struct fg_loop *loop, uint64_t most_ns)
{
    fg_gather_pause_init(&loop->pause, most_ns, fg_clock_monotonic_ns());
}

void fg_loop_refresh_now(struct fg_loop *loop)
{
    loop->now_ns = fg_clock_monotonic_ns();
    if (loop->is_now_stale)
        loop->began_ns = loop->now_ns;
    loop->is_now_stale = false;
}

uint64_t fg_loop_now_ns(const struct fg_loop *loop)
{
    /* Read on first use in a turn: no loop is const itself, only the callers' view of it. */
    if (loop->is_now_stale)
        fg_loop_refresh_now((struct fg_loop *)(uintptr_t)loop);
    return loop->now_ns;
}

uint64_t fg_loop_wall_of_ns(const struct fg_loop *loop, uint64_t monotonic_ns)
{
    return monotonic_ns + loop->wall_offset_ns;
}

void fg_loop_defer(struct fg_loop *loop, struct fg_deferred *deferred)
{
    assert(deferred->run != NULL);
    if (deferred->is_pending && !deferred->is_put_off)
        return;
    if (deferred->is_put_off)
        fg_list_remove(&deferred->link);
    deferred->is_put_off = false;
    deferred->is_pending = true;
    fg_list_push_back(&loop->deferred, &deferred->link);
}

void fg_loop_put_off(struct fg_loop *loop, struct fg_deferred *deferred)
{
    assert(!deferred->is_pending);
    deferred->is_pending = true;
    deferred->is_put_off = true;
    fg_list_push_back(&loop->put_off, &deferred->link);
}

void fg_loop_defer_late(struct fg_loop *loop, struct fg_deferred *deferred)
{
    assert(deferred->run != NULL);
    if (deferred->is_pending)
        return;
    deferred->is_pending = true;
    fg_list_push_back(&loop->late, &deferred->link);
}

void fg_loop_defer_cancel(struct fg_loop *loop, struct fg_deferred *deferred)
{
    (void)loop;
    if (!deferred->is_pending)
        return;
    deferred->is_pending = false;
    deferred->is_put_off = false;
    fg_list_remove(&deferred->link);
}

uint64_t fg_loop_lag_ns(const struct fg_loop *loop)
{
    return fg_counter_get(&loop->lag_ns);
}

uint64_t fg_loop_pauses(const struct fg_loop *loop)
{
    return fg_counter_get(&loop->pauses);
}

uint64_t fg_loop_request_bytes(const struct fg_loop *loop)
{
    return fg_counter_get(&loop->request_bytes);
}

uint64_t fg_loop_request_bytes_max(const struct fg_loop *loop)
{
    return loop->arena_pool.chunks_max * FG_ARENA_CHUNK_BYTES; /* constant */
}

void fg_loop_assert_owner(const struct fg_loop *loop)
{
    assert(!loop->has_owner || pthread_equal(loop->owner, pthread_self()));
}
