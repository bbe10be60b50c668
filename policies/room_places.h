/*
 * room_places.h: who of a line is still there, in a byte a place.
 * Thread   one owner at a time. The memory is the caller's; it may be shared between processes.
 */
#ifndef FG_POLICIES_ROOM_PLACES_H
#define FG_POLICIES_ROOM_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_ROOM_BLOCK_PLACES 256u

enum fg_room_mark {
    FG_ROOM_GONE,     /* never taken, given back, or not asked for in time */
    FG_ROOM_WAITING,  /* asked for lately enough */
    FG_ROOM_ADMITTED, /* its turn has come */
    FG_ROOM_USED,     /* it has let somebody in */
};

/* Places are numbered for ever and kept in a ring: number n lies at n % capacity. */
struct fg_room_places {
    uint8_t *marks;    /* by place */
    uint16_t *waiting; /* by block: how many of its marks are those of somebody who waits */
    uint64_t capacity; /* a multiple of FG_ROOM_BLOCK_PLACES */
};

/* Bytes for a ring of `capacity`; zeroed they are a ring whose places are all gone. */
size_t fg_room_places_bytes(uint64_t capacity);
struct fg_room_places fg_room_places_over(void *memory, uint64_t capacity);

/* `slot` counts from 0 and is when something happens, in eighths of the time a place is kept. */
enum fg_room_mark fg_room_places_get(const struct fg_room_places *places, uint64_t number,
                                     uint64_t slot);
void fg_room_places_set(struct fg_room_places *places, uint64_t number, enum fg_room_mark mark,
                        uint64_t slot);

/* All are gone but those of [from, to), which wait; at most `capacity` of them. */
void fg_room_places_reset(struct fg_room_places *places, uint64_t from, uint64_t to, uint64_t slot);

/* How many of [from, to) wait; stale marks that no sweep has met count as well. */
uint64_t fg_room_places_waiting(const struct fg_room_places *places, uint64_t from, uint64_t to);

/* Nobody waits in the block of `number`, as far as is known: it need not be looked at. */
bool fg_room_places_is_block_empty(const struct fg_room_places *places, uint64_t number);

/* Forget who of [from, to) was not seen in time; returns how many. */
uint64_t fg_room_places_sweep(struct fg_room_places *places, uint64_t from, uint64_t to,
                              uint64_t slot);

/* Count the blocks anew, from the marks of [from, to): an owner has died in the middle. */
void fg_room_places_recount(struct fg_room_places *places, uint64_t from, uint64_t to);

#endif
