/*
 * tokenizer.c: BPE over the vocabulary of a GGUF file, byte-level or SentencePiece's: text in,
 * token ids out.
 * Thread   the start-up thread creates; after that any thread encodes, with scratch of its own.
 * Memory   the tables below for the life of the tokenizer; a call's scratch is freed when it
 *          returns and is at most 28 bytes a byte of its longest unbroken word.
 * Never    normalises: the published Qwen tokenizers compose characters (Unicode NFC) before they
 *          split, llama.cpp does not, and neither do we, so that decoding gives the bytes back.
 *
 *    text --> special tokens --> UTF-8 or not --> pieces -------> merges ------> ids
 *             special_tokens     utf8             pre_split or    bpe_merge
 *                  '--> id            '--> byte   words
 *                                          tokens
 *
 * SentencePiece cuts nothing before it merges. Where no token of the vocabulary goes from a word
 * into the space behind it, cutting there changes no result, and words are quicker than a page.
 */
#include "inference/tokenizer/tokenizer.h"
#include "inference/model/utf8.h"
#include "inference/tokenizer/bpe_merge.h"
#include "inference/tokenizer/pre_split.h"
#include "inference/tokenizer/special_tokens.h"

#include <stdlib.h>

#define END_IDS_MAX 64
#define RUN_BYTES_MAX ((size_t)1 << 30) /* one merge works with 32-bit positions */

struct fg_tokenizer {
    struct fg_vocab vocab;
    struct fg_bpe bpe;
    struct fg_special_tokens specials;
    struct fg_pre_split split; /* byte-level only */
    bool is_sentencepiece;
    bool adds_space; /* SentencePiece: before the text and behind each special token */
    bool cuts_at_spaces;
    uint32_t bos;
    uint32_t eos;
    bool adds_bos;
    uint32_t end_ids[END_IDS_MAX];
    size_t end_count;
};

/*
 * Names under which models end a turn, a message or a file, as llama.cpp knows them. They end a
 * generation whatever type the file gives them, since converters get the type wrong.
 */
static const char *const end_names[] = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>",  "<|eom_id|>",    "<|end_of_text|>",    "</s>",
    "<|end|>",    "<|return|>",    "<|call|>",    "<end_of_turn>", "<end_of_utterance>", "<eos>",
    "<EOT>",      "_<EOT>",        "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
};

static enum fg_status load_id(const struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                              const char *key, uint32_t *id, struct fg_error *error)
{
    uint64_t value;
    *id = FG_TOKEN_NONE;
    if (!fg_gguf_has(gguf, key))
        return FG_OK;
    if (!fg_gguf_get_u64(gguf, key, &value) || value >= tokenizer->vocab.count)
        return fg_error_set(error, "key %s: not a token; expected an integer below %u", key,
                            tokenizer->vocab.count);
    *id = (uint32_t)value;
    return FG_OK;
}

static void add_end(struct fg_tokenizer *tokenizer, uint32_t id)
{
    if (id != FG_TOKEN_NONE && !fg_tokenizer_is_end(tokenizer, id) &&
        tokenizer->end_count < END_IDS_MAX)
        tokenizer->end_ids[tokenizer->end_count++] = id;
}

static enum fg_status load_ends(struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                                struct fg_error *error)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    struct fg_span text;
    size_t cursor = 0;
    add_end(tokenizer, tokenizer->eos);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint32_t id;
        enum fg_status status = load_id(tokenizer, gguf, keys[i], &id, error);
        if (status != FG_OK)
            return status;
        add_end(tokenizer, id);
    }
    for (uint32_t id = 0; fg_gguf_next_string(gguf, "tokenizer.ggml.tokens", &cursor, &text);
         id++) {
        for (size_t i = 0; i < sizeof(end_names) / sizeof(end_names[0]); i++) {
            if (fg_span_equal(text, fg_span_from_string(end_names[i])))
                add_end(tokenizer, id);
        }
    }
    return FG_OK;
}

static enum fg_status load_ids(struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                               struct fg_error *error)
{
    const char *adds_key = "tokenizer.ggml.add_bos_token";
    enum fg_status status =
        load_id(tokenizer, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos, error);
    if (status == FG_OK)
        status = load_id(tokenizer, gguf, "tokenizer.ggml.eos_token_id", &tokenizer->eos, error);
    if (status != FG_OK)
        return status;
    tokenizer->adds_bos = tokenizer->is_sentencepiece || tokenizer->split.adds_bos;
    if (fg_gguf_has(gguf, adds_key) && !fg_gguf_get_bool(gguf, adds_key, &tokenizer->adds_bos))
        return fg_error_set(error, "key %s: not a bool", adds_key);
    tokenizer->adds_bos = tokenizer->adds_bos && tokenizer->bos != FG_TOKEN_NONE;
    return load_ends(tokenizer, gguf, error);
}

static enum fg_status load_byte_level(struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                                      struct fg_error *error)
{
    struct fg_span pre = {NULL, 0};
    if (fg_gguf_has(gguf, "tokenizer.ggml.pre") &&
        !fg_gguf_get_string(gguf, "tokenizer.ggml.pre", &pre))
        return fg_error_set(error, "key tokenizer.ggml.pre: not a string");
    enum fg_status status = fg_pre_split_init(&tokenizer->split, pre, error);
    if (status == FG_OK)
        status = fg_vocab_init(&tokenizer->vocab, gguf, FG_SPELLING_GPT2, error);
    if (status == FG_OK)
        status = fg_bpe_init(&tokenizer->bpe, &tokenizer->vocab, gguf, error);
    return status;
}

/* Whether no ordinary token has a space behind something else. */
static bool spaces_only_lead(const struct fg_vocab *vocab)
{
    for (uint32_t id = 0; id < vocab->count; id++) {
        struct fg_span bytes = fg_vocab_bytes(vocab, id);
        for (size_t i = 1; i < bytes.len && vocab->types[id] == FG_TOKEN_NORMAL; i++) {
            if (bytes.data[i] == ' ' && bytes.data[i - 1] != ' ')
                return false;
        }
    }
    return true;
}

static enum fg_status load_sentencepiece(struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                                         struct fg_error *error)
{
    const char *space_key = "tokenizer.ggml.add_space_prefix";
    uint32_t unknown;
    tokenizer->is_sentencepiece = true;
    tokenizer->adds_space = true;
    if (fg_gguf_has(gguf, space_key) && !fg_gguf_get_bool(gguf, space_key, &tokenizer->adds_space))
        return fg_error_set(error, "key %s: not a bool", space_key);
    enum fg_status status =
        fg_vocab_init(&tokenizer->vocab, gguf, FG_SPELLING_SENTENCEPIECE, error);
    if (status == FG_OK)
        status = load_id(tokenizer, gguf, "tokenizer.ggml.unknown_token_id", &unknown, error);
    if (status != FG_OK)
        return status;
    tokenizer->cuts_at_spaces = spaces_only_lead(&tokenizer->vocab);
    return fg_bpe_init_scores(&tokenizer->bpe, &tokenizer->vocab, gguf,
                              unknown == FG_TOKEN_NONE ? 0 : unknown, error);
}

static enum fg_status load(struct fg_tokenizer *tokenizer, const struct fg_gguf *gguf,
                           struct fg_error *error)
{
    struct fg_span model = {NULL, 0};
    enum fg_status status;
    if (!fg_gguf_get_string(gguf, "tokenizer.ggml.model", &model))
        return fg_error_set(error, "key tokenizer.ggml.model: absent; expected \"gpt2\" or "
                                   "\"llama\"");
    if (fg_span_equal(model, FG_SPAN("gpt2")))
        status = load_byte_level(tokenizer, gguf, error);
    else if (fg_span_equal(model, FG_SPAN("llama")))
        status = load_sentencepiece(tokenizer, gguf, error);
    else
        return fg_error_set(error,
                            "key tokenizer.ggml.model: \"%.*s\" is not supported; expected "
                            "\"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece)",
                            model.len > 60 ? 60 : (int)model.len, model.data);
    if (status == FG_OK)
        status = fg_special_tokens_init(&tokenizer->specials, &tokenizer->vocab, gguf, error);
    if (status == FG_OK)
        status = load_ids(tokenizer, gguf, error);
    return status;
}

enum fg_status fg_tokenizer_create(struct fg_tokenizer **out, const struct fg_gguf *gguf,
                                   struct fg_error *error)
{
    *out = NULL;
    struct fg_tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (tokenizer == NULL)
        return fg_error_set(error, "not enough memory for the tokenizer");
    enum fg_status status = load(tokenizer, gguf, error);
    if (status != FG_OK) {
        fg_tokenizer_destroy(tokenizer);
        return status;
    }
    *out = tokenizer;
    return FG_OK;
}

void fg_tokenizer_destroy(struct fg_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    fg_special_tokens_fini(&tokenizer->specials);
    fg_bpe_fini(&tokenizer->bpe);
    fg_vocab_fini(&tokenizer->vocab);
    fg_pre_split_fini(&tokenizer->split);
    free(tokenizer);
}

void fg_token_list_fini(struct fg_token_list *list)
{
    free(list->ids);
    list->ids = NULL;
    list->count = 0;
    list->capacity = 0;
}

enum fg_status fg_token_list_append(struct fg_token_list *list, const uint32_t *ids, size_t count)
{
    size_t room = list->ids_max > list->count ? list->ids_max - list->count : 0;
    size_t taken = count < room ? count : room;
    if (list->count + taken > list->capacity) {
        size_t capacity = list->capacity < 64 ? 64 : list->capacity;
        while (capacity < list->count + taken)
            capacity *= 2;
        if (capacity > list->ids_max)
            capacity = list->ids_max;
        uint32_t *grown = realloc(list->ids, capacity * sizeof(*grown));
        if (grown == NULL)
            return FG_ERR_NO_MEMORY;
        list->ids = grown;
        list->capacity = capacity;
    }
    if (taken > 0)
        memcpy(list->ids + list->count, ids, taken * sizeof(*ids));
    list->count += taken;
    return taken == count ? FG_OK : FG_ERR_LIMIT;
}

/* One call of encode. */
struct encoding {
    const struct fg_tokenizer *tokenizer;
    struct fg_token_list *out;
    struct fg_pre_split_run run;
    struct fg_bpe_scratch scratch;
    bool owes_space; /* SentencePiece: the next piece gets a space in front */
    char *spaced;    /* that piece */
};

/*
 * Whether `bytes` of text must give more tokens than the list may still take: no token is longer
 * than bytes_max. Checked before the work, so that a text that is far too long costs nothing.
 */
static bool is_too_long(const struct encoding *e, size_t bytes)
{
    size_t room = e->out->ids_max > e->out->count ? e->out->ids_max - e->out->count : 0;
    return bytes / e->tokenizer->vocab.bytes_max > room;
}

static enum fg_status encode_piece(struct encoding *e, struct fg_span piece)
{
    const struct fg_tokenizer *tokenizer = e->tokenizer;
    const uint32_t *ids;
    size_t count;
    if (tokenizer->split.ignores_merges) {
        uint32_t id = fg_vocab_find(&tokenizer->vocab, piece);
        if (id != FG_TOKEN_NONE)
            return fg_token_list_append(e->out, &id, 1);
    }
    if (is_too_long(e, piece.len))
        return FG_ERR_LIMIT;
    if (!fg_bpe_merge(&tokenizer->bpe, piece, &e->scratch, &ids, &count))
        return FG_ERR_NO_MEMORY;
    return fg_token_list_append(e->out, ids, count);
}

/* The piece with the space in front that is owed. */
static enum fg_status encode_spaced(struct encoding *e, struct fg_span piece)
{
    e->owes_space = false;
    if (is_too_long(e, piece.len))
        return FG_ERR_LIMIT;
    char *grown = realloc(e->spaced, piece.len + 1);
    if (grown == NULL)
        return FG_ERR_NO_MEMORY;
    e->spaced = grown;
    e->spaced[0] = ' ';
    if (piece.len > 0)
        memcpy(e->spaced + 1, piece.data, piece.len);
    return encode_piece(e, fg_span_make(e->spaced, piece.len + 1));
}

/* Spaces and the word behind them, or all of it where words may not be cut apart. */
static struct fg_span next_word(const struct encoding *e, struct fg_span run, size_t at)
{
    size_t end = run.len;
    if (e->tokenizer->cuts_at_spaces) {
        end = at;
        while (end < run.len && run.data[end] == ' ')
            end++;
        const char *space = memchr(run.data + end, ' ', run.len - end);
        end = space == NULL ? run.len : (size_t)(space - run.data);
    }
    return fg_span_make(run.data + at, end - at);
}

static enum fg_status encode_words(struct encoding *e, struct fg_span run)
{
    enum fg_status status = FG_OK;
    for (size_t at = 0; at < run.len && status == FG_OK;) {
        struct fg_span word = next_word(e, run, at);
        status = e->owes_space ? encode_spaced(e, word) : encode_piece(e, word);
        at += word.len;
    }
    return status;
}

/* Well-formed UTF-8. */
static enum fg_status encode_run(struct encoding *e, struct fg_span run)
{
    struct fg_span piece;
    size_t at = 0;
    if (e->tokenizer->is_sentencepiece)
        return encode_words(e, run);
    enum fg_status status = fg_pre_split_next(&e->run, run, &at, &piece);
    while (status == FG_OK) {
        status = encode_piece(e, piece);
        if (status == FG_OK)
            status = fg_pre_split_next(&e->run, run, &at, &piece);
    }
    return status == FG_ERR_NOT_FOUND ? FG_OK : status;
}

/* How many bytes at the start of `text` are well-formed, up to RUN_BYTES_MAX. */
static size_t well_formed(struct fg_span text)
{
    size_t at = 0;
    while (at < text.len && at < RUN_BYTES_MAX - 4) {
        size_t step = fg_utf8_sequence(text.data + at, text.len - at);
        if (step == 0)
            break;
        at += step;
    }
    return at;
}

/* Text without special tokens; bytes that are not UTF-8 become their byte tokens. */
static enum fg_status encode_between(struct encoding *e, struct fg_span text)
{
    enum fg_status status = FG_OK;
    e->owes_space = e->tokenizer->adds_space && text.len > 0;
    for (size_t at = 0; at < text.len && status == FG_OK;) {
        size_t run = well_formed(fg_span_make(text.data + at, text.len - at));
        if (run == 0 && e->owes_space) {
            status = encode_spaced(e, (struct fg_span){NULL, 0});
        } else if (run == 0) {
            unsigned char byte = (unsigned char)text.data[at++];
            status = fg_token_list_append(e->out, &e->tokenizer->bpe.byte_ids[byte], 1);
            continue;
        }
        status = encode_run(e, fg_span_make(text.data + at, run));
        at += run;
    }
    return status;
}

static enum fg_status encode_all(struct encoding *e, struct fg_span text, bool with_control)
{
    enum fg_status status = is_too_long(e, text.len) ? FG_ERR_LIMIT : FG_OK;
    size_t start = 0;
    while (status == FG_OK && start < text.len) {
        struct fg_span rest = fg_span_make(text.data + start, text.len - start);
        size_t before;
        size_t length;
        uint32_t id;
        if (!fg_special_tokens_find(&e->tokenizer->specials, rest, with_control, &before, &length,
                                    &id))
            return encode_between(e, rest);
        status = encode_between(e, fg_span_make(rest.data, before));
        if (status == FG_OK)
            status = fg_token_list_append(e->out, &id, 1);
        start += before + length;
    }
    return status;
}

enum fg_status fg_tokenizer_encode(const struct fg_tokenizer *tokenizer, struct fg_span text,
                                   enum fg_special_mode mode, struct fg_token_list *out)
{
    struct encoding e = {
        .tokenizer = tokenizer, .out = out, .run = {.split = &tokenizer->split}, .scratch = {0}};
    enum fg_status status = encode_all(&e, text, mode == FG_SPECIAL_RECOGNISE);
    fg_bpe_scratch_fini(&e.scratch);
    fg_pre_split_run_fini(&e.run);
    free(e.spaced);
    return status;
}

uint32_t fg_tokenizer_find_special(const struct fg_tokenizer *tokenizer, struct fg_span text)
{
    size_t at;
    size_t length;
    uint32_t id;
    bool is_found = text.len > 0 &&
                    fg_special_tokens_find(&tokenizer->specials, text, true, &at, &length, &id) &&
                    at == 0 && length == text.len;
    return is_found ? id : FG_TOKEN_NONE;
}

struct fg_span fg_tokenizer_bytes(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    return fg_vocab_bytes(&tokenizer->vocab, id);
}

uint32_t fg_tokenizer_vocab_count(const struct fg_tokenizer *tokenizer)
{
    return tokenizer->vocab.count;
}

uint32_t fg_tokenizer_bos(const struct fg_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

uint32_t fg_tokenizer_eos(const struct fg_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool fg_tokenizer_adds_bos(const struct fg_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}

bool fg_tokenizer_is_end(const struct fg_tokenizer *tokenizer, uint32_t id)
{
    for (size_t i = 0; i < tokenizer->end_count; i++) {
        if (tokenizer->end_ids[i] == id)
            return true;
    }
    return false;
}

size_t fg_tokenizer_push_bytes_max(const struct fg_tokenizer *tokenizer)
{
    /* At worst each byte, and each of three held before, comes out as U+FFFD. */
    return 3 * (tokenizer->vocab.bytes_max + 3);
}
