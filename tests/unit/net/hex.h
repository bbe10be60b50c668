/*
 * hex.h: known answers, as RFCs print them.
 */
#ifndef FG_TESTS_HEX_H
#define FG_TESTS_HEX_H

#include <stddef.h>
#include <stdlib.h>

/* How many bytes; `digits` are two each. */
static inline size_t hex_bytes(const char *digits, unsigned char *to)
{
    size_t len = 0;
    for (; *digits != '\0'; digits += 2) {
        const char pair[3] = {digits[0], digits[1], '\0'};
        to[len++] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return len;
}

#endif
