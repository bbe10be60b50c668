/*
 * chat_template.c: the published prompt forms of the model families we run, written out in C: which
 * of them a file has, and the way into each.
 * Thread   any; the only state is a buffer that lives for one call.
 * Memory   one copy of the longest message of a call.
 * Never    runs Jinja from a model file; never takes a control token from what a client sent.
 */
#include "inference/tokenizer/chat_template.h"
#include "inference/tokenizer/chat_writing.h"

#include <stdlib.h>

#define TEMPLATE_KEY "tokenizer.chat_template"
#define NAMES "chatml, qwen2, qwen2.5, qwen3, llama2, llama3 or mistral"

static const char *const template_names[] = {
    [FG_CHAT_CHATML] = "chatml",   [FG_CHAT_QWEN2] = "qwen2",   [FG_CHAT_QWEN2_5] = "qwen2.5",
    [FG_CHAT_QWEN3] = "qwen3",     [FG_CHAT_LLAMA2] = "llama2", [FG_CHAT_LLAMA3] = "llama3",
    [FG_CHAT_MISTRAL] = "mistral", [FG_CHAT_NONE] = "none",
};

static const char *const chatml_tokens[] = {"<|im_start|>", "<|im_end|>", NULL};
static const char *const llama3_tokens[] = {"<|start_header_id|>", "<|end_header_id|>",
                                            "<|eot_id|>", NULL};

/* Llama 2 and Mistral write turns in plain text, between the file's own BOS and EOS. */
static const char *const plain_tokens[] = {NULL};

static const char *const *control_tokens(enum fg_chat_template chat)
{
    if (chat == FG_CHAT_LLAMA2 || chat == FG_CHAT_MISTRAL)
        return plain_tokens;
    return chat == FG_CHAT_LLAMA3 ? llama3_tokens : chatml_tokens;
}

static bool has_text(struct fg_span text, const char *needle)
{
    return fg_chat_find_text(text, needle).data != NULL;
}

/* What follows `head` and a line break, which a template writes as itself or as \n in a string. */
static struct fg_span find_line_after(struct fg_span text, const char *head)
{
    size_t length = strlen(head);
    struct fg_span rest = fg_chat_find_text(text, head);
    while (rest.data != NULL) {
        rest = fg_span_make(rest.data + length, rest.len - length);
        if (fg_span_starts_with(rest, FG_SPAN("\n")))
            return fg_span_make(rest.data + 1, rest.len - 1);
        if (fg_span_starts_with(rest, FG_SPAN("\\n")))
            return fg_span_make(rest.data + 2, rest.len - 2);
        rest = fg_chat_find_text(rest, head);
    }
    return rest;
}

/*
 * The system message that a ChatML template writes of itself: what stands between
 * "<|im_start|>system\n" and "<|im_end|>" inside one string of the template. Empty when there is
 * only `+ messages[0].content`.
 */
static struct fg_span default_system(struct fg_span text)
{
    struct fg_span rest = find_line_after(text, "<|im_start|>system");
    while (rest.data != NULL) {
        struct fg_span end = fg_chat_find_text(rest, "<|im_end|>");
        if (end.data == NULL)
            break;
        struct fg_span found = fg_span_make(rest.data, (size_t)(end.data - rest.data));
        if (found.len > 0 && memchr(found.data, '\'', found.len) == NULL &&
            memchr(found.data, '"', found.len) == NULL)
            return found;
        rest = find_line_after(rest, "<|im_start|>system");
    }
    return (struct fg_span){NULL, 0};
}

static bool always_thinks(struct fg_span text)
{
    struct fg_span rest = find_line_after(text, "<|im_start|>assistant");
    while (rest.data != NULL) {
        if (fg_span_starts_with(rest, FG_SPAN("<think>")))
            return true;
        rest = find_line_after(rest, "<|im_start|>assistant");
    }
    return false;
}

static bool recognise_chatml(enum fg_chat_template *out, struct fg_span text)
{
    struct fg_span own = default_system(text);
    if (has_text(text, "enable_thinking"))
        *out = FG_CHAT_QWEN3;
    else if (always_thinks(text))
        return false; /* without the switch: a form of its own */
    else if (own.len == 0)
        *out = FG_CHAT_CHATML;
    else if (fg_span_equal(own, fg_span_from_string(fg_chat_qwen2_5_system)))
        *out = FG_CHAT_QWEN2_5;
    else if (fg_span_equal(own, fg_span_from_string(fg_chat_qwen2_system)))
        *out = FG_CHAT_QWEN2;
    else
        return false;
    return true;
}

static bool recognise(enum fg_chat_template *out, struct fg_span text)
{
    if (has_text(text, "<|im_start|>"))
        return recognise_chatml(out, text);
    if (has_text(text, "<|start_header_id|>") && has_text(text, "<|eot_id|>")) {
        *out = FG_CHAT_LLAMA3;
        return true;
    }
    if (has_text(text, "[INST]") && !has_text(text, "[SYSTEM_PROMPT]")) {
        *out = has_text(text, "<<SYS>>") ? FG_CHAT_LLAMA2 : FG_CHAT_MISTRAL;
        return true;
    }
    return false;
}

static bool find_named(enum fg_chat_template *out, const char *name)
{
    for (size_t i = 0; i < FG_CHAT_NONE; i++) {
        if (strcmp(name, template_names[i]) == 0) {
            *out = (enum fg_chat_template)i;
            return true;
        }
    }
    return false;
}

static enum fg_status check_tokens(enum fg_chat_template chat, const struct fg_gguf *gguf,
                                   struct fg_error *error)
{
    for (const char *const *token = control_tokens(chat); *token != NULL; token++) {
        struct fg_span wanted = fg_span_from_string(*token);
        struct fg_span text = {NULL, 0};
        size_t cursor = 0;
        bool is_there = false;
        while (!is_there && fg_gguf_next_string(gguf, "tokenizer.ggml.tokens", &cursor, &text))
            is_there = fg_span_equal(text, wanted);
        if (!is_there)
            return fg_error_set(error,
                                "chat template %s needs the token %s, which the vocabulary lacks",
                                template_names[chat], *token);
    }
    return FG_OK;
}

/* What a message may show of a template: its start, without what a terminal would act on. */
static void print_start(struct fg_span text, char *out, size_t out_bytes)
{
    size_t i = 0;
    for (; i < text.len && i + 1 < out_bytes; i++) {
        char c = text.data[i];
        out[i] = c >= 0x20 && c < 0x7f ? c : ' ';
    }
    out[i] = '\0';
}

enum fg_status fg_chat_template_detect(enum fg_chat_template *out, const struct fg_gguf *gguf,
                                       const char *override_name, struct fg_error *error)
{
    struct fg_span text;
    char start[81];
    *out = FG_CHAT_NONE;
    if (override_name != NULL && override_name[0] != '\0') {
        if (!find_named(out, override_name))
            return fg_error_set(error, "chat template \"%.60s\" is not known; expected " NAMES,
                                override_name);
        return check_tokens(*out, gguf, error);
    }
    if (!fg_gguf_has(gguf, TEMPLATE_KEY))
        return FG_OK;
    if (!fg_gguf_get_string(gguf, TEMPLATE_KEY, &text))
        return fg_error_set(error, "key " TEMPLATE_KEY ": not a string");
    if (recognise(out, text))
        return check_tokens(*out, gguf, error);
    print_start(text, start, sizeof(start));
    return fg_error_set(error,
                        "key " TEMPLATE_KEY
                        ": a template that is not known (\"%s...\"); name the one "
                        "to use instead: " NAMES,
                        start);
}

const char *fg_chat_template_name(enum fg_chat_template chat)
{
    return template_names[chat];
}

static bool are_roles_known(const struct fg_chat_message *messages, size_t message_count)
{
    for (size_t i = 0; i < message_count; i++) {
        if (!fg_chat_is_role(&messages[i], "system") && !fg_chat_is_role(&messages[i], "user") &&
            !fg_chat_is_role(&messages[i], "assistant") && !fg_chat_is_role(&messages[i], "tool"))
            return false;
    }
    return message_count > 0;
}

bool fg_chat_template_takes_tools(enum fg_chat_template chat)
{
    return chat == FG_CHAT_QWEN2_5 || chat == FG_CHAT_QWEN3;
}

enum fg_status fg_chat_template_encode(enum fg_chat_template chat,
                                       const struct fg_tokenizer *tokenizer,
                                       const struct fg_chat_prompt *prompt,
                                       struct fg_token_list *out)
{
    struct fg_chat_writing w = {.tokenizer = tokenizer, .out = out, .status = FG_OK};
    if (!are_roles_known(prompt->messages, prompt->message_count))
        return FG_ERR_INVALID;
    if (prompt->tools.len > 0 && !fg_chat_template_takes_tools(chat))
        return FG_ERR_UNSUPPORTED;
    switch (chat) {
    case FG_CHAT_CHATML:
    case FG_CHAT_QWEN2:
    case FG_CHAT_QWEN2_5:
        fg_chat_write_chatml(&w, chat, prompt);
        break;
    case FG_CHAT_QWEN3:
        fg_chat_write_qwen3(&w, prompt);
        break;
    case FG_CHAT_LLAMA2:
        fg_chat_write_llama2(&w, prompt);
        break;
    case FG_CHAT_LLAMA3:
        fg_chat_write_llama3(&w, prompt);
        break;
    case FG_CHAT_MISTRAL:
        fg_chat_write_mistral(&w, prompt);
        break;
    case FG_CHAT_NONE:
        return FG_ERR_UNSUPPORTED;
    }
    free(w.buffer);
    return w.status;
}
