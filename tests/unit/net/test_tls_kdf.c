/*
 * test_tls_kdf.c: the key schedule of RFC 8448, a known answer of TLS 1.2, and all lengths against
 * OpenSSL's own. That OpenSSL's handshakes come to the same keys is held in test_tls.c.
 */
#include "ending_memory.h"
#include "hex.h"

#include "net/tls_kdf.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct fg_tls_kdf kdf;

/* ---- known answers ---- */

static struct fg_span span_of(const char *digits, unsigned char *to)
{
    return fg_span_make((const char *)to, hex_bytes(digits, to));
}

static void expect_bytes(const void *bytes, const char *digits)
{
    unsigned char wanted[128];
    size_t len = hex_bytes(digits, wanted);
    assert_memory_equal(bytes, wanted, len);
}

static void derives_what_rfc_8448_shows(void **state)
{
    (void)state;
    unsigned char early[32], handshake[32], master[32], bytes[32];
    assert_true(fg_tls_kdf_extract(&kdf, FG_TLS_SHA256, NULL, FG_SPAN(""), early));
    expect_bytes(early, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
    struct fg_span shared =
        span_of("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d", bytes);
    assert_true(fg_tls_kdf_extract(&kdf, FG_TLS_SHA256, early, shared, handshake));
    expect_bytes(handshake, "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
    assert_true(fg_tls_kdf_extract(&kdf, FG_TLS_SHA256, handshake, FG_SPAN(""), master));
    expect_bytes(master, "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
}

/* The one that went round on the IETF's list, for want of one in RFC 5246. */
static void makes_the_known_output_of_tls_1_2(void **state)
{
    (void)state;
    unsigned char secret_bytes[16], seed_bytes[26] = "test label", out[100];
    struct fg_span secret = span_of("9bbe436ba940f017b17652849a71db35", secret_bytes);
    hex_bytes("a0ba9f936cda311827a6f796ffd5198c", seed_bytes + 10);
    assert_true(fg_tls_kdf_prf(&kdf, FG_TLS_SHA256, secret,
                               fg_span_make((const char *)seed_bytes, sizeof(seed_bytes)), out,
                               sizeof(out)));
    expect_bytes(out, "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
                      "6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab"
                      "4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
                      "87347b66");
}

/* ---- against OpenSSL's own ---- */

static const struct {
    enum fg_tls_digest digest;
    const char *name;
} digests[] = {{FG_TLS_SHA256, "SHA256"}, {FG_TLS_SHA384, "SHA384"}};

static void derive_by_openssl(const char *algorithm, const OSSL_PARAM *params, unsigned char *out,
                              size_t len)
{
    EVP_KDF *fetched = EVP_KDF_fetch(NULL, algorithm, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(fetched);
    assert_int_equal(EVP_KDF_derive(ctx, out, len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(fetched);
}

static OSSL_PARAM bytes_param(const char *key, const void *bytes, size_t len)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)bytes, len);
}

static void agrees_with_openssl_on_labels(void **state)
{
    (void)state;
    unsigned char secret[48], out[48], wanted[48];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 37);
    for (size_t d = 0; d < 2; d++) {
        size_t bytes = fg_tls_digest_bytes(digests[d].digest);
        for (size_t len = 1; len <= bytes; len++) {
            int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
            struct fg_span data = fg_span_make((const char *)secret, len - 1);
            const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                 (char *)(uintptr_t)digests[d].name, 0),
                bytes_param(OSSL_KDF_PARAM_KEY, secret, bytes),
                bytes_param(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
                bytes_param(OSSL_KDF_PARAM_LABEL, "s ap traffic", 12),
                bytes_param(OSSL_KDF_PARAM_DATA, data.data, data.len),
                OSSL_PARAM_construct_end()};
            derive_by_openssl("TLS13-KDF", params, wanted, len);
            assert_true(fg_tls_kdf_expand(&kdf, digests[d].digest, secret, FG_SPAN("s ap traffic"),
                                          data, out, len));
            assert_memory_equal(out, wanted, len);
        }
    }
}

static void agrees_with_openssl_on_tls_1_2(void **state)
{
    (void)state;
    unsigned char secret[128], out[200], wanted[200];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 101);
    for (size_t d = 0; d < 2; d++) {
        size_t most = d == 0 ? 64 : 128; /* of a secret, which is a block at most */
        for (size_t len = 1; len <= sizeof(out); len += 7) {
            size_t secret_len = len < most ? len : most;
            const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                 (char *)(uintptr_t)digests[d].name, 0),
                bytes_param(OSSL_KDF_PARAM_SECRET, secret, secret_len),
                bytes_param(OSSL_KDF_PARAM_SEED, "key expansion", 13),
                bytes_param(OSSL_KDF_PARAM_SEED, "randoms", 7), OSSL_PARAM_construct_end()};
            derive_by_openssl("TLS1-PRF", params, wanted, len);
            assert_true(fg_tls_kdf_prf(&kdf, digests[d].digest,
                                       fg_span_make((const char *)secret, secret_len),
                                       FG_SPAN("key expansionrandoms"), out, len));
            assert_memory_equal(out, wanted, len);
        }
    }
}

/* ---- what TLS has not, and what there is no memory for ---- */

static void refuses_lengths_that_tls_has_not(void **state)
{
    (void)state;
    static const char much[256];
    unsigned char secret[48] = {0}, out[64];
    assert_false(
        fg_tls_kdf_expand(&kdf, FG_TLS_SHA256, secret, FG_SPAN("key"), FG_SPAN(""), out, 33));
    assert_false(fg_tls_kdf_expand(&kdf, FG_TLS_SHA256, secret, fg_span_make(much, 129),
                                   FG_SPAN(""), out, 32));
    assert_false(fg_tls_kdf_expand(&kdf, FG_TLS_SHA256, secret, FG_SPAN("key"),
                                   fg_span_make(much, 115), out, 32));
    assert_true(fg_tls_kdf_expand(&kdf, FG_TLS_SHA256, secret, FG_SPAN("key"),
                                  fg_span_make(much, 114), out, 32));
    assert_false(
        fg_tls_kdf_prf(&kdf, FG_TLS_SHA256, fg_span_make(much, 65), FG_SPAN("seed"), out, 32));
}

static void survives_the_end_of_memory(void **state)
{
    (void)state;
    unsigned char secret[48] = {0}, out[32], wanted[32];
    unsigned failures = 0;
    bool has_failed;
    assert_true(fg_tls_kdf_expand(&kdf, FG_TLS_SHA256, secret, FG_SPAN("key"), FG_SPAN(""), wanted,
                                  sizeof(wanted)));
    do {
        struct fg_tls_kdf own;
        ending_memory_begin();
        bool is_fine = fg_tls_kdf_init(&own) == FG_OK &&
                       fg_tls_kdf_expand(&own, FG_TLS_SHA256, secret, FG_SPAN("key"), FG_SPAN(""),
                                         out, sizeof(out));
        has_failed = ending_memory_end();
        failures += is_fine ? 0 : 1;
        assert_true(is_fine || has_failed);
        if (own.hashes[0].ctx != NULL) { /* and once there is memory again, it works again */
            assert_true(fg_tls_kdf_expand(&own, FG_TLS_SHA256, secret, FG_SPAN("key"), FG_SPAN(""),
                                          out, sizeof(out)));
            assert_memory_equal(out, wanted, sizeof(out));
        }
        fg_tls_kdf_fini(&own);
    } while (has_failed);
    assert_true(failures >= 6); /* two digests' contexts, each begun; a hash of two */
}

static int set_up(void **state)
{
    (void)state;
    return ending_memory_install() && fg_tls_kdf_init(&kdf) == FG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fg_tls_kdf_fini(&kdf);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derives_what_rfc_8448_shows),
        cmocka_unit_test(makes_the_known_output_of_tls_1_2),
        cmocka_unit_test(agrees_with_openssl_on_labels),
        cmocka_unit_test(agrees_with_openssl_on_tls_1_2),
        cmocka_unit_test(refuses_lengths_that_tls_has_not),
        cmocka_unit_test(survives_the_end_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
