/*
 * chat_template.h: a list of messages to prompt tokens, in the form the model was trained on.
 * The file's template text is recognised, not interpreted: ChatML, Qwen2, Qwen2.5, Qwen3, Llama 2,
 * Llama 3, Mistral.
 * Message contents are encoded as plain text, so that nobody can type a control token.
 * A BOS that the template asks for is written here: callers add none to a chat.
 * Thread   any; pure apart from the token list.
 */
#ifndef FG_INFERENCE_CHAT_TEMPLATE_H
#define FG_INFERENCE_CHAT_TEMPLATE_H

#include "inference/tokenizer/tokenizer.h"

enum fg_chat_template {
    FG_CHAT_CHATML,  /* ChatML as it is written: no system message unless given */
    FG_CHAT_QWEN2,   /* ChatML; without a system message it says the model's own */
    FG_CHAT_QWEN2_5, /* the same with another one, and tool results in the user's turn */
    FG_CHAT_QWEN3,   /* ChatML with the thinking switch */
    FG_CHAT_LLAMA2,
    FG_CHAT_LLAMA3,
    FG_CHAT_MISTRAL, /* v1 to v3 */
    FG_CHAT_NONE,    /* the file has no template: chat requests are refused, completions work */
};

struct fg_chat_message {
    struct fg_span role; /* system, user, assistant, tool */
    struct fg_span content;
};

/*
 * Recognise the template of the file, or the one named by `override_name` ("chatml", "qwen2",
 * "qwen2.5", "qwen3", "llama2", "llama3", "mistral"; NULL or empty: from the file). An unknown
 * template, or one whose control tokens the vocabulary lacks, is an error that names both.
 */
enum fg_status fg_chat_template_detect(enum fg_chat_template *out, const struct fg_gguf *gguf,
                                       const char *override_name, struct fg_error *error);

/* The name that detect takes as override; "none" for FG_CHAT_NONE. */
const char *fg_chat_template_name(enum fg_chat_template chat);

struct fg_chat_prompt {
    const struct fg_chat_message *messages;
    size_t message_count;
    struct fg_span tools; /* their JSON definitions, one a line; empty: none. Qwen2.5, Qwen3 */
    bool thinking;        /* read by Qwen3 only: false writes the empty think block */
};

/* Whether prompts of this form can describe tools. */
bool fg_chat_template_takes_tools(enum fg_chat_template chat);

/*
 * Append the prompt with the opening of the assistant's turn. FG_ERR_INVALID when there is no
 * message or a role outside the four (nothing is appended then); FG_ERR_UNSUPPORTED for
 * FG_CHAT_NONE, for tools that the form cannot describe, or when the vocabulary lacks a control
 * token; else as fg_tokenizer_encode.
 */
enum fg_status fg_chat_template_encode(enum fg_chat_template chat,
                                       const struct fg_tokenizer *tokenizer,
                                       const struct fg_chat_prompt *prompt,
                                       struct fg_token_list *out);

#endif
