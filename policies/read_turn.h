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
#define FG_READ_TURN_SHARES 10u      /* a first read is not to take more of a turn than this part */
#define FG_READ_TURN_SLICES 2u       /* nor a later one than this */
#define FG_READ_TURN_PLAIN_NS 2u     /* a byte, that no read is dear below */
#define FG_READ_TURN_BYTE_NS 1u      /* a byte of a large piece takes, about, read and passed on */
#define FG_READ_TURN_PIECE ((size_t)16384) /* for everybody, once large pieces have taken a turn */
#define FG_READ_TURN_MEASURED ((size_t)4096) /* bytes that are worth two looks at the clock */
#define FG_READ_TURN_SPARE ((size_t)2048)    /* for everybody, once a turn's budget is spent */
#define FG_READ_TURN_GUEST 3u                /* halvings of a client's first read: 8 KiB */
#define FG_READ_TURN_TRUST 1u                /* 2^1 cheap full reads for each doubling */
#define FG_READ_TURN_DEARS_MAX 2u            /* and twice as many for each dear one, to 2^3 */
#define FG_READ_TURN_WELCOMES 8u /* cheap first reads until newcomers begin with twice as much */

#define FG_READ_TURN_NEW 3u      /* reads of a newcomer that go last: TLS takes two */
#define FG_READ_TURN_DOUBTS 8u   /* reads that do, behind one of many requests: */
#define FG_READ_TURN_MANY 32u    /* so many, begun or ended; one that comes and goes counts twice */
#define FG_READ_TURN_END 8u      /* as much work as so many: a connection's end */
#define FG_READ_TURN_BURST 8u    /* a read with so many counts for the turn, */
#define FG_READ_TURN_BURSTS 256u /* and behind so many of such reads everybody else goes last */
#define FG_READ_TURN_BEGINS 16u  /* requests of one read until others have their turn */

/* Of one event loop. */
struct fg_read_turn {
    uint64_t budget_ns;      /* of a turn, for all reads that are measured; 0: no bound */
    uint8_t newcomer_least;  /* halvings of the first read of a connection, at least */
    uint8_t newcomer_doubts; /* reads of a new connection that go last */
    /* state */
    uint64_t turn;             /* of the last such read */
    uint32_t count;            /* of them in that turn, with those that were not due */
    uint32_t count_before;     /* in the one before it */
    uint64_t dear_ns;          /* spent in that turn on reads above PLAIN_NS a byte */
    uint8_t newcomer_halvings; /* of the first read of a connection, by now */
    uint8_t newcomer_cheaps;   /* first reads that were cheap, since that was changed */
    uint64_t large_turn;       /* of the last large read of one who did not go last */
    uint64_t large_bytes;      /* of those in that turn */
    uint64_t burst_turn;       /* of the last read that was a burst */
    uint64_t bursts;           /* requests of those in that turn */
};

/* Of one connection. Zeroed is one whose reads are large. */
struct fg_read_pace {
    uint32_t asked;   /* bytes of the last read, at most */
    uint32_t left;    /* of these, that it has not brought: it may come in parts */
    uint8_t halvings; /* of its next read */
    uint8_t dears;    /* reads that were dear, less those forgotten */
    uint8_t cheaps;   /* full reads that were cheap, since its size has changed */
    uint8_t doubts;   /* reads that go last yet */
    bool is_known;    /* a read of it has been measured */
    bool wants_more;  /* the last one brought all that was asked for, or much */
};

/* Of strangers, whose first reads are small and go last; or of servers, whom we have asked. */
void fg_read_turn_init_for_clients(struct fg_read_turn *reads, uint64_t budget_ns);
void fg_read_turn_init_for_servers(struct fg_read_turn *reads, uint64_t budget_ns);

/* A new connection: what it begins with. */
void fg_read_turn_greet(const struct fg_read_turn *reads, struct fg_read_pace *pace);

/* What to read at most of it in turn number `turn`. */
size_t fg_read_turn_ask(const struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                        size_t bytes_max);

/* There is something to read in turn number `turn`: may it be read? Constant time. */
bool fg_read_turn_is_due(struct fg_read_turn *reads, uint64_t turn,
                         const struct fg_read_pace *pace);

/* May others be read first, and this one in what is left then? Constant time. */
bool fg_read_turn_goes_last(const struct fg_read_turn *reads, uint64_t turn,
                            const struct fg_read_pace *pace);

/* Are there so many in turn number `turn` that everybody else goes last? */
bool fg_read_turn_is_crowded(const struct fg_read_turn *reads, uint64_t turn);

/* A read in turn number `turn` began and ended `requests`. Constant time. */
void fg_read_turn_served(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                         uint64_t requests);

/* The read that was asked for brought `got` bytes, or more of them: is it worth the time to measure
 * it? Constant time. */
bool fg_read_turn_got(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                      size_t got);
/* It could have brought more, although there was room: all behind it waits for others. */
void fg_read_turn_cut(struct fg_read_pace *pace);

/*
 * A measured read of `got` bytes took `took_ns` in turn number `turn`; sets how large the next one
 * is, and when. True: it took more than its share. Constant time.
 */
bool fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                       size_t bytes_max, size_t got, uint64_t took_ns);

#endif
