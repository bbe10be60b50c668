/*
 * schema_identity.c: the tables of identity: whose tokens, keys, signatures are accepted.
 */
#include "config/key_algorithm.h"
#include "config/raw.h"
#include "config/schema.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define L(member) AT(fg_jwt_conf, member)
static const struct fg_key jwt_keys[] = {
    {.name = "secret_file",
     .type = FG_KEY_PATH,
     .offset = L(secret_file),
     .initial = "jwt.key",
     .check = fg_text_check_not_empty,
     .doc = "Key of the HS256 signatures, at least 32 bytes; made (mode 0600) when missing. All "
            "gateways of one app need the same."},
    {.name = "issuer",
     .type = FG_KEY_STRING,
     .offset = L(issuer),
     .initial = "floodgate",
     .check = fg_text_check_not_empty,
     .doc = "The `iss` that is written and demanded."},
    {.name = "audience",
     .type = FG_KEY_STRING,
     .offset = L(audience),
     .check = fg_text_check_not_empty,
     .doc = "The `aud` that is written and demanded; without it none is."},
    {.name = "leeway",
     .type = FG_KEY_DURATION,
     .offset = L(leeway_ns),
     .initial = "30s",
     .min = 0,
     .max = 1 * HOUR,
     .doc = "How far clocks may differ when times in a token are read."},
    {.name = NULL},
};
#undef L

static const struct fg_table jwt_table = {
    .path = "identity.jwt",
    .doc = "Tokens that say who a user is (RFC 7519, signed with HS256).",
    .keys = jwt_keys,
    .bytes = sizeof(struct fg_jwt_conf),
    .example = "{secret_file: jwt.key}",
};

static const struct fg_choice algorithms[] = {
    {"RS256", FG_KEY_RS256}, {"RS384", FG_KEY_RS384},
    {"RS512", FG_KEY_RS512}, {"PS256", FG_KEY_PS256},
    {"PS384", FG_KEY_PS384}, {"PS512", FG_KEY_PS512},
    {"ES256", FG_KEY_ES256}, {"ES384", FG_KEY_ES384},
    {"ES512", FG_KEY_ES512}, {"EdDSA", FG_KEY_EDDSA},
    {"HS256", FG_KEY_HS256}, {"HS384", FG_KEY_HS384},
    {"HS512", FG_KEY_HS512}, {NULL, 0},
};

/* These two tables fill the root's struct, so that a key may live where a person looks for it. */
#define ISSUER(member) AT(fg_raw_issuer, conf.member)
static const struct fg_key issuer_keys[] = {
    {.name = "issuer",
     .type = FG_KEY_STRING,
     .offset = ISSUER(issuer),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "The `iss` of its tokens; it says whose keys a token is checked with."},
    {.name = "audience",
     .type = FG_KEY_STRING,
     .offset = ISSUER(audience),
     .check = fg_text_check_not_empty,
     .doc = "The `aud` that is demanded; without it none is."},
    {.name = "keys_file",
     .type = FG_KEY_PATH,
     .offset = ISSUER(keys_file),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc =
         "Its keys: a JWK set (RFC 7517) or a PEM public key or certificate. Each verifies one "
         "algorithm and nothing else: what its `alg` says, or `algorithm`, or RS256 (RSA), ES256 "
         "(P-256), ES384 (P-384), ES512 (P-521), EdDSA (Ed25519), HS256 (`oct`). Read anew when "
         "it changes."},
    {.name = "algorithm",
     .type = FG_KEY_WORD,
     .offset = ISSUER(algorithm),
     .choices = algorithms,
     .derived = "the usual one of each key's type",
     .doc = "What its keys are for that name no algorithm themselves (PEM, a JWK without `alg`); "
            "those of a set that cannot be for it are left out."},
    {.name = "leeway",
     .type = FG_KEY_DURATION,
     .offset = ISSUER(leeway_ns),
     .initial = "30s",
     .min = 0,
     .max = 1 * HOUR,
     .doc = "How far its clock may differ from ours."},
    {.name = "user_prefix",
     .type = FG_KEY_STRING,
     .offset = ISSUER(user_prefix),
     .check = fg_text_check_user,
     .doc = "Put before the subject of its tokens, so that its users are not taken for others of "
            "the same name."},
    {.name = "token_type",
     .type = FG_KEY_STRING,
     .offset = ISSUER(token_type),
     .check = fg_text_check_not_empty,
     .doc = "The `typ` that is demanded of its tokens' headers, as `at+jwt` (RFC 9068); without it "
            "none is. An issuer that signs tokens of several kinds with one key, for logins, "
            "logouts or events, has them told apart by it."},
    {.name = NULL},
};

static const struct fg_table issuer_table = {
    .path = "identity.issuers[]",
    .doc = "Somebody else whose tokens are accepted.",
    .keys = issuer_keys,
    .bytes = sizeof(struct fg_raw_issuer),
    .node_offset = AT(fg_raw_issuer, node),
    .example = "{issuer: \"https://login.example.org\", keys_file: jwks.json}",
};

static const struct fg_key api_key_keys[] = {
    {.name = "user",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_api_key, conf.user),
     .is_required = true,
     .check = fg_text_check_user,
     .doc = "Who uses it: the user id."},
    {.name = "sha256",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_api_key, sha256),
     .is_required = true,
     .check = fg_text_check_sha256,
     .doc = "SHA-256 of the key in hexadecimal, as `floodgate token --api-key` prints it. The key "
            "itself is written nowhere."},
    {.name = NULL},
};

static const struct fg_table api_key_table = {
    .path = "identity.api_keys[]",
    .doc = "A key of a program that is no person: 32 random bytes, not a password.",
    .keys = api_key_keys,
    .bytes = sizeof(struct fg_raw_api_key),
    .node_offset = AT(fg_raw_api_key, node),
    .example = "{user: partner, sha256: \"9f86...\"}",
};

#define SIGNING(member) AT(fg_raw_signing_key, conf.member)
static const struct fg_key signing_key_keys[] = {
    {.name = "id",
     .type = FG_KEY_STRING,
     .offset = SIGNING(id),
     .is_required = true,
     .check = fg_text_check_name,
     .doc = "What a signature calls it."},
    {.name = "user",
     .type = FG_KEY_STRING,
     .offset = SIGNING(user),
     .derived = "its id",
     .check = fg_text_check_user,
     .doc = "The user id of what is signed with it."},
    {.name = "secret_file",
     .type = FG_KEY_PATH,
     .offset = SIGNING(secret_file),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "At least 32 bytes, shared with the signer; made (mode 0600) when missing. Read anew "
            "when it changes."},
    {.name = NULL},
};

static const struct fg_table signing_key_table = {
    .path = "identity.signatures.keys[]",
    .doc = "A key for signed requests.",
    .keys = signing_key_keys,
    .bytes = sizeof(struct fg_raw_signing_key),
    .node_offset = AT(fg_raw_signing_key, node),
    .example = "{id: partner, secret_file: partner.key}",
};

static const struct fg_key signature_keys[] = {
    {.name = "keys",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_config, signing_keys),
     .count_offset = AT(fg_raw_config, signing_key_count),
     .table = &signing_key_table,
     .max = 256,
     .doc = "Whose signatures are accepted."},
    {.name = "window",
     .type = FG_KEY_DURATION,
     .offset = AT(fg_raw_config, identity.signature_window_ns),
     .initial = "30s",
     .min = 1 * S,
     .max = 1 * HOUR,
     .doc = "How far the time of a signature may be from ours; a nonce is remembered until it "
            "could not be used again anyway."},
    /* 24 bytes a place and two places each: 4.8 MB; 30 s at 1,600 signed requests a second. */
    {.name = "nonces_max",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_config, identity.nonces_max),
     .initial = "100000",
     .min = 1000,
     .max = 100000000,
     .doc =
         "Nonces remembered; signed requests beyond it are answered 503 rather than let a replay "
         "through."},
    {.name = "shared",
     .type = FG_KEY_BOOL,
     .offset = AT(fg_raw_config, identity.shares_nonces),
     .initial = "false",
     .doc =
         "Use each nonce once among all gateways with the same `policies.shared_state`. A signed "
         "request then waits for that Redis, and is answered 503 while it is away."},
    {.name = NULL},
};

static const struct fg_table signature_table = {
    .path = "identity.signatures",
    .doc = "Requests signed with HMAC-SHA256 over method, host, target, time, nonce and body; see "
           "identity.md.",
    .keys = signature_keys,
    .bytes = sizeof(struct fg_raw_config),
    .example = "{keys: [{id: partner, secret_file: partner.key}]}",
};

static const struct fg_key identity_keys[] = {
    {.name = "jwt",
     .type = FG_KEY_OBJECT,
     .offset = AT(fg_raw_config, identity.jwt),
     .table = &jwt_table,
     .doc = "Tokens."},
    {.name = "issuers",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_config, issuers),
     .count_offset = AT(fg_raw_config, issuer_count),
     .table = &issuer_table,
     .max = 32,
     .doc = "Others whose tokens are accepted beside our own."},
    /* 240 bytes each: 980 KB a thread. */
    {.name = "token_cache",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_config, identity.token_cache_max),
     .initial = "4096",
     .zero_word = "off",
     .takes_zero = true,
     .min = 16,
     .max = 10000000,
     .doc = "Good tokens remembered, a thread, so that a signature is checked once and not with "
            "every request."},
    {.name = "failed_tokens_burst",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_config, identity.failed_tokens_burst),
     .initial = "100",
     .zero_word = "off",
     .min = 4,
     .max = 1000000,
     .doc = "Signatures of other issuers' tokens that one address (IPv6: its /64) may have checked "
            "in vain at once, on all threads together. Further tokens from there are answered 429 "
            "unchecked, but "
            "for good ones that are remembered."},
    {.name = "failed_tokens_per_second",
     .type = FG_KEY_U32,
     .offset = AT(fg_raw_config, identity.failed_tokens_per_s),
     .initial = "10",
     .min = 1,
     .max = 1000000,
     .doc = "How many of these are forgiven each second."},
    {.name = "api_keys",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_config, api_keys),
     .count_offset = AT(fg_raw_config, api_key_count),
     .table = &api_key_table,
     .max = FG_LIST_MAX,
     .doc = "Keys of programs."},
    {.name = "api_key_header",
     .type = FG_KEY_STRING,
     .offset = AT(fg_raw_config, identity.api_key_header),
     .initial = "x-api-key",
     .check = fg_text_check_field_name_lower,
     .doc = "The request field they come in; it is not passed on to backends."},
    {.name = "signatures",
     .type = FG_KEY_OBJECT,
     .offset = 0,
     .table = &signature_table,
     .doc = "Signed requests."},
    {.name = "session_ttl",
     .type = FG_KEY_DURATION,
     .offset = AT(fg_raw_config, orders.conf.session_ttl_ns),
     .initial = "1d",
     .min = 1 * S,
     .max = 365 * DAY,
     .doc = "How long the token of a guest is good."},
    {.name = "sessions_per_ip",
     .type = FG_KEY_PER_MINUTE,
     .offset = AT(fg_raw_config, identity.sessions_per_ip_max_per_minute),
     .initial = "600/m",
     .zero_word = "off",
     .min = 1,
     .max = 1000000,
     .doc = "New guests from one client address; more are answered 429. Ample, because carriers "
            "put many phones behind one address."},
    {.name = NULL},
};

const struct fg_table fg_table_identity = {
    .path = "identity",
    .doc = "Who is asking. A guest gets a token at the route with `session: true`.",
    .keys = identity_keys,
    .bytes = sizeof(struct fg_raw_config),
    .example = "{jwt: {secret_file: jwt.key}}",
};
