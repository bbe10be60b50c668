/*
 * chunked.c: one byte at a time for lines, runs for data.
 *
 *    SIZE --> EXT_... --> SIZE_LF --> DATA --> DATA_CR --> DATA_LF --> SIZE
 *                              `-- size 0 --> TRAILER --> NAME --> LINE --> LINE_LF --> TRAILER
 *                                                `--> END_LF --> DONE
 */
#include "base/chunked.h"

#include "base/field_text.h"

#define DIGITS_MAX 16u /* "%016x": leading zeros are none of the value's, but have an end too */
#define SIZE_BITS_MAX 60u
#define EXTENSION_MAX ((size_t)256)
/* Of a body, beyond what it pays for: as much as Go allows, 16 bytes a chunk and twice its data. */
#define EXTENSIONS_MAX ((size_t)16384)
#define PAID_BY_CHUNK 16u
#define PAID_BY_BYTE 2u
#define TRAILER_MAX ((size_t)8192)

enum {
    SIZE,
    EXT_BLANK,  /* blanks behind size or value: another extension must follow */
    EXT_START,  /* behind ';' */
    EXT_NAME,   /* in its name */
    EXT_NAMED,  /* blanks behind the name */
    EXT_VALUE,  /* behind '=' */
    EXT_TOKEN,  /* in a plain value */
    EXT_QUOTED, /* in a quoted value */
    EXT_ESCAPE, /* behind a backslash in it */
    EXT_END,    /* behind a quoted value */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    NAME,
    LINE, /* behind its colon */
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

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t';
}

static int on_size(struct fg_chunked *chunked, unsigned char c)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        bool fits = ++chunked->digits <= DIGITS_MAX && chunked->left >> (SIZE_BITS_MAX - 4) == 0;
        chunked->left = chunked->left * 16 + (uint64_t)digit;
        return fits ? SIZE : BAD;
    }
    if (chunked->digits == 0)
        return BAD;
    chunked->extension_len = 0;
    return c == ';' ? EXT_START : c == '\r' ? SIZE_LF : is_blank(c) ? EXT_BLANK : BAD;
}

static bool is_token_byte(unsigned char c)
{
    return fg_is_token(fg_span_make((const char *)&c, 1));
}

static int behind_extension(unsigned char c)
{
    return c == ';' ? EXT_START : c == '\r' ? SIZE_LF : is_blank(c) ? EXT_BLANK : BAD;
}

/*
 * chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), within
 * EXTENSION_MAX. Blanks before the line's end are none of these (RFC 9112 section 7.1.1).
 */
static int on_extension(struct fg_chunked *chunked, unsigned char c)
{
    if (c != '\r' &&
        (++chunked->extension_len > EXTENSION_MAX || ++chunked->extensions > EXTENSIONS_MAX))
        return BAD;
    switch (chunked->state) {
    case EXT_BLANK:
        return is_blank(c) ? EXT_BLANK : c == ';' ? EXT_START : BAD;
    case EXT_START:
        return is_blank(c) ? EXT_START : is_token_byte(c) ? EXT_NAME : BAD;
    case EXT_NAME:
        return is_token_byte(c) ? EXT_NAME
               : c == '='       ? EXT_VALUE
               : is_blank(c)    ? EXT_NAMED
                                : behind_extension(c);
    case EXT_NAMED:
        return is_blank(c) ? EXT_NAMED : c == '=' ? EXT_VALUE : c == ';' ? EXT_START : BAD;
    case EXT_VALUE:
        return c == '"' ? EXT_QUOTED : is_token_byte(c) ? EXT_TOKEN : is_blank(c) ? EXT_VALUE : BAD;
    case EXT_TOKEN:
        return is_token_byte(c) ? EXT_TOKEN : behind_extension(c);
    case EXT_QUOTED:
        return c == '"' ? EXT_END : c == '\\' ? EXT_ESCAPE : is_text(c) ? EXT_QUOTED : BAD;
    case EXT_ESCAPE:
        return is_text(c) ? EXT_QUOTED : BAD;
    default:
        return behind_extension(c);
    }
}

static int on_size_lf(struct fg_chunked *chunked, unsigned char c)
{
    uint64_t paid = PAID_BY_CHUNK + PAID_BY_BYTE * chunked->left;
    chunked->digits = 0;
    if (c != '\n')
        return BAD;
    chunked->extensions -= chunked->extensions < paid ? chunked->extensions : (size_t)paid;
    return chunked->left == 0 ? TRAILER : DATA;
}

static int on_trailer(struct fg_chunked *chunked, unsigned char c)
{
    if (c == '\r')
        return END_LF;
    chunked->trailer_len++;
    return is_token_byte(c) ? NAME : BAD;
}

/* Also where nobody takes the trailers: a line that is no field is the next request to others. */
static int on_name(struct fg_chunked *chunked, unsigned char c)
{
    if (++chunked->trailer_len > TRAILER_MAX)
        return BAD;
    return is_token_byte(c) ? NAME : c == ':' ? LINE : BAD;
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
    case EXT_BLANK:
    case EXT_START:
    case EXT_NAME:
    case EXT_NAMED:
    case EXT_VALUE:
    case EXT_TOKEN:
    case EXT_QUOTED:
    case EXT_ESCAPE:
    case EXT_END:
        return on_extension(chunked, c);
    case SIZE_LF:
        return on_size_lf(chunked, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return c == '\n' ? SIZE : BAD;
    case TRAILER:
        return on_trailer(chunked, c);
    case NAME:
        return on_name(chunked, c);
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

/* Lines of the trailer section up to the empty one, with their line ends; bounded by TRAILER_MAX.
 */
static enum fg_chunked_result take_trailers(struct fg_chunked *chunked, struct fg_span *input,
                                            struct fg_span *data)
{
    const char *from = input->data;
    size_t len = 0;
    while (input->len > 0 && chunked->state != END_LF) {
        chunked->state = next_state(chunked, (unsigned char)input->data[0]);
        if (chunked->state == BAD)
            return FG_CHUNKED_BAD;
        len += chunked->state != END_LF;
        input->data++;
        input->len--;
    }
    *data = fg_span_make(from, len);
    return len > 0 ? FG_CHUNKED_TRAILER : FG_CHUNKED_MORE;
}

static bool is_in_trailers(const struct fg_chunked *chunked)
{
    return chunked->state == TRAILER || chunked->state == NAME || chunked->state == LINE ||
           chunked->state == LINE_LF;
}

/*
 * The end of a chunk and the head of one with less than 16 bytes, as a whole: who cuts a body small
 * has one every few bytes. True when it was there, and its data is next.
 */
static bool take_small_head(struct fg_chunked *chunked, struct fg_span *input)
{
    const char *at = input->data;
    if (chunked->state != DATA_CR || input->len < 5 || at[0] != '\r' || at[1] != '\n' ||
        at[3] != '\r' || at[4] != '\n')
        return false;
    int size = hex_value((unsigned char)at[2]);
    if (size <= 0)
        return false;
    chunked->state = DATA;
    chunked->left = (uint64_t)size;
    input->data += 5;
    input->len -= 5;
    return true;
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
        if (take_small_head(chunked, input))
            continue;
        if (is_in_trailers(chunked)) {
            enum fg_chunked_result result = take_trailers(chunked, input, data);
            if (result != FG_CHUNKED_MORE)
                return result;
            continue;
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
