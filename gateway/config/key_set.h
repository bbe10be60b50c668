/*
 * key_set.h: the public keys of somebody whose tokens are accepted, out of a file.
 * Job      a JWK set (RFC 7517), or a PEM public key or certificate; each key is fixed to one
 *          algorithm: what its `alg` says, else what the configuration says of such keys, else the
 *          usual one of its type. So no token can choose.
 * Thread   any; _load reads a file, so never a loop's. A set is read-only once made.
 * Never    takes a key that is too weak: RSA below 2048 bits, a secret shorter than its hash.
 * Source   RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2.
 */
#ifndef FG_CONFIG_KEY_SET_H
#define FG_CONFIG_KEY_SET_H

#include "base/span.h"
#include "config/key_algorithm.h"

#include <openssl/evp.h>

#define FG_KEY_SET_MAX 64u
#define FG_KEY_ID_BYTES_MAX 127u
#define FG_KEY_SECRET_BYTES_MAX 512u

struct fg_public_key {
    char id[FG_KEY_ID_BYTES_MAX + 1]; /* "kid"; empty: none */
    enum fg_key_algorithm algorithm;
    EVP_PKEY *key; /* NULL: a secret */
    unsigned char secret[FG_KEY_SECRET_BYTES_MAX];
    size_t secret_bytes;
};

/* Zeroed is empty. */
struct fg_key_set {
    struct fg_public_key *keys;
    size_t count;
    char left_out[96]; /* why the first key was that is wrong or too weak; empty: none is */
};

/*
 * False with `why`, and then the set is empty. `algorithm` ("PS256") is what keys are for that name
 * none themselves, all of them; NULL: the usual one of each. Keys for encryption, for another
 * algorithm and of types that we do not know are left out, and so is what is wrong or too weak
 * (RFC 7517 section 5): whoever publishes the set would otherwise lock everybody out by one key
 * beside the good ones. A set without any other is an error. Several may have one name, of one
 * algorithm, too (section 4.5 only advises against it).
 */
bool fg_key_set_load(struct fg_key_set *set, const char *path, const char *algorithm, char *why,
                     size_t why_bytes);
bool fg_key_set_parse(struct fg_key_set *set, struct fg_span text, const char *algorithm, char *why,
                      size_t why_bytes);
void fg_key_set_fini(struct fg_key_set *set);

#endif
