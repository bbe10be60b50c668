/*
 * gather_pause.c: how long an event loop pauses before it looks what came, by how busy it is.
 * Job      a loop that keeps pace with its work finds an event or two each time it looks: it is
 *          woken for each, and each answer is a write, a record and a segment of its own. One that
 *          has fallen behind finds many, and a request costs it two thirds. A pause shorter than
 *          anybody notices makes the first like the second.
 * Thread   one owner at a time.
 * Never    pauses where there is time for everything, or where there is none to lose.
 * Source   software interrupt coalescing: Linux's Documentation/networking/napi.rst
 *          (gro_flush_timeout); when it pays by load: K. Salah, "To coalesce or not to coalesce",
 *          Int. J. Electron. Commun. 61(4), 2007.
 * Law      u = busy time / time, over the last turns; pause = most x clamp((MOST - u) / (MOST -
 *          FULL)), and none below LEAST. What the pause takes is idle time: where demand grows
 *          beyond it, turns grow longer, u tends to 1 and the pause to nothing, so no capacity is
 *          lost. A turn and its period count for PERIOD_MOST at most: an idle hour is forgotten as
 *          soon as an idle millisecond.
 */
#include "policies/gather_pause.h"

#include "policies/wide_math.h"

#define PERIOD_MOST UINT64_C(1000000) /* ns */

void fg_gather_pause_init(struct fg_gather_pause *pause, uint64_t most_ns, uint64_t now_ns)
{
    *pause = (struct fg_gather_pause){.most_ns = most_ns, .ended_ns = now_ns};
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

static void smooth(uint64_t *sum, uint64_t value)
{
    *sum = *sum - *sum / FG_GATHER_PAUSE_TURNS + value;
}

void fg_gather_pause_note(struct fg_gather_pause *pause, uint64_t began_ns, uint64_t ended_ns)
{
    uint64_t period_ns = at_most(fg_subtract_floor(ended_ns, pause->ended_ns), PERIOD_MOST);
    uint64_t busy_ns = at_most(fg_subtract_floor(ended_ns, began_ns), period_ns);
    pause->ended_ns = ended_ns;
    smooth(&pause->period_ns, period_ns);
    smooth(&pause->busy_ns, busy_ns);
}

uint64_t fg_gather_pause_ask(const struct fg_gather_pause *pause)
{
    if (pause->period_ns == 0)
        return 0;
    uint64_t permille = pause->busy_ns * 1000 / pause->period_ns;
    if (permille < FG_GATHER_PAUSE_LEAST_PERMILLE)
        return 0;
    const uint64_t slope = FG_GATHER_PAUSE_MOST_PERMILLE - FG_GATHER_PAUSE_FULL_PERMILLE;
    uint64_t spare = at_most(fg_subtract_floor(FG_GATHER_PAUSE_MOST_PERMILLE, permille), slope);
    return pause->most_ns / slope * spare;
}
