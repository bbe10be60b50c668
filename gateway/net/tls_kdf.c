/*
 * tls_kdf.c: see tls_kdf.h. HMAC (RFC 2104) by its definition, one hash in another: with a new key
 * each time there is nothing in it to prepare but the hash's context.
 */
#include "net/tls_kdf.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <assert.h>
#include <limits.h>
#include <string.h>

#define BLOCK_BYTES_MAX 128u
#define INNER_PAD 0x36
#define OUTER_PAD 0x5c
#define LABEL_PREFIX "tls13 "
#define LABEL_PREFIX_LEN (sizeof(LABEL_PREFIX) - 1)
#define INFO_BYTES_MAX 128u

static const struct {
    const char *name;
    size_t bytes;
    size_t block_bytes;
} kinds[FG_TLS_DIGEST_COUNT] = {
    [FG_TLS_SHA256] = {"SHA256", 32, 64},
    [FG_TLS_SHA384] = {"SHA384", 48, 128},
};

size_t fg_tls_digest_bytes(enum fg_tls_digest digest)
{
    return kinds[digest].bytes;
}

static struct fg_span span_of(const unsigned char *bytes, size_t len)
{
    return fg_span_make((const char *)bytes, len);
}

static bool make_ready(struct fg_tls_hash *hash)
{
    if (!hash->is_ready)
        hash->is_ready = EVP_DigestInit_ex2(hash->ctx, hash->digest, NULL) == 1;
    return hash->is_ready;
}

/* Making it ready anew at once wipes what the context still knows of them. */
static bool hash_parts(struct fg_tls_hash *hash, const struct fg_span *parts, size_t count,
                       unsigned char *out)
{
    bool is_fine = make_ready(hash);
    for (size_t i = 0; i < count; i++)
        is_fine = is_fine && EVP_DigestUpdate(hash->ctx, parts[i].data, parts[i].len) == 1;
    is_fine = is_fine && EVP_DigestFinal_ex(hash->ctx, out, NULL) == 1;
    hash->is_ready = false;
    return make_ready(hash) && is_fine;
}

/* Of two parts, either of which may be empty. */
static bool hmac(struct fg_tls_hash *hash, struct fg_span key, struct fg_span first,
                 struct fg_span second, unsigned char *out)
{
    unsigned char pad[BLOCK_BYTES_MAX], inner[FG_TLS_DIGEST_BYTES_MAX];
    if (key.len > hash->block_bytes)
        return false;
    memset(pad, INNER_PAD, hash->block_bytes);
    for (size_t i = 0; i < key.len; i++)
        pad[i] ^= (unsigned char)key.data[i];
    const struct fg_span inside[] = {span_of(pad, hash->block_bytes), first, second};
    bool is_fine = hash_parts(hash, inside, 3, inner);
    for (size_t i = 0; i < hash->block_bytes; i++)
        pad[i] ^= INNER_PAD ^ OUTER_PAD;
    const struct fg_span outside[] = {span_of(pad, hash->block_bytes), span_of(inner, hash->bytes)};
    is_fine = is_fine && hash_parts(hash, outside, 2, out);
    OPENSSL_cleanse(pad, sizeof(pad));
    OPENSSL_cleanse(inner, sizeof(inner));
    return is_fine;
}

static bool make_hash(struct fg_tls_hash *hash, enum fg_tls_digest digest)
{
    hash->bytes = kinds[digest].bytes;
    hash->block_bytes = kinds[digest].block_bytes;
    hash->digest = EVP_MD_fetch(NULL, kinds[digest].name, NULL);
    hash->ctx = EVP_MD_CTX_new();
    return hash->digest != NULL && hash->ctx != NULL && hash_parts(hash, NULL, 0, hash->of_nothing);
}

enum fg_status fg_tls_kdf_init(struct fg_tls_kdf *kdf)
{
    *kdf = (struct fg_tls_kdf){0};
    for (unsigned i = 0; i < FG_TLS_DIGEST_COUNT; i++) {
        if (!make_hash(&kdf->hashes[i], i))
            goto fail;
    }
    return FG_OK;
fail:
    ERR_clear_error();
    fg_tls_kdf_fini(kdf);
    return FG_ERR_NO_MEMORY;
}

void fg_tls_kdf_fini(struct fg_tls_kdf *kdf)
{
    for (unsigned i = 0; i < FG_TLS_DIGEST_COUNT; i++) {
        EVP_MD_CTX_free(kdf->hashes[i].ctx);
        EVP_MD_free(kdf->hashes[i].digest);
    }
    *kdf = (struct fg_tls_kdf){0};
}

/* HKDF-Expand of one round; the info is what RFC 8446 calls HkdfLabel, and the round's number. */
bool fg_tls_kdf_expand(struct fg_tls_kdf *kdf, enum fg_tls_digest digest,
                       const unsigned char *secret, struct fg_span label, struct fg_span data,
                       unsigned char *out, size_t len)
{
    struct fg_tls_hash *hash = &kdf->hashes[digest];
    unsigned char info[INFO_BYTES_MAX], round[FG_TLS_DIGEST_BYTES_MAX];
    size_t label_len = LABEL_PREFIX_LEN + label.len;
    if (len > hash->bytes || label.len > INFO_BYTES_MAX || data.len > INFO_BYTES_MAX ||
        5 + label_len + data.len > sizeof(info))
        return false;
    unsigned char *at = info;
    *at++ = 0;
    *at++ = (unsigned char)len;
    *at++ = (unsigned char)label_len;
    memcpy(at, LABEL_PREFIX, LABEL_PREFIX_LEN);
    memcpy(at + LABEL_PREFIX_LEN, label.data, label.len);
    at += label_len;
    *at++ = (unsigned char)data.len;
    if (data.len > 0)
        memcpy(at, data.data, data.len);
    at += data.len;
    *at++ = 1;
    bool is_fine = hmac(hash, span_of(secret, hash->bytes), span_of(info, (size_t)(at - info)),
                        FG_SPAN(""), round);
    if (is_fine)
        memcpy(out, round, len);
    OPENSSL_cleanse(round, sizeof(round));
    return is_fine;
}

bool fg_tls_kdf_extract(struct fg_tls_kdf *kdf, enum fg_tls_digest digest,
                        const unsigned char *before, struct fg_span input, unsigned char *out)
{
    static const unsigned char zeroes[FG_TLS_DIGEST_BYTES_MAX];
    struct fg_tls_hash *hash = &kdf->hashes[digest];
    unsigned char salt[FG_TLS_DIGEST_BYTES_MAX] = {0};
    if (input.len == 0)
        input = span_of(zeroes, hash->bytes);
    bool is_fine = (before == NULL ||
                    fg_tls_kdf_expand(kdf, digest, before, FG_SPAN("derived"),
                                      span_of(hash->of_nothing, hash->bytes), salt, hash->bytes)) &&
                   hmac(hash, span_of(salt, hash->bytes), input, FG_SPAN(""), out);
    OPENSSL_cleanse(salt, sizeof(salt));
    return is_fine;
}

/* HMAC(secret, A(i) + seed), of which A(0) is the seed, and A(i) is HMAC(secret, A(i - 1)). */
bool fg_tls_kdf_prf(struct fg_tls_kdf *kdf, enum fg_tls_digest digest, struct fg_span secret,
                    struct fg_span seed, unsigned char *out, size_t len)
{
    struct fg_tls_hash *hash = &kdf->hashes[digest];
    unsigned char chain[FG_TLS_DIGEST_BYTES_MAX], round[FG_TLS_DIGEST_BYTES_MAX];
    bool is_fine = hmac(hash, secret, seed, FG_SPAN(""), chain);
    while (is_fine && len > 0) {
        size_t part = len < hash->bytes ? len : hash->bytes;
        is_fine = hmac(hash, secret, span_of(chain, hash->bytes), seed, round);
        if (is_fine)
            memcpy(out, round, part);
        out += part;
        len -= part;
        if (len > 0)
            is_fine =
                is_fine && hmac(hash, secret, span_of(chain, hash->bytes), FG_SPAN(""), chain);
    }
    OPENSSL_cleanse(chain, sizeof(chain));
    OPENSSL_cleanse(round, sizeof(round));
    return is_fine;
}
