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
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <assert.h>
#include <limits.h>
#include <string.h>

#define LABEL_PREFIX "tls13 "
#define LABEL_BYTES_MAX 24u

static const struct suite {
    const char *cipher;
    const char *digest;
    size_t key_bytes;
    size_t secret_bytes;
} suites[FG_TLS_SUITE_COUNT] = {
    [FG_TLS_AES_128_GCM_SHA256] = {"AES-128-GCM", "SHA256", 16, 32},
    [FG_TLS_AES_256_GCM_SHA384] = {"AES-256-GCM", "SHA384", 32, 48},
    [FG_TLS_CHACHA20_POLY1305_SHA256] = {"ChaCha20-Poly1305", "SHA256", 32, 32},
};

enum fg_status fg_tls_crypto_init(struct fg_tls_crypto *crypto)
{
    *crypto = (struct fg_tls_crypto){.hkdf = NULL};
    for (size_t i = 0; i < FG_TLS_SUITE_COUNT; i++) {
        crypto->ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher, NULL);
        if (crypto->ciphers[i] == NULL)
            goto fail;
    }
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    crypto->hkdf = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (crypto->hkdf == NULL)
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
        EVP_CIPHER_free(crypto->ciphers[i]);
    EVP_KDF_CTX_free(crypto->hkdf);
    *crypto = (struct fg_tls_crypto){.hkdf = NULL};
}

size_t fg_tls_secret_bytes(enum fg_tls_suite suite)
{
    return suites[suite].secret_bytes;
}

/* HKDF-Expand-Label of RFC 8446 section 7.1, without a context: all that is needed from here on. */
static bool expand(const struct fg_tls_crypto *crypto, const struct fg_tls_keys *keys,
                   const char *label, unsigned char *to, size_t len)
{
    const struct suite *suite = &suites[keys->suite];
    unsigned char info[LABEL_BYTES_MAX];
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    size_t prefix_len = strlen(LABEL_PREFIX), label_len = strlen(label);
    size_t info_len = 4 + prefix_len + label_len;
    assert(info_len <= sizeof(info) && len <= UCHAR_MAX);
    info[0] = 0;
    info[1] = (unsigned char)len;
    info[2] = (unsigned char)(prefix_len + label_len);
    memcpy(info + 3, LABEL_PREFIX, prefix_len);
    memcpy(info + 3 + prefix_len, label, label_len);
    info[info_len - 1] = 0;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                           OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                            (char *)(uintptr_t)suite->digest, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
                                                             (void *)(uintptr_t)keys->secret,
                                                             suite->secret_bytes),
                           OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, info_len),
                           OSSL_PARAM_construct_end()};
    bool is_fine = EVP_KDF_derive(crypto->hkdf, to, len, params) == 1;
    EVP_KDF_CTX_reset(crypto->hkdf); /* and wipes its copy of the secret */
    return is_fine;
}

bool fg_tls_keys_derive(struct fg_tls_keys *keys, const struct fg_tls_crypto *crypto,
                        enum fg_tls_suite suite, bool is_sealing)
{
    fg_tls_keys_rest(keys);
    keys->suite = (uint8_t)suite;
    keys->is_sealing = is_sealing;
    keys->sequence = 0;
    if (expand(crypto, keys, "key", keys->key, suites[suite].key_bytes) &&
        expand(crypto, keys, "iv", keys->iv, sizeof(keys->iv)))
        return true;
    ERR_clear_error();
    return false;
}

bool fg_tls_keys_update(struct fg_tls_keys *keys, const struct fg_tls_crypto *crypto)
{
    unsigned char next[FG_TLS_SECRET_BYTES_MAX];
    size_t len = suites[keys->suite].secret_bytes;
    bool is_fine = expand(crypto, keys, "traffic upd", next, len);
    if (is_fine)
        memcpy(keys->secret, next, len);
    OPENSSL_cleanse(next, sizeof(next));
    ERR_clear_error();
    return is_fine && fg_tls_keys_derive(keys, crypto, keys->suite, keys->is_sealing);
}

bool fg_tls_keys_wake(struct fg_tls_keys *keys, const struct fg_tls_crypto *crypto)
{
    if (keys->ctx != NULL)
        return true;
    keys->ctx = EVP_CIPHER_CTX_new();
    if (keys->ctx != NULL && EVP_CipherInit_ex2(keys->ctx, crypto->ciphers[keys->suite], keys->key,
                                                NULL, keys->is_sealing ? 1 : 0, NULL) == 1)
        return true;
    ERR_clear_error();
    fg_tls_keys_rest(keys);
    return false;
}

void fg_tls_keys_rest(struct fg_tls_keys *keys)
{
    EVP_CIPHER_CTX_free(keys->ctx); /* which wipes what it frees */
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
    int len;
    assert(keys->ctx != NULL);
    if (keys->sequence == UINT64_MAX)
        return false; /* it must not wrap; nobody lives to see it */
    memcpy(nonce, keys->iv, sizeof(nonce));
    for (unsigned i = 0; i < 8; i++)
        nonce[sizeof(nonce) - 1 - i] ^= (unsigned char)(keys->sequence >> 8 * i);
    keys->sequence++;
    return EVP_CipherInit_ex2(keys->ctx, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(keys->ctx, NULL, &len, head, (int)FG_TLS_HEAD_BYTES) == 1;
}

bool fg_tls_keys_seal(struct fg_tls_keys *keys, const unsigned char head[FG_TLS_HEAD_BYTES],
                      unsigned char *data, size_t len)
{
    int done, rest;
    OSSL_PARAM tag[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, data + len, FG_TLS_TAG_BYTES),
        OSSL_PARAM_construct_end()};
    if (begin(keys, head) && EVP_CipherUpdate(keys->ctx, data, &done, data, (int)len) == 1 &&
        EVP_CipherFinal_ex(keys->ctx, data + done, &rest) == 1 && (size_t)(done + rest) == len &&
        EVP_CIPHER_CTX_get_params(keys->ctx, tag) == 1)
        return true;
    ERR_clear_error();
    return false;
}

bool fg_tls_keys_open(struct fg_tls_keys *keys, const unsigned char head[FG_TLS_HEAD_BYTES],
                      const struct iovec *pieces, size_t piece_count, size_t len, unsigned char *to)
{
    unsigned char tag_bytes[FG_TLS_TAG_BYTES], last[FG_TLS_TAG_BYTES];
    size_t left = len, tag_len = 0;
    int done;
    bool is_fine = begin(keys, head);
    for (size_t i = 0; i < piece_count && is_fine; i++) {
        const unsigned char *from = pieces[i].iov_base;
        size_t part = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        size_t behind = pieces[i].iov_len - part;
        if (part > 0)
            is_fine = EVP_CipherUpdate(keys->ctx, to + (len - left), &done, from, (int)part) == 1 &&
                      (size_t)done == part;
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
    if (is_fine && EVP_CIPHER_CTX_set_params(keys->ctx, tag) == 1 &&
        EVP_CipherFinal_ex(keys->ctx, last, &done) == 1)
        return true;
    ERR_clear_error();
    return false;
}
