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
#define FG_JWT_TOKEN_BYTES_MAX 4096
#define FG_USER_ID_BYTES_MAX 128

struct fg_jwt_key {
    unsigned char secret[FG_JWT_KEY_BYTES_MAX];
    size_t secret_bytes;
    const char *issuer; /* NULL: not checked; belongs to the configuration */
    const char *audience;
    uint64_t leeway_s;
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
    FG_JWT_NO_SUBJECT,
};

/* On OK *user_id is the "sub" claim, copied to the arena; `exp` is demanded. */
enum fg_jwt_verdict fg_jwt_verify(struct fg_jwt_signer *signer, struct fg_arena *arena,
                                  struct fg_span token, uint64_t now_s, struct fg_span *user_id);

const char *fg_jwt_verdict_name(enum fg_jwt_verdict verdict);

/* HMAC-SHA256 under the same key with a domain label, for guests' ids and queue tickets. */
bool fg_jwt_mac(struct fg_jwt_signer *signer, struct fg_span label, struct fg_span data,
                unsigned char mac[32]);

/* base64url without padding; `out` has room for (len + 2) / 3 * 4 bytes; returns bytes written. */
size_t fg_base64url_encode(char *out, const unsigned char *data, size_t len);
/* Strict: no padding, no other characters, no stray bits. False on any fault or lack of room. */
bool fg_base64url_decode(unsigned char *out, size_t room, struct fg_span text, size_t *len);

#endif
