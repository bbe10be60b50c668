/*
 * json_escape.c: one character at a time, decided by its first byte; runs of plain ASCII are
 * copied.
 * Source   well-formed UTF-8: The Unicode Standard, table 3-7.
 */
#include "json_escape.h"

/* What one character of input becomes. */
struct piece {
    char bytes[FG_JSON_ESCAPE_CHAR_MAX];
    size_t len;
    size_t used; /* bytes of input */
};

static bool is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* Bytes of the well-formed character at `at`, whose first byte is 0x80 or more; 0 when it is none.
 */
static size_t wide_char_bytes(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first >= 0xc2 && first <= 0xdf)
        return left >= 2 && is_tail(at[1]) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        if (left < 3 || !is_tail(at[1]) || !is_tail(at[2]))
            return 0;
        if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f))
            return 0; /* longer than needed; a surrogate */
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (left < 4 || !is_tail(at[1]) || !is_tail(at[2]) || !is_tail(at[3]))
            return 0;
        if ((first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
            return 0; /* longer than needed; beyond U+10FFFF */
        return 4;
    }
    return 0;
}

static struct piece short_escape(char letter)
{
    return (struct piece){{'\\', letter}, 2, 1};
}

static struct piece escape_ascii(unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    switch (byte) {
    case '"':
        return short_escape('"');
    case '\\':
        return short_escape('\\');
    case '\n':
        return short_escape('n');
    case '\r':
        return short_escape('r');
    case '\t':
        return short_escape('t');
    case '\b':
        return short_escape('b');
    case '\f':
        return short_escape('f');
    default:
        return (struct piece){{'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6, 1};
    }
}

static struct piece next_piece(const unsigned char *at, size_t left)
{
    if (is_plain(at[0]))
        return (struct piece){{(char)at[0]}, 1, 1};
    if (at[0] < 0x80)
        return escape_ascii(at[0]);
    size_t bytes = wide_char_bytes(at, left);
    if (bytes == 0)
        return (struct piece){{(char)0xef, (char)0xbf, (char)0xbd}, 3, 1};
    struct piece piece = {.len = bytes, .used = bytes};
    memcpy(piece.bytes, at, bytes);
    return piece;
}

static size_t plain_run(const unsigned char *at, size_t left)
{
    size_t run = 0;
    while (run < left && is_plain(at[run]))
        run++;
    return run;
}

size_t fg_json_escape(struct fg_span text, char *out, size_t room, size_t *consumed)
{
    const unsigned char *in = (const unsigned char *)text.data;
    size_t from = 0;
    size_t to = 0;
    while (from < text.len && to < room) {
        size_t most = room - to < text.len - from ? room - to : text.len - from;
        size_t run = plain_run(in + from, most);
        if (run > 0) {
            memcpy(out + to, in + from, run);
            from += run;
            to += run;
            continue;
        }
        struct piece piece = next_piece(in + from, text.len - from);
        if (piece.len > room - to)
            break;
        memcpy(out + to, piece.bytes, piece.len);
        from += piece.used;
        to += piece.len;
    }
    *consumed = from;
    return to;
}

size_t fg_json_escaped_bytes(struct fg_span text)
{
    const unsigned char *in = (const unsigned char *)text.data;
    size_t total = 0;
    for (size_t from = 0; from < text.len;) {
        struct piece piece = next_piece(in + from, text.len - from);
        from += piece.used;
        total += piece.len;
    }
    return total;
}

void fg_json_clean(char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        unsigned char byte = (unsigned char)text[at];
        size_t bytes = byte < 0x80 ? 1 : wide_char_bytes((unsigned char *)text + at, len - at);
        if (byte < 0x20)
            text[at] = ' ';
        else if (bytes == 0)
            text[at] = '?';
        at += bytes == 0 ? 1 : bytes;
    }
}
