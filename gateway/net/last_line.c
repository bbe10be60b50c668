/*
 * last_line.c: those who go last in a turn of the loop.
 * Thread   the loop's.
 * Never    looks at the clock while nobody waits, nor at the thread's, which is a system call, for
 *          who waits alone.
 */
#include "net/last_line.h"

#include "base/clock.h"
#include "policies/turn_room.h"

#include <stddef.h>

static struct fg_last_place *first(const struct fg_last_line *line)
{
    struct fg_fair_turn *turn = fg_fair_turns_first(&line->turns);
    return turn == NULL ? NULL : FG_CONTAINER_OF(turn, struct fg_last_place, turn);
}

static struct fg_last_place *take_first(struct fg_last_line *line)
{
    struct fg_last_place *place = first(line);
    if (place == NULL)
        return NULL;
    fg_last_line_remove(line, place);
    place->next_round = place->turn.round + 1;
    place->period = line->period;
    if (first(line) == NULL)
        line->period++; /* everybody has been served */
    return place;
}

/* What lines that were served before have had of this turn. */
static uint64_t taken_before(const struct fg_last_line *line)
{
    struct fg_last_share *share = line->share;
    uint64_t turn = fg_loop_turn(line->loop);
    if (share->turn != turn)
        *share = (struct fg_last_share){.turn = turn};
    return share->taken_ns;
}

/* What it took; no other depends on that but those of other lines. */
static uint64_t serve_alone(struct fg_last_line *line, uint64_t now_ns)
{
    line->serve(take_first(line));
    return fg_clock_monotonic_ns() - now_ns;
}

/* What they took. */
static uint64_t serve_while_there_is_room(struct fg_last_line *line, uint64_t others_ns,
                                          uint64_t taken_ns)
{
    uint64_t began_ns = fg_clock_thread_ns(), now_ns = began_ns, before_ns;
    struct fg_last_place *place;
    while ((place = take_first(line)) != NULL) {
        before_ns = now_ns;
        line->serve(place);
        now_ns = fg_clock_thread_ns();
        if (!fg_turn_has_room(line->budget_ns, others_ns, taken_ns + now_ns - began_ns,
                              now_ns - before_ns))
            break; /* the next one would not fit */
    }
    return now_ns - began_ns;
}

/* What all others took meanwhile is theirs. */
static void on_last(struct fg_deferred *work)
{
    struct fg_last_line *line = FG_CONTAINER_OF(work, struct fg_last_line, work);
    uint64_t now_ns = fg_clock_monotonic_ns();
    uint64_t taken_ns = taken_before(line);
    uint64_t others_ns = fg_subtract_floor(now_ns - line->since_ns, taken_ns);
    line->is_serving = true;
    if (line->turns.count == 1)
        taken_ns += serve_alone(line, now_ns);
    if (first(line) != NULL)
        taken_ns += serve_while_there_is_room(line, others_ns, taken_ns);
    line->is_serving = false;
    line->share->taken_ns = taken_ns;
    line->since_ns = fg_clock_monotonic_ns();
    if (first(line) != NULL)
        fg_loop_defer_late(line->loop, &line->work);
}

void fg_last_line_init(struct fg_last_line *line, struct fg_loop *loop, struct fg_last_share *share,
                       void (*serve)(struct fg_last_place *place))
{
    line->loop = loop;
    line->share = share;
    line->serve = serve;
    line->work.run = on_last;
}

void fg_last_line_fini(struct fg_last_line *line)
{
    fg_loop_defer_cancel(line->loop, &line->work);
}

void fg_last_line_add(struct fg_last_line *line, struct fg_last_place *place, uint64_t owner)
{
    if (place->is_taken)
        return;
    place->is_taken = true;
    uint32_t round = place->period == line->period ? place->next_round : 0;
    fg_fair_turns_add_again(&line->turns, &place->turn, owner, round);
    if (line->work.is_pending || line->is_serving)
        return;
    line->since_ns = fg_clock_monotonic_ns();
    fg_loop_defer_late(line->loop, &line->work);
}

void fg_last_line_remove(struct fg_last_line *line, struct fg_last_place *place)
{
    if (!place->is_taken)
        return;
    place->is_taken = false;
    fg_fair_turns_remove(&line->turns, &place->turn);
}
