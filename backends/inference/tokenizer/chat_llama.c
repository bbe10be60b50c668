/*
 * chat_llama.c: the prompt forms of Llama 2, Llama 3 and Mistral.
 * Source   Meta's Llama 2 and Llama 3 prompt formats (without the date lines that 3.1's template
 *          puts into the system message); Mistral's instruct formats v1 to v3, where v3 has
 *          "[INST]" as a control token.
 */
#include "inference/tokenizer/chat_writing.h"

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

static void write_llama3_head(struct fg_chat_writing *w, struct fg_span role)
{
    fg_chat_write_control(w, "<|start_header_id|>");
    fg_chat_write_parts(w, &role, 1);
    fg_chat_write_control(w, "<|end_header_id|>");
}

static void write_bos(struct fg_chat_writing *w)
{
    uint32_t bos = fg_tokenizer_bos(w->tokenizer);
    if (bos != UINT32_MAX)
        fg_chat_write_id(w, bos);
}

static void write_eos(struct fg_chat_writing *w)
{
    uint32_t eos = fg_tokenizer_eos(w->tokenizer);
    if (eos != UINT32_MAX)
        fg_chat_write_id(w, eos);
}

void fg_chat_write_llama3(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt)
{
    write_bos(w);
    for (size_t i = 0; i < prompt->message_count; i++) {
        const struct fg_chat_message *message = &prompt->messages[i];
        const struct fg_span parts[] = {FG_SPAN("\n\n"), trim(message->content)};
        write_llama3_head(w, fg_chat_is_role(message, "tool") ? FG_SPAN("ipython") : message->role);
        fg_chat_write_parts(w, parts, 2);
        fg_chat_write_control(w, "<|eot_id|>");
    }
    write_llama3_head(w, FG_SPAN("assistant"));
    fg_chat_write_text(w, "\n\n");
}

/* Neither form has a place for the results of tools. */
static bool has_tool_result(const struct fg_chat_prompt *prompt)
{
    for (size_t i = 0; i < prompt->message_count; i++) {
        if (fg_chat_is_role(&prompt->messages[i], "tool"))
            return true;
    }
    return false;
}

/* A leading system message has no turn of its own: it goes into the user's first. */
static struct fg_span leading_system(const struct fg_chat_prompt *prompt)
{
    bool is_there = fg_chat_is_role(&prompt->messages[0], "system");
    return is_there ? prompt->messages[0].content : FG_SPAN("");
}

/*
 * "<s>[INST] <<SYS>>\nsystem\n<</SYS>>\n\nquestion [/INST] answer </s><s>[INST] ...". Question and
 * answer are one text, as no token stands between them.
 */
void fg_chat_write_llama2(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt)
{
    struct fg_span system = leading_system(prompt);
    if (has_tool_result(prompt))
        w->status = FG_ERR_UNSUPPORTED;
    for (size_t i = fg_chat_is_role(&prompt->messages[0], "system") ? 1 : 0;
         i < prompt->message_count; i++) {
        const struct fg_chat_message *message = &prompt->messages[i];
        bool is_answered =
            i + 1 < prompt->message_count && fg_chat_is_role(&prompt->messages[i + 1], "assistant");
        const struct fg_span parts[] = {
            FG_SPAN("[INST] "),
            system.len > 0 ? FG_SPAN("<<SYS>>\n") : FG_SPAN(""),
            system,
            system.len > 0 ? FG_SPAN("\n<</SYS>>\n\n") : FG_SPAN(""),
            trim(message->content),
            FG_SPAN(" [/INST]"),
            FG_SPAN(" "),
            is_answered ? trim(prompt->messages[i + 1].content) : FG_SPAN(""),
            FG_SPAN(" "),
        };
        write_bos(w);
        fg_chat_write_parts(w, parts, is_answered ? 9 : 6);
        if (is_answered) {
            write_eos(w);
            i++;
        }
        system = FG_SPAN("");
    }
}

/* "[INST]" and "[/INST]" are control tokens since v3, plain text before. */
static void write_mistral_question(struct fg_chat_writing *w, struct fg_span system,
                                   struct fg_span content)
{
    bool has_tokens = fg_tokenizer_find_special(w->tokenizer, FG_SPAN("[INST]")) != UINT32_MAX &&
                      fg_tokenizer_find_special(w->tokenizer, FG_SPAN("[/INST]")) != UINT32_MAX;
    struct fg_span gap = system.len > 0 ? FG_SPAN("\n\n") : FG_SPAN("");
    if (has_tokens) {
        const struct fg_span parts[] = {system, gap, content};
        fg_chat_write_control(w, "[INST]");
        fg_chat_write_parts(w, parts, 3);
        fg_chat_write_control(w, "[/INST]");
        return;
    }
    const struct fg_span parts[] = {FG_SPAN("[INST] "), system, gap, content, FG_SPAN(" [/INST]")};
    fg_chat_write_parts(w, parts, 5);
}

void fg_chat_write_mistral(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt)
{
    struct fg_span system = leading_system(prompt);
    if (has_tool_result(prompt))
        w->status = FG_ERR_UNSUPPORTED;
    write_bos(w);
    for (size_t i = fg_chat_is_role(&prompt->messages[0], "system") ? 1 : 0;
         i < prompt->message_count; i++) {
        const struct fg_chat_message *message = &prompt->messages[i];
        if (fg_chat_is_role(message, "assistant")) {
            fg_chat_write_parts(w, &message->content, 1);
            write_eos(w);
            continue;
        }
        write_mistral_question(w, system, message->content);
        system = FG_SPAN("");
    }
}
