/*
 * jwt_signature.c: see jwt_signature.h.
 */
#include "pipeline/jwt_signature.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#define PAIR_DER_BYTES_MAX 144 /* 3 of the sequence; 3 and 66 each of P-521, with a leading zero */

static bool verify_hmac(const struct fg_public_key *key, struct fg_span is_signed,
                        const unsigned char *signature, size_t signature_bytes)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    return HMAC(fg_key_kind_of(key->algorithm)->digest(), key->secret, (int)key->secret_bytes,
                (const unsigned char *)is_signed.data, is_signed.len, mac, &len) != NULL &&
           len == signature_bytes && CRYPTO_memcmp(mac, signature, len) == 0;
}

/* The salt has the digest's length (RFC 7518 section 3.5) and MGF1 the same hash, which is what
 * OpenSSL takes when it is told none. */
static bool set_padding(EVP_PKEY_CTX *ctx, enum fg_key_scheme scheme)
{
    if (scheme != FG_KEY_SCHEME_PSS)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool verify_with_key(EVP_MD_CTX *ctx, const struct fg_public_key *key,
                            struct fg_span is_signed, const unsigned char *signature,
                            size_t signature_bytes)
{
    const struct fg_key_kind *kind = fg_key_kind_of(key->algorithm);
    EVP_PKEY_CTX *key_ctx = NULL; /* the digest's own */
    return EVP_MD_CTX_reset(ctx) == 1 &&
           EVP_DigestVerifyInit(ctx, &key_ctx, kind->digest == NULL ? NULL : kind->digest(), NULL,
                                key->key) == 1 &&
           set_padding(key_ctx, kind->scheme) &&
           EVP_DigestVerify(ctx, signature, signature_bytes, (const unsigned char *)is_signed.data,
                            is_signed.len) == 1;
}

/* r and s, each as long as a coordinate, as the DER that OpenSSL takes; 0: they are none. */
static size_t pair_to_der(const unsigned char *signature, size_t bytes,
                          unsigned char der[PAIR_DER_BYTES_MAX])
{
    unsigned char *at = der;
    int len = 0;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, (int)bytes, NULL);
    BIGNUM *s = BN_bin2bn(signature + bytes, (int)bytes, NULL);
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair owns both from here */
        len = i2d_ECDSA_SIG(pair, NULL) > PAIR_DER_BYTES_MAX ? 0 : i2d_ECDSA_SIG(pair, &at);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

static bool verify_ecdsa(EVP_MD_CTX *ctx, const struct fg_public_key *key, struct fg_span is_signed,
                         const unsigned char *signature, size_t signature_bytes)
{
    unsigned char der[PAIR_DER_BYTES_MAX];
    const size_t bytes = fg_key_kind_of(key->algorithm)->bytes;
    size_t len = signature_bytes == 2 * bytes ? pair_to_der(signature, bytes, der) : 0;
    return len > 0 && verify_with_key(ctx, key, is_signed, der, len);
}

/* As long as the modulus, to the byte (RFC 8017 sections 8.1.2 and 8.2.2): OpenSSL takes one of PSS
 * without its leading zeros, too. */
static bool verify_rsa(EVP_MD_CTX *ctx, const struct fg_public_key *key, struct fg_span is_signed,
                       const unsigned char *signature, size_t signature_bytes)
{
    return signature_bytes == (size_t)EVP_PKEY_get_size(key->key) &&
           verify_with_key(ctx, key, is_signed, signature, signature_bytes);
}

bool fg_jwt_signature_is_good(EVP_MD_CTX *ctx, const struct fg_public_key *key,
                              struct fg_span is_signed, const unsigned char *signature,
                              size_t signature_bytes)
{
    bool is_good = false;
    switch (fg_key_kind_of(key->algorithm)->scheme) {
    case FG_KEY_SCHEME_HMAC:
        is_good = verify_hmac(key, is_signed, signature, signature_bytes);
        break;
    case FG_KEY_SCHEME_ECDSA:
        is_good = verify_ecdsa(ctx, key, is_signed, signature, signature_bytes);
        break;
    case FG_KEY_SCHEME_PKCS1:
    case FG_KEY_SCHEME_PSS:
        is_good = verify_rsa(ctx, key, is_signed, signature, signature_bytes);
        break;
    case FG_KEY_SCHEME_EDDSA:
        is_good = verify_with_key(ctx, key, is_signed, signature, signature_bytes);
        break;
    }
    ERR_clear_error();
    return is_good;
}
