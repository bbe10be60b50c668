/*
 * chunked_body.c: a byte at a time for the lines, runs for the data.
 *
 *    SIZE --> EXTENSION --> SIZE_LF --> DATA --> DATA_CR --> DATA_LF --> SIZE
 *                               `-- size 0 --> TRAILER --> LINE --> LINE_LF --> TRAILER
 *                                                  `--> END_LF --> DONE
 */
#include "chunked_body.h"

#define DIGITS_MAX 15u
#define EXTENSION_BYTES_MAX ((size_t)256)
#define TRAILER_BYTES_MAX ((size_t)8192)

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

static unsigned on_size(struct fg_chunked_body *body, unsigned char c)
{
    unsigned char letter = (unsigned char)(c | 0x20);
    unsigned digit = c >= '0' && c <= '9'             ? (unsigned)(c - '0')
                     : letter >= 'a' && letter <= 'f' ? (unsigned)(letter - 'a' + 10)
                                                      : 16;
    if (digit < 16) {
        body->left = body->left * 16 + digit;
        return ++body->digits > DIGITS_MAX ? BAD : SIZE;
    }
    if (body->digits == 0)
        return BAD;
    body->extension_bytes = 0;
    return c == ';' ? EXTENSION : c == '\r' ? SIZE_LF : BAD;
}

static unsigned on_line_byte(unsigned char c, size_t *bytes, size_t bytes_max, unsigned state,
                             unsigned after_cr)
{
    if (c == '\r')
        return after_cr;
    return is_text(c) && ++*bytes <= bytes_max ? state : BAD;
}

static unsigned next_state(struct fg_chunked_body *body, unsigned char c)
{
    switch (body->state) {
    case SIZE:
        return on_size(body, c);
    case EXTENSION:
        return on_line_byte(c, &body->extension_bytes, EXTENSION_BYTES_MAX, EXTENSION, SIZE_LF);
    case SIZE_LF:
        body->digits = 0;
        return c != '\n' ? BAD : body->left == 0 ? TRAILER : DATA;
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return c == '\n' ? SIZE : BAD;
    case TRAILER:
        if (c == ' ' || c == '\t' || c == ':')
            return BAD;
        return on_line_byte(c, &body->trailer_bytes, TRAILER_BYTES_MAX, LINE, END_LF);
    case LINE:
        return on_line_byte(c, &body->trailer_bytes, TRAILER_BYTES_MAX, LINE, LINE_LF);
    case LINE_LF:
        return c == '\n' ? TRAILER : BAD;
    case END_LF:
        return c == '\n' ? DONE : BAD;
    default:
        return BAD;
    }
}

enum fg_chunked_body_result fg_chunked_body_next(struct fg_chunked_body *body,
                                                 struct fg_span *input, struct fg_span *data)
{
    while (input->len > 0 && body->state != DONE && body->state != BAD) {
        if (body->state == DATA) {
            size_t run = body->left < input->len ? (size_t)body->left : input->len;
            *data = fg_span_make(input->data, run);
            *input = fg_span_make(input->data + run, input->len - run);
            body->left -= run;
            if (body->left == 0)
                body->state = DATA_CR;
            return FG_CHUNKED_BODY_DATA;
        }
        body->state = next_state(body, (unsigned char)input->data[0]);
        *input = fg_span_make(input->data + 1, input->len - 1);
    }
    if (body->state == DONE)
        return FG_CHUNKED_BODY_DONE;
    return body->state == BAD ? FG_CHUNKED_BODY_BAD : FG_CHUNKED_BODY_MORE;
}
