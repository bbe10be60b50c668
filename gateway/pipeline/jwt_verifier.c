/*
 * jwt_verifier.c: see jwt_verifier.h.
 *
 *    token --SHA-256--> remembered? --yes, in time--> user
 *                           `-no-> iss is another's? -no-> our own key (jwt.c)
 *                                        `-yes-> has its client failed too often? -no->
 *                                                keys of that issuer with the token's kid and alg
 */
#include "jwt_verifier.h"

#include "backends/client_owner.h"
#include "base/base64url.h"
#include "net/flood_ledger_shared.h"
#include "pipeline/jwt_signature.h"
#include "pipeline/token_cache.h"

#include <openssl/evp.h>
#include <stdlib.h>

#define TRIES_MAX 4u /* keys without a kid in the token */
#define NS_PER_S UINT64_C(1000000000)

struct fg_jwt_verifier {
    const struct fg_identity_conf *conf;
    struct fg_jwt_signer *signer;
    struct fg_key_store *store;
    const struct fg_key_ring *ring;
    struct fg_token_cache *cache;  /* NULL: off */
    struct fg_flood_ledger *debts; /* of clients, in signatures that were checked in vain */
    const struct fg_siphash_key *client_key;
    EVP_MD_CTX *digest; /* for signatures */
    EVP_MD_CTX *hasher; /* set to SHA-256 once: setting it anew would allocate with every request */
};

/* One token while it is looked at. */
struct candidate {
    struct fg_jwt_parts parts;
    json_t *header;
    json_t *claims;
    unsigned char signature[FG_JWT_SIGNATURE_BYTES_MAX];
    size_t signature_bytes;
    unsigned tries; /* signatures that were checked */
};

struct fg_flood_ledger *fg_jwt_debts_create(const struct fg_identity_conf *conf)
{
    return fg_flood_ledger_create(conf->failed_tokens_per_s,
                                  (uint64_t)conf->failed_tokens_burst + TRIES_MAX);
}

struct fg_jwt_verifier *fg_jwt_verifier_create(const struct fg_identity_conf *conf,
                                               struct fg_jwt_signer *signer,
                                               struct fg_key_store *keys,
                                               const struct fg_siphash_key *client_key,
                                               struct fg_flood_ledger *debts)
{
    struct fg_jwt_verifier *verifier = calloc(1, sizeof(*verifier));
    if (verifier == NULL)
        return NULL;
    verifier->conf = conf;
    verifier->signer = signer;
    verifier->store = keys;
    verifier->client_key = client_key;
    verifier->debts = debts;
    verifier->ring = fg_key_store_take(keys);
    verifier->digest = EVP_MD_CTX_new();
    verifier->hasher = EVP_MD_CTX_new();
    if (conf->token_cache_max > 0)
        verifier->cache = fg_token_cache_create(conf->token_cache_max);
    if (verifier->digest != NULL && verifier->hasher != NULL &&
        EVP_DigestInit_ex(verifier->hasher, EVP_sha256(), NULL) == 1 &&
        (verifier->cache != NULL || conf->token_cache_max == 0))
        return verifier;
    fg_jwt_verifier_destroy(verifier);
    return NULL;
}

void fg_jwt_verifier_destroy(struct fg_jwt_verifier *verifier)
{
    if (verifier == NULL)
        return;
    fg_key_store_release(verifier->store, verifier->ring);
    fg_token_cache_destroy(verifier->cache);
    EVP_MD_CTX_free(verifier->digest);
    EVP_MD_CTX_free(verifier->hasher);
    free(verifier);
}

const struct fg_key_ring *fg_jwt_verifier_keys(struct fg_jwt_verifier *verifier)
{
    if (!fg_key_store_is_current(verifier->store, verifier->ring)) {
        fg_key_store_release(verifier->store, verifier->ring);
        verifier->ring = fg_key_store_take(verifier->store);
    }
    return verifier->ring;
}

/* Is it tried in this round? A key without a name comes behind those that the token names: there
 * may be more of them than are tried. */
static bool is_tried(const struct fg_public_key *key, const char *alg, const char *kid,
                     bool is_first)
{
    bool is_named = kid != NULL && strcmp(kid, key->id) == 0;
    bool is_any = kid == NULL || key->id[0] == '\0';
    return strcmp(alg, fg_key_algorithm_name(key->algorithm)) == 0 &&
           (is_first ? is_named : is_any && !is_named);
}

static enum fg_jwt_verdict verify_by_set(EVP_MD_CTX *ctx, const struct fg_key_set *set,
                                         struct candidate *token)
{
    const char *alg = json_string_value(json_object_get(token->header, "alg"));
    const json_t *kid = json_object_get(token->header, "kid");
    if (alg == NULL || (kid != NULL && !json_is_string(kid)) ||
        json_object_get(token->header, "crit") != NULL)
        return FG_JWT_MALFORMED;
    for (size_t i = 0; i < 2 * set->count && token->tries < TRIES_MAX; i++) {
        const struct fg_public_key *key = &set->keys[i % set->count];
        if (!is_tried(key, alg, json_string_value(kid), i < set->count))
            continue;
        token->tries++;
        if (fg_jwt_signature_is_good(ctx, key, token->parts.is_signed, token->signature,
                                     token->signature_bytes))
            return FG_JWT_OK;
    }
    return token->tries == 0 ? FG_JWT_UNKNOWN_KEY : FG_JWT_BAD_SIGNATURE;
}

/* A media type without "application/", which may be left out (RFC 7515 section 4.1.9). */
static struct fg_span bare_type(const char *text)
{
    const struct fg_span prefix = FG_SPAN_LITERAL("application/");
    struct fg_span type = fg_span_from_string(text == NULL ? "" : text);
    if (type.len > prefix.len &&
        fg_span_equal_nocase(fg_span_make(type.data, prefix.len), prefix) &&
        memchr(type.data + prefix.len, '/', type.len - prefix.len) == NULL)
        type = fg_span_make(type.data + prefix.len, type.len - prefix.len);
    return type;
}

/* RFC 8725 section 3.11: a token for something else, of the same issuer under the same key. */
static bool is_of_type(const json_t *header, const char *wanted)
{
    const char *said = json_string_value(json_object_get(header, "typ"));
    return wanted == NULL || fg_span_equal_nocase(bare_type(said), bare_type(wanted));
}

/* The index of the issuer whose token it says to be; issuer_count: none of the others'. */
static size_t issuer_of(const struct fg_identity_conf *conf, const json_t *claims)
{
    const char *iss = json_string_value(json_object_get(claims, "iss"));
    size_t i = 0;
    while (i < conf->issuer_count && (iss == NULL || strcmp(iss, conf->issuers[i].issuer) != 0))
        i++;
    return i;
}

static bool may_be_our_own(const struct fg_identity_conf *conf, const json_t *claims)
{
    const char *iss = json_string_value(json_object_get(claims, "iss"));
    return conf->jwt.issuer == NULL || (iss != NULL && strcmp(iss, conf->jwt.issuer) == 0);
}

static enum fg_jwt_verdict check_foreign(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                                         struct candidate *token, size_t issuer, uint64_t now_s,
                                         struct fg_jwt_grant *grant)
{
    const struct fg_issuer_conf *conf = &verifier->conf->issuers[issuer];
    const struct fg_jwt_rules rules = {.issuer = conf->issuer,
                                       .audience = conf->audience,
                                       .user_prefix = conf->user_prefix,
                                       .leeway_s = conf->leeway_ns / 1000000000};
    token->header = fg_jwt_decode_part(token->parts.header);
    if (token->header == NULL ||
        !fg_base64url_decode(token->signature, sizeof(token->signature), token->parts.signature,
                             &token->signature_bytes))
        return FG_JWT_MALFORMED;
    enum fg_jwt_verdict verdict =
        verify_by_set(verifier->digest, &verifier->ring->issuers[issuer], token);
    if (verdict == FG_JWT_OK && !is_of_type(token->header, conf->token_type))
        verdict = FG_JWT_WRONG_TYPE;
    if (verdict != FG_JWT_OK)
        return verdict;
    return fg_jwt_read_claims(&rules, arena, token->claims, now_s, grant);
}

/* The same, unless its client has failed too often; whoever has no address is nobody's crowd. */
static enum fg_jwt_verdict check_in_bounds(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                                           struct fg_span client_addr, struct candidate *token,
                                           size_t issuer, uint64_t now_s,
                                           struct fg_jwt_grant *grant)
{
    const uint64_t client = fg_client_owner(verifier->client_key, client_addr);
    const uint32_t burst = client == 0 ? 0 : verifier->conf->failed_tokens_burst;
    const uint64_t now_ns = now_s * NS_PER_S;
    if (burst > 0 && fg_flood_ledger_owed(verifier->debts, client, now_ns) >= burst)
        return FG_JWT_TOO_MANY_TRIES;
    enum fg_jwt_verdict verdict = check_foreign(verifier, arena, token, issuer, now_s, grant);
    if (burst > 0 && verdict != FG_JWT_OK && token->tries > 0)
        fg_flood_ledger_add(verifier->debts, client, token->tries, now_ns);
    return verdict;
}

static enum fg_jwt_verdict check_anew(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                                      struct fg_span client_addr, struct fg_span token,
                                      uint64_t now_s, struct fg_jwt_grant *grant)
{
    struct candidate candidate = {.header = NULL};
    if (token.len > FG_JWT_TOKEN_BYTES_MAX)
        return FG_JWT_TOO_LONG;
    if (!fg_jwt_split(token, &candidate.parts))
        return FG_JWT_MALFORMED;
    if (verifier->conf->issuer_count == 0)
        return fg_jwt_verify(verifier->signer, arena, token, now_s, grant);
    candidate.claims = fg_jwt_decode_part(candidate.parts.payload);
    if (candidate.claims == NULL)
        return FG_JWT_MALFORMED;
    size_t issuer = issuer_of(verifier->conf, candidate.claims);
    enum fg_jwt_verdict verdict = FG_JWT_WRONG_ISSUER;
    if (issuer < verifier->conf->issuer_count)
        verdict = check_in_bounds(verifier, arena, client_addr, &candidate, issuer, now_s, grant);
    else if (may_be_our_own(verifier->conf, candidate.claims))
        verdict = fg_jwt_verify(verifier->signer, arena, token, now_s, grant);
    json_decref(candidate.claims);
    json_decref(candidate.header);
    return verdict;
}

static bool hash_token(EVP_MD_CTX *hasher, struct fg_span token, unsigned char digest[32])
{
    unsigned len;
    return token.len <= FG_JWT_TOKEN_BYTES_MAX &&
           EVP_DigestInit_ex2(hasher, NULL, NULL) == 1 && /* the same again */
           EVP_DigestUpdate(hasher, token.data, token.len) == 1 &&
           EVP_DigestFinal_ex(hasher, digest, &len) == 1;
}

enum fg_jwt_verdict fg_jwt_verifier_check(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                                          struct fg_span client_addr, struct fg_span token,
                                          uint64_t now_s, struct fg_span *user_id,
                                          struct fg_span *tier)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct fg_jwt_grant grant;
    const struct fg_key_ring *ring = fg_jwt_verifier_keys(verifier);
    bool has_digest = verifier->cache != NULL && hash_token(verifier->hasher, token, digest);
    if (has_digest && fg_token_cache_find(verifier->cache, digest, ring->generation, &grant) &&
        now_s >= grant.from_s && now_s < grant.until_s) {
        *user_id = fg_arena_try_copy(arena, grant.user_id);
        *tier = grant.tier.len == 0 ? FG_SPAN("") : fg_arena_try_copy(arena, grant.tier);
        return user_id->data == NULL || tier->data == NULL ? FG_JWT_MALFORMED : FG_JWT_OK;
    }
    enum fg_jwt_verdict verdict = check_anew(verifier, arena, client_addr, token, now_s, &grant);
    if (verdict != FG_JWT_OK)
        return verdict;
    *user_id = grant.user_id;
    *tier = grant.tier;
    if (has_digest)
        fg_token_cache_keep(verifier->cache, digest, ring->generation, &grant);
    return FG_JWT_OK;
}
