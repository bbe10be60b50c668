/*
 * key_set.c: see key_set.h. OpenSSL's error queue is left empty behind every function.
 */
#include "config/key_set.h"

#include "base/base64url.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)262144)
#define NUMBER_BYTES_MAX 1024
#define POINT_BYTES_MAX (1 + 2 * 66) /* of P-521 */

/* ---- one JWK ---- */

struct number {
    unsigned char bytes[NUMBER_BYTES_MAX];
    size_t len;
};

static bool read_number(const json_t *jwk, const char *name, struct number *number)
{
    const json_t *text = json_object_get(jwk, name);
    return json_is_string(text) &&
           fg_base64url_decode(number->bytes, sizeof(number->bytes),
                               fg_span_make(json_string_value(text), json_string_length(text)),
                               &number->len) &&
           number->len > 0;
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

#define TOO_LONG "an RSA key of more than 8192 bits"
_Static_assert(NUMBER_BYTES_MAX == 8192 / 8, "what TOO_LONG says");

/* Of RSA keys alone there are short ones, and such as take a millisecond to verify with. */
static const char *why_unfit_rsa(const struct fg_public_key *key)
{
    const int bits_min = 8 * (int)fg_key_kind_of(key->algorithm)->bytes;
    if (EVP_PKEY_get_base_id(key->key) != EVP_PKEY_RSA)
        return NULL;
    if (EVP_PKEY_get_bits(key->key) < bits_min)
        return "an RSA key of less than 2048 bits";
    return EVP_PKEY_get_bits(key->key) > 8 * NUMBER_BYTES_MAX ? TOO_LONG : NULL;
}

/* With a longer one the library verifies nothing, or for as long as it takes to sign. */
static bool is_exponent(const BIGNUM *e)
{
    return BN_is_odd(e) == 1 && BN_is_one(e) == 0 && BN_num_bits(e) <= 64;
}

static const char *read_rsa(const json_t *jwk, struct fg_public_key *key)
{
    struct number modulus, exponent;
    if (json_string_length(json_object_get(jwk, "n")) > (8 * NUMBER_BYTES_MAX + 5) / 6)
        return TOO_LONG;
    if (!read_number(jwk, "n", &modulus) || !read_number(jwk, "e", &exponent))
        return "an RSA key without a good n and e";
    BIGNUM *n = BN_bin2bn(modulus.bytes, (int)modulus.len, NULL);
    BIGNUM *e = BN_bin2bn(exponent.bytes, (int)exponent.len, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (n != NULL && e != NULL && builder != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        key->key = make_key("RSA", builder);
    bool has_exponent = e != NULL && is_exponent(e);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    if (!has_exponent)
        return "an RSA key whose e is not odd, above 1 and of 64 bits at most";
    return key->key == NULL ? "an RSA key that cannot be used" : why_unfit_rsa(key);
}

static const char *read_ec(const json_t *jwk, struct fg_public_key *key)
{
    const struct fg_key_kind *kind = fg_key_kind_of(key->algorithm);
    const size_t bytes = kind->bytes;
    struct number x, y;
    unsigned char point[POINT_BYTES_MAX] = {4}; /* uncompressed */
    if (!read_number(jwk, "x", &x) || !read_number(jwk, "y", &y) || x.len != bytes ||
        y.len != bytes)
        return "an EC key without a good x and y";
    memcpy(point + 1, x.bytes, bytes);
    memcpy(point + 1 + bytes, y.bytes, bytes);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, kind->group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * bytes) ==
            1)
        key->key = make_key("EC", builder);
    OSSL_PARAM_BLD_free(builder);
    return key->key == NULL ? "an EC key that is no point of its curve" : NULL;
}

static const char *read_okp(const json_t *jwk, struct fg_public_key *key)
{
    struct number x;
    if (!read_number(jwk, "x", &x) || x.len != 32)
        return "an Ed25519 key without a good x";
    key->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.bytes, x.len);
    return key->key == NULL ? "an Ed25519 key that cannot be used" : NULL;
}

static const char *read_oct(const json_t *jwk, struct fg_public_key *key)
{
    struct number k;
    if (!read_number(jwk, "k", &k) || k.len > sizeof(key->secret))
        return "an oct key without a good k";
    if (k.len >= fg_key_kind_of(key->algorithm)->bytes) {
        memcpy(key->secret, k.bytes, k.len);
        key->secret_bytes = k.len;
    }
    explicit_bzero(&k, sizeof(k));
    return key->secret_bytes == 0 ? "an oct key that is shorter than its hash" : NULL;
}

static bool is_text(const json_t *jwk, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(jwk, name));
    return value != NULL && strcmp(value, text) == 0;
}

static const char *text_of(const json_t *jwk, const char *name)
{
    return json_string_value(json_object_get(jwk, name));
}

/* The one algorithm that a key is for; `wanted` is what those without an `alg` are for, NULL: the
 * usual one of their type. FG_KEY_ALGORITHM_COUNT: none that we know, or one that it cannot do. */
static enum fg_key_algorithm algorithm_of(const json_t *jwk, const char *wanted)
{
    const json_t *said = json_object_get(jwk, "alg");
    const char *name = said == NULL ? wanted : json_string_value(said);
    const char *type = text_of(jwk, "kty");
    if (type == NULL || (said != NULL && name == NULL))
        return FG_KEY_ALGORITHM_COUNT;
    return fg_key_algorithm_choose(name, type, text_of(jwk, "crv"));
}

/* Meant for something else (RFC 7517 section 5: leave it out)? */
static bool is_for_others(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use");
    const json_t *operations = json_object_get(jwk, "key_ops");
    if (use != NULL && !is_text(jwk, "use", "sig"))
        return true;
    bool verifies = operations == NULL;
    size_t i;
    json_t *one;
    json_array_foreach(operations, i, one)
    {
        const char *name = json_string_value(one);
        verifies = verifies || (name != NULL && strcmp(name, "verify") == 0);
    }
    return !verifies;
}

static const char *read_jwk(const json_t *jwk, struct fg_public_key *key)
{
    const json_t *id = json_object_get(jwk, "kid");
    if (id != NULL && (!json_is_string(id) || json_string_length(id) == 0 ||
                       json_string_length(id) > FG_KEY_ID_BYTES_MAX))
        return "a kid that is no text of 1 to 127 bytes";
    if (id != NULL)
        snprintf(key->id, sizeof(key->id), "%s", json_string_value(id));
    switch (fg_key_kind_of(key->algorithm)->scheme) {
    case FG_KEY_SCHEME_PKCS1:
    case FG_KEY_SCHEME_PSS:
        return read_rsa(jwk, key);
    case FG_KEY_SCHEME_ECDSA:
        return read_ec(jwk, key);
    case FG_KEY_SCHEME_EDDSA:
        return read_okp(jwk, key);
    case FG_KEY_SCHEME_HMAC:
        break;
    }
    return read_oct(jwk, key);
}

/* ---- a file ---- */

static void wipe_key(struct fg_public_key *key)
{
    EVP_PKEY_free(key->key);
    explicit_bzero(key, sizeof(*key));
}

static bool read_jwks(struct fg_key_set *set, const json_t *keys, const char *wanted, char *why,
                      size_t why_bytes)
{
    size_t i;
    json_t *jwk;
    json_array_foreach(keys, i, jwk)
    {
        enum fg_key_algorithm algorithm = algorithm_of(jwk, wanted);
        if (algorithm == FG_KEY_ALGORITHM_COUNT || is_for_others(jwk))
            continue;
        if (set->count == FG_KEY_SET_MAX) {
            snprintf(why, why_bytes, "key %zu: more than 64 keys", i + 1);
            return false;
        }
        struct fg_public_key *key = &set->keys[set->count];
        key->algorithm = algorithm;
        const char *problem = read_jwk(jwk, key);
        if (problem == NULL) {
            set->count++;
            continue;
        }
        wipe_key(key);
        if (set->left_out[0] == '\0')
            snprintf(set->left_out, sizeof(set->left_out), "key %zu: %s", i + 1, problem);
    }
    if (set->count > 0)
        return true;
    if (set->left_out[0] != '\0') {
        snprintf(why, why_bytes, "%s", set->left_out);
        return false;
    }
    snprintf(why, why_bytes, "no key in it can verify %s",
             wanted == NULL ? "RS256, PS256, ES256, EdDSA, HS256 or their kin" : wanted);
    return false;
}

static EVP_PKEY *read_pem_key(struct fg_span text)
{
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (key != NULL)
        return key;
    bio = BIO_new_mem_buf(text.data, (int)text.len);
    X509 *certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    key = certificate == NULL ? NULL : X509_get_pubkey(certificate);
    X509_free(certificate);
    BIO_free(bio);
    return key;
}

/* The type and curve that a JWK of this key would have; NULL: no kind that we know. */
static const char *type_of(const EVP_PKEY *key, const char **curve)
{
    char group[32];
    size_t len;
    int type = EVP_PKEY_get_base_id(key);
    if (type == EVP_PKEY_RSA)
        return "RSA";
    if (type == EVP_PKEY_ED25519) {
        *curve = fg_key_kind_of(FG_KEY_EDDSA)->curve;
        return "OKP";
    }
    if (type != EVP_PKEY_EC || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1)
        return NULL;
    for (unsigned i = 0; i < FG_KEY_ALGORITHM_COUNT; i++) {
        const struct fg_key_kind *kind = fg_key_kind_of((enum fg_key_algorithm)i);
        if (kind->group != NULL && strcmp(kind->group, group) == 0)
            *curve = kind->curve;
    }
    return "EC";
}

static bool read_pem(struct fg_key_set *set, struct fg_span text, const char *wanted, char *why,
                     size_t why_bytes)
{
    struct fg_public_key *key = &set->keys[0];
    const char *curve = NULL;
    key->key = read_pem_key(text);
    ERR_clear_error();
    set->count = 1;
    if (key->key == NULL) {
        snprintf(why, why_bytes, "it is neither a JWK set nor a PEM public key or certificate");
        return false;
    }
    const char *type = type_of(key->key, &curve);
    enum fg_key_algorithm usual =
        type == NULL ? FG_KEY_ALGORITHM_COUNT : fg_key_algorithm_choose(NULL, type, curve);
    key->algorithm = usual;
    if (usual == FG_KEY_ALGORITHM_COUNT || why_unfit_rsa(key) != NULL) {
        snprintf(why, why_bytes,
                 "its key is neither RSA of 2048 to 8192 bits, P-256, P-384, P-521 nor Ed25519");
        return false;
    }
    key->algorithm = fg_key_algorithm_choose(wanted, type, curve);
    if (key->algorithm != FG_KEY_ALGORITHM_COUNT)
        return true;
    snprintf(why, why_bytes, "its key cannot verify %s", wanted);
    return false;
}

static bool looks_like_json(struct fg_span text)
{
    size_t at = 0;
    while (at < text.len && strchr(" \t\r\n", text.data[at]) != NULL && text.data[at] != '\0')
        at++;
    return at < text.len && text.data[at] == '{';
}

static bool read_json(struct fg_key_set *set, struct fg_span text, const char *wanted, char *why,
                      size_t why_bytes)
{
    json_error_t error;
    json_t *root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *keys = json_object_get(root, "keys");
    bool is_fine = false;
    if (root == NULL)
        snprintf(why, why_bytes, "line %d: %.80s", error.line, error.text);
    else if (!json_is_array(keys))
        snprintf(why, why_bytes, "it has no array \"keys\"");
    else
        is_fine = read_jwks(set, keys, wanted, why, why_bytes);
    json_decref(root);
    return is_fine;
}

bool fg_key_set_parse(struct fg_key_set *set, struct fg_span text, const char *algorithm, char *why,
                      size_t why_bytes)
{
    *set = (struct fg_key_set){.keys = NULL};
    set->keys = calloc(FG_KEY_SET_MAX, sizeof(*set->keys));
    if (set->keys == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    bool is_fine = looks_like_json(text) ? read_json(set, text, algorithm, why, why_bytes)
                                         : read_pem(set, text, algorithm, why, why_bytes);
    ERR_clear_error();
    if (!is_fine)
        fg_key_set_fini(set);
    return is_fine;
}

bool fg_key_set_load(struct fg_key_set *set, const char *path, const char *algorithm, char *why,
                     size_t why_bytes)
{
    *set = (struct fg_key_set){.keys = NULL};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = malloc(FILE_BYTES_MAX + 1);
    ssize_t len = fd == -1 || text == NULL ? -1 : read(fd, text, FILE_BYTES_MAX + 1);
    bool is_fine = false;
    if (len == -1)
        snprintf(why, why_bytes, "%s", strerror(errno));
    else if ((size_t)len > FILE_BYTES_MAX)
        snprintf(why, why_bytes, "it is larger than 256KiB");
    else
        is_fine = fg_key_set_parse(set, fg_span_make(text, (size_t)len), algorithm, why, why_bytes);
    if (text != NULL)
        explicit_bzero(text, FILE_BYTES_MAX + 1);
    free(text);
    if (fd != -1)
        close(fd);
    return is_fine;
}

void fg_key_set_fini(struct fg_key_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        EVP_PKEY_free(set->keys[i].key);
    if (set->keys != NULL)
        explicit_bzero(set->keys, FG_KEY_SET_MAX * sizeof(*set->keys));
    free(set->keys);
    *set = (struct fg_key_set){.keys = NULL};
}
