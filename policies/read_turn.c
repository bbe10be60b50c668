/*
 * read_turn.c: how much to read of a connection at once, by what its bytes cost.
 * Job      64 KiB of a large body are 40 microseconds of work, 64 KiB of frames or chunks with a
 *          byte each are milliseconds: with some connections that send those without end, all
 *          others wait for their turn. So whoever's reads are dear gets small ones, and the loop
 *          comes round as fast as before.
 * Thread   one owner at a time.
 * Never    slows down whoever sends no more than fits into one read, or what is cheap to read.
 * Source   deficit round robin (M. Shreedhar, G. Varghese, SIGCOMM 1995) gives each flow a quantum
 *          of cost; here cost is time, known only afterwards, so that the size of the next read is
 *          the quantum, halved and doubled (as in multiplicative decrease).
 * Law      share = budget / max(SHARES, reads that left more behind in this turn or the one
 *          before); a read that took t: halve while t > share, t /= 2; double once if 2t <= share.
 *          Reads that leave nothing behind change nothing: pauses do not buy a large read.
 */
#include "policies/read_turn.h"

void fg_read_turn_init(struct fg_read_turn *reads, uint64_t budget_ns)
{
    *reads = (struct fg_read_turn){.budget_ns = budget_ns};
}

size_t fg_read_turn_bytes(size_t bytes_max, uint8_t halvings)
{
    return bytes_max >> halvings;
}

static void count(struct fg_read_turn *reads, uint64_t turn)
{
    if (turn != reads->turn) {
        reads->count_before = turn - reads->turn == 1 ? reads->count : 0;
        reads->count = 0;
        reads->turn = turn;
    }
    if (reads->count < UINT32_MAX)
        reads->count++;
}

static uint64_t share_ns(const struct fg_read_turn *reads)
{
    uint32_t most = reads->count > reads->count_before ? reads->count : reads->count_before;
    return reads->budget_ns / (most > FG_READ_TURN_SHARES ? most : FG_READ_TURN_SHARES);
}

uint8_t fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, uint8_t halvings,
                          uint64_t took_ns)
{
    if (reads->budget_ns == 0)
        return 0;
    count(reads, turn);
    uint64_t share = share_ns(reads);
    if (halvings > 0 && took_ns <= share / 2)
        return (uint8_t)(halvings - 1);
    while (took_ns > share && halvings < FG_READ_TURN_HALVINGS_MAX) {
        halvings++;
        took_ns /= 2;
    }
    return halvings;
}
