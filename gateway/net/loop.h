/*
 * loop.h: one event-loop thread and what belongs to it alone: libevent base, mailbox, memory pools.
 * Job      run the loop; run reapers at the end of each turn; measure the loop's lag.
 * Thread   created by the main thread; all else on its own thread, but for fg_loop_mailbox.
 * Never    blocks, but for a pause it was allowed. More than 100 us of work belongs in the helper
 *          pool.
 */
#ifndef FG_NET_LOOP_H
#define FG_NET_LOOP_H

#include "base/arena.h"
#include "base/counters_shared.h"
#include "base/list.h"
#include "base/mailbox_shared.h"

struct event_base;
struct fg_loop;

/* What those who go last have had of a turn, in any line (net/last_line.h). Zeroed: nothing. */
struct fg_last_share {
    uint64_t turn; /* which one */
    uint64_t taken_ns;
};

/* Work to be done once at the end of the current turn: flush a connection's output, free objects
 * that must not be freed inside their own callback. Zeroed is idle. */
struct fg_deferred {
    struct fg_list link;
    void (*run)(struct fg_deferred *deferred);
    bool is_pending;
    bool is_put_off; /* pending, for the end of the next turn */
};

/* NULL when memory or descriptors are short. `request_chunks_max` bounds the arena pool (4 KiB
 * each). */
struct fg_loop *fg_loop_create(unsigned index, size_t request_chunks_max);
void fg_loop_destroy(struct fg_loop *loop);

/* Runs until fg_loop_stop. Between turns: deferred work, in order, until none is left. */
void fg_loop_run(struct fg_loop *loop);
void fg_loop_stop(struct fg_loop *loop); /* own thread only; others post a message that calls it */

unsigned fg_loop_index(const struct fg_loop *loop);
struct event_base *fg_loop_base(struct fg_loop *loop);
struct fg_mailbox *fg_loop_mailbox(struct fg_loop *loop); /* any thread may post to it */
struct fg_arena_pool *fg_loop_arena_pool(struct fg_loop *loop);

/* The number of the turn that runs, and where it stands. */
uint64_t fg_loop_turn(const struct fg_loop *loop);
const uint64_t *fg_loop_turn_place(const struct fg_loop *loop);

/* That of all lines of the loop. */
struct fg_last_share *fg_loop_last_share(struct fg_loop *loop);

/* Monotonic time, read once a turn and after fg_loop_refresh_now: cheap, at most a turn old. */
uint64_t fg_loop_now_ns(const struct fg_loop *loop);
void fg_loop_refresh_now(struct fg_loop *loop);
/* The wall time of a monotonic one; a clock that is set is followed within a tenth of a second. */
uint64_t fg_loop_wall_of_ns(const struct fg_loop *loop, uint64_t monotonic_ns);

/* Run `deferred` at the end of this turn, put off or not; once, however often it is asked. */
void fg_loop_defer(struct fg_loop *loop, struct fg_deferred *deferred);
/* The same, behind all that is deferred so. What asks for it there has its time in the next turn,
 * which comes at once. */
void fg_loop_defer_late(struct fg_loop *loop, struct fg_deferred *deferred);
/* Run it at the end of the next turn, which comes at once and does not wait for events: what would
 * be done by halves now may be whole by then. Not while it is pending. */
void fg_loop_put_off(struct fg_loop *loop, struct fg_deferred *deferred);
/* Before the turn that what is put off waits for, a busy loop pauses for `most_ns` at most, so that
 * more comes together (policies/gather_pause). Less than a second; 0, as at first: never. */
void fg_loop_set_gather_pause(struct fg_loop *loop, uint64_t most_ns);
/* What fg_loop_run does at the end of a turn; for tests that take turns by hand. */
void fg_loop_run_deferred(struct fg_loop *loop);
/* Takes it back, if pending. */
void fg_loop_defer_cancel(struct fg_loop *loop, struct fg_deferred *deferred);

/* Smoothed delay between a timer's due time and its run, ns; any thread may read. */
uint64_t fg_loop_lag_ns(const struct fg_loop *loop);

/* How often it paused; any thread may read. */
uint64_t fg_loop_pauses(const struct fg_loop *loop);

/* Memory of the arenas of open requests, a tenth of a second old, and the most that it can be; any
 * thread may read. */
uint64_t fg_loop_request_bytes(const struct fg_loop *loop);
uint64_t fg_loop_request_bytes_max(const struct fg_loop *loop);

/* Debug check that the caller is the loop's thread. */
void fg_loop_assert_owner(const struct fg_loop *loop);

#endif
