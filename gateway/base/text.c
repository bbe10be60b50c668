/*
 * text.c: numbers into text; two decimal digits a division, hexadecimal from a table.
 */
#include "text.h"

#define U64_DIGITS_MAX ((size_t)20)

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

void fg_text_add_u64(struct fg_text *text, uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    size_t at = sizeof(digits);
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

void fg_text_add_hex(struct fg_text *text, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    char out[16];
    for (size_t i = sizeof(out); i-- > 0; value >>= 4)
        out[i] = digits[value & 15];
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
