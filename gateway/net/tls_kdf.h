/*
 * tls_kdf.h: how TLS makes keys out of secrets, on contexts that are made once.
 * Job      HKDF as TLS 1.3 uses it (RFC 5869; RFC 8446 section 7.1), the PRF of TLS 1.2 (RFC 5246
 *          section 5); nothing is looked up by name, and nothing stays behind of what was derived.
 * Thread   one at a time: the loop's.
 * Never    hashes by itself: OpenSSL's EVP does, and a context of it is wiped after each use.
 * Memory   two digests' contexts, some 300 bytes each of OpenSSL's.
 */
#ifndef FG_NET_TLS_KDF_H
#define FG_NET_TLS_KDF_H

#include "base/span.h"
#include "base/status.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

enum fg_tls_digest { FG_TLS_SHA256, FG_TLS_SHA384, FG_TLS_DIGEST_COUNT };

#define FG_TLS_DIGEST_BYTES_MAX 48u

struct fg_tls_hash {
    EVP_MD *digest;
    EVP_MD_CTX *ctx;
    bool is_ready; /* to begin; false: it has to be tried again */
    size_t bytes;
    size_t block_bytes;
    unsigned char of_nothing[FG_TLS_DIGEST_BYTES_MAX];
};

/* Zeroed may be ended. */
struct fg_tls_kdf {
    struct fg_tls_hash hashes[FG_TLS_DIGEST_COUNT];
};

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_kdf_init(struct fg_tls_kdf *kdf);
void fg_tls_kdf_fini(struct fg_tls_kdf *kdf);

/* Bytes of a digest, and so of a secret under it. */
size_t fg_tls_digest_bytes(enum fg_tls_digest digest);

/* All below: false: no memory, or lengths that TLS has not. `secret` is as long as the digest. */

/* HKDF-Expand-Label with the prefix "tls13 ", to at most a digest's length. */
FG_MUST_USE bool fg_tls_kdf_expand(struct fg_tls_kdf *kdf, enum fg_tls_digest digest,
                                   const unsigned char *secret, struct fg_span label,
                                   struct fg_span data, unsigned char *out, size_t len);
/*
 * The next secret on the way down: HKDF-Extract of `input` (empty: zeroes) under what "derived" is
 * of `before` (NULL: zeroes).
 */
FG_MUST_USE bool fg_tls_kdf_extract(struct fg_tls_kdf *kdf, enum fg_tls_digest digest,
                                    const unsigned char *before, struct fg_span input,
                                    unsigned char *out);
/* P_hash of TLS 1.2; `seed` has the label in front. */
FG_MUST_USE bool fg_tls_kdf_prf(struct fg_tls_kdf *kdf, enum fg_tls_digest digest,
                                struct fg_span secret, struct fg_span seed, unsigned char *out,
                                size_t len);

#endif
