/*
 * special_tokens.h: finds tokens that are taken from text whole, before it is split: control tokens
 * such as <|im_end|> and user-defined ones such as <think>.
 * Thread   immutable once made: any.
 */
#ifndef FG_INFERENCE_SPECIAL_TOKENS_H
#define FG_INFERENCE_SPECIAL_TOKENS_H

#include "inference/tokenizer/vocab.h"

struct fg_special_node;

struct fg_special_tokens {
    struct fg_special_node *nodes; /* a trie; node 0 is the root */
    uint32_t node_count;
    uint32_t node_capacity;
    uint32_t roots[256]; /* the root's child for each first byte, or 0 */
};

/* From the texts in tokenizer.ggml.tokens; on failure it is still fit for fini. */
enum fg_status fg_special_tokens_init(struct fg_special_tokens *specials,
                                      const struct fg_vocab *vocab, const struct fg_gguf *gguf,
                                      struct fg_error *error);
void fg_special_tokens_fini(struct fg_special_tokens *specials);

/*
 * The first place in `text` where such a token starts, and the longest one there. Control tokens
 * are seen only `with_control`. False when there is none. Linear in the bytes passed over.
 */
bool fg_special_tokens_find(const struct fg_special_tokens *specials, struct fg_span text,
                            bool with_control, size_t *at, size_t *length, uint32_t *id);

#endif
