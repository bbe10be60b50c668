/*
 * span.c: the few operations on byte runs that do not fit in a line.
 */
#include "span.h"

#include "byte_vector.h"

#define U64_DIGITS_SAFE 19 /* so many nines are fewer than 2^64 */

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool fg_span_equal_nocase(struct fg_span a, struct fg_span b)
{
    if (a.len != b.len)
        return false;
    if (fg_span_equal(a, b)) /* nearly all that are equal are equal as they stand */
        return true;
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct fg_span fg_span_trim(struct fg_span span)
{
    while (span.len > 0 && is_blank(span.data[0])) {
        span.data++;
        span.len--;
    }
    while (span.len > 0 && is_blank(span.data[span.len - 1]))
        span.len--;
    return span;
}

struct fg_span fg_span_split(struct fg_span *rest, char separator)
{
    struct fg_span whole = *rest;
    const char *at = whole.len == 0 ? NULL : memchr(whole.data, separator, whole.len);
    if (at == NULL) {
        *rest = (struct fg_span){NULL, 0};
        return whole;
    }
    size_t before = (size_t)(at - whole.data);
    *rest = (struct fg_span){at + 1, whole.len - before - 1};
    return (struct fg_span){whole.data, before};
}

bool fg_span_parse_u64(struct fg_span span, uint64_t *value)
{
    uint64_t sum = 0;
    size_t i = 0;
    if (span.len == 0)
        return false;
    for (; i < span.len && i < U64_DIGITS_SAFE; i++) {
        unsigned digit = (unsigned)(unsigned char)span.data[i] - '0';
        if (digit > 9)
            return false;
        sum = sum * 10 + digit;
    }
    for (; i < span.len; i++) {
        unsigned digit = (unsigned)(unsigned char)span.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, digit, &sum))
            return false;
    }
    *value = sum;
    return true;
}

/* Which of the sixteen is the first control byte; 16: none. */
static size_t first_control(fg_byte_vector bytes)
{
    return fg_byte_vector_first((fg_byte_vector)(bytes < 0x20) | (fg_byte_vector)(bytes == 0x7f));
}

static size_t first_control_of_16(const char *data)
{
    fg_byte_vector bytes;
    memcpy(&bytes, data, sizeof(bytes));
    return first_control(bytes);
}

/* Of 4 to 15 bytes: two loads that may overlap, for no loop; what they do not fill is no hit. */
static size_t first_control_of_few(const char *data, size_t len)
{
    size_t half = len >= 8 ? 8 : 4;
    uint64_t words[2] = {~UINT64_C(0), ~UINT64_C(0)};
    fg_byte_vector bytes;
    if (half == 8) {
        memcpy(&words[0], data, 8);
        memcpy(&words[1], data + len - 8, 8);
    } else {
        memcpy(&words[0], data, 4);
        memcpy(&words[1], data + len - 4, 4);
    }
    memcpy(&bytes, words, sizeof(bytes));
    size_t at = first_control(bytes);
    if (at < 8)
        return at;
    return at < 16 ? len - half + at - 8 : len;
}

static size_t first_control_of_three(const char *data, size_t len)
{
    size_t at = 0;
    while (at < len && (unsigned char)data[at] >= 0x20 && data[at] != 0x7f)
        at++;
    return at;
}

size_t fg_span_find_control(struct fg_span span)
{
    if (span.len < 4)
        return first_control_of_three(span.data, span.len);
    if (span.len < 16)
        return first_control_of_few(span.data, span.len);
    size_t i = 0;
    for (; span.len - i >= 16; i += 16) {
        size_t at = first_control_of_16(span.data + i);
        if (at < 16)
            return i + at;
    }
    return i == span.len ? i : span.len - 16 + first_control_of_16(span.data + span.len - 16);
}

uint64_t fg_span_hash(struct fg_span span, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < span.len; i++) {
        hash ^= (unsigned char)span.data[i];
        hash *= 0x100000001b3u;
    }
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    hash *= 0xc4ceb9fe1a85ec53u;
    hash ^= hash >> 33;
    return hash;
}
