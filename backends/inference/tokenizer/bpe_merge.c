/*
 * bpe_merge.c: byte-pair encoding: again and again the neighbours with the lowest rank become one
 * token, the leftmost first among equals, until no neighbours can be merged.
 * Thread   any: the table is only read.
 * Never    takes more than n log n steps for a piece, so that a megabyte without a space is slow
 *          text and not an attack.
 * Source   Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016);
 *          merges as in GPT-2.
 *
 * A short piece (nearly all are) is scanned for its lowest rank before each merge. A long one keeps
 * its symbols in a linked list and the ranks in a tournament tree: the root names the winner, and a
 * merge replays the matches of the three positions that it changed.
 *
 *    ranks     7  2  9  2  -        a position's rank is that of (its symbol, the next symbol)
 *    winners   '1'   '3'   |
 *              '--1--'     |        equal ranks: the left one wins
 */
#include "inference/model/utf8.h"
#include "inference/tokenizer/bpe_merge.h"

#include <assert.h>
#include <stdlib.h>

#define NO_RANK FG_BPE_NO_RANK
#define SHORT_PIECE ((size_t)48)
#define PIECE_BYTES_MAX ((size_t)1 << 30)

/* An empty slot has no rank, so that absent pairs need no test. */
static uint32_t pair_rank(const struct fg_bpe *bpe, uint32_t left, uint32_t right)
{
    return fg_bpe_find_pair(bpe, left, right)->rank;
}

void fg_bpe_scratch_fini(struct fg_bpe_scratch *scratch)
{
    free(scratch->words);
    *scratch = (struct fg_bpe_scratch){0};
}

static bool reserve(struct fg_bpe_scratch *scratch, size_t words)
{
    if (words <= scratch->word_count)
        return true;
    free(scratch->words);
    scratch->words = malloc(words * sizeof(*scratch->words));
    scratch->word_count = scratch->words == NULL ? 0 : words;
    return scratch->words != NULL;
}

/* `ids` and `ranks` hold `count` symbols; returns how many are left, at the start of ids. */
static size_t merge_short(const struct fg_bpe *bpe, uint32_t *ids, uint32_t *ranks, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        ranks[i] = pair_rank(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++) {
            if (ranks[i] < ranks[best])
                best = i;
        }
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = fg_bpe_find_pair(bpe, ids[best], ids[best + 1])->merged;
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best > 0)
            ranks[best - 1] = pair_rank(bpe, ids[best - 1], ids[best]);
        if (best + 1 < count)
            ranks[best] = pair_rank(bpe, ids[best], ids[best + 1]);
    }
    return count;
}

/* The tokens of one character, at `ids`: itself, or one for each of its bytes. Returns how many. */
static size_t character_symbols(const struct fg_bpe *bpe, struct fg_span character, uint32_t *ids)
{
    uint32_t id = fg_vocab_find(bpe->characters, character);
    if (id != FG_TOKEN_NONE && bpe->characters->types[id] == FG_TOKEN_NORMAL) {
        ids[0] = id;
        return 1;
    }
    for (size_t i = 0; i < character.len; i++)
        ids[i] = bpe->byte_ids[(unsigned char)character.data[i]];
    return character.len;
}

/* What a piece starts as; never more symbols than bytes. */
static size_t first_symbols(const struct fg_bpe *bpe, struct fg_span piece, uint32_t *ids)
{
    size_t count = 0;
    if (bpe->characters == NULL) {
        for (; count < piece.len; count++)
            ids[count] = bpe->byte_ids[(unsigned char)piece.data[count]];
        return count;
    }
    for (size_t at = 0; at < piece.len;) {
        size_t step = fg_utf8_sequence(piece.data + at, piece.len - at);
        if (step == 0)
            step = 1;
        count += character_symbols(bpe, fg_span_make(piece.data + at, step), ids + count);
        at += step;
    }
    return count;
}

/* Symbols as a list through positions; a tournament over the ranks of all positions. */
struct tournament {
    uint32_t *ids;
    uint32_t *prev;
    uint32_t *next;    /* count at the end of the list */
    uint32_t *ranks;   /* (width) NO_RANK where there is no pair */
    uint32_t *winners; /* (width) of matches 1 to width-1; match m is between 2m and 2m+1 */
    size_t count;
    size_t width; /* a power of two, at least 2 */
};

/* Who comes out of match `m`, or the position itself on the lowest level. */
static uint32_t contender(const struct tournament *t, size_t m)
{
    return m >= t->width ? (uint32_t)(m - t->width) : t->winners[m];
}

static uint32_t play(const struct tournament *t, size_t match)
{
    uint32_t left = contender(t, 2 * match);
    uint32_t right = contender(t, 2 * match + 1);
    return t->ranks[right] < t->ranks[left] ? right : left;
}

static void set_rank(struct tournament *t, uint32_t position, uint32_t rank)
{
    t->ranks[position] = rank;
    for (size_t match = (t->width + position) / 2; match > 0; match /= 2) {
        uint32_t before = t->winners[match];
        uint32_t after = play(t, match);
        t->winners[match] = after;
        if (before != position && after != position)
            break; /* what is above saw neither the old rank nor sees the new one */
    }
}

static void rerank(const struct fg_bpe *bpe, struct tournament *t, uint32_t position)
{
    uint32_t after = t->next[position];
    set_rank(t, position,
             after == t->count ? NO_RANK : pair_rank(bpe, t->ids[position], t->ids[after]));
}

static void merge_at(const struct fg_bpe *bpe, struct tournament *t, uint32_t position)
{
    uint32_t gone = t->next[position];
    uint32_t after = t->next[gone];
    t->ids[position] = fg_bpe_find_pair(bpe, t->ids[position], t->ids[gone])->merged;
    t->next[position] = after;
    if (after != t->count)
        t->prev[after] = position;
    set_rank(t, gone, NO_RANK);
    rerank(bpe, t, position);
    if (position != 0)
        rerank(bpe, t, t->prev[position]);
}

/* t->ids holds the first symbols. */
static void start_tournament(const struct fg_bpe *bpe, struct tournament *t)
{
    for (size_t i = 0; i < t->count; i++) {
        t->prev[i] = (uint32_t)(i - 1); /* of the first: never read */
        t->next[i] = (uint32_t)(i + 1);
    }
    for (size_t i = 0; i < t->width; i++)
        t->ranks[i] = i + 1 < t->count ? pair_rank(bpe, t->ids[i], t->ids[i + 1]) : NO_RANK;
    for (size_t match = t->width - 1; match > 0; match--)
        t->winners[match] = play(t, match);
}

static bool merge_long(const struct fg_bpe *bpe, struct fg_span piece,
                       struct fg_bpe_scratch *scratch, size_t *count)
{
    struct tournament t = {.count = piece.len, .width = 2};
    while (t.width < t.count)
        t.width *= 2;
    if (!reserve(scratch, 3 * t.count + 2 * t.width))
        return false;
    t.ids = scratch->words;
    t.prev = t.ids + t.count;
    t.next = t.prev + t.count;
    t.ranks = t.next + t.count;
    t.winners = t.ranks + t.width;
    t.count = first_symbols(bpe, piece, t.ids);
    start_tournament(bpe, &t);
    while (t.ranks[t.winners[1]] != NO_RANK)
        merge_at(bpe, &t, t.winners[1]);
    size_t kept = 0;
    for (size_t at = 0; at != t.count; at = t.next[at])
        t.ids[kept++] = t.ids[at]; /* kept <= at: nothing unread is overwritten */
    *count = kept;
    return true;
}

bool fg_bpe_merge(const struct fg_bpe *bpe, struct fg_span piece, struct fg_bpe_scratch *scratch,
                  const uint32_t **ids, size_t *count)
{
    assert(piece.len > 0 && piece.len <= PIECE_BYTES_MAX);
    if (piece.len > SHORT_PIECE) {
        bool is_done = merge_long(bpe, piece, scratch, count);
        *ids = scratch->words;
        return is_done;
    }
    if (!reserve(scratch, 2 * SHORT_PIECE))
        return false;
    size_t symbols = first_symbols(bpe, piece, scratch->words);
    *count = merge_short(bpe, scratch->words, scratch->words + SHORT_PIECE, symbols);
    *ids = scratch->words;
    return true;
}
