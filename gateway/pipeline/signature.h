/*
 * signature.h: requests signed by their sender, so that a stolen one is worth nothing.
 *
 *    x-floodgate-signature: v1;key=ID;time=SECONDS;nonce=NONCE;body=SHA256;mac=MAC
 *
 *    MAC    = base64url(HMAC-SHA256(secret, text))
 *    text   = "v1\n" METHOD "\n" host[:port] "\n" path[?query] "\n" SECONDS "\n" NONCE "\n" SHA256
 *    SHA256 = base64url(SHA-256 of the body), also of an empty one
 *    NONCE  = 16 to 64 of A-Z a-z 0-9 - _, never used twice with a key
 *
 * Thread   any; pure (but for OpenSSL's HMAC).
 */
#ifndef FG_PIPELINE_SIGNATURE_H
#define FG_PIPELINE_SIGNATURE_H

#include "backends/backend.h"

struct fg_signature {
    struct fg_span key_id;
    struct fg_span time_text;
    struct fg_span nonce;
    struct fg_span body_text;
    uint64_t time_s;
    unsigned char body[32]; /* SHA-256 */
    unsigned char mac[32];
};

/* False: it is not of that form. Each part once, in any order. */
bool fg_signature_parse(struct fg_span field, struct fg_signature *signature);

/* Did the holder of the secret sign this request? In constant time. */
bool fg_signature_is_good(const struct fg_signature *signature, const struct fg_exchange *ex,
                          const void *secret, size_t secret_bytes);

#define FG_SIGNATURE_FIELD_BYTES 512

/* The field for a request, with a NUL; false: OpenSSL failed, or it would be too long. */
bool fg_signature_make(const struct fg_exchange *ex, const char *key_id, const void *secret,
                       size_t secret_bytes, uint64_t time_s, struct fg_span nonce,
                       const unsigned char body_sha256[32], char field[FG_SIGNATURE_FIELD_BYTES]);

#endif
