/*
 * test_jwt.c: tokens made and checked, and every way to cheat refused.
 */
#include "base/clock.h"
#include "base/base64url.h"
#include "pipeline/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct fg_arena_pool pool;
static struct fg_arena arena;
static struct fg_jwt_key key;
static struct fg_jwt_signer *signer;

static int set_up(void **state)
{
    (void)state;
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 200000);
    memset(key.secret, 'k', 40);
    key.secret_bytes = 40;
    key.rules.issuer = "floodgate";
    key.rules.audience = "app";
    key.rules.leeway_s = 5;
    signer = fg_jwt_signer_create(&key);
    return signer == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_jwt_signer_destroy(signer);
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static enum fg_jwt_verdict verify(struct fg_span token, uint64_t now_s)
{
    struct fg_jwt_grant grant;
    return fg_jwt_verify(signer, &arena, token, now_s, &grant);
}

static void accepts_its_own(void **state)
{
    (void)state;
    struct fg_jwt_grant grant;
    struct fg_span token = fg_jwt_sign(signer, &arena, FG_SPAN("u_1"), 1000, 2000);
    assert_non_null(token.data);
    assert_int_equal(fg_jwt_verify(signer, &arena, token, 1500, &grant), FG_JWT_OK);
    assert_true(fg_span_equal(grant.user_id, FG_SPAN("u_1")));
    assert_int_equal(grant.until_s, 2005);
    assert_int_equal(verify(token, 2004), FG_JWT_OK); /* within the leeway */
    assert_int_equal(verify(token, 2005), FG_JWT_EXPIRED);
}

static void refuses_any_changed_byte(void **state)
{
    (void)state;
    struct fg_span token = fg_jwt_sign(signer, &arena, FG_SPAN("u_1"), 1000, 2000);
    for (size_t i = 0; i < token.len; i++) {
        struct fg_span copy = fg_arena_try_copy(&arena, token);
        char *text = (char *)(uintptr_t)copy.data;
        text[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(copy, 1500), FG_JWT_OK);
        assert_int_not_equal(verify(fg_span_make(token.data, i), 1500), FG_JWT_OK);
    }
}

/* Signs header.payload with our key, whatever they say. */
static struct fg_span forge(const char *header, const char *payload)
{
    char text[4096];
    unsigned char mac[32];
    size_t at = fg_base64url_encode(text, (const unsigned char *)header, strlen(header));
    text[at++] = '.';
    at += fg_base64url_encode(text + at, (const unsigned char *)payload, strlen(payload));
    assert_true(fg_jwt_mac(signer, (struct fg_span){NULL, 0}, fg_span_make(text, at), mac));
    text[at++] = '.';
    at += fg_base64url_encode(text + at, mac, sizeof(mac));
    return fg_arena_try_copy(&arena, fg_span_make(text, at));
}

static void trusts_no_header_but_hs256(void **state)
{
    (void)state;
    const char *fine = "{\"sub\":\"u\",\"exp\":2000,\"iss\":\"floodgate\",\"aud\":\"app\"}";
    assert_int_equal(verify(forge("{\"alg\":\"HS256\"}", fine), 1), FG_JWT_OK);
    assert_int_equal(verify(forge("{\"kid\":\"x\",\"alg\":\"HS256\"}", fine), 1), FG_JWT_OK);
    const char *const bad[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"hs256\"}",
        "{}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":\"HS256\",\"crit\":[\"x\"]}",
        "[]",
        "",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(verify(forge(bad[i], fine), 1), FG_JWT_MALFORMED);
    /* Nobody has to know the key for a header to be read: it must not be much work. */
    char dense[2048] = "{\"alg\":\"HS256\",\"x\":[1";
    for (unsigned i = 0; i < 600; i++)
        strcat(dense, ",1");
    assert_int_equal(verify(forge(strcat(dense, "]}"), fine), 1), FG_JWT_MALFORMED);
}

static void checks_the_claims(void **state)
{
    (void)state;
    const struct {
        const char *payload;
        enum fg_jwt_verdict verdict;
    } cases[] = {
        {"{\"sub\":\"u\",\"iss\":\"floodgate\",\"aud\":\"app\"}", FG_JWT_MALFORMED},
        {"{\"sub\":\"u\",\"exp\":\"2000\",\"iss\":\"floodgate\",\"aud\":\"app\"}",
         FG_JWT_MALFORMED},
        {"{\"sub\":\"u\",\"exp\":2000,\"iss\":\"other\",\"aud\":\"app\"}", FG_JWT_WRONG_ISSUER},
        {"{\"sub\":\"u\",\"exp\":2000,\"aud\":\"app\"}", FG_JWT_WRONG_ISSUER},
        {"{\"sub\":\"u\",\"exp\":2000,\"iss\":\"floodgate\",\"aud\":\"x\"}", FG_JWT_WRONG_AUDIENCE},
        {"{\"sub\":\"u\",\"exp\":2000,\"iss\":\"floodgate\",\"aud\":[\"x\",\"app\"]}", FG_JWT_OK},
        {"{\"exp\":2000,\"iss\":\"floodgate\",\"aud\":\"app\"}", FG_JWT_NO_SUBJECT},
        {"{\"sub\":\"\",\"exp\":2000,\"iss\":\"floodgate\",\"aud\":\"app\"}", FG_JWT_NO_SUBJECT},
        {"{\"sub\":7,\"exp\":2000,\"iss\":\"floodgate\",\"aud\":\"app\"}", FG_JWT_NO_SUBJECT},
        {"{\"sub\":\"u\",\"exp\":2000,\"nbf\":1600,\"iss\":\"floodgate\",\"aud\":\"app\"}",
         FG_JWT_NOT_YET},
        {"{\"sub\":\"u\",\"exp\":2000,\"nbf\":1505,\"iss\":\"floodgate\",\"aud\":\"app\"}",
         FG_JWT_OK},
        {"{\"sub\":\"u\",\"sub\":\"v\",\"exp\":2000}", FG_JWT_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(verify(forge("{\"alg\":\"HS256\"}", cases[i].payload), 1500),
                         cases[i].verdict);
}

static void decodes_base64url_strictly(void **state)
{
    (void)state;
    unsigned char out[8];
    size_t len;
    assert_true(fg_base64url_decode(out, sizeof(out), FG_SPAN("_-8"), &len));
    assert_int_equal(len, 2);
    assert_int_equal(out[0], 0xff);
    assert_int_equal(out[1], 0xef);
    const char *const bad[] = {"A", "AA==", "A+AA", "AB", "AAB", "A A", "AAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_base64url_decode(out, sizeof(out), fg_span_from_string(bad[i]), &len));
}

static void makes_a_key_once_and_wants_it_long(void **state)
{
    (void)state;
    char folder[] = "/tmp/fg-jwt-XXXXXX", path[64];
    struct fg_error error = {.file = ""};
    static struct fg_jwt_key first, second;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/key", folder);
    struct fg_jwt_conf conf = {.secret_file = path};
    assert_int_equal(fg_jwt_key_load(&first, &conf, &error), FG_OK);
    assert_int_equal(fg_jwt_key_load(&second, &conf, &error), FG_OK);
    assert_int_equal(first.secret_bytes, second.secret_bytes);
    assert_memory_equal(first.secret, second.secret, first.secret_bytes);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    FILE *file = fopen(path, "w");
    fputs("short\n", file);
    fclose(file);
    assert_int_equal(fg_jwt_key_load(&first, &conf, &error), FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "it has 5 bytes; expected at least 32"));
    unlink(path);
    rmdir(folder);
    assert_int_equal(fg_jwt_key_load(&first, &conf, &error), FG_ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accepts_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_any_changed_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trusts_no_header_but_hs256, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checks_the_claims, set_up, tear_down),
        cmocka_unit_test(decodes_base64url_strictly),
        cmocka_unit_test(makes_a_key_once_and_wants_it_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
