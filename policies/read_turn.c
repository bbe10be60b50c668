/*
 * read_turn.c: how much to read of a connection, and how soon again, by what its bytes cost.
 * Job      64 KiB of a large body are 40 microseconds of work, 64 KiB of frames or chunks with a
 *          byte each are milliseconds: with some connections that send those without end, all
 *          others wait for their turn. So whoever's reads are dear gets small ones, and fewer, and
 *          the loop comes round as fast as before. Whoever comes back for another large first read
 *          on a new connection finds that newcomers get small ones meanwhile.
 * Thread   one owner at a time.
 * Never    slows down whoever sends little at once, or makes smaller what is cheap to read and has
 *          the turn for itself.
 * Source   deficit round robin (M. Shreedhar, G. Varghese, SIGCOMM 1995) gives each flow a quantum
 *          of cost; here cost is time, known only afterwards, so that the size of the next read is
 *          the quantum, halved and doubled (as in multiplicative decrease).
 * Law      share = budget / SLICES, or of a first read budget / max(SHARES, reads wanted in this
 *          turn or the one before); a read that took t > max(share, bytes x PLAIN_NS): halve while
 *          t > share, t /= 2.
 *          Double once after 2^(TRUST + dears) reads that were full and took half
 *          of that max or less; `dears` counts those that were not, and one is forgotten after as
 *          many cheap ones of the largest size. So neither pauses nor patience buy large dear
 *          reads: each one costs twice as much good behaviour as the one before. PLAIN_NS, since
 *          large pieces cost less than half a nanosecond a byte, and smaller reads would only make
 *          them dearer.
 *          Who has been dear and is not forgiven, or has read all that it was given, or PIECE or
 *          more, and so wants more, goes last in a turn, behind the others' reads and answers, by
 *          turns, one read at least, until the turn has taken its budget. So it is the turn that is
 *          bounded, and a read need only be a slice of it. Before it is known who wants more, no
 *          read but of PIECE has a turn go over its budget at BYTE_NS a byte: forty answers that
 *          begin in one turn are not forty reads of 64 KiB.
 *          Clients' first reads go last, and reads behind one that was of many requests, of whom a
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

void fg_read_turn_init_for_servers(struct fg_read_turn *reads, uint64_t budget_ns)
{
    *reads = (struct fg_read_turn){.budget_ns = budget_ns};
}

void fg_read_turn_init_for_clients(struct fg_read_turn *reads, uint64_t budget_ns)
{
    fg_read_turn_init_for_servers(reads, budget_ns);
    if (budget_ns == 0)
        return;
    reads->newcomer_least = FG_READ_TURN_GUEST;
    reads->newcomer_halvings = FG_READ_TURN_GUEST;
    reads->newcomer_doubts = FG_READ_TURN_NEW;
}

void fg_read_turn_greet(const struct fg_read_turn *reads, struct fg_read_pace *pace)
{
    *pace = (struct fg_read_pace){.halvings = reads->newcomer_halvings,
                                  .doubts = reads->newcomer_doubts};
}

/* On what is dear: what is cheap takes nothing from anybody's next read. */
static bool is_spent(const struct fg_read_turn *reads, uint64_t turn)
{
    return reads->budget_ns > 0 && turn == reads->turn && reads->dear_ns >= reads->budget_ns;
}

bool fg_read_turn_is_crowded(const struct fg_read_turn *reads, uint64_t turn)
{
    return reads->budget_ns > 0 && turn == reads->burst_turn &&
           reads->bursts >= FG_READ_TURN_BURSTS;
}

bool fg_read_turn_goes_last(const struct fg_read_turn *reads, uint64_t turn,
                            const struct fg_read_pace *pace)
{
    return reads->budget_ns > 0 && (pace->dears > 0 || pace->wants_more || pace->doubts > 0 ||
                                    fg_read_turn_is_crowded(reads, turn));
}

void fg_read_turn_served(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                         uint64_t requests)
{
    if (reads->budget_ns == 0)
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

/* Large pieces have taken so much of this turn that there is no room for another. */
static bool is_laden(const struct fg_read_turn *reads, uint64_t turn, size_t bytes)
{
    return turn == reads->large_turn && reads->budget_ns > 0 &&
           fg_add_saturating(reads->large_bytes, bytes) > reads->budget_ns / FG_READ_TURN_BYTE_NS;
}

size_t fg_read_turn_ask(const struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                        size_t bytes_max)
{
    size_t bytes = bytes_max >> pace->halvings;
    if (bytes > FG_READ_TURN_SPARE && is_spent(reads, turn))
        bytes = FG_READ_TURN_SPARE;
    if (bytes > FG_READ_TURN_PIECE && is_laden(reads, turn, bytes) &&
        !fg_read_turn_goes_last(reads, turn, pace))
        bytes = FG_READ_TURN_PIECE;
    pace->asked = (uint32_t)bytes;
    pace->left = pace->asked;
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

/* Of the budget, among those who want to read. */
static uint64_t share_ns(const struct fg_read_turn *reads)
{
    uint32_t most = reads->count > reads->count_before ? reads->count : reads->count_before;
    uint64_t share = reads->budget_ns / (most > FG_READ_TURN_SHARES ? most : FG_READ_TURN_SHARES);
    return share > 0 ? share : 1;
}

/* One read is to be no more than a part of a turn, which the order bounds. */
static uint64_t slice_ns(const struct fg_read_turn *reads)
{
    return reads->budget_ns / FG_READ_TURN_SLICES;
}

bool fg_read_turn_is_due(struct fg_read_turn *reads, uint64_t turn, const struct fg_read_pace *pace)
{
    bool is_small = pace->is_known && pace->halvings > 0;
    if (!is_small || !is_spent(reads, turn))
        return true;
    count(reads, turn); /* it wants its part, although it may not have it now */
    return false;
}

static void note_large(struct fg_read_turn *reads, uint64_t turn, size_t got)
{
    if (turn != reads->large_turn)
        reads->large_bytes = 0;
    reads->large_turn = turn;
    reads->large_bytes = fg_add_saturating(reads->large_bytes, got);
}

bool fg_read_turn_got(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                      size_t got)
{
    if (got >= FG_READ_TURN_MEASURED && !fg_read_turn_goes_last(reads, turn, pace))
        note_large(reads, turn, got);
    pace->left = got < pace->left ? pace->left - (uint32_t)got : 0;
    pace->wants_more = pace->left == 0 || pace->asked - pace->left >= FG_READ_TURN_PIECE;
    return got >= FG_READ_TURN_MEASURED || pace->left == 0;
}

void fg_read_turn_cut(struct fg_read_pace *pace)
{
    pace->wants_more = true;
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

bool fg_read_turn_note(struct fg_read_turn *reads, uint64_t turn, struct fg_read_pace *pace,
                       size_t bytes_max, size_t got, uint64_t took_ns)
{
    if (reads->budget_ns == 0)
        return false;
    count(reads, turn);
    uint64_t share = pace->is_known ? slice_ns(reads) : share_ns(reads);
    uint64_t plain = got * FG_READ_TURN_PLAIN_NS;
    uint64_t fair = share > plain ? share : plain;
    bool is_dear = took_ns > fair;
    bool is_cheap = took_ns <= fair / 2;
    bool is_full = pace->left == 0 && pace->asked == bytes_max >> pace->halvings;
    if (took_ns > plain)
        reads->dear_ns += took_ns < UINT64_MAX - reads->dear_ns ? took_ns : 0;
    if (is_dear)
        halve(pace, bytes_max, got, took_ns, share);
    else if (is_cheap && is_full)
        trust(pace);
    if (!pace->is_known)
        learn(reads, is_dear, is_cheap, pace->halvings);
    pace->is_known = true;
    return is_dear;
}
