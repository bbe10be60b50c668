/*
 * fuzz_jwt.c: any bytes as a bearer token, and any bytes as the claims of a token with a good
 * signature, of our own and of another issuer. Whatever is accepted has a user and has not expired.
 */
#include "base/arena.h"
#include "base/base64url.h"
#include "pipeline/jwt_verifier.h"

#include <assert.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOW_S 1000
#define SECRET "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct fg_siphash_key client_key = {1, 2};
static const struct fg_span client_addr = FG_SPAN_LITERAL("192.0.2.1");

static struct fg_jwt_verifier *make_verifier(void)
{
    static const char jwks[] =
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\""
        "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw\"},"
        "{\"kty\":\"EC\",\"kid\":\"e\",\"crv\":\"P-521\",\"x\":\""
        "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt"
        "\",\"y\":\""
        "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"
        "\"},{\"kty\":\"RSA\",\"kid\":\"r\",\"alg\":\"PS256\",\"e\":\"AQAB\",\"n\":\""
        "sEcxefQ_AieZrCK-yu6SgUFFBNUYW1BwzNuoXdu7h3LkgegykHuxbv6IquGldey1qh_OPjtkEZx6zbk-MhXG9Msy"
        "_U-doRf0-902It9ZHBhCXRetYbad9p1HtuCYpiAXAu0znWoUvV1kAgCht6dIE_EIZYP9khCha5JaAAr6hiueEQsH"
        "YmnkApcP9ZB1ToTv_Fp0Gn2H8kK5ugg_rqUkCvafiN8lZH-_w8yucpVF_jsf67Oyeg7kyVdu7ORSQvElSYJp8ueb"
        "kpIlqrM17ABzMHcD6vpcWQ8FbEWtPWLw2yiu5j_eAZNglxN0QX4TSf2Hsh7Tc5_OLRDKj3dlolhUUw\"}]}";
    static struct fg_jwt_key key;
    static char path[64];
    static struct fg_issuer_conf issuer = {
        .issuer = "other", .keys_file = path, .user_prefix = "other:"};
    static const struct fg_identity_conf conf = {
        .issuers = &issuer, .issuer_count = 1, .token_cache_max = 64};
    struct fg_error error;
    int fd = memfd_create("jwks", MFD_CLOEXEC);
    if (fd == -1 || write(fd, jwks, sizeof(jwks) - 1) != (ssize_t)sizeof(jwks) - 1)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    memcpy(key.secret, SECRET, 40);
    key.secret_bytes = 40;
    struct fg_key_store *store = fg_key_store_create(&conf, &error);
    struct fg_jwt_signer *signer = fg_jwt_signer_create(&key);
    struct fg_flood_ledger *debts = fg_jwt_debts_create(&conf);
    if (store == NULL || signer == NULL || debts == NULL)
        abort();
    return fg_jwt_verifier_create(&conf, signer, store, &client_key, debts);
}

static void check(struct fg_jwt_verifier *verifier, struct fg_arena *arena, struct fg_span token)
{
    struct fg_span user = {NULL, 0}, again = {NULL, 0}, tier, tier_again;
    if (fg_jwt_verifier_check(verifier, arena, client_addr, token, NOW_S, &user, &tier) !=
        FG_JWT_OK)
        return;
    assert(user.len > 0 && user.len <= FG_USER_ID_BYTES_MAX);
    assert(fg_jwt_verifier_check(verifier, arena, client_addr, token, NOW_S, &again, &tier_again) ==
           FG_JWT_OK);
    assert(tier.len <= FG_TIER_BYTES_MAX);
    assert(fg_span_equal(user, again) && fg_span_equal(tier, tier_again)); /* as remembered */
}

static void check_claims(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                         const uint8_t *data, size_t size)
{
    char text[4096];
    unsigned char mac[32];
    unsigned len = 0;
    static const char header[] = "{\"alg\":\"HS256\",\"kid\":\"k\"}";
    size_t at = fg_base64url_encode(text, (const unsigned char *)header, sizeof(header) - 1);
    text[at++] = '.';
    at += fg_base64url_encode(text + at, data, size);
    if (HMAC(EVP_sha256(), SECRET, 40, (const unsigned char *)text, at, mac, &len) == NULL)
        return;
    text[at++] = '.';
    at += fg_base64url_encode(text + at, mac, sizeof(mac));
    check(verifier, arena, fg_span_make(text, at));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fg_jwt_verifier *verifier;
    if (verifier == NULL)
        verifier = make_verifier();
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 65536);
    check(verifier, &arena, fg_span_make((const char *)data, size));
    if (size < 2048)
        check_claims(verifier, &arena, data, size);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}
