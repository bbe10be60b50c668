/*
 * key_algorithm.h: the algorithms that a key of somebody else may be for.
 * Job      one table: what a key of each must look like, and what its signatures are made of.
 * Thread   any; constants.
 * Source   RFC 7518 sections 3.1 (names) and 6 (kinds of keys), RFC 8037 section 3.1 (EdDSA).
 */
#ifndef FG_CONFIG_KEY_ALGORITHM_H
#define FG_CONFIG_KEY_ALGORITHM_H

#include <openssl/evp.h>
#include <stddef.h>

enum fg_key_algorithm {
    FG_KEY_HS256,
    FG_KEY_HS384,
    FG_KEY_HS512,
    FG_KEY_RS256,
    FG_KEY_RS384,
    FG_KEY_RS512,
    FG_KEY_PS256,
    FG_KEY_PS384,
    FG_KEY_PS512,
    FG_KEY_ES256,
    FG_KEY_ES384,
    FG_KEY_ES512,
    FG_KEY_EDDSA,
    FG_KEY_ALGORITHM_COUNT
};

enum fg_key_scheme {
    FG_KEY_SCHEME_HMAC,
    FG_KEY_SCHEME_PKCS1, /* RSASSA-PKCS1-v1_5 */
    FG_KEY_SCHEME_PSS,   /* RSASSA-PSS: MGF1 and a salt as long as the digest, both of its hash */
    FG_KEY_SCHEME_ECDSA,
    FG_KEY_SCHEME_EDDSA,
};

struct fg_key_kind {
    const char *name; /* "alg" */
    enum fg_key_scheme scheme;
    const char *type;              /* "kty" */
    const char *curve;             /* "crv"; NULL: has none */
    const char *group;             /* the curve, as OpenSSL calls it; NULL: not of ECDSA */
    const EVP_MD *(*digest)(void); /* NULL: the scheme has its own */
    size_t bytes; /* of a coordinate, of an Ed25519 key; the least of a secret (section 3.2) or of
                     a modulus (section 3.3) */
};

const struct fg_key_kind *fg_key_kind_of(enum fg_key_algorithm algorithm);

/* "RS256", as tokens say. */
const char *fg_key_algorithm_name(enum fg_key_algorithm algorithm);

/*
 * The algorithm `name` for a key of this type and curve (NULL: none). Without a name it is the only
 * one there is for such keys, or the one with SHA-256. FG_KEY_ALGORITHM_COUNT: we know none of that
 * name that such a key could be for. Names are told apart by case, as `alg` is.
 */
enum fg_key_algorithm fg_key_algorithm_choose(const char *name, const char *type,
                                              const char *curve);

#endif
