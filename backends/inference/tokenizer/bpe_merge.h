/*
 * bpe_merge.h: joins the bytes of one piece of text into tokens by the ranked merges of the model.
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
    struct fg_bpe_pair *pairs; /* open addressing; left is FG_TOKEN_NONE where empty */
    unsigned shift;            /* 64 less the binary logarithm of the number of pairs */
};

/* From tokenizer.ggml.merges; on failure `bpe` is still fit for fini. */
enum fg_status fg_bpe_init(struct fg_bpe *bpe, const struct fg_vocab *vocab,
                           const struct fg_gguf *gguf, struct fg_error *error);
void fg_bpe_fini(struct fg_bpe *bpe);

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
