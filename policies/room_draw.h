/*
 * room_draw.h: draws the order of those who came in one window of time.
 * Thread   one owner at a time. Plain data: may lie in memory that processes share.
 */
#ifndef FG_POLICIES_ROOM_DRAW_H
#define FG_POLICIES_ROOM_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#define FG_ROOM_WINDOWS 64u

/* A one-to-one map of [0, count) onto itself that nobody without the seed can foretell. */
uint64_t fg_room_draw(uint64_t seed, uint64_t count, uint64_t place);
/* And back: fg_room_draw_back(s, c, fg_room_draw(s, c, x)) == x. */
uint64_t fg_room_draw_back(uint64_t seed, uint64_t count, uint64_t drawn);

/* Numbers [first, first + count), whose order is drawn. */
struct fg_room_window {
    uint64_t first;
    uint64_t count;
    uint64_t seed;
};

/*
 *    order of arrival | drawn | drawn | ... | open: not drawn yet
 *                     ^ closed[0]           ^ open_first
 */
struct fg_room_windows {
    uint64_t open_first; /* the first number of the window that is open */
    uint64_t open_since_ns;
    uint32_t oldest; /* of the ring closed[] */
    uint32_t closed_count;
    struct fg_room_window closed[FG_ROOM_WINDOWS];
};

void fg_room_windows_reset(struct fg_room_windows *windows, uint64_t tail, uint64_t now_ns);
/* Draw the order of the open window, which ends before `tail`. False: it is empty, or there are too
 * many windows; it then stays open. */
bool fg_room_windows_close(struct fg_room_windows *windows, uint64_t tail, uint64_t seed,
                           uint64_t now_ns);
/* The drawn window that the line's head stands in; NULL: it stands in none. */
const struct fg_room_window *fg_room_windows_front(const struct fg_room_windows *windows,
                                                   uint64_t head);
/* The head has left the front window. */
void fg_room_windows_pop(struct fg_room_windows *windows);
/* The first number whose order is drawn; `otherwise` when there is none. */
uint64_t fg_room_windows_first(const struct fg_room_windows *windows, uint64_t otherwise);
/* The drawn window of a number; NULL: it is in none. */
const struct fg_room_window *fg_room_windows_find(const struct fg_room_windows *windows,
                                                  uint64_t number);

/* May these windows be those of a line that ends before `tail`? */
bool fg_room_windows_are_consistent(const struct fg_room_windows *windows, uint64_t tail);
/* An owner died while it closed or left one. */
void fg_room_windows_repair(struct fg_room_windows *windows, uint64_t head);

#endif
