/*
 * test_key_set.c: key files of others, good ones and each way to be no good.
 */
#include "config/key_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define RSA_KEY                                                                                    \
    "{\"kty\":\"RSA\",\"kid\":\"r1\",\"use\":\"sig\",\"alg\":\"RS256\",\"n\":\"sEcxef"             \
    "Q_AieZrCK-yu6SgUFFBNUYW1BwzNuoXdu7h3LkgegykHuxbv6IquGldey1qh_OPjtkEZx6zbk-MhXG9M"             \
    "sy_U-doRf0-902It9ZHBhCXRetYbad9p1HtuCYpiAXAu0znWoUvV1kAgCht6dIE_EIZYP9khCha5JaAA"             \
    "r6hiueEQsHYmnkApcP9ZB1ToTv_Fp0Gn2H8kK5ugg_rqUkCvafiN8lZH-_w8yucpVF_jsf67Oyeg7kyV"             \
    "du7ORSQvElSYJp8uebkpIlqrM17ABzMHcD6vpcWQ8FbEWtPWLw2yiu5j_eAZNglxN0QX4TSf2Hsh7Tc5"             \
    "_OLRDKj3dlolhUUw\",\"e\":\"AQAB\"}"
#define EC_KEY                                                                                     \
    "{\"kty\":\"EC\",\"kid\":\"e1\",\"crv\":\"P-256\",\"x\":\"U0qrx_fYQCqGpZwmU2mcwlg"             \
    "8QemqSboqO0x4l4Ok_c4\",\"y\":\"Jp0OACSg6bKlq8S4BCQsl1qfBTcDxUOIJmS17Q4vuTI\"}"
#define OKP_KEY                                                                                    \
    "{\"kty\":\"OKP\",\"kid\":\"d1\",\"crv\":\"Ed25519\",\"x\":\"GA_BDpoCrxS1HMaZ6Lnr"             \
    "fKvDB-tjcCr3Zeag6bZCfuw\"}"
#define OCT_KEY                                                                                    \
    "{\"kty\":\"oct\",\"kid\":\"h1\",\"k\":\"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"             \
    "a2tra2tra2traw\"}"
#define K256_KEY "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}"
#define OAEP_KEY "{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\",\"n\":\"AA\",\"e\":\"AQAB\"}"
#define MODULUS                                                                                    \
    "sEcxefQ_AieZrCK-yu6SgUFFBNUYW1BwzNuoXdu7h3LkgegykHuxbv6IquGldey1qh_OPjtkEZx6zbk-MhXG9M"       \
    "sy_U-doRf0-902It9ZHBhCXRetYbad9p1HtuCYpiAXAu0znWoUvV1kAgCht6dIE_EIZYP9khCha5JaAA"             \
    "r6hiueEQsHYmnkApcP9ZB1ToTv_Fp0Gn2H8kK5ugg_rqUkCvafiN8lZH-_w8yucpVF_jsf67Oyeg7kyV"             \
    "du7ORSQvElSYJp8uebkpIlqrM17ABzMHcD6vpcWQ8FbEWtPWLw2yiu5j_eAZNglxN0QX4TSf2Hsh7Tc5"             \
    "_OLRDKj3dlolhUUw"
#define RSA_KEY_OF(more) "{\"kty\":\"RSA\"," more "\"n\":\"" MODULUS "\",\"e\":\"AQAB\"}"
#define OCT_KEY_OF(alg, k) "{\"kty\":\"oct\",\"alg\":\"" alg "\",\"k\":\"" k "\"}"
#define BYTES_32 "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"
#define BYTES_48 "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
#define SET(keys) "{\"keys\":[" keys "]}"

static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEU0qrx/fYQCqGpZwmU2mcwlg8Qemq\n"
                          "SboqO0x4l4Ok/c4mnQ4AJKDpsqWrxLgEJCyXWp8FNwPFQ4gmZLXtDi+5Mg==\n"
                          "-----END PUBLIC KEY-----\n";

static bool parse(const char *text, struct fg_key_set *set, char why[192])
{
    return fg_key_set_parse(set, fg_span_from_string(text), NULL, why, 192);
}

static void reads_a_jwk_set(void **state)
{
    (void)state;
    static const enum fg_key_algorithm algorithms[] = {FG_KEY_RS256, FG_KEY_ES256, FG_KEY_EDDSA,
                                                       FG_KEY_HS256};
    static const char *const ids[] = {"r1", "e1", "d1", "h1"};
    struct fg_key_set set;
    char why[192];
    assert_true(
        parse(" \n" SET(RSA_KEY "," K256_KEY "," EC_KEY "," OAEP_KEY "," OKP_KEY "," OCT_KEY), &set,
              why));
    assert_int_equal(set.count, 4); /* what nothing here is signed with is left out */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(set.keys[i].algorithm, algorithms[i]);
        assert_string_equal(set.keys[i].id, ids[i]);
        assert_int_equal(set.keys[i].key == NULL, algorithms[i] == FG_KEY_HS256);
    }
    assert_int_equal(set.keys[3].secret_bytes, 40);
    fg_key_set_fini(&set);
    fg_key_set_fini(&set); /* harmless twice */
}

static void reads_a_pem_file(void **state)
{
    (void)state;
    struct fg_key_set set;
    char why[192];
    char path[] = "/tmp/fg-test-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, pem, sizeof(pem) - 1), sizeof(pem) - 1);
    close(fd);
    assert_true(fg_key_set_load(&set, path, NULL, why, sizeof(why)));
    assert_int_equal(set.count, 1);
    assert_int_equal(set.keys[0].algorithm, FG_KEY_ES256);
    assert_string_equal(set.keys[0].id, "");
    fg_key_set_fini(&set);
    unlink(path);
    assert_false(fg_key_set_load(&set, path, NULL, why, sizeof(why)));
    assert_string_equal(why, "No such file or directory");
}

static void refuses_what_is_no_good(void **state)
{
    (void)state;
    static const char no_point[] = SET(
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}");
    static const char wrong_alg[] =
        SET("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"RS256\",\"x\":"
            "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}");
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", "neither a JWK set nor a PEM"},
        {"{", "line 1: "},
        {"{}", "no array \"keys\""},
        {"{\"keys\":{}}", "no array \"keys\""},
        {SET(""), "no key in it"},
        {SET("7, null"), "no key in it"},
        {SET(K256_KEY), "no key in it"},
        {SET("{\"kty\":\"RSA\",\"use\":\"enc\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"), "no key in it"},
        {SET("{\"kty\":\"RSA\",\"key_ops\":[\"encrypt\"]}"), "no key in it"},
        {SET("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"), "key 1: an RSA key"},
        {SET("{\"kty\":\"RSA\",\"n\":7,\"e\":\"AQAB\"}"), "key 1: an RSA key without"},
        {SET("{\"kty\":\"RSA\",\"n\":\"" MODULUS MODULUS MODULUS MODULUS MODULUS
             "\",\"e\":\"AQAB\"}"),
         "key 1: an RSA key of more than 8192 bits"},
        {SET("{\"kty\":\"RSA\",\"n\":\"" MODULUS "\",\"e\":\"AQ\"}"), "key 1: an RSA key whose e"},
        {SET("{\"kty\":\"RSA\",\"n\":\"" MODULUS "\",\"e\":\"AQAA\"}"),
         "key 1: an RSA key whose e"},
        {SET("{\"kty\":\"RSA\",\"n\":\"" MODULUS "\",\"e\":\"AQAAAAAAAAAB\"}"),
         "key 1: an RSA key whose e"},
        {SET("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}"), "an EC key without"},
        {no_point, "key 1: an EC key that is no point"},
        {SET("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}"), "key 1: an Ed25519 key"},
        {SET("{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}"), "key 1: an oct key that is shorter"},
        {SET("{\"kty\":\"oct\",\"k\":\"a*b\"}"), "key 1: an oct key without"},
        {wrong_alg, "no key in it can verify"},
        {SET(RSA_KEY_OF("\"alg\":\"ES256\",")), "no key in it can verify"},
        {SET(RSA_KEY_OF("\"alg\":\"rs256\",")), "no key in it can verify"},
        {SET(RSA_KEY_OF("\"alg\":7,")), "no key in it can verify"},
        {SET(RSA_KEY_OF("\"alg\":null,")), "no key in it can verify"},
        {SET("{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES384\",\"x\":\"AA\",\"y\":\"AA\"}"),
         "no key in it can verify"},
        {SET(OCT_KEY_OF("HS384", BYTES_32)), "key 1: an oct key that is shorter"},
        {SET(OCT_KEY_OF("HS512", BYTES_48)), "key 1: an oct key that is shorter"},
        {SET("{\"kty\":\"oct\",\"kid\":\"\",\"k\":\"AAAA\"}"), "key 1: a kid"},
        {"{\"keys\":[],\"keys\":[]}", "line 1: "},
        {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither a JWK set"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_key_set set;
        char why[192] = "";
        print_message("%s\n", cases[i].text);
        assert_false(parse(cases[i].text, &set, why));
        assert_non_null(strstr(why, cases[i].why));
        assert_null(set.keys);
    }
}

/* One key of each kind, as `alg` or the configuration or neither says. */
static void fixes_the_algorithm(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        const char *wanted;
        const char *algorithm; /* NULL: nothing can be used */
    } cases[] = {
        {SET(RSA_KEY_OF("")), NULL, "RS256"},
        {SET(RSA_KEY_OF("")), "PS512", "PS512"},
        {SET(RSA_KEY_OF("")), "ES256", NULL},
        {SET(RSA_KEY_OF("\"alg\":\"RS384\",")), NULL, "RS384"},
        {SET(RSA_KEY_OF("\"alg\":\"RS512\",")), "PS256", "RS512"}, /* its own word is the last */
        {SET(RSA_KEY_OF("\"alg\":\"PS256\",")), NULL, "PS256"},
        {SET(EC_KEY), NULL, "ES256"},
        {SET(EC_KEY), "ES384", NULL},
        {SET(OKP_KEY "," RSA_KEY_OF("")), "RS512", "RS512"}, /* the first is left out */
        {SET(OCT_KEY_OF("HS384", BYTES_48)), NULL, "HS384"},
        {SET(OCT_KEY_OF("HS256", BYTES_48)), "HS512", "HS256"},
        {pem, NULL, "ES256"},
        {pem, "ES256", "ES256"},
        {pem, "ES512", NULL},
        {pem, "HS256", NULL}, /* a public key is no secret */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_key_set set;
        char why[192] = "";
        print_message("%s as %s\n", cases[i].keys, cases[i].wanted ? cases[i].wanted : "it says");
        bool is_fine = fg_key_set_parse(&set, fg_span_from_string(cases[i].keys), cases[i].wanted,
                                        why, sizeof(why));
        assert_int_equal(is_fine, cases[i].algorithm != NULL);
        if (!is_fine) {
            assert_non_null(strstr(why, cases[i].wanted));
            continue;
        }
        assert_int_equal(set.count, 1);
        assert_string_equal(fg_key_algorithm_name(set.keys[0].algorithm), cases[i].algorithm);
        fg_key_set_fini(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_jwk_set),
        cmocka_unit_test(reads_a_pem_file),
        cmocka_unit_test(refuses_what_is_no_good),
        cmocka_unit_test(fixes_the_algorithm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
