/*
 * tool_calls.c: all that may still become a mark is held, and the blanks before it.
 */
#include "tool_calls.h"

#include "inference/grammar/json_spell.h"

#include <jansson.h>
#include <stdlib.h>

static const struct fg_span opening = FG_SPAN_LITERAL("<tool_call>");
static const struct fg_span closing = FG_SPAN_LITERAL("</tool_call>");

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool hold(struct fg_tool_call_reader *reader, struct fg_span text)
{
    size_t wanted = reader->held_len + text.len;
    if (wanted > reader->held_capacity) {
        size_t capacity = reader->held_capacity < 256 ? 256 : 2 * reader->held_capacity;
        capacity = capacity < wanted ? wanted : capacity;
        char *grown = fg_arena_try_alloc(reader->arena, capacity);
        if (grown == NULL)
            return false;
        if (reader->held_len > 0)
            memcpy(grown, reader->held, reader->held_len);
        reader->held = grown;
        reader->held_capacity = capacity;
    }
    if (text.len > 0)
        memcpy(reader->held + reader->held_len, text.data, text.len);
    reader->held_len = wanted;
    return true;
}

static void drop(struct fg_tool_call_reader *reader, size_t len)
{
    reader->held_len -= len;
    if (reader->held_len > 0)
        memmove(reader->held, reader->held + len, reader->held_len);
}

/* Where `mark` begins in what is held, or SIZE_MAX. */
static size_t find(const struct fg_tool_call_reader *reader, struct fg_span mark)
{
    if (reader->held_len < mark.len)
        return SIZE_MAX;
    const char *at = memmem(reader->held, reader->held_len, mark.data, mark.len);
    return at == NULL ? SIZE_MAX : (size_t)(at - reader->held);
}

/* How much at the end of what is held may be blanks and the beginning of a mark. */
static size_t undecided(const struct fg_tool_call_reader *reader)
{
    size_t part = reader->held_len < opening.len - 1 ? reader->held_len : opening.len - 1;
    while (part > 0 && memcmp(reader->held + reader->held_len - part, opening.data, part) != 0)
        part--;
    while (part < reader->held_len && is_blank(reader->held[reader->held_len - part - 1]))
        part++;
    return part;
}

static enum fg_status say(struct fg_tool_call_reader *reader, size_t len,
                          const struct fg_tool_call_events *events)
{
    size_t from = 0;
    while (reader->is_after_call && from < len && is_blank(reader->held[from]))
        from++;
    if (from == len)
        return FG_OK;
    reader->is_after_call = false;
    return events->on_text(events->owner, fg_span_make(reader->held + from, len - from));
}

/* False when the text is no call. */
static bool read_call(struct fg_span text, const struct fg_tool_call_events *events,
                      enum fg_status *status)
{
    json_t *call = json_loadb(text.data, text.len, 0, NULL);
    json_t *name = json_object_get(call, "name");
    json_t *arguments = json_object_get(call, "arguments");
    char *spelled = json_is_object(arguments) ? fg_json_spell(arguments) : NULL;
    bool is_call = json_is_string(name) && spelled != NULL;
    if (is_call)
        *status = events->on_call(events->owner,
                                  fg_span_make(json_string_value(name), json_string_length(name)),
                                  fg_span_from_string(spelled));
    free(spelled);
    json_decref(call);
    return is_call;
}

/* What stands in the held bytes up to `len` is a call, `mark_len` of it its closing mark. */
static enum fg_status end_call(struct fg_tool_call_reader *reader, size_t len, size_t mark_len,
                               const struct fg_tool_call_events *events)
{
    enum fg_status status = FG_OK;
    reader->is_in_call = false;
    if (read_call(fg_span_make(reader->held, len - mark_len), events, &status)) {
        reader->is_after_call = true;
    } else {
        if (!reader->is_only)
            status = events->on_text(events->owner, opening);
        if (status == FG_OK && len > 0)
            status = events->on_text(events->owner, fg_span_make(reader->held, len));
    }
    drop(reader, len);
    return status;
}

static enum fg_status go_on(struct fg_tool_call_reader *reader, bool is_last,
                            const struct fg_tool_call_events *events, bool *is_done)
{
    size_t at = find(reader, reader->is_in_call ? closing : opening);
    enum fg_status status;
    if (reader->is_in_call) {
        if (at != SIZE_MAX)
            return end_call(reader, at + closing.len, closing.len, events);
        *is_done = true;
        return is_last ? end_call(reader, reader->held_len, 0, events) : FG_OK;
    }
    if (at != SIZE_MAX) {
        size_t len = at;
        while (len > 0 && is_blank(reader->held[len - 1]))
            len--;
        status = say(reader, len, events);
        drop(reader, at + opening.len);
        reader->is_in_call = true;
        return status;
    }
    *is_done = true;
    size_t len = reader->held_len - (is_last ? 0 : undecided(reader));
    status = say(reader, len, events);
    drop(reader, len);
    return status;
}

enum fg_status fg_tool_call_reader_feed(struct fg_tool_call_reader *reader, struct fg_span text,
                                        bool is_last, const struct fg_tool_call_events *events)
{
    enum fg_status status = FG_OK;
    bool is_done = false;
    if (!hold(reader, text))
        return FG_ERR_NO_MEMORY;
    if (reader->is_only)
        return is_last && reader->held_len > 0 ? end_call(reader, reader->held_len, 0, events)
                                               : FG_OK;
    while (status == FG_OK && !is_done)
        status = go_on(reader, is_last, events, &is_done);
    return status;
}
