/*
 * structured_field.c: dictionaries of structured fields, member by member.
 * Job      keys, and values that are integers or booleans; of all others only that they are well
 *          formed, by the bytes that each type may have. Parameters are skipped.
 * Thread   any; pure functions.
 * Never    allocates or reads beyond the text.
 * Source   RFC 8941 sections 3.2 and 4.2 (dictionaries); a list in parentheses is among the values.
 */
#include "policies/structured_field.h"

#include <string.h>

#define DIGITS_MAX 15u

struct item {
    enum fg_sf_type type;
    int64_t number;
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

static bool take(struct fg_sf_dictionary *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static void skip(struct fg_sf_dictionary *cursor, const char *set)
{
    while (cursor->at < cursor->end && is_one_of(*cursor->at, set))
        cursor->at++;
}

/* Its length; 0: there is none. */
static size_t read_key(struct fg_sf_dictionary *cursor)
{
    const char *from = cursor->at;
    if (from == cursor->end || (!is_between(*from, 'a', 'z') && *from != '*'))
        return 0;
    while (cursor->at < cursor->end && (is_between(*cursor->at, 'a', 'z') ||
                                        is_digit(*cursor->at) || is_one_of(*cursor->at, "_-.*")))
        cursor->at++;
    return (size_t)(cursor->at - from);
}

static struct item read_number(struct fg_sf_dictionary *cursor)
{
    bool is_negative = take(cursor, '-');
    const char *from = cursor->at;
    int64_t number = 0;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++) {
        if ((size_t)(cursor->at - from) == DIGITS_MAX)
            return (struct item){FG_SF_MALFORMED, 0};
        number = number * 10 + (*cursor->at - '0');
    }
    if (cursor->at == from)
        return (struct item){FG_SF_MALFORMED, 0};
    if (!take(cursor, '.'))
        return (struct item){FG_SF_INTEGER, is_negative ? -number : number};
    const char *fraction = cursor->at;
    while (cursor->at < cursor->end && is_digit(*cursor->at))
        cursor->at++;
    bool is_decimal = cursor->at > fraction && cursor->at - fraction <= 3;
    return (struct item){is_decimal ? FG_SF_OTHER : FG_SF_MALFORMED, 0};
}

static struct item read_string(struct fg_sf_dictionary *cursor)
{
    while (cursor->at < cursor->end) {
        char c = *cursor->at++;
        if (c == '"')
            return (struct item){FG_SF_OTHER, 0};
        if (!is_between(c, ' ', '~'))
            break;
        if (c == '\\' && !take(cursor, '"') && !take(cursor, '\\'))
            break;
    }
    return (struct item){FG_SF_MALFORMED, 0};
}

static struct item read_bytes(struct fg_sf_dictionary *cursor)
{
    while (cursor->at < cursor->end &&
           (is_alpha(*cursor->at) || is_digit(*cursor->at) || is_one_of(*cursor->at, "+/=")))
        cursor->at++;
    return (struct item){take(cursor, ':') ? FG_SF_OTHER : FG_SF_MALFORMED, 0};
}

static struct item read_boolean(struct fg_sf_dictionary *cursor)
{
    if (take(cursor, '1'))
        return (struct item){FG_SF_BOOLEAN, 1};
    return (struct item){take(cursor, '0') ? FG_SF_BOOLEAN : FG_SF_MALFORMED, 0};
}

static struct item read_bare_item(struct fg_sf_dictionary *cursor)
{
    if (take(cursor, '?'))
        return read_boolean(cursor);
    if (take(cursor, '"'))
        return read_string(cursor);
    if (take(cursor, ':'))
        return read_bytes(cursor);
    if (cursor->at == cursor->end)
        return (struct item){FG_SF_MALFORMED, 0};
    if (*cursor->at == '-' || is_digit(*cursor->at))
        return read_number(cursor);
    if (!is_alpha(*cursor->at) && *cursor->at != '*')
        return (struct item){FG_SF_MALFORMED, 0};
    while (cursor->at < cursor->end && (is_alpha(*cursor->at) || is_digit(*cursor->at) ||
                                        is_one_of(*cursor->at, "!#$%&'*+-.^_`|~:/")))
        cursor->at++;
    return (struct item){FG_SF_OTHER, 0};
}

/* ";a=1;b" */
static bool skip_parameters(struct fg_sf_dictionary *cursor)
{
    while (take(cursor, ';')) {
        skip(cursor, " ");
        if (read_key(cursor) == 0)
            return false;
        if (take(cursor, '=') && read_bare_item(cursor).type == FG_SF_MALFORMED)
            return false;
    }
    return true;
}

/* Behind its parenthesis. */
static struct item read_list(struct fg_sf_dictionary *cursor)
{
    for (;;) {
        skip(cursor, " ");
        if (take(cursor, ')'))
            return (struct item){FG_SF_OTHER, 0};
        if (read_bare_item(cursor).type == FG_SF_MALFORMED || !skip_parameters(cursor))
            break;
        if (cursor->at == cursor->end || !is_one_of(*cursor->at, " )"))
            break;
    }
    return (struct item){FG_SF_MALFORMED, 0};
}

static struct item read_member(struct fg_sf_dictionary *cursor)
{
    struct item item = {FG_SF_BOOLEAN, 1};
    if (take(cursor, '='))
        item = take(cursor, '(') ? read_list(cursor) : read_bare_item(cursor);
    if (item.type != FG_SF_MALFORMED && !skip_parameters(cursor))
        item.type = FG_SF_MALFORMED;
    return item;
}

void fg_sf_dictionary_init(struct fg_sf_dictionary *dictionary, const char *text, size_t len)
{
    dictionary->at = text;
    dictionary->end = text + len;
    skip(dictionary, " ");
}

/* To the next member, if there is one. False: neither a comma nor the end, or a comma at it. */
static bool skip_comma(struct fg_sf_dictionary *cursor)
{
    skip(cursor, " \t");
    if (cursor->at == cursor->end)
        return true;
    if (!take(cursor, ','))
        return false;
    skip(cursor, " \t");
    return cursor->at < cursor->end;
}

enum fg_sf_type fg_sf_dictionary_next(struct fg_sf_dictionary *dictionary,
                                      struct fg_sf_member *member)
{
    if (dictionary->at == dictionary->end)
        return FG_SF_END;
    member->key = dictionary->at;
    member->key_len = read_key(dictionary);
    if (member->key_len == 0)
        return FG_SF_MALFORMED;
    struct item item = read_member(dictionary);
    member->number = item.number;
    return skip_comma(dictionary) ? item.type : FG_SF_MALFORMED;
}
