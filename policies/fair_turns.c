/*
 * fair_turns.c: whose turn it is among those who wait in one line, one of each owner a round.
 * Job      a client that asks for a thousand things at once waits for itself, not others for it.
 * Thread   one owner at a time. Memory: the struct and the callers' turns.
 * Never    lets a later one of an owner pass an earlier one of his, nor one who has nothing waiting
 *          wait for more than one of each other owner.
 * Source   fair queueing: Demers, Keshav, Shenker, "Analysis and Simulation of a Fair Queueing
 *          Algorithm" (SIGCOMM 1989), by start times as in Goyal, Vin, Cheng, "Start-time Fair
 *          Queuing" (SIGCOMM 1996), every request being of one size.
 * Law      round = the smallest of those who wait, or the one behind that in which it was served
 *          before, whichever is later, + how many of the owner's own wait already; the smallest
 *          round goes first, within it who came first.
 * Departs  A start time there is the finish time of the owner's last one, which would have to be
 *          kept for each owner. While all of an owner's wait, that is where counting them leads, if
 *          each of those that come back says when it was served: else two owners with one thing
 *          each would go on in the present round for ever, before anybody's second.
 *          They are counted in a sketch (policies/crowd) that has no memory of who waits no more.
 */
#include "policies/fair_turns.h"

#include <assert.h>
#include <stddef.h>

static struct fg_fair_turn *turn_of(struct fg_deadline_node *node)
{
    _Static_assert(offsetof(struct fg_fair_turn, node) == 0, "a node is where its turn is");
    return (struct fg_fair_turn *)(void *)node;
}

static uint32_t first_round(const struct fg_fair_turns *turns)
{
    return turns->heap.root == NULL ? 0 : turn_of(turns->heap.root)->round;
}

static uint32_t add_capped(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static uint32_t *bucket_of(struct fg_fair_turns *turns, uint32_t round)
{
    return &turns->by_round[round % FG_FAIR_ROUNDS];
}

void fg_fair_turns_add(struct fg_fair_turns *turns, struct fg_fair_turn *turn, uint64_t owner)
{
    fg_fair_turns_add_again(turns, turn, owner, 0);
}

void fg_fair_turns_add_again(struct fg_fair_turns *turns, struct fg_fair_turn *turn, uint64_t owner,
                             uint32_t round)
{
    uint32_t first = first_round(turns) > round ? first_round(turns) : round;
    turn->owner = owner;
    turn->round = add_capped(first, fg_crowd_count(&turns->owners, owner));
    uint64_t order = (uint64_t)turn->round << 32 | turns->next_number;
    turns->next_number = add_capped(turns->next_number, 1);
    fg_deadline_heap_push(&turns->heap, &turn->node, order);
    fg_crowd_add(&turns->owners, owner);
    ++*bucket_of(turns, turn->round);
    turns->count++;
}

void fg_fair_turns_remove(struct fg_fair_turns *turns, struct fg_fair_turn *turn)
{
    assert(turns->count > 0);
    fg_deadline_heap_remove(&turns->heap, &turn->node);
    fg_crowd_remove(&turns->owners, turn->owner);
    --*bucket_of(turns, turn->round);
    if (--turns->count == 0)
        turns->next_number = 0;
}

struct fg_fair_turn *fg_fair_turns_first(const struct fg_fair_turns *turns)
{
    return turns->heap.root == NULL ? NULL : turn_of(turns->heap.root);
}

uint32_t fg_fair_turns_ahead(const struct fg_fair_turns *turns, uint64_t owner)
{
    uint32_t mine = fg_crowd_count(&turns->owners, owner);
    uint32_t ahead = 0;
    if (mine >= FG_FAIR_ROUNDS)
        return turns->count;
    for (uint32_t i = 0; i <= mine; i++)
        ahead += turns->by_round[(first_round(turns) + i) % FG_FAIR_ROUNDS];
    return ahead;
}
