/*
 * chat_chatml.c: ChatML, and what the Qwen families make of it: a system message of their own,
 * descriptions of tools, results of tools in the user's turn, thoughts.
 * Source   chat_template of Qwen2-7B-Instruct, Qwen2.5-7B-Instruct and Qwen3-8B.
 *
 * A turn's head and its content are encoded as one text ("user\nHi"), because a content that starts
 * with a line break shares a token with the break before it, as in the reference.
 */
#include "inference/tokenizer/chat_writing.h"

const char fg_chat_qwen2_system[] = "You are a helpful assistant.";
const char fg_chat_qwen2_5_system[] =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

/* "<|im_start|>" head content "<|im_end|>\n" */
static void write_chatml_turn(struct fg_chat_writing *w, const char *head, struct fg_span content)
{
    const struct fg_span parts[] = {fg_span_from_string(head), content};
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_parts(w, parts, 2);
    fg_chat_write_control(w, "<|im_end|>");
    fg_chat_write_text(w, "\n");
}

static void write_chatml_message(struct fg_chat_writing *w, const struct fg_chat_message *message)
{
    const struct fg_span parts[] = {message->role, FG_SPAN("\n"), message->content};
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_parts(w, parts, 3);
    fg_chat_write_control(w, "<|im_end|>");
    fg_chat_write_text(w, "\n");
}

/*
 * Results of tools stand in a turn of the user, neighbours in the same one and as one text. Returns
 * how many there are from message `first` on.
 */
static size_t write_tool_results(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt,
                                 size_t first)
{
    size_t end = first;
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_add_part(w, FG_SPAN("user"));
    while (end < prompt->message_count && fg_chat_is_role(&prompt->messages[end], "tool")) {
        fg_chat_add_part(w, FG_SPAN("\n<tool_response>\n"));
        fg_chat_add_part(w, prompt->messages[end++].content);
        fg_chat_add_part(w, FG_SPAN("\n</tool_response>"));
    }
    fg_chat_write_added(w);
    fg_chat_write_control(w, "<|im_end|>");
    fg_chat_write_text(w, "\n");
    return end - first;
}

static const char tools_head[] =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
    "provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
static const char tools_tail[] =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
    "\"arguments\": <args-json-object>}\n</tool_call>";

/* The system's turn with the tools behind `system`, which may be empty. */
static void write_tools_turn(struct fg_chat_writing *w, struct fg_span system, struct fg_span tools)
{
    const struct fg_span parts[] = {FG_SPAN("system\n"),
                                    system,
                                    system.len > 0 ? FG_SPAN("\n\n") : FG_SPAN(""),
                                    fg_span_from_string(tools_head),
                                    tools,
                                    fg_span_from_string(tools_tail)};
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_parts(w, parts, sizeof(parts) / sizeof(parts[0]));
    fg_chat_write_control(w, "<|im_end|>");
    fg_chat_write_text(w, "\n");
}

/* What the family says where no system message is given. */
static struct fg_span own_system(enum fg_chat_template chat)
{
    if (chat == FG_CHAT_QWEN2)
        return fg_span_from_string(fg_chat_qwen2_system);
    if (chat == FG_CHAT_QWEN2_5)
        return fg_span_from_string(fg_chat_qwen2_5_system);
    return FG_SPAN("");
}

/* The turn that stands first, if it is one of the system's; how many messages it takes in. */
static size_t write_system(struct fg_chat_writing *w, enum fg_chat_template chat,
                           const struct fg_chat_prompt *prompt)
{
    bool is_given = fg_chat_is_role(&prompt->messages[0], "system");
    struct fg_span system = is_given ? prompt->messages[0].content : own_system(chat);
    if (prompt->tools.len > 0)
        write_tools_turn(w, system, prompt->tools);
    else if (is_given || system.len > 0)
        write_chatml_turn(w, "system\n", system);
    return is_given ? 1 : 0;
}

void fg_chat_write_chatml(struct fg_chat_writing *w, enum fg_chat_template chat,
                          const struct fg_chat_prompt *prompt)
{
    const struct fg_chat_message *messages = prompt->messages;
    for (size_t i = write_system(w, chat, prompt); i < prompt->message_count;) {
        if (chat == FG_CHAT_QWEN2_5 && fg_chat_is_role(&messages[i], "tool"))
            i += write_tool_results(w, prompt, i);
        else
            write_chatml_message(w, &messages[i++]);
    }
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_text(w, "assistant\n");
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
    struct fg_span found = fg_chat_find_text(text, needle);
    while (found.data != NULL) {
        text = fg_span_make(found.data + length, found.len - length);
        found = fg_chat_find_text(text, needle);
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
        if (fg_chat_is_role(&messages[i - 1], "user") && !is_result)
            return i - 1;
    }
    return message_count - 1;
}

static void write_qwen3_answer(struct fg_chat_writing *w, struct fg_span content,
                               bool is_after_query, bool is_last)
{
    struct fg_span thought = {NULL, 0};
    struct fg_span close = fg_chat_find_text(content, "</think>");
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
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_parts(w, with_thought ? thinking : plain, with_thought ? 4 : 2);
    fg_chat_write_control(w, "<|im_end|>");
    fg_chat_write_text(w, "\n");
}

void fg_chat_write_qwen3(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt)
{
    const struct fg_chat_message *messages = prompt->messages;
    size_t count = prompt->message_count;
    size_t query = last_query(messages, count);
    for (size_t i = write_system(w, FG_CHAT_QWEN3, prompt); i < count;) {
        if (fg_chat_is_role(&messages[i], "tool")) {
            i += write_tool_results(w, prompt, i);
            continue;
        }
        if (fg_chat_is_role(&messages[i], "assistant"))
            write_qwen3_answer(w, messages[i].content, i > query, i + 1 == count);
        else
            write_chatml_message(w, &messages[i]);
        i++;
    }
    fg_chat_write_control(w, "<|im_start|>");
    fg_chat_write_text(w, prompt->thinking ? "assistant\n" : "assistant\n<think>\n\n</think>\n\n");
}
