/*
 * ascii.h: names that are one in upper and in lower case, whatever the locale.
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_ASCII_H
#define FG_POLICIES_ASCII_H

#include <stdbool.h>
#include <stddef.h>

static inline char fg_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Are these `len` bytes the same but for case? */
static inline bool fg_ascii_equal(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (fg_ascii_lower(a[i]) != fg_ascii_lower(b[i]))
            return false;
    }
    return true;
}

#endif
