/*
 * byte_range.c: the Range field of a GET, against the size of what is there.
 * Job      ranges of bytes, cut to the object; what is in doubt is ignored.
 * Thread   any; pure functions.
 * Never    allocates or reads beyond `len`; nothing in the text can make it fail.
 * Source   RFC 9110 sections 14.1.2 (byte ranges), 14.2 (a server may ignore Range), 15.3.7.2 (runs
 *          that overlap or nearly touch may be one) and 15.5.17; 17.15: each range costs the client
 *          less than it does us, so their number is bounded, and overlap buys nothing.
 */
#include "policies/cache/byte_range.h"

#include "policies/ascii.h"

#include <stdbool.h>

struct cursor {
    const char *at;
    const char *end;
};

static bool skip_unit(struct cursor *c)
{
    static const char unit[] = "bytes=";
    const size_t len = sizeof(unit) - 1;
    if ((size_t)(c->end - c->at) < len || !fg_ascii_equal(c->at, unit, len))
        return false;
    c->at += len;
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

/* What is more than 64 bits hold is behind the end of anything. */
static uint64_t read_number(struct cursor *c)
{
    uint64_t number = 0;
    for (; is_at_digit(c); c->at++) {
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*c->at - '0'), &number))
            number = UINT64_MAX;
    }
    return number;
}

/* "first-last", "first-" or "-count", up to a comma or the end. */
static enum fg_byte_range read_spec(struct cursor *c, uint64_t size, struct fg_byte_run *run)
{
    uint64_t first = 0, last = UINT64_MAX;
    bool has_first = is_at_digit(c);
    if (has_first)
        first = read_number(c);
    if (c->at == c->end || *c->at++ != '-')
        return FG_BYTE_RANGE_IGNORED;
    bool has_last = is_at_digit(c);
    if (!has_first && !has_last)
        return FG_BYTE_RANGE_IGNORED;
    if (has_last)
        last = read_number(c);
    skip_blanks(c);
    if (c->at != c->end && *c->at != ',')
        return FG_BYTE_RANGE_IGNORED;
    if (!has_first) { /* the last so many */
        if (last == 0 || size == 0)
            return FG_BYTE_RANGE_OUTSIDE;
        *run = (struct fg_byte_run){last < size ? size - last : 0, size - 1};
        return FG_BYTE_RANGE_TAKEN;
    }
    if (last < first)
        return FG_BYTE_RANGE_IGNORED;
    if (first >= size)
        return FG_BYTE_RANGE_OUTSIDE;
    *run = (struct fg_byte_run){first, last < size ? last : size - 1};
    return FG_BYTE_RANGE_TAKEN;
}

/* Is there less than `gap` between the two? */
static bool are_near(const struct fg_byte_run *a, const struct fg_byte_run *b, uint64_t gap)
{
    const struct fg_byte_run *low = a->first <= b->first ? a : b;
    const struct fg_byte_run *high = low == a ? b : a;
    return high->first <= low->last || high->first - low->last - 1 < gap;
}

/* The new one takes in those that it is near to, which may bring others near. */
static size_t join_last(struct fg_byte_run runs[], size_t count, uint64_t gap)
{
    size_t at = count - 1;
    for (size_t i = 0; i < count; i++) {
        if (i == at || !are_near(&runs[i], &runs[at], gap))
            continue;
        size_t into = i < at ? i : at, from = i < at ? at : i;
        if (runs[from].first < runs[into].first)
            runs[into].first = runs[from].first;
        if (runs[from].last > runs[into].last)
            runs[into].last = runs[from].last;
        for (size_t j = from + 1; j < count; j++)
            runs[j - 1] = runs[j];
        count--;
        at = into;
        i = SIZE_MAX; /* from the start: the run has grown */
    }
    return count;
}

enum fg_byte_range fg_byte_ranges_parse(const char *text, size_t len, uint64_t size, uint64_t gap,
                                        size_t most, struct fg_byte_run runs[], size_t *count)
{
    if (len == 0)
        return FG_BYTE_RANGE_IGNORED;
    struct cursor c = {text, text + len};
    size_t specs = 0;
    *count = 0;
    if (!skip_unit(&c))
        return FG_BYTE_RANGE_IGNORED;
    while (c.at != c.end) {
        struct fg_byte_run run;
        skip_blanks(&c);
        if (c.at != c.end && *c.at == ',') { /* an empty element */
            c.at++;
            continue;
        }
        if (c.at == c.end)
            break;
        if (++specs > most)
            return FG_BYTE_RANGE_IGNORED;
        enum fg_byte_range result = read_spec(&c, size, &run);
        if (result == FG_BYTE_RANGE_IGNORED)
            return result;
        if (result == FG_BYTE_RANGE_TAKEN) {
            runs[(*count)++] = run;
            *count = join_last(runs, *count, gap);
        }
    }
    if (specs == 0)
        return FG_BYTE_RANGE_IGNORED;
    return *count > 0 ? FG_BYTE_RANGE_TAKEN : FG_BYTE_RANGE_OUTSIDE;
}
