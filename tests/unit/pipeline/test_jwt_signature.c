/*
 * test_jwt_signature.c: signatures of each algorithm, ours and the examples of RFC 7520; none is
 * good under another algorithm of the same key, with another salt, or with a byte changed.
 */
#include "base/base64url.h"
#include "pipeline/jwt_signature.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct fg_span text = FG_SPAN_LITERAL("header.claims");
static EVP_MD_CTX *ctx;
static EVP_PKEY *rsa;

static int set_up(void **state)
{
    (void)state;
    ctx = EVP_MD_CTX_new();
    rsa = EVP_RSA_gen(2048);
    return ctx == NULL || rsa == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(rsa);
    return 0;
}

static struct fg_public_key make_key(enum fg_key_algorithm algorithm)
{
    const struct fg_key_kind *kind = fg_key_kind_of(algorithm);
    struct fg_public_key key = {.algorithm = algorithm};
    if (kind->scheme == FG_KEY_SCHEME_HMAC) {
        memset(key.secret, 's', kind->bytes);
        key.secret_bytes = kind->bytes;
    } else if (kind->scheme == FG_KEY_SCHEME_ECDSA) {
        key.key = EVP_EC_gen(kind->group);
    } else if (kind->scheme == FG_KEY_SCHEME_EDDSA) {
        key.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    } else {
        key.key = rsa;
        assert_int_equal(EVP_PKEY_up_ref(rsa), 1);
    }
    assert_true(key.key != NULL || key.secret_bytes > 0);
    return key;
}

/* With a salt of `salt` bytes, where there is one. */
static size_t sign(const struct fg_public_key *key, int salt, unsigned char out[512])
{
    const struct fg_key_kind *kind = fg_key_kind_of(key->algorithm);
    const EVP_MD *md = kind->digest == NULL ? NULL : kind->digest();
    EVP_PKEY *secret = key->key;
    EVP_PKEY_CTX *options = NULL;
    size_t len = 512;
    if (secret == NULL)
        secret = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, key->secret, key->secret_bytes);
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(signer, &options, md, NULL, secret), 1);
    if (kind->scheme == FG_KEY_SCHEME_PSS) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, salt), 1);
    }
    assert_int_equal(EVP_DigestSign(signer, out, &len, (const unsigned char *)text.data, text.len),
                     1);
    EVP_MD_CTX_free(signer);
    if (key->key == NULL)
        EVP_PKEY_free(secret);
    if (kind->scheme != FG_KEY_SCHEME_ECDSA)
        return len;
    const unsigned char *at = out; /* DER into r and s */
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, (int)kind->bytes), kind->bytes);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + kind->bytes, (int)kind->bytes),
                     kind->bytes);
    ECDSA_SIG_free(pair);
    return 2 * kind->bytes;
}

static bool is_good(const struct fg_public_key *key, const unsigned char *signature, size_t len)
{
    return fg_jwt_signature_is_good(ctx, key, text, signature, len);
}

static void takes_its_own(void **state)
{
    (void)state;
    unsigned char signature[512];
    for (unsigned i = 0; i < FG_KEY_ALGORITHM_COUNT; i++) {
        struct fg_public_key key = make_key((enum fg_key_algorithm)i);
        print_message("%s\n", fg_key_algorithm_name(key.algorithm));
        size_t len = sign(&key, RSA_PSS_SALTLEN_DIGEST, signature);
        assert_true(is_good(&key, signature, len));
        assert_true(is_good(&key, signature, len)); /* nothing is left over in the context */
        assert_false(is_good(&key, signature, len - 1));
        assert_false(is_good(&key, signature, len + 1));
        assert_false(is_good(&key, signature, 0));
        for (size_t at = 0; at < len; at += len / 8) {
            signature[at] ^= 1;
            assert_false(is_good(&key, signature, len));
            signature[at] ^= 1;
        }
        memset(signature, 0xff, sizeof(signature)); /* the longest numbers there are */
        assert_false(is_good(&key, signature, len));
        memset(signature, 0, sizeof(signature));
        assert_false(is_good(&key, signature, len));
        EVP_PKEY_free(key.key);
    }
}

/* The key says how it is looked at; that the same RSA key could make it does not help. */
static void takes_none_of_another_algorithm(void **state)
{
    (void)state;
    unsigned char signature[512];
    for (unsigned made = FG_KEY_RS256; made <= FG_KEY_PS512; made++) {
        struct fg_public_key key = make_key((enum fg_key_algorithm)made);
        size_t len = sign(&key, RSA_PSS_SALTLEN_DIGEST, signature);
        for (unsigned asked = FG_KEY_RS256; asked <= FG_KEY_PS512; asked++) {
            key.algorithm = (enum fg_key_algorithm)asked;
            assert_int_equal(is_good(&key, signature, len), asked == made);
        }
        EVP_PKEY_free(key.key);
    }
}

static void wants_a_salt_as_long_as_the_digest(void **state)
{
    (void)state;
    unsigned char signature[512];
    struct fg_public_key key = make_key(FG_KEY_PS384);
    static const int salts[] = {0, 32, 47, 49, 64};
    for (size_t i = 0; i < sizeof(salts) / sizeof(salts[0]); i++)
        assert_false(is_good(&key, signature, sign(&key, salts[i], signature)));
    assert_true(is_good(&key, signature, sign(&key, 48, signature)));
    EVP_PKEY_free(key.key);
}

/* Of 256 one begins with a zero: it is that number still, but no signature (RFC 8017 section 8). */
static void takes_none_without_its_leading_zeros(void **state)
{
    (void)state;
    const struct fg_span usual = text;
    static const enum fg_key_algorithm algorithms[] = {FG_KEY_RS256, FG_KEY_PS256};
    for (unsigned i = 0; i < 2; i++) {
        struct fg_public_key key = make_key(algorithms[i]);
        unsigned char signature[512] = {1};
        char claims[32];
        for (unsigned n = 0; n < 10000 && signature[0] != 0; n++) {
            text = fg_span_make(claims, (size_t)snprintf(claims, sizeof(claims), "header.%u", n));
            assert_int_equal(sign(&key, RSA_PSS_SALTLEN_DIGEST, signature), 256);
        }
        assert_int_equal(signature[0], 0);
        assert_true(is_good(&key, signature, 256));
        assert_false(is_good(&key, signature + 1, 255));
        EVP_PKEY_free(key.key);
    }
    text = usual;
}

/* ---- RFC 7520 ---- */

#define PAYLOAD                                                                                    \
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAg"     \
    "b250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dp"     \
    "bmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"

/* Sections 3.3 and 3.1. */
#define RSA_JWK(alg)                                                                               \
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"b\",\"use\":\"sig\",\"alg\":\"" alg "\",\"n\":\""       \
    "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_"     \
    "AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpP"     \
    "e7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg"     \
    "_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw\","            \
    "\"e\":\"AQAB\"}]}"
#define EC_JWK                                                                                     \
    "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"b\",\"use\":\"sig\",\"crv\":\"P-521\",\"x\":\""          \
    "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt"     \
    "\",\"y\":\""                                                                                  \
    "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"     \
    "\"}]}"

static const struct {
    const char *keys;
    const char *is_signed;
    const char *signature;
    bool is_good;
} examples[] = {
    /* section 4.2 */
    {RSA_JWK("PS384"),
     "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." PAYLOAD,
     "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6"
     "O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqi"
     "VJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_"
     "jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
     true},
    /* section 4.3 */
    {EC_JWK, "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." PAYLOAD,
     "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJ"
     "AQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
     true},
    /* of another text */
    {EC_JWK, "eyJhbGciOiJFUzUxMiJ9." PAYLOAD,
     "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJ"
     "AQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
     false},
};

static void agrees_with_the_standard(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        struct fg_key_set set;
        unsigned char signature[512];
        size_t len;
        char why[192];
        assert_true(
            fg_key_set_parse(&set, fg_span_from_string(examples[i].keys), NULL, why, sizeof(why)));
        assert_true(fg_base64url_decode(signature, sizeof(signature),
                                        fg_span_from_string(examples[i].signature), &len));
        assert_int_equal(fg_jwt_signature_is_good(ctx, &set.keys[0],
                                                  fg_span_from_string(examples[i].is_signed),
                                                  signature, len),
                         examples[i].is_good);
        fg_key_set_fini(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_its_own),
        cmocka_unit_test(takes_none_of_another_algorithm),
        cmocka_unit_test(wants_a_salt_as_long_as_the_digest),
        cmocka_unit_test(takes_none_without_its_leading_zeros),
        cmocka_unit_test(agrees_with_the_standard),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
