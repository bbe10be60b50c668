/*
 * field_text.h: what the name and the value of a header field may look like, byte by byte.
 * Thread   any; pure.
 * Source   RFC 9110 sections 5.1, 5.5 and 5.6.2.
 */
#ifndef FG_BASE_FIELD_TEXT_H
#define FG_BASE_FIELD_TEXT_H

#include "base/span.h"

/* Copies `name` to `to` (name.len bytes) in lower case; false if it is empty or not a token. */
bool fg_field_name_lower(struct fg_span name, char *to);
/* Puts the token at the front of `text` into lower case; its length, 0 if there is none. */
size_t fg_field_name_take(char *text, size_t len);
bool fg_is_token(struct fg_span text);
/* A token without upper case, as HTTP/2 has its names (RFC 9113 section 8.2). */
bool fg_field_name_is_lower(struct fg_span name);

/* No control characters but the tab: NUL, CR, LF and DEL are what requests are smuggled with. */
bool fg_field_value_is_valid(struct fg_span value);

/* Elements of the comma-separated list, empty ones among them; 1 for an empty one. */
size_t fg_field_list_count(struct fg_span list);
/* Does the comma-separated list hold `token` (any case)? */
bool fg_field_list_has(struct fg_span list, struct fg_span token);

/*
 * Are the two names (in lower case) one where '_' is a '-'? They are in the environment variables
 * that scripts and many frameworks read fields from (RFC 9110 section 17.10).
 */
bool fg_field_reads_as(struct fg_span name, struct fg_span other);
/* The same of the first part of a name. */
bool fg_field_reads_as_prefix(struct fg_span name, struct fg_span prefix);

/* Of Content-Length: digits only, no sign, no blanks, no list, below 2^62; false otherwise. */
bool fg_field_parse_length(struct fg_span value, int64_t *length);
/* The same length with no more zeros before it than everybody reads as decimal. */
struct fg_span fg_field_plain_length(struct fg_span value);

#endif
