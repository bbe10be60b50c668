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
#define RSA_BITS_MIN 2048
#define SECRET_BYTES_MIN 32

const char *fg_key_algorithm_name(enum fg_key_algorithm algorithm)
{
    static const char *const names[] = {
        [FG_KEY_HS256] = "HS256",
        [FG_KEY_RS256] = "RS256",
        [FG_KEY_ES256] = "ES256",
        [FG_KEY_EDDSA] = "EdDSA",
    };
    return names[algorithm];
}

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

static const char *read_rsa(const json_t *jwk, struct fg_public_key *key)
{
    struct number modulus, exponent;
    if (!read_number(jwk, "n", &modulus) || !read_number(jwk, "e", &exponent))
        return "an RSA key without a good n and e";
    BIGNUM *n = BN_bin2bn(modulus.bytes, (int)modulus.len, NULL);
    BIGNUM *e = BN_bin2bn(exponent.bytes, (int)exponent.len, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (n != NULL && e != NULL && builder != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        key->key = make_key("RSA", builder);
    bool is_odd = e != NULL && BN_is_odd(e) == 1 && BN_is_one(e) == 0;
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    key->algorithm = FG_KEY_RS256;
    if (key->key == NULL || !is_odd)
        return "an RSA key that cannot be used";
    return EVP_PKEY_get_bits(key->key) < RSA_BITS_MIN ? "an RSA key of less than 2048 bits" : NULL;
}

static const char *read_ec(const json_t *jwk, struct fg_public_key *key)
{
    struct number x, y;
    unsigned char point[65] = {4}; /* uncompressed */
    if (!read_number(jwk, "x", &x) || !read_number(jwk, "y", &y) || x.len != 32 || y.len != 32)
        return "a P-256 key without a good x and y";
    memcpy(point + 1, x.bytes, 32);
    memcpy(point + 33, y.bytes, 32);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) ==
            1)
        key->key = make_key("EC", builder);
    OSSL_PARAM_BLD_free(builder);
    key->algorithm = FG_KEY_ES256;
    return key->key == NULL ? "a P-256 key that is no point of the curve" : NULL;
}

static const char *read_okp(const json_t *jwk, struct fg_public_key *key)
{
    struct number x;
    if (!read_number(jwk, "x", &x) || x.len != 32)
        return "an Ed25519 key without a good x";
    key->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.bytes, x.len);
    key->algorithm = FG_KEY_EDDSA;
    return key->key == NULL ? "an Ed25519 key that cannot be used" : NULL;
}

static const char *read_oct(const json_t *jwk, struct fg_public_key *key)
{
    struct number k;
    if (!read_number(jwk, "k", &k) || k.len > sizeof(key->secret))
        return "an oct key without a good k";
    if (k.len < SECRET_BYTES_MIN)
        return "an oct key of less than 32 bytes";
    memcpy(key->secret, k.bytes, k.len);
    key->secret_bytes = k.len;
    key->algorithm = FG_KEY_HS256;
    explicit_bzero(&k, sizeof(k));
    return NULL;
}

static bool is_text(const json_t *jwk, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(jwk, name));
    return value != NULL && strcmp(value, text) == 0;
}

/* A key may name the algorithm that it is for: is that the one which we would use it with? */
static bool is_for_us(const json_t *jwk)
{
    const char *type = json_string_value(json_object_get(jwk, "kty"));
    enum fg_key_algorithm ours = strcmp(type, "RSA") == 0   ? FG_KEY_RS256
                                 : strcmp(type, "EC") == 0  ? FG_KEY_ES256
                                 : strcmp(type, "OKP") == 0 ? FG_KEY_EDDSA
                                                            : FG_KEY_HS256;
    return json_object_get(jwk, "alg") == NULL || is_text(jwk, "alg", fg_key_algorithm_name(ours));
}

/* Meant for something else, or of a kind that we do not know (RFC 7517 section 5: leave it out). */
static bool is_left_out(const json_t *jwk)
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
    bool is_known = is_text(jwk, "kty", "RSA") || is_text(jwk, "kty", "oct") ||
                    (is_text(jwk, "kty", "EC") && is_text(jwk, "crv", "P-256")) ||
                    (is_text(jwk, "kty", "OKP") && is_text(jwk, "crv", "Ed25519"));
    return !verifies || !is_known || !is_for_us(jwk);
}

static const char *read_jwk(const json_t *jwk, struct fg_public_key *key)
{
    const json_t *id = json_object_get(jwk, "kid");
    if (id != NULL && (!json_is_string(id) || json_string_length(id) == 0 ||
                       json_string_length(id) > FG_KEY_ID_BYTES_MAX))
        return "a kid that is no text of 1 to 127 bytes";
    if (id != NULL)
        snprintf(key->id, sizeof(key->id), "%s", json_string_value(id));
    return is_text(jwk, "kty", "RSA")   ? read_rsa(jwk, key)
           : is_text(jwk, "kty", "EC")  ? read_ec(jwk, key)
           : is_text(jwk, "kty", "OKP") ? read_okp(jwk, key)
                                        : read_oct(jwk, key);
}

/* ---- a file ---- */

static bool has_id(const struct fg_key_set *set, const char *id)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->keys[i].id, id) == 0)
            return true;
    }
    return false;
}

static bool read_jwks(struct fg_key_set *set, const json_t *keys, char *why, size_t why_bytes)
{
    size_t i;
    json_t *jwk;
    json_array_foreach(keys, i, jwk)
    {
        if (is_left_out(jwk))
            continue;
        struct fg_public_key *key = &set->keys[set->count];
        bool is_full = set->count == FG_KEY_SET_MAX;
        const char *problem = is_full ? "more than 64 keys" : read_jwk(jwk, key);
        if (problem == NULL && key->id[0] != '\0' && has_id(set, key->id))
            problem = "two keys of one kid";
        if (problem != NULL) {
            snprintf(why, why_bytes, "key %zu: %s", i + 1, problem);
            set->count += !is_full; /* what it holds is freed with the rest */
            return false;
        }
        set->count++;
    }
    if (set->count > 0)
        return true;
    snprintf(why, why_bytes, "no key in it can verify RS256, ES256, EdDSA or HS256");
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

static bool is_p256(const EVP_PKEY *key)
{
    char name[32];
    size_t len;
    return EVP_PKEY_get_group_name(key, name, sizeof(name), &len) == 1 &&
           strcmp(name, "prime256v1") == 0;
}

static bool read_pem(struct fg_key_set *set, struct fg_span text, char *why, size_t why_bytes)
{
    struct fg_public_key *key = &set->keys[0];
    key->key = read_pem_key(text);
    ERR_clear_error();
    set->count = 1;
    if (key->key == NULL) {
        snprintf(why, why_bytes, "it is neither a JWK set nor a PEM public key or certificate");
        return false;
    }
    int type = EVP_PKEY_get_base_id(key->key);
    if (type == EVP_PKEY_RSA && EVP_PKEY_get_bits(key->key) >= RSA_BITS_MIN) {
        key->algorithm = FG_KEY_RS256;
    } else if (type == EVP_PKEY_EC && is_p256(key->key)) {
        key->algorithm = FG_KEY_ES256;
    } else if (type == EVP_PKEY_ED25519) {
        key->algorithm = FG_KEY_EDDSA;
    } else {
        snprintf(why, why_bytes, "its key is neither RSA of 2048 bits, P-256 nor Ed25519");
        return false;
    }
    return true;
}

static bool looks_like_json(struct fg_span text)
{
    size_t at = 0;
    while (at < text.len && strchr(" \t\r\n", text.data[at]) != NULL && text.data[at] != '\0')
        at++;
    return at < text.len && text.data[at] == '{';
}

static bool read_json(struct fg_key_set *set, struct fg_span text, char *why, size_t why_bytes)
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
        is_fine = read_jwks(set, keys, why, why_bytes);
    json_decref(root);
    return is_fine;
}

bool fg_key_set_parse(struct fg_key_set *set, struct fg_span text, char *why, size_t why_bytes)
{
    *set = (struct fg_key_set){NULL, 0};
    set->keys = calloc(FG_KEY_SET_MAX, sizeof(*set->keys));
    if (set->keys == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    bool is_fine = looks_like_json(text) ? read_json(set, text, why, why_bytes)
                                         : read_pem(set, text, why, why_bytes);
    ERR_clear_error();
    if (!is_fine)
        fg_key_set_fini(set);
    return is_fine;
}

bool fg_key_set_load(struct fg_key_set *set, const char *path, char *why, size_t why_bytes)
{
    *set = (struct fg_key_set){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = malloc(FILE_BYTES_MAX + 1);
    ssize_t len = fd == -1 || text == NULL ? -1 : read(fd, text, FILE_BYTES_MAX + 1);
    bool is_fine = false;
    if (len == -1)
        snprintf(why, why_bytes, "%s", strerror(errno));
    else if ((size_t)len > FILE_BYTES_MAX)
        snprintf(why, why_bytes, "it is larger than 256KiB");
    else
        is_fine = fg_key_set_parse(set, fg_span_make(text, (size_t)len), why, why_bytes);
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
    *set = (struct fg_key_set){NULL, 0};
}
