/*
 * golden.c: reading reference data for tests.
 */
#include "golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

const char *golden_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("FG_MODELS_DIR");
    if (folder == NULL || folder[0] == '\0')
        folder = FG_MODELS_DIR_DEFAULT;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (access(path, R_OK) == 0)
        return path;
    printf("SKIPPED: no reference data at %s (set FG_MODELS_DIR)\n", path);
    return NULL;
}

json_t *golden_load(const char *name)
{
    json_error_t error;
    const char *path = golden_path(name);
    assert_non_null(path);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (root == NULL)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return root;
}

struct fg_span golden_text(const json_t *string)
{
    assert_true(json_is_string(string));
    return fg_span_make(json_string_value(string), json_string_length(string));
}

static void print_difference(const struct fg_token_list *list, const json_t *ids,
                             struct fg_span text)
{
    size_t wanted = json_array_size(ids);
    printf("text: %.*s\n", FG_SPAN_ARGS(text));
    printf("%zu ids, expected %zu; from the first difference on:\n", list->count, wanted);
    size_t at = 0;
    while (at < list->count && at < wanted &&
           list->ids[at] == (uint32_t)json_integer_value(json_array_get(ids, at)))
        at++;
    for (size_t i = at; i < at + 10; i++) {
        if (i < list->count)
            printf("  [%zu] got %u", i, list->ids[i]);
        if (i < wanted)
            printf("  [%zu] expected %lld", i,
                   (long long)json_integer_value(json_array_get(ids, i)));
    }
    printf("\n");
}

bool golden_ids_equal(const struct fg_token_list *list, const json_t *ids, struct fg_span text)
{
    bool is_equal = list->count == json_array_size(ids);
    for (size_t i = 0; is_equal && i < list->count; i++)
        is_equal = list->ids[i] == (uint32_t)json_integer_value(json_array_get(ids, i));
    if (!is_equal)
        print_difference(list, ids, text);
    return is_equal;
}

#define QWEN3_FIRST 151665u

static const char *const qwen3_added[] = {"<tool_response>", "</tool_response>", "<think>",
                                          "</think>"};
#define QWEN3_ADDED (sizeof(qwen3_added) / sizeof(qwen3_added[0]))

static void copy_strings(struct toy_gguf *toy, const struct fg_gguf *gguf, const char *key,
                         bool with_added)
{
    struct fg_span text;
    size_t cursor = 0;
    toy_key_array(toy, key, TOY_STRING, fg_gguf_string_array_count(gguf, key));
    for (uint32_t i = 0; fg_gguf_next_string(gguf, key, &cursor, &text); i++) {
        bool is_added = with_added && i >= QWEN3_FIRST && i < QWEN3_FIRST + QWEN3_ADDED;
        toy_string(toy, is_added ? fg_span_from_string(qwen3_added[i - QWEN3_FIRST]) : text);
    }
}

void golden_write_qwen3(struct toy_gguf *toy, const char *path)
{
    struct fg_gguf *gguf;
    struct fg_error error;
    assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_OK);
    size_t count = fg_gguf_number_array_count(gguf, "tokenizer.ggml.token_type");
    toy_header(toy, 3, 0, 6);
    toy_key_string(toy, "tokenizer.ggml.model", "gpt2");
    toy_key_string(toy, "tokenizer.ggml.pre", "qwen2");
    toy_key_string(toy, "tokenizer.chat_template", "<|im_start|> enable_thinking");
    copy_strings(toy, gguf, "tokenizer.ggml.tokens", true);
    copy_strings(toy, gguf, "tokenizer.ggml.merges", false);
    toy_key_array(toy, "tokenizer.ggml.token_type", TOY_I32, count);
    for (uint32_t i = 0; i < count; i++) {
        double type;
        assert_true(fg_gguf_array_number(gguf, "tokenizer.ggml.token_type", i, &type));
        bool is_added = i >= QWEN3_FIRST && i < QWEN3_FIRST + QWEN3_ADDED;
        toy_u32(toy, is_added ? 4 : (uint32_t)type);
    }
    fg_gguf_close(gguf);
}
