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
    struct fg_answer_buffer *buffer = &fg_answer_current(answer)->text;
    if (text.len == 0)
        return FG_OK;
    if (makes_events(answer))
        return append_made(answer, &answer->ready, fg_answer_put_piece_event,
                           &(struct fg_answer_piece){.text = text});
    if (text.len > answer->text_bytes_max - (buffer->len - buffer->at))
        return FG_ERR_LIMIT;
    enum fg_status status = make_room(answer, buffer, text.len);
    if (status != FG_OK)
        return status;
    memcpy(buffer->data + buffer->len, text.data, text.len);
    buffer->len += text.len;
    return FG_OK;
}

static enum fg_status on_text(void *owner, struct fg_span text)
{
    return add_text(owner, text);
}

static enum fg_status on_call(void *owner, struct fg_span name, struct fg_span arguments)
{
    struct fg_completion_answer *answer = owner;
    struct fg_answer_choice *choice = fg_answer_current(answer);
    const struct fg_answer_piece piece = {.call_name = name, .call_arguments = arguments};
    enum fg_status status =
        answer->is_stream ? append_made(answer, &answer->ready, fg_answer_put_piece_event, &piece)
                          : append_made(answer, &choice->called, fg_answer_put_call, &piece);
    choice->call_count++;
    return status;
}

static enum fg_status add_through_calls(struct fg_completion_answer *answer, struct fg_span text,
                                        bool is_last)
{
    if (!answer->takes_calls)
        return add_text(answer, text);
    const struct fg_tool_call_events events = {on_text, on_call, answer};
    struct fg_tool_call_reader *calls = &fg_answer_current(answer)->calls;
    calls->arena = answer->arena;
    return fg_tool_call_reader_feed(calls, text, is_last, &events);
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
    struct fg_answer_choice *choice = fg_answer_current(answer);
    struct fg_answer_piece piece = {.token = token,
                                    .text = answer->takes_calls ? FG_SPAN("") : token->text,
                                    .text_offset = choice->text_offset};
    enum fg_status status = FG_OK;
    if (answer->is_stream)
        return append_made(answer, &answer->ready, fg_answer_put_piece_event, &piece);
    unsigned columns = answer->is_chat ? 1 : FG_ANSWER_COLUMNS;
    for (piece.column = 0; piece.column < columns && status == FG_OK; piece.column++)
        status = append_made(answer, &choice->columns[piece.column], fg_answer_put_column, &piece);
    return status;
}

enum fg_status fg_completion_answer_add(struct fg_completion_answer *answer, uint32_t choice,
                                        const struct fg_channel_token *token)
{
    answer->choice = choice;
    assert(!fg_answer_current(answer)->is_finished);
    bool has_logprobs = answer->has_logprobs && token->logprob_count > 0;
    enum fg_status status = has_logprobs ? add_logprobs(answer, token) : FG_OK;
    fg_answer_current(answer)->text_offset += character_count(token->text);
    if (status != FG_OK || (has_logprobs && answer->is_stream && !answer->takes_calls))
        return status;
    return add_through_calls(answer, token->text, false);
}

/* In the order of their index, whichever comes first. */
static enum fg_status finish_embedding(struct fg_completion_answer *answer,
                                       const struct fg_completion_end *end)
{
    struct fg_span vector = end->text;
    enum fg_status status = FG_OK;
    answer->prompt_tokens += end->prompt_tokens;
    if (answer->choice != answer->written) {
        answer->vectors[answer->choice] = fg_arena_try_copy(answer->arena, vector);
        return answer->vectors[answer->choice].data == NULL ? FG_ERR_NO_MEMORY : FG_OK;
    }
    do {
        answer->choice = answer->written++;
        status = append_made(answer, &answer->ready, fg_answer_put_embedding,
                             &(struct fg_answer_piece){.text = vector});
        vector = answer->written < fg_answer_choice_count(answer) ? answer->vectors[answer->written]
                                                                  : (struct fg_span){NULL, 0};
    } while (status == FG_OK && vector.data != NULL);
    return status;
}

/* All choices, in their order, each whenever it was finished. */
static enum fg_status make_document(struct fg_completion_answer *answer)
{
    enum fg_status status = FG_OK;
    for (answer->choice = 0; status == FG_OK; answer->choice++) {
        status = append_made(answer, &answer->ready, fg_answer_put_choice, NULL);
        if (answer->choice + 1 == fg_answer_choice_count(answer))
            break;
    }
    return status;
}

static enum fg_status finish_text(struct fg_completion_answer *answer,
                                  const struct fg_completion_end *end)
{
    struct fg_answer_choice *choice = fg_answer_current(answer);
    assert(!choice->is_finished);
    enum fg_status status = add_through_calls(answer, end->text, true);
    choice->is_finished = true;
    choice->finish_reason = choice->call_count > 0 ? "tool_calls" : end->finish_reason;
    answer->prompt_tokens = end->prompt_tokens;
    answer->completion_tokens += end->completion_tokens;
    if (answer->choice == 0)
        answer->cached_tokens = end->cached_tokens;
    if (status == FG_OK && answer->is_stream && answer->choice_max > 1)
        status = append_made(answer, &answer->ready, fg_answer_put_choice_event, NULL);
    return status;
}

enum fg_status fg_completion_answer_finish(struct fg_completion_answer *answer, uint32_t choice,
                                           const struct fg_completion_end *end)
{
    assert(!answer->is_finished);
    answer->choice = choice;
    enum fg_status status =
        answer->is_embedding ? finish_embedding(answer, end) : finish_text(answer, end);
    answer->finished_count++;
    bool is_last = answer->finished_count == fg_answer_choice_count(answer);
    if (status == FG_OK && is_last && !answer->is_stream && !answer->is_embedding)
        status = make_document(answer);
    answer->is_finished = status == FG_OK && is_last;
    return status;
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

/* Only an answer of one choice has text that is made into events so late. */
static bool put_text(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    struct fg_answer_buffer *text = &answer->choices[0].text;
    answer->choice = 0;
    size_t consumed = fg_answer_put_text_event(sink, answer, left_in(text));
    take_from(text, consumed);
    return consumed > 0;
}

/* The first event of the next choice; true when that was the last one, or there is none. */
static bool put_open(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    answer->choice = answer->opened;
    fg_answer_put_stream_open(sink, answer);
    answer->opened += !sink->is_full;
    return answer->opened == fg_answer_choice_count(answer);
}

/* The next step's bytes; false when there is nothing to do now, or no room for it. */
static bool take_step(struct fg_answer_sink *sink, struct fg_completion_answer *answer)
{
    size_t before = sink->used;
    switch (answer->step) {
    case FG_ANSWER_OPEN:
        if (answer->is_stream && !put_open(sink, answer) && !sink->is_full)
            return true;
        if (!answer->is_stream && !answer->is_finished)
            return false;
        break;
    case FG_ANSWER_TEXT:
        if (answer->is_stream && answer->choices[0].text.at < answer->choices[0].text.len)
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
    uint32_t count = answer->is_embedding ? 1 : fg_answer_choice_count(answer);
    answer->choices = fg_arena_try_zalloc(answer->arena, count * sizeof(*answer->choices));
    if (answer->is_embedding)
        answer->vectors = fg_arena_try_zalloc(answer->arena, fg_answer_choice_count(answer) *
                                                                 sizeof(*answer->vectors));
    if (answer->choices == NULL || (answer->is_embedding && answer->vectors == NULL))
        return FG_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        answer->choices[i].calls.is_only = answer->forces_call;
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
