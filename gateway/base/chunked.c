/*
 * chunked.c: one byte at a time for lines, runs for data.
 *
 *    SIZE --> EXTENSION --> SIZE_LF --> DATA --> DATA_CR --> DATA_LF --> SIZE
 *                              `-- size 0 --> TRAILER --> LINE --> LINE_LF --> TRAILER
 *                                                `--> END_LF --> DONE
 */
#include "base/chunked.h"

#define DIGITS_MAX 15u
#define EXTENSION_MAX ((size_t)256)
#define TRAILER_MAX ((size_t)8192)

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    LINE,
    LINE_LF,
    END_LF,
    DONE,
    BAD
};

static bool is_text(unsigned char c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int on_size(struct fg_chunked *chunked, unsigned char c)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        chunked->left = chunked->left * 16 + (uint64_t)digit;
        return ++chunked->digits > DIGITS_MAX ? BAD : SIZE;
    }
    if (chunked->digits == 0)
        return BAD;
    chunked->extension_len = 0;
    return c == ';' ? EXTENSION : c == '\r' ? SIZE_LF : BAD;
}

static int on_extension(struct fg_chunked *chunked, unsigned char c)
{
    if (c == '\r')
        return SIZE_LF;
    return is_text(c) && ++chunked->extension_len <= EXTENSION_MAX ? EXTENSION : BAD;
}

static int on_size_lf(struct fg_chunked *chunked, unsigned char c)
{
    chunked->digits = 0;
    if (c != '\n')
        return BAD;
    return chunked->left == 0 ? TRAILER : DATA;
}

static int on_trailer(struct fg_chunked *chunked, unsigned char c)
{
    if (c == '\r')
        return END_LF;
    chunked->trailer_len++;
    return is_text(c) && c != ' ' && c != '\t' && c != ':' ? LINE : BAD;
}

static int on_line(struct fg_chunked *chunked, unsigned char c)
{
    if (c == '\r')
        return LINE_LF;
    return is_text(c) && ++chunked->trailer_len <= TRAILER_MAX ? LINE : BAD;
}

static int next_state(struct fg_chunked *chunked, unsigned char c)
{
    switch (chunked->state) {
    case SIZE:
        return on_size(chunked, c);
    case EXTENSION:
        return on_extension(chunked, c);
    case SIZE_LF:
        return on_size_lf(chunked, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return c == '\n' ? SIZE : BAD;
    case TRAILER:
        return on_trailer(chunked, c);
    case LINE:
        return on_line(chunked, c);
    case LINE_LF:
        return c == '\n' ? TRAILER : BAD;
    case END_LF:
        return c == '\n' ? DONE : BAD;
    default:
        return BAD;
    }
}

enum fg_chunked_result fg_chunked_next(struct fg_chunked *chunked, struct fg_span *input,
                                       size_t data_max, struct fg_span *data)
{
    while (input->len > 0) {
        if (chunked->state == DATA) {
            size_t len = input->len < data_max ? input->len : data_max;
            if (len > chunked->left)
                len = (size_t)chunked->left;
            if (len == 0)
                return FG_CHUNKED_MORE; /* data_max is 0 */
            *data = fg_span_make(input->data, len);
            input->data += len;
            input->len -= len;
            chunked->left -= len;
            if (chunked->left == 0)
                chunked->state = DATA_CR;
            return FG_CHUNKED_DATA;
        }
        chunked->state = next_state(chunked, (unsigned char)input->data[0]);
        if (chunked->state == BAD)
            return FG_CHUNKED_BAD;
        input->data++;
        input->len--;
        if (chunked->state == DONE)
            return FG_CHUNKED_DONE;
    }
    return FG_CHUNKED_MORE;
}
