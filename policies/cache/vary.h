/*
 * vary.h: which fields of a request select among the stored responses (RFC 9111 section 4.1).
 * Thread   any; pure functions.
 */
#ifndef FG_POLICIES_CACHE_VARY_H
#define FG_POLICIES_CACHE_VARY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The next name of a Vary value from *at on, which moves behind it. False at the end. Names come as
 * they stand; "*" is one of them.
 */
bool fg_vary_next(const char *text, size_t len, size_t *at, const char **name, size_t *name_len);

/*
 * The value of the request field `name` (lower case) in a form in which values that mean the same
 * compare as equal: no blanks at the ends; in lists of tokens, lower case and no needless blanks
 * elsewhere either. Writes at most `len` bytes to `out`, which may be `value`; returns how many.
 */
size_t fg_vary_normalise(const char *name, size_t name_len, const char *value, size_t len,
                         char *out);

#endif
