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

/* The digits end where `end` is; returns where they begin. */
static char *put_before(char *end, uint64_t value)
{
    while (value >= 100) {
        end -= 2;
        memcpy(end, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, pairs + value * 2, 2);
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

void fg_text_add_u64(struct fg_text *text, uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    char *end = digits + sizeof(digits);
    if (value < 10 && text->len < text->room) { /* most numbers are small */
        text->data[text->len++] = (char)('0' + value);
        return;
    }
    const char *at = put_before(end, value);
    fg_text_add(text, fg_span_make(at, (size_t)(end - at)));
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
    const uint64_t us = ns / 1000;
    const unsigned rest = (unsigned)(us % 1000);
    char digits[U64_DIGITS_MAX + 4];
    char *end = digits + sizeof(digits);
    end[-4] = '.';
    end[-3] = (char)('0' + rest / 100);
    memcpy(end - 2, pairs + rest % 100 * 2, 2);
    const char *at = put_before(end - 4, us / 1000);
    fg_text_add(text, fg_span_make(at, (size_t)(end - at)));
}
