/*
 * admin_query.c: a word is cut before it is decoded, so that an escaped "&" or "=" cuts nothing.
 */
#include "admin/admin_query.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of the escape at the begin of `text`, or -1. */
static int escaped(struct fg_span text)
{
    if (text.len < 3)
        return -1;
    int high = hex_value(text.data[1]);
    int low = hex_value(text.data[2]);
    int c = high < 0 || low < 0 ? -1 : high * 16 + low;
    return c < 0x20 || c == 0x7f ? -1 : c;
}

static bool decode(struct fg_admin_query *query, struct fg_span *text)
{
    if (text->len == 0 || memchr(text->data, '%', text->len) == NULL)
        return true;
    char *decoded = fg_arena_try_alloc(query->arena, text->len);
    if (decoded == NULL)
        return false;
    size_t len = 0;
    for (size_t i = 0; i < text->len; i++) {
        int c = (unsigned char)text->data[i];
        if (c == '%') {
            c = escaped(fg_span_make(text->data + i, text->len - i));
            if (c < 0)
                return false;
            i += 2;
        }
        decoded[len++] = (char)c;
    }
    *text = fg_span_make(decoded, len);
    return true;
}

void fg_admin_query_init(struct fg_admin_query *query, const struct fg_exchange *ex)
{
    *query = (struct fg_admin_query){.arena = ex->arena, .rest = ex->query};
}

bool fg_admin_query_next(struct fg_admin_query *query, struct fg_span *name, struct fg_span *value)
{
    if (query->rest.data == NULL || query->is_bad)
        return false;
    *value = fg_span_split(&query->rest, '&');
    *name = fg_span_split(value, '=');
    query->is_bad = !decode(query, name) || !decode(query, value);
    return !query->is_bad;
}

struct fg_span fg_admin_query_path(struct fg_arena *arena, struct fg_span value)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = fg_arena_try_alloc(arena, 3 * value.len + 1);
    if (text == NULL)
        return (struct fg_span){NULL, 0};
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c > 0x20 && c < 0x7f && c != '#' && c != '\\') {
            text[len++] = (char)c;
            continue;
        }
        text[len++] = '%';
        text[len++] = digits[c >> 4];
        text[len++] = digits[c & 15];
    }
    return fg_span_make(text, len);
}
