/*
 * timeouts.c: lists that are in order because all of one list wait equally long.
 */
#include "net/timeouts.h"

#include "backends/pressure_shared.h"
#include "base/clock.h"
#include "config/config.h"
#include "net/loop.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <event2/event.h>

#define TICK_NS (100 * FG_MS)
#define LINGER_NS (2 * FG_S)
#define REST_NS FG_S
#define PROBE_NS (250 * FG_MS)
/*
 * What came together ends together, and others want their turn between: to close a socket takes a
 * quarter of a millisecond where megabytes wait in it. The next turn comes at once for the others.
 */
#define FIRED_A_RUN 8u /* an answer each, in a write of its own: 40 microseconds with all of that */
#define RUN_NS (FG_MS / 10)

static void arm_tick(struct fg_timeouts *timeouts, uint64_t after_ns)
{
    const struct timeval period = {.tv_usec = (suseconds_t)(after_ns / FG_US)};
    timeouts->is_ticking = event_add(timeouts->tick, &period) == 0;
}

static bool is_empty(const struct fg_timeouts *timeouts)
{
    for (size_t i = 0; i < FG_TIMEOUT_CLASS_COUNT; i++) {
        if (!fg_list_is_empty(&timeouts->lists[i]))
            return false;
    }
    return true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fg_timeouts *timeouts = arg;
    timeouts->is_ticking = false;
    bool is_behind = fg_timeouts_run(timeouts, fg_loop_now_ns(timeouts->loop));
    if (is_behind)
        arm_tick(timeouts, 0); /* behind whatever has come in */
    else if (!timeouts->is_ticking && !is_empty(timeouts))
        arm_tick(timeouts, TICK_NS);
}

void fg_timeouts_set_limits(struct fg_timeouts *timeouts, const struct fg_limits_conf *limits)
{
    timeouts->durations_ns[FG_TIMEOUT_HANDSHAKE] = limits->handshake_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_HEADER] = limits->header_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_IDLE] = limits->idle_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_WRITE] = limits->write_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_LINGER] = LINGER_NS;
    timeouts->durations_ns[FG_TIMEOUT_BODY] = limits->body_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_LATE_BODY] = limits->late_body_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_STREAM_WRITE] = limits->write_timeout_ns;
    timeouts->durations_ns[FG_TIMEOUT_REST] = REST_NS;
    timeouts->durations_ns[FG_TIMEOUT_PROBE] = PROBE_NS;
}

enum fg_status fg_timeouts_init(struct fg_timeouts *timeouts, struct fg_loop *loop,
                                const struct fg_limits_conf *limits)
{
    *timeouts = (struct fg_timeouts){.loop = loop};
    for (size_t i = 0; i < FG_TIMEOUT_CLASS_COUNT; i++)
        fg_list_init(&timeouts->lists[i]);
    fg_timeouts_set_limits(timeouts, limits);
    timeouts->tick = event_new(fg_loop_base(loop), -1, 0, on_tick, timeouts);
    return timeouts->tick == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

void fg_timeouts_fini(struct fg_timeouts *timeouts)
{
    if (timeouts->tick == NULL)
        return;
    assert(is_empty(timeouts));
    event_free(timeouts->tick);
    timeouts->tick = NULL;
}

void fg_timeout_arm(struct fg_timeouts *timeouts, struct fg_timeout *timeout,
                    enum fg_timeout_class class)
{
    assert(timeout->on_due != NULL);
    if (timeout->due_ns != 0)
        fg_list_remove(&timeout->link);
    timeout->due_ns = fg_loop_now_ns(timeouts->loop) + timeouts->durations_ns[class];
    fg_list_push_back(&timeouts->lists[class], &timeout->link);
    if (!timeouts->is_ticking)
        arm_tick(timeouts, TICK_NS);
}

void fg_timeout_cancel(struct fg_timeout *timeout)
{
    if (timeout->due_ns == 0)
        return;
    timeout->due_ns = 0;
    fg_list_remove(&timeout->link);
}

uint64_t fg_timeout_armed_ns(const struct fg_timeouts *timeouts, const struct fg_timeout *timeout,
                             enum fg_timeout_class class)
{
    return fg_subtract_floor(timeout->due_ns, timeouts->durations_ns[class]);
}

/* How much earlier than armed the timeouts of a class end now. As all of a list were armed with the
 * same duration, it stays in order. */
static uint64_t cut_of(const struct fg_timeouts *timeouts, size_t class)
{
    bool is_idle =
        class == FG_TIMEOUT_HANDSHAKE || class == FG_TIMEOUT_HEADER || class == FG_TIMEOUT_IDLE;
    if (!is_idle || !fg_pressure_asks(timeouts->pressure, FG_OVERLOAD_SHORTEN_IDLE))
        return 0;
    uint64_t whole_ns = timeouts->durations_ns[class];
    return whole_ns - whole_ns / 1000 * timeouts->pressure->idle_permille;
}

static bool is_enough(unsigned fired, uint64_t started_ns)
{
    return fired >= FIRED_A_RUN || (fired > 0 && fg_clock_monotonic_ns() - started_ns > RUN_NS);
}

bool fg_timeouts_run(struct fg_timeouts *timeouts, uint64_t now_ns)
{
    uint64_t started_ns = fg_clock_monotonic_ns();
    unsigned fired = 0;
    for (size_t i = 0; i < FG_TIMEOUT_CLASS_COUNT; i++) {
        struct fg_list *head = &timeouts->lists[i];
        uint64_t cut_ns = cut_of(timeouts, i);
        struct fg_list mark; /* behind what waits now: what is armed anew waits for the next run */
        fg_list_push_back(head, &mark);
        /* Taken from the front each time: a callback may cancel or re-arm any other. */
        while (head->next != &mark) {
            struct fg_timeout *first = FG_CONTAINER_OF(head->next, struct fg_timeout, link);
            if (first->due_ns > fg_add_saturating(now_ns, cut_ns))
                break;
            if (is_enough(fired++, started_ns)) {
                fg_list_remove(&mark);
                return true;
            }
            if (first->due_ns > now_ns)
                fg_pressure_acted(timeouts->pressure, FG_OVERLOAD_SHORTEN_IDLE);
            fg_timeout_cancel(first);
            first->on_due(first);
        }
        fg_list_remove(&mark);
    }
    return false;
}
