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
 *          t / (budget / reads wanted) turns: one that is alone is not made to wait for nobody.
 *          Double once after 2^(TRUST + dears) reads that were full and took half
 *          of that max or less; `dears` counts those that were not, and one is forgotten after as
 *          many cheap ones of the largest size. So neither pauses nor patience buy large dear
 *          reads: each one costs twice as much good behaviour as the one before. PLAIN_NS, since
 *          large pieces cost less than half a nanosecond a byte, and smaller reads would only make
 *          them dearer.
 *          Where the caller can put them in order (clients): who has been dear and is not forgiven,
 *          or has read all that it was given and so wants more, goes last in a turn, behind the
 *          others' reads and answers, by turns, one read at least, until the turn has taken its
 *          budget. Then it is the turn that is bounded, and a read need only be a slice of it:
 *          share = budget / SLICES but for first reads, and nobody is passed over.
 *          So do newcomers' first reads, and reads behind one that was of many requests, of whom a
 *          hundred are a millisecond in 3 KiB: it is not timed, since to count is cheaper. When
 *          such reads have come to BURSTS in a turn, everybody who has not been read goes last.
 *          So does the rest of a read behind BEGINS requests.
 *          What those who go last have of a turn: policies/turn_room.
 *          Where a turn's budget is spent on dear reads, those whose reads are small are passed
 *          over, and others get SPARE bytes: a turn takes its budget, one read above it, and heads
 *          of requests.
 *          Newcomers begin with the least size given (clients with 8 KiB): a dear first read makes
 *          it as small as that one has become, WELCOMES cheap ones double it.
 */
#include "policies/read_turn.h"

#include "policies/wide_math.h"

void fg_read_turn_init(struct fg_read_turn *reads, uint64_t budget_ns)
{
    *reads = (struct fg_read_turn){.budget_ns = budget_ns};
}

void fg_read_turn_init_in_order(struct fg_read_turn *reads, uint64_t budget_ns)
{
    uint8_t least = budget_ns > 0 ? FG_READ_TURN_GUEST : 0;
    *reads = (struct fg_read_turn){.budget_ns = budget_ns,
                                   .has_order = budget_ns > 0,
                                   .newcomer_least = least,
                                   .newcomer_halvings = least};
}

void fg_read_turn_greet(const struct fg_read_turn *reads, struct fg_read_pace *pace)
{
    *pace = (struct fg_read_pace){.halvings = reads->newcomer_halvings,
                                  .doubts = reads->has_order ? FG_READ_TURN_NEW : 0};
}

/* On what is dear: what is cheap takes nothing from anybody's next read. */
static bool is_spent(const struct fg_read_turn *reads, uint64_t turn)
{
    return reads->budget_ns > 0 && turn == reads->turn && reads->dear_ns >= reads->budget_ns;
}

bool fg_read_turn_is_crowded(const struct fg_read_turn *reads, uint64_t turn)
{
    return reads->has_order && turn == reads->burst_turn && reads->bursts >= FG_READ_TURN_BURSTS;
}

bool fg_read_turn_goes_last(const struct fg_read_turn *reads, uint64_t turn,
                            const struct fg_read_pace *pace)
{
    return reads->has_order && (pace->dears > 0 || pace->is_full || pace->doubts > 0 ||
                                fg_read_turn_is_crowded(reads, turn));
}

void fg_read_turn_served(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                         uint64_t requests)
{
    if (!reads->has_order)
        return;
    if (requests >= FG_READ_TURN_MANY)
        pace->doubts = FG_READ_TURN_DOUBTS;
    else if (pace->doubts > 0)
        pace->doubts--;
    if (requests < FG_READ_TURN_BURST)
        return;
    if (turn != reads->burst_turn)
        reads->bursts = 0;
    reads->burst_turn = turn;
    reads->bursts = fg_add_saturating(reads->bursts, requests);
}

size_t fg_read_turn_ask(const struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                        size_t bytes_max)
{
    size_t bytes = bytes_max >> pace->halvings;
    if (bytes > FG_READ_TURN_SPARE && is_spent(reads, turn))
        bytes = FG_READ_TURN_SPARE;
    pace->asked = (uint32_t)bytes;
    return bytes;
}

static void count(struct fg_read_turn *reads, uint64_t turn)
{
    if (turn != reads->turn) {
        reads->count_before = turn - reads->turn == 1 ? reads->count : 0;
        reads->count = 0;
        reads->dear_ns = 0;
        reads->turn = turn;
    }
    if (reads->count < UINT32_MAX)
        reads->count++;
}

/* Of the budget, among those who want to read, `least` of them at least. */
static uint64_t share_ns(const struct fg_read_turn *reads, uint32_t least)
{
    uint32_t most = reads->count > reads->count_before ? reads->count : reads->count_before;
    uint64_t share = reads->budget_ns / (most > least ? most : least);
    return share > 0 ? share : 1;
}

/* Where turns are bounded by order, one read is to be no more than a part of one. */
static uint64_t slice_ns(const struct fg_read_turn *reads)
{
    return reads->budget_ns / FG_READ_TURN_SLICES;
}

bool fg_read_turn_is_due(struct fg_read_turn *reads, uint64_t turn, const struct fg_read_pace *pace)
{
    bool is_later = turn < pace->due_turn && pace->due_turn - turn <= FG_READ_TURN_PASSED_MAX;
    bool is_small = pace->is_known && pace->halvings > 0;
    if (!is_later && !(is_small && is_spent(reads, turn)))
        return true;
    count(reads, turn); /* it wants its part, although it may not have it now */
    return false;
}

bool fg_read_turn_got(struct fg_read_pace *pace, size_t got)
{
    pace->is_full = got == pace->asked;
    return got >= FG_READ_TURN_MEASURED || pace->is_full;
}

static void halve(struct fg_read_pace *pace, size_t bytes_max, size_t got, uint64_t took_ns,
                  uint64_t share)
{
    while (pace->halvings < FG_READ_TURN_HALVINGS_MAX && bytes_max >> (pace->halvings + 1) >= got)
        pace->halvings++; /* it was as if it had been given no more than it took */
    for (; took_ns > share && pace->halvings < FG_READ_TURN_HALVINGS_MAX; took_ns /= 2)
        pace->halvings++;
    pace->cheaps = 0;
    if (pace->dears < FG_READ_TURN_DEARS_MAX)
        pace->dears++;
}

/* A full read was cheap. */
static void trust(struct fg_read_pace *pace)
{
    if (++pace->cheaps < 1u << (FG_READ_TURN_TRUST + pace->dears))
        return;
    pace->cheaps = 0;
    if (pace->halvings > 0)
        pace->halvings--;
    else if (pace->dears > 0)
        pace->dears--;
}

/* What newcomers begin with follows what their first reads cost. */
static void learn(struct fg_read_turn *reads, bool is_dear, bool is_cheap, uint8_t halvings)
{
    if (is_dear && halvings >= reads->newcomer_halvings) {
        reads->newcomer_halvings = halvings;
        reads->newcomer_cheaps = 0;
    } else if (is_cheap && reads->newcomer_halvings > reads->newcomer_least &&
               ++reads->newcomer_cheaps == FG_READ_TURN_WELCOMES) {
        reads->newcomer_halvings--;
        reads->newcomer_cheaps = 0;
    }
}

/* Turns that it is passed over, for what it took above its share. */
static void pass_over(const struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                      uint64_t took_ns)
{
    uint64_t passed = took_ns / share_ns(reads, 1);
    pace->due_turn = turn + (passed < FG_READ_TURN_PASSED_MAX ? passed : FG_READ_TURN_PASSED_MAX);
}

bool fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                       size_t bytes_max, size_t got, uint64_t took_ns)
{
    if (reads->budget_ns == 0)
        return false;
    count(reads, turn);
    bool is_in_order = reads->has_order && pace->is_known;
    uint64_t share = is_in_order ? slice_ns(reads) : share_ns(reads, FG_READ_TURN_SHARES);
    uint64_t plain = got * FG_READ_TURN_PLAIN_NS;
    uint64_t fair = share > plain ? share : plain;
    bool is_dear = took_ns > fair;
    bool is_cheap = took_ns <= fair / 2;
    bool is_full = got == bytes_max >> pace->halvings;
    if (took_ns > plain)
        reads->dear_ns += took_ns < UINT64_MAX - reads->dear_ns ? took_ns : 0;
    if (is_dear && !reads->has_order)
        pass_over(reads, turn, pace, took_ns);
    if (is_dear)
        halve(pace, bytes_max, got, took_ns, share);
    else if (is_cheap && is_full)
        trust(pace);
    if (!pace->is_known)
        learn(reads, is_dear, is_cheap, pace->halvings);
    pace->is_known = true;
    return is_dear;
}
