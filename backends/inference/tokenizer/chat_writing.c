/*
 * chat_writing.c: control tokens and plain text, appended to one token list.
 * Memory   one copy of the longest text of a call, freed by whoever began the call.
 */
#include "inference/tokenizer/chat_writing.h"

#include <stdlib.h>

struct fg_span fg_chat_find_text(struct fg_span text, const char *needle)
{
    size_t length = strlen(needle);
    const char *at = text.len == 0 ? NULL : memmem(text.data, text.len, needle, length);
    if (at == NULL)
        return (struct fg_span){NULL, 0};
    return fg_span_make(at, text.len - (size_t)(at - text.data));
}

void fg_chat_write_control(struct fg_chat_writing *w, const char *token)
{
    if (w->status != FG_OK)
        return;
    uint32_t id = fg_tokenizer_find_special(w->tokenizer, fg_span_from_string(token));
    w->status = id == UINT32_MAX ? FG_ERR_UNSUPPORTED : fg_token_list_append(w->out, &id, 1);
}

void fg_chat_write_id(struct fg_chat_writing *w, uint32_t id)
{
    if (w->status == FG_OK)
        w->status = fg_token_list_append(w->out, &id, 1);
}

static bool reserve(struct fg_chat_writing *w, size_t bytes)
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

void fg_chat_add_part(struct fg_chat_writing *w, struct fg_span part)
{
    size_t bytes = w->added_bytes + part.len;
    if (w->status != FG_OK || part.len == 0)
        return;
    if (bytes > w->buffer_bytes && !reserve(w, 2 * bytes)) {
        w->status = FG_ERR_NO_MEMORY;
        return;
    }
    memcpy(w->buffer + w->added_bytes, part.data, part.len);
    w->added_bytes = bytes;
}

void fg_chat_write_added(struct fg_chat_writing *w)
{
    size_t bytes = w->added_bytes;
    w->added_bytes = 0;
    if (w->status == FG_OK && bytes > 0)
        w->status = fg_tokenizer_encode(w->tokenizer, fg_span_make(w->buffer, bytes),
                                        FG_SPECIAL_PLAIN, w->out);
}

void fg_chat_write_parts(struct fg_chat_writing *w, const struct fg_span *parts, size_t part_count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < part_count; i++)
        bytes += parts[i].len;
    if (w->status == FG_OK && !reserve(w, bytes))
        w->status = FG_ERR_NO_MEMORY;
    for (size_t i = 0; i < part_count; i++)
        fg_chat_add_part(w, parts[i]);
    fg_chat_write_added(w);
}

void fg_chat_write_text(struct fg_chat_writing *w, const char *text)
{
    fg_chat_write_parts(w, &(struct fg_span){text, strlen(text)}, 1);
}

bool fg_chat_is_role(const struct fg_chat_message *message, const char *role)
{
    return fg_span_equal(message->role, fg_span_from_string(role));
}
