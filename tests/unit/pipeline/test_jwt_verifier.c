/*
 * test_jwt_verifier.c: tokens of other issuers under each algorithm, and each way to cheat with
 * one.
 */
#include "base/base64url.h"
#include "pipeline/jwt_verifier.h"
#include "pipeline/token_cache.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { RSA_ISSUER, EC_ISSUER, ED_ISSUER, ISSUERS };

static struct fg_arena_pool pool;
static struct fg_arena arena;
static struct fg_jwt_key own_key;
static struct fg_jwt_signer *signer;
static struct fg_key_store *store;
static const struct fg_siphash_key client_key = {1, 2};
static struct fg_flood_ledger *debts;
static struct fg_jwt_verifier *verifier;
static EVP_PKEY *keys[ISSUERS];
static char paths[ISSUERS][32];
static struct fg_issuer_conf issuers[ISSUERS] = {
    {.issuer = "rsa", .user_prefix = "r:", .leeway_ns = 5000000000},
    {.issuer = "ec", .audience = "app"},
    {.issuer = "ed"},
};
static const struct fg_identity_conf conf = {
    .issuers = issuers, .issuer_count = ISSUERS, .token_cache_max = 64};

static void write_key(unsigned index, const EVP_PKEY *key)
{
    FILE *file = fopen(paths[index], "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PUBKEY(file, key), 1);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    struct fg_error error;
    fg_arena_pool_init(&pool, 1000);
    fg_arena_init(&arena, &pool, 2000000);
    keys[RSA_ISSUER] = EVP_RSA_gen(2048);
    keys[EC_ISSUER] = EVP_EC_gen("P-256");
    keys[ED_ISSUER] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    for (unsigned i = 0; i < ISSUERS; i++) {
        snprintf(paths[i], sizeof(paths[i]), "/tmp/fg-test-key-XXXXXX");
        close(mkstemp(paths[i]));
        issuers[i].keys_file = paths[i];
        write_key(i, keys[i]);
    }
    memset(own_key.secret, 'k', 40);
    own_key.secret_bytes = 40;
    own_key.rules.issuer = "floodgate";
    signer = fg_jwt_signer_create(&own_key);
    store = fg_key_store_create(&conf, &error);
    if (signer == NULL || store == NULL)
        return -1;
    debts = fg_jwt_debts_create(&conf);
    if (debts == NULL)
        return -1;
    verifier = fg_jwt_verifier_create(&conf, signer, store, &client_key, debts);
    return verifier == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_jwt_verifier_destroy(verifier);
    fg_flood_ledger_destroy(debts);
    fg_key_store_destroy(store);
    fg_jwt_signer_destroy(signer);
    for (unsigned i = 0; i < ISSUERS; i++) {
        EVP_PKEY_free(keys[i]);
        unlink(paths[i]);
    }
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static size_t sign_raw(EVP_PKEY *key, const EVP_MD *md, struct fg_span text, unsigned char out[512])
{
    size_t len = 512;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, out, &len, (const unsigned char *)text.data, text.len), 1);
    EVP_MD_CTX_free(ctx);
    return len;
}

/* DER into r and s of 32 bytes each. */
static size_t flatten(unsigned char out[512], size_t len)
{
    const unsigned char *at = out;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + 32, 32), 32);
    ECDSA_SIG_free(pair);
    return 64;
}

static struct fg_span token_of(unsigned issuer, const char *header, const char *claims)
{
    char text[4096];
    unsigned char signature[512];
    size_t at = fg_base64url_encode(text, (const unsigned char *)header, strlen(header));
    text[at++] = '.';
    at += fg_base64url_encode(text + at, (const unsigned char *)claims, strlen(claims));
    size_t len = sign_raw(keys[issuer], issuer == ED_ISSUER ? NULL : EVP_sha256(),
                          fg_span_make(text, at), signature);
    if (issuer == EC_ISSUER)
        len = flatten(signature, len);
    text[at++] = '.';
    at += fg_base64url_encode(text + at, signature, len);
    return fg_arena_try_copy(&arena, fg_span_make(text, at));
}

static struct fg_span tier; /* of the last token that was good */
static struct fg_span client_addr = FG_SPAN_LITERAL("192.0.2.1"); /* who sends it */

static enum fg_jwt_verdict check(struct fg_span token, uint64_t now_s, const char *expected_user)
{
    struct fg_span user = {NULL, 0};
    enum fg_jwt_verdict verdict =
        fg_jwt_verifier_check(verifier, &arena, client_addr, token, now_s, &user, &tier);
    if (verdict == FG_JWT_OK && expected_user != NULL)
        assert_true(fg_span_equal(user, fg_span_from_string(expected_user)));
    return verdict;
}

static void accepts_each_algorithm(void **state)
{
    (void)state;
    struct fg_span rsa = token_of(RSA_ISSUER, "{\"alg\":\"RS256\"}",
                                  "{\"iss\":\"rsa\",\"sub\":\"ada\",\"exp\":2000,\"nbf\":1000.5}");
    struct fg_span ec =
        token_of(EC_ISSUER, "{\"alg\":\"ES256\",\"kid\":\"whatever\"}",
                 "{\"iss\":\"ec\",\"sub\":\"bob\",\"exp\":2000,\"aud\":[\"x\",\"app\"]}");
    struct fg_span ed = token_of(ED_ISSUER, "{\"typ\":\"JWT\",\"alg\":\"EdDSA\"}",
                                 "{\"iss\":\"ed\",\"sub\":\"eve\",\"exp\":2000}");
    struct fg_span own = fg_jwt_sign(signer, &arena, FG_SPAN("u_1"), 1000, 2000);
    for (unsigned round = 0; round < 2; round++) { /* the second time from memory */
        assert_int_equal(check(rsa, 1500, "r:ada"), FG_JWT_OK);
        assert_int_equal(check(ec, 1500, "bob"), FG_JWT_OK);
        assert_int_equal(check(ed, 1500, "eve"), FG_JWT_OK);
        assert_int_equal(check(own, 1500, "u_1"), FG_JWT_OK);
    }
    /* Also from memory, time goes on. */
    assert_int_equal(check(rsa, 2004, NULL), FG_JWT_OK);
    assert_int_equal(check(rsa, 2005, NULL), FG_JWT_EXPIRED);
    assert_int_equal(check(rsa, 996, NULL), FG_JWT_OK);
    assert_int_equal(check(rsa, 995, NULL), FG_JWT_NOT_YET);
    assert_int_equal(check(ec, 2000, NULL), FG_JWT_EXPIRED);
}

static void reads_the_tier(void **state)
{
    static const struct {
        const char *claim;
        const char *tier;
    } cases[] = {
        {"", ""},
        {",\"tier\":\"gold\"", "gold"},
        {",\"tier\":\"\"", ""},
        {",\"tier\":7", ""},
        {",\"tier\":\"two words\"", ""},
        {",\"tier\":\"012345678901234567890123456789ab\"", "012345678901234567890123456789ab"},
        {",\"tier\":\"012345678901234567890123456789abc\"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char claims[160];
        snprintf(claims, sizeof(claims), "{\"iss\":\"ed\",\"sub\":\"t%zu\",\"exp\":2000%s}", i,
                 cases[i].claim);
        struct fg_span token = token_of(ED_ISSUER, "{\"alg\":\"EdDSA\"}", claims);
        for (unsigned round = 0; round < 2; round++) { /* the second time from memory */
            assert_int_equal(check(token, 1500, NULL), FG_JWT_OK);
            assert_true(fg_span_equal(tier, fg_span_from_string(cases[i].tier)));
        }
    }
}

static void refuses_any_changed_byte(void **state)
{
    (void)state;
    struct fg_span token =
        token_of(ED_ISSUER, "{\"alg\":\"EdDSA\"}", "{\"iss\":\"ed\",\"sub\":\"eve\",\"exp\":2000}");
    assert_int_equal(check(token, 1500, "eve"), FG_JWT_OK);
    for (size_t i = 0; i < token.len; i++) {
        struct fg_span copy = fg_arena_try_copy(&arena, token);
        char *text = (char *)(uintptr_t)copy.data;
        text[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(check(copy, 1500, NULL), FG_JWT_OK);
        assert_int_not_equal(check(fg_span_make(token.data, i), 1500, NULL), FG_JWT_OK);
    }
}

/* header.claims with an HMAC under whatever secret. */
static struct fg_span forge_hmac(const char *header, const char *claims, const void *secret,
                                 size_t secret_bytes)
{
    char text[2048];
    unsigned char mac[32];
    size_t len = 0;
    size_t at = fg_base64url_encode(text, (const unsigned char *)header, strlen(header));
    text[at++] = '.';
    at += fg_base64url_encode(text + at, (const unsigned char *)claims, strlen(claims));
    assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret, secret_bytes,
                              (const unsigned char *)text, at, mac, sizeof(mac), &len));
    text[at++] = '.';
    at += fg_base64url_encode(text + at, mac, len);
    return fg_arena_try_copy(&arena, fg_span_make(text, at));
}

static void takes_no_key_for_another(void **state)
{
    (void)state;
    static const char claims[] = "{\"iss\":\"rsa\",\"sub\":\"ada\",\"exp\":2000}";
    char pem[1024] = "";
    FILE *file = fopen(paths[RSA_ISSUER], "r");
    size_t pem_len = fread(pem, 1, sizeof(pem), file);
    fclose(file);
    /* The public key as an HMAC secret, in its text form. */
    assert_int_equal(check(forge_hmac("{\"alg\":\"HS256\"}", claims, pem, pem_len), 1500, NULL),
                     FG_JWT_UNKNOWN_KEY);
    /* Our own secret does not speak for another issuer. */
    assert_int_equal(
        check(forge_hmac("{\"alg\":\"HS256\"}", claims, own_key.secret, 40), 1500, NULL),
        FG_JWT_UNKNOWN_KEY);
    /* Another issuer's key under this issuer's name, with each alg. */
    assert_int_equal(check(token_of(EC_ISSUER, "{\"alg\":\"ES256\"}", claims), 1500, NULL),
                     FG_JWT_UNKNOWN_KEY);
    assert_int_equal(check(token_of(EC_ISSUER, "{\"alg\":\"RS256\"}", claims), 1500, NULL),
                     FG_JWT_BAD_SIGNATURE);
    /* And no issuer's key speaks for us. */
    assert_int_not_equal(check(token_of(RSA_ISSUER, "{\"alg\":\"RS256\"}",
                                        "{\"iss\":\"floodgate\",\"sub\":\"ada\",\"exp\":2000}"),
                               1500, NULL),
                         FG_JWT_OK);
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"rs256\"}",
        "{\"alg\":\"RS512\"}",
        "{\"alg\":\"PS256\"}",
        "{\"alg\":[\"RS256\"]}",
        "{}",
        "[]",
        "\"RS256\"",
        "{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"RS256\",\"kid\":7}",
        "{\"alg\":\"none\",\"alg\":\"RS256\"}",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        assert_int_not_equal(check(token_of(RSA_ISSUER, headers[i], claims), 1500, NULL),
                             FG_JWT_OK);
    /* Without any signature. */
    char unsigned_one[512];
    size_t at = fg_base64url_encode(unsigned_one, (const unsigned char *)"{\"alg\":\"none\"}", 14);
    unsigned_one[at++] = '.';
    at += fg_base64url_encode(unsigned_one + at, (const unsigned char *)claims, strlen(claims));
    unsigned_one[at++] = '.';
    assert_int_not_equal(check(fg_span_make(unsigned_one, at), 1500, NULL), FG_JWT_OK);
}

static void checks_the_claims(void **state)
{
    (void)state;
    static const struct {
        const char *claims;
        enum fg_jwt_verdict verdict;
    } cases[] = {
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"aud\":\"app\"}", FG_JWT_MALFORMED},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":2000}", FG_JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":2000,\"aud\":\"App\"}", FG_JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":2000,\"aud\":[7]}", FG_JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"ec\",\"exp\":2000,\"aud\":\"app\"}", FG_JWT_NO_SUBJECT},
        {"{\"iss\":\"ec\",\"sub\":\"a b\",\"exp\":2000,\"aud\":\"app\"}", FG_JWT_BAD_SUBJECT},
        {"{\"iss\":\"ec\",\"sub\":\"a\\nb\",\"exp\":2000,\"aud\":\"app\"}", FG_JWT_BAD_SUBJECT},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":-1,\"aud\":\"app\"}", FG_JWT_EXPIRED},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":1e300,\"aud\":\"app\"}", FG_JWT_OK},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":\"2000\",\"aud\":\"app\"}", FG_JWT_MALFORMED},
        {"{\"iss\":\"ec\",\"sub\":\"a\",\"exp\":2000,\"nbf\":1e300,\"aud\":\"app\"}",
         FG_JWT_NOT_YET},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("%s\n", cases[i].claims);
        assert_int_equal(
            check(token_of(EC_ISSUER, "{\"alg\":\"ES256\"}", cases[i].claims), 1500, NULL),
            cases[i].verdict);
    }
}

static void looks_no_more_at_tokens_of_who_failed_often(void **state)
{
    (void)state;
    struct fg_identity_conf strict = conf;
    strict.failed_tokens_burst = 8;
    strict.failed_tokens_per_s = 2;
    struct fg_jwt_verifier *lax = verifier;
    struct fg_flood_ledger *ledger = fg_jwt_debts_create(&strict);
    assert_non_null(ledger);
    verifier = fg_jwt_verifier_create(&strict, signer, store, &client_key, ledger);
    assert_non_null(verifier);
    static const char header[] = "{\"alg\":\"EdDSA\"}";
    struct fg_span known =
        token_of(ED_ISSUER, header, "{\"iss\":\"ed\",\"sub\":\"known\",\"exp\":2000}");
    struct fg_span fresh =
        token_of(ED_ISSUER, header, "{\"iss\":\"ed\",\"sub\":\"fresh\",\"exp\":2000}");
    struct fg_span expired =
        token_of(ED_ISSUER, header, "{\"iss\":\"ed\",\"sub\":\"late\",\"exp\":1000}");
    struct fg_span own = fg_jwt_sign(signer, &arena, FG_SPAN("u_1"), 1000, 2000);
    struct fg_span forged = fg_arena_try_copy(&arena, fresh);
    char *digit = (char *)(uintptr_t)forged.data + forged.len - 20;
    *digit = *digit == 'A' ? 'B' : 'A'; /* another one of base64url: else it is malformed */
    assert_int_equal(check(known, 1500, "known"), FG_JWT_OK);
    for (unsigned i = 0; i < 8; i++) /* a good signature that is too old costs as much */
        assert_int_equal(check(i % 2 == 0 ? forged : expired, 1500, NULL),
                         i % 2 == 0 ? FG_JWT_BAD_SIGNATURE : FG_JWT_EXPIRED);
    assert_int_equal(check(forged, 1500, NULL), FG_JWT_TOO_MANY_TRIES);
    assert_int_equal(check(fresh, 1500, NULL), FG_JWT_TOO_MANY_TRIES);
    assert_int_equal(check(known, 1500, "known"), FG_JWT_OK); /* from memory */
    assert_int_equal(check(own, 1500, "u_1"), FG_JWT_OK);
    client_addr = FG_SPAN("192.0.2.2");
    assert_int_equal(check(fresh, 1500, "fresh"), FG_JWT_OK);
    client_addr = FG_SPAN("192.0.2.1");
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(check(forged, 1501, NULL), FG_JWT_BAD_SIGNATURE);
    assert_int_equal(check(forged, 1501, NULL), FG_JWT_TOO_MANY_TRIES);
    fg_jwt_verifier_destroy(verifier);
    verifier = fg_jwt_verifier_create(&strict, signer, store, &client_key, ledger);
    assert_non_null(verifier); /* another thread's */
    assert_int_equal(check(forged, 1501, NULL), FG_JWT_TOO_MANY_TRIES);
    fg_jwt_verifier_destroy(verifier);
    fg_flood_ledger_destroy(ledger);
    verifier = lax;
}

static void forgets_with_the_keys(void **state)
{
    (void)state;
    struct fg_error error;
    struct fg_span token =
        token_of(ED_ISSUER, "{\"alg\":\"EdDSA\"}", "{\"iss\":\"ed\",\"sub\":\"old\",\"exp\":2000}");
    assert_int_equal(check(token, 1500, "old"), FG_JWT_OK);
    EVP_PKEY *fresh = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    write_key(ED_ISSUER, fresh);
    assert_int_equal(check(token, 1500, "old"), FG_JWT_OK); /* not read yet */
    assert_int_equal(fg_key_store_reload(store, &error), FG_OK);
    assert_int_equal(check(token, 1500, NULL), FG_JWT_BAD_SIGNATURE);
    FILE *file = fopen(paths[ED_ISSUER], "w");
    fputs("nothing", file);
    fclose(file);
    assert_int_equal(fg_key_store_reload(store, &error), FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "issuer ed"));
    EVP_PKEY_free(keys[ED_ISSUER]);
    keys[ED_ISSUER] = fresh;
    token =
        token_of(ED_ISSUER, "{\"alg\":\"EdDSA\"}", "{\"iss\":\"ed\",\"sub\":\"new\",\"exp\":2000}");
    assert_int_equal(check(token, 1500, "new"), FG_JWT_OK); /* the good ones stayed */
    write_key(ED_ISSUER, fresh);
}

static void remembers_within_its_bound(void **state)
{
    (void)state;
    struct fg_token_cache *cache = fg_token_cache_create(16);
    struct fg_jwt_grant grant = {.user_id = FG_SPAN("u"), .from_s = 1, .until_s = 2};
    unsigned char digest[32] = {0};
    assert_non_null(cache);
    assert_false(fg_token_cache_find(cache, digest, 1, &grant));
    for (unsigned i = 0; i < 8; i++) { /* one bucket: they differ in its last byte alone */
        digest[31] = (unsigned char)i;
        fg_token_cache_keep(cache, digest, 1, &grant);
        digest[31] = 0; /* used each time, so it stays */
        assert_true(fg_token_cache_find(cache, digest, 1, &grant));
    }
    digest[31] = 7;
    assert_true(fg_token_cache_find(cache, digest, 1, &grant));
    digest[31] = 1;
    assert_false(fg_token_cache_find(cache, digest, 1, &grant));
    digest[31] = 7;
    assert_false(fg_token_cache_find(cache, digest, 2, &grant)); /* of other keys */
    grant.user_id = FG_SPAN("v");
    fg_token_cache_keep(cache, digest, 2, &grant);
    assert_true(fg_token_cache_find(cache, digest, 2, &grant));
    assert_true(fg_span_equal(grant.user_id, FG_SPAN("v")));
    fg_token_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_each_algorithm),
        cmocka_unit_test(refuses_any_changed_byte),
        cmocka_unit_test(reads_the_tier),
        cmocka_unit_test(takes_no_key_for_another),
        cmocka_unit_test(checks_the_claims),
        cmocka_unit_test(looks_no_more_at_tokens_of_who_failed_often),
        cmocka_unit_test(forgets_with_the_keys),
        cmocka_unit_test(remembers_within_its_bound),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
