/*
 * base64url.h: bytes as text that needs no escaping anywhere, without padding.
 * Thread   any; pure.
 * Source   RFC 4648 section 5.
 */
#ifndef FG_BASE_BASE64URL_H
#define FG_BASE_BASE64URL_H

#include "span.h"

/* `out` has room for (len + 2) / 3 * 4 bytes; returns bytes written. */
size_t fg_base64url_encode(char *out, const unsigned char *data, size_t len);
/* Strict: no padding, no other characters, no stray bits. False on any fault or lack of room. */
bool fg_base64url_decode(unsigned char *out, size_t room, struct fg_span text, size_t *len);

#endif
