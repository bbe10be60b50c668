/*
 * write_turn.c: how much to write of a connection at once, and who may wait until others have.
 * Job      a client that takes all it is given can be given half a megabyte at once, which is half
 *          a millisecond of work; two hundred of them are a turn in which nobody else is served.
 *          So whoever has much to be sent gets it by pieces, behind everybody else's small answers.
 * Thread   one owner at a time.
 * Never    holds up whoever is sent little, or slows down one that is alone: its pieces follow each
 *          other while there is room in the turn (policies/turn_room), and the next turn comes at
 *          once.
 * Source   the order is that of policies/read_turn; served by turns of addresses, a piece each, it
 *          is deficit round robin (M. Shreedhar, G. Varghese, SIGCOMM 1995) with one quantum.
 * Law      before it is known who has much to say, a write may take what is left of the turn's
 *          budget at PLAIN_NS a byte, from the least piece to the most; behind a large one that
 *          left something to be said the next ones go last, until DOUBTS of them were small: an
 *          answer in between buys no large piece.
 */
#include "policies/write_turn.h"

#include "policies/wide_math.h"

void fg_write_turn_init(struct fg_write_turn *writes, uint64_t budget_ns)
{
    *writes = (struct fg_write_turn){.budget_ns = budget_ns};
}

bool fg_write_turn_goes_last(const struct fg_write_pace *pace)
{
    return pace->doubts > 0;
}

size_t fg_write_turn_ask(const struct fg_write_turn *writes, uint64_t turn, size_t least,
                         size_t most)
{
    uint64_t written = turn == writes->turn ? writes->bytes : 0;
    uint64_t left = fg_subtract_floor(writes->budget_ns / FG_WRITE_TURN_PLAIN_NS, written);
    if (left <= least)
        return least;
    return left < most ? (size_t)left : most;
}

void fg_write_turn_note(struct fg_write_turn *writes, uint64_t turn, size_t bytes)
{
    if (turn != writes->turn)
        writes->bytes = 0;
    writes->turn = turn;
    writes->bytes = fg_add_saturating(writes->bytes, bytes);
}

void fg_write_turn_judge(struct fg_write_pace *pace, size_t bytes, size_t large, bool is_all)
{
    if (bytes >= large && !is_all)
        pace->doubts = FG_WRITE_TURN_DOUBTS;
    else if (bytes < large && pace->doubts > 0)
        pace->doubts--;
}
