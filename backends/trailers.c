/*
 * trailers.c: see trailers.h.
 */
#include "backends/trailers.h"

#include "base/field_text.h"

#include <assert.h>

#define TEXT_FIRST ((size_t)256)
#define FIELDS_FIRST ((size_t)8)

/*
 * Framing, routing, credentials, what says how to read the content (RFC 9110 section 6.5.1), and
 * what the gateway itself says in a head: there are servers that make one list of both.
 */
static bool is_left_out(struct fg_span name)
{
    static const struct fg_span names[] = {
        FG_SPAN_LITERAL("authorization"),
        FG_SPAN_LITERAL("cache-control"),
        FG_SPAN_LITERAL("connection"),
        FG_SPAN_LITERAL("content-encoding"),
        FG_SPAN_LITERAL("content-length"),
        FG_SPAN_LITERAL("content-range"),
        FG_SPAN_LITERAL("content-type"),
        FG_SPAN_LITERAL("cookie"),
        FG_SPAN_LITERAL("expect"),
        FG_SPAN_LITERAL("forwarded"),
        FG_SPAN_LITERAL("host"),
        FG_SPAN_LITERAL("keep-alive"),
        FG_SPAN_LITERAL("location"),
        FG_SPAN_LITERAL("max-forwards"),
        FG_SPAN_LITERAL("proxy"),
        FG_SPAN_LITERAL("proxy-authenticate"),
        FG_SPAN_LITERAL("proxy-authorization"),
        FG_SPAN_LITERAL("proxy-connection"),
        FG_SPAN_LITERAL("range"),
        FG_SPAN_LITERAL("set-cookie"),
        FG_SPAN_LITERAL("te"),
        FG_SPAN_LITERAL("trailer"),
        FG_SPAN_LITERAL("transfer-encoding"),
        FG_SPAN_LITERAL("upgrade"),
        FG_SPAN_LITERAL("vary"),
        FG_SPAN_LITERAL("www-authenticate"),
        FG_SPAN_LITERAL("x-real-ip"),
        FG_SPAN_LITERAL("x-request-id"),
        FG_SPAN_LITERAL("x-request-timeout-ms"),
    };
    if (fg_field_reads_as_prefix(name, FG_SPAN("x-forwarded-")) ||
        fg_field_reads_as_prefix(name, FG_SPAN("if-")))
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (fg_field_reads_as(name, names[i]))
            return true;
    }
    return false;
}

/* Appends; name and value stay where they are. */
static enum fg_status keep(struct fg_trailers *trailers, struct fg_arena *arena,
                           struct fg_span name, struct fg_span value)
{
    if (is_left_out(name))
        return FG_OK;
    if (trailers->count % FIELDS_FIRST == 0) {
        struct fg_field *fields =
            fg_arena_try_alloc(arena, (trailers->count + FIELDS_FIRST) * sizeof(*fields));
        if (fields == NULL)
            return FG_ERR_NO_MEMORY;
        if (trailers->count > 0)
            memcpy(fields, trailers->fields, trailers->count * sizeof(*fields));
        trailers->fields = fields;
    }
    trailers->fields[trailers->count++] = (struct fg_field){name, value};
    return FG_OK;
}

/* Books a field against the limits. */
static enum fg_status book(struct fg_trailers *trailers, struct fg_span name, struct fg_span value)
{
    trailers->bytes += name.len + value.len;
    return ++trailers->seen > FG_TRAILERS_MAX || trailers->bytes > FG_TRAILER_BYTES_MAX
               ? FG_ERR_LIMIT
               : FG_OK;
}

enum fg_status fg_trailers_add_text(struct fg_trailers *trailers, struct fg_arena *arena,
                                    struct fg_span run)
{
    if (run.len > FG_TRAILER_BYTES_MAX - trailers->text_len)
        return FG_ERR_LIMIT;
    size_t wanted = trailers->text_len + run.len;
    if (wanted > trailers->text_capacity) {
        size_t capacity = trailers->text_capacity == 0 ? TEXT_FIRST : trailers->text_capacity * 2;
        if (capacity < wanted)
            capacity = wanted;
        char *text = fg_arena_try_alloc(arena, capacity);
        if (text == NULL)
            return FG_ERR_NO_MEMORY;
        if (trailers->text_len > 0)
            memcpy(text, trailers->text, trailers->text_len);
        trailers->text = text;
        trailers->text_capacity = capacity;
    }
    memcpy(trailers->text + trailers->text_len, run.data, run.len);
    trailers->text_len = wanted;
    return FG_OK;
}

/* "name: value" without its line end; the name is put in lower case where it stands. */
static enum fg_status take_line(struct fg_trailers *trailers, struct fg_arena *arena, char *line,
                                size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL)
        return FG_ERR_INVALID;
    struct fg_span name = {line, (size_t)(colon - line)};
    struct fg_span value = fg_span_trim(fg_span_make(colon + 1, len - name.len - 1));
    if (!fg_field_name_lower(name, line) || !fg_field_value_is_valid(value))
        return FG_ERR_INVALID;
    enum fg_status status = book(trailers, name, value);
    return status == FG_OK ? keep(trailers, arena, name, value) : status;
}

enum fg_status fg_trailers_finish_text(struct fg_trailers *trailers, struct fg_arena *arena)
{
    char *at = trailers->text;
    size_t left = trailers->text_len;
    while (left > 0) {
        const char *lf = memchr(at, '\n', left);
        assert(lf != NULL && lf > at && lf[-1] == '\r'); /* the decoder has seen to it */
        size_t len = (size_t)(lf - at) + 1;
        enum fg_status status = take_line(trailers, arena, at, len - 2);
        if (status != FG_OK)
            return status;
        at += len;
        left -= len;
    }
    trailers->text_len = 0;
    return FG_OK;
}

enum fg_status fg_trailers_add(struct fg_trailers *trailers, struct fg_arena *arena,
                               struct fg_span name, struct fg_span value)
{
    enum fg_status status = book(trailers, name, value);
    if (status != FG_OK)
        return status;
    value = fg_span_trim(value);
    char *text = fg_arena_try_alloc(arena, name.len + value.len + 1);
    if (text == NULL)
        return FG_ERR_NO_MEMORY;
    if (!fg_field_name_lower(name, text) || !fg_field_value_is_valid(value))
        return FG_ERR_INVALID;
    if (value.len > 0)
        memcpy(text + name.len, value.data, value.len);
    return keep(trailers, arena, fg_span_make(text, name.len),
                fg_span_make(text + name.len, value.len));
}
