/*
 * json_escape.h: text into the inside of a JSON string, piece by piece into the caller's buffer.
 * Job      RFC 8259 section 7: quotes, backslashes and control characters are escaped; all else
 * goes through as UTF-8. A byte that is no UTF-8 becomes U+FFFD, so that the output always parses.
 * Thread   any; pure.
 */
#ifndef FG_INFERENCE_JSON_ESCAPE_H
#define FG_INFERENCE_JSON_ESCAPE_H

#include "base/span.h"

/* The most bytes that one character of input can become. */
#define FG_JSON_ESCAPE_CHAR_MAX ((size_t)6)

/*
 * Escape as many whole characters as fit into `room`; returns the bytes written and sets *consumed
 * to the bytes of `text` that they stand for. With room for FG_JSON_ESCAPE_CHAR_MAX and text left
 * it always moves on.
 */
size_t fg_json_escape(struct fg_span text, char *out, size_t room, size_t *consumed);

/* What all of `text` will take. */
size_t fg_json_escaped_bytes(struct fg_span text);

/* Make a cut or doubtful string fit for a message: what is no UTF-8 becomes '?', controls ' '. */
void fg_json_clean(char *text);

#endif
