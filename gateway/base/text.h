/*
 * text.h: short texts put together without printf, for the request path.
 * Job      append spans, numbers, hexadecimal ids and milliseconds to a buffer of the caller's.
 * Thread   any; plain values. Memory: the caller's buffer, never written past its end.
 * Never    allocates or reads a locale. A text that does not fit is cut, and says so.
 */
#ifndef FG_BASE_TEXT_H
#define FG_BASE_TEXT_H

#include "base/span.h"

struct fg_text {
    char *data;
    size_t len;
    size_t room;
    bool is_cut; /* something did not fit */
};

static inline struct fg_text fg_text_over(char *buffer, size_t room)
{
    return (struct fg_text){.data = buffer, .room = room};
}

static inline struct fg_span fg_text_span(const struct fg_text *text)
{
    return fg_span_make(text->data, text->len);
}

/* All of it or nothing. */
static inline void fg_text_add(struct fg_text *text, struct fg_span part)
{
    if (part.len > text->room - text->len) {
        text->is_cut = true;
        return;
    }
    if (part.len > 0)
        memcpy(text->data + text->len, part.data, part.len);
    text->len += part.len;
}

/* In decimal. */
void fg_text_add_u64(struct fg_text *text, uint64_t value);

/* Sixteen lower-case hexadecimal digits, without a NUL behind them. */
void fg_text_put_hex(char to[16], uint64_t value);
/* The same. */
void fg_text_add_hex(struct fg_text *text, uint64_t value);

/* Nanoseconds as milliseconds with three places, rounded down: 1204567 is "1.204". */
void fg_text_add_ms(struct fg_text *text, uint64_t ns);

#endif
