/*
 * room_holders.c: which place of a line is whose, so that everybody has one.
 * Job      say to who comes without a ticket, or with one that is used up, which place it has.
 * Thread   one owner at a time.
 * Memory   16 bytes for each who may wait, of the caller's; never grows, never looks at more than
 *          one set.
 * Never    is the truth: that is the line, where a place may have been left or used since.
 *
 *    set of eight:  [ tag 48 | epoch 16 ][ number 40 | second 24 ]  ...
 *
 * A tag is 47 bits of a keyed hash beside those that chose the set: that one of a million people
 * in a full table is taken for another has a chance of one in ten million.
 */
#include "policies/room_holders.h"

#include <assert.h>

#define WAYS 8u
#define EPOCH_BITS 16u
#define SECOND_BITS 24u
#define SECOND_MASK ((UINT64_C(1) << SECOND_BITS) - 1)

static uint64_t sets_for(uint64_t capacity)
{
    return capacity / WAYS + 1;
}

size_t fg_room_holders_bytes(uint64_t capacity)
{
    return (size_t)(sets_for(capacity) * WAYS * 2 * sizeof(uint64_t));
}

struct fg_room_holders fg_room_holders_over(void *memory, uint64_t capacity)
{
    return (struct fg_room_holders){memory, sets_for(capacity)};
}

static uint64_t *set_of(const struct fg_room_holders *holders, struct fg_room_holder_id holder)
{
    return &holders->entries[holder.lo % holders->set_count * WAYS * 2];
}

/* None is 0, which is nobody's. */
static uint64_t tag_of(struct fg_room_holder_id holder)
{
    return (holder.hi >> EPOCH_BITS | 1) << EPOCH_BITS;
}

static uint64_t short_epoch(uint64_t epoch)
{
    return (epoch ^ epoch >> 16 ^ epoch >> 32 ^ epoch >> 48) & ((1u << EPOCH_BITS) - 1);
}

static uint64_t *entry_of(const struct fg_room_holders *holders, struct fg_room_holder_id holder)
{
    uint64_t *set = set_of(holders, holder);
    for (unsigned way = 0; way < WAYS; way++) {
        if (set[2 * way] >> EPOCH_BITS << EPOCH_BITS == tag_of(holder))
            return &set[2 * way];
    }
    return NULL;
}

bool fg_room_holders_find(const struct fg_room_holders *holders, struct fg_room_holder_id holder,
                          uint64_t epoch, uint64_t *number)
{
    const uint64_t *entry = entry_of(holders, holder);
    if (entry == NULL || entry[0] != (tag_of(holder) | short_epoch(epoch)))
        return false;
    *number = entry[1] >> SECOND_BITS;
    return true;
}

/* An empty one, or the oldest. */
static uint64_t *choose(const struct fg_room_holders *holders, struct fg_room_holder_id holder,
                        uint64_t now_s)
{
    uint64_t *set = set_of(holders, holder), *worst = set;
    uint64_t worst_age = 0;
    for (unsigned way = 0; way < WAYS; way++) {
        uint64_t *entry = &set[2 * way];
        uint64_t age = (now_s - entry[1]) & SECOND_MASK;
        if (entry[0] == 0)
            return entry;
        if (age > worst_age) {
            worst = entry;
            worst_age = age;
        }
    }
    return worst;
}

void fg_room_holders_put(struct fg_room_holders *holders, struct fg_room_holder_id holder,
                         uint64_t epoch, uint64_t number, uint64_t now_s)
{
    assert(holders->set_count >= 1);
    uint64_t *entry = entry_of(holders, holder);
    if (number >= FG_ROOM_HOLDERS_NUMBER_END)
        return;
    if (entry == NULL)
        entry = choose(holders, holder, now_s);
    entry[0] = tag_of(holder) | short_epoch(epoch);
    entry[1] = number << SECOND_BITS | (now_s & SECOND_MASK);
}
