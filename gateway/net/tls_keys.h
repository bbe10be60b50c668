/*
 * tls_keys.h: one direction's keys of a TLS 1.3 connection, and one record under them.
 * Job      from a traffic secret to key and IV (RFC 8446 sections 7.1 to 7.3); seal one record in
 *          place, open one that may lie in pieces (5.2, 5.3).
 * Thread   the loop's: the derivation's contexts are those of all its connections.
 * Never    knows what a record says (tls_records), or makes a cipher of its own: OpenSSL does
 *          all that is cryptography, and compares the tags.
 * Memory   264 bytes for both directions; while they are awake a cipher's context each, about 1 KiB
 *          of OpenSSL's, made by `wake` and given back by `rest`. Between these no heap, but for
 *          the derivation of new keys.
 */
#ifndef FG_NET_TLS_KEYS_H
#define FG_NET_TLS_KEYS_H

#include "base/prefetch.h"
#include "net/tls_cipher.h"
#include "net/tls_kdf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define FG_TLS_SECRET_BYTES_MAX FG_TLS_DIGEST_BYTES_MAX
#define FG_TLS_KEY_BYTES_MAX 32u
#define FG_TLS_IV_BYTES 12u
#define FG_TLS_TAG_BYTES 16u      /* of every suite */
#define FG_TLS_HEAD_BYTES 5u      /* of a record: type, version, length */
#define FG_TLS_CONTEXT_BYTES 640u /* of a cipher's context, what each record needs */

enum fg_tls_suite {
    FG_TLS_AES_128_GCM_SHA256,
    FG_TLS_AES_256_GCM_SHA384,
    FG_TLS_CHACHA20_POLY1305_SHA256,
    FG_TLS_SUITE_COUNT,
};

/* What all keys of a loop are used with. */
struct fg_tls_crypto {
    struct fg_tls_cipher ciphers[FG_TLS_SUITE_COUNT];
    struct fg_tls_kdf kdf;
};

/* Zeroed is at rest. */
struct fg_tls_keys {
    unsigned char secret[FG_TLS_SECRET_BYTES_MAX];
    unsigned char key[FG_TLS_KEY_BYTES_MAX];
    unsigned char iv[FG_TLS_IV_BYTES];
    uint8_t suite;
    bool is_sealing;
    uint8_t known_key_bytes; /* before they are derived: what is known already */
    uint8_t known_iv_bytes;
    uint64_t sequence; /* of the next record */
    const struct fg_tls_cipher *cipher;
    void *ctx; /* of the cipher's; NULL: at rest */
};

/* FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_tls_crypto_init(struct fg_tls_crypto *crypto);
/* No keys of it are awake. */
void fg_tls_crypto_fini(struct fg_tls_crypto *crypto);

/* How long a suite's secrets are. */
size_t fg_tls_secret_bytes(enum fg_tls_suite suite);

/*
 * Somebody else has derived `out` under `label` from `secret`: if that is the secret of these keys,
 * it need not be done again.
 */
void fg_tls_keys_learn(struct fg_tls_keys *keys, struct fg_span label, struct fg_span secret,
                       struct fg_span out);
/* Key and IV of keys->secret, for record 0; false: OpenSSL has no memory. */
FG_MUST_USE bool fg_tls_keys_derive(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto,
                                    enum fg_tls_suite suite, bool is_sealing);
/* The next generation's secret, and all of the above. */
FG_MUST_USE bool fg_tls_keys_update(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto);

/* To seal or open, keys have to be awake; false: there is no memory for it. */
FG_MUST_USE bool fg_tls_keys_wake(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto);
void fg_tls_keys_rest(struct fg_tls_keys *keys);
/* What the next record needs of keys that are awake. */
static inline void fg_tls_keys_prefetch(const struct fg_tls_keys *keys)
{
    if (keys->ctx != NULL)
        fg_prefetch(keys->ctx, FG_TLS_CONTEXT_BYTES);
}
/* Forgets them, beyond recovery. */
void fg_tls_keys_wipe(struct fg_tls_keys *keys);

/* Encrypts `len` bytes where they lie, and puts the tag behind them. */
FG_MUST_USE bool fg_tls_keys_seal(struct fg_tls_keys *keys,
                                  const unsigned char head[FG_TLS_HEAD_BYTES], unsigned char *data,
                                  size_t len);
/*
 * Decrypts into `to` the first `len` bytes of `pieces`, which hold these and the tag. False: it is
 * no record of this place under this key, and what lies in `to` is worth nothing.
 */
FG_MUST_USE bool fg_tls_keys_open(struct fg_tls_keys *keys,
                                  const unsigned char head[FG_TLS_HEAD_BYTES],
                                  const struct iovec *pieces, size_t piece_count, size_t len,
                                  unsigned char *to);

#endif
