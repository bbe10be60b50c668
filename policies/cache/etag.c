/*
 * etag.c: comparing entity tags, one by one and in If-None-Match lists.
 * Job      decide between 304 and 200, 412 and going on.
 * Thread   any; pure functions.
 * Never    allocates, or reads beyond a length. What is malformed matches nothing.
 * Source   RFC 9110 sections 8.8.3 (syntax and comparison), 13.1.1 and 13.1.2 (lists).
 */
#include "policies/cache/etag.h"

#include <string.h>

/* One parsed tag: what stands between the quotes. */
struct tag {
    const char *opaque;
    size_t len;
    bool is_weak;
};

static bool is_tag_byte(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == 0x21 || (byte >= 0x23 && byte <= 0x7e) || byte >= 0x80;
}

/* Bytes of the tag at the start of `text`, or 0 when there is none. */
static size_t read_tag(const char *text, size_t len, struct tag *tag)
{
    size_t at = 0;
    tag->is_weak = len >= 2 && text[0] == 'W' && text[1] == '/';
    if (tag->is_weak)
        at = 2;
    if (at >= len || text[at] != '"')
        return 0;
    at++;
    size_t start = at;
    while (at < len && is_tag_byte(text[at]))
        at++;
    if (at >= len || text[at] != '"')
        return 0;
    tag->opaque = text + start;
    tag->len = at - start;
    return at + 1;
}

static bool read_whole_tag(const char *text, size_t len, struct tag *tag)
{
    return len > 0 && read_tag(text, len, tag) == len;
}

static bool is_same(const struct tag *a, const struct tag *b, bool is_strong)
{
    if (is_strong && (a->is_weak || b->is_weak))
        return false;
    return a->len == b->len && memcmp(a->opaque, b->opaque, a->len) == 0;
}

static bool compare(const char *a, size_t a_len, const char *b, size_t b_len, bool is_strong)
{
    struct tag a_tag;
    struct tag b_tag;
    return read_whole_tag(a, a_len, &a_tag) && read_whole_tag(b, b_len, &b_tag) &&
           is_same(&a_tag, &b_tag, is_strong);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Blanks and the commas of empty list elements. */
static size_t skip_separators(const char *list, size_t len, size_t at)
{
    while (at < len && (is_blank(list[at]) || list[at] == ','))
        at++;
    return at;
}

static bool is_star(const char *list, size_t len)
{
    while (len > 0 && is_blank(list[len - 1]))
        len--;
    while (len > 0 && is_blank(list[0])) {
        list++;
        len--;
    }
    return len == 1 && list[0] == '*';
}

static bool list_names(const char *list, size_t list_len, const char *etag, size_t etag_len,
                       bool is_strong)
{
    if (is_star(list, list_len))
        return true;
    struct tag own;
    if (!read_whole_tag(etag, etag_len, &own))
        return false;
    size_t at = skip_separators(list, list_len, 0);
    while (at < list_len) {
        struct tag other;
        size_t used = read_tag(list + at, list_len - at, &other);
        if (used == 0)
            return false;
        at += used;
        while (at < list_len && is_blank(list[at]))
            at++;
        if (at < list_len && list[at] != ',')
            return false;
        if (is_same(&own, &other, is_strong))
            return true;
        at = skip_separators(list, list_len, at);
    }
    return false;
}

const char *fg_etag_suffix(enum fg_coding coding)
{
    static const char *const suffixes[FG_CODING_COUNT] = {
        [FG_CODING_IDENTITY] = "",
        [FG_CODING_GZIP] = ";gz",
        [FG_CODING_ZSTD] = ";zs",
        [FG_CODING_BR] = ";br",
    };
    return suffixes[coding];
}

static bool has_suffix(const struct tag *tag)
{
    if (tag->len < FG_ETAG_SUFFIX_BYTES)
        return false;
    const char *end = tag->opaque + tag->len - FG_ETAG_SUFFIX_BYTES;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if (memcmp(end, fg_etag_suffix((enum fg_coding)i), FG_ETAG_SUFFIX_BYTES) == 0)
            return true;
    }
    return false;
}

static char *put(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}

size_t fg_etag_widen(const char *list, size_t list_len, char *out)
{
    char *to = out;
    bool has_added = false;
    size_t at = skip_separators(list, list_len, 0);
    while (at < list_len) {
        struct tag tag;
        size_t used = read_tag(list + at, list_len - at, &tag);
        if (used == 0)
            return 0;
        if (to != out)
            to = put(to, ", ", 2);
        to = put(to, list + at, used);
        if (has_suffix(&tag)) {
            to = put(to, ", ", 2);
            to = put(to, list + at, used - FG_ETAG_SUFFIX_BYTES - 1);
            *to++ = '"';
            has_added = true;
        }
        at += used;
        while (at < list_len && is_blank(list[at]))
            at++;
        if (at < list_len && list[at] != ',')
            return 0;
        at = skip_separators(list, list_len, at);
    }
    return has_added ? (size_t)(to - out) : 0;
}

bool fg_etag_is_valid(const char *etag, size_t len)
{
    struct tag tag;
    return read_whole_tag(etag, len, &tag);
}

bool fg_etag_equal_strong(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return compare(a, a_len, b, b_len, true);
}

bool fg_etag_equal_weak(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return compare(a, a_len, b, b_len, false);
}

bool fg_etag_if_none_match(const char *list, size_t list_len, const char *etag, size_t etag_len)
{
    return list_names(list, list_len, etag, etag_len, false);
}

bool fg_etag_if_match(const char *list, size_t list_len, const char *etag, size_t etag_len)
{
    return list_names(list, list_len, etag, etag_len, true);
}
