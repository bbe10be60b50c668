/*
 * tokenizer.h: text to token ids and back, from the vocabulary in a GGUF file.
 * Thread   immutable once created: any thread may encode and decode; scratch is the caller's.
 * Never    lets what a user typed become a control token unless the caller asks for it.
 * Source   byte-level BPE after GPT-2; pre-tokeniser patterns by `tokenizer.ggml.pre`
 *          (qwen2, llama-bpe, gpt-2/default) with PCRE2; SentencePiece BPE by scores, with byte
 *          fallback (`tokenizer.ggml.model` llama).
 */
#ifndef FG_INFERENCE_TOKENIZER_H
#define FG_INFERENCE_TOKENIZER_H

#include "base/span.h"
#include "base/status.h"
#include "inference/model/gguf.h"

struct fg_tokenizer;

/*
 * Build from the file's tokenizer.* keys; copies nothing that the mapping holds, so `gguf` must
 * outlive it. Fails with the key's name and what was expected.
 */
enum fg_status fg_tokenizer_create(struct fg_tokenizer **out, const struct fg_gguf *gguf,
                                   struct fg_error *error);
void fg_tokenizer_destroy(struct fg_tokenizer *tokenizer);

/* A growing list of ids with a limit. Zeroed plus ids_max is empty; heap memory, freed by fini. */
struct fg_token_list {
    uint32_t *ids;
    size_t count;
    size_t capacity;
    size_t ids_max; /* FG_ERR_LIMIT beyond this many */
};
void fg_token_list_fini(struct fg_token_list *list);
/* Append as many of `ids` as ids_max allows; FG_ERR_LIMIT when not all, FG_ERR_NO_MEMORY. */
enum fg_status fg_token_list_append(struct fg_token_list *list, const uint32_t *ids, size_t count);

enum fg_special_mode {
    FG_SPECIAL_PLAIN,     /* control tokens in the text are ordinary text (user input) */
    FG_SPECIAL_RECOGNISE, /* control tokens in the text become their ids (templates) */
};

/*
 * Append the tokens of `text` (UTF-8; broken sequences are encoded byte by byte). User-defined
 * tokens such as <think> are one token in both modes. No BOS is added. FG_ERR_LIMIT when ids_max
 * would be passed, FG_ERR_NO_MEMORY; what was appended before stays.
 */
enum fg_status fg_tokenizer_encode(const struct fg_tokenizer *tokenizer, struct fg_span text,
                                   enum fg_special_mode mode, struct fg_token_list *out);

/* The control or user-defined token written exactly like `text`, or UINT32_MAX. */
uint32_t fg_tokenizer_find_special(const struct fg_tokenizer *tokenizer, struct fg_span text);

/* The token's bytes (valid as long as the tokenizer), empty for control tokens and bad ids. */
struct fg_span fg_tokenizer_bytes(const struct fg_tokenizer *tokenizer, uint32_t id);

uint32_t fg_tokenizer_vocab_count(const struct fg_tokenizer *tokenizer);
/* UINT32_MAX when the file has none. */
uint32_t fg_tokenizer_bos(const struct fg_tokenizer *tokenizer);
uint32_t fg_tokenizer_eos(const struct fg_tokenizer *tokenizer);
bool fg_tokenizer_adds_bos(const struct fg_tokenizer *tokenizer);
/* Any token that ends a generation: eos, eot, <|im_end|>, <|endoftext|>, <|eot_id|>, ... */
bool fg_tokenizer_is_end(const struct fg_tokenizer *tokenizer, uint32_t id);

/*
 * Streaming decode: holds back an incomplete UTF-8 sequence until it is whole or can no longer
 * become so. Zeroed is fresh. At most 4 bytes are held.
 */
struct fg_detokenizer {
    unsigned char held[8];
    size_t held_count;
};

/*
 * Feed one token; writes complete text to `text` (room for fg_tokenizer_push_bytes_max bytes) and
 * returns the number of bytes. Bytes that can never be valid UTF-8 come out as U+FFFD, three bytes
 * for one.
 */
size_t fg_detokenizer_push(struct fg_detokenizer *detok, const struct fg_tokenizer *tokenizer,
                           uint32_t id, char *text, size_t text_bytes);
/* What is still held when the stream ends, as U+FFFD; returns bytes written (0 to 3). */
size_t fg_detokenizer_finish(struct fg_detokenizer *detok, char *text, size_t text_bytes);
/* The most bytes that one push can write with this vocabulary. */
size_t fg_tokenizer_push_bytes_max(const struct fg_tokenizer *tokenizer);

#endif
