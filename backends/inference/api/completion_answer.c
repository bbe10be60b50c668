/*
 * completion_answer.c: a step writes a whole piece or, when it does not fit, nothing.
 */
#include "completion_answer.h"

#include "json_escape.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define TEXT_CAPACITY_FIRST ((size_t)256)
/* More than all constants and numbers of one fill step beside its heads. */
#define CONSTANTS_BYTES ((size_t)768)

/* Bytes being built; once something did not fit, nothing more is written. */
struct sink {
    char *out;
    size_t used;
    size_t room;
    bool is_full;
};

static void put(struct sink *sink, struct fg_span bytes)
{
    if (sink->is_full || bytes.len > sink->room - sink->used) {
        sink->is_full = true;
        return;
    }
    memcpy(sink->out + sink->used, bytes.data, bytes.len);
    sink->used += bytes.len;
}

static void put_format(struct sink *sink, const char *fmt, ...) FG_PRINTF(2, 3);

static void put_format(struct sink *sink, const char *fmt, ...)
{
    char text[192];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert(len > 0 && (size_t)len < sizeof(text));
    put(sink, fg_span_make(text, (size_t)len));
}

static void put_usage(struct sink *sink, const struct fg_completion_answer *answer)
{
    put_format(sink,
               "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
               answer->prompt_tokens, answer->completion_tokens,
               (unsigned long long)answer->prompt_tokens + answer->completion_tokens,
               answer->cached_tokens);
}

/* Everything of an event up to the choice's own part. */
static void put_event_begin(struct sink *sink, const struct fg_completion_answer *answer)
{
    put(sink, FG_SPAN("data: {"));
    put(sink, answer->head);
    put(sink, FG_SPAN(",\"choices\":[{\"index\":0,"));
}

static void put_event_end(struct sink *sink, const struct fg_completion_answer *answer,
                          const char *finish_reason)
{
    put(sink, FG_SPAN(",\"logprobs\":null,\"finish_reason\":"));
    if (finish_reason == NULL)
        put(sink, FG_SPAN("null"));
    else
        put_format(sink, "\"%s\"", finish_reason);
    put(sink, FG_SPAN("}]"));
    if (answer->include_usage)
        put(sink, FG_SPAN(",\"usage\":null"));
    put(sink, FG_SPAN("}\n\n"));
}

static void put_stream_open(struct sink *sink, const struct fg_completion_answer *answer)
{
    if (!answer->is_chat)
        return;
    put_event_begin(sink, answer);
    put(sink, FG_SPAN("\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"));
    put_event_end(sink, answer, NULL);
}

static void put_stream_close(struct sink *sink, const struct fg_completion_answer *answer)
{
    put_event_begin(sink, answer);
    put(sink, answer->is_chat ? FG_SPAN("\"delta\":{}") : FG_SPAN("\"text\":\"\""));
    put_event_end(sink, answer, answer->finish_reason);
    if (answer->include_usage) {
        put(sink, FG_SPAN("data: {"));
        put(sink, answer->head);
        put(sink, FG_SPAN(",\"choices\":[],"));
        put_usage(sink, answer);
        put(sink, FG_SPAN("}\n\n"));
    }
    put(sink, FG_SPAN("data: [DONE]\n\n"));
}

static void put_document_open(struct sink *sink, const struct fg_completion_answer *answer)
{
    put(sink, FG_SPAN("{"));
    put(sink, answer->head);
    put(sink, FG_SPAN(",\"choices\":[{\"index\":0,"));
    put(sink, answer->is_chat ? FG_SPAN("\"message\":{\"role\":\"assistant\",\"content\":\"")
                              : FG_SPAN("\"text\":\""));
}

static void put_document_close(struct sink *sink, const struct fg_completion_answer *answer)
{
    put(sink, answer->is_chat ? FG_SPAN("\",\"refusal\":null}") : FG_SPAN("\""));
    put_format(sink, ",\"logprobs\":null,\"finish_reason\":\"%s\"}],", answer->finish_reason);
    put_usage(sink, answer);
    put(sink, FG_SPAN("}"));
}

static struct fg_span text_left(const struct fg_completion_answer *answer)
{
    if (answer->text_at == answer->text_len)
        return (struct fg_span){NULL, 0};
    return fg_span_make(answer->text + answer->text_at, answer->text_len - answer->text_at);
}

/* Text into `sink`, leaving room for `after` bytes; the bytes of text it stands for. */
static size_t put_escaped(struct sink *sink, struct fg_span text, size_t after)
{
    size_t consumed = 0;
    if (sink->is_full || sink->room - sink->used < after + FG_JSON_ESCAPE_CHAR_MAX) {
        sink->is_full = true;
        return 0;
    }
    sink->used +=
        fg_json_escape(text, sink->out + sink->used, sink->room - sink->used - after, &consumed);
    return consumed;
}

/* One piece of text, with its framing in a stream; false when it did not fit. */
static bool put_text(struct sink *sink, struct fg_completion_answer *answer)
{
    size_t consumed;
    if (answer->is_stream) {
        size_t before = sink->used;
        put_event_begin(sink, answer);
        put(sink, answer->is_chat ? FG_SPAN("\"delta\":{\"content\":\"") : FG_SPAN("\"text\":\""));
        consumed = put_escaped(sink, text_left(answer), CONSTANTS_BYTES / 4);
        put(sink, answer->is_chat ? FG_SPAN("\"}") : FG_SPAN("\""));
        put_event_end(sink, answer, NULL);
        if (sink->is_full) {
            sink->used = before;
            return false;
        }
    } else {
        consumed = put_escaped(sink, text_left(answer), 0);
        if (consumed == 0)
            return false;
    }
    answer->text_at += consumed;
    if (answer->text_at == answer->text_len) {
        answer->text_at = 0;
        answer->text_len = 0;
    }
    return true;
}

/* The next step's bytes; false when there is nothing to do now, or no room for it. */
static bool take_step(struct sink *sink, struct fg_completion_answer *answer)
{
    size_t before = sink->used;
    switch (answer->step) {
    case FG_ANSWER_OPEN:
        if (answer->is_stream)
            put_stream_open(sink, answer);
        else if (answer->is_finished)
            put_document_open(sink, answer);
        else
            return false;
        break;
    case FG_ANSWER_TEXT:
        if (answer->text_at < answer->text_len)
            return put_text(sink, answer);
        if (!answer->is_finished)
            return false;
        break;
    case FG_ANSWER_CLOSE:
        if (answer->is_stream)
            put_stream_close(sink, answer);
        else
            put_document_close(sink, answer);
        break;
    case FG_ANSWER_COMPLETE:
        return false;
    }
    if (sink->is_full) {
        sink->used = before;
        return false;
    }
    answer->step++;
    return true;
}

enum fg_status fg_completion_answer_init(struct fg_completion_answer *answer, const char *id,
                                         uint64_t created, const char *model)
{
    struct fg_span name = fg_span_from_string(model);
    size_t name_bytes = fg_json_escaped_bytes(name);
    char *escaped = fg_arena_try_alloc(answer->arena, name_bytes + 1);
    if (escaped == NULL)
        return FG_ERR_NO_MEMORY;
    size_t consumed;
    escaped[fg_json_escape(name, escaped, name_bytes, &consumed)] = '\0';
    const char *object = !answer->is_chat    ? "text_completion"
                         : answer->is_stream ? "chat.completion.chunk"
                                             : "chat.completion";
    answer->head = fg_arena_try_printf(
        answer->arena, "\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":\"%s\"", id,
        object, (unsigned long long)created, escaped);
    return answer->head.data == NULL ? FG_ERR_NO_MEMORY : FG_OK;
}

/* Room for `bytes` more behind the text; what was handed out makes place first. */
static enum fg_status make_room(struct fg_completion_answer *answer, size_t bytes)
{
    size_t held = answer->text_len - answer->text_at;
    if (bytes > answer->text_bytes_max - held)
        return FG_ERR_LIMIT;
    if (bytes <= answer->text_capacity - answer->text_len)
        return FG_OK;
    char *to = answer->text;
    if (bytes > answer->text_capacity - held) {
        size_t capacity =
            answer->text_capacity == 0 ? TEXT_CAPACITY_FIRST : answer->text_capacity * 2;
        if (capacity < held + bytes)
            capacity = held + bytes;
        to = fg_arena_try_alloc(answer->arena, capacity);
        if (to == NULL)
            return FG_ERR_NO_MEMORY;
        answer->text_capacity = capacity;
    }
    if (held > 0)
        memmove(to, answer->text + answer->text_at, held);
    answer->text = to;
    answer->text_at = 0;
    answer->text_len = held;
    return FG_OK;
}

enum fg_status fg_completion_answer_add(struct fg_completion_answer *answer, struct fg_span text)
{
    assert(!answer->is_finished);
    if (text.len == 0)
        return FG_OK;
    enum fg_status status = make_room(answer, text.len);
    if (status != FG_OK)
        return status;
    memcpy(answer->text + answer->text_len, text.data, text.len);
    answer->text_len += text.len;
    return FG_OK;
}

void fg_completion_answer_finish(struct fg_completion_answer *answer, const char *finish_reason,
                                 uint32_t prompt_tokens, uint32_t completion_tokens,
                                 uint32_t cached_tokens)
{
    assert(!answer->is_finished);
    answer->is_finished = true;
    answer->finish_reason = finish_reason;
    answer->prompt_tokens = prompt_tokens;
    answer->completion_tokens = completion_tokens;
    answer->cached_tokens = cached_tokens;
}

size_t fg_completion_answer_room_min(const struct fg_completion_answer *answer)
{
    return 2 * answer->head.len + CONSTANTS_BYTES;
}

size_t fg_completion_answer_fill(struct fg_completion_answer *answer, char *out, size_t room)
{
    assert(room >= fg_completion_answer_room_min(answer));
    struct sink sink = {out, 0, room, false};
    while (take_step(&sink, answer)) {
    }
    return sink.used;
}

size_t fg_completion_answer_document_bytes(const struct fg_completion_answer *answer)
{
    assert(!answer->is_stream && answer->is_finished && answer->step == FG_ANSWER_OPEN);
    char constants[CONSTANTS_BYTES];
    /* The head is counted, not written: it may be long. */
    struct fg_completion_answer measured = *answer;
    measured.head = FG_SPAN("");
    struct sink sink = {constants, 0, sizeof(constants), false};
    put_document_open(&sink, &measured);
    put_document_close(&sink, &measured);
    assert(!sink.is_full);
    return sink.used + answer->head.len + fg_json_escaped_bytes(text_left(answer));
}
