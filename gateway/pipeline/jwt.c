/*
 * jwt.c: compact JWS with one algorithm. The header is compared with what RFC 7515 allows for
 * HS256 rather than trusted to choose an algorithm, so "none" and key confusion have no door.
 */
#include "jwt.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAC_BYTES 32
#define HEADER_JSON "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

struct fg_jwt_signer {
    const struct fg_jwt_key *key;
    EVP_MAC_CTX *prepared; /* keyed; re-initialised with the same key for each use */
    struct fg_span header; /* our own header, encoded */
    char header_text[64];
};

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t fg_base64url_encode(char *out, const unsigned char *data, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i += 3) {
        unsigned a = data[i];
        unsigned b = i + 1 < len ? data[i + 1] : 0u;
        unsigned c = i + 2 < len ? data[i + 2] : 0u;
        out[at++] = digits[a >> 2];
        out[at++] = digits[(a & 3) << 4 | b >> 4];
        if (i + 1 < len)
            out[at++] = digits[(b & 15) << 2 | c >> 6];
        if (i + 2 < len)
            out[at++] = digits[c & 63];
    }
    return at;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool fg_base64url_decode(unsigned char *out, size_t room, struct fg_span text, size_t *len)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t at = 0;
    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            if (at == room)
                return false;
            out[at++] = (unsigned char)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    *len = at;
    return bits == 0;
}

static enum fg_status create_secret(const char *path, struct fg_error *error)
{
    unsigned char raw[48];
    char text[80];
    if (RAND_bytes(raw, sizeof(raw)) != 1)
        return fg_error_set(error, "identity.jwt.secret_file: no random bytes to make a key");
    size_t len = fg_base64url_encode(text, raw, sizeof(raw));
    OPENSSL_cleanse(raw, sizeof(raw));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -1)
        return fg_error_set(error,
                            "identity.jwt.secret_file: cannot create '%s': %s; expected a file of "
                            "at least %d bytes or a directory where one can be made",
                            path, strerror(errno), FG_JWT_KEY_BYTES_MIN);
    ssize_t written = write(fd, text, len);
    close(fd);
    OPENSSL_cleanse(text, sizeof(text));
    if (written != (ssize_t)len)
        return fg_error_set(error, "identity.jwt.secret_file: cannot write '%s'", path);
    return FG_OK;
}

enum fg_status fg_jwt_key_load(struct fg_jwt_key *key, const struct fg_jwt_conf *conf,
                               struct fg_error *error)
{
    *key = (struct fg_jwt_key){
        .issuer = conf->issuer, .audience = conf->audience, .leeway_s = conf->leeway_ns / FG_S};
    int fd = open(conf->secret_file, O_RDONLY | O_CLOEXEC);
    if (fd == -1 && errno == ENOENT) {
        enum fg_status status = create_secret(conf->secret_file, error);
        if (status != FG_OK)
            return status;
        fd = open(conf->secret_file, O_RDONLY | O_CLOEXEC);
    }
    if (fd == -1)
        return fg_error_set(error, "identity.jwt.secret_file: cannot open '%s': %s",
                            conf->secret_file, strerror(errno));
    ssize_t got = read(fd, key->secret, sizeof(key->secret));
    close(fd);
    if (got < 0)
        return fg_error_set(error, "identity.jwt.secret_file: cannot read '%s': %s",
                            conf->secret_file, strerror(errno));
    key->secret_bytes = (size_t)got;
    while (key->secret_bytes > 0 && (key->secret[key->secret_bytes - 1] == '\n' ||
                                     key->secret[key->secret_bytes - 1] == '\r'))
        key->secret_bytes--;
    if (key->secret_bytes < FG_JWT_KEY_BYTES_MIN)
        return fg_error_set(error,
                            "identity.jwt.secret_file: '%s' holds %zu bytes; expected at least %d",
                            conf->secret_file, key->secret_bytes, FG_JWT_KEY_BYTES_MIN);
    return FG_OK;
}

struct fg_jwt_signer *fg_jwt_signer_create(const struct fg_jwt_key *key)
{
    struct fg_jwt_signer *signer = calloc(1, sizeof(*signer));
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (signer == NULL || mac == NULL)
        goto fail;
    signer->key = key;
    signer->prepared = EVP_MAC_CTX_new(mac);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    if (signer->prepared == NULL ||
        EVP_MAC_init(signer->prepared, key->secret, key->secret_bytes, params) != 1)
        goto fail;
    EVP_MAC_free(mac);
    size_t len = fg_base64url_encode(signer->header_text, (const unsigned char *)HEADER_JSON,
                                     sizeof(HEADER_JSON) - 1);
    signer->header = fg_span_make(signer->header_text, len);
    return signer;
fail:
    EVP_MAC_free(mac);
    fg_jwt_signer_destroy(signer);
    return NULL;
}

void fg_jwt_signer_destroy(struct fg_jwt_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_MAC_CTX_free(signer->prepared);
    free(signer);
}

bool fg_jwt_mac(struct fg_jwt_signer *signer, struct fg_span label, struct fg_span data,
                unsigned char mac[32])
{
    size_t len = 0;
    /* A NULL key re-uses the one that is set, which skips the key schedule. */
    return EVP_MAC_init(signer->prepared, NULL, 0, NULL) == 1 &&
           (label.len == 0 ||
            EVP_MAC_update(signer->prepared, (const unsigned char *)label.data, label.len) == 1) &&
           EVP_MAC_update(signer->prepared, (const unsigned char *)data.data, data.len) == 1 &&
           EVP_MAC_final(signer->prepared, mac, &len, MAC_BYTES) == 1 && len == MAC_BYTES;
}

static json_t *claims_of(const struct fg_jwt_key *key, struct fg_span user_id, uint64_t issued_s,
                         uint64_t expires_s)
{
    json_t *claims = json_pack("{s:s%, s:I, s:I}", "sub", user_id.data, user_id.len, "iat",
                               (json_int_t)issued_s, "exp", (json_int_t)expires_s);
    if (claims != NULL && key->issuer != NULL)
        json_object_set_new(claims, "iss", json_string(key->issuer));
    if (claims != NULL && key->audience != NULL)
        json_object_set_new(claims, "aud", json_string(key->audience));
    return claims;
}

struct fg_span fg_jwt_sign(struct fg_jwt_signer *signer, struct fg_arena *arena,
                           struct fg_span user_id, uint64_t issued_s, uint64_t expires_s)
{
    const struct fg_span none = {NULL, 0};
    json_t *claims = claims_of(signer->key, user_id, issued_s, expires_s);
    char *json = claims == NULL ? NULL : json_dumps(claims, JSON_COMPACT);
    json_decref(claims);
    if (json == NULL)
        return none;
    size_t json_len = strlen(json);
    size_t room = signer->header.len + 1 + (json_len + 2) / 3 * 4 + 1 + 44;
    char *token = fg_arena_try_alloc(arena, room);
    if (token == NULL) {
        free(json);
        return none;
    }
    size_t at = signer->header.len;
    memcpy(token, signer->header.data, at);
    token[at++] = '.';
    at += fg_base64url_encode(token + at, (const unsigned char *)json, json_len);
    free(json);
    unsigned char mac[MAC_BYTES];
    if (!fg_jwt_mac(signer, none, fg_span_make(token, at), mac))
        return none;
    token[at++] = '.';
    at += fg_base64url_encode(token + at, mac, sizeof(mac));
    return fg_span_make(token, at);
}

static json_t *decode_part(struct fg_span part)
{
    unsigned char text[FG_JWT_TOKEN_BYTES_MAX];
    size_t len;
    if (!fg_base64url_decode(text, sizeof(text), part, &len))
        return NULL;
    json_t *json = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* Our own header is recognised without parsing; another issuer's must say HS256 and no "crit". */
static bool header_is_hs256(const struct fg_jwt_signer *signer, struct fg_span header)
{
    if (fg_span_equal(header, signer->header))
        return true;
    json_t *json = decode_part(header);
    const char *alg = json_string_value(json_object_get(json, "alg"));
    bool is_fine =
        alg != NULL && strcmp(alg, "HS256") == 0 && json_object_get(json, "crit") == NULL;
    json_decref(json);
    return is_fine;
}

static bool audience_matches(const json_t *claim, const char *audience)
{
    if (json_is_string(claim))
        return strcmp(json_string_value(claim), audience) == 0;
    size_t i;
    json_t *one;
    json_array_foreach(claim, i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), audience) == 0)
            return true;
    }
    return false;
}

static enum fg_jwt_verdict check_claims(const struct fg_jwt_key *key, const json_t *claims,
                                        uint64_t now_s)
{
    const json_t *exp = json_object_get(claims, "exp");
    const json_t *nbf = json_object_get(claims, "nbf");
    if (!json_is_number(exp) || (nbf != NULL && !json_is_number(nbf)))
        return FG_JWT_MALFORMED;
    if ((double)now_s >= json_number_value(exp) + (double)key->leeway_s)
        return FG_JWT_EXPIRED;
    if (nbf != NULL && (double)(now_s + key->leeway_s) < json_number_value(nbf))
        return FG_JWT_NOT_YET;
    const char *iss = json_string_value(json_object_get(claims, "iss"));
    if (key->issuer != NULL && (iss == NULL || strcmp(iss, key->issuer) != 0))
        return FG_JWT_WRONG_ISSUER;
    if (key->audience != NULL && !audience_matches(json_object_get(claims, "aud"), key->audience))
        return FG_JWT_WRONG_AUDIENCE;
    return FG_JWT_OK;
}

enum fg_jwt_verdict fg_jwt_verify(struct fg_jwt_signer *signer, struct fg_arena *arena,
                                  struct fg_span token, uint64_t now_s, struct fg_span *user_id)
{
    if (token.len == 0 || token.len > FG_JWT_TOKEN_BYTES_MAX)
        return FG_JWT_MALFORMED;
    struct fg_span rest = token;
    struct fg_span header = fg_span_split(&rest, '.');
    struct fg_span payload = fg_span_split(&rest, '.');
    unsigned char claimed[MAC_BYTES], mac[MAC_BYTES];
    size_t claimed_len;
    if (rest.data == NULL || !fg_base64url_decode(claimed, sizeof(claimed), rest, &claimed_len) ||
        claimed_len != MAC_BYTES || !header_is_hs256(signer, header))
        return FG_JWT_MALFORMED;
    struct fg_span signed_part = {token.data, header.len + 1 + payload.len};
    if (!fg_jwt_mac(signer, (struct fg_span){NULL, 0}, signed_part, mac) ||
        CRYPTO_memcmp(mac, claimed, MAC_BYTES) != 0)
        return FG_JWT_BAD_SIGNATURE;
    json_t *claims = decode_part(payload);
    if (claims == NULL)
        return FG_JWT_MALFORMED;
    enum fg_jwt_verdict verdict = check_claims(signer->key, claims, now_s);
    const json_t *sub = json_object_get(claims, "sub");
    size_t sub_len = json_string_length(sub);
    if (verdict == FG_JWT_OK) {
        if (!json_is_string(sub) || sub_len == 0 || sub_len > FG_USER_ID_BYTES_MAX) {
            verdict = FG_JWT_NO_SUBJECT;
        } else {
            *user_id = fg_arena_try_copy(arena, fg_span_make(json_string_value(sub), sub_len));
            if (user_id->data == NULL)
                verdict = FG_JWT_MALFORMED;
        }
    }
    json_decref(claims);
    return verdict;
}

const char *fg_jwt_verdict_name(enum fg_jwt_verdict verdict)
{
    static const char *const names[] = {
        [FG_JWT_OK] = "ok",
        [FG_JWT_MALFORMED] = "malformed",
        [FG_JWT_BAD_SIGNATURE] = "bad_signature",
        [FG_JWT_EXPIRED] = "expired",
        [FG_JWT_NOT_YET] = "not_yet_valid",
        [FG_JWT_WRONG_ISSUER] = "wrong_issuer",
        [FG_JWT_WRONG_AUDIENCE] = "wrong_audience",
        [FG_JWT_NO_SUBJECT] = "no_subject",
    };
    return names[verdict];
}
