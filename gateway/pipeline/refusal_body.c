/*
 * refusal_body.c: put together without printf: in a flood most answers are refusals.
 */
#include "refusal_body.h"

#include "base/clock.h"
#include "base/text.h"
#include "pipeline/flow.h"

#include <assert.h>

/* The most that all parts come to; a message is cut before the rest would not fit. */
#define BODY_BYTES_MAX ((size_t)1312)
#define MESSAGE_BYTES_MAX ((size_t)400)
#define NAME_BYTES_MAX ((size_t)64)
#define PARAM_BYTES_MAX ((size_t)200)

static void add_string(struct fg_text *text, const char *string)
{
    fg_text_add(text, fg_span_from_string(string));
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

static void add_escape(struct fg_text *text, char c)
{
    static const char hex[] = "0123456789abcdef";
    const char longer[6] = {'\\', 'u', '0', '0', hex[(unsigned char)c >> 4 & 15], hex[c & 15]};
    const char shorter[2] = {'\\', c};
    bool is_control = (unsigned char)c < 0x20;
    fg_text_add(text, is_control ? fg_span_make(longer, sizeof(longer))
                                 : fg_span_make(shorter, sizeof(shorter)));
}

/* Nearly every message is one run: it is looked through by vectors, not byte by byte. */
static bool is_all_plain(struct fg_span span)
{
    return fg_span_find_control(span) == span.len && memchr(span.data, '"', span.len) == NULL &&
           memchr(span.data, '\\', span.len) == NULL;
}

/* With what JSON must escape escaped, cut to fit between two characters. */
static void add_escaped(struct fg_text *text, struct fg_span string, size_t bytes_max)
{
    const size_t end = text->len + bytes_max;
    if (string.len < bytes_max && is_all_plain(string)) {
        fg_text_add(text, string);
        return;
    }
    size_t at = 0;
    while (at < string.len && text->len + 6 < end) {
        size_t first = at;
        while (at < string.len && at - first < end - text->len && is_plain(string.data[at]))
            at++;
        bool is_cut = at < string.len && is_plain(string.data[at]);
        while (is_cut && at > first && ((unsigned char)string.data[at] & 0xc0) == 0x80)
            at--;
        fg_text_add(text, fg_span_make(string.data + first, at - first));
        if (is_cut)
            return;
        if (at < string.len && text->len + 6 < end)
            add_escape(text, string.data[at++]);
    }
}

static void add_param(struct fg_text *text, const char *param)
{
    if (param == NULL)
        return;
    fg_text_add(text, FG_SPAN(",\"param\":\""));
    add_escaped(text, fg_span_from_string(param), PARAM_BYTES_MAX);
    fg_text_add(text, FG_SPAN("\""));
}

static void add_number(struct fg_text *text, struct fg_span name, uint64_t value)
{
    fg_text_add(text, name);
    fg_text_add_u64(text, value);
}

static void add_place(struct fg_text *text, const struct fg_refusal *refusal)
{
    add_number(text, FG_SPAN(",\"queue\":{\"position\":"), refusal->position);
    if (refusal->position_error > 0)
        add_number(text, FG_SPAN(",\"position_error\":"), refusal->position_error);
    if (refusal->wait_ns != UINT64_MAX)
        add_number(text, FG_SPAN(",\"eta_ms\":"), refusal->wait_ns / FG_MS);
    if (refusal->wait_ns != UINT64_MAX && refusal->wait_error_ns > 0)
        add_number(text, FG_SPAN(",\"eta_error_ms\":"), refusal->wait_error_ns / FG_MS);
    if (refusal->ticket.data != NULL) {
        fg_text_add(text, FG_SPAN(",\"ticket\":\""));
        fg_text_add(text, refusal->ticket);
        fg_text_add(text, FG_SPAN("\""));
    }
    if (refusal->ticket_was != NULL) {
        fg_text_add(text, FG_SPAN(",\"ticket_was\":\""));
        add_string(text, refusal->ticket_was);
        fg_text_add(text, FG_SPAN("\""));
    }
    fg_text_add(text, FG_SPAN("}"));
}

static void add_lead(struct fg_text *text, const struct fg_refusal *refusal, const char *code)
{
    fg_text_add(text, FG_SPAN("{\"error\":{\"type\":\""));
    add_string(text, refusal->type);
    fg_text_add(text, FG_SPAN("\",\"code\":\""));
    add_string(text, code);
    fg_text_add(text, FG_SPAN("\",\"message\":\""));
    add_escaped(text, fg_span_from_string(refusal->message), MESSAGE_BYTES_MAX);
    fg_text_add(text, FG_SPAN("\""));
    add_param(text, refusal->param);
    if (refusal->policy == NULL)
        return;
    fg_text_add(text, FG_SPAN(",\"policy\":\""));
    fg_text_add(text, fg_span_make(refusal->policy, strnlen(refusal->policy, NAME_BYTES_MAX)));
    fg_text_add(text, FG_SPAN("\""));
}

size_t fg_refusal_lead(const struct fg_refusal *refusal, const char *code,
                       char to[FG_REFUSAL_LEAD_MAX])
{
    struct fg_text text = fg_text_over(to, FG_REFUSAL_LEAD_MAX);
    add_lead(&text, refusal, code);
    assert(!text.is_cut);
    return text.len;
}

struct fg_span fg_refusal_body(struct fg_arena *arena, const struct fg_refusal *refusal,
                               const char *code, uint64_t retry_after_ns, struct fg_span request_id)
{
    char buffer[BODY_BYTES_MAX];
    struct fg_text text = fg_text_over(buffer, sizeof(buffer));
    if (refusal->lead.data != NULL)
        fg_text_add(&text, refusal->lead);
    else
        add_lead(&text, refusal, code);
    if (refusal->value != 0 || refusal->limit != 0) {
        add_number(&text, FG_SPAN(",\"value\":"), refusal->value);
        add_number(&text, FG_SPAN(",\"limit\":"), refusal->limit);
    }
    if (retry_after_ns > 0)
        add_number(&text, FG_SPAN(",\"retry_after_ms\":"), retry_after_ns / FG_MS);
    if (refusal->position != UINT64_MAX)
        add_place(&text, refusal);
    fg_text_add(&text, FG_SPAN(",\"request_id\":\""));
    fg_text_add(&text, request_id);
    fg_text_add(&text, FG_SPAN("\"}}"));
    assert(!text.is_cut);
    return fg_arena_try_copy(arena, fg_text_span(&text));
}
