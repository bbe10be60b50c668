/*
 * vocab.c: loads the vocabulary: from the printable spelling of the file to the bytes themselves.
 * Thread   the start-up thread loads; after that any thread reads.
 * Memory   one block for bytes (never more than the file's own text), and a few arrays of one
 *          entry a token.
 * Source   the byte table is bytes_to_unicode() of GPT-2's encoder.py: bytes that print as
 *          themselves in Latin-1 stay, the other 68 are numbered from U+0100 in order.
 */
#include "inference/tokenizer/vocab.h"
#include "inference/model/utf8.h"

#include <assert.h>
#include <stdlib.h>

#define TOKENS_MAX ((size_t)1 << 24)

#define TOKENS_KEY "tokenizer.ggml.tokens"
#define TYPES_KEY "tokenizer.ggml.token_type"

static bool prints_as_itself(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* The byte that character `code` spells, or -1. */
static int byte_of_character(unsigned code)
{
    if (code < 256)
        return prints_as_itself(code) ? (int)code : -1;
    unsigned hidden = code - 256; /* the number of the byte among those that do not print */
    if (hidden <= 32)
        return (int)hidden; /* 0 to 32 */
    if (hidden <= 66)
        return (int)(hidden - 33 + 127); /* 127 to 160 */
    return hidden == 67 ? 173 : -1;
}

size_t fg_vocab_unspell(struct fg_span text, char *bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len;) {
        size_t step = fg_utf8_sequence(text.data + i, text.len - i);
        unsigned code = (unsigned char)text.data[i];
        if (step == 2)
            code = (code & 0x1f) << 6 | ((unsigned char)text.data[i + 1] & 0x3f);
        int byte = step == 1 || step == 2 ? byte_of_character(code) : -1;
        if (byte == -1)
            return SIZE_MAX;
        bytes[count++] = (char)byte;
        i += step;
    }
    return count;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>", the text of a byte token; -1 for anything else. */
static int byte_of_hex(struct fg_span text)
{
    if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return -1;
    int high = hex_digit(text.data[3]);
    int low = hex_digit(text.data[4]);
    return high == -1 || low == -1 ? -1 : high * 16 + low;
}

/* SentencePiece's spelling: U+2581 stands for a space. Returns how many bytes. */
static size_t unspell_spaces(struct fg_span text, char *bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; count++) {
        bool is_space = text.len - i >= 3 && memcmp(text.data + i, "\xe2\x96\x81", 3) == 0;
        bytes[count] = is_space ? ' ' : text.data[i];
        i += is_space ? 3 : 1;
    }
    return count;
}

/* The bytes of a token of `type` whose text in the file is `text`; returns how many. */
static size_t token_bytes(enum fg_vocab_spelling spelling, enum fg_token_type type,
                          struct fg_span text, char *bytes)
{
    if (type == FG_TOKEN_CONTROL || type == FG_TOKEN_UNKNOWN || type == FG_TOKEN_UNUSED)
        return 0;
    if (type == FG_TOKEN_BYTE) {
        int byte = byte_of_hex(text);
        if (byte != -1) {
            bytes[0] = (char)byte;
            return 1;
        }
    }
    if (type != FG_TOKEN_USER_DEFINED && spelling == FG_SPELLING_SENTENCEPIECE)
        return unspell_spaces(text, bytes);
    if (type != FG_TOKEN_USER_DEFINED) {
        size_t count = fg_vocab_unspell(text, bytes);
        if (count != SIZE_MAX)
            return count;
    }
    if (text.len > 0)
        memcpy(bytes, text.data, text.len); /* added tokens are written as they are */
    return text.len;
}

/*
 * Converters call some control tokens user-defined, Qwen2.5's <|fim_prefix|> among them. A token in
 * these brackets must not come out of what a user typed, whatever its type says.
 */
static bool is_in_control_brackets(struct fg_span text)
{
    return text.len >= 4 && memcmp(text.data, "<|", 2) == 0 &&
           memcmp(text.data + text.len - 2, "|>", 2) == 0;
}

static enum fg_status load_types(struct fg_vocab *vocab, const struct fg_gguf *gguf,
                                 struct fg_error *error)
{
    size_t type_count = fg_gguf_number_array_count(gguf, TYPES_KEY);
    if (fg_gguf_has(gguf, TYPES_KEY) && type_count != vocab->count)
        return fg_error_set(error,
                            "key " TYPES_KEY ": %zu entries; expected one for each of %u tokens",
                            type_count, vocab->count);
    for (size_t i = 0; i < vocab->count; i++) {
        double type = FG_TOKEN_NORMAL;
        if (type_count > 0)
            fg_gguf_array_number(gguf, TYPES_KEY, i, &type);
        if (!(type >= FG_TOKEN_NORMAL && type <= FG_TOKEN_BYTE)) /* also refuses NaN */
            return fg_error_set(error, "key " TYPES_KEY ": token %zu has type %g; expected 1 to 6",
                                i, type);
        vocab->types[i] = (uint8_t)type;
    }
    return FG_OK;
}

static enum fg_status load_bytes(struct fg_vocab *vocab, const struct fg_gguf *gguf,
                                 struct fg_error *error)
{
    struct fg_span text;
    size_t cursor = 0;
    size_t total = 0;
    while (fg_gguf_next_string(gguf, TOKENS_KEY, &cursor, &text)) {
        total += text.len;
        if (text.len > vocab->bytes_max)
            vocab->bytes_max = text.len;
    }
    if (total > UINT32_MAX)
        return fg_error_set(
            error, "key " TOKENS_KEY ": %zu bytes of text; expected less than 4 GiB", total);
    vocab->bytes = malloc(total + 1);
    if (vocab->bytes == NULL)
        return fg_error_set(error, "not enough memory for the vocabulary");
    uint32_t used = 0;
    cursor = 0;
    for (uint32_t id = 0; fg_gguf_next_string(gguf, TOKENS_KEY, &cursor, &text); id++) {
        assert(id < vocab->count);
        if (vocab->types[id] == FG_TOKEN_USER_DEFINED && is_in_control_brackets(text))
            vocab->types[id] = FG_TOKEN_CONTROL;
        vocab->offsets[id] = used;
        used += (uint32_t)token_bytes(vocab->spelling, vocab->types[id], text, vocab->bytes + used);
    }
    vocab->offsets[vocab->count] = used;
    return FG_OK;
}

static uint32_t *find_slot(const struct fg_vocab *vocab, struct fg_span bytes)
{
    size_t at = (size_t)fg_span_hash(bytes, 0) & vocab->mask;
    while (vocab->slots[at] != 0 &&
           !fg_span_equal(fg_vocab_bytes(vocab, vocab->slots[at] - 1), bytes))
        at = (at + 1) & vocab->mask;
    return &vocab->slots[at];
}

static void index_tokens(struct fg_vocab *vocab, bool normal_ones)
{
    for (uint32_t id = 0; id < vocab->count; id++) {
        struct fg_span bytes = fg_vocab_bytes(vocab, id);
        if (bytes.len == 0 || (vocab->types[id] == FG_TOKEN_NORMAL) != normal_ones)
            continue;
        uint32_t *slot = find_slot(vocab, bytes);
        if (*slot == 0)
            *slot = id + 1;
    }
}

enum fg_status fg_vocab_init(struct fg_vocab *vocab, const struct fg_gguf *gguf,
                             enum fg_vocab_spelling spelling, struct fg_error *error)
{
    size_t count = fg_gguf_string_array_count(gguf, TOKENS_KEY);
    *vocab = (struct fg_vocab){.spelling = spelling};
    if (count == 0 || count > TOKENS_MAX)
        return fg_error_set(error, "key " TOKENS_KEY ": %zu strings; expected an array of 1 to %zu",
                            count, TOKENS_MAX);
    vocab->count = (uint32_t)count;
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    vocab->mask = slots - 1;
    vocab->types = malloc(count);
    vocab->offsets = calloc(count + 1, sizeof(*vocab->offsets));
    vocab->slots = calloc(slots, sizeof(*vocab->slots));
    if (vocab->types == NULL || vocab->offsets == NULL || vocab->slots == NULL)
        return fg_error_set(error, "not enough memory for a vocabulary of %zu tokens", count);
    enum fg_status status = load_types(vocab, gguf, error);
    if (status == FG_OK)
        status = load_bytes(vocab, gguf, error);
    if (status != FG_OK)
        return status;
    index_tokens(vocab, true);
    index_tokens(vocab, false);
    return FG_OK;
}

void fg_vocab_fini(struct fg_vocab *vocab)
{
    free(vocab->types);
    free(vocab->offsets);
    free(vocab->bytes);
    free(vocab->slots);
    *vocab = (struct fg_vocab){0};
}

struct fg_span fg_vocab_bytes(const struct fg_vocab *vocab, uint32_t id)
{
    if (id >= vocab->count)
        return (struct fg_span){NULL, 0};
    uint32_t start = vocab->offsets[id];
    return fg_span_make(vocab->bytes + start, vocab->offsets[id + 1] - start);
}

uint32_t fg_vocab_find(const struct fg_vocab *vocab, struct fg_span bytes)
{
    uint32_t slot = *find_slot(vocab, bytes);
    return slot == 0 ? FG_TOKEN_NONE : slot - 1;
}
