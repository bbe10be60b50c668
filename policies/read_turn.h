/*
 * read_turn.h: how much to read of a connection at once, by what its bytes cost.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_READ_TURN_H
#define FG_POLICIES_READ_TURN_H

#include <stddef.h>
#include <stdint.h>

#define FG_READ_TURN_HALVINGS_MAX 6u /* of the largest read: 64 KiB become 1 KiB */
#define FG_READ_TURN_SHARES 10u      /* one connection never has more of a turn than this part */

/* Of one event loop. */
struct fg_read_turn {
    uint64_t budget_ns; /* of a turn, for all reads that leave more behind; 0: no bound */
    /* state */
    uint64_t turn;         /* of the last such read */
    uint32_t count;        /* of them in that turn */
    uint32_t count_before; /* in the one before it */
};

void fg_read_turn_init(struct fg_read_turn *reads, uint64_t budget_ns);

/* What to read at most of a connection whose reads have been halved so often. */
size_t fg_read_turn_bytes(size_t bytes_max, uint8_t halvings);

/*
 * A read that left more behind (it filled what it was given) took `took_ns` in turn number `turn`.
 * Returns how often the connection's next read is to be halved. Constant time.
 */
uint8_t fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, uint8_t halvings,
                          uint64_t took_ns);

#endif
