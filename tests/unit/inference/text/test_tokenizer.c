/*
 * test_tokenizer.c: encode and decode, on a toy vocabulary always and on reference data where it
 * is.
 */
#include "golden.h"
#include "toy_gguf.h"
#include "inference/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct toy_gguf toy;
    struct fg_gguf *gguf;
    struct fg_tokenizer *tokenizer;
    struct fg_error error;
};

static enum fg_status try_setup(struct fixture *f, const struct toy_vocab *vocab)
{
    *f = (struct fixture){0};
    toy_vocab_write(&f->toy, vocab);
    assert_int_equal(fg_gguf_parse(&f->gguf, f->toy.data, f->toy.len, &f->error), FG_OK);
    return fg_tokenizer_create(&f->tokenizer, f->gguf, &f->error);
}

static void setup(struct fixture *f, const struct toy_vocab *vocab)
{
    if (try_setup(f, vocab) != FG_OK)
        fail_msg("%s", f->error.message);
}

static void teardown(struct fixture *f)
{
    fg_tokenizer_destroy(f->tokenizer);
    fg_gguf_close(f->gguf);
    toy_gguf_fini(&f->toy);
}

/* What the ids of `text` stand for, joined with '|'; control tokens as '#'. */
static void assert_pieces(const struct fixture *f, const char *text, size_t text_bytes,
                          enum fg_special_mode mode, const char *expected)
{
    struct fg_token_list list = {.ids_max = 1000};
    char joined[4096];
    size_t at = 0;
    assert_int_equal(fg_tokenizer_encode(f->tokenizer, fg_span_make(text, text_bytes), mode, &list),
                     FG_OK);
    for (size_t i = 0; i < list.count; i++) {
        struct fg_span bytes = fg_tokenizer_bytes(f->tokenizer, list.ids[i]);
        if (i > 0)
            joined[at++] = '|';
        if (bytes.len == 0)
            bytes = FG_SPAN("#");
        memcpy(joined + at, bytes.data, bytes.len);
        at += bytes.len;
    }
    joined[at] = '\0';
    assert_string_equal(joined, expected);
    fg_token_list_fini(&list);
}

#define PLAIN(f, text, expected)                                                                   \
    assert_pieces((f), (text), sizeof(text) - 1, FG_SPECIAL_PLAIN, (expected))
#define RECOGNISE(f, text, expected)                                                               \
    assert_pieces((f), (text), sizeof(text) - 1, FG_SPECIAL_RECOGNISE, (expected))

static void merges_by_rank(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    PLAIN(&f, "", "");
    PLAIN(&f, "hello world", "hello| world");
    PLAIN(&f, "hello  world", "hello| | world");
    PLAIN(&f, "aaaaa", "aaaa|a");
    PLAIN(&f, "aaab", "aa|ab"); /* the leftmost "a a" first, though "a b" could have been */
    PLAIN(&f, "aab", "aa|b");
    PLAIN(&f, "x\n\ny", "x|\n\n|y");
    PLAIN(&f, "12", "1|2");
    teardown(&f);
}

static void control_tokens_only_when_asked(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    RECOGNISE(&f, "a<|im_end|>b", "a|#|b");
    RECOGNISE(&f, "<|im_start|><|im_end|>", "#|#");
    RECOGNISE(&f, "<|im_end|", "<|||i|m|_|e|n|d||");
    PLAIN(&f, "a<|im_end|>b", "a|<|||i|m|_|e|n|d|||>|b");
    PLAIN(&f, "<think>aa</think>", "<think>|aa|</think>");
    RECOGNISE(&f, "<think>aa</think>", "<think>|aa|</think>");
    PLAIN(&f, "<thin", "<th|i|n"); /* the longest one that is there */
    PLAIN(&f, "<t", "<|t");
    assert_int_equal(fg_tokenizer_find_special(f.tokenizer, FG_SPAN("<think>")), 256 + 15 + 3);
    assert_int_equal(fg_tokenizer_find_special(f.tokenizer, FG_SPAN("<think>x")), UINT32_MAX);
    assert_int_equal(fg_tokenizer_find_special(f.tokenizer, FG_SPAN("x<think>")), UINT32_MAX);
    assert_int_equal(fg_tokenizer_find_special(f.tokenizer, FG_SPAN("")), UINT32_MAX);
    teardown(&f);
}

static void bracketed_tokens_are_control_tokens(void **state)
{
    (void)state;
    static const char *const added[] = {"u:<|fim_prefix|>", "u:<tool_call>", NULL};
    struct toy_vocab vocab = toy_chatml_vocab;
    struct fixture f;
    vocab.added = added;
    vocab.eos = NULL;
    setup(&f, &vocab);
    PLAIN(&f, "<tool_call>", "<tool_call>");
    PLAIN(&f, "<|fim_prefix|>", "<|||f|i|m|_|p|r|e|f|i|x|||>");
    RECOGNISE(&f, "<|fim_prefix|>", "#");
    teardown(&f);
}

static void broken_utf8_byte_by_byte(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    PLAIN(&f, "\xff\xfe", "\xff|\xfe");
    PLAIN(&f, "aa\x80hello", "aa|\x80|hello");
    PLAIN(&f, "\xe4\xbd", "\xe4|\xbd");                   /* cut off: not merged */
    PLAIN(&f, "\xe4\xbd\xa0", "\xe4\xbd|\xa0");           /* whole: merged */
    PLAIN(&f, "\xed\xa0\x80", "\xed|\xa0|\x80");          /* a surrogate */
    PLAIN(&f, "\xc0\xaf", "\xc0|\xaf");                   /* overlong */
    PLAIN(&f, "\xf4\x90\x80\x80", "\xf4|\x90|\x80|\x80"); /* above U+10FFFF */
    PLAIN(&f, "\0\0", "\0|\0");
    teardown(&f);
}

static void same_ids_short_and_long(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    static const char letters[] = "abhelo";
    char text[200];
    uint32_t random = 12345;
    for (size_t length = 40; length < 60; length++) { /* both sides of the switch of algorithms */
        for (int round = 0; round < 50; round++) {
            struct fg_token_list whole = {.ids_max = 1000};
            for (size_t i = 0; i < length; i++) {
                random = random * 1664525u + 1013904223u;
                text[i] = letters[(random >> 16) % 6];
            }
            /* With 100 more bytes that merge with nothing, the piece takes the other way. */
            memset(text + length, 'z', 100);
            struct fg_token_list longer = {.ids_max = 1000};
            assert_int_equal(fg_tokenizer_encode(f.tokenizer, fg_span_make(text, length),
                                                 FG_SPECIAL_PLAIN, &whole),
                             FG_OK);
            assert_int_equal(fg_tokenizer_encode(f.tokenizer, fg_span_make(text, length + 100),
                                                 FG_SPECIAL_PLAIN, &longer),
                             FG_OK);
            assert_int_equal(longer.count, whole.count + 100);
            assert_memory_equal(longer.ids, whole.ids, whole.count * sizeof(uint32_t));
            fg_token_list_fini(&whole);
            fg_token_list_fini(&longer);
        }
    }
    teardown(&f);
}

static void assert_long_text(const struct fixture *f, const char *unit, size_t bytes)
{
    size_t unit_bytes = strlen(unit);
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = unit[i % unit_bytes];
    struct fg_token_list list = {.ids_max = SIZE_MAX / 8};
    assert_int_equal(
        fg_tokenizer_encode(f->tokenizer, fg_span_make(text, bytes), FG_SPECIAL_RECOGNISE, &list),
        FG_OK);
    size_t at = 0;
    for (size_t i = 0; i < list.count; i++) {
        struct fg_span token = fg_tokenizer_bytes(f->tokenizer, list.ids[i]);
        assert_true(token.len <= bytes - at);
        assert_memory_equal(text + at, token.data, token.len);
        at += token.len;
    }
    assert_int_equal(at, bytes);
    fg_token_list_fini(&list);
    free(text);
}

static void megabytes_without_a_break(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    static const char *const units[] = {"a",    "ab",    " ",     "\n",  " \n",
                                        "!",    "hello", "<|im_", "1",   "\xe4\xbd\xa0",
                                        "\xff", " \xff", "'s",    "<th", "\xc2\xa0"};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        assert_long_text(&f, units[i], 1 << 20);
    teardown(&f);
}

static void stops_at_the_limit(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    struct fg_token_list list = {.ids_max = 3};
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN("xyz"), FG_SPECIAL_PLAIN, &list),
                     FG_OK);
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN("x"), FG_SPECIAL_PLAIN, &list),
                     FG_ERR_LIMIT);
    assert_int_equal(list.count, 3);
    fg_token_list_fini(&list);
    list.ids_max = 2;
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN("xyz"), FG_SPECIAL_PLAIN, &list),
                     FG_ERR_LIMIT);
    assert_true(list.count <= 2);
    fg_token_list_fini(&list);
    list.ids_max = 0;
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN("xyz"), FG_SPECIAL_PLAIN, &list),
                     FG_ERR_LIMIT);
    assert_int_equal(fg_tokenizer_encode(f.tokenizer, FG_SPAN(""), FG_SPECIAL_PLAIN, &list), FG_OK);
    fg_token_list_fini(&list);
    teardown(&f);
}

static void knows_ends_and_ids(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
    uint32_t first = 256 + 15;
    assert_int_equal(fg_tokenizer_vocab_count(f.tokenizer), first + 6);
    assert_int_equal(fg_tokenizer_bos(f.tokenizer), UINT32_MAX);
    assert_int_equal(fg_tokenizer_eos(f.tokenizer), first + 2);
    assert_false(fg_tokenizer_adds_bos(f.tokenizer));
    assert_true(fg_tokenizer_is_end(f.tokenizer, first));
    assert_false(fg_tokenizer_is_end(f.tokenizer, first + 1));
    assert_true(fg_tokenizer_is_end(f.tokenizer, first + 2));
    assert_false(fg_tokenizer_is_end(f.tokenizer, UINT32_MAX));
    assert_int_equal(fg_tokenizer_bytes(f.tokenizer, first).len, 0);
    assert_int_equal(fg_tokenizer_bytes(f.tokenizer, first + 6).len, 0);
    assert_int_equal(fg_tokenizer_bytes(f.tokenizer, UINT32_MAX).len, 0);
    teardown(&f);
}

static void llama3_takes_whole_words_and_adds_bos(void **state)
{
    (void)state;
    /* "abc" is a token that the merges do not reach, and digits go in threes. */
    static const char *const merges[] = {"x x", "a b", "b c", "a bc", "1 2", "12 3", NULL};
    static const char *const added[] = {"c:<|begin_of_text|>", "c:<|eot_id|>", NULL};
    struct toy_vocab vocab = {.model = "gpt2",
                              .pre = "llama-bpe",
                              .merges = merges,
                              .added = added,
                              .bos = "<|begin_of_text|>",
                              .eos = "<|eot_id|>"};
    struct fixture f;
    setup(&f, &vocab);
    assert_true(fg_tokenizer_adds_bos(f.tokenizer));
    PLAIN(&f, "1231", "123|1");
    PLAIN(&f, "12312", "123|12");
    PLAIN(&f, "abc", "abc");
    PLAIN(&f, "abcx", "ab|c|x");
    teardown(&f);
    vocab.pre = "gpt-2";
    setup(&f, &vocab);
    assert_false(fg_tokenizer_adds_bos(f.tokenizer));
    PLAIN(&f, "xx'sxx", "xx|'|s|xx");
    PLAIN(&f, "abc", "ab|c");
    teardown(&f);
}

static void assert_refused(struct toy_vocab vocab, const char *words)
{
    struct fixture f;
    assert_int_equal(try_setup(&f, &vocab), FG_ERR_CONFIG);
    assert_null(f.tokenizer);
    if (strstr(f.error.message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f.error.message, words);
    teardown(&f);
}

static void refuses_what_it_cannot_read(void **state)
{
    (void)state;
    static const char *const stray[] = {"h e", "he zzz", NULL};
    static const char *const no_pair[] = {"he", NULL};
    struct toy_vocab vocab = toy_chatml_vocab;
    vocab.model = "bert";
    assert_refused(vocab, "tokenizer.ggml.model: \"bert\" is not supported");
    vocab.model = NULL;
    assert_refused(vocab, "tokenizer.ggml.model: absent");
    vocab = toy_chatml_vocab;
    vocab.pre = "martian";
    assert_refused(vocab, "tokenizer.ggml.pre: \"martian\" is not known");
    vocab = toy_chatml_vocab;
    vocab.merges = stray;
    assert_refused(vocab, "joins what is not in the vocabulary");
    vocab.merges = no_pair;
    assert_refused(vocab, "is not two tokens and a space");
}

static void refuses_a_file_without_tokens(void **state)
{
    (void)state;
    struct fixture f = {0};
    toy_header(&f.toy, 3, 0, 2);
    toy_key_string(&f.toy, "tokenizer.ggml.model", "gpt2");
    toy_key_array(&f.toy, "tokenizer.ggml.tokens", TOY_STRING, 1);
    toy_string(&f.toy, FG_SPAN("a"));
    assert_int_equal(fg_gguf_parse(&f.gguf, f.toy.data, f.toy.len, &f.error), FG_OK);
    assert_int_equal(fg_tokenizer_create(&f.tokenizer, f.gguf, &f.error), FG_ERR_CONFIG);
    assert_non_null(strstr(f.error.message, "tokenizer.ggml.merges: absent"));
    teardown(&f);
}

/* The text that comes out when `bytes` are pushed one byte token at a time, '|' between pushes. */
static void assert_stream(const struct fixture *f, const char *bytes, const char *expected)
{
    struct fg_detokenizer detok = {0};
    char text[256];
    char joined[1024];
    size_t at = 0;
    assert_true(fg_tokenizer_push_bytes_max(f->tokenizer) <= sizeof(text));
    for (; *bytes != '\0'; bytes++) {
        struct fg_token_list list = {.ids_max = 1};
        assert_int_equal(
            fg_tokenizer_encode(f->tokenizer, fg_span_make(bytes, 1), FG_SPECIAL_PLAIN, &list),
            FG_OK);
        size_t count = fg_detokenizer_push(&detok, f->tokenizer, list.ids[0], text, sizeof(text));
        memcpy(joined + at, text, count);
        at += count;
        joined[at++] = '|';
        fg_token_list_fini(&list);
    }
    size_t count = fg_detokenizer_finish(&detok, text, sizeof(text));
    memcpy(joined + at, text, count);
    joined[at + count] = '\0';
    assert_string_equal(joined, expected);
    assert_int_equal(fg_detokenizer_finish(&detok, text, sizeof(text)), 0);
}

static void streams_whole_characters(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, &toy_chatml_vocab);
#define BAD "\xef\xbf\xbd"
    assert_stream(&f, "ab", "a|b|");
    assert_stream(&f, "\xc3\xa9x", "|\xc3\xa9|x|");
    assert_stream(&f, "\xf0\x9f\x98\x80", "|||\xf0\x9f\x98\x80|");
    assert_stream(&f, "\xf0\x9f\x98", "|||" BAD);
    assert_stream(&f,
                  "\xf0\x9f"
                  "a",
                  "||" BAD "a|");
    assert_stream(&f, "\x80\xff", BAD "|" BAD "|");
    assert_stream(&f, "\xe0\x80\x80", "|" BAD BAD "|" BAD "|");
    assert_stream(&f, "\xe4\xe4\xbd\xa0", "|" BAD "||\xe4\xbd\xa0|");
    teardown(&f);
}

/* Decoding the ids one by one gives the text back, in both ways. */
static void assert_decodes(const struct fg_tokenizer *tokenizer, const struct fg_token_list *list,
                           struct fg_span text)
{
    size_t text_bytes = fg_tokenizer_push_bytes_max(tokenizer);
    struct fg_detokenizer detok = {0};
    char *out = malloc(text_bytes);
    size_t whole = 0;
    size_t streamed = 0;
    assert_non_null(out);
    for (size_t i = 0; i < list->count; i++) {
        struct fg_span bytes = fg_tokenizer_bytes(tokenizer, list->ids[i]);
        assert_true(bytes.len > 0 && bytes.len <= text.len - whole);
        assert_memory_equal(bytes.data, text.data + whole, bytes.len);
        whole += bytes.len;
        size_t count = fg_detokenizer_push(&detok, tokenizer, list->ids[i], out, text_bytes);
        assert_true(count <= text.len - streamed);
        assert_memory_equal(out, text.data + streamed, count);
        streamed += count;
    }
    assert_int_equal(whole, text.len);
    assert_int_equal(streamed, text.len);
    free(out);
}

static void check_string(const struct fg_tokenizer *tokenizer, const json_t *string)
{
    struct fg_span text = golden_text(json_object_get(string, "text"));
    const json_t *ids = json_object_get(string, "ids_no_nfc");
    const json_t *plain_ids = json_object_get(string, "ids_plain");
    struct fg_token_list list = {.ids_max = 100000};
    if (ids == NULL)
        ids = json_object_get(string, "ids");
    assert_int_equal(fg_tokenizer_encode(tokenizer, text, FG_SPECIAL_RECOGNISE, &list), FG_OK);
    assert_true(golden_ids_equal(&list, ids, text));
    list.count = 0;
    assert_int_equal(fg_tokenizer_encode(tokenizer, text, FG_SPECIAL_PLAIN, &list), FG_OK);
    assert_true(golden_ids_equal(&list, plain_ids == NULL ? ids : plain_ids, text));
    assert_decodes(tokenizer, &list, text);
    fg_token_list_fini(&list);
}

static void check_strings(const struct fg_gguf *gguf, const char *golden)
{
    struct fg_tokenizer *tokenizer;
    struct fg_error error;
    json_t *root = golden_load(golden);
    if (fg_tokenizer_create(&tokenizer, gguf, &error) != FG_OK)
        fail_msg("%s", error.message);
    const json_t *strings = json_object_get(root, "strings");
    assert_true(json_array_size(strings) > 100);
    for (size_t i = 0; i < json_array_size(strings); i++)
        check_string(tokenizer, json_array_get(strings, i));
    fg_tokenizer_destroy(tokenizer);
    json_decref(root);
}

static void reference_strings_qwen2_5(void **state)
{
    (void)state;
    struct fg_gguf *gguf;
    struct fg_error error;
    const char *path = golden_path("small-qwen2.F16.gguf");
    if (path == NULL)
        skip();
    assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_OK);
    check_strings(gguf, "tokenizer-qwen2_5.golden.json");
    fg_gguf_close(gguf);
}

static void reference_strings_qwen3(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    struct fg_gguf *gguf;
    struct fg_error error;
    const char *path = golden_path("small-qwen2.F16.gguf");
    if (path == NULL)
        skip();
    golden_write_qwen3(&toy, path);
    assert_int_equal(fg_gguf_parse(&gguf, toy.data, toy.len, &error), FG_OK);
    check_strings(gguf, "tokenizer-qwen3.golden.json");
    fg_gguf_close(gguf);
    toy_gguf_fini(&toy);
}

static struct fg_span prompt_text(const json_t *prompt, char **owned)
{
    const json_t *rule = json_object_get(prompt, "text_rule");
    *owned = NULL;
    if (rule == NULL)
        return golden_text(json_object_get(prompt, "text"));
    struct fg_span unit = golden_text(json_object_get(rule, "unit"));
    size_t times = (size_t)json_integer_value(json_object_get(rule, "times"));
    *owned = malloc(unit.len * times + 1);
    assert_non_null(*owned);
    for (size_t i = 0; i < times; i++)
        memcpy(*owned + i * unit.len, unit.data, unit.len);
    return fg_span_make(*owned, unit.len * times);
}

static void check_prompts(const struct fg_tokenizer *tokenizer, const json_t *root)
{
    const json_t *prompts = json_object_get(root, "prompts");
    assert_true(json_array_size(prompts) > 0);
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *prompt = json_array_get(prompts, i);
        struct fg_token_list list = {.ids_max = 100000};
        uint32_t bos = fg_tokenizer_bos(tokenizer);
        char *owned;
        struct fg_span text = prompt_text(prompt, &owned);
        if (fg_tokenizer_adds_bos(tokenizer))
            assert_int_equal(fg_token_list_append(&list, &bos, 1), FG_OK);
        assert_int_equal(fg_tokenizer_encode(tokenizer, text, FG_SPECIAL_RECOGNISE, &list), FG_OK);
        assert_true(golden_ids_equal(&list, json_object_get(prompt, "ids"), text));
        fg_token_list_fini(&list);
        free(owned);
    }
}

static void check_ends(const struct fg_tokenizer *tokenizer, const json_t *root)
{
    struct fg_token_list ends = {.ids_max = 100};
    assert_int_equal(fg_tokenizer_eos(tokenizer), json_integer_value(json_object_get(root, "eos")));
    assert_int_equal(fg_tokenizer_bos(tokenizer), json_integer_value(json_object_get(root, "bos")));
    for (uint32_t id = 0; id < fg_tokenizer_vocab_count(tokenizer); id++) {
        if (fg_tokenizer_is_end(tokenizer, id))
            assert_int_equal(fg_token_list_append(&ends, &id, 1), FG_OK);
    }
    assert_true(golden_ids_equal(&ends, json_object_get(root, "eog"), FG_SPAN("(end tokens)")));
    fg_token_list_fini(&ends);
}

/* What the reference prints for a token: the text of a control token too, unlike us. */
static struct fg_span printed(const struct fg_gguf *gguf, const struct fg_tokenizer *tokenizer,
                              uint32_t id)
{
    struct fg_span bytes = fg_tokenizer_bytes(tokenizer, id);
    struct fg_span text = {NULL, 0};
    size_t cursor = 0;
    if (bytes.len > 0)
        return bytes;
    for (uint32_t i = 0; i <= id; i++)
        assert_true(fg_gguf_next_string(gguf, "tokenizer.ggml.tokens", &cursor, &text));
    return text;
}

static void check_greedy_bytes(const struct fg_gguf *gguf, const struct fg_tokenizer *tokenizer,
                               const json_t *root)
{
    const json_t *prompts = json_object_get(root, "prompts");
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *greedy = json_object_get(json_array_get(prompts, i), "greedy");
        struct fg_span hex = golden_text(json_object_get(json_array_get(prompts, i), "greedy_hex"));
        size_t at = 0;
        for (size_t t = 0; t < json_array_size(greedy); t++) {
            uint32_t id = (uint32_t)json_integer_value(json_array_get(greedy, t));
            struct fg_span bytes = printed(gguf, tokenizer, id);
            for (size_t b = 0; b < bytes.len; b++, at += 2) {
                char pair[3];
                snprintf(pair, sizeof(pair), "%02x", (unsigned)(unsigned char)bytes.data[b]);
                assert_true(at + 2 <= hex.len);
                assert_memory_equal(hex.data + at, pair, 2);
            }
        }
        assert_int_equal(at, hex.len);
    }
}

static void reference_prompts(void **state)
{
    (void)state;
    static const char *const models[] = {"small-qwen2.F16",  "tiny-kq.Q4_K",   "tiny-llama.F32",
                                         "tiny-llama31.F32", "tiny-qwen2.F32", "tiny-qwen2.Q8_0",
                                         "tiny-qwen3.Q8_0",  "tiny-llama.Q4_0"};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        char name[64];
        struct fg_gguf *gguf;
        struct fg_tokenizer *tokenizer;
        struct fg_error error;
        snprintf(name, sizeof(name), "%s.gguf", models[i]);
        const char *path = golden_path(name);
        if (path == NULL)
            skip();
        assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_OK);
        if (fg_tokenizer_create(&tokenizer, gguf, &error) != FG_OK)
            fail_msg("%s: %s", name, error.message);
        snprintf(name, sizeof(name), "%s.golden.json", models[i]);
        json_t *root = golden_load(name);
        check_prompts(tokenizer, root);
        check_ends(tokenizer, root);
        check_greedy_bytes(gguf, tokenizer, root);
        json_decref(root);
        fg_tokenizer_destroy(tokenizer);
        fg_gguf_close(gguf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(control_tokens_only_when_asked),
        cmocka_unit_test(bracketed_tokens_are_control_tokens),
        cmocka_unit_test(broken_utf8_byte_by_byte),
        cmocka_unit_test(same_ids_short_and_long),
        cmocka_unit_test(megabytes_without_a_break),
        cmocka_unit_test(stops_at_the_limit),
        cmocka_unit_test(knows_ends_and_ids),
        cmocka_unit_test(llama3_takes_whole_words_and_adds_bos),
        cmocka_unit_test(refuses_what_it_cannot_read),
        cmocka_unit_test(refuses_a_file_without_tokens),
        cmocka_unit_test(streams_whole_characters),
        cmocka_unit_test(reference_strings_qwen2_5),
        cmocka_unit_test(reference_strings_qwen3),
        cmocka_unit_test(reference_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
