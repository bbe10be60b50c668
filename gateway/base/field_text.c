/*
 * field_text.c: a byte table for tokens, in front of it sixteen letters, digits and dashes at a
 * time; values by fg_span_find_control.
 */
#include "base/field_text.h"

#include "base/byte_vector.h"

/* A token's character in lower case; 0 for what no token may hold (RFC 9110 section 5.6.2). */
static const unsigned char token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b',   ['c'] = 'c',
    ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',   ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',   ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w',   ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',   ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',   ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',   ['S'] = 's',
    ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',   ['Z'] = 'z',
};

bool fg_field_name_lower(struct fg_span name, char *to)
{
    unsigned is_bad = name.len == 0;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char lower = token_lower[(unsigned char)name.data[i]];
        is_bad |= lower == 0;
        to[i] = (char)lower;
    }
    return !is_bad;
}

static const fg_byte_vector positions = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* How many of the sixteen bytes are letters, digits or dashes before another one comes: these are
 * put into lower case. */
static size_t take_usual(char *text)
{
    fg_byte_vector bytes;
    memcpy(&bytes, text, sizeof(bytes));
    fg_byte_vector is_upper = (fg_byte_vector)(bytes - 'A' < 26);
    fg_byte_vector lower = bytes | (is_upper & 0x20);
    fg_byte_vector is_other =
        ~((fg_byte_vector)(lower - 'a' < 26) | (fg_byte_vector)(bytes - '0' < 10) |
          (fg_byte_vector)(bytes == '-'));
    unsigned char count = (unsigned char)fg_byte_vector_first(is_other);
    bytes |= is_upper & 0x20 & (fg_byte_vector)(positions < count);
    memcpy(text, &bytes, sizeof(bytes));
    return count;
}

size_t fg_field_name_take(char *text, size_t len)
{
    size_t usual = 0;
    while (len - usual >= 16) {
        size_t taken = take_usual(text + usual);
        usual += taken;
        if (taken < 16)
            break;
    }
    for (size_t i = usual; i < len; i++) {
        unsigned char lower = token_lower[(unsigned char)text[i]];
        if (lower == 0)
            return i;
        text[i] = (char)lower;
    }
    return len;
}

bool fg_is_token(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (token_lower[(unsigned char)text.data[i]] == 0)
            return false;
    }
    return text.len > 0;
}

bool fg_field_name_is_lower(struct fg_span name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (token_lower[c] != c || c == 0)
            return false;
    }
    return name.len > 0;
}

bool fg_field_value_is_valid(struct fg_span value)
{
    for (;;) {
        size_t at = fg_span_find_control(value);
        if (at == value.len)
            return true;
        if (value.data[at] != '\t')
            return false;
        value = fg_span_make(value.data + at + 1, value.len - at - 1);
    }
}

size_t fg_field_list_count(struct fg_span list)
{
    size_t count = 1;
    for (size_t i = 0; i < list.len; i++)
        count += list.data[i] == ',';
    return count;
}

bool fg_field_list_has(struct fg_span list, struct fg_span token)
{
    while (list.data != NULL) {
        if (fg_span_equal_nocase(fg_span_trim(fg_span_split(&list, ',')), token))
            return true;
    }
    return false;
}

static char dashed(char c)
{
    return c == '_' ? '-' : c;
}

bool fg_field_reads_as(struct fg_span name, struct fg_span other)
{
    if (name.len != other.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (dashed(name.data[i]) != dashed(other.data[i]))
            return false;
    }
    return true;
}

bool fg_field_reads_as_prefix(struct fg_span name, struct fg_span prefix)
{
    return name.len >= prefix.len && fg_field_reads_as(fg_span_make(name.data, prefix.len), prefix);
}

bool fg_field_parse_length(struct fg_span value, int64_t *length)
{
    uint64_t number;
    if (!fg_span_parse_u64(value, &number) || number >= (UINT64_C(1) << 62))
        return false;
    *length = (int64_t)number;
    return true;
}

struct fg_span fg_field_plain_length(struct fg_span value)
{
    size_t zeros = 0;
    while (zeros + 1 < value.len && value.data[zeros] == '0')
        zeros++;
    return fg_span_make(value.data + zeros, value.len - zeros);
}
