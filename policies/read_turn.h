/*
 * read_turn.h: how much to read of a connection, and how soon again, by what its bytes cost.
 * Thread   one owner at a time.
 */
#ifndef FG_POLICIES_READ_TURN_H
#define FG_POLICIES_READ_TURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_READ_TURN_HALVINGS_MAX 6u /* of the largest read: 64 KiB become 1 KiB */
#define FG_READ_TURN_SHARES 10u      /* one connection never has more of a turn than this part */
#define FG_READ_TURN_PASSED_MAX 128u /* turns that a connection is passed over for one read */
#define FG_READ_TURN_PLAIN_NS 2u     /* a byte, that no read is dear below */
#define FG_READ_TURN_MEASURED ((size_t)4096) /* bytes that are worth two looks at the clock */

/* Of one event loop. */
struct fg_read_turn {
    uint64_t budget_ns; /* of a turn, for all reads that are measured; 0: no bound */
    /* state */
    uint64_t turn;             /* of the last such read */
    uint32_t count;            /* of them in that turn, with those that were not due */
    uint32_t count_before;     /* in the one before it */
    uint8_t newcomer_halvings; /* of the first read of a connection */
};

/* Of one connection. Zeroed is one whose reads are large. */
struct fg_read_pace {
    uint64_t due_turn; /* it is passed over before */
    uint8_t halvings;  /* of its next read */
    bool is_known;     /* a read of it has been measured */
};

void fg_read_turn_init(struct fg_read_turn *reads, uint64_t budget_ns);

/* A new connection: what it begins with. */
void fg_read_turn_greet(const struct fg_read_turn *reads, struct fg_read_pace *pace);

/* What to read at most of it now. */
size_t fg_read_turn_bytes(const struct fg_read_pace *pace, size_t bytes_max);

/* There is something to read in turn number `turn`: may it be read? Constant time. */
bool fg_read_turn_is_due(struct fg_read_turn *reads, uint64_t turn,
                         const struct fg_read_pace *pace);

/* Is it worth the time to measure a read that brought `got` bytes? */
bool fg_read_turn_measures(const struct fg_read_pace *pace, size_t bytes_max, size_t got);

/*
 * A measured read of `got` bytes took `took_ns` in turn number `turn`; sets how large the next one
 * is, and when. True: it took more than its share. Constant time.
 */
bool fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                       size_t bytes_max, size_t got, uint64_t took_ns);

#endif
