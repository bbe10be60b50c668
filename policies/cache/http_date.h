/*
 * http_date.h: the three date forms of HTTP to seconds since 1970 and back (RFC 9110 section
 * 5.6.7).
 * Thread   any; pure functions, no locale, no time zone.
 */
#ifndef FG_POLICIES_CACHE_HTTP_DATE_H
#define FG_POLICIES_CACHE_HTTP_DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_HTTP_DATE_BYTES 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */

/*
 * False, leaving *unix_s alone, when the text is none of the forms or no such day exists. `now_s`
 * settles the century of a two-digit year: never more than 50 years ahead.
 */
bool fg_http_date_parse(const char *text, size_t len, int64_t now_s, int64_t *unix_s);

/* IMF-fixdate with a NUL; a time outside the years 1970 to 9999 is moved to the nearest end. */
void fg_http_date_format(int64_t unix_s, char text[FG_HTTP_DATE_BYTES]);

#endif
