/*
 * priority_field.c: see priority_field.h. Values that say nothing to us are only skipped, by the
 * bytes that each type may have; a list in parentheses is among them.
 * Source   RFC 8941 sections 3.2 and 4.2 (dictionaries), RFC 9218 section 4.
 */
#include "http/priority_field.h"

#include <string.h>

#define DIGITS_MAX 15u

enum item_type {
    ITEM_NONE, /* malformed */
    ITEM_INTEGER,
    ITEM_BOOLEAN,
    ITEM_OTHER,
};

struct item {
    enum item_type type;
    int64_t number; /* or 0 and 1 */
};

struct cursor {
    const char *at;
    const char *end;
};

static bool is_between(char c, char first, char last)
{
    return c >= first && c <= last;
}

static bool is_digit(char c)
{
    return is_between(c, '0', '9');
}

static bool is_alpha(char c)
{
    return is_between(c, 'a', 'z') || is_between(c, 'A', 'Z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool take(struct cursor *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static void skip(struct cursor *cursor, const char *set)
{
    while (cursor->at < cursor->end && is_one_of(*cursor->at, set))
        cursor->at++;
}

/* Empty: there is none. */
static struct fg_span read_key(struct cursor *cursor)
{
    const char *from = cursor->at;
    if (from == cursor->end || (!is_between(*from, 'a', 'z') && *from != '*'))
        return fg_span_make(from, 0);
    while (cursor->at < cursor->end && (is_between(*cursor->at, 'a', 'z') ||
                                        is_digit(*cursor->at) || is_one_of(*cursor->at, "_-.*")))
        cursor->at++;
    return fg_span_make(from, (size_t)(cursor->at - from));
}

static struct item read_number(struct cursor *cursor)
{
    bool is_negative = take(cursor, '-');
    const char *from = cursor->at;
    int64_t number = 0;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++) {
        if ((size_t)(cursor->at - from) == DIGITS_MAX)
            return (struct item){ITEM_NONE, 0};
        number = number * 10 + (*cursor->at - '0');
    }
    if (cursor->at == from)
        return (struct item){ITEM_NONE, 0};
    if (!take(cursor, '.'))
        return (struct item){ITEM_INTEGER, is_negative ? -number : number};
    const char *fraction = cursor->at;
    while (cursor->at < cursor->end && is_digit(*cursor->at))
        cursor->at++;
    bool is_decimal = cursor->at > fraction && cursor->at - fraction <= 3;
    return (struct item){is_decimal ? ITEM_OTHER : ITEM_NONE, 0};
}

static struct item read_string(struct cursor *cursor)
{
    while (cursor->at < cursor->end) {
        char c = *cursor->at++;
        if (c == '"')
            return (struct item){ITEM_OTHER, 0};
        if (!is_between(c, ' ', '~'))
            break;
        if (c == '\\' && !take(cursor, '"') && !take(cursor, '\\'))
            break;
    }
    return (struct item){ITEM_NONE, 0};
}

static struct item read_bytes(struct cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (is_alpha(*cursor->at) || is_digit(*cursor->at) || is_one_of(*cursor->at, "+/=")))
        cursor->at++;
    return (struct item){take(cursor, ':') ? ITEM_OTHER : ITEM_NONE, 0};
}

static struct item read_boolean(struct cursor *cursor)
{
    if (take(cursor, '1'))
        return (struct item){ITEM_BOOLEAN, 1};
    return (struct item){take(cursor, '0') ? ITEM_BOOLEAN : ITEM_NONE, 0};
}

static struct item read_bare_item(struct cursor *cursor)
{
    if (take(cursor, '?'))
        return read_boolean(cursor);
    if (take(cursor, '"'))
        return read_string(cursor);
    if (take(cursor, ':'))
        return read_bytes(cursor);
    if (cursor->at == cursor->end)
        return (struct item){ITEM_NONE, 0};
    if (*cursor->at == '-' || is_digit(*cursor->at))
        return read_number(cursor);
    if (!is_alpha(*cursor->at) && *cursor->at != '*')
        return (struct item){ITEM_NONE, 0};
    while (cursor->at < cursor->end && (is_alpha(*cursor->at) || is_digit(*cursor->at) ||
                                        is_one_of(*cursor->at, "!#$%&'*+-.^_`|~:/")))
        cursor->at++;
    return (struct item){ITEM_OTHER, 0};
}

/* ";a=1;b" */
static bool skip_parameters(struct cursor *cursor)
{
    while (take(cursor, ';')) {
        skip(cursor, " ");
        if (read_key(cursor).len == 0)
            return false;
        if (take(cursor, '=') && read_bare_item(cursor).type == ITEM_NONE)
            return false;
    }
    return true;
}

/* Behind its parenthesis. */
static struct item read_list(struct cursor *cursor)
{
    for (;;) {
        skip(cursor, " ");
        if (take(cursor, ')'))
            return (struct item){ITEM_OTHER, 0};
        if (read_bare_item(cursor).type == ITEM_NONE || !skip_parameters(cursor))
            break;
        if (cursor->at == cursor->end || !is_one_of(*cursor->at, " )"))
            break;
    }
    return (struct item){ITEM_NONE, 0};
}

static struct item read_member(struct cursor *cursor)
{
    struct item item = {ITEM_BOOLEAN, 1};
    if (take(cursor, '='))
        item = take(cursor, '(') ? read_list(cursor) : read_bare_item(cursor);
    if (item.type != ITEM_NONE && !skip_parameters(cursor))
        item.type = ITEM_NONE;
    return item;
}

static void apply(struct fg_priority_field *field, struct fg_span key, struct item item)
{
    if (fg_span_equal(key, FG_SPAN("u")) && item.type == ITEM_INTEGER && item.number >= 0 &&
        item.number <= FG_PRIORITY_URGENCY_MAX)
        field->urgency = (uint8_t)item.number;
    else if (fg_span_equal(key, FG_SPAN("i")) && item.type == ITEM_BOOLEAN)
        field->is_incremental = item.number == 1;
}

/* False: malformed. */
static bool read_members(struct cursor *cursor, struct fg_priority_field *field)
{
    skip(cursor, " ");
    while (cursor->at < cursor->end) {
        struct fg_span key = read_key(cursor);
        if (key.len == 0)
            return false;
        struct item item = read_member(cursor);
        if (item.type == ITEM_NONE)
            return false;
        apply(field, key, item);
        skip(cursor, " \t");
        if (cursor->at == cursor->end)
            return true;
        if (!take(cursor, ','))
            return false;
        skip(cursor, " \t");
        if (cursor->at == cursor->end)
            return false; /* a comma at the end */
    }
    return true;
}

bool fg_priority_field_parse(struct fg_span text, struct fg_priority_field *field)
{
    static const struct fg_priority_field usual = {FG_PRIORITY_URGENCY_DEFAULT, false};
    struct cursor cursor = {text.data, text.data + text.len};
    *field = usual;
    if (read_members(&cursor, field))
        return true;
    *field = usual;
    return false;
}
