/*
 * span.c: the few operations on byte runs that do not fit in a line.
 */
#include "span.h"

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool fg_span_equal_nocase(struct fg_span a, struct fg_span b)
{
    if (a.len != b.len)
        return false;
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
    if (span.len == 0)
        return false;
    for (size_t i = 0; i < span.len; i++) {
        unsigned digit = (unsigned)(unsigned char)span.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, digit, &sum))
            return false;
    }
    *value = sum;
    return true;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* Sixteen bytes at a time: the compiler makes one compare each of it on any machine with vectors.
 */
typedef unsigned char byte_vector __attribute__((vector_size(16)));

static bool has_control_16(const char *data)
{
    byte_vector bytes;
    memcpy(&bytes, data, sizeof(bytes));
    byte_vector hits = (byte_vector)(bytes < 0x20) | (byte_vector)(bytes == 0x7f);
    uint64_t halves[2];
    memcpy(halves, &hits, sizeof(halves));
    return (halves[0] | halves[1]) != 0;
}

/* Never misses one; may take a byte for one that a borrow from its neighbour makes look like it. */
static bool may_have_control(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t del = word ^ (ones * 0x7f);
    return ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & highs) != 0;
}

static uint64_t load(const char *from, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, from, bytes);
    return word;
}

/* Of at most 15 bytes: two loads that may overlap, for no loop. */
static bool may_have_control_short(const char *data, size_t len)
{
    if (len >= 8)
        return may_have_control(load(data, 8)) || may_have_control(load(data + len - 8, 8));
    if (len >= 4)
        return may_have_control(load(data, 4) | load(data + len - 4, 4) << 32);
    return true;
}

size_t fg_span_find_control(struct fg_span span)
{
    size_t i = 0;
    while (span.len - i >= 16 && !has_control_16(span.data + i))
        i += 16;
    size_t rest = span.len - i;
    if (rest == 0 || (i > 0 && rest < 16 && !has_control_16(span.data + span.len - 16)) ||
        (rest < 16 && !may_have_control_short(span.data + i, rest)))
        return span.len;
    while (i < span.len && !is_control((unsigned char)span.data[i]))
        i++;
    return i;
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
