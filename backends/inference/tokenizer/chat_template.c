/*
 * chat_template.c: the published prompt forms of the model families we run, written out in C.
 * Thread   any; the only state is a buffer that lives for one call.
 * Memory   one copy of the longest message of a call.
 * Never    runs Jinja from a model file; never takes a control token from what a client sent.
 * Source   chat_template of Qwen2-7B-Instruct, Qwen2.5-7B-Instruct, Qwen3-8B; Meta's Llama 3 prompt
 *          format (without the date lines that 3.1's template puts into the system message).
 *
 * A turn's head and its content are encoded as one text ("user\nHi"), because a content that starts
 * with a line break shares a token with the break before it, as in the reference.
 */
#include "inference/tokenizer/chat_template.h"

#include <stdlib.h>

#define TEMPLATE_KEY "tokenizer.chat_template"
#define NAMES "chatml, qwen2, qwen2.5, qwen3 or llama3"

static const char qwen2_system[] = "You are a helpful assistant.";
static const char qwen2_5_system[] =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

static const char *const template_names[] = {
    [FG_CHAT_CHATML] = "chatml", [FG_CHAT_QWEN2] = "qwen2",   [FG_CHAT_QWEN2_5] = "qwen2.5",
    [FG_CHAT_QWEN3] = "qwen3",   [FG_CHAT_LLAMA3] = "llama3", [FG_CHAT_NONE] = "none",
};

static const char *const chatml_tokens[] = {"<|im_start|>", "<|im_end|>", NULL};
static const char *const llama3_tokens[] = {"<|start_header_id|>", "<|end_header_id|>",
                                            "<|eot_id|>", NULL};

static const char *const *control_tokens(enum fg_chat_template chat)
{
    return chat == FG_CHAT_LLAMA3 ? llama3_tokens : chatml_tokens;
}

/* The bytes from the first `needle` in `text` on; data is NULL when it is not there. */
static struct fg_span find_text(struct fg_span text, const char *needle)
{
    size_t length = strlen(needle);
    const char *at = text.len == 0 ? NULL : memmem(text.data, text.len, needle, length);
    if (at == NULL)
        return (struct fg_span){NULL, 0};
    return fg_span_make(at, text.len - (size_t)(at - text.data));
}

static bool has_text(struct fg_span text, const char *needle)
{
    return find_text(text, needle).data != NULL;
}

/* What follows `head` and a line break, which a template writes as itself or as \n in a string. */
static struct fg_span find_line_after(struct fg_span text, const char *head)
{
    size_t length = strlen(head);
    struct fg_span rest = find_text(text, head);
    while (rest.data != NULL) {
        rest = fg_span_make(rest.data + length, rest.len - length);
        if (fg_span_starts_with(rest, FG_SPAN("\n")))
            return fg_span_make(rest.data + 1, rest.len - 1);
        if (fg_span_starts_with(rest, FG_SPAN("\\n")))
            return fg_span_make(rest.data + 2, rest.len - 2);
        rest = find_text(rest, head);
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
        struct fg_span end = find_text(rest, "<|im_end|>");
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
    else if (fg_span_equal(own, FG_SPAN(qwen2_5_system)))
        *out = FG_CHAT_QWEN2_5;
    else if (fg_span_equal(own, FG_SPAN(qwen2_system)))
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

/* One call of encode; `status` is the first failure, after which nothing more is appended. */
struct writing {
    const struct fg_tokenizer *tokenizer;
    struct fg_token_list *out;
    char *buffer;
    size_t buffer_bytes;
    enum fg_status status;
};

static void write_control(struct writing *w, const char *token)
{
    if (w->status != FG_OK)
        return;
    uint32_t id = fg_tokenizer_find_special(w->tokenizer, fg_span_from_string(token));
    w->status = id == UINT32_MAX ? FG_ERR_UNSUPPORTED : fg_token_list_append(w->out, &id, 1);
}

static bool reserve(struct writing *w, size_t bytes)
{
    if (bytes <= w->buffer_bytes)
        return true;
    char *grown = realloc(w->buffer, bytes);
    if (grown == NULL)
        return false;
    w->buffer = grown;
    w->buffer_bytes = bytes;
    return true;
}

/* The given parts one after the other as one plain text. */
static void write_parts(struct writing *w, const struct fg_span *parts, size_t part_count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < part_count; i++)
        bytes += parts[i].len;
    if (w->status != FG_OK || bytes == 0)
        return;
    if (!reserve(w, bytes)) {
        w->status = FG_ERR_NO_MEMORY;
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len > 0)
            memcpy(w->buffer + at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    w->status =
        fg_tokenizer_encode(w->tokenizer, fg_span_make(w->buffer, bytes), FG_SPECIAL_PLAIN, w->out);
}

static void write_text(struct writing *w, const char *text)
{
    write_parts(w, &(struct fg_span){text, strlen(text)}, 1);
}

static bool is_role(const struct fg_chat_message *message, const char *role)
{
    return fg_span_equal(message->role, fg_span_from_string(role));
}

/* "<|im_start|>" head content "<|im_end|>\n" */
static void write_chatml_turn(struct writing *w, const char *head, struct fg_span content)
{
    const struct fg_span parts[] = {fg_span_from_string(head), content};
    write_control(w, "<|im_start|>");
    write_parts(w, parts, 2);
    write_control(w, "<|im_end|>");
    write_text(w, "\n");
}

static void write_chatml_message(struct writing *w, const struct fg_chat_message *message)
{
    const struct fg_span parts[] = {message->role, FG_SPAN("\n"), message->content};
    write_control(w, "<|im_start|>");
    write_parts(w, parts, 3);
    write_control(w, "<|im_end|>");
    write_text(w, "\n");
}

/* Results of tools stand in a turn of the user, neighbours in the same one. */
static void write_tool_result(struct writing *w, const struct fg_chat_message *messages,
                              size_t message_count, size_t i)
{
    bool opens = i == 0 || !is_role(&messages[i - 1], "tool");
    bool closes = i + 1 == message_count || !is_role(&messages[i + 1], "tool");
    const struct fg_span parts[] = {FG_SPAN("user"), FG_SPAN("\n<tool_response>\n"),
                                    messages[i].content, FG_SPAN("\n</tool_response>")};
    if (opens)
        write_control(w, "<|im_start|>");
    write_parts(w, opens ? parts : parts + 1, opens ? 4 : 3);
    if (closes) {
        write_control(w, "<|im_end|>");
        write_text(w, "\n");
    }
}

static void write_chatml(struct writing *w, enum fg_chat_template chat,
                         const struct fg_chat_message *messages, size_t message_count)
{
    bool has_system = is_role(&messages[0], "system");
    if (chat == FG_CHAT_QWEN2 && !has_system)
        write_chatml_turn(w, "system\n", FG_SPAN(qwen2_system));
    if (chat == FG_CHAT_QWEN2_5 && !has_system)
        write_chatml_turn(w, "system\n", FG_SPAN(qwen2_5_system));
    for (size_t i = 0; i < message_count; i++) {
        if (chat == FG_CHAT_QWEN2_5 && is_role(&messages[i], "tool"))
            write_tool_result(w, messages, message_count, i);
        else
            write_chatml_message(w, &messages[i]);
    }
    write_control(w, "<|im_start|>");
    write_text(w, "assistant\n");
}

static struct fg_span strip_start(struct fg_span text)
{
    while (text.len > 0 && text.data[0] == '\n')
        text = fg_span_make(text.data + 1, text.len - 1);
    return text;
}

static struct fg_span strip_end(struct fg_span text)
{
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    return text;
}

/* What follows the last `needle`, or all of it. */
static struct fg_span after_last(struct fg_span text, const char *needle)
{
    size_t length = strlen(needle);
    struct fg_span found = find_text(text, needle);
    while (found.data != NULL) {
        text = fg_span_make(found.data + length, found.len - length);
        found = find_text(text, needle);
    }
    return text;
}

/* Where the last question of the user stands: thinking before it is left out, after it kept. */
static size_t last_query(const struct fg_chat_message *messages, size_t message_count)
{
    for (size_t i = message_count; i > 0; i--) {
        struct fg_span content = messages[i - 1].content;
        struct fg_span close = FG_SPAN("</tool_response>");
        bool is_result = fg_span_starts_with(content, FG_SPAN("<tool_response>")) &&
                         content.len >= close.len &&
                         memcmp(content.data + content.len - close.len, close.data, close.len) == 0;
        if (is_role(&messages[i - 1], "user") && !is_result)
            return i - 1;
    }
    return message_count - 1;
}

static void write_qwen3_answer(struct writing *w, struct fg_span content, bool is_after_query,
                               bool is_last)
{
    struct fg_span thought = {NULL, 0};
    struct fg_span close = find_text(content, "</think>");
    if (close.data != NULL) {
        struct fg_span before =
            strip_end(fg_span_make(content.data, (size_t)(close.data - content.data)));
        thought = strip_start(after_last(before, "<think>"));
        content = strip_start(after_last(content, "</think>"));
    }
    const struct fg_span plain[] = {FG_SPAN("assistant\n"), content};
    const struct fg_span thinking[] = {FG_SPAN("assistant\n<think>\n"), strip_end(thought),
                                       FG_SPAN("\n</think>\n\n"), strip_start(content)};
    bool with_thought = is_after_query && (is_last || thought.len > 0);
    write_control(w, "<|im_start|>");
    write_parts(w, with_thought ? thinking : plain, with_thought ? 4 : 2);
    write_control(w, "<|im_end|>");
    write_text(w, "\n");
}

static void write_qwen3(struct writing *w, const struct fg_chat_message *messages,
                        size_t message_count, bool thinking)
{
    size_t query = last_query(messages, message_count);
    for (size_t i = 0; i < message_count; i++) {
        if (is_role(&messages[i], "assistant"))
            write_qwen3_answer(w, messages[i].content, i > query, i + 1 == message_count);
        else if (is_role(&messages[i], "tool"))
            write_tool_result(w, messages, message_count, i);
        else
            write_chatml_message(w, &messages[i]);
    }
    write_control(w, "<|im_start|>");
    write_text(w, thinking ? "assistant\n" : "assistant\n<think>\n\n</think>\n\n");
}

/* Bytes of the blank at the start of `text` as Jinja's trim knows them, or 0. */
static size_t blank_at(struct fg_span text)
{
    static const char *const wide[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80",
                                       "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
                                       "\xe2\x81\x9f", "\xe3\x80\x80"};
    if (text.len == 0)
        return 0;
    unsigned char c = (unsigned char)text.data[0];
    if (c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f))
        return 1;
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        if (fg_span_starts_with(text, fg_span_from_string(wide[i])))
            return strlen(wide[i]);
    }
    bool is_general = text.len >= 3 && memcmp(text.data, "\xe2\x80", 2) == 0 && /* U+2000 to 200A */
                      (unsigned char)text.data[2] >= 0x80 && (unsigned char)text.data[2] <= 0x8a;
    return is_general ? 3 : 0;
}

static struct fg_span trim(struct fg_span text)
{
    for (size_t step = blank_at(text); step > 0; step = blank_at(text))
        text = fg_span_make(text.data + step, text.len - step);
    for (size_t back = 1; back <= 3 && back <= text.len;) {
        if (blank_at(fg_span_make(text.data + text.len - back, back)) == back) {
            text.len -= back;
            back = 1;
        } else {
            back++;
        }
    }
    return text;
}

static void write_llama3_head(struct writing *w, struct fg_span role)
{
    write_control(w, "<|start_header_id|>");
    write_parts(w, &role, 1);
    write_control(w, "<|end_header_id|>");
}

static void write_llama3(struct writing *w, const struct fg_chat_message *messages,
                         size_t message_count)
{
    uint32_t bos = fg_tokenizer_bos(w->tokenizer);
    if (bos != UINT32_MAX)
        w->status = fg_token_list_append(w->out, &bos, 1);
    for (size_t i = 0; i < message_count; i++) {
        const struct fg_span parts[] = {FG_SPAN("\n\n"), trim(messages[i].content)};
        bool is_tool = is_role(&messages[i], "tool");
        write_llama3_head(w, is_tool ? FG_SPAN("ipython") : messages[i].role);
        write_parts(w, parts, 2);
        write_control(w, "<|eot_id|>");
    }
    write_llama3_head(w, FG_SPAN("assistant"));
    write_text(w, "\n\n");
}

static bool are_roles_known(const struct fg_chat_message *messages, size_t message_count)
{
    for (size_t i = 0; i < message_count; i++) {
        if (!is_role(&messages[i], "system") && !is_role(&messages[i], "user") &&
            !is_role(&messages[i], "assistant") && !is_role(&messages[i], "tool"))
            return false;
    }
    return message_count > 0;
}

enum fg_status fg_chat_template_encode(enum fg_chat_template chat,
                                       const struct fg_tokenizer *tokenizer,
                                       const struct fg_chat_message *messages, size_t message_count,
                                       bool thinking, struct fg_token_list *out)
{
    struct writing w = {.tokenizer = tokenizer, .out = out, .status = FG_OK};
    if (!are_roles_known(messages, message_count))
        return FG_ERR_INVALID;
    switch (chat) {
    case FG_CHAT_CHATML:
    case FG_CHAT_QWEN2:
    case FG_CHAT_QWEN2_5:
        write_chatml(&w, chat, messages, message_count);
        break;
    case FG_CHAT_QWEN3:
        write_qwen3(&w, messages, message_count, thinking);
        break;
    case FG_CHAT_LLAMA3:
        write_llama3(&w, messages, message_count);
        break;
    case FG_CHAT_NONE:
        return FG_ERR_UNSUPPORTED;
    }
    free(w.buffer);
    return w.status;
}
