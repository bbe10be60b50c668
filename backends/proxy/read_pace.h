/*
 * read_pace.h: policies/read_turn for what servers send.
 * Job      an answer in chunks or frames of a few bytes, sent as fast as a server can, must not
 *          keep the other requests of the loop waiting.
 * Thread   the owning event loop.
 * Never    forgets a connection whose TLS layer holds bytes back: nothing would tell of them.
 */
#ifndef FG_PROXY_READ_PACE_H
#define FG_PROXY_READ_PACE_H

#include "proxy_internal.h"

#include "base/clock.h"

/*
 * May it be read in this turn? If not, it is asked again in the next one: by its socket, which
 * stays readable, or for what its TLS layer holds.
 */
static inline bool fg_read_pace_is_due(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    if (thread->reads.budget_ns == 0 ||
        fg_read_turn_is_due(&thread->reads, *thread->env.turn, &upstream->pace))
        return true;
    if (fg_upstream_has_pending(upstream))
        fg_upstream_read_again(upstream);
    return false;
}

/* What to read of it at most. */
static inline size_t fg_read_pace_room(struct fg_upstream *upstream)
{
    struct fg_proxy_thread *thread = upstream->thread;
    uint64_t turn = thread->reads.budget_ns == 0 ? 0 : *thread->env.turn;
    return fg_read_turn_ask(&thread->reads, turn, &upstream->pace, FG_READ_BYTES);
}

/* `got` bytes were read and are about to be looked at. 0: nobody measures that. */
static inline uint64_t fg_read_pace_begin(struct fg_upstream *upstream, size_t got)
{
    return upstream->thread->reads.budget_ns > 0 && fg_read_turn_got(&upstream->pace, got)
               ? fg_clock_thread_ns()
               : 0;
}

/* They were, and the connection is still the one that they came from. */
static inline void fg_read_pace_end(struct fg_upstream *upstream, size_t got, uint64_t begun_ns)
{
    struct fg_proxy_thread *thread = upstream->thread;
    if (begun_ns > 0 && fg_read_turn_note(&thread->reads, *thread->env.turn, &upstream->pace,
                                          FG_READ_BYTES, got, fg_clock_thread_ns() - begun_ns))
        fg_counter_add_owned(&thread->metrics->dear_reads, 1);
}

#endif
