/*
 * byte_range.c: the Range field of a GET, against the size of what is there.
 * Job      one range of bytes, cut to the object; what is in doubt is ignored.
 * Thread   any; pure functions.
 * Never    allocates or reads beyond `len`; nothing in the text can make it fail.
 * Source   RFC 9110 sections 14.1.2 (byte ranges), 14.2 (a server may ignore Range) and 15.5.17.
 *          Several ranges are answered with the whole: each costs the client less than it does us.
 */
#include "policies/cache/byte_range.h"

#include <stdbool.h>

struct cursor {
    const char *at;
    const char *end;
};

static bool skip_unit(struct cursor *c)
{
    static const char unit[] = "bytes=";
    for (size_t i = 0; i < sizeof(unit) - 1; i++) {
        if (c->at == c->end)
            return false;
        char byte = *c->at++;
        if (byte >= 'A' && byte <= 'Z')
            byte = (char)(byte + ('a' - 'A'));
        if (byte != unit[i])
            return false;
    }
    return true;
}

static void skip_blanks(struct cursor *c)
{
    while (c->at != c->end && (*c->at == ' ' || *c->at == '\t'))
        c->at++;
}

static bool is_at_digit(const struct cursor *c)
{
    return c->at != c->end && *c->at >= '0' && *c->at <= '9';
}

/* False when it is more than 64 bits hold. */
static bool read_number(struct cursor *c, uint64_t *number)
{
    *number = 0;
    while (is_at_digit(c)) {
        if (__builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*c->at - '0'), number))
            return false;
        c->at++;
    }
    return true;
}

static bool is_over(struct cursor *c)
{
    skip_blanks(c);
    return c->at == c->end;
}

/* After "bytes=-": the last so many. */
static enum fg_byte_range read_suffix(struct cursor *c, uint64_t size, uint64_t *first,
                                      uint64_t *last)
{
    uint64_t count;
    if (!is_at_digit(c) || !read_number(c, &count) || !is_over(c))
        return FG_BYTE_RANGE_IGNORED;
    if (count == 0 || size == 0)
        return FG_BYTE_RANGE_OUTSIDE;
    *first = count < size ? size - count : 0;
    *last = size - 1;
    return FG_BYTE_RANGE_TAKEN;
}

enum fg_byte_range fg_byte_range_parse(const char *text, size_t len, uint64_t size, uint64_t *first,
                                       uint64_t *last)
{
    if (len == 0)
        return FG_BYTE_RANGE_IGNORED;
    struct cursor c = {text, text + len};
    if (!skip_unit(&c))
        return FG_BYTE_RANGE_IGNORED;
    skip_blanks(&c);
    if (c.at != c.end && *c.at == '-') {
        c.at++;
        return read_suffix(&c, size, first, last);
    }
    uint64_t from, to = UINT64_MAX;
    if (!is_at_digit(&c) || !read_number(&c, &from) || c.at == c.end || *c.at != '-')
        return FG_BYTE_RANGE_IGNORED;
    c.at++;
    if (is_at_digit(&c) && (!read_number(&c, &to) || to < from))
        return FG_BYTE_RANGE_IGNORED;
    if (!is_over(&c))
        return FG_BYTE_RANGE_IGNORED;
    if (from >= size)
        return FG_BYTE_RANGE_OUTSIDE;
    *first = from;
    *last = to < size ? to : size - 1;
    return FG_BYTE_RANGE_TAKEN;
}
