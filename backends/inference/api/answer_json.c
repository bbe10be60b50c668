/*
 * answer_json.c: what the OpenAI API's objects look like, byte for byte.
 */
#include "answer_json.h"

#include "base/base64url.h"
#include "json_escape.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

/* More than what follows a piece of text in its event. */
#define EVENT_END_BYTES ((size_t)192)

void fg_answer_put(struct fg_answer_sink *sink, struct fg_span bytes)
{
    if (sink->is_full || bytes.len > sink->room - sink->used) {
        sink->is_full = true;
        return;
    }
    if (sink->out != NULL && bytes.len > 0)
        memcpy(sink->out + sink->used, bytes.data, bytes.len);
    sink->used += bytes.len;
}

static void put_format(struct fg_answer_sink *sink, const char *fmt, ...) FG_PRINTF(2, 3);

static void put_format(struct fg_answer_sink *sink, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert(len > 0 && (size_t)len < sizeof(text));
    fg_answer_put(sink, fg_span_make(text, (size_t)len));
}

/* All of `text`, or nothing more at all. */
static void put_escaped(struct fg_answer_sink *sink, struct fg_span text)
{
    size_t bytes = fg_json_escaped_bytes(text);
    size_t consumed;
    if (sink->is_full || bytes > sink->room - sink->used) {
        sink->is_full = true;
        return;
    }
    if (sink->out != NULL)
        fg_json_escape(text, sink->out + sink->used, bytes, &consumed);
    sink->used += bytes;
}

static void put_string(struct fg_answer_sink *sink, struct fg_span text)
{
    fg_answer_put(sink, FG_SPAN("\""));
    put_escaped(sink, text);
    fg_answer_put(sink, FG_SPAN("\""));
}

/* ---- logprobs ---- */

/* {"token","logprob","bytes" of a token; the caller closes it. */
static void put_token_open(struct fg_answer_sink *sink, const struct fg_channel_logprob *logprob)
{
    fg_answer_put(sink, FG_SPAN("{\"token\":"));
    put_string(sink, logprob->bytes);
    put_format(sink, ",\"logprob\":%.6g,\"bytes\":[", (double)logprob->logprob);
    for (size_t i = 0; i < logprob->bytes.len; i++)
        put_format(sink, i > 0 ? ",%u" : "%u", (unsigned char)logprob->bytes.data[i]);
    fg_answer_put(sink, FG_SPAN("]"));
}

static void put_chat_logprob(struct fg_answer_sink *sink, const struct fg_channel_token *token)
{
    put_token_open(sink, &token->logprobs[0]);
    fg_answer_put(sink, FG_SPAN(",\"top_logprobs\":["));
    for (uint32_t i = 1; i < token->logprob_count; i++) {
        if (i > 1)
            fg_answer_put(sink, FG_SPAN(","));
        put_token_open(sink, &token->logprobs[i]);
        fg_answer_put(sink, FG_SPAN("}"));
    }
    fg_answer_put(sink, FG_SPAN("]}"));
}

static bool has_high_byte(struct fg_span text)
{
    size_t at = 0;
    while (at < text.len && (unsigned char)text.data[at] < 0x80)
        at++;
    return at < text.len;
}

/* Whether two tokens are spelled alike: what is no character by itself is U+FFFD in both. */
static bool is_spelled_alike(struct fg_span a, struct fg_span b)
{
    char left[128], right[128];
    size_t left_read, right_read;
    if (fg_span_equal(a, b))
        return true;
    if (!has_high_byte(a) || !has_high_byte(b))
        return false;
    size_t left_len = fg_json_escape(a, left, sizeof(left), &left_read);
    size_t right_len = fg_json_escape(b, right, sizeof(right), &right_read);
    return left_read == a.len && right_read == b.len &&
           fg_span_equal(fg_span_make(left, left_len), fg_span_make(right, right_len));
}

/* An object's names are there once: of tokens spelled alike the likeliest one is. */
static void put_top_by_text(struct fg_answer_sink *sink, const struct fg_channel_token *token)
{
    fg_answer_put(sink, FG_SPAN("{"));
    for (uint32_t i = 1; i < token->logprob_count; i++) {
        const struct fg_channel_logprob *one = &token->logprobs[i];
        bool is_there = false;
        for (uint32_t k = 1; k < i && !is_there; k++)
            is_there = is_spelled_alike(token->logprobs[k].bytes, one->bytes);
        if (is_there)
            continue;
        if (i > 1)
            fg_answer_put(sink, FG_SPAN(","));
        put_string(sink, one->bytes);
        put_format(sink, ":%.6g", (double)one->logprob);
    }
    fg_answer_put(sink, FG_SPAN("}"));
}

/* An entry of tokens, token_logprobs, top_logprobs or text_offset. */
static void put_text_column(struct fg_answer_sink *sink, const struct fg_answer_piece *piece)
{
    const struct fg_channel_token *token = piece->token;
    switch (piece->column) {
    case 0:
        put_string(sink, token->logprobs[0].bytes);
        break;
    case 1:
        put_format(sink, "%.6g", (double)token->logprobs[0].logprob);
        break;
    case 2:
        put_top_by_text(sink, token);
        break;
    default:
        put_format(sink, "%zu", piece->text_offset);
        break;
    }
}

static const char *const column_names[FG_ANSWER_COLUMNS] = {"tokens", "token_logprobs",
                                                            "top_logprobs", "text_offset"};

/* The value of "logprobs" for one token. */
static void put_piece_logprobs(struct fg_answer_sink *sink,
                               const struct fg_completion_answer *answer,
                               const struct fg_answer_piece *piece)
{
    if (piece->token == NULL) {
        fg_answer_put(sink, FG_SPAN("null"));
        return;
    }
    if (answer->is_chat) {
        fg_answer_put(sink, FG_SPAN("{\"content\":["));
        put_chat_logprob(sink, piece->token);
        fg_answer_put(sink, FG_SPAN("],\"refusal\":null}"));
        return;
    }
    struct fg_answer_piece column = *piece;
    for (column.column = 0; column.column < FG_ANSWER_COLUMNS; column.column++) {
        put_format(sink, "%s\"%s\":[", column.column == 0 ? "{" : ",", column_names[column.column]);
        put_text_column(sink, &column);
        fg_answer_put(sink, FG_SPAN("]"));
    }
    fg_answer_put(sink, FG_SPAN("}"));
}

void fg_answer_put_column(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                          const struct fg_answer_piece *piece)
{
    if (fg_answer_current(answer)->columns[piece->column].len > 0)
        fg_answer_put(sink, FG_SPAN(","));
    if (answer->is_chat)
        put_chat_logprob(sink, piece->token);
    else
        put_text_column(sink, piece);
}

static struct fg_span all_of(const struct fg_answer_buffer *buffer)
{
    return fg_span_make(buffer->data, buffer->len);
}

/* The value of "logprobs" of a document. */
static void put_all_logprobs(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    if (!answer->has_logprobs) {
        fg_answer_put(sink, FG_SPAN("null"));
        return;
    }
    if (answer->is_chat) {
        fg_answer_put(sink, FG_SPAN("{\"content\":["));
        fg_answer_put(sink, all_of(&fg_answer_current(answer)->columns[0]));
        fg_answer_put(sink, FG_SPAN("],\"refusal\":null}"));
        return;
    }
    for (unsigned i = 0; i < FG_ANSWER_COLUMNS; i++) {
        put_format(sink, "%s\"%s\":[", i == 0 ? "{" : ",", column_names[i]);
        fg_answer_put(sink, all_of(&fg_answer_current(answer)->columns[i]));
        fg_answer_put(sink, FG_SPAN("]"));
    }
    fg_answer_put(sink, FG_SPAN("}"));
}

/* ---- calls ---- */

/* {"id","type","function"} without the braces. */
static void put_call_inside(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                            const struct fg_answer_piece *piece)
{
    struct fg_span tag = answer->id;
    const char *dash = tag.len == 0 ? NULL : memchr(tag.data, '-', tag.len);
    if (dash != NULL)
        tag = fg_span_make(dash + 1, tag.len - (size_t)(dash + 1 - tag.data));
    put_format(sink, "\"id\":\"call_%.*s_%u\",\"type\":\"function\",\"function\":{\"name\":",
               tag.len > 64 ? 64 : (int)tag.len, tag.data, fg_answer_current(answer)->call_count);
    put_string(sink, piece->call_name);
    fg_answer_put(sink, FG_SPAN(",\"arguments\":"));
    put_string(sink, piece->call_arguments);
    fg_answer_put(sink, FG_SPAN("}"));
}

void fg_answer_put_call(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                        const struct fg_answer_piece *piece)
{
    if (fg_answer_current(answer)->called.len > 0)
        fg_answer_put(sink, FG_SPAN(","));
    fg_answer_put(sink, FG_SPAN("{"));
    put_call_inside(sink, answer, piece);
    fg_answer_put(sink, FG_SPAN("}"));
}

/* ---- streams ---- */

static void put_usage(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    put_format(sink,
               "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
               answer->prompt_tokens, answer->completion_tokens,
               (unsigned long long)answer->prompt_tokens + answer->completion_tokens,
               answer->cached_tokens);
}

/* Everything of an event up to the choice's own part. */
static void put_event_begin(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    fg_answer_put(sink, FG_SPAN("data: {"));
    fg_answer_put(sink, answer->head);
    put_format(sink, ",\"choices\":[{\"index\":%u,", answer->choice);
}

/* `piece` NULL: no logprobs. */
static void put_event_end(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                          const struct fg_answer_piece *piece, const char *finish_reason)
{
    static const struct fg_answer_piece none = {0};
    fg_answer_put(sink, FG_SPAN(",\"logprobs\":"));
    put_piece_logprobs(sink, answer, piece == NULL ? &none : piece);
    fg_answer_put(sink, FG_SPAN(",\"finish_reason\":"));
    if (finish_reason == NULL)
        fg_answer_put(sink, FG_SPAN("null"));
    else
        put_format(sink, "\"%s\"", finish_reason);
    fg_answer_put(sink, FG_SPAN("}]"));
    if (answer->include_usage)
        fg_answer_put(sink, FG_SPAN(",\"usage\":null"));
    fg_answer_put(sink, FG_SPAN("}\n\n"));
}

void fg_answer_put_stream_open(struct fg_answer_sink *sink,
                               const struct fg_completion_answer *answer)
{
    if (!answer->is_chat)
        return;
    put_event_begin(sink, answer);
    fg_answer_put(sink, FG_SPAN("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"));
    put_event_end(sink, answer, NULL, NULL);
}

void fg_answer_put_choice_event(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer,
                                const struct fg_answer_piece *piece)
{
    (void)piece;
    put_event_begin(sink, answer);
    fg_answer_put(sink, answer->is_chat ? FG_SPAN("\"delta\":{}") : FG_SPAN("\"text\":\"\""));
    put_event_end(sink, answer, NULL, fg_answer_current(answer)->finish_reason);
}

void fg_answer_put_stream_close(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer)
{
    if (answer->choice_max <= 1)
        fg_answer_put_choice_event(sink, answer, NULL);
    if (answer->include_usage) {
        fg_answer_put(sink, FG_SPAN("data: {"));
        fg_answer_put(sink, answer->head);
        fg_answer_put(sink, FG_SPAN(",\"choices\":[],"));
        put_usage(sink, answer);
        fg_answer_put(sink, FG_SPAN("}\n\n"));
    }
    fg_answer_put(sink, FG_SPAN("data: [DONE]\n\n"));
}

static void put_text_open(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    fg_answer_put(sink,
                  answer->is_chat ? FG_SPAN("\"delta\":{\"content\":\"") : FG_SPAN("\"text\":\""));
}

static void put_text_close(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    fg_answer_put(sink, answer->is_chat ? FG_SPAN("\"}") : FG_SPAN("\""));
}

size_t fg_answer_put_text_event(struct fg_answer_sink *sink,
                                const struct fg_completion_answer *answer, struct fg_span text)
{
    size_t before = sink->used, consumed = 0;
    put_event_begin(sink, answer);
    put_text_open(sink, answer);
    if (!sink->is_full && sink->room - sink->used >= EVENT_END_BYTES + FG_JSON_ESCAPE_CHAR_MAX) {
        sink->used += fg_json_escape(text, sink->out + sink->used,
                                     sink->room - sink->used - EVENT_END_BYTES, &consumed);
        put_text_close(sink, answer);
        put_event_end(sink, answer, NULL, NULL);
    }
    if (sink->is_full || consumed == 0) {
        sink->used = before;
        sink->is_full = true;
        return 0;
    }
    return consumed;
}

void fg_answer_put_piece_event(struct fg_answer_sink *sink,
                               const struct fg_completion_answer *answer,
                               const struct fg_answer_piece *piece)
{
    put_event_begin(sink, answer);
    if (piece->call_name.data != NULL) {
        put_format(sink, "\"delta\":{\"tool_calls\":[{\"index\":%u,",
                   fg_answer_current(answer)->call_count);
        put_call_inside(sink, answer, piece);
        fg_answer_put(sink, FG_SPAN("}]}"));
    } else {
        put_text_open(sink, answer);
        put_escaped(sink, piece->text);
        put_text_close(sink, answer);
    }
    put_event_end(sink, answer, piece, NULL);
}

/* ---- documents ---- */

static void put_message(struct fg_answer_sink *sink, const struct fg_completion_answer *answer)
{
    struct fg_span text = all_of(&fg_answer_current(answer)->text);
    fg_answer_put(sink, FG_SPAN("\"message\":{\"role\":\"assistant\",\"content\":"));
    if (fg_answer_current(answer)->call_count > 0 && text.len == 0)
        fg_answer_put(sink, FG_SPAN("null"));
    else
        put_string(sink, text);
    fg_answer_put(sink, FG_SPAN(",\"refusal\":null"));
    if (fg_answer_current(answer)->call_count > 0) {
        fg_answer_put(sink, FG_SPAN(",\"tool_calls\":["));
        fg_answer_put(sink, all_of(&fg_answer_current(answer)->called));
        fg_answer_put(sink, FG_SPAN("]"));
    }
    fg_answer_put(sink, FG_SPAN("}"));
}

void fg_answer_put_choice(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                          const struct fg_answer_piece *piece)
{
    (void)piece;
    if (answer->choice == 0) {
        fg_answer_put(sink, FG_SPAN("{"));
        fg_answer_put(sink, answer->head);
    }
    put_format(sink, "%s{\"index\":%u,", answer->choice == 0 ? ",\"choices\":[" : ",",
               answer->choice);
    if (answer->is_chat) {
        put_message(sink, answer);
    } else {
        fg_answer_put(sink, FG_SPAN("\"text\":"));
        put_string(sink, all_of(&fg_answer_current(answer)->text));
    }
    fg_answer_put(sink, FG_SPAN(",\"logprobs\":"));
    put_all_logprobs(sink, answer);
    put_format(sink, ",\"finish_reason\":\"%s\"}", fg_answer_current(answer)->finish_reason);
    if (answer->choice + 1 < answer->choice_max)
        return;
    fg_answer_put(sink, FG_SPAN("],"));
    put_usage(sink, answer);
    fg_answer_put(sink, FG_SPAN("}"));
}

/* ---- embeddings ---- */

static void put_floats(struct fg_answer_sink *sink, struct fg_span vector)
{
    fg_answer_put(sink, FG_SPAN("["));
    for (size_t at = 0; at + sizeof(float) <= vector.len; at += sizeof(float)) {
        float value;
        memcpy(&value, vector.data + at, sizeof(value));
        put_format(sink, at > 0 ? ",%.9g" : "%.9g", (double)value);
    }
    fg_answer_put(sink, FG_SPAN("]"));
}

/* The alphabet of RFC 4648 section 4, with padding. */
static void put_base64(struct fg_answer_sink *sink, struct fg_span bytes)
{
    enum { PART = 48 }; /* a multiple of three: no padding within */
    fg_answer_put(sink, FG_SPAN("\""));
    for (size_t at = 0; at < bytes.len; at += PART) {
        char text[PART / 3 * 4];
        size_t len = bytes.len - at < PART ? bytes.len - at : PART;
        size_t made = fg_base64url_encode(text, (const unsigned char *)bytes.data + at, len);
        for (size_t i = 0; i < made; i++)
            text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
        while (made % 4 != 0)
            text[made++] = '=';
        fg_answer_put(sink, fg_span_make(text, made));
    }
    fg_answer_put(sink, FG_SPAN("\""));
}

void fg_answer_put_embedding(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                             const struct fg_answer_piece *piece)
{
    if (answer->choice == 0)
        fg_answer_put(sink, FG_SPAN("{\"object\":\"list\",\"data\":["));
    put_format(sink, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":",
               answer->choice == 0 ? "" : ",", answer->choice);
    if (answer->is_base64)
        put_base64(sink, piece->text);
    else
        put_floats(sink, piece->text);
    fg_answer_put(sink, FG_SPAN("}"));
    if (answer->choice + 1 < answer->choice_max)
        return;
    fg_answer_put(sink, FG_SPAN("],\"model\":"));
    fg_answer_put(sink, answer->model);
    put_format(sink, ",\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u}}",
               answer->prompt_tokens, answer->prompt_tokens);
}
