/*
 * jwt.c: compact JWS with one algorithm. The header is compared with what RFC 7515 allows for
 * HS256 rather than trusted to choose an algorithm, so "none" and key confusion have no door.
 */
#include "jwt.h"

#include "base/base64url.h"
#include "base/clock.h"
#include "base/json_values.h"
#include "config/secret_file.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

#define MAC_BYTES 32
#define HEADER_JSON "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

struct fg_jwt_signer {
    const struct fg_jwt_key *key;
    EVP_MAC_CTX *prepared; /* keyed; re-initialised with the same key for each use */
    struct fg_span header; /* our own header, encoded */
    char header_text[64];
};

enum fg_status fg_jwt_key_load(struct fg_jwt_key *key, const struct fg_jwt_conf *conf,
                               struct fg_error *error)
{
    char why[192];
    *key = (struct fg_jwt_key){.rules = {.issuer = conf->issuer,
                                         .audience = conf->audience,
                                         .leeway_s = conf->leeway_ns / FG_S}};
    key->secret_bytes = fg_secret_file_load(conf->secret_file, FG_JWT_KEY_BYTES_MIN, key->secret,
                                            sizeof(key->secret), why, sizeof(why));
    if (key->secret_bytes > 0)
        return FG_OK;
    return fg_error_set(error, "identity.jwt.secret_file: cannot use '%s': %s", conf->secret_file,
                        why);
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
    if (claims != NULL && key->rules.issuer != NULL)
        json_object_set_new(claims, "iss", json_string(key->rules.issuer));
    if (claims != NULL && key->rules.audience != NULL)
        json_object_set_new(claims, "aud", json_string(key->rules.audience));
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

/* Parts are read before anybody knows who signed them. */
json_t *fg_jwt_decode_part(struct fg_span part)
{
    unsigned char text[FG_JWT_TOKEN_BYTES_MAX];
    size_t len;
    if (!fg_base64url_decode(text, sizeof(text), part, &len) ||
        fg_json_values_most(fg_span_make((const char *)text, len)) > FG_JWT_VALUES_MAX)
        return NULL;
    json_t *json = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* Our own header is recognised without parsing; another's must say HS256 and no "crit". */
static bool header_is_hs256(const struct fg_jwt_signer *signer, struct fg_span header)
{
    if (fg_span_equal(header, signer->header))
        return true;
    json_t *json = fg_jwt_decode_part(header);
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

/* Seconds that a double may hold, as whole ones; what is beyond any calendar is cut to it. */
static uint64_t whole_seconds(double seconds)
{
    if (!(seconds > 0))
        return 0;
    return seconds >= 1e15 ? UINT64_C(1000000000000000) : (uint64_t)seconds;
}

static enum fg_jwt_verdict check_claims(const struct fg_jwt_rules *rules, const json_t *claims,
                                        uint64_t now_s, struct fg_jwt_grant *grant)
{
    const json_t *exp = json_object_get(claims, "exp");
    const json_t *nbf = json_object_get(claims, "nbf");
    if (!json_is_number(exp) || (nbf != NULL && !json_is_number(nbf)))
        return FG_JWT_MALFORMED;
    grant->until_s = whole_seconds(json_number_value(exp)) + rules->leeway_s;
    uint64_t from_s = whole_seconds(json_number_value(nbf));
    if ((double)from_s < json_number_value(nbf))
        from_s++;
    grant->from_s = from_s > rules->leeway_s ? from_s - rules->leeway_s : 0;
    if (now_s >= grant->until_s)
        return FG_JWT_EXPIRED;
    if (now_s < grant->from_s)
        return FG_JWT_NOT_YET;
    const char *iss = json_string_value(json_object_get(claims, "iss"));
    if (rules->issuer != NULL && (iss == NULL || strcmp(iss, rules->issuer) != 0))
        return FG_JWT_WRONG_ISSUER;
    if (rules->audience != NULL &&
        !audience_matches(json_object_get(claims, "aud"), rules->audience))
        return FG_JWT_WRONG_AUDIENCE;
    return FG_JWT_OK;
}

/* Printable, so that it can stand in a log line and a header field; NUL-terminated by JSON's rules.
 */
static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] == 0x7f)
            return false;
    }
    return len > 0;
}

static bool is_user_id(const char *text, size_t len)
{
    return len <= FG_USER_ID_BYTES_MAX && is_printable(text, len);
}

enum fg_jwt_verdict fg_jwt_read_claims(const struct fg_jwt_rules *rules, struct fg_arena *arena,
                                       const json_t *claims, uint64_t now_s,
                                       struct fg_jwt_grant *grant)
{
    enum fg_jwt_verdict verdict = check_claims(rules, claims, now_s, grant);
    if (verdict != FG_JWT_OK)
        return verdict;
    const json_t *sub = json_object_get(claims, "sub");
    size_t len = json_string_length(sub);
    if (!json_is_string(sub) || len == 0)
        return FG_JWT_NO_SUBJECT;
    const char *prefix = rules->user_prefix == NULL ? "" : rules->user_prefix;
    if (!is_user_id(json_string_value(sub), len) || len + strlen(prefix) > FG_USER_ID_BYTES_MAX)
        return FG_JWT_BAD_SUBJECT;
    grant->user_id = fg_arena_try_printf(arena, "%s%.*s", prefix, (int)len, json_string_value(sub));
    grant->tier = (struct fg_span){"", 0};
    const json_t *tier = json_object_get(claims, "tier");
    size_t tier_len = json_string_length(tier);
    if (tier_len <= FG_TIER_BYTES_MAX && is_printable(json_string_value(tier), tier_len))
        grant->tier = fg_arena_try_copy(arena, fg_span_make(json_string_value(tier), tier_len));
    bool has_memory = grant->user_id.data != NULL && grant->tier.data != NULL;
    return has_memory ? FG_JWT_OK : FG_JWT_MALFORMED;
}

bool fg_jwt_split(struct fg_span token, struct fg_jwt_parts *parts)
{
    struct fg_span rest = token;
    if (token.len == 0 || token.len > FG_JWT_TOKEN_BYTES_MAX)
        return false;
    parts->header = fg_span_split(&rest, '.');
    parts->payload = fg_span_split(&rest, '.');
    parts->signature = rest;
    parts->is_signed = fg_span_make(token.data, parts->header.len + 1 + parts->payload.len);
    return rest.data != NULL;
}

enum fg_jwt_verdict fg_jwt_verify(struct fg_jwt_signer *signer, struct fg_arena *arena,
                                  struct fg_span token, uint64_t now_s, struct fg_jwt_grant *grant)
{
    struct fg_jwt_parts parts;
    unsigned char claimed[MAC_BYTES], mac[MAC_BYTES];
    size_t claimed_len;
    if (!fg_jwt_split(token, &parts) ||
        !fg_base64url_decode(claimed, sizeof(claimed), parts.signature, &claimed_len) ||
        claimed_len != MAC_BYTES || !header_is_hs256(signer, parts.header))
        return FG_JWT_MALFORMED;
    if (!fg_jwt_mac(signer, (struct fg_span){NULL, 0}, parts.is_signed, mac) ||
        CRYPTO_memcmp(mac, claimed, MAC_BYTES) != 0)
        return FG_JWT_BAD_SIGNATURE;
    json_t *claims = fg_jwt_decode_part(parts.payload);
    if (claims == NULL)
        return FG_JWT_MALFORMED;
    enum fg_jwt_verdict verdict =
        fg_jwt_read_claims(&signer->key->rules, arena, claims, now_s, grant);
    json_decref(claims);
    return verdict;
}

bool fg_jwt_is_own_header(const struct fg_jwt_signer *signer, struct fg_span header)
{
    return fg_span_equal(header, signer->header);
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
        [FG_JWT_WRONG_TYPE] = "wrong_type",
        [FG_JWT_NO_SUBJECT] = "no_subject",
        [FG_JWT_BAD_SUBJECT] = "bad_subject",
        [FG_JWT_TOO_LONG] = "too_long",
        [FG_JWT_UNKNOWN_KEY] = "unknown_key",
        [FG_JWT_TOO_MANY_TRIES] = "too_many_tries",
    };
    return names[verdict];
}
