/*
 * write_turn.h: how much to write of a connection at once, and who may wait until others have.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_WRITE_TURN_H
#define FG_POLICIES_WRITE_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_WRITE_TURN_PLAIN_NS 1u /* a byte takes, about: copied, sealed, and given to the kernel */
#define FG_WRITE_TURN_DOUBTS                                                                       \
    8u /* small writes that go last behind a large one that left something */

/* Of one event loop. */
struct fg_write_turn {
    uint64_t budget_ns; /* of a turn, for those who do not go last */
    /* state */
    uint64_t turn;  /* of the last write */
    uint64_t bytes; /* in that turn, by those who did not go last */
};

/* Of one connection. Zeroed is one that has said little so far. */
struct fg_write_pace {
    uint8_t doubts; /* small writes that go last yet */
};

void fg_write_turn_init(struct fg_write_turn *writes, uint64_t budget_ns);

/* May others write first, and this one in what is left of the turn then? */
bool fg_write_turn_goes_last(const struct fg_write_pace *pace);

/* What one that does not go last may write in turn number `turn`, `most` bytes at most and `least`
 * at least: the rest of the budget. Constant time. */
size_t fg_write_turn_ask(const struct fg_write_turn *writes, uint64_t turn, size_t least,
                         size_t most);

/* So it wrote `bytes`. Constant time. */
void fg_write_turn_note(struct fg_write_turn *writes, uint64_t turn, size_t bytes);

/* A connection, that went last or not, wrote `bytes`, and that was all or not; `large` is much. */
void fg_write_turn_judge(struct fg_write_pace *pace, size_t bytes, size_t large, bool is_all);

#endif
