/*
 * room_holders.h: which place of a line is whose, so that everybody has one.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_ROOM_HOLDERS_H
#define FG_POLICIES_ROOM_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_room_holders {
    uint64_t *entries; /* two words each */
    uint64_t set_count;
};

/* Numbers below it can be remembered; the others are not. */
#define FG_ROOM_HOLDERS_NUMBER_END (UINT64_C(1) << 40)

/* Bytes for at least so many holders. */
size_t fg_room_holders_bytes(uint64_t capacity);

/* Over zeroed memory of that size, which stays the caller's. */
struct fg_room_holders fg_room_holders_over(void *memory, uint64_t capacity);

/* A keyed hash (fg_siphash_128) of who it is, so that nobody can choose its set. */
struct fg_room_holder_id {
    uint64_t hi;
    uint64_t lo;
};

/* `epoch` is that of the line. True: *number is the place that was last remembered, wherever it has
 * got to since. */
bool fg_room_holders_find(const struct fg_room_holders *holders, struct fg_room_holder_id holder,
                          uint64_t epoch, uint64_t *number);

/* In place of what was remembered of that holder; of eight in a full set the one that has not been
 * remembered for longest is forgotten. */
void fg_room_holders_put(struct fg_room_holders *holders, struct fg_room_holder_id holder,
                         uint64_t epoch, uint64_t number, uint64_t now_s);

#endif
