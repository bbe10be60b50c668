/*
 * read_turn.c: how much to read of a connection, and how soon again, by what its bytes cost.
 * Job      64 KiB of a large body are 40 microseconds of work, 64 KiB of frames or chunks with a
 *          byte each are milliseconds: with some connections that send those without end, all
 *          others wait for their turn. So whoever's reads are dear gets small ones, and fewer, and
 *          the loop comes round as fast as before. Whoever comes back for another large first read
 *          on a new connection finds that newcomers get small ones meanwhile.
 * Thread   one owner at a time.
 * Never    slows down whoever sends no more than fits into one read, or what is cheap to read.
 * Source   deficit round robin (M. Shreedhar, G. Varghese, SIGCOMM 1995) gives each flow a quantum
 *          of cost; here cost is time, known only afterwards, so that the size of the next read is
 *          the quantum, halved and doubled (as in multiplicative decrease), and what a read took
 *          above its share is owed in turns that are passed over.
 * Law      share = budget / max(SHARES, reads wanted in this turn or the one before); a read that
 *          took t > max(share, bytes x PLAIN_NS): halve while t > share, t /= 2; due again after
 *          t / share turns. Double once if it was full and took half of that max or less. Others
 *          change nothing: pauses do not buy a large read. PLAIN_NS, since large pieces cost less
 *          than half a nanosecond a byte, and smaller reads would only make them dearer.
 *          A newcomer's first measured read does the same to the size that newcomers begin with.
 */
#include "policies/read_turn.h"

void fg_read_turn_init(struct fg_read_turn *reads, uint64_t budget_ns)
{
    *reads = (struct fg_read_turn){.budget_ns = budget_ns};
}

void fg_read_turn_greet(const struct fg_read_turn *reads, struct fg_read_pace *pace)
{
    *pace = (struct fg_read_pace){.halvings = reads->newcomer_halvings};
}

size_t fg_read_turn_bytes(const struct fg_read_pace *pace, size_t bytes_max)
{
    return bytes_max >> pace->halvings;
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
    uint64_t share = reads->budget_ns / (most > FG_READ_TURN_SHARES ? most : FG_READ_TURN_SHARES);
    return share > 0 ? share : 1;
}

bool fg_read_turn_is_due(struct fg_read_turn *reads, uint64_t turn, const struct fg_read_pace *pace)
{
    if (turn >= pace->due_turn || pace->due_turn - turn > FG_READ_TURN_PASSED_MAX)
        return true;
    count(reads, turn); /* it wants its part, although it may not have it now */
    return false;
}

bool fg_read_turn_measures(const struct fg_read_pace *pace, size_t bytes_max, size_t got)
{
    return got >= FG_READ_TURN_MEASURED || got == fg_read_turn_bytes(pace, bytes_max);
}

static void halve(struct fg_read_pace *pace, size_t bytes_max, size_t got, uint64_t took_ns,
                  uint64_t share)
{
    while (pace->halvings < FG_READ_TURN_HALVINGS_MAX && bytes_max >> (pace->halvings + 1) >= got)
        pace->halvings++; /* it was as if it had been given no more than it took */
    for (; took_ns > share && pace->halvings < FG_READ_TURN_HALVINGS_MAX; took_ns /= 2)
        pace->halvings++;
}

/* What newcomers begin with follows what their first reads cost. */
static void learn(struct fg_read_turn *reads, bool is_dear, bool is_cheap, uint8_t halvings)
{
    if (is_dear && halvings > reads->newcomer_halvings)
        reads->newcomer_halvings = halvings;
    else if (is_cheap && reads->newcomer_halvings > 0)
        reads->newcomer_halvings--;
}

bool fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                       size_t bytes_max, size_t got, uint64_t took_ns)
{
    if (reads->budget_ns == 0)
        return false;
    count(reads, turn);
    uint64_t share = share_ns(reads), plain = got * FG_READ_TURN_PLAIN_NS;
    uint64_t fair = share > plain ? share : plain;
    uint64_t passed = took_ns / share;
    bool is_dear = took_ns > fair;
    bool is_cheap = took_ns <= fair / 2;
    bool is_full = got == fg_read_turn_bytes(pace, bytes_max);
    if (is_dear)
        pace->due_turn =
            turn + (passed < FG_READ_TURN_PASSED_MAX ? passed : FG_READ_TURN_PASSED_MAX);
    if (is_dear)
        halve(pace, bytes_max, got, took_ns, share);
    else if (is_cheap && is_full && pace->halvings > 0)
        pace->halvings--;
    if (!pace->is_known)
        learn(reads, is_dear, is_cheap, pace->halvings);
    pace->is_known = true;
    return is_dear;
}
