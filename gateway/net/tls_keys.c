/*
 * tls_keys.c: see tls_keys.h.
 *
 *    secret --"key"--> key -- context
 *       |  `--"iv"---> iv xor sequence --> nonce of one record
 *       `--"traffic upd"--> the next secret
 */
#include "net/tls_keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <assert.h>
#include <string.h>

static const struct suite {
    const char *cipher;
    enum fg_tls_digest digest;
    size_t key_bytes;
} suites[FG_TLS_SUITE_COUNT] = {
    [FG_TLS_AES_128_GCM_SHA256] = {"AES-128-GCM", FG_TLS_SHA256, 16},
    [FG_TLS_AES_256_GCM_SHA384] = {"AES-256-GCM", FG_TLS_SHA384, 32},
    [FG_TLS_CHACHA20_POLY1305_SHA256] = {"ChaCha20-Poly1305", FG_TLS_SHA256, 32},
};

enum fg_status fg_tls_crypto_init(struct fg_tls_crypto *crypto)
{
    *crypto = (struct fg_tls_crypto){0};
    for (size_t i = 0; i < FG_TLS_SUITE_COUNT; i++) {
        if (!fg_tls_cipher_open(&crypto->ciphers[i], suites[i].cipher))
            goto fail;
    }
    if (fg_tls_kdf_init(&crypto->kdf) != FG_OK)
        goto fail;
    return FG_OK;
fail:
    ERR_clear_error();
    fg_tls_crypto_fini(crypto);
    return FG_ERR_NO_MEMORY;
}

void fg_tls_crypto_fini(struct fg_tls_crypto *crypto)
{
    for (size_t i = 0; i < FG_TLS_SUITE_COUNT; i++)
        fg_tls_cipher_close(&crypto->ciphers[i]);
    fg_tls_kdf_fini(&crypto->kdf);
    *crypto = (struct fg_tls_crypto){0};
}

size_t fg_tls_secret_bytes(enum fg_tls_suite suite)
{
    return fg_tls_digest_bytes(suites[suite].digest);
}

/* Without a context: all that is needed from here on. */
static bool expand(struct fg_tls_crypto *crypto, const struct fg_tls_keys *keys,
                   struct fg_span label, unsigned char *to, size_t len)
{
    return fg_tls_kdf_expand(&crypto->kdf, suites[keys->suite].digest, keys->secret, label,
                             FG_SPAN(""), to, len);
}

void fg_tls_keys_learn(struct fg_tls_keys *keys, struct fg_span label, struct fg_span secret,
                       struct fg_span out)
{
    if (secret.len > sizeof(keys->secret) ||
        CRYPTO_memcmp(secret.data, keys->secret, secret.len) != 0)
        return;
    if (fg_span_equal(label, FG_SPAN("key")) && out.len <= sizeof(keys->key)) {
        memcpy(keys->key, out.data, out.len);
        keys->known_key_bytes = (uint8_t)out.len;
    } else if (fg_span_equal(label, FG_SPAN("iv")) && out.len <= sizeof(keys->iv)) {
        memcpy(keys->iv, out.data, out.len);
        keys->known_iv_bytes = (uint8_t)out.len;
    }
}

bool fg_tls_keys_derive(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto,
                        enum fg_tls_suite suite, bool is_sealing)
{
    fg_tls_keys_rest(keys);
    keys->suite = (uint8_t)suite;
    keys->is_sealing = is_sealing;
    keys->sequence = 0;
    bool knows_key = keys->known_key_bytes == suites[suite].key_bytes;
    bool knows_iv = keys->known_iv_bytes == sizeof(keys->iv);
    keys->known_key_bytes = keys->known_iv_bytes = 0; /* of the next secret */
    if ((knows_key || expand(crypto, keys, FG_SPAN("key"), keys->key, suites[suite].key_bytes)) &&
        (knows_iv || expand(crypto, keys, FG_SPAN("iv"), keys->iv, sizeof(keys->iv))))
        return true;
    ERR_clear_error();
    return false;
}

bool fg_tls_keys_update(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto)
{
    unsigned char next[FG_TLS_SECRET_BYTES_MAX];
    size_t len = fg_tls_secret_bytes(keys->suite);
    bool is_fine = expand(crypto, keys, FG_SPAN("traffic upd"), next, len);
    if (is_fine)
        memcpy(keys->secret, next, len);
    OPENSSL_cleanse(next, sizeof(next));
    ERR_clear_error();
    return is_fine && fg_tls_keys_derive(keys, crypto, keys->suite, keys->is_sealing);
}

/* With a key, or the nonce of one record: neither changes the other. */
static bool start(const struct fg_tls_keys *keys, const unsigned char *key, size_t key_bytes,
                  const unsigned char *nonce, size_t nonce_bytes)
{
    const struct fg_tls_cipher *cipher = keys->cipher;
    return (keys->is_sealing ? cipher->begin_sealing : cipher->begin_opening)(
               keys->ctx, key, key_bytes, nonce, nonce_bytes, NULL) == 1;
}

bool fg_tls_keys_wake(struct fg_tls_keys *keys, struct fg_tls_crypto *crypto)
{
    if (keys->ctx != NULL)
        return true;
    keys->cipher = &crypto->ciphers[keys->suite];
    keys->ctx = keys->cipher->make(keys->cipher->provider);
    if (keys->ctx != NULL && start(keys, keys->key, suites[keys->suite].key_bytes, NULL, 0))
        return true;
    ERR_clear_error();
    fg_tls_keys_rest(keys);
    return false;
}

void fg_tls_keys_rest(struct fg_tls_keys *keys)
{
    if (keys->ctx != NULL)
        keys->cipher->free(keys->ctx); /* which wipes what it frees */
    keys->ctx = NULL;
}

void fg_tls_keys_wipe(struct fg_tls_keys *keys)
{
    fg_tls_keys_rest(keys);
    OPENSSL_cleanse(keys, sizeof(*keys));
}

/* The nonce of the next record (5.3), which is then spent, and its head as data that go along. */
static bool begin(struct fg_tls_keys *keys, const unsigned char head[FG_TLS_HEAD_BYTES])
{
    unsigned char nonce[FG_TLS_IV_BYTES];
    size_t len;
    assert(keys->ctx != NULL);
    if (keys->sequence == UINT64_MAX)
        return false; /* it must not wrap; nobody lives to see it */
    memcpy(nonce, keys->iv, sizeof(nonce));
    for (unsigned i = 0; i < 8; i++)
        nonce[sizeof(nonce) - 1 - i] ^= (unsigned char)(keys->sequence >> 8 * i);
    keys->sequence++;
    return start(keys, NULL, 0, nonce, sizeof(nonce)) &&
           keys->cipher->update(keys->ctx, NULL, &len, FG_TLS_HEAD_BYTES, head,
                                FG_TLS_HEAD_BYTES) == 1;
}

bool fg_tls_keys_seal(struct fg_tls_keys *keys, const unsigned char head[FG_TLS_HEAD_BYTES],
                      unsigned char *data, size_t len)
{
    const struct fg_tls_cipher *cipher = keys->cipher;
    size_t done, rest;
    OSSL_PARAM tag[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, data + len, FG_TLS_TAG_BYTES),
        OSSL_PARAM_construct_end()};
    if (begin(keys, head) && cipher->update(keys->ctx, data, &done, len, data, len) == 1 &&
        done <= len && cipher->finish(keys->ctx, data + done, &rest, len - done) == 1 &&
        done + rest == len && cipher->get(keys->ctx, tag) == 1)
        return true;
    ERR_clear_error();
    return false;
}

bool fg_tls_keys_open(struct fg_tls_keys *keys, const unsigned char head[FG_TLS_HEAD_BYTES],
                      const struct iovec *pieces, size_t piece_count, size_t len, unsigned char *to)
{
    unsigned char tag_bytes[FG_TLS_TAG_BYTES], last[FG_TLS_TAG_BYTES];
    const struct fg_tls_cipher *cipher = keys->cipher;
    size_t left = len, tag_len = 0, done;
    bool is_fine = begin(keys, head);
    for (size_t i = 0; i < piece_count && is_fine; i++) {
        const unsigned char *from = pieces[i].iov_base;
        size_t part = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        size_t behind = pieces[i].iov_len - part;
        if (part > 0)
            is_fine = cipher->update(keys->ctx, to + (len - left), &done, part, from, part) == 1 &&
                      done == part;
        left -= part;
        if (behind > sizeof(tag_bytes) - tag_len)
            behind = sizeof(tag_bytes) - tag_len;
        memcpy(tag_bytes + tag_len, from + part, behind);
        tag_len += behind;
    }
    assert(!is_fine || (left == 0 && tag_len == sizeof(tag_bytes)));
    OSSL_PARAM tag[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag_bytes, sizeof(tag_bytes)),
        OSSL_PARAM_construct_end()};
    if (is_fine && cipher->set(keys->ctx, tag) == 1 &&
        cipher->finish(keys->ctx, last, &done, sizeof(last)) == 1)
        return true;
    ERR_clear_error();
    return false;
}
