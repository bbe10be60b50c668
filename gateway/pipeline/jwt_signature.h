/*
 * jwt_signature.h: has this key made this signature, under the one algorithm that it is for?
 * Thread   the owner of the context (a loop).
 * Never    asks the token what to do: the key says it. Leaves nothing in OpenSSL's error queue.
 * Source   RFC 7518 sections 3.2 (HMAC), 3.3 (PKCS1), 3.4 (ECDSA), 3.5 (PSS); RFC 8037 section 3.1.
 */
#ifndef FG_PIPELINE_JWT_SIGNATURE_H
#define FG_PIPELINE_JWT_SIGNATURE_H

#include "base/span.h"
#include "config/key_set.h"

#include <stdbool.h>

#define FG_JWT_SIGNATURE_BYTES_MAX 1024u /* RSA of 8192 bits */

bool fg_jwt_signature_is_good(EVP_MD_CTX *ctx, const struct fg_public_key *key,
                              struct fg_span is_signed, const unsigned char *signature,
                              size_t signature_bytes);

#endif
