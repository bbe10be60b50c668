/*
 * jwt.h: HS256 JSON Web Tokens: make one for a guest, check one that a client sent.
 * Thread   a key is immutable; a verifier belongs to one thread (it holds an OpenSSL context).
 * Never    accepts any "alg" but HS256, compares signatures in variable time, or logs a token.
 * Source   RFC 7515, RFC 7518 section 3.2, RFC 7519.
 */
#ifndef FG_PIPELINE_JWT_H
#define FG_PIPELINE_JWT_H

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "config/config.h"

#define FG_JWT_KEY_BYTES_MIN 32
#define FG_JWT_KEY_BYTES_MAX 4096
#define FG_JWT_TOKEN_BYTES_MAX 8192
#define FG_JWT_VALUES_MAX 512 /* of JSON, in each part of a token */
#define FG_USER_ID_BYTES_MAX 128
#define FG_TIER_BYTES_MAX 32

/* What the claims of a token must say; the strings belong to the configuration. */
struct fg_jwt_rules {
    const char *issuer; /* NULL: not checked */
    const char *audience;
    const char *user_prefix; /* put before the subject; NULL: nothing */
    uint64_t leeway_s;
};

struct fg_jwt_key {
    unsigned char secret[FG_JWT_KEY_BYTES_MAX];
    size_t secret_bytes;
    struct fg_jwt_rules rules;
};

/*
 * Read conf->secret_file (created with 48 random bytes, mode 0600, when missing). A key shorter
 * than 32 bytes is refused. Start-up.
 */
enum fg_status fg_jwt_key_load(struct fg_jwt_key *key, const struct fg_jwt_conf *conf,
                               struct fg_error *error);

struct fg_jwt_signer; /* one thread's prepared HMAC */
struct fg_jwt_signer *fg_jwt_signer_create(const struct fg_jwt_key *key);
void fg_jwt_signer_destroy(struct fg_jwt_signer *signer);

/* A token for `user_id`, into the arena; data is NULL without memory. Times in seconds since 1970.
 */
struct fg_span fg_jwt_sign(struct fg_jwt_signer *signer, struct fg_arena *arena,
                           struct fg_span user_id, uint64_t issued_s, uint64_t expires_s);

enum fg_jwt_verdict {
    FG_JWT_OK,
    FG_JWT_MALFORMED,
    FG_JWT_BAD_SIGNATURE,
    FG_JWT_EXPIRED,
    FG_JWT_NOT_YET,
    FG_JWT_WRONG_ISSUER,
    FG_JWT_WRONG_AUDIENCE,
    FG_JWT_WRONG_TYPE, /* made for something else */
    FG_JWT_NO_SUBJECT,
    FG_JWT_BAD_SUBJECT, /* it cannot be a user id */
    FG_JWT_TOO_LONG,
    FG_JWT_UNKNOWN_KEY,
    FG_JWT_TOO_MANY_TRIES, /* of this client; not looked at */
};

/* What a good token says; leeway included. */
struct fg_jwt_grant {
    struct fg_span user_id; /* in the arena */
    struct fg_span tier;    /* claim `tier`, likewise; empty: none, or none that can be used */
    uint64_t from_s;
    uint64_t until_s; /* not good any more then */
};

/* A token of our own: under the signer's key, for its issuer. On OK *grant is filled in; `exp` and
 * `sub` are demanded. */
enum fg_jwt_verdict fg_jwt_verify(struct fg_jwt_signer *signer, struct fg_arena *arena,
                                  struct fg_span token, uint64_t now_s, struct fg_jwt_grant *grant);

/* For tokens of others; see jwt_verifier.h. */
struct fg_jwt_parts {
    struct fg_span header;
    struct fg_span payload;
    struct fg_span signature;
    struct fg_span is_signed; /* header and payload, as they are signed */
};
bool fg_jwt_split(struct fg_span token, struct fg_jwt_parts *parts);
/* The JSON object of a part; NULL when it is none. */
json_t *fg_jwt_decode_part(struct fg_span part);
/* The claims of a token whose signature is good. */
enum fg_jwt_verdict fg_jwt_read_claims(const struct fg_jwt_rules *rules, struct fg_arena *arena,
                                       const json_t *claims, uint64_t now_s,
                                       struct fg_jwt_grant *grant);
/* Is it the header that we write ourselves? */
bool fg_jwt_is_own_header(const struct fg_jwt_signer *signer, struct fg_span header);

const char *fg_jwt_verdict_name(enum fg_jwt_verdict verdict);

/* HMAC-SHA256 under the same key with a domain label, for guests' ids and queue tickets. */
bool fg_jwt_mac(struct fg_jwt_signer *signer, struct fg_span label, struct fg_span data,
                unsigned char mac[32]);

#endif
