/*
 * fuzz_tokenizer.c: any bytes as text: tokens that decode to the same bytes, in both modes, as a
 * stream and as a chat message, on a small vocabulary that is built in.
 */
#include "toy_gguf.h"
#include "inference/model/utf8.h"
#include "inference/tokenizer/chat_template.h"

#include <assert.h>
#include <stdlib.h>

static struct toy_gguf toy;
static struct fg_gguf *gguf;
static struct fg_tokenizer *tokenizer;

static void start(void)
{
    if (tokenizer != NULL)
        return;
    toy_vocab_write(&toy, &toy_chatml_vocab);
    enum fg_status status = fg_gguf_parse(&gguf, toy.data, toy.len, NULL);
    assert(status == FG_OK);
    status = fg_tokenizer_create(&tokenizer, gguf, NULL);
    assert(status == FG_OK);
}

/* What a token was in the text; of a control token that is its name in the file. */
static struct fg_span token_text(uint32_t id)
{
    struct fg_span text = fg_tokenizer_bytes(tokenizer, id);
    size_t cursor = 0;
    if (text.len > 0)
        return text;
    for (uint32_t i = 0; i <= id; i++) {
        bool is_there = fg_gguf_next_string(gguf, "tokenizer.ggml.tokens", &cursor, &text);
        assert(is_there);
    }
    return text;
}

static void check_bytes(struct fg_span text, enum fg_special_mode mode)
{
    struct fg_token_list list = {.ids_max = 1 << 20};
    size_t at = 0;
    enum fg_status status = fg_tokenizer_encode(tokenizer, text, mode, &list);
    assert(status == FG_OK);
    for (size_t i = 0; i < list.count; i++) {
        bool is_control = fg_tokenizer_bytes(tokenizer, list.ids[i]).len == 0;
        struct fg_span token = token_text(list.ids[i]);
        assert(!is_control || mode == FG_SPECIAL_RECOGNISE);
        assert(token.len > 0 && token.len <= text.len - at);
        assert(memcmp(text.data + at, token.data, token.len) == 0);
        at += token.len;
    }
    assert(at == text.len);
    fg_token_list_fini(&list);
}

static void check_valid(const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t step = fg_utf8_sequence(text + at, bytes - at);
        assert(step > 0);
        at += step;
    }
}

static void check_stream(struct fg_span text)
{
    struct fg_token_list list = {.ids_max = 1 << 20};
    struct fg_detokenizer detok = {0};
    size_t out_bytes = fg_tokenizer_push_bytes_max(tokenizer);
    char *out = malloc(out_bytes);
    assert(out != NULL);
    enum fg_status status = fg_tokenizer_encode(tokenizer, text, FG_SPECIAL_PLAIN, &list);
    assert(status == FG_OK);
    for (size_t i = 0; i < list.count; i++) {
        size_t count = fg_detokenizer_push(&detok, tokenizer, list.ids[i], out, out_bytes);
        assert(count <= out_bytes && detok.held_count < 4);
        check_valid(out, count);
    }
    check_valid(out, fg_detokenizer_finish(&detok, out, out_bytes));
    free(out);
    fg_token_list_fini(&list);
}

static void check_chat(struct fg_span text)
{
    const struct fg_chat_message messages[] = {
        {FG_SPAN_LITERAL("system"), text},
        {FG_SPAN_LITERAL("assistant"), text},
        {FG_SPAN_LITERAL("user"), text},
        {FG_SPAN_LITERAL("assistant"), text},
    };
    /* The length picks one case, so that a run stays short. */
    struct fg_token_list list = {.ids_max = 1 << 20};
    enum fg_chat_template chat = (enum fg_chat_template)(text.len % (FG_CHAT_NONE + 1));
    size_t count = 1 + text.len / (FG_CHAT_NONE + 1) % 4;
    enum fg_status status = fg_chat_template_encode(
        chat, tokenizer,
        &(struct fg_chat_prompt){
            .messages = messages, .message_count = count, .thinking = text.len % 2 == 0},
        &list);
    assert(status == FG_OK || status == FG_ERR_UNSUPPORTED);
    fg_token_list_fini(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_span text = fg_span_make((const char *)data, size);
    struct fg_token_list few = {.ids_max = size / 4};
    start();
    check_bytes(text, FG_SPECIAL_PLAIN);
    check_bytes(text, FG_SPECIAL_RECOGNISE);
    check_stream(text);
    check_chat(text);
    enum fg_status status = fg_tokenizer_encode(tokenizer, text, FG_SPECIAL_PLAIN, &few);
    assert(status == FG_OK || status == FG_ERR_LIMIT);
    assert(few.count <= few.ids_max);
    fg_token_list_fini(&few);
    return 0;
}
