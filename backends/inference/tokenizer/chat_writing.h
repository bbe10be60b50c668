/*
 * chat_writing.h: how the chat templates put a prompt together; internal to the templates.
 *    chat_template.c  which template a file has; the way in
 *    chat_writing.c   control tokens and plain text, one after the other
 *    chat_chatml.c    ChatML and the Qwen families
 *    chat_llama.c     Llama 2 and 3, Mistral
 * Thread   any; a struct fg_chat_writing is one call's.
 */
#ifndef FG_INFERENCE_CHAT_WRITING_H
#define FG_INFERENCE_CHAT_WRITING_H

#include "inference/tokenizer/chat_template.h"

/* One call of encode; `status` is the first failure, after which nothing more is appended. */
struct fg_chat_writing {
    const struct fg_tokenizer *tokenizer;
    struct fg_token_list *out;
    char *buffer;
    size_t buffer_bytes;
    size_t added_bytes; /* of parts that are not written yet */
    enum fg_status status;
};

/* The control token written so; FG_ERR_UNSUPPORTED when the vocabulary lacks it. */
void fg_chat_write_control(struct fg_chat_writing *w, const char *token);
/* A token by its id. */
void fg_chat_write_id(struct fg_chat_writing *w, uint32_t id);
/* One more part of a plain text, which is written as a whole, as tokens go over its parts' ends. */
void fg_chat_add_part(struct fg_chat_writing *w, struct fg_span part);
void fg_chat_write_added(struct fg_chat_writing *w);
/* The given parts one after the other as one plain text. */
void fg_chat_write_parts(struct fg_chat_writing *w, const struct fg_span *parts, size_t part_count);
void fg_chat_write_text(struct fg_chat_writing *w, const char *text);

bool fg_chat_is_role(const struct fg_chat_message *message, const char *role);
/* The bytes from the first `needle` in `text` on; data is NULL when it is not there. */
struct fg_span fg_chat_find_text(struct fg_span text, const char *needle);

extern const char fg_chat_qwen2_system[];
extern const char fg_chat_qwen2_5_system[];

void fg_chat_write_chatml(struct fg_chat_writing *w, enum fg_chat_template chat,
                          const struct fg_chat_prompt *prompt);
void fg_chat_write_qwen3(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt);
void fg_chat_write_llama2(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt);
void fg_chat_write_llama3(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt);
void fg_chat_write_mistral(struct fg_chat_writing *w, const struct fg_chat_prompt *prompt);

#endif
