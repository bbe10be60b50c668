/*
 * bpe_merge.c: byte-pair encoding: again and again the neighbours with the lowest rank become one
 * token, the leftmost first among equals, until no neighbours can be merged.
 * Thread   the start-up thread fills the table; after that any thread reads it.
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
#include "inference/tokenizer/bpe_merge.h"

#include <assert.h>
#include <stdlib.h>

#define MERGES_KEY "tokenizer.ggml.merges"
#define NO_RANK UINT32_MAX
#define SHORT_PIECE ((size_t)48)
#define PIECE_BYTES_MAX ((size_t)1 << 30)

static const struct fg_bpe_pair *find_pair(const struct fg_bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)left << 32 | right;
    size_t mask = SIZE_MAX >> bpe->shift;
    size_t at = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> bpe->shift);
    const struct fg_bpe_pair *pair = &bpe->pairs[at];
    while (pair->left != FG_TOKEN_NONE && (pair->left != left || pair->right != right)) {
        at = (at + 1) & mask;
        pair = &bpe->pairs[at];
    }
    return pair;
}

/* An empty slot has no rank, so that absent pairs need no test. */
static uint32_t pair_rank(const struct fg_bpe *bpe, uint32_t left, uint32_t right)
{
    return find_pair(bpe, left, right)->rank;
}

static enum fg_status load_bytes(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                                 struct fg_error *error)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        bpe->byte_ids[byte] = fg_vocab_find(vocab, fg_span_make(&text, 1));
        if (bpe->byte_ids[byte] == FG_TOKEN_NONE)
            return fg_error_set(error,
                                "key tokenizer.ggml.tokens: no token for byte 0x%02x; expected "
                                "one for each of the 256 bytes",
                                byte);
    }
    return FG_OK;
}

/* The token spelled by `text`, or FG_TOKEN_NONE; `bytes` has room for text.len. */
static uint32_t find_spelled(const struct fg_vocab *vocab, struct fg_span text, char *bytes)
{
    size_t count = fg_vocab_unspell(text, bytes);
    return count == SIZE_MAX ? FG_TOKEN_NONE : fg_vocab_find(vocab, fg_span_make(bytes, count));
}

static enum fg_status load_merge(struct fg_bpe *bpe, const struct fg_vocab *vocab, uint32_t rank,
                                 struct fg_span merge, struct fg_error *error)
{
    char bytes[1024];
    struct fg_span rest = merge;
    struct fg_span left = fg_span_split(&rest, ' ');
    if (left.len == 0 || rest.len == 0 || merge.len > sizeof(bytes))
        return fg_error_set(error, "key " MERGES_KEY ": entry %u is not two tokens and a space",
                            rank);
    struct fg_bpe_pair pair = {.rank = rank};
    pair.left = find_spelled(vocab, left, bytes);
    pair.right = find_spelled(vocab, rest, bytes);
    size_t left_bytes = fg_vocab_unspell(left, bytes);
    if (pair.left == FG_TOKEN_NONE || pair.right == FG_TOKEN_NONE)
        return fg_error_set(
            error, "key " MERGES_KEY ": entry %u (%.*s) joins what is not in the vocabulary", rank,
            FG_SPAN_ARGS(merge));
    size_t right_bytes = fg_vocab_unspell(rest, bytes + left_bytes);
    pair.merged = fg_vocab_find(vocab, fg_span_make(bytes, left_bytes + right_bytes));
    if (pair.merged == FG_TOKEN_NONE)
        return fg_error_set(
            error, "key " MERGES_KEY ": entry %u (%.*s) makes what is not in the vocabulary", rank,
            FG_SPAN_ARGS(merge));
    struct fg_bpe_pair *slot = (struct fg_bpe_pair *)find_pair(bpe, pair.left, pair.right);
    if (slot->left == FG_TOKEN_NONE) /* of equal ones the first, as its rank is lower */
        *slot = pair;
    return FG_OK;
}

enum fg_status fg_bpe_init(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                           const struct fg_gguf *gguf, struct fg_error *error)
{
    size_t count = fg_gguf_string_array_count(gguf, MERGES_KEY);
    *bpe = (struct fg_bpe){0};
    if (!fg_gguf_has(gguf, MERGES_KEY))
        return fg_error_set(error, "key " MERGES_KEY ": absent; expected an array of strings");
    if (count > (size_t)1 << 26)
        return fg_error_set(error, "key " MERGES_KEY ": %zu entries; expected at most 67108864",
                            count);
    unsigned bits = 4;
    while (((size_t)1 << bits) / 3 * 2 < count)
        bits++;
    bpe->shift = 64 - bits;
    bpe->pairs = malloc(((size_t)1 << bits) * sizeof(*bpe->pairs));
    if (bpe->pairs == NULL)
        return fg_error_set(error, "not enough memory for %zu merges", count);
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        bpe->pairs[i] = (struct fg_bpe_pair){FG_TOKEN_NONE, FG_TOKEN_NONE, NO_RANK, FG_TOKEN_NONE};
    enum fg_status status = load_bytes(bpe, vocab, error);
    struct fg_span merge;
    size_t cursor = 0;
    for (uint32_t rank = 0;
         status == FG_OK && fg_gguf_next_string(gguf, MERGES_KEY, &cursor, &merge); rank++)
        status = load_merge(bpe, vocab, rank, merge, error);
    return status;
}

void fg_bpe_fini(struct fg_bpe *bpe)
{
    free(bpe->pairs);
    bpe->pairs = NULL;
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
        ids[best] = find_pair(bpe, ids[best], ids[best + 1])->merged;
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
    t->ids[position] = find_pair(bpe, t->ids[position], t->ids[gone])->merged;
    t->next[position] = after;
    if (after != t->count)
        t->prev[after] = position;
    set_rank(t, gone, NO_RANK);
    rerank(bpe, t, position);
    if (position != 0)
        rerank(bpe, t, t->prev[position]);
}

static void start_tournament(const struct fg_bpe *bpe, struct tournament *t, struct fg_span piece)
{
    for (size_t i = 0; i < t->count; i++) {
        t->ids[i] = bpe->byte_ids[(unsigned char)piece.data[i]];
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
    start_tournament(bpe, &t, piece);
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
    for (size_t i = 0; i < piece.len; i++)
        scratch->words[i] = bpe->byte_ids[(unsigned char)piece.data[i]];
    *count = merge_short(bpe, scratch->words, scratch->words + SHORT_PIECE, piece.len);
    *ids = scratch->words;
    return true;
}
