/*
 * key_algorithm.c: see key_algorithm.h.
 */
#include "config/key_algorithm.h"

#include <stdbool.h>
#include <string.h>

#define MODULUS_BYTES_MIN 256 /* 2048 bits */

static const struct fg_key_kind kinds[] = {
    [FG_KEY_HS256] = {"HS256", FG_KEY_SCHEME_HMAC, "oct", NULL, NULL, EVP_sha256, 32},
    [FG_KEY_HS384] = {"HS384", FG_KEY_SCHEME_HMAC, "oct", NULL, NULL, EVP_sha384, 48},
    [FG_KEY_HS512] = {"HS512", FG_KEY_SCHEME_HMAC, "oct", NULL, NULL, EVP_sha512, 64},
    [FG_KEY_RS256] = {"RS256", FG_KEY_SCHEME_PKCS1, "RSA", NULL, NULL, EVP_sha256,
                      MODULUS_BYTES_MIN},
    [FG_KEY_RS384] = {"RS384", FG_KEY_SCHEME_PKCS1, "RSA", NULL, NULL, EVP_sha384,
                      MODULUS_BYTES_MIN},
    [FG_KEY_RS512] = {"RS512", FG_KEY_SCHEME_PKCS1, "RSA", NULL, NULL, EVP_sha512,
                      MODULUS_BYTES_MIN},
    [FG_KEY_PS256] = {"PS256", FG_KEY_SCHEME_PSS, "RSA", NULL, NULL, EVP_sha256, MODULUS_BYTES_MIN},
    [FG_KEY_PS384] = {"PS384", FG_KEY_SCHEME_PSS, "RSA", NULL, NULL, EVP_sha384, MODULUS_BYTES_MIN},
    [FG_KEY_PS512] = {"PS512", FG_KEY_SCHEME_PSS, "RSA", NULL, NULL, EVP_sha512, MODULUS_BYTES_MIN},
    [FG_KEY_ES256] = {"ES256", FG_KEY_SCHEME_ECDSA, "EC", "P-256", "prime256v1", EVP_sha256, 32},
    [FG_KEY_ES384] = {"ES384", FG_KEY_SCHEME_ECDSA, "EC", "P-384", "secp384r1", EVP_sha384, 48},
    [FG_KEY_ES512] = {"ES512", FG_KEY_SCHEME_ECDSA, "EC", "P-521", "secp521r1", EVP_sha512, 66},
    [FG_KEY_EDDSA] = {"EdDSA", FG_KEY_SCHEME_EDDSA, "OKP", "Ed25519", NULL, NULL, 32},
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == FG_KEY_ALGORITHM_COUNT, "one row each");

const struct fg_key_kind *fg_key_kind_of(enum fg_key_algorithm algorithm)
{
    return &kinds[algorithm];
}

const char *fg_key_algorithm_name(enum fg_key_algorithm algorithm)
{
    return kinds[algorithm].name;
}

static bool fits(const struct fg_key_kind *kind, const char *type, const char *curve)
{
    return strcmp(kind->type, type) == 0 &&
           (kind->curve == NULL || (curve != NULL && strcmp(kind->curve, curve) == 0));
}

enum fg_key_algorithm fg_key_algorithm_choose(const char *name, const char *type, const char *curve)
{
    unsigned i = 0; /* of each type and curve the usual one stands first */
    while (i < FG_KEY_ALGORITHM_COUNT &&
           ((name != NULL && strcmp(kinds[i].name, name) != 0) || !fits(&kinds[i], type, curve)))
        i++;
    return (enum fg_key_algorithm)i;
}
