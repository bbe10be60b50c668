/*
 * read_pace.h: policies/read_turn for what servers send.
 * Job      an answer in chunks or frames of a few bytes, sent as fast as a server can, must not
 *          keep the other requests of the loop waiting; nor must forty large ones that come at
 *          once. Who has more than one go takes, or is dear to read, goes last in a turn.
 * Thread   the owning event loop.
 * Never    forgets a connection whose TLS layer holds bytes back: nothing would tell of them.
 *
 *    readable --> due? --no--> (next turn)
 *                   `--> go: reads, until it has had its room or there is no more
 *                   `--> last --end of the turn--> go, while there is room in the turn
 */
#ifndef FG_PROXY_READ_PACE_H
#define FG_PROXY_READ_PACE_H

#include "proxy_internal.h"

#include "base/clock.h"

static inline struct fg_read_turn *fg_read_pace_law(const struct fg_upstream *upstream)
{
    return &upstream->thread->env.reads->law;
}

static inline uint64_t fg_read_pace_turn(const struct fg_upstream *upstream)
{
    const uint64_t *turn = upstream->thread->env.turn;
    return turn == NULL ? 0 : *turn;
}

/*
 * May it be read now? If not, it is asked again: in this turn, when others are done, or in the next
 * one, by its socket, which stays readable, or for what its TLS layer holds.
 */
static inline bool fg_read_pace_is_due(struct fg_upstream *upstream)
{
    struct fg_read_turn *law = fg_read_pace_law(upstream);
    uint64_t turn = fg_read_pace_turn(upstream);
    if (!fg_read_turn_is_due(law, turn, &upstream->pace)) {
        if (fg_upstream_has_pending(upstream))
            fg_upstream_read_again(upstream);
        return false;
    }
    if (!fg_read_turn_goes_last(law, turn, &upstream->pace))
        return true;
    fg_upstream_read_last(upstream);
    return false;
}

/* A go begins: sets what it may read at most. */
static inline void fg_read_pace_ask(struct fg_upstream *upstream)
{
    (void)fg_read_turn_ask(fg_read_pace_law(upstream), fg_read_pace_turn(upstream), &upstream->pace,
                           FG_READ_BYTES);
}

/* How much of that it may yet. */
static inline size_t fg_read_pace_room(const struct fg_upstream *upstream)
{
    return upstream->pace.left;
}

/* More is at hand above the socket: may the go take it as well? If not, it is asked again. */
static inline bool fg_read_pace_goes_on(struct fg_upstream *upstream)
{
    if (!fg_upstream_has_pending(upstream))
        return false;
    if (fg_read_pace_room(upstream) > 0 && !upstream->has_small_records)
        return true;
    fg_read_turn_cut(&upstream->pace);
    fg_upstream_read_again(upstream);
    return false;
}

/* `got` bytes were read and are about to be looked at. 0: nobody measures that. */
static inline uint64_t fg_read_pace_begin(struct fg_upstream *upstream, size_t got)
{
    struct fg_read_turn *law = fg_read_pace_law(upstream);
    bool is_large = fg_read_turn_got(law, fg_read_pace_turn(upstream), &upstream->pace, got);
    return is_large && law->budget_ns > 0 ? fg_clock_thread_ns() : 0;
}

/* They were, and the connection is still the one that they came from. */
static inline void fg_read_pace_end(struct fg_upstream *upstream, size_t got, uint64_t begun_ns)
{
    struct fg_proxy_thread *thread = upstream->thread;
    if (begun_ns > 0 &&
        fg_read_turn_note(fg_read_pace_law(upstream), fg_read_pace_turn(upstream), &upstream->pace,
                          FG_READ_BYTES, got, fg_clock_thread_ns() - begun_ns))
        fg_counter_add_owned(&thread->metrics->dear_reads, 1);
}

#endif
