/*
 * bpe_table.c: fills the table of pairs that may be joined, from the file's merges (GPT-2) or from
 * the scores of its tokens (SentencePiece).
 * Thread   the start-up thread.
 * Source   merges.txt of GPT-2; SentencePiece's bpe_model.cc, which joins any two neighbours whose
 *          text is a token, the highest score first. Listing for each token the pairs that make it
 *          gives the same joins, since its vocabularies hold every character of their tokens.
 */
#include "inference/tokenizer/bpe_merge.h"

#include <stdlib.h>

#define MERGES_KEY "tokenizer.ggml.merges"
#define SCORES_KEY "tokenizer.ggml.scores"
#define PAIRS_MAX ((size_t)1 << 26)

static bool make_table(struct fg_bpe *bpe, size_t pair_count)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) / 3 * 2 < pair_count)
        bits++;
    bpe->shift = 64 - bits;
    bpe->pairs = malloc(((size_t)1 << bits) * sizeof(*bpe->pairs));
    if (bpe->pairs == NULL)
        return false;
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        bpe->pairs[i] =
            (struct fg_bpe_pair){FG_TOKEN_NONE, FG_TOKEN_NONE, FG_BPE_NO_RANK, FG_TOKEN_NONE};
    return true;
}

/* Of two equal pairs the one with the lower rank stays. */
static void add_pair(struct fg_bpe *bpe, struct fg_bpe_pair pair)
{
    struct fg_bpe_pair *slot = (struct fg_bpe_pair *)fg_bpe_find_pair(bpe, pair.left, pair.right);
    if (slot->left == FG_TOKEN_NONE || pair.rank < slot->rank)
        *slot = pair;
}

/* ---- from merges ---- */

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
    add_pair(bpe, pair);
    return FG_OK;
}

enum fg_status fg_bpe_init(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                           const struct fg_gguf *gguf, struct fg_error *error)
{
    size_t count = fg_gguf_string_array_count(gguf, MERGES_KEY);
    *bpe = (struct fg_bpe){0};
    if (!fg_gguf_has(gguf, MERGES_KEY))
        return fg_error_set(error, "key " MERGES_KEY ": absent; expected an array of strings");
    if (count > PAIRS_MAX)
        return fg_error_set(error, "key " MERGES_KEY ": %zu entries; expected at most %zu", count,
                            PAIRS_MAX);
    if (!make_table(bpe, count))
        return fg_error_set(error, "not enough memory for %zu merges", count);
    enum fg_status status = load_bytes(bpe, vocab, error);
    struct fg_span merge;
    size_t cursor = 0;
    for (uint32_t rank = 0;
         status == FG_OK && fg_gguf_next_string(gguf, MERGES_KEY, &cursor, &merge); rank++)
        status = load_merge(bpe, vocab, rank, merge, error);
    return status;
}

/* ---- from scores ---- */

struct scored {
    uint32_t id;
    float score;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *left = a, *right = b;
    if (left->score != right->score)
        return left->score > right->score ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

static enum fg_status load_scores(const struct fg_vocab *vocab, const struct fg_gguf *gguf,
                                  struct scored *scored, struct fg_error *error)
{
    for (uint32_t id = 0; id < vocab->count; id++) {
        double score = 0;
        if (!fg_gguf_array_number(gguf, SCORES_KEY, id, &score) || score != score)
            return fg_error_set(error, "key " SCORES_KEY ": entry %u is not a number", id);
        scored[id] = (struct scored){id, (float)score};
    }
    qsort(scored, vocab->count, sizeof(*scored), by_score);
    return FG_OK;
}

static uint32_t find_normal(const struct fg_vocab *vocab, struct fg_span bytes)
{
    uint32_t id = fg_vocab_find(vocab, bytes);
    return id != FG_TOKEN_NONE && vocab->types[id] == FG_TOKEN_NORMAL ? id : FG_TOKEN_NONE;
}

/* Every cut of the token into two tokens; counts them, and adds them when there is a table. */
static size_t add_cuts(struct fg_bpe *bpe, const struct fg_vocab *vocab, uint32_t id, uint32_t rank)
{
    struct fg_span bytes = fg_vocab_bytes(vocab, id);
    size_t count = 0;
    if (vocab->types[id] != FG_TOKEN_NORMAL || fg_vocab_find(vocab, bytes) != id)
        return 0;
    for (size_t cut = 1; cut < bytes.len; cut++) {
        if (((unsigned char)bytes.data[cut] & 0xc0) == 0x80)
            continue; /* inside a character */
        uint32_t left = find_normal(vocab, fg_span_make(bytes.data, cut));
        uint32_t right = find_normal(vocab, fg_span_make(bytes.data + cut, bytes.len - cut));
        if (left == FG_TOKEN_NONE || right == FG_TOKEN_NONE)
            continue;
        count++;
        if (bpe->pairs != NULL)
            add_pair(bpe, (struct fg_bpe_pair){left, right, rank, id});
    }
    return count;
}

static void find_byte_tokens(struct fg_bpe *bpe, const struct fg_vocab *vocab, uint32_t unknown)
{
    for (unsigned byte = 0; byte < 256; byte++)
        bpe->byte_ids[byte] = unknown;
    for (uint32_t id = 0; id < vocab->count; id++) {
        struct fg_span bytes = fg_vocab_bytes(vocab, id);
        if (vocab->types[id] == FG_TOKEN_BYTE && bytes.len == 1)
            bpe->byte_ids[(unsigned char)bytes.data[0]] = id;
    }
}

/* Tokens of equal score have the same rank, so that the leftmost of them is joined first. */
static enum fg_status add_scored(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                                 const struct scored *scored, struct fg_error *error)
{
    size_t pair_count = 0;
    for (uint32_t i = 0; i < vocab->count; i++)
        pair_count += add_cuts(bpe, vocab, scored[i].id, 0);
    if (pair_count > PAIRS_MAX)
        return fg_error_set(error, "key tokenizer.ggml.tokens: %zu joins; expected at most %zu",
                            pair_count, PAIRS_MAX);
    if (!make_table(bpe, pair_count))
        return fg_error_set(error, "not enough memory for %zu joins", pair_count);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < vocab->count; i++) {
        if (i > 0 && scored[i].score != scored[i - 1].score)
            rank++;
        add_cuts(bpe, vocab, scored[i].id, rank);
    }
    return FG_OK;
}

enum fg_status fg_bpe_init_scores(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                                  const struct fg_gguf *gguf, uint32_t unknown,
                                  struct fg_error *error)
{
    *bpe = (struct fg_bpe){.characters = vocab};
    if (fg_gguf_number_array_count(gguf, SCORES_KEY) != vocab->count)
        return fg_error_set(error, "key " SCORES_KEY ": %zu entries; expected one for each token",
                            fg_gguf_number_array_count(gguf, SCORES_KEY));
    struct scored *scored = malloc(vocab->count * sizeof(*scored));
    if (scored == NULL)
        return fg_error_set(error, "not enough memory for %u scores", vocab->count);
    find_byte_tokens(bpe, vocab, unknown);
    enum fg_status status = load_scores(vocab, gguf, scored, error);
    if (status == FG_OK)
        status = add_scored(bpe, vocab, scored, error);
    free(scored);
    return status;
}

void fg_bpe_fini(struct fg_bpe *bpe)
{
    free(bpe->pairs);
    bpe->pairs = NULL;
}
