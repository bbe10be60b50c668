/*
 * vocab.h: the bytes that each token stands for, and the token that stands for given bytes.
 * Thread   immutable once loaded: any.
 * Memory   the bytes of all tokens in one heap block (the file holds them in another spelling).
 */
#ifndef FG_INFERENCE_VOCAB_H
#define FG_INFERENCE_VOCAB_H

#include "base/span.h"
#include "base/status.h"
#include "inference/model/gguf.h"

#define FG_TOKEN_NONE UINT32_MAX

/* As in tokenizer.ggml.token_type. */
enum fg_token_type {
    FG_TOKEN_NORMAL = 1,
    FG_TOKEN_UNKNOWN = 2,
    FG_TOKEN_CONTROL = 3,
    FG_TOKEN_USER_DEFINED = 4,
    FG_TOKEN_UNUSED = 5,
    FG_TOKEN_BYTE = 6,
};

/* How the file writes the bytes of ordinary tokens. */
enum fg_vocab_spelling {
    FG_SPELLING_GPT2,          /* every byte as a printable character; a space is U+0120 */
    FG_SPELLING_SENTENCEPIECE, /* as they are, but for the space, which is U+2581 */
};

struct fg_vocab {
    uint32_t count;
    enum fg_vocab_spelling spelling;
    size_t bytes_max;  /* of the longest token, by its text in the file or by its bytes */
    uint8_t *types;    /* (count) enum fg_token_type */
    uint32_t *offsets; /* (count + 1) into bytes; equal neighbours: no bytes */
    char *bytes;
    uint32_t *slots; /* open addressing by bytes: id + 1, or 0 */
    size_t mask;
};

/* From tokenizer.ggml.tokens and token_type; on failure `vocab` is still fit for fini. */
enum fg_status fg_vocab_init(struct fg_vocab *vocab, const struct fg_gguf *gguf,
                             enum fg_vocab_spelling spelling, struct fg_error *error);
void fg_vocab_fini(struct fg_vocab *vocab);

/* Empty for tokens that stand for no text: control, unknown, unused, and ids outside. */
struct fg_span fg_vocab_bytes(const struct fg_vocab *vocab, uint32_t id);

/* The text token with exactly these bytes, or FG_TOKEN_NONE; of equal ones the first normal one. */
uint32_t fg_vocab_find(const struct fg_vocab *vocab, struct fg_span bytes);

/*
 * Undo GPT-2's spelling, in which every byte is a printable character (space is U+0120): writes at
 * most text.len bytes and returns how many, or SIZE_MAX when a character is none of the 256.
 */
size_t fg_vocab_unspell(struct fg_span text, char *bytes);

#endif
