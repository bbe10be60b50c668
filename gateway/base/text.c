/*
 * text.c: numbers into text; two decimal digits a division, hexadecimal eight digits at a time.
 */
#include "text.h"

#include <endian.h>

#define U64_DIGITS_MAX ((size_t)20)

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

void fg_text_add_u64(struct fg_text *text, uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    size_t at = sizeof(digits);
    if (value < 10 && text->len < text->room) { /* most numbers are small */
        text->data[text->len++] = (char)('0' + value);
        return;
    }
    while (value >= 100) {
        at -= 2;
        memcpy(digits + at, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + value * 2, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
    fg_text_add(text, fg_span_make(digits + at, sizeof(digits) - at));
}

/* Eight digits in one word, the first in its lowest byte. */
static uint64_t hex_of(uint32_t value)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t nibbles = __builtin_bswap32(value);
    nibbles = (nibbles | nibbles << 16) & 0x0000ffff0000ffffu;
    nibbles = (nibbles | nibbles << 8) & 0x00ff00ff00ff00ffu;
    nibbles = (nibbles >> 4 & 0x000f000f000f000fu) | (nibbles & 0x000f000f000f000fu) << 8;
    uint64_t is_letter = (nibbles + 6 * ones) >> 4 & ones;
    return nibbles + '0' * ones + is_letter * ('a' - '0' - 10);
}

void fg_text_put_hex(char to[16], uint64_t value)
{
    const uint64_t words[2] = {htole64(hex_of((uint32_t)(value >> 32))),
                               htole64(hex_of((uint32_t)value))};
    memcpy(to, words, sizeof(words));
}

void fg_text_add_hex(struct fg_text *text, uint64_t value)
{
    char out[16];
    fg_text_put_hex(out, value);
    fg_text_add(text, fg_span_make(out, sizeof(out)));
}

void fg_text_add_ms(struct fg_text *text, uint64_t ns)
{
    uint64_t us = ns / 1000;
    uint64_t rest = us % 1000;
    char out[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                   (char)('0' + rest % 10)};
    fg_text_add_u64(text, us / 1000);
    fg_text_add(text, fg_span_make(out, sizeof(out)));
}
