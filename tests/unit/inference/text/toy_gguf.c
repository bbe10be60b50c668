/*
 * toy_gguf.c: the writer behind the tests of the GGUF reader, the tokenizer and chat templates.
 */
#include "toy_gguf.h"

#include <assert.h>
#include <stdlib.h>

void toy_gguf_fini(struct toy_gguf *toy)
{
    free(toy->data);
    *toy = (struct toy_gguf){0};
}

void toy_raw(struct toy_gguf *toy, const void *bytes, size_t count)
{
    if (toy->len + count > toy->capacity) {
        toy->capacity = 2 * (toy->len + count) + 256;
        toy->data = realloc(toy->data, toy->capacity);
        assert(toy->data != NULL);
    }
    if (count > 0)
        memcpy(toy->data + toy->len, bytes, count);
    toy->len += count;
}

void toy_u32(struct toy_gguf *toy, uint32_t value)
{
    toy_raw(toy, &value, sizeof(value));
}

void toy_u64(struct toy_gguf *toy, uint64_t value)
{
    toy_raw(toy, &value, sizeof(value));
}

void toy_string(struct toy_gguf *toy, struct fg_span text)
{
    toy_u64(toy, text.len);
    toy_raw(toy, text.data, text.len);
}

void toy_header(struct toy_gguf *toy, uint32_t version, uint64_t tensor_count, uint64_t key_count)
{
    toy_raw(toy, "GGUF", 4);
    toy_u32(toy, version);
    toy_u64(toy, tensor_count);
    toy_u64(toy, key_count);
}

void toy_key(struct toy_gguf *toy, const char *key, uint32_t type)
{
    toy_string(toy, fg_span_from_string(key));
    toy_u32(toy, type);
}

void toy_key_u32(struct toy_gguf *toy, const char *key, uint32_t value)
{
    toy_key(toy, key, TOY_U32);
    toy_u32(toy, value);
}

void toy_key_bool(struct toy_gguf *toy, const char *key, bool value)
{
    char byte = value ? 1 : 0;
    toy_key(toy, key, TOY_BOOL);
    toy_raw(toy, &byte, 1);
}

void toy_key_string(struct toy_gguf *toy, const char *key, const char *value)
{
    toy_key(toy, key, TOY_STRING);
    toy_string(toy, fg_span_from_string(value));
}

void toy_key_array(struct toy_gguf *toy, const char *key, uint32_t element_type, uint64_t count)
{
    toy_key(toy, key, TOY_ARRAY);
    toy_u32(toy, element_type);
    toy_u64(toy, count);
}

void toy_tensor(struct toy_gguf *toy, const char *name, uint32_t dim_count, const uint64_t *dims,
                uint32_t type, uint64_t offset)
{
    toy_string(toy, fg_span_from_string(name));
    toy_u32(toy, dim_count);
    for (uint32_t d = 0; d < dim_count; d++)
        toy_u64(toy, dims[d]);
    toy_u32(toy, type);
    toy_u64(toy, offset);
}

void toy_pad(struct toy_gguf *toy, size_t alignment)
{
    while (toy->len % alignment != 0)
        toy_raw(toy, "", 1);
}

/* GPT-2's printable spelling of a byte, as UTF-8; returns its length. */
static size_t spell(unsigned byte, char *text)
{
    unsigned code = byte;
    if (byte <= 32)
        code = 256 + byte;
    else if (byte >= 127 && byte <= 160)
        code = 256 + 33 + byte - 127;
    else if (byte == 173)
        code = 256 + 67;
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    text[0] = (char)(0xc0 | code >> 6);
    text[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

static size_t list_length(const char *const *list)
{
    size_t count = 0;
    while (list != NULL && list[count] != NULL)
        count++;
    return count;
}

static void write_tokens(struct toy_gguf *toy, const struct toy_vocab *vocab)
{
    char text[256];
    for (unsigned byte = 0; byte < 256; byte++)
        toy_string(toy, fg_span_make(text, spell(byte, text)));
    for (size_t i = 0; i < list_length(vocab->merges); i++) {
        struct fg_span right = fg_span_from_string(vocab->merges[i]);
        struct fg_span left = fg_span_split(&right, ' ');
        assert(left.len + right.len <= sizeof(text));
        memcpy(text, left.data, left.len);
        if (right.len > 0)
            memcpy(text + left.len, right.data, right.len);
        toy_string(toy, fg_span_make(text, left.len + right.len));
    }
    for (size_t i = 0; i < list_length(vocab->added); i++)
        toy_string(toy, fg_span_from_string(vocab->added[i] + 2));
}

static uint32_t added_id(const struct toy_vocab *vocab, const char *text)
{
    size_t first = 256 + list_length(vocab->merges);
    for (size_t i = 0; i < list_length(vocab->added); i++) {
        if (strcmp(vocab->added[i] + 2, text) == 0)
            return (uint32_t)(first + i);
    }
    abort(); /* the test names a token that it did not add */
}

void toy_vocab_write(struct toy_gguf *toy, const struct toy_vocab *vocab)
{
    size_t merge_count = list_length(vocab->merges);
    size_t added_count = list_length(vocab->added);
    const char *const optional[] = {vocab->model, vocab->pre, vocab->chat_template, vocab->eos,
                                    vocab->bos};
    uint64_t key_count = 3;
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        key_count += optional[i] != NULL ? 1 : 0;
    toy_header(toy, 3, 0, key_count);
    if (vocab->model != NULL)
        toy_key_string(toy, "tokenizer.ggml.model", vocab->model);
    if (vocab->pre != NULL)
        toy_key_string(toy, "tokenizer.ggml.pre", vocab->pre);
    if (vocab->chat_template != NULL)
        toy_key_string(toy, "tokenizer.chat_template", vocab->chat_template);
    if (vocab->eos != NULL)
        toy_key_u32(toy, "tokenizer.ggml.eos_token_id", added_id(vocab, vocab->eos));
    if (vocab->bos != NULL)
        toy_key_u32(toy, "tokenizer.ggml.bos_token_id", added_id(vocab, vocab->bos));
    toy_key_array(toy, "tokenizer.ggml.tokens", TOY_STRING, 256 + merge_count + added_count);
    write_tokens(toy, vocab);
    toy_key_array(toy, "tokenizer.ggml.token_type", TOY_I32, 256 + merge_count + added_count);
    for (size_t i = 0; i < 256 + merge_count; i++)
        toy_u32(toy, 1);
    for (size_t i = 0; i < added_count; i++)
        toy_u32(toy, vocab->added[i][0] == 'c' ? 3 : 4);
    toy_key_array(toy, "tokenizer.ggml.merges", TOY_STRING, merge_count);
    for (size_t i = 0; i < merge_count; i++)
        toy_string(toy, fg_span_from_string(vocab->merges[i]));
}

static const char *const chatml_merges[] = {"h e",
                                            "l l",
                                            "he ll",
                                            "hell o",
                                            "\xc4\xa0 w",
                                            "o r",
                                            "l d",
                                            "\xc4\xa0w or",
                                            "\xc4\xa0wor ld",
                                            "a a",
                                            "aa aa",
                                            "a b",
                                            "\xc4\x8a \xc4\x8a",
                                            "\xc3\xa4 \xc2\xbd",
                                            "\xc4\xa0 \xc4\xa0",
                                            NULL};
static const char *const chatml_added[] = {
    "c:<|endoftext|>", "c:<|im_start|>", "c:<|im_end|>", "u:<think>", "u:</think>", "u:<th", NULL};

const struct toy_vocab toy_chatml_vocab = {
    .model = "gpt2",
    .pre = "qwen2",
    .chat_template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + "
                     "'<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}",
    .merges = chatml_merges,
    .added = chatml_added,
    .eos = "<|im_end|>",
    .bos = NULL,
};
