/*
 * utf8.h: where a well-formed UTF-8 sequence ends; for names in model files and for text to tokens.
 * Thread   any; pure.
 * Source   Unicode Standard 3.9, table 3-7 (no overlong forms, no surrogates, up to U+10FFFF).
 */
#ifndef FG_INFERENCE_UTF8_H
#define FG_INFERENCE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How long a sequence that starts with `lead` is: 1 to 4, or 0 when no sequence starts with it. */
static inline size_t fg_utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Whether `byte` may stand at `index` (1 to 3) of a sequence that starts with `lead`. */
static inline bool fg_utf8_continues(unsigned char lead, size_t index, unsigned char byte)
{
    if (index == 1 && lead == 0xe0)
        return byte >= 0xa0 && byte <= 0xbf;
    if (index == 1 && lead == 0xed)
        return byte >= 0x80 && byte <= 0x9f;
    if (index == 1 && lead == 0xf0)
        return byte >= 0x90 && byte <= 0xbf;
    if (index == 1 && lead == 0xf4)
        return byte >= 0x80 && byte <= 0x8f;
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the well-formed sequence at the start of `text` (`left` > 0 bytes), or 0. */
static inline size_t fg_utf8_sequence(const char *text, size_t left)
{
    unsigned char lead = (unsigned char)text[0];
    size_t length = fg_utf8_length(lead);
    if (length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (!fg_utf8_continues(lead, i, (unsigned char)text[i]))
            return 0;
    }
    return length;
}

#endif
