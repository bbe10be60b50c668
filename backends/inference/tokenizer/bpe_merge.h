/*
 * bpe_merge.h: joins the symbols of one piece of text into tokens by the ranked merges of the
 * model. A piece starts as its bytes (byte-level BPE) or as its characters (SentencePiece).
 * Thread   the table is immutable once made: any. Scratch belongs to one caller.
 * Memory   at most 28 bytes of scratch a byte of the longest piece, kept until fini.
 */
#ifndef FG_INFERENCE_BPE_MERGE_H
#define FG_INFERENCE_BPE_MERGE_H

#include "inference/tokenizer/vocab.h"

struct fg_bpe_pair {
    uint32_t left;
    uint32_t right;
    uint32_t rank;   /* the smallest is merged first */
    uint32_t merged; /* the token for both together */
};

struct fg_bpe {
    uint32_t byte_ids[256];
    const struct fg_vocab *characters; /* a piece starts as its characters; NULL: as its bytes */
    struct fg_bpe_pair *pairs;         /* open addressing; left is FG_TOKEN_NONE where empty */
    unsigned shift;                    /* 64 less the binary logarithm of the number of pairs */
};

/* From tokenizer.ggml.merges; on failure `bpe` is still fit for fini. */
enum fg_status fg_bpe_init(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                           const struct fg_gguf *gguf, struct fg_error *error);
/*
 * From tokenizer.ggml.scores, as SentencePiece's BPE has them: two neighbours may be joined when
 * the vocabulary has what they make, the highest score first. `vocab` must outlive `bpe`. A
 * character that is no token becomes its byte tokens, or `unknown` for each byte without one.
 */
enum fg_status fg_bpe_init_scores(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                                  const struct fg_gguf *gguf, uint32_t unknown,
                                  struct fg_error *error);
void fg_bpe_fini(struct fg_bpe *bpe);

#define FG_BPE_NO_RANK UINT32_MAX

/* The pair's entry, or an empty one, whose rank is FG_BPE_NO_RANK: absent pairs need no test. */
static inline const struct fg_bpe_pair *fg_bpe_find_pair(const struct fg_bpe *bpe, uint32_t left,
                                                         uint32_t right)
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

/* Zeroed is empty. */
struct fg_bpe_scratch {
    uint32_t *words;
    size_t word_count;
};
void fg_bpe_scratch_fini(struct fg_bpe_scratch *scratch);

/*
 * The tokens of `piece` (1 to 2^30 bytes). *ids is valid until the next call with this scratch and
 * holds *count of them. n log n in the bytes of the piece. False when there is no memory.
 */
bool fg_bpe_merge(const struct fg_bpe *bpe, struct fg_span piece, struct fg_bpe_scratch *scratch,
                  const uint32_t **ids, size_t *count);

#endif
