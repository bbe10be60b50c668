/*
 * trace_context.c: see trace_context.h.
 *
 *    version  trace id                         parent id        flags
 *    00     - 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 */
#include "pipeline/trace_context.h"

#define TRACE_ID_AT ((size_t)3)
#define TRACE_ID_BYTES ((size_t)32)
#define PARENT_ID_AT ((size_t)36)
#define PARENT_ID_BYTES ((size_t)16)
#define FLAGS_AT ((size_t)53)
#define FLAGS_KNOWN 3

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (digit_of(text[i]) == -1)
            return false;
    }
    return true;
}

/* All zeros are no id. */
static bool is_id(const char *text, size_t len)
{
    size_t zeros = 0;
    while (zeros < len && text[zeros] == '0')
        zeros++;
    return zeros < len && is_hex(text, len);
}

/* What is behind the flags is a later version's business, and nothing in this one. */
static bool is_version(struct fg_span text)
{
    if (!is_hex(text.data, 2) || fg_span_starts_with(text, FG_SPAN("ff")))
        return false;
    if (text.len == FG_TRACEPARENT_BYTES)
        return true;
    return !fg_span_starts_with(text, FG_SPAN("00")) && text.data[FG_TRACEPARENT_BYTES] == '-';
}

static bool parse(struct fg_span text, struct fg_trace_context *context)
{
    if (text.len < FG_TRACEPARENT_BYTES || !is_version(text) || text.data[TRACE_ID_AT - 1] != '-' ||
        text.data[PARENT_ID_AT - 1] != '-' || text.data[FLAGS_AT - 1] != '-' ||
        !is_id(text.data + TRACE_ID_AT, TRACE_ID_BYTES) ||
        !is_id(text.data + PARENT_ID_AT, PARENT_ID_BYTES) || !is_hex(text.data + FLAGS_AT, 2))
        return false;
    context->trace_id = fg_span_make(text.data + TRACE_ID_AT, TRACE_ID_BYTES);
    context->flags = (char)('0' + (digit_of(text.data[FLAGS_AT + 1]) & FLAGS_KNOWN));
    return true;
}

bool fg_trace_context_read(const struct fg_exchange *ex, struct fg_trace_context *context)
{
    struct fg_span given = {NULL, 0};
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, FG_SPAN("traceparent")))
            continue;
        if (given.data != NULL)
            return false;
        given = ex->fields[i].value;
    }
    return given.data != NULL && parse(given, context);
}
