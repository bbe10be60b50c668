/*
 * fuzz_gguf.c: any bytes as a model file: parsed, every key and tensor asked for, and a tokenizer
 * made from it. Reads outside the bytes are found by the address sanitiser.
 */
#include "inference/model/gguf.h"
#include "inference/tokenizer/chat_template.h"

#include <assert.h>
#include <stdlib.h>

static volatile unsigned char sink; /* keeps the reads below */

static void touch(struct fg_span span)
{
    for (size_t i = 0; i < span.len; i++)
        sink ^= (unsigned char)span.data[i];
}

static void walk_key(const struct fg_gguf *gguf, struct fg_span name)
{
    struct fg_span text;
    uint64_t number;
    double real;
    bool flag;
    size_t cursor = 0;
    size_t count = 0;
    char *key = strndup(name.data, name.len);
    assert(key != NULL);
    assert(fg_gguf_has(gguf, key));
    (void)fg_gguf_get_u64(gguf, key, &number);
    (void)fg_gguf_get_f64(gguf, key, &real);
    (void)fg_gguf_get_bool(gguf, key, &flag);
    if (fg_gguf_get_string(gguf, key, &text))
        touch(text);
    while (fg_gguf_next_string(gguf, key, &cursor, &text)) {
        touch(text);
        count++;
    }
    assert(count == fg_gguf_string_array_count(gguf, key));
    count = fg_gguf_number_array_count(gguf, key);
    for (size_t i = 0; i < count; i++)
        assert(fg_gguf_array_number(gguf, key, i, &real));
    assert(!fg_gguf_array_number(gguf, key, count, &real));
    free(key);
}

static void walk_tensor(const struct fg_gguf *gguf, const struct fg_tensor *tensor)
{
    char *name = strndup(tensor->name.data, tensor->name.len);
    assert(name != NULL);
    assert(fg_gguf_find_tensor(gguf, name) == tensor);
    assert(fg_tensor_type_name(tensor->type) != NULL);
    touch(fg_span_make(tensor->data, tensor->data_bytes));
    free(name);
}

static void make_tokenizer(const struct fg_gguf *gguf)
{
    struct fg_tokenizer *tokenizer;
    struct fg_token_list list = {.ids_max = 1000};
    struct fg_error error;
    enum fg_chat_template chat;
    (void)fg_chat_template_detect(&chat, gguf, NULL, &error);
    if (fg_tokenizer_create(&tokenizer, gguf, &error) != FG_OK)
        return;
    (void)fg_tokenizer_encode(tokenizer, FG_SPAN("hello <|im_end|> 123\n"), FG_SPECIAL_RECOGNISE,
                              &list);
    for (size_t i = 0; i < list.count; i++)
        touch(fg_tokenizer_bytes(tokenizer, list.ids[i]));
    fg_token_list_fini(&list);
    fg_tokenizer_destroy(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_gguf *gguf;
    struct fg_error error;
    if (fg_gguf_parse(&gguf, data, size, &error) != FG_OK) {
        assert(gguf == NULL);
        return 0;
    }
    for (size_t i = 0; i < fg_gguf_key_count(gguf); i++)
        walk_key(gguf, fg_gguf_key_at(gguf, i));
    for (size_t i = 0; i < fg_gguf_tensor_count(gguf); i++)
        walk_tensor(gguf, fg_gguf_tensor_at(gguf, i));
    make_tokenizer(gguf);
    fg_gguf_close(gguf);
    return 0;
}
