/*
 * completion_answer.c: a step writes a whole piece or, when it does not fit, nothing; what was made
 * ahead goes out in any portions.
 */
#include "completion_answer.h"

#include "answer_json.h"
#include "json_escape.h"

#include <assert.h>

#define CAPACITY_FIRST ((size_t)256)
/* More than all constants and numbers of one fill step beside its heads. */
#define CONSTANTS_BYTES ((size_t)768)

/* ---- buffers ---- */

static struct fg_span left_in(const struct fg_answer_buffer *buffer)
{
    if (buffer->at == buffer->len)
        return (struct fg_span){NULL, 0};
    return fg_span_make(buffer->data + buffer->at, buffer->len - buffer->at);
}

static void take_from(struct fg_answer_buffer *buffer, size_t bytes)
{
    buffer->at += bytes;
    if (buffer->at == buffer->len) {
        buffer->at = 0;
        buffer->len = 0;
    }
}

/* Room for `bytes` more at the end; what was handed out makes place first. */
static enum fg_status make_room(struct fg_completion_answer *answer,
                                struct fg_answer_buffer *buffer, size_t bytes)
{
    size_t held = buffer->len - buffer->at;
    if (bytes <= buffer->capacity - buffer->len)
        return FG_OK;
    char *to = buffer->data;
    if (bytes > buffer->capacity - held) {
        size_t capacity = buffer->capacity == 0 ? CAPACITY_FIRST : buffer->capacity * 2;
        if (capacity < held + bytes)
            capacity = held + bytes;
        to = fg_arena_try_alloc(answer->arena, capacity);
        if (to == NULL)
            return FG_ERR_NO_MEMORY;
        buffer->capacity = capacity;
    }
    if (held > 0)
        memmove(to, buffer->data + buffer->at, held);
    buffer->data = to;
    buffer->at = 0;
    buffer->len = held;
    return FG_OK;
}

typedef void (*put_fn)(struct fg_answer_sink *sink, const struct fg_completion_answer *answer,
                       const struct fg_answer_piece *piece);

/* What `put` makes of the piece, at the end of the buffer: counted first, then written. */
static enum fg_status append_made(struct fg_completion_answer *answer,
                                  struct fg_answer_buffer *buffer, put_fn put,
                                  const struct fg_answer_piece *piece)
{
    struct fg_answer_sink counted = {NULL, 0, SIZE_MAX, false};
    put(&counted, answer, piece);
    enum fg_status status = make_room(answer, buffer, counted.used);
    if (status != FG_OK)
        return status;
    struct fg_answer_sink sink = {buffer->data + buffer->len, 0, counted.used, false};
    put(&sink, answer, piece);
    assert(!sink.is_full && sink.used == counted.used);
    buffer->len += sink.used;
    return FG_OK;
}

/* ---- what comes in ---- */

/* Whether each piece of a stream is made into an event when it comes. */
static bool makes_events(const struct fg_completion_answer *answer)
{
    return answer->is_stream &&
           (answer->has_logprobs || answer->takes_calls || answer->choice_max > 1);
}

static enum fg_status add_text(struct fg_completion_answer *answer, struct fg_span text)
{
    if (text.len == 0)
        return FG_OK;
    if (makes_events(answer))
        return append_made(answer, &answer->ready, fg_answer_put_piece_event,
                           &(struct fg_answer_piece){.text = text});
    if (text.len > answer->text_bytes_max - (answer->text.len - answer->text.at))
        return FG_ERR_LIMIT;
    enum fg_status status = make_room(answer, &answer->text, text.len);
    if (status != FG_OK)
        return status;
    memcpy(answer->text.data + answer->text.len, text.data, text.len);
    answer->text.len += text.len;
    return FG_OK;
}

static enum fg_status on_text(void *owner, struct fg_span text)
{
    return add_text(owner, text);
}

static enum fg_status on_call(void *owner, struct fg_span name, struct fg_span arguments)
{
    struct fg_completion_answer *answer = owner;
    const struct fg_answer_piece piece = {.call_name = name, .call_arguments = arguments};
    enum fg_status status =
        answer->is_stream ? append_made(answer, &answer->ready, fg_answer_put_piece_event, &piece)
                          : append_made(answer, &answer->called, fg_answer_put_call, &piece);
    answer->call_count++;
    return status;
}

static enum fg_status add_through_calls(struct fg_completion_answer *answer, struct fg_span text,
                                        bool is_last)
{
    if (!answer->takes_calls)
        return add_text(answer, text);
    const struct fg_tool_call_events events = {on_text, on_call, answer};
    answer->calls.arena = answer->arena;
    return fg_tool_call_reader_feed(&answer->calls, text, is_last, &events);
}

static size_t character_count(struct fg_span text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

/* The token's logprobs; its text goes along unless calls are looked for in it. */
static enum fg_status add_logprobs(struct fg_completion_answer *answer,
                                   const struct fg_channel_token *token)
{
    struct fg_answer_piece piece = {.token = token,
                                    .text = answer->takes_calls ? FG_SPAN("") : token->text,
                                    .text_offset = answer->text_offset};
    enum fg_status status = FG_OK;
    if (answer->is_stream)
        return append_made(answer, &answer->ready, fg_answer_put_piece_event, &piece);
    unsigned columns = answer->is_chat ? 1 : FG_ANSWER_COLUMNS;
    for (piece.column = 0; piece.column < columns && status == FG_OK; piece.column++)
        status = append_made(answer, &answer->columns[piece.column], fg_answer_put_column, &piece);
    return status;
}

enum fg_status fg_completion_answer_add(struct fg_completion_answer *answer,
                                        const struct fg_channel_token *token)
{
    assert(!answer->is_finished);
    bool has_logprobs = answer->has_logprobs && token->logprob_count > 0;
    enum fg_status status = has_logprobs ? add_logprobs(answer, token) : FG_OK;
    answer->text_offset += character_count(token->text);
    if (status != FG_OK || (has_logprobs && answer->is_stream && !answer->takes_calls))
        return status;
    return add_through_calls(answer, token->text, false);
}

static void empty(struct fg_answer_buffer *buffer)
{
    buffer->at = 0;
    buffer->len = 0;
}

/* What was the finished choice's alone is gone. */
static void begin_next(struct fg_completion_answer *answer)
{
    answer->choice++;
    answer->call_count = 0;
    answer->text_offset = 0;
    answer->calls.is_in_call = false;
    answer->calls.is_after_call = false;
    answer->calls.held_len = 0;
    empty(&answer->called);
    for (unsigned i = 0; i < FG_ANSWER_COLUMNS; i++)
        empty(&answer->columns[i]);
    if (!answer->is_stream)
        empty(&answer->text);
}

enum fg_status fg_completion_answer_finish(struct fg_completion_answer *answer,
                                           const struct fg_completion_end *end)
{
    assert(!answer->is_finished);
    enum fg_status status =
        answer->is_embedding ? FG_OK : add_through_calls(answer, end->text, true);
    if (status != FG_OK)
        return status;
    answer->finish_reason = answer->call_count > 0 ? "tool_calls" : end->finish_reason;
    answer->prompt_tokens = end->prompt_tokens + (answer->is_embedding ? answer->prompt_tokens : 0);
    answer->completion_tokens += end->completion_tokens;
    if (answer->choice == 0)
        answer->cached_tokens = end->cached_tokens;
    if (answer->is_embedding)
        status = append_made(answer, &answer->ready, fg_answer_put_embedding,
                             &(struct fg_answer_piece){.text = end->text});
    else if (!answer->is_stream)
        status = append_made(answer, &answer->ready, fg_answer_put_choice, NULL);
    else if (answer->choice_max > 1)
        status = append_made(answer, &answer->ready, fg_answer_put_choice_event, NULL);
    if (status != FG_OK)
        return status;
    if (answer->choice + 1 < answer->choice_max)
        begin_next(answer);
    else
        answer->is_finished = true;
    return FG_OK;
}

/* ---- what goes out ---- */

/* What was made ahead, as much as fits; false when that is nothing. */
static bool put_ready(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    struct fg_span left = left_in(&answer->ready);
    size_t room = sink->room - sink->used;
    if (left.len > room)
        left.len = room;
    fg_answer_put(sink, left);
    take_from(&answer->ready, left.len);
    return left.len > 0;
}

static bool put_text(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    size_t consumed = fg_answer_put_text_event(sink, answer, left_in(&answer->text));
    take_from(&answer->text, consumed);
    return consumed > 0;
}

/* The next step's bytes; false when there is nothing to do now, or no room for it. */
static bool take_step(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    size_t before = sink->used;
    switch (answer->step) {
    case FG_ANSWER_OPEN:
        if (answer->is_stream)
            fg_answer_put_stream_open(sink, answer);
        else if (!answer->is_finished)
            return false;
        break;
    case FG_ANSWER_TEXT:
        if (answer->is_stream && answer->text.at < answer->text.len)
            return put_text(sink, answer);
        if (answer->ready.at < answer->ready.len)
            return put_ready(sink, answer);
        if (!answer->is_finished)
            return false;
        break;
    case FG_ANSWER_CLOSE:
        if (answer->is_stream)
            fg_answer_put_stream_close(sink, answer);
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
    answer->id = fg_arena_try_copy(answer->arena, fg_span_from_string(id));
    answer->model = fg_arena_try_printf(answer->arena, "\"%s\"", escaped);
    answer->head = fg_arena_try_printf(
        answer->arena, "\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":\"%s\"", id,
        object, (unsigned long long)created, escaped);
    return answer->id.data == NULL || answer->model.data == NULL || answer->head.data == NULL
               ? FG_ERR_NO_MEMORY
               : FG_OK;
}

size_t fg_completion_answer_room_min(const struct fg_completion_answer *answer)
{
    return 2 * answer->head.len + CONSTANTS_BYTES;
}

size_t fg_completion_answer_fill(struct fg_completion_answer *answer, char *out, size_t room)
{
    assert(room >= fg_completion_answer_room_min(answer));
    struct fg_answer_sink sink = {out, 0, room, false};
    while (take_step(&sink, answer)) {
    }
    return sink.used;
}

size_t fg_completion_answer_document_bytes(const struct fg_completion_answer *answer)
{
    assert(!answer->is_stream && answer->is_finished && answer->step == FG_ANSWER_OPEN);
    return left_in(&answer->ready).len;
}
