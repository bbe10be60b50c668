/*
 * text.c: numbers into text; two decimal digits a division, hexadecimal sixteen digits at a time.
 */
#include "text.h"

#include "byte_vector.h"

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

void fg_text_put_hex(char to[16], uint64_t value)
{
    const fg_byte_vector high = {15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0, 15, 0};
    const uint64_t words[2] = {htobe64(value), 0};
    fg_byte_vector bytes;
    memcpy(&bytes, words, sizeof(bytes));
    bytes = __builtin_shufflevector(bytes, bytes, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    fg_byte_vector digits = (bytes >> 4 & high) | (bytes & (high ^ 15));
    fg_byte_vector is_letter = (fg_byte_vector)((fg_signed_vector)digits > 9);
    digits += '0' + (is_letter & ('a' - '0' - 10));
    memcpy(to, &digits, sizeof(digits));
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
