/*
 * room_places.c: who of a line is still there, in a byte a place.
 * Job      remember when each place was last asked for, coarsely, and count who waits.
 * Thread   one owner at a time.
 * Memory   a byte a place and two for each 256 of them, of the caller's.
 *
 *    mark  0            gone
 *          1 .. 250     waits; last seen in the slot with this number, modulo 250
 *          251          admitted
 *          252          used
 *
 * A slot is an eighth of the time for which a place is kept: who was not seen in this slot or one
 * of the eight before it is gone, so a place is kept for as long as promised and an eighth more at
 * most. A sweep must pass each waiting place within 240 slots, or an old mark would look new.
 */
#include "policies/room_places.h"

#include <assert.h>
#include <string.h>

#define SLOT_COUNT 250u
#define SLOTS_KEPT 8u
#define MARK_ADMITTED 251u
#define MARK_USED 252u

size_t fg_room_places_bytes(uint64_t capacity)
{
    assert(capacity % FG_ROOM_BLOCK_PLACES == 0);
    return (size_t)(capacity / FG_ROOM_BLOCK_PLACES * sizeof(uint16_t) + capacity);
}

struct fg_room_places fg_room_places_over(void *memory, uint64_t capacity)
{
    assert(capacity > 0 && capacity % FG_ROOM_BLOCK_PLACES == 0);
    uint16_t *waiting = memory;
    return (struct fg_room_places){
        .waiting = waiting,
        .marks = (uint8_t *)(waiting + capacity / FG_ROOM_BLOCK_PLACES),
        .capacity = capacity,
    };
}

static uint64_t index_of(const struct fg_room_places *places, uint64_t number)
{
    return number % places->capacity;
}

static bool is_waiting_mark(uint8_t mark)
{
    return mark != 0 && mark <= SLOT_COUNT;
}

static bool is_fresh(uint8_t mark, uint64_t slot)
{
    return (slot % SLOT_COUNT + SLOT_COUNT + 1 - mark) % SLOT_COUNT <= SLOTS_KEPT;
}

enum fg_room_mark fg_room_places_get(const struct fg_room_places *places, uint64_t number,
                                     uint64_t slot)
{
    uint8_t mark = places->marks[index_of(places, number)];
    if (mark == MARK_ADMITTED)
        return FG_ROOM_ADMITTED;
    if (mark == MARK_USED)
        return FG_ROOM_USED;
    return is_waiting_mark(mark) && is_fresh(mark, slot) ? FG_ROOM_WAITING : FG_ROOM_GONE;
}

static uint8_t waiting_mark(uint64_t slot)
{
    return (uint8_t)(slot % SLOT_COUNT + 1);
}

void fg_room_places_set(struct fg_room_places *places, uint64_t number, enum fg_room_mark mark,
                        uint64_t slot)
{
    const uint8_t values[] = {[FG_ROOM_GONE] = 0,
                              [FG_ROOM_WAITING] = waiting_mark(slot),
                              [FG_ROOM_ADMITTED] = MARK_ADMITTED,
                              [FG_ROOM_USED] = MARK_USED};
    uint64_t index = index_of(places, number);
    uint16_t *waiting = &places->waiting[index / FG_ROOM_BLOCK_PLACES];
    if (is_waiting_mark(places->marks[index]))
        (*waiting)--;
    places->marks[index] = values[mark];
    if (mark == FG_ROOM_WAITING)
        (*waiting)++;
}

/* Within one block, which lies in one piece. */
static uint64_t count_marks(const struct fg_room_places *places, uint64_t from, uint64_t to)
{
    const uint8_t *marks = &places->marks[index_of(places, from)];
    uint64_t count = 0;
    for (uint64_t i = 0; i < to - from; i++)
        count += is_waiting_mark(marks[i]);
    return count;
}

/* The first number behind `number` that begins a block. */
static uint64_t block_end(uint64_t number)
{
    return number / FG_ROOM_BLOCK_PLACES * FG_ROOM_BLOCK_PLACES + FG_ROOM_BLOCK_PLACES;
}

/* Of `count` blocks from the one of `number` on, around the end of the ring. */
static uint64_t count_blocks(const struct fg_room_places *places, uint64_t number, uint64_t count)
{
    uint64_t all = places->capacity / FG_ROOM_BLOCK_PLACES;
    uint64_t first = index_of(places, number) / FG_ROOM_BLOCK_PLACES;
    uint64_t before_end = count < all - first ? count : all - first;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < before_end; i++)
        sum += places->waiting[first + i];
    for (uint64_t i = 0; i < count - before_end; i++)
        sum += places->waiting[i];
    return sum;
}

void fg_room_places_reset(struct fg_room_places *places, uint64_t from, uint64_t to, uint64_t slot)
{
    assert(to >= from && to - from <= places->capacity);
    uint64_t first = index_of(places, from);
    uint64_t count = to - from;
    uint64_t before_end = count < places->capacity - first ? count : places->capacity - first;
    memset(places->marks, 0, (size_t)places->capacity);
    memset(places->marks + first, waiting_mark(slot), (size_t)before_end);
    memset(places->marks, waiting_mark(slot), (size_t)(count - before_end));
    memset(places->waiting, 0, (size_t)(places->capacity / FG_ROOM_BLOCK_PLACES) * 2);
    for (uint64_t end; from < to; from = end) {
        uint16_t *waiting = &places->waiting[index_of(places, from) / FG_ROOM_BLOCK_PLACES];
        end = block_end(from) < to ? block_end(from) : to;
        *waiting = (uint16_t)(*waiting + (end - from));
    }
}

uint64_t fg_room_places_waiting(const struct fg_room_places *places, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    uint64_t end = block_end(from);
    if (end >= to)
        return count_marks(places, from, to);
    uint64_t blocks = (to - end) / FG_ROOM_BLOCK_PLACES;
    uint64_t rest = end + blocks * FG_ROOM_BLOCK_PLACES;
    return count_marks(places, from, end) + count_blocks(places, end, blocks) +
           count_marks(places, rest, to);
}

bool fg_room_places_is_block_empty(const struct fg_room_places *places, uint64_t number)
{
    return places->waiting[index_of(places, number) / FG_ROOM_BLOCK_PLACES] == 0;
}

uint64_t fg_room_places_sweep(struct fg_room_places *places, uint64_t from, uint64_t to,
                              uint64_t slot)
{
    uint64_t forgotten = 0;
    while (from < to) {
        uint64_t end = block_end(from) < to ? block_end(from) : to;
        if (fg_room_places_is_block_empty(places, from)) {
            from = end;
            continue;
        }
        for (; from < end; from++) {
            uint8_t mark = places->marks[index_of(places, from)];
            if (!is_waiting_mark(mark) || is_fresh(mark, slot))
                continue;
            fg_room_places_set(places, from, FG_ROOM_GONE, slot);
            forgotten++;
        }
    }
    return forgotten;
}

void fg_room_places_recount(struct fg_room_places *places, uint64_t from, uint64_t to)
{
    memset(places->waiting, 0, (size_t)(places->capacity / FG_ROOM_BLOCK_PLACES) * 2);
    for (uint64_t number = from; number < to; number++) {
        uint64_t index = index_of(places, number);
        places->waiting[index / FG_ROOM_BLOCK_PLACES] =
            (uint16_t)(places->waiting[index / FG_ROOM_BLOCK_PLACES] +
                       is_waiting_mark(places->marks[index]));
    }
}
